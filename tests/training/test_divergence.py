"""Generalised JSD from a teacher: the formula, TRL's, equal however it is computed, refusals."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm.tiny import make_tiny_llama
from steper.errors import SettingsError
from steper.examples.example_folder import ExampleFolder
from steper.prompt.encode import KINDS, Encoder
from steper.store import read_json
from steper.training.divergence import generalised_jsd
from steper.training.job import train
from steper.training.train_settings import TrainSettings
from training.gradients import first_steps
from training.made import example_folder, examples, pairs
from training.test_equality import assert_equal, torchrun

COMMON = {"batch_size": 4, "dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return str(make_tiny_llama(tmp_path_factory.mktemp("student")))


@pytest.fixture(scope="module")
def teacher(student, tmp_path_factory):
    """Another model of the student's tokenizer, wider, with rows that are no tokens."""
    path = make_tiny_llama(tmp_path_factory.mktemp("teacher"), intermediate=48)
    model = AutoModelForCausalLM.from_pretrained(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model.resize_token_embeddings(model.config.vocab_size + 8, mean_resizing=False)
        for weights in model.parameters():
            weights.data.add_(0.1 * torch.randn(weights.shape))
    model.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return example_folder(tmp_path_factory.mktemp("examples"), examples(7))


def settings(teacher, **given):
    how = {**COMMON, "divergence": "jsd", "teacher": teacher, **given}
    return TrainSettings.model_validate(how)


def two():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.randn(5, 11), torch.randn(5, 11)


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_it_is_the_formula(beta):
    student, teacher = two()
    q, p = student.softmax(-1), teacher.softmax(-1)
    m = beta * p + (1 - beta) * q
    expected = beta * (p * (p / m).log()).sum(-1) + (1 - beta) * (q * (q / m).log()).sum(-1)
    torch.testing.assert_close(generalised_jsd(student, teacher, beta), expected)
    assert generalised_jsd(student, student, beta).abs().max() < 1e-6


def test_its_ends_are_both_ways_of_kl():
    student, teacher = two()
    q, p = student.softmax(-1), teacher.softmax(-1)
    forward, reverse = (p * (p / q).log()).sum(-1), (q * (q / p).log()).sum(-1)
    torch.testing.assert_close(generalised_jsd(student, teacher, 0.0), forward)
    torch.testing.assert_close(generalised_jsd(student, teacher, 1.0), reverse)
    near = generalised_jsd(student.double(), teacher.double(), 1e-4) / 1e-4
    torch.testing.assert_close(near.float(), forward, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_it_is_trls(beta):
    gkd = pytest.importorskip("trl.experimental.gkd.gkd_trainer")
    student, teacher = two()
    theirs = gkd.GKDTrainer.generalized_jsd_loss(student, teacher, beta=beta, reduction="none")
    torch.testing.assert_close(generalised_jsd(student, teacher, beta), theirs.sum(-1))


def test_a_steps_losses_are_means_over_the_tokens_of_each_kind(student, teacher, source, tmp_path):
    """Example by example, from transformers' logits alone."""
    encoder = Encoder(AutoTokenizer.from_pretrained(student))
    models = [AutoModelForCausalLM.from_pretrained(name) for name in (student, teacher)]
    sums, counts = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0)
    for example in ExampleFolder(source).examples():
        encoded = encoder.example(example)
        at = [n - 1 for n, kind in enumerate(encoded.kinds) if kind >= 0]
        with torch.no_grad():
            own, theirs = (m(input_ids=torch.tensor([encoded.ids])).logits[0, at] for m in models)
        each = generalised_jsd(own, theirs[:, : own.shape[-1]], 0.3)
        sums[example.kind] += each.sum().item()
        counts[example.kind] += len(at)
    given = {"batch_size": 7, "max_steps": 1, "divergence": "jsd", "teacher": teacher}
    (row,) = first_steps(source, student, tmp_path, **given, divergence_beta=0.3)["rows"]
    for kind in KINDS:
        assert row[f"loss_{kind}"] == pytest.approx(sums[kind] / counts[kind], rel=1e-4)


def test_packing_and_accumulation_change_nothing(student, teacher, source, tmp_path):
    common = {"batch_size": 4, "max_steps": 3, "divergence": "jsd", "teacher": teacher}
    plain = first_steps(source, student, tmp_path / "a", pack="none", **common)
    small = first_steps(source, student, tmp_path / "b", micro_batch_size=1, **common)
    assert_equal(small, plain)


@pytest.mark.slow
def test_two_processes_change_nothing(student, teacher, source, tmp_path):
    given = {"batch_size": 4, "epochs": 2, "divergence": "jsd", "teacher": teacher}
    alone = first_steps(source, student, tmp_path / "alone", **given)
    job = {"examples": str(source), "student": str(student), "settings": given}
    (shared,) = torchrun([job], tmp_path)
    assert_equal(shared, alone)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"lora_rank": 2}])
def test_the_student_comes_nearer_to_the_teacher(student, teacher, source, tmp_path, more):
    given = settings(teacher, epochs=8, lr=1e-2, eval_share=0.2, seed=1, **more)
    done = train(source, student, tmp_path / "out", given)
    rows = [json.loads(line) for line in (done.path / "log.jsonl").read_text().splitlines()]
    losses = [row["eval_loss"] for row in rows if "eval_loss" in row]
    assert losses[-1] < 0.97 * losses[0] < math.log(2)
    assert done.manifest["settings"]["teacher"]["digest"]
    assert read_json(done.path / "steper.json")["recipe"] == "steper"
    assert train(source, student, tmp_path / "out", given).up_to_date


def test_another_teacher_is_another_training(student, teacher, source, tmp_path):
    train(source, student, tmp_path / "out", settings(teacher, max_steps=1))
    with pytest.raises(SettingsError, match=r"teacher\.digest is .* there"):
        train(source, student, tmp_path / "out", settings(student, max_steps=1))
    moved = shutil.copytree(teacher, tmp_path / "moved")
    again = train(source, student, tmp_path / "out", settings(str(moved), max_steps=1))
    assert again.up_to_date


def test_a_teacher_of_another_tokenizer_is_one_clear_line(student, teacher, source, tmp_path):
    other = shutil.copytree(teacher, tmp_path / "other")
    tokenizer = AutoTokenizer.from_pretrained(other)
    tokenizer.add_tokens(["new"])
    tokenizer.save_pretrained(other)
    with pytest.raises(
        SettingsError, match=r"has another tokenizer than .*steper relabel"
    ) as error:
        train(source, student, tmp_path / "out", settings(str(other)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"divergence": "jsd"}, "divergence and teacher go together"),
        ({"teacher": "t"}, "divergence and teacher go together"),
        ({"divergence": "jsd", "teacher": "t", "sharding": "zero3"}, "leave sharding out"),
        ({"divergence": "jsd", "teacher": "t", "divergence_beta": 2}, "less than or equal to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(**given)


def test_preference_pairs_have_a_loss_of_their_own(student, teacher, tmp_path):
    source = example_folder(tmp_path / "pairs", pairs(3))
    with pytest.raises(SettingsError, match="preference pairs have a loss of their own"):
        train(source, student, tmp_path / "out", settings(teacher))


def test_the_settings_of_a_divergence_stand_in_no_other_fingerprint():
    found = TrainSettings().fingerprint()
    assert not {"divergence", "divergence_beta", "teacher"} & found.keys()
