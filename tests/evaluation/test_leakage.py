"""Test questions that were learnt from, by id, text, all gold passages, or one of them."""

from __future__ import annotations

import json

import pytest

from doubles import FILM, DictRetriever
from examples.runs import question as film_question
from steper.api import compare as compare_runs
from steper.cli.main import run as command
from steper.errors import InputError
from steper.evaluation.compare import Comparison
from steper.evaluation.leakage import Seen, demonstrated, find_leakage
from steper.evaluation.methods import load_methods
from steper.evaluation.tables import leakage_line
from steper.examples.filters import Excluded
from steper.lm.scripted import ScriptedModel
from steper.prompt.render import PromptSettings
from steper.prompt.words import demonstrations
from steper.records import Passage, Question
from steper.reporting import ReportSettings, write_report
from steper.runs import teach
from steper.strategy.ircot import IRCoT


def asked(name, *titles, text="", benchmark="2wikimultihopqa", body=""):
    gold = tuple(Passage.make(title, f"{title} {body}") for title in titles)
    return Question(id=name, text=text or f"What of {name}?", benchmark=benchmark, gold=gold)


TRAIN = [
    asked("t1", "A", "B"),
    asked("t2", "C"),
    asked("t3", "D", "E", text="Who directed the film?"),
]


@pytest.mark.parametrize(
    ("question", "common"),
    [
        (asked("t1", "X", "Y"), "id"),
        (asked("q", "X", text="  Who DIRECTED film? "), "text"),
        (asked("q", "B", "A"), "gold_set"),
        (asked("q", "b", "A", body="in another edition"), "gold_set"),  # titles tell
        (asked("q", "A", "B", "C"), "gold_passage"),
        (asked("q", "A"), "gold_passage"),
        (asked("q", "C"), "gold_passage"),  # a lone passage is no set
        (asked("q", "X", "Y"), None),
        (asked("q"), None),
        (asked("q", "A", "B", benchmark="musique"), "gold_set"),
        (asked("q", "A", "B", benchmark="musique", body="other"), None),  # another text
        (asked("q", "A", "X", benchmark="musique"), "gold_passage"),
    ],
)
def test_the_gravest_in_common_counts(question, common):
    assert Seen(TRAIN).common(question) == common


def test_titles_of_generated_worlds_name_another_article_in_each():
    here = asked("culture-1-test-00001", "A", "B", body="here")
    there = asked("culture-2-train-00001", "A", "B", body="there")
    assert Seen([here]).common(there) is None
    same = there.model_copy(update={"gold": here.gold})
    assert Seen([here]).common(same) == "gold_set"


def test_a_generated_question_is_another_one_in_another_world():
    here = asked("culture-1-test-00001", text="Who made A?")
    others = [here.model_copy(update={"id": f"culture-{n}-train-00007"}) for n in (1, 2)]
    others.append(here.model_copy(update={"id": "renamed"}))
    assert [Seen([here]).common(other) for other in others] == ["text", None, "text"]
    assert [Seen([other]).common(here) for other in others] == ["text", None, "text"]


def test_each_test_question_is_listed_once_a_source_and_graver_ones_are_refused():
    test = [asked("q1", "A"), asked("q2", "A", "B"), asked("q3", "Z"), asked("q4", "D")]
    found = find_leakage(test, {"train.json": TRAIN, "old.json": [asked("o", "A", "Z")]})
    first, second = found.overlaps
    assert (first.gold_set, first.gold_passage) == (("q2",), ("q1", "q4"))
    assert (second.gold_set, second.gold_passage) == ((), ("q1", "q2", "q3"))
    assert found.shared_gold == ("q1", "q4", "q2", "q3")
    with pytest.raises(InputError, match=r"my data: 1 of 4 test questions are in train.json, too"):
        found.check("my data")
    find_leakage(test, {"old.json": [asked("o", "A", "Z")]}).check("my data")


def test_demonstrations_are_a_source():
    shown = demonstrations()[0]
    test = [asked("q1", text=shown.question), asked("q2", shown.passages()[0].title)]
    (found,) = find_leakage(test, {"the demonstrations": demonstrated(1)}).overlaps
    assert (found.text, found.gold_passage) == (("q1",), ("q2",))
    (none,) = find_leakage(test, {"the demonstrations": demonstrated(0)}).overlaps
    assert none.text == none.gold_passage == ()


def write(path, *questions):
    rows = [
        {
            "id": q.id,
            "question": q.text,
            "answers": ["x"],
            "context": [{"title": p.title, "text": p.text} for p in q.gold],
            "gold": list(range(len(q.gold))),
        }
        for q in questions
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_excluded_files_exclude_the_same_gold_passages_too(tmp_path):
    generic = [q.model_copy(update={"benchmark": "generic"}) for q in TRAIN]
    excluded = Excluded.read([write(tmp_path / "test.jsonl", *generic)])
    reasons = [
        excluded.reason(asked(name, *titles, benchmark="generic"))
        for name, titles in (("t1", ()), ("new", "AB"), ("new", "A"), ("new", "XY"))
    ]
    assert reasons == ["test_question_id", "test_gold_set", None, None]


def test_the_command_counts_and_refuses(tmp_path, capsys):
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    write(train, asked("t1", "A", "B"), asked("t2", "C", "D"))
    write(test, asked("q1", "A", "X"), asked("q2", "Y", "Z"))
    given = ["leakage", str(test), "--train", str(train), "--demos", "2"]
    assert command(given) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert any(row[-5:] == ["2", "0", "0", "0", "1"] for row in rows)
    write(test, asked("q1", "B", "A"), asked("q2", "Y", "Z"))
    assert command([*given, "--json"]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["overlaps"][0]["gold_set"] == ["q1"]
    assert "1 of 2 test questions are in" in said.err
    assert "by all of their gold passages (the first is 'q1')" in said.err
    assert command(["leakage", str(test)]) == 2
    assert "--train FILE, or --demos N" in capsys.readouterr().err


def taught(out, right):
    """A run over two questions, of which it answers those numbers right."""
    questions = [film_question(n, text=f"When, number {n}?") for n in range(2)]
    questions[1] = questions[1].model_copy(update={"gold": (Passage.make("Other", "x"),)})

    def script(request):
        return f"So the answer is: {1950 if int(request.question_id[1:]) in right else 1900}."

    strategy = IRCoT(None, PromptSettings(demos=0))
    return teach(questions, strategy, ScriptedModel(script), DictRetriever(FILM), out)


def test_scores_without_the_questions_that_share_a_passage_stand_beside(tmp_path, capsys):
    runs = [taught(tmp_path / "a", {0}), taught(tmp_path / "b", {1})]
    plain = compare_runs(runs, metrics=["em"])
    assert "shared_gold" not in plain.model_dump(mode="json")
    rain = Question(id="t", text="Who?", gold=(Passage.make("Gold Rain", FILM["Gold Rain"]),))
    train = write(tmp_path / "t.jsonl", rain)
    found = compare_runs(runs, metrics=["em"], trained_on=train)
    assert found.metrics == plain.metrics
    assert found.shared_gold == 1
    assert [m.mean.value for m in found.others[0].means] == [0.0, 1.0]
    line = "1 of 2 questions share a gold passage with what was trained on; without these, %: EM a"
    assert leakage_line(found).startswith(line)
    assert Comparison.model_validate(found.model_dump(mode="json")) == found
    names = [str(run.path) for run in runs]
    assert command(["compare", *names, "--trained-on", str(train)]) == 0
    assert "1 of 2 questions share a gold" in " ".join(capsys.readouterr().out.split())
    write(train, rain.model_copy(update={"text": "When, number 1?"}))
    assert command(["compare", *names, "--trained-on", str(train)]) == 2
    assert "too, by text (the first is 'q1')" in capsys.readouterr().err


def test_a_report_says_what_is_shared(tmp_path):
    runs = {name: [taught(tmp_path / name, {n}).path] for n, name in enumerate("ab")}
    methods = load_methods(runs)
    said = []
    for shared in ((), ("q0",)):
        settings = ReportSettings(shared_gold=shared)
        said.append(write_report(methods, tmp_path / "r.html", settings).read_text("utf-8"))
    assert "Leakage:" not in said[0]
    assert "Leakage: 1 of 2 questions share a gold passage with what was trained on" in said[1]
