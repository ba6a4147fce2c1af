"""The small world: facts, splits, formats, and how hard it is to retrieve for."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from steper.data import load_questions
from steper.data.world import DOMAINS, World, inventory, make_world, measure_recall, write_world
from steper.data.world.names import PARTS, part_names
from steper.errors import InputError
from steper.strategy.ircot.queries import without_wh_words
from steper.strategy.stated_answer import stated_answer

COUNTS = {"train": 60, "dev": 20, "test": 120}


@pytest.fixture(scope="module", params=["culture", "ood"])
def world(request: pytest.FixtureRequest) -> World:
    return make_world(11, request.param, COUNTS)


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_world(make_world(5, "culture", COUNTS), tmp_path / name)
    first, second = ((tmp_path / name) for name in ("a", "b"))
    for file in sorted(p.name for p in first.iterdir()):
        assert (first / file).read_bytes() == (second / file).read_bytes()
    other = make_world(6, "culture", COUNTS)
    assert [q.question for q in other.questions["test"]] != [
        q.question for q in make_world(5, "culture", COUNTS).questions["test"]
    ]


def test_chains_follow_the_facts_and_stay_in_their_part(world: World) -> None:
    domain = DOMAINS[world.domain]
    closed = {value for values in domain.values.values() for value in values}
    for part, questions in world.questions.items():
        assert len(questions) == COUNTS[part]
        own = {name for names in part_names(domain, part).values() for name in names}
        for question in questions:
            for hop in question.hops:
                passage = world.passages[hop.title]
                sentence = passage.sentences[hop.sentence]
                assert passage.part == part
                assert hop.answer in sentence
                assert hop.subject in sentence
                assert hop.answer in own or hop.answer in closed or hop.answer.isdigit()


def test_parts_share_no_name() -> None:
    for domain in DOMAINS.values():
        seen: set[str] = set()
        for part in PARTS:
            names = {n for group in part_names(domain, part).values() for n in group}
            assert not names & seen
            seen |= names


def test_inventory_has_between_one_and_two_thousand_names_that_share_words() -> None:
    names = inventory(*DOMAINS.values())
    assert len(names) == len(set(names))
    assert 1000 <= len(names) <= 2000
    words = Counter(word for name in names for word in set(name.split()))
    assert sum(count > 1 for count in words.values()) > 150


def test_all_types_and_hops_occur(world: World) -> None:
    questions = [q for part in world.questions.values() for q in part]
    assert {q.type for q in questions} == {
        "compositional",
        "inference",
        "comparison",
        "bridge_comparison",
    }
    assert {len(q.hops) for q in questions} == {2, 3, 4}
    assert {len(q.hops) for q in questions if q.type == "bridge_comparison"} == {4}
    answers = Counter(q.answer for q in questions if q.answer in ("yes", "no"))
    assert min(answers.values()) >= 0.25 * sum(answers.values())


def test_comparisons_are_answered_by_their_facts(world: World) -> None:
    for question in world.questions["test"]:
        if question.type not in ("comparison", "bridge_comparison"):
            continue
        left, right = question.hops[-2:]
        if question.answer in ("yes", "no"):
            assert (question.answer == "yes") == (left.answer == right.answer)
            continue
        first = " later" not in question.question
        earlier = question.hops[0] if int(left.answer) < int(right.answer) else question.hops[1]
        later = question.hops[1] if earlier is question.hops[0] else question.hops[0]
        assert question.answer == (earlier if first else later).subject


def test_gold_steps_end_in_the_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    from tiny.gold_steps import gold_steps

    for question in world.questions["test"]:
        ircot, self_ask = (gold_steps(question, name) for name in ("ircot", "self_ask"))
        assert len(ircot) == len(self_ask) == len(question.hops) + 1 <= 5
        assert ircot[-1].startswith("So ")
        assert stated_answer(ircot[-1]) == question.answer
        assert self_ask[0].startswith("Follow up: ")
        assert self_ask[-1].endswith(f"So the final answer is: {question.answer}")


def test_official_format(world: World, tmp_path: Path) -> None:
    files = write_world(world, tmp_path)
    rows = json.loads(files["test"].read_text("utf-8"))
    corpus = [json.loads(line) for line in files["corpus"].read_text("utf-8").splitlines()]
    texts = {row["title"]: row["text"] for row in corpus}
    assert len(texts) == len(corpus) == len(world.passages)
    for row in rows:
        assert list(row) == [
            "_id",
            "type",
            "question",
            "context",
            "supporting_facts",
            "evidences",
            "answer",
        ]
        context = dict(row["context"])
        assert len(context) == 10
        assert all(" ".join(sentences) == texts[title] for title, sentences in context.items())
        for title, sentence in row["supporting_facts"]:
            assert sentence < len(context[title])
    made = json.loads(files["world"].read_text("utf-8"))
    assert made["questions"] == COUNTS


def test_hotpotqa_format(world: World, tmp_path: Path) -> None:
    path = write_world(world, tmp_path, "hotpotqa")["test"]
    questions = load_questions(path)
    assert {q.benchmark for q in questions} == {"hotpotqa"}
    assert {q.type for q in questions} == {"bridge", "comparison"}
    assert [q.answers[0] for q in questions] == [q.answer for q in world.questions["test"]]
    wanted = [set(q.gold_titles) for q in world.questions["test"]]
    assert [{p.title for p in q.gold} for q in questions] == wanted
    with pytest.raises(InputError, match="unknown format of a world 'hotpot'"):
        write_world(world, tmp_path, "hotpot")


def test_later_hops_are_out_of_reach_of_the_question_alone(world: World) -> None:
    for row in measure_recall(world, without_wh_words):
        assert row.question_alone <= (0.6 if row.hops == 2 else 0.02)
        if row.hops > 2:
            assert row.question_alone_all_passages <= 0.05
        assert row.with_gold_rationales >= 0.98
        assert row.followable >= 0.9


def test_passages_are_short(world: World) -> None:
    lengths = [len(p.text.split()) for p in world.passages.values()]
    assert max(lengths) <= 50
    assert 15 <= sum(lengths) / len(lengths) <= 40


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"domain": "moon"}, "domain is 'moon'"),
        ({"counts": {"exam": 3}}, "unknown split 'exam'"),
        ({"counts": {"dev": 10**6}}, "dev asks for 1000000 questions; expected 0 to 5000"),
        ({"counts": {"dev": -1}}, "dev asks for -1 questions"),
    ],
)
def test_bad_input_is_named(arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_world(1, **arguments)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match="is not a folder"):
        write_world(make_world(1, counts={"dev": 3}), file)


SMALL = {"train": 3, "dev": 2, "test": 2}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["notes.txt", "train.json", "world.json"])
def test_a_folder_with_other_files_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[]")
    with pytest.raises(InputError, match=f"{tmp_path} holds {name}, .*; name a folder that is new"):
        write_world(make_world(1, counts=SMALL), tmp_path)
    assert contents(tmp_path) == {name: b"[]"}


def test_a_world_gives_way_to_another_unless_it_was_changed(tmp_path: Path) -> None:
    write_world(make_world(1, counts=SMALL), tmp_path)
    write_world(make_world(2, counts=SMALL), tmp_path)
    (tmp_path / "dev.json").write_text("[]")
    with pytest.raises(InputError, match=r"holds dev\.json"):
        write_world(make_world(2, counts=SMALL), tmp_path)


def test_a_world_that_was_written_in_part_is_written_whole(tmp_path: Path) -> None:
    write_world(make_world(1, counts=SMALL), tmp_path)
    whole = contents(tmp_path)
    (tmp_path / "world.json").unlink()
    (tmp_path / "gold.jsonl").unlink()
    (tmp_path / ".gold.jsonl.x.tmp").write_text("half")
    write_world(make_world(1, counts=SMALL), tmp_path)
    assert contents(tmp_path) == {**whole, ".gold.jsonl.x.tmp": b"half"}


@pytest.mark.parametrize(
    ("domain", "seed", "benchmark", "hashes"),
    [
        (
            "culture",
            1,
            "2wikimultihopqa",
            {
                "corpus.jsonl": "96c76cb1accf715f",
                "dev.json": "87508b16ce1e6b2a",
                "gold.jsonl": "1610e991d72bb8cc",
                "test.json": "6ca340fd5483b6e4",
                "train.json": "9e0dd9a1d24f42e6",
                "train-corpus.jsonl": "387d571c0d2a6b73",
                "world.json": "2316d6813e6f1ab1",
            },
        ),
        (
            "ood",
            3,
            "hotpotqa",
            {
                "corpus.jsonl": "ab64916b1bffee41",
                "dev.json": "5d851ea568e5712d",
                "gold.jsonl": "d0c5c340b35f6ae7",
                "test.json": "ac6c5db8b892a16d",
                "train.json": "d6b503791775e492",
                "train-corpus.jsonl": "b04271cb9c9d891f",
                "world.json": "1f6315d5e7df1d3c",
            },
        ),
    ],
)
def test_a_seeds_world_stays_the_same(tmp_path, domain, seed, benchmark, hashes):
    """Byte for byte: the shipped models were made on such worlds, and studies name their seeds."""
    write_world(make_world(seed, domain, {"train": 30, "dev": 5, "test": 20}), tmp_path, benchmark)
    made = {p.name: hashlib.sha256(p.read_bytes()).hexdigest()[:16] for p in tmp_path.iterdir()}
    assert made == hashes


def test_a_world_is_replaced_though_its_own_file_is_damaged(tmp_path):
    write_world(make_world(1, counts=SMALL), tmp_path)
    path = tmp_path / "world.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "sha256": {**about["sha256"], "train.json": {"a": 1}}}))
    write_world(make_world(1, counts=SMALL), tmp_path)
    assert json.loads(path.read_text()) == about
