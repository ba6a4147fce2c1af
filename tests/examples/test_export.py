"""Examples as messages: what other trainers read is what ours reads."""

import sys
import warnings

import pytest
from runs import CASES, IRCOT, run_case

from lm.tiny import make_tiny_llama
from steper.errors import MissingExtraError, ModelError, SettingsError
from steper.examples.build import build_examples
from steper.examples.example_folder import write_examples
from steper.examples.example_settings import ExampleSettings
from steper.examples.export import message_row
from steper.examples.student_form import student_form
from steper.prompt.render import PromptSettings
from steper.prompt.segments import Segment
from steper.store import read_json_lines

BARE = PromptSettings(demos=0)


def examples(tmp_path, form="chat", layout="append_only", name="ircot"):
    run, _ = run_case(CASES[name], tmp_path / "run", BARE)
    return build_examples(run, ExampleSettings(form=form, layout=layout))


def test_chat_rows_are_messages_of_alternating_roles(tmp_path):
    rows = [message_row(e) for e in examples(tmp_path)]
    last = rows[-1]
    assert [m["role"] for m in last["prompt"]] == ["system", *["user", "assistant"] * 2, "user"]
    assert last["completion"] == [{"role": "assistant", "content": IRCOT[2]}]
    assert [(r["kind"], r["step"], r["weight"]) for r in rows] == [
        ("init", 1, 1.0),
        ("exp", 2, 1.0),
        ("agg", 3, 1.0),
    ]


def test_plain_rows_are_text_that_joins(tmp_path):
    last = [message_row(e) for e in examples(tmp_path, "plain", "passages_first")][-1]
    assert last["prompt"].endswith(f"\nA: {IRCOT[0]} {IRCOT[1]}")
    assert last["completion"] == f" {IRCOT[2]}"


def test_what_messages_cannot_say_is_refused(tmp_path):
    example = next(iter(examples(tmp_path)))
    for extra in (Segment("user", "more"), Segment("assistant", "more", "agg", 0.5)):
        odd = example.model_copy(update={"segments": (*example.segments, extra)})
        with pytest.raises(SettingsError, match="cannot say that"):
            message_row(odd)


def test_datasets_is_named_when_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"steper\[train\]"):
        write_examples(examples(tmp_path), tmp_path / "out", exports=["parquet"])
    assert not (tmp_path / "out").exists()
    written = write_examples(examples(tmp_path), tmp_path / "out", exports=["jsonl"])
    assert [row for _, row in read_json_lines(written.folder.path / "messages.jsonl")] == [
        message_row(e) for e in written.folder.examples()
    ]


@pytest.mark.parametrize("form", ["chat", "plain"])
def test_parquet_and_hf_folder_hold_the_same_rows(form, tmp_path):
    datasets = pytest.importorskip("datasets")
    pq = pytest.importorskip("pyarrow.parquet")
    build = examples(tmp_path, form)
    written = write_examples(build, tmp_path / "out", exports=["hf", "parquet", "jsonl"])
    rows = [message_row(e) for e in build]
    assert datasets.load_from_disk(str(tmp_path / "out" / "hf")).to_list() == rows
    assert pq.read_table(tmp_path / "out" / "messages.parquet").to_pylist() == rows
    assert written.exports == ("jsonl", "parquet", "hf")


def test_a_new_export_is_added_to_the_same_examples(tmp_path):
    pytest.importorskip("datasets")
    out = tmp_path / "out"
    write_examples(examples(tmp_path), out, exports=["jsonl"])
    assert write_examples(examples(tmp_path), out).up_to_date
    assert not write_examples(examples(tmp_path), out, exports=["parquet"]).up_to_date
    again = write_examples(examples(tmp_path), out, exports=["jsonl", "parquet"])
    assert again.up_to_date
    assert {p.name for p in out.iterdir()} == {
        "examples.jsonl",
        "manifest.json",
        "messages.jsonl",
        "messages.parquet",
    }


@pytest.mark.parametrize(("chat", "form"), [(True, "chat"), (False, "plain")])
def test_the_tokenizer_decides_the_form(chat, form, tmp_path):
    pytest.importorskip("transformers")
    model = make_tiny_llama(tmp_path / "model", chat=chat)
    (model / "model.safetensors").unlink()
    assert student_form(str(model)) == student_form(f"hf:{model}") == form


def test_a_student_without_tokenizer_is_one_clear_line(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(ModelError, match="holds no model") as caught:
        student_form(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["chat", "plain"])
def test_trl_reads_the_hf_folder(form, tmp_path):
    """SFTTrainer's own preprocessing: ids of prompt and completion, loss on the latter alone."""
    datasets = pytest.importorskip("datasets")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trl = pytest.importorskip("trl")
        from transformers import AutoModelForCausalLM, AutoTokenizer

        model = make_tiny_llama(tmp_path / "model", chat=form == "chat")
        tokenizer = AutoTokenizer.from_pretrained(model)
        build = examples(tmp_path, form)
        write_examples(build, tmp_path / "out", exports=["hf"])
        trainer = trl.SFTTrainer(
            AutoModelForCausalLM.from_pretrained(model),
            trl.SFTConfig(str(tmp_path / "sft"), report_to=[], use_cpu=True, max_length=None),
            train_dataset=datasets.load_from_disk(str(tmp_path / "out" / "hf")),
            processing_class=tokenizer,
        )
        rows = list(trainer.train_dataset)
        batch = next(iter(trainer.get_train_dataloader()))
    assert len(rows) == 3
    for row, example in zip(rows, build, strict=True):
        supervised = [label for label in row["labels"] if label != -100]
        text = tokenizer.decode(supervised).replace("<|end|>", "")
        assert text == example.segments[-1].text
    assert (batch["labels"] != -100).any(dim=1).all()
