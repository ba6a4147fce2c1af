"""Preference pairs in training: the loss against plain code and TRL's, packing, resuming."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm.tiny import make_tiny_llama
from steper.errors import InputError, SettingsError
from steper.examples.example_folder import ExampleFolder
from steper.prompt.encode import KINDS, Encoder
from steper.store import read_json, write_json
from steper.training.data import Collator
from steper.training.job import train
from steper.training.preference import PreferenceLoss, log_probabilities
from steper.training.train_settings import TrainSettings
from steper.training.tree import ancestor_mask
from training.gradients import first_steps
from training.made import Killed, die_at, encoded, example_folder, examples, pairs
from training.test_equality import assert_equal, torchrun

COMMON = {"batch_size": 4, "dtype": "float32", "device": "cpu"}
BETA, SFT = 0.3, 0.7


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return str(make_tiny_llama(tmp_path_factory.mktemp("student")))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return example_folder(tmp_path_factory.mktemp("pairs"), pairs(8), weights="uniform")


def settings(**given):
    return TrainSettings.model_validate({**COMMON, **given})


def rows_of(path):
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def log_probability(model, encoded):
    """log π(target | prompt), and the target's tokens, by transformers alone."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([encoded.ids])).logits[0].log_softmax(-1)
    at = [n for n, kind in enumerate(encoded.kinds) if kind >= 0]
    return sum(logits[n - 1, encoded.ids[n]].item() for n in at), len(at)


def moved(student):
    """The student, and one that has come away from it."""
    before = AutoModelForCausalLM.from_pretrained(student)
    after = AutoModelForCausalLM.from_pretrained(student)
    with torch.no_grad():
        for number, weights in enumerate(after.parameters()):
            noise = torch.randn(weights.shape, generator=torch.Generator().manual_seed(number))
            weights.add_(0.05 * noise)
    return before, after


def by_hand(source, encoder, before, after):
    """D_j, S_j and rewards of all pairs, a pair at a time."""
    losses, rewards = {k: [] for k in KINDS}, []
    nll, tokens = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0)
    for pair in ExampleFolder(source).examples():
        texts = [encoder.example(pair), encoder.example(pair.worse)]
        now, then = ([log_probability(m, text) for text in texts] for m in (after, before))
        better, worse = (BETA * (a[0] - b[0]) for a, b in zip(now, then, strict=True))
        losses[pair.kind].append(-logsigmoid(torch.tensor(better - worse)).item())
        rewards.append((better, worse))
        nll[pair.kind] -= now[0][0]
        tokens[pair.kind] += now[0][1]
    d = {kind: sum(values) / len(values) for kind, values in losses.items()}
    return d, {kind: nll[kind] / tokens[kind] for kind in KINDS}, rewards


def by_us(data, loss, before, after):
    """The same of our trees: sums over micro-batches of three trajectories."""

    def losses(model, batch):
        given = {"input_ids": batch["input_ids"]}
        if "end" in batch:
            mask = ancestor_mask(batch["end"], batch["position_ids"])
            given |= {"position_ids": batch["position_ids"], "attention_mask": mask}
        logits = model(**given).logits[batch["predict"]][batch["source"]]
        return torch.nn.functional.cross_entropy(logits, batch["targets"], reduction="none")

    collate = Collator(0, pairs=True)
    batches = [collate(data.train[n : n + 3]) for n in range(0, len(data.train), 3)]
    loss.reference = torch.full((len(data.pairs), 2), math.nan)
    with torch.no_grad():
        for batch in batches:
            loss.reference[batch["pair"]] = log_probabilities(losses(before, batch), batch)
        sums = sum(loss.sums(losses(after, batch), batch) for batch in batches)
    counts = sum(loss.counts(batch) for batch in batches)
    return sums / counts, counts


@pytest.mark.parametrize("pack", ["steps", "none"])
@pytest.mark.parametrize("form", ["chat", pytest.param("plain", marks=pytest.mark.slow)])
def test_the_loss_is_that_of_each_pair_apart(form, pack, student, tmp_path):
    source = example_folder(tmp_path / "pairs", pairs(8, form=form))
    encoder = Encoder(AutoTokenizer.from_pretrained(student))
    data = encoded(ExampleFolder(source).examples(), encoder, settings(pack=pack))
    before, after = moved(student)
    loss = PreferenceLoss(BETA, SFT)
    shares, counts = by_us(data, loss, before, after)
    dpo, sft, rewards = by_hand(source, encoder, before, after)
    found = dict(zip(KINDS, loss.means(shares).tolist(), strict=True))
    for kind in KINDS:
        assert found[kind] == pytest.approx(dpo[kind] + SFT * sft[kind], rel=1e-4)
    told = loss.logged(shares, counts)
    margins = [better - worse for better, worse in rewards]
    assert told["reward_margin"] == pytest.approx(sum(margins) / len(margins), rel=1e-3, abs=1e-5)
    right = sum(margin > 0 for margin in margins) / len(margins)
    assert 0 < right < 1
    assert told["reward_accuracy"] == pytest.approx(right, abs=1e-6)
    assert int(counts[1].sum()) == len(rewards) == len(data.pairs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_the_loss_is_trls_on_our_token_ids(student, source, tmp_path):
    trl = pytest.importorskip("trl")
    import datasets

    class Ours(trl.DPOTrainer):
        def _prepare_dataset(self, dataset, *_):
            return dataset  # our token ids, no text

    encoder = Encoder(AutoTokenizer.from_pretrained(student))
    rows = []
    for pair in ExampleFolder(source).examples():
        better, worse = encoder.example(pair), encoder.example(pair.worse)
        rows.append(
            {
                "prompt_ids": better.ids[: better.prompt],
                "chosen_ids": better.ids[better.prompt :],
                "rejected_ids": worse.ids[worse.prompt :],
            }
        )
    before, after = moved(student)
    args = trl.DPOConfig(
        str(tmp_path), beta=BETA, use_cpu=True, report_to=[], max_length=None, bf16=False
    )
    given = {"processing_class": AutoTokenizer.from_pretrained(student), "args": args}
    dataset = datasets.Dataset.from_list(rows)
    theirs = Ours(after, ref_model=before, train_dataset=dataset, **given)
    with torch.no_grad():
        expected = theirs.compute_loss(theirs.model, theirs.data_collator(rows)).item()
    data = encoded(ExampleFolder(source).examples(), encoder, settings())
    shares, counts = by_us(data, loss := PreferenceLoss(BETA, 0.0), before, after)
    assert loss.logged(shares, counts)["dpo_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("weights", ["learned", pytest.param("uniform", marks=pytest.mark.slow)])
def test_packing_and_accumulation_change_nothing(student, source, tmp_path, weights):
    common = {"weights": weights, "batch_size": 4, "max_steps": 3, "dpo_sft": 0.5, "lr": 0.01}
    plain = first_steps(source, student, tmp_path / "a", pack="none", micro_batch_size=4, **common)
    for name, micro in (("b", 4), ("c", 1)):
        one = first_steps(source, student, tmp_path / name, micro_batch_size=micro, **common)
        assert_equal(one, plain)
        margins = [[r["reward_margin"] for r in run["rows"]] for run in (one, plain)]
        assert margins[0] == pytest.approx(margins[1], rel=1e-3, abs=1e-6)
    first, *later = plain["rows"]
    assert (first["dpo_loss"], first["reward_margin"]) == pytest.approx(
        (math.log(2), 0.0), abs=1e-6
    )
    assert all(row["reward_margin"] != 0 for row in later)


@pytest.mark.slow
def test_two_processes_change_nothing(student, source, tmp_path):
    """Each asks the reference of its share of the pairs, and has all."""
    given = {"batch_size": 4, "epochs": 2, "dpo_sft": 0.5, "lr": 0.01, "micro_batch_size": 1}
    alone = first_steps(source, student, tmp_path / "alone", **given)
    job = {"examples": str(source), "student": str(student), "settings": given}
    (shared,) = torchrun([job], tmp_path)
    assert_equal(shared, alone)


@pytest.mark.parametrize(
    "more", [{}, pytest.param({"lora_rank": 2, "lora_dropout": 0.1}, marks=pytest.mark.slow)]
)
def test_what_is_preferred_becomes_likelier_than_what_is_not(student, source, tmp_path, more):
    given = settings(epochs=8, lr=3e-3, eval_share=0.3, seed=1, dpo_sft=0.1, **more)
    done = train(source, student, tmp_path / "out", given)
    rows = rows_of(done.path)
    steps = [row for row in rows if "loss" in row]
    assert steps[0]["reward_margin"] == pytest.approx(0.0, abs=1e-5)
    assert steps[-1]["reward_margin"] > 0.1
    assert steps[-1]["reward_accuracy"] > 0.9
    assert steps[-1]["dpo_loss"] < steps[0]["dpo_loss"] == pytest.approx(math.log(2), abs=1e-5)
    evaluations = [row for row in rows if "eval_loss" in row]
    assert all({"eval_reward_margin", "eval_loss_exp"} <= row.keys() for row in evaluations)
    kept = [json.loads(line) for line in (done.path / "reference.jsonl").read_text().splitlines()]
    found = {row["id"] for row in kept}
    assert found == {pair.id for pair in ExampleFolder(source).examples()}
    counts = done.manifest["counts"]
    assert sum(counts["kinds"].values()) < counts["examples"] == len(kept)
    assert read_json(done.path / "steper.json")["recipe"] == "steper"


@pytest.mark.parametrize("more", [{}, pytest.param({"optimizer": "muon"}, marks=pytest.mark.slow)])
def test_killed_and_resumed_ends_like_undisturbed(student, source, tmp_path, more, monkeypatch):
    """The reference is not asked again: it would be the half-trained student."""
    given = settings(epochs=3, save_every=2, lr=3e-3, dpo_sft=0.1, **more)
    whole = train(source, student, tmp_path / "whole", given)

    with pytest.raises(Killed):
        train(source, student, tmp_path / "cut", given, progress=die_at(3))
    asked = []
    monkeypatch.setattr("steper.training.job.ask_reference", asked.append)
    train(source, student, tmp_path / "cut", given)
    assert not asked
    ours, theirs = (
        AutoModelForCausalLM.from_pretrained(path).state_dict()
        for path in (tmp_path / "cut", whole.path)
    )
    assert all(torch.equal(weights, theirs[name]) for name, weights in ours.items())
    drop = {"seconds"}
    one, other = (
        [{k: v for k, v in row.items() if k not in drop} for row in rows_of(path)]
        for path in (tmp_path / "cut", whole.path)
    )
    assert one == other


def test_log_probabilities_of_other_pairs_are_refused(student, source, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Killed):
        train(source, student, out, settings(), progress=die_at())
    lines = (out / "reference.jsonl").read_text().splitlines(keepends=True)
    (out / "reference.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(InputError, match=r"reference\.jsonl: log-probabilities of other pairs"):
        train(source, student, out, settings())
    train(source, student, out, settings(), overwrite=True)


def test_pairs_and_other_examples_are_trained_on_apart(student, tmp_path):
    rows = [*pairs(2), *(row.model_copy(update={"trajectory": "t"}) for row in examples(2))]
    mixed = example_folder(tmp_path / "mixed", rows)
    with pytest.raises(InputError, match="has no rejected target, and others have"):
        train(mixed, student, tmp_path / "out", settings())
    turned = example_folder(tmp_path / "turned", [*rows[-2:], *rows[:-2]])
    with pytest.raises(InputError, match="has no rejected target, and others have"):
        train(turned, student, tmp_path / "out", settings())


def test_a_pair_goes_by_its_longer_text(student, source, tmp_path):
    found = list(ExampleFolder(source).examples())
    encoder = Encoder(AutoTokenizer.from_pretrained(student))
    lengths = [[len(encoder.example(e).ids) for e in (pair, pair.worse)] for pair in found]
    limit = sorted(map(max, lengths))[len(lengths) // 2]
    data = encoded(found, encoder, settings(), limit)
    assert data.counts.too_long == sum(max(both) > limit for both in lengths) > 0
    assert data.counts.too_long > sum(better > limit for better, _ in lengths)
    with pytest.raises(InputError, match="tokens, but max_length is"):
        encoded(found, encoder, settings(too_long="error"), limit)


def test_a_student_that_is_asked_otherwise_is_refused(student, source, tmp_path):
    done = train(source, student, tmp_path / "first", settings(max_steps=1))
    again = train(source, done.path, tmp_path / "second", settings(max_steps=1))
    assert again.manifest["student"] == str(done.path)
    about = read_json(done.path / "steper.json")
    about["prompt"]["layout"] = "append_only"
    write_json(done.path / "steper.json", about)
    with pytest.raises(SettingsError, match=r"layout is .append_only. there, .passages_first. now"):
        train(source, done.path, tmp_path / "third", settings(max_steps=1))


def test_steps_are_small_unless_a_rate_is_given(student, source, tmp_path):
    done = train(source, student, tmp_path / "out", settings(max_steps=1))
    assert done.manifest["resolved"]["lr"] == pytest.approx(1e-3 / 30)
    assert settings(lr=0.1).default_lr(1, pairs=True) == 0.1
    assert settings(lora_rank=1).default_lr(10**9, pairs=True) == pytest.approx(1e-4 / 30)
    assert settings().default_lr(10**9) == 5e-6


def test_sharding_is_refused(student, source, tmp_path):
    with pytest.raises(SettingsError, match=r"preference pairs .* FSDP2 would have it in shards"):
        train(source, student, tmp_path / "out", settings(sharding="fsdp2"))


def test_the_settings_of_pairs_stand_in_no_other_fingerprint():
    assert "dpo_beta" not in settings().fingerprint()
    assert settings(dpo_beta=0.5).fingerprint()["dpo_beta"] == 0.5
