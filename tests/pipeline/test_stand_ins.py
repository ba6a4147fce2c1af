"""What stands in for data and models in a dry run is of the real kind."""

import pytest

from steper.data import build_corpus, read_question_file
from steper.dryrun.stand_ins import cut_files, generated, sample_rows, write_rows
from steper.dryrun.tiny import LLAMA, QWEN, family_of, is_large, make_tiny_model, make_tokenizer
from steper.evaluation.retrieval import same_passage
from steper.lm.open import open_model
from steper.prompt.segments import Prompt, Segment
from steper.retrieve.bm25 import BM25Index
from steper.runs import teach


@pytest.mark.parametrize("benchmark", ["2wikimultihopqa", "hotpotqa", "musique"])
def test_generated_questions_are_read_and_taught(tmp_path, benchmark):
    train, test = generated(benchmark, 6)
    assert len(train) == len(test) == 6
    path = tmp_path / ("train.jsonl" if benchmark == "musique" else "train.json")
    write_rows(path, train)
    file = read_question_file(path, benchmark)
    assert file.format == benchmark
    question = file.questions[0]
    assert question.gold
    assert all(any(same_passage(g, p, benchmark) for p in question.context) for g in question.gold)
    gold = open_model("gold", questions=file.questions)
    index = BM25Index.build(build_corpus(file.questions))
    counts = teach(file.questions, "ircot", gold, index, tmp_path / "run").manifest["counts"]
    index.close()
    assert counts["answered"] >= 4


def test_one_file_is_cut_in_two(tmp_path):
    path = tmp_path / "all.jsonl"
    write_rows(path, [{"id": str(n), "question": f"Q{n}?"} for n in range(50)])
    train, test = cut_files(path, None, 10)
    assert len(train) == len(test) == 10
    assert not {r["id"] for r in train} & {r["id"] for r in test}
    assert sample_rows(path, 5) == sample_rows(path, 5)
    assert [len(part) for part in cut_files(None, path, 40)] == [25, 25]


@pytest.mark.parametrize(
    ("name", "family", "large"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", LLAMA, False),
        ("openai:meta-llama/Llama-3.1-70B-Instruct", LLAMA, True),
        ("Qwen/Qwen2.5-0.5B-Instruct", QWEN, False),
        ("Qwen/Qwen2.5-72B-Instruct", QWEN, True),
        ("org/other-7b", None, False),
    ],
)
def test_architectures_are_known_by_name(name, family, large):
    assert family_of(name) is family
    assert is_large(name) is large


def test_a_tiny_llama_has_the_real_ones_shape(tmp_path):
    from transformers import AutoConfig, GenerationConfig

    assert make_tiny_model(tmp_path, LLAMA) < 400_000
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.model_type == "llama"
    assert config.rope_parameters["rope_type"] == "llama3"
    assert config.num_attention_heads // config.num_key_value_heads == 4
    assert len(GenerationConfig.from_pretrained(tmp_path).eos_token_id) == 3
    lm = open_model(str(tmp_path))
    lm.close()
    assert lm.form == "chat"


@pytest.mark.parametrize("family", [LLAMA, QWEN])
def test_a_tiny_tokenizer_loses_nothing_and_lays_out_turns(family):
    tokenizer = make_tokenizer(family)
    text = "Wikipedia Title: Łódź\n\n\nTwo  spaces, 12345 people."
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    prompt = Prompt("chat", (Segment("system", "Be brief."), Segment("user", "Q: Who?")))
    messages = [{"role": s.role, "content": s.text} for s in prompt.segments]
    shown = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert shown.count(family.ends[0]) == 2
    assert shown.startswith(family.bos or "<|im_start|>")
    special = tokenizer(shown, add_special_tokens=False)["input_ids"]
    assert len(special) < len(shown) / 2
