"""KARD's reranker and Self-RAG's tokens are trained, and students with them answer questions."""

from __future__ import annotations

import json
import shutil
from random import Random

import pytest
import torch
from safetensors.torch import load_file

from lm.tiny import make_tiny_llama
from pipeline.made import write_files
from steper.cli.main import run as command
from steper.data import build_corpus, load_questions
from steper.errors import InputError, SettingsError
from steper.lm.model_source import find_source
from steper.recipes import RECIPES
from steper.recipes.base import Ranking
from steper.records import Passage
from steper.retrieve.base import Found
from steper.retrieve.cross_encoder import CrossEncoderReranker
from steper.store import read_json_lines, write_jsonl
from steper.strategy.self_rag.reflection import TOKENS
from steper.training.job import train
from steper.training.reranker import DRAWN, draw, listwise_loss, temperature, train_reranker
from steper.training.train_settings import TrainSettings

FLAGS = ["--batch-size", "4", "--device", "cpu", "--max-steps", "1", "--lr", "0.01"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("models") / "base")


def passages(count):
    return tuple(Passage.make(f"Film {n}", "Ann Lee " * n + "film") for n in range(count))


def rankings(count, favourite=2):
    """Questions whose rationale's search prefers one passage, whoever found it."""
    found = passages(12)
    scores = tuple(9.0 if n == favourite else 1.0 for n in range(12))
    query = "Which film is it?"
    return [
        Ranking(question_id=f"q{n}", query=query, candidates=found, scores=scores, first=6)
        for n in range(count)
    ]


@pytest.mark.parametrize(("asked", "retriever"), [((0, 2, 5), 0.0), ((2, 0, 5), 1.0)])
def test_a_reranker_is_held_against_the_retriever_s_own_order(
    asked, retriever, base, tmp_path, caplog
):
    """Untrained (no epoch), it puts a longer passage first, whatever the rationale prefers."""
    told = [ranking.model_copy(update={"asked": asked}) for ranking in rankings(40)]
    about = train_reranker(told, str(base), tmp_path / "reranker", epochs=0, seed=0)["held_out"]
    assert about["found_top1_retriever"] == retriever
    given = [Found(passages(12)[at], 1.0) for at in asked]
    best = CrossEncoderReranker(tmp_path / "reranker").rerank("Which film is it?", given)[0]
    right = best.passage.title == "Film 2"
    assert about["found_top1"] == float(right)
    warned = "the retriever's own order in 100 %" in caplog.text
    assert warned == (float(right) < retriever)


def test_rankings_of_before_say_nothing_of_the_retriever(base, tmp_path):
    about = train_reranker(rankings(20), str(base), tmp_path / "reranker", epochs=0, seed=0)
    assert about["held_out"]["found_top1"] is about["held_out"]["found_top1_retriever"] is None


def test_half_of_the_drawn_candidates_are_the_rationale_s():
    (ranking,) = rankings(1)
    drawn = draw(ranking, Random(0))
    assert len(set(drawn)) == DRAWN
    assert sum(at < ranking.first for at in drawn) == DRAWN // 2
    few = ranking.model_copy(update={"first": 2})
    drawn = draw(few, Random(0))
    assert len(set(drawn)) == DRAWN
    assert {0, 1} <= set(drawn)


def test_the_loss_is_kl_from_the_rationale_s_ranking():
    teacher, model = torch.tensor([3.0, 1.0, 0.0]), torch.tensor([0.5, 0.2, -1.0])
    t, p = torch.softmax(teacher / 2, 0), torch.softmax(model, 0)
    expected = (t * (t / p).log()).sum()
    assert float(listwise_loss(teacher, model, 2.0)) == pytest.approx(float(expected))
    assert temperature(0, 100) == pytest.approx(5)
    assert temperature(100, 100) == pytest.approx(1, abs=0.01)
    assert all(temperature(s, 100) > temperature(s + 1, 100) > 0 for s in range(100))


def test_a_query_that_fills_the_window_leaves_room_for_the_passage(base, tmp_path):
    out = tmp_path / "reranker"
    train_reranker(rankings(2), str(base), out, epochs=1, seed=0)
    long = "Which film is it? " * 400
    found = [Found(passage, 1.0) for passage in passages(4)]
    ranked = CrossEncoderReranker(out).rerank(long, found)
    assert len({f.score for f in ranked}) > 1  # passages are told apart
    assert CrossEncoderReranker(out).rerank("", found)


def test_samples_of_a_question_are_kept_out_together(base, tmp_path):
    twice = [ranking for ranking in rankings(20) for _ in range(2)]
    about = train_reranker(twice, str(base), tmp_path / "reranker", epochs=1, seed=0)
    assert (about["questions"], about["held_out"]["questions"]) == (19, 1)
    assert about["steps"] == 3  # 38 rankings, 16 a step


@pytest.mark.slow
def test_a_reranker_learns_what_the_rationale_prefers(base, tmp_path):
    out = tmp_path / "reranker"
    about = train_reranker(rankings(20), str(base), out, epochs=16, seed=0)
    assert about["held_out"]["questions"] == 1
    assert about["held_out"]["top1"] == 1.0
    found = [Found(passage, 1.0) for passage in passages(12)]
    best, *others = CrossEncoderReranker(out).rerank("Which film is it?", found)
    assert best.passage.title == "Film 2"
    assert {f.passage.title for f in (best, *others)} == {f"Film {n}" for n in range(12)}
    assert [f.score for f in (best, *others)] == sorted(f.score for f in (best, *others))[::-1]
    assert CrossEncoderReranker(out).fingerprint()["digest"]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_reranker_s_embeddings_stay_where_that_is_wanted(base, tmp_path, frozen):
    out = tmp_path / "reranker"
    train_reranker(rankings(8), str(base), out, epochs=1, seed=0, frozen=frozen)
    before = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    after = load_file(out / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(before.to(after.dtype), after) == frozen


def test_nothing_to_rank_is_one_line(base, tmp_path):
    alone = [r.model_copy(update={"candidates": r.candidates[:1]}) for r in rankings(1)]
    with pytest.raises(InputError, match="no question has two candidates"):
        train_reranker(alone, str(base), tmp_path / "r", epochs=1, seed=0)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A run of the gold teacher's over a few questions, and their files."""
    place = tmp_path_factory.mktemp("taught")
    write_files(place)
    questions = load_questions(place / "train.json")
    write_jsonl(place / "corpus.jsonl", build_corpus(questions))
    made = ["--questions", str(place / "train.json"), "--model", "gold", "--demos", "0"]
    assert command(["teach", *made, "--out", str(place / "run")]) == 0
    return place


ALSO = ("con", "kard", "sail", "sail_wide", "steper_agg")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ALSO]


@pytest.mark.parametrize("recipe", ["self_rag", *SLOW])
def test_from_the_recipe_to_the_answers(recipe, base, taught, tmp_path):
    student, scored = tmp_path / "student", tmp_path / "scored"
    build = ["build", str(taught / "run"), "--recipe", recipe, "--student", str(base)]
    searches = RECIPES.find(recipe).searches
    corpus = ["--corpus", str(taught / "corpus.jsonl")] if searches else []
    assert command([*build, *corpus, "--out", str(tmp_path / "examples")]) == 0
    trained = ["train", str(tmp_path / "examples"), "--student", str(base), "--out", str(student)]
    assert command([*trained, *FLAGS]) == 0
    asked = ["--questions", str(taught / "test.json"), "--limit", "2", "--max-tokens", "4"]
    steps = [] if recipe == "sail" else ["--max-steps", "2"]
    assert command(["eval", "--student", str(student), *asked, *steps, "--out", str(scored)]) == 0
    card = json.loads((student / "steper.json").read_text())
    made = json.loads((scored / "manifest.json").read_text())["settings"]
    assert made["strategy"]["name"] == card["strategy"]["name"]
    if recipe == "kard":
        assert made["retriever"]["reranker"]["kind"] == "cross-encoder"
        assert json.loads((student / "manifest.json").read_text())["reranker"]["steps"] > 0
    if recipe == "self_rag":
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(student)
        assert [tokenizer.tokenize(token) for token in TOKENS] == [[token] for token in TOKENS]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def lora(request, taught, tmp_path_factory):
    """(base, examples, student) of a LoRA training whose recipe adds tokens."""
    place = tmp_path_factory.mktemp("lora")
    base = make_tiny_llama(place / "base", tied=request.param)
    build = ["build", str(taught / "run"), "--recipe", "self_rag", "--student", str(base)]
    assert command([*build, "--out", str(place / "examples")]) == 0
    asked = TrainSettings(lora_rank=2, max_steps=2, lr=0.01, device="cpu")
    train(place / "examples", base, place / "student", asked)
    return base, place / "examples", place / "student"


def rows(model, tokenizer):
    """What embeds the added tokens, and what scores them."""
    ids = tokenizer.convert_tokens_to_ids(TOKENS)
    both = model.get_input_embeddings(), model.get_output_embeddings()
    return [module.weight[ids] for module in both]


def test_lora_learns_the_embeddings_of_added_tokens_alone(lora):
    base, _, student = lora
    source = find_source(str(student))
    tokenizer, before, after = source.tokenizer(), find_source(str(base)).model(), source.model()
    tied = before.config.tie_word_embeddings
    known = before.get_input_embeddings().num_embeddings
    for was, now in zip(embeddings(before), embeddings(after), strict=True):
        assert len(now) == known + len(TOKENS) == len(tokenizer)
        assert torch.equal(was, now[:known])
    (weights,) = student.glob("adapter_model.safetensors")
    learnt = {key: tensor for key, tensor in load_file(weights).items() if "lora_" not in key}
    assert [tensor.shape[0] for tensor in learnt.values()] == [len(TOKENS)] * (1 if tied else 2)
    # Loaded twice, whatever a bigger matrix's new rows begin with, they are the adapter's.
    assert all(map(torch.equal, rows(after, tokenizer), rows(source.model(), tokenizer)))
    assert torch.equal(*rows(after, tokenizer)) == tied


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adamw_bf16"])
def test_frozen_embeddings_learn_added_tokens_alone(lora, optimizer, tmp_path):
    base, examples, _ = lora
    # In bfloat16 weights, as one of the optimizers has them; the others keep them as they are.
    whole = find_source(str(base)).model().to(torch.bfloat16)
    place = tmp_path / "base"
    whole.save_pretrained(place)
    find_source(str(base)).tokenizer().save_pretrained(place)
    asked = {"optimizer": optimizer, "max_steps": 2, "lr": 0.01, "device": "cpu"}
    train(examples, place, tmp_path / "s", TrainSettings(freeze_embeddings=True, **asked))
    before, after = find_source(str(place)).model(), find_source(str(tmp_path / "s")).model()
    known = before.get_input_embeddings().num_embeddings
    begun = before.resize_token_embeddings(known + len(TOKENS)) and before
    for was, now in zip(embeddings(begun), embeddings(after), strict=True):
        assert torch.equal(was[:known], now[:known])
        assert not torch.equal(was[known:], now[known:])


def embeddings(model):
    return [m.weight for m in (model.get_input_embeddings(), model.get_output_embeddings())]


def test_a_lora_student_with_added_tokens_merges_into_the_same_model(lora, taught, tmp_path):
    base, examples, student = lora
    merged = tmp_path / "merged"
    shutil.copytree(student, merged)
    again = ["train", str(examples), "--student", str(base), "--out", str(merged), "--merge"]
    flags = ["--lora-rank", "2", "--max-steps", "2", "--lr", "0.01", "--device", "cpu"]
    assert command([*again, *flags]) == 0
    assert not (merged / "adapter_config.json").exists()
    assert (merged / "adapter" / "adapter_config.json").exists()
    ours, theirs = (find_source(str(folder)).model().state_dict() for folder in (student, merged))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    asked = ["--questions", str(taught / "test.json"), "--limit", "2", "--max-tokens", "4"]
    answers = []
    for folder in (student, merged):
        out = tmp_path / f"scored-{folder.name}"
        flags = ["--max-steps", "2", "--out", str(out)]
        assert command(["eval", "--student", str(folder), *asked, *flags]) == 0
        answers.append([row["answer"] for _, row in read_json_lines(out / "trajectories.jsonl")])
    assert answers[0] == answers[1]


def test_added_tokens_are_not_for_lora_in_shards_nor_for_decay(base, taught, tmp_path):
    build = ["build", str(taught / "run"), "--recipe", "self_rag", "--student", str(base)]
    assert command([*build, "--out", str(tmp_path / "examples")]) == 0
    asked = TrainSettings(lora_rank=2, max_steps=1, sharding="zero3")
    with pytest.raises(SettingsError, match=r"adds 15 tokens, .* does not learn under ZeRO-3; "):
        train(tmp_path / "examples", base, tmp_path / "s", asked)
    asked = TrainSettings(freeze_embeddings=True, max_steps=1, weight_decay=0.1)
    with pytest.raises(SettingsError, match=r"adds 15 tokens, .* weight_decay 0.1 shrinks as a "):
        train(tmp_path / "examples", base, tmp_path / "s", asked)
    assert not (tmp_path / "s").exists()
