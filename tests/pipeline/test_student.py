"""A trained student is asked as it was trained: from its folder, over every command."""

import json
import shutil

import pytest

from pipeline.made import write_files
from steper.cli.main import run as command
from steper.data import build_corpus, load_questions
from steper.errors import InputError, SettingsError
from steper.prompt.render import PromptSettings
from steper.retrieve.bm25 import BM25Index
from steper.runs import Run
from steper.strategy.con.strategy import ChainOfNote
from steper.strategy.ircot import IRCoT, IRCoTSettings
from steper.student import (
    StudentOptions,
    adopt_student,
    evaluate_student,
    read_student_card,
    student_folder,
)

SECTIONS = {"strategy": {}, "prompt": {}, "generation": {}, "hf": {}, "openai": {}}


@pytest.fixture(scope="module")
def student(tmp_path_factory, tiny):
    """A folder as `steper train` leaves it: the model and its card."""
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("students") / "student")
    strategy = IRCoTSettings(max_steps=2, k=2, max_tokens=8).model_dump(mode="json")
    prompt = PromptSettings(demos=0, passage_words=15).model_dump(mode="json")
    card = {"schema_version": 1, "form": "chat", "prompt": prompt, "recipe": "steper"}
    card |= {"strategy": {"name": "ircot", **strategy}, "target": "current", "weights": "learned"}
    (folder / "steper.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def questions(tmp_path):
    write_files(tmp_path)
    return tmp_path / "test.json"


def settings_of(run):
    return Run(run).manifest["settings"]


def test_a_student_of_before_is_shown_each_demonstration_as_one_chain(student, tmp_path):
    card = json.loads((student / "steper.json").read_text())
    card["prompt"]["demos"] = 2
    (tmp_path / "steper.json").write_text(json.dumps(card))
    assert read_student_card(tmp_path).prompt.demo_steps == "chain"
    _, sections = adopt_student(tmp_path, None, SECTIONS)
    assert PromptSettings(**sections["prompt"]).demo_steps == "chain"


@pytest.mark.parametrize(
    ("kind", "longest", "given", "room"),
    [
        (ChainOfNote, 300, {}, 300),
        (ChainOfNote, 200, {}, 256),
        (ChainOfNote, 300, {"max_tokens": 90}, 90),
        (IRCoT, 300, {}, 128),
    ],
)
def test_a_student_may_write_what_it_learnt_to_write_at_once(
    kind, longest, given, room, student, tmp_path
):
    card = json.loads((student / "steper.json").read_text())
    asked = {"name": kind.name, **kind.settings_type().model_dump(mode="json")}
    told = json.dumps({**card, "strategy": asked, "longest_target": longest})
    (tmp_path / "steper.json").write_text(told)
    found, sections = adopt_student(tmp_path, None, {**SECTIONS, "strategy": given})
    assert (found, sections["strategy"]["max_tokens"]) == (kind, room)


def test_a_student_is_asked_as_its_card_says(tmp_path, student, questions):
    asked = load_questions(questions)
    index = BM25Index.build(build_corpus(asked))
    run, evaluation = evaluate_student(student, asked, index, tmp_path / "run")
    index.close()
    card = read_student_card(student)
    assert settings_of(run.path)["prompt"] == card.prompt.model_dump(mode="json")
    assert settings_of(run.path)["strategy"] == card.strategy
    assert evaluation.metrics.questions == 5
    assert (run.path / "metrics.json").exists()


def test_options_go_over_the_card(tmp_path, student, questions):
    asked = load_questions(questions)[:1]
    options = StudentOptions("closed_book", {"max_tokens": 4}, {"instruction": False})
    run, _ = evaluate_student(student, asked, None, tmp_path / "run", options)
    assert settings_of(run.path)["strategy"]["name"] == "closed_book"
    assert settings_of(run.path)["strategy"]["max_tokens"] == 4
    assert settings_of(run.path)["prompt"]["instruction"] is False
    wrong = StudentOptions(strategy_settings={"kk": 1})
    with pytest.raises(SettingsError, match="kk: unknown field"):
        evaluate_student(student, asked, None, tmp_path / "other", wrong)


def test_a_folder_in_place_of_the_card_is_told(tmp_path):
    (tmp_path / "steper.json").mkdir()
    assert student_folder(tmp_path) == tmp_path
    with pytest.raises(InputError, match=r"steper\.json is a folder; a file was expected"):
        read_student_card(tmp_path)


def test_what_is_no_student_is_refused(tmp_path, tiny):
    with pytest.raises(InputError, match=r"is no student: it has no steper\.json"):
        read_student_card(tiny)
    (tmp_path / "steper.json").write_text('{"form": "song"}')
    with pytest.raises(InputError, match=r"steper\.json: "):
        read_student_card(tmp_path)


def test_commands_adopt_a_students_settings(student):
    assert student_folder("gold") is None
    assert adopt_student("gold", None, SECTIONS) == (IRCoT, SECTIONS)
    kind, sections = adopt_student(f"hf:{student}", None, {**SECTIONS, "strategy": {"k": 7}})
    assert kind is IRCoT
    assert sections["strategy"]["k"] == 7
    assert sections["strategy"]["max_steps"] == 2
    assert sections["prompt"]["passage_words"] == 15
    other, sections = adopt_student(str(student), "one_shot", SECTIONS)
    assert other.name == "one_shot"
    assert sections["strategy"] == {}
    assert sections["prompt"]["passage_words"] == 15


def test_teach_eval_and_ask_ask_alike(tmp_path, student, questions, capsys):
    asked = ["--questions", str(questions), "--limit", "2"]
    taught, evaluated = tmp_path / "taught", tmp_path / "evaluated"
    assert command(["teach", "--model", str(student), *asked, "--out", str(taught)]) == 0
    assert command(["eval", "--student", str(student), *asked, "--out", str(evaluated)]) == 0
    assert settings_of(taught) == settings_of(evaluated)
    first, second = ((run / "trajectories.jsonl").read_text() for run in (taught, evaluated))
    assert first == second
    capsys.readouterr()
    trajectory = next(Run(taught).trajectories())
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        "".join(
            json.dumps({"title": p.title, "text": p.text}) + "\n"
            for p in build_corpus(load_questions(questions))
        )
    )
    ask = ["ask", trajectory.question, "--student", str(student), "--corpus", str(corpus)]
    assert command(ask) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Step 1" in shown
    assert "search" in shown
    for step in trajectory.steps:
        assert " ".join(step.rationale.split())[:20] in shown
        assert " ".join((step.query or "").split())[:20] in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ask", "Why?"], "name whom to ask: --student FOLDER or --model MODEL"),
        (["ask", "Why?", "--model", "gold"], "gold knows the questions of a file alone"),
        (["ask", "Why?", "--model", "org/model"], "name a --corpus"),
        (["ask", " ", "--model", "org/model"], "the question is empty"),
        (["ask", "Why?", "--student", "nowhere"], "is no student"),
        (["eval"], "name a RUN to score"),
        (["eval", "--student", "x"], "--student goes with --questions FILE and --out RUN"),
        (["run", "nowhere.yaml"], "nowhere.yaml: no such file"),
    ],
)
def test_wrong_inputs_are_one_line(arguments, said, capsys):
    assert command(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
