"""`train` from end to end: what it writes, resumes, refuses and learns."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from doubles import change_in_the_middle
from lm.asking import ask
from lm.tiny import make_tiny_llama
from steper.errors import InputError, ModelError, SettingsError
from steper.examples.example_folder import ExampleFolder
from steper.lm.hf import HFModel
from steper.lm.model_settings import HFSettings
from steper.prompt.encode import KINDS, Encoder
from steper.student import StudentOptions, open_asked
from steper.training.job import train
from steper.training.model import uses_bfloat16
from steper.training.train_settings import TrainSettings
from training.made import Killed, die_at, example_folder, examples

COMMON = {"batch_size": 4, "dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return str(make_tiny_llama(tmp_path_factory.mktemp("student")))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return example_folder(tmp_path_factory.mktemp("examples"), examples(10))


def settings(**given):
    return TrainSettings.model_validate({**COMMON, **given})


def rows_of(path):
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def weights_of(path):
    return AutoModelForCausalLM.from_pretrained(path).state_dict()


@pytest.fixture(scope="module")
def trained(student, source, tmp_path_factory):
    """Four passes over ten trajectories, two of them held out."""
    out = tmp_path_factory.mktemp("out") / "student"
    return train(source, student, out, settings(epochs=4, eval_share=0.3, seed=1, lr=3e-3))


def test_the_student_is_a_plain_folder(trained, student):
    names = {p.name for p in trained.path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "steper.json"} <= names
    assert "training_args.bin" not in names
    assert not any("sigma" in n for n in weights_of(trained.path))
    before, after = weights_of(student), weights_of(trained.path)
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    about = json.loads((trained.path / "steper.json").read_text())
    assert about["form"] == "chat"
    assert about["prompt"]["layout"] == "passages_first"
    assert (about["recipe"], about["weights"]) == ("steper", "learned")
    assert about["longest_target"] == trained.manifest["counts"]["longest_target"] > 0
    model = HFModel(str(trained.path))
    model.submit([ask("Who?", form="chat", max_tokens=3)])[0].result(60)
    model.close()


def test_the_log_has_every_step(trained):
    rows = [row for row in rows_of(trained.path) if "loss" in row]
    manifest = trained.manifest
    assert [row["step"] for row in rows] == list(range(1, manifest["resolved"]["steps"] + 1))
    for row in rows:
        assert {"loss", "lr", "tokens", "supervised_tokens", "seconds", "grad_norm"} <= row.keys()
        assert all(row[f"sigma_{kind}"] > 0 for kind in KINDS)
    assert rows[0]["sigma_init"] == 1.0
    assert rows[-1]["loss_agg"] < rows[0]["loss_agg"]
    assert [r["tokens"] for r in rows] == sorted({r["tokens"] for r in rows})
    assert rows[-1]["tokens"] == 4 * manifest["counts"]["tokens"] == manifest["trained"]["tokens"]
    evaluations = [row for row in rows_of(trained.path) if "eval_loss" in row]
    assert len(evaluations) == 4
    for row in evaluations:
        losses = [row[f"eval_loss_{k}"] for k in KINDS if f"eval_loss_{k}" in row]
        assert row["eval_loss"] == pytest.approx(sum(losses) / len(losses))


def test_the_same_again_is_up_to_date_and_other_settings_are_refused(trained, student, source):
    same = settings(epochs=4, eval_share=0.3, seed=1, lr=3e-3, save_every=3)
    again = train(source, student, trained.path, same)
    assert again.up_to_date
    assert again.manifest == trained.manifest
    with pytest.raises(SettingsError, match=r"training\.epochs is 4\.0 there, 5\.0 now"):
        train(source, student, trained.path, same.model_copy(update={"epochs": 5.0}))


def encoded(monkeypatch):
    """The ids of the examples that are encoded from now on."""
    seen, example = [], Encoder.example

    def counting(self, given):
        seen.append(given.id)
        return example(self, given)

    monkeypatch.setattr(Encoder, "example", counting)
    return seen


def test_a_resumed_training_encodes_nothing_again(student, source, tmp_path, monkeypatch):
    seen, out = encoded(monkeypatch), tmp_path / "out"
    given = settings(max_steps=4, save_every=1)

    with pytest.raises(Killed):
        train(source, student, out, given, progress=die_at(2))
    assert len(seen) == len(list(ExampleFolder(source).examples()))
    assert [path.suffix for path in sorted((out / ".work").iterdir())] == [".arrow", ".json"]
    seen.clear()
    done = train(source, student, out, given)
    assert done.manifest["trained"]["steps"] == 4
    assert seen == []
    assert not (out / ".work").exists()


def test_damaged_encoded_examples_are_encoded_anew(student, source, tmp_path, caplog):
    """A byte that changed would train on other tokens, and nobody would know."""
    given = settings(max_steps=4, save_every=1)
    undisturbed = train(source, student, tmp_path / "there", given)

    with pytest.raises(Killed):
        train(source, student, tmp_path / "out", given, progress=die_at(2))
    (trees,) = (tmp_path / "out" / ".work").glob("*.arrow")
    change_in_the_middle(trees, 8)
    done = train(source, student, tmp_path / "out", given)
    assert (
        f"{trees.name}: changed since it was written; the examples are encoded anew" in caplog.text
    )
    weights = [weights_of(folder) for folder in (undisturbed.path, done.path)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_killed_while_it_encodes_it_begins_anew(student, source, tmp_path, monkeypatch):
    """What was written by then is not taken for whole, nor the folder for another's."""
    out, example, left = tmp_path / "out", Encoder.example, [5]

    def dying(self, given):
        left[0] -= 1
        if not left[0]:
            raise Killed
        return example(self, given)

    monkeypatch.setattr(Encoder, "example", dying)
    with pytest.raises(Killed):
        train(source, student, out, settings(max_steps=1))
    assert not out.exists()
    (out / ".work").mkdir(parents=True)  # as after a kill that nothing could tidy up after
    (out / ".work" / ".0123456789abcdef.arrow.abcdefgh.tmp").write_bytes(b"half")
    (out / ".work" / "0123456789abcdef.arrow").write_bytes(b"of other settings")
    done = train(source, student, out, settings(max_steps=1))
    assert done.manifest["trained"]["steps"] == 1
    assert not (out / ".work").exists()


def test_bad_examples_leave_what_is_there(trained, student, source, tmp_path):
    shutil.copytree(trained.path, tmp_path / "out")
    before = {path: path.read_bytes() for path in sorted((tmp_path / "out").rglob("*.*"))}
    given = settings(max_length=5)
    with pytest.raises(InputError, match="no example is left to train on"):
        train(source, student, tmp_path / "out", given, overwrite=True)
    assert before == {path: path.read_bytes() for path in sorted((tmp_path / "out").rglob("*.*"))}
    with pytest.raises(InputError, match="no example is left to train on"):
        train(source, student, tmp_path / "new" / "out", given)
    assert not (tmp_path / "new").exists()


def test_a_folder_of_something_else_is_left_alone(student, source, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"holds 'notes\.txt'"):
            train(source, student, tmp_path, settings(), overwrite=overwrite)


def tensors_of(path):
    return {k: v for file in path.glob("*.safetensors") for k, v in load_file(file).items()}


@pytest.mark.parametrize(
    ("layout", "more"),
    [
        ("passages_first", {}),
        pytest.param(
            "append_only", {"optimizer": "muon", "weight_decay": 0.1}, marks=pytest.mark.slow
        ),
        pytest.param(
            "append_only",
            {"optimizer": "adamw_bf16", "dtype": "auto", "weight_decay": 0.1},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "append_only",
            {"sigma_optimizer": "adam", "group_by_length": True},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "passages_first", {"lora_rank": 2, "lora_dropout": 0.1}, marks=pytest.mark.slow
        ),
    ],
)
def test_killed_and_resumed_ends_like_undisturbed(student, tmp_path, layout, more):
    """Same weights, same σ, same log; killed inside an epoch, at its end, and after the last."""
    source = example_folder(tmp_path / "examples", examples(10, layout=layout))
    given = settings(epochs=3, save_every=2, sigma_start=0.5, eval_share=0.2, lr=3e-3, **more)
    whole = train(source, student, tmp_path / "whole", given)
    cut = tmp_path / "cut"
    for at in (3, 4, whole.manifest["resolved"]["steps"]):
        with pytest.raises(Killed):
            train(source, student, cut, given, progress=die_at(at))
        half = cut / "checkpoints" / f"checkpoint-{at + 1}"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()  # a checkpoint that a crash left without its state
    train(source, student, cut, given)
    manifest = json.loads((cut / "manifest.json").read_text())
    (cut / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    resumed = train(source, student, cut, given)
    expected = tensors_of(whole.path)
    found = tensors_of(cut)
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())
    assert resumed.manifest["sigma"] == whole.manifest["sigma"]
    assert resumed.manifest["trained"]["tokens"] == whole.manifest["trained"]["tokens"]
    assert without_times(rows_of(cut)) == without_times(rows_of(whole.path))


def test_any_checkpoint_can_be_taken_up(student, source, tmp_path):
    given = settings(max_steps=5, save_every=2, keep_checkpoints=3, lr=3e-3)
    whole = train(source, student, tmp_path / "out", given)
    weights, rows = tensors_of(whole.path), without_times(rows_of(whole.path))
    with pytest.raises(InputError, match="no checkpoint of step 3; there are: 2, 4, 5"):
        train(source, student, whole.path, given, resume_from=3)
    # From the last step's, within a pass, nothing is left to train.
    for step, left in ((2, [3, 4, 5]), (5, [])):
        seen = []
        again = train(source, student, whole.path, given, resume_from=step, progress=seen.append)
        assert [row["step"] for row in seen] == left
        assert not again.up_to_date
        assert all(torch.equal(v, weights[name]) for name, v in tensors_of(again.path).items())
        assert without_times(rows_of(again.path)) == rows
        assert again.manifest["sigma"] == whole.manifest["sigma"]
        assert again.manifest["trained"]["steps"] == 5


def without_times(rows):
    times = ("seconds", "eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
    return [{k: v for k, v in row.items() if k not in times} for row in rows]


@pytest.mark.slow
def test_sigma_arrives_from_any_start(student, source, tmp_path):
    """The learned σ_j² end within 10 % of the running L_j; and apart from where they began."""
    for start in (0.3, 3.0):
        given = settings(max_steps=24, sigma_start=start, micro_batch_size=4, save_every=24)
        done = train(source, student, tmp_path / str(start), given)
        last = [row for row in rows_of(done.path) if "loss_exp" in row][-5:]
        for kind, sigma in zip(KINDS, done.manifest["sigma"], strict=True):
            running = sum(row[f"loss_{kind}"] for row in last) / len(last)
            assert sigma**2 == pytest.approx(running, rel=0.1)


def test_tokens_and_steps_can_be_given(student, source, tmp_path):
    one = train(source, student, tmp_path / "a", settings(max_steps=2))
    assert one.manifest["trained"]["steps"] == 2
    wanted = 3 * one.manifest["counts"]["tokens"]
    more = train(source, student, tmp_path / "b", settings(max_tokens=wanted))
    assert more.manifest["trained"]["tokens"] == pytest.approx(wanted, rel=0.05)


def test_muon_moves_matrices_and_adamw_the_rest(student, source, tmp_path):
    done = train(source, student, tmp_path / "out", settings(optimizer="muon", max_steps=3))
    before, after = weights_of(student), weights_of(done.path)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    adamw = train(source, student, tmp_path / "adamw", settings(max_steps=3))
    assert rows_of(adamw.path)[0]["loss"] == pytest.approx(rows_of(done.path)[0]["loss"])
    other = weights_of(adamw.path)
    assert any(not torch.equal(other[name], after[name]) for name in after)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_frozen_embeddings_stay_and_the_rest_learns(student, source, tmp_path, optimizer):
    given = settings(freeze_embeddings=True, optimizer=optimizer, max_steps=3)
    done = train(source, student, tmp_path / "out", given)
    before, after = weights_of(student), weights_of(done.path)
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {"model.embed_tokens.weight", "lm_head.weight"}
    resolved = done.manifest["resolved"]
    assert resolved["trained_parameters"] < resolved["parameters"]
    assert done.manifest["settings"]["training"]["freeze_embeddings"] is True


@pytest.mark.parametrize("merge", [False, True])
def test_lora(student, source, tmp_path, merge):
    given = settings(lora_rank=2, merge=merge, max_steps=3)
    done = train(source, student, tmp_path / "out", given)
    resolved = done.manifest["resolved"]
    assert resolved["trained_parameters"] < 0.5 * resolved["parameters"]
    adapter = done.path / "adapter" if merge else done.path
    assert (adapter / "adapter_model.safetensors").exists()
    assert (done.path / "model.safetensors").exists() == merge
    if merge:
        before, after = weights_of(student), weights_of(done.path)
        assert any(not torch.equal(before[name], after[name]) for name in before)
        HFModel(str(done.path)).close()


@pytest.mark.parametrize("fast", [False, True])
def test_a_cpu_takes_bfloat16_where_it_is_measured_to_be_fast(fast, monkeypatch):
    monkeypatch.setattr("steper.training.model.multiplies_bfloat16_fast", lambda: fast)
    auto = settings(dtype="auto")
    assert uses_bfloat16(auto, False, 135_000_000) == fast
    assert not uses_bfloat16(auto, False, 800_000)
    assert uses_bfloat16(settings(dtype="bfloat16"), False, 800_000)
    assert not uses_bfloat16(settings(dtype="float32"), False, 135_000_000)


def test_bfloat16_and_checkpointing_and_uniform_weights(student, source, tmp_path):
    given = settings(
        dtype="bfloat16", gradient_checkpointing=True, weights="uniform", max_steps=2,
        group_by_length=True,
    )  # fmt: skip
    done = train(source, student, tmp_path / "out", given)
    assert done.manifest["resolved"]["mixed_precision"] == "bf16"
    assert done.manifest["sigma"] is None
    assert not any("sigma_init" in row for row in rows_of(done.path))
    assert AutoModelForCausalLM.from_pretrained(done.path).dtype == torch.float32


def test_tensorboard_is_the_trainers_own_switch(student, source, tmp_path):
    done = train(source, student, tmp_path / "out", settings(max_steps=1, report_to="tensorboard"))
    assert list(done.path.rglob("events.out.tfevents*"))


def test_a_student_is_asked_with_the_template_arguments_of_its_training(source, tmp_path):
    student = make_tiny_llama(tmp_path / "student")
    template = student / "chat_template.jinja"
    template.write_text("{% if not think %}<|system|>{% endif %}" + template.read_text())
    given = settings(max_steps=1, chat_template_kwargs={"think": True})
    done = train(source, str(student), tmp_path / "out", given)
    other = train(source, str(student), tmp_path / "other", settings(max_steps=1))
    assert "chat_template_kwargs" not in other.manifest["settings"]["training"]
    assert done.manifest["counts"]["tokens"] < other.manifest["counts"]["tokens"]
    lm, _ = open_asked(done.path, StudentOptions(hf=HFSettings(device="cpu")))
    lm.close()
    assert lm.fingerprint()["chat_template_kwargs"] == {"think": True}
    wrong = settings(chat_template_kwargs={"thinks": True})
    with pytest.raises(
        SettingsError, match=r"chat_template_kwargs\.thinks: .* does not ask for it"
    ):
        train(source, str(student), tmp_path / "none", wrong)


def test_a_template_that_changes_earlier_turns_is_told(tmp_path, caplog):
    student = make_tiny_llama(tmp_path / "student")
    (student / "chat_template.jinja").write_text(
        "{% for m in messages %}<|{{ m.role }}|>"
        "{% if loop.last and m.role == 'assistant' %}<|pad|>{% endif %}{{ m.content }}<|end|>"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|><|pad|>{% endif %}"
    )
    source = example_folder(tmp_path / "examples", examples(4, layout="append_only"))
    done = train(source, str(student), tmp_path / "out", settings(max_steps=1))
    assert "append_only prompts do not begin with those before them" in caplog.text
    assert done.manifest["trained"]["steps"] == 1


def test_a_plain_student_loses_its_template_and_a_chat_needs_one(student, source, tmp_path):
    plain = example_folder(tmp_path / "plain", examples(4, form="plain"))
    done = train(plain, student, tmp_path / "out", settings(max_steps=1))
    tokenizer = AutoTokenizer.from_pretrained(done.path)
    assert tokenizer.chat_template is None
    assert Encoder(tokenizer).turn_end("plain") == tokenizer.eos_token_id
    bare = str(make_tiny_llama(tmp_path / "bare", chat=False))
    with pytest.raises(SettingsError, match=r"no chat template; .*--student .*bare\)"):
        train(source, bare, tmp_path / "o2", settings())
    assert not (tmp_path / "o2").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"processes": 2}, "but 1 train together"),
        ({"attention": "flash_attention_2"}, "takes no mask of our own"),
    ],
)
def test_what_cannot_be_done_here_is_said(student, source, tmp_path, given, message):
    with pytest.raises(SettingsError, match=message):
        train(source, student, tmp_path / "out", settings(**given))


def test_a_student_that_is_not_there(source, tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        train(source, "./nowhere", tmp_path / "out", settings())
    with pytest.raises(InputError, match="no folder of examples"):
        train(tmp_path, "./nowhere", tmp_path / "out", settings())


def test_settings_contradict():
    for given, message in (
        ({"max_steps": 1, "max_tokens": 1}, "exclude each other"),
        ({"merge": True}, "goes with lora_rank"),
        ({"optimizer": "muon", "lora_rank": 2}, "with lora_rank use adamw"),
        ({"optimizer": "adamw_bf16"}, "holds weights in bfloat16; leave dtype out"),
        ({"optimizer": "muon", "trainer": {"optim": "sgd"}}, r"leave trainer\.optim out"),
        ({"trainer": {"learning_rate": 1}}, r"trainer\.learning_rate is set by steper"),
    ):
        with pytest.raises(ValueError, match=message):
            settings(**given)


def test_a_step_without_a_kind_of_small_sigma_does_no_harm(student, tmp_path):
    """Trajectories of a single step have an aggregation alone; the others' σ is small by then."""
    short = example_folder(tmp_path / "short", examples(4, steps=1))
    given = settings(batch_size=2, max_steps=4, sigma_start=0.02, weights="learned")
    done = train(short, student, tmp_path / "out", given)
    assert [row for row in rows_of(done.path) if "loss_init" in row] == []
    assert all(torch.isfinite(w).all() for w in weights_of(done.path).values())
    assert any(row["grad_norm"] > 0 for row in rows_of(done.path))


def test_a_training_that_diverges_ends_in_one_line(student, source, tmp_path):
    given = settings(max_steps=60, lr=1e6, max_grad_norm=0.0, warmup=0.0)
    with pytest.raises(ModelError, match=r"step \d+: the training diverged .* smaller lr than 1e"):
        train(source, student, tmp_path / "out", given)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_training_that_is_refused_leaves_nothing_that_refuses_the_next(student, source, tmp_path):
    """Sharding that a CPU cannot have is told of once the model is asked for, folder and all."""
    out = tmp_path / "new" / "out"
    with pytest.raises(SettingsError, match="FSDP"):
        train(source, student, out, settings(max_steps=1, sharding="fsdp2"))
    assert not out.parent.exists()
    assert train(source, student, out, settings(max_steps=1)).manifest["trained"]["steps"] == 1
