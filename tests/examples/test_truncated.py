"""Thoughts and texts that were cut off, from the model through the record to the examples."""

import json

import pytest
from runs import CASES, IRCOT, only, question, run_case

from doubles import FILM, DictRetriever, drive, film_questions
from lm.tiny import make_tiny_llama
from steper.cli.main import run as run_command
from steper.evaluation.scoring import evaluate_run
from steper.examples.build import build_examples
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import FilterSettings
from steper.lm.base import Completion
from steper.lm.hf import HFModel
from steper.lm.scripted import ScriptedModel
from steper.prompt.render import PromptSettings
from steper.records import Step
from steper.runs import make_strategy, teach
from steper.strategy.actions import Generate
from steper.strategy.closed_book import ClosedBook
from steper.strategy.context import Budget
from steper.strategy.ircot import IRCoT, IRCoTSettings
from steper.strategy.self_ask import SelfAsk, SelfAskSettings

BARE = PromptSettings(instruction=False, demos=0)
BORN = "Ann Lee was born in 1950."


def built(run, **filters):
    build = build_examples(run, ExampleSettings(), FilterSettings(**filters))
    return list(build), build.counts


def answers_to(texts, out, **settings):
    """A run over one question a list of texts; a text may be a Completion."""
    model = ScriptedModel(lambda r: texts[int(r.question_id[1:])][r.step - 1], form="chat")
    strategy = IRCoT(IRCoTSettings(**settings), BARE)
    asked = [
        question(n, f"When was the director of Gold Rain born, {n}?") for n in range(len(texts))
    ]
    return teach(asked, strategy, model, DictRetriever(FILM), out)


def thinking(texts):
    return [f"<think>\nWho?\n\nThe answer is: Oslo.\n</think>\n\n{text}" for text in texts]


@pytest.mark.parametrize("name", ["ircot", "ircot, direct reader", "self_ask", "one_shot"])
def test_thoughts_are_recorded_and_taught_to_nobody(name, tmp_path):
    case = CASES[name]
    plain, asked = run_case(case, tmp_path / "plain", BARE, "chat")
    thought, asked_too = run_case(
        case, tmp_path / "thought", BARE, "chat", texts={"q0": thinking(case.texts)}
    )
    assert asked == asked_too
    trajectory = only(thought)
    assert [s.thoughts for s in trajectory.steps] == ["Who?\n\nThe answer is: Oslo."] * len(
        asked["q0"]
    )
    texts = [(s.raw.strip(), s.rationale) for s in trajectory.steps]
    assert texts == [(s.raw.strip(), s.rationale) for s in only(plain).steps]
    assert trajectory.answer == "1950"
    examples, _ = built(thought)
    assert [e.segments for e in examples] == [e.segments for e in built(plain)[0]]


def test_thoughts_without_an_end_are_no_answer(tmp_path):
    (trajectory,) = answers_to([["<think>\nSo the answer is: 1950."]], tmp_path).trajectories()
    (step,) = trajectory.steps
    assert (step.rationale, step.finish, trajectory.status) == ("", "length", "capped")
    assert step.thoughts == "So the answer is: 1950."


def test_cut_off_steps_are_dropped_and_counted(tmp_path):
    cut = Completion(text="Ann Lee was born in", finish="length")
    behind = Completion(text=f"{BORN} She was a director who", finish="length")
    reasoned = Completion(text=f"{BORN} So the answer is: 1950. It", finish="length")
    run = answers_to(
        [IRCOT, [IRCOT[0], cut, IRCOT[2]], [IRCOT[0], behind, IRCOT[2]], [*IRCOT[:2], reasoned]],
        tmp_path,
    )
    assert [s.finish for t in run.trajectories() for s in t.steps].count("length") == 3
    examples, counts = built(run)
    assert {e.question_id for e in examples} == {"q0", "q2", "q3"}
    assert counts.dropped == {"truncated": 1}
    examples, counts = built(run, on_bad_step="step")
    assert [e.step for e in examples if e.question_id == "q1"] == [1, 3]
    assert counts.dropped_steps == {"truncated": 1}
    _, counts = built(run, truncated=True)
    assert (counts.kept, counts.dropped) == (4, {})


def test_a_readers_text_that_was_cut_off_is_dropped(tmp_path):
    cut = Completion(text="She was. So the answer is: 1950. It is", finish="length")
    run = answers_to([[*IRCOT, cut]], tmp_path, reader="cot")
    assert built(run, on_bad_step="step")[1].dropped_steps == {"truncated": 1}


def test_a_record_says_what_is_not_as_ever():
    whole = Step(index=1, kind="agg", raw="x")
    assert {"finish", "thoughts"}.isdisjoint(json.loads(whole.model_dump_json()))
    assert Step.model_validate_json(whole.model_dump_json()) == whole
    cut = Step(index=1, kind="agg", finish="length", thoughts="Hm.")
    assert Step.model_validate_json(cut.model_dump_json()) == cut
    assert "truncated" not in FilterSettings().model_dump(mode="json")


def test_many_cut_off_generations_are_one_line_in_manifest_and_scores(tmp_path):
    cut = Completion(text="Ann Lee was born in", finish="length")
    run = answers_to([[IRCOT[0], cut, IRCOT[2]], IRCOT], tmp_path / "many")
    assert run.manifest["counts"]["generations_truncated"] == 1
    (line,) = run.manifest["warnings"]
    assert line.startswith("1 of 6 generations (16.7 %) were cut off at the token limit; raise max")
    assert evaluate_run(run.path).warnings == (line,)
    few = answers_to([[IRCOT[0], cut, IRCOT[2]], *[IRCOT] * 3], tmp_path / "few")
    assert few.manifest["counts"]["generations_truncated"] == 1
    assert "warnings" not in few.manifest
    assert evaluate_run(few.path).warnings == ()


def test_the_teach_command_says_so(tmp_path, capsys):
    script, questions = tmp_path / "script.jsonl", tmp_path / "questions.jsonl"
    script.write_text('{"default": true, "text": "<think>\\nWell,\\n\\nlet me see"}\n')
    questions.write_text('{"id": "1", "question": "Who?", "answers": ["Ann Lee"]}\n')
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"title": "Gold Rain", "text": "Gold Rain is a film by Ann Lee."}\n')
    command = ["teach", "--questions", str(questions), "--corpus", str(corpus)]
    command += ["--model", f"scripted:{script}", "--out", str(tmp_path / "run")]
    assert run_command(command) == 0
    said = capsys.readouterr()
    assert "1 capped" in said.out
    assert "1 of 1 generations (100 %) were cut off at the token limit" in " ".join(
        said.err.split()
    )
    assert run_command(["show", str(tmp_path / "run"), "-q", "1", "--full"]) == 0
    shown = capsys.readouterr().out
    assert "cut off at the token limit" in shown
    assert "let me see" in shown


def test_a_real_models_limit_is_recorded(tmp_path):
    lm = HFModel(str(make_tiny_llama(tmp_path / "tiny")))
    try:
        settings = IRCoTSettings(max_tokens=4, max_steps=2)
        strategy = make_strategy("ircot", lm, settings, BARE)
        run = teach(film_questions(3), strategy, lm, DictRetriever(FILM), tmp_path / "run")
    finally:
        lm.close()
    steps = [step for t in run.trajectories() for step in t.steps]
    full = [step for step in steps if step.usage.completion_tokens == 4 and step.finish == "length"]
    assert full
    assert run.manifest["counts"]["generations_truncated"] == len(full)


# How much may be written.


def limits(strategy, texts):
    _, actions = drive(strategy, "Who?", texts, lambda query: [])
    return [action.max_tokens for action in actions if isinstance(action, Generate)]


@pytest.mark.parametrize(
    ("settings", "reader"),
    [
        ({"reader": "direct"}, 128),
        ({"reader": "cot"}, 256),
        ({"reader": "chain"}, 256),
        ({"reader": "cot", "max_tokens": 1000}, 1000),
        ({"reader": "cot", "reader_max_tokens": 64}, 64),
        ({"reader": "direct", "reader_max_tokens": 900}, 900),
    ],
)
def test_a_reader_has_a_limit_of_its_own(settings, reader):
    strategy = IRCoT(IRCoTSettings(max_steps=1, **settings), BARE, "chat")
    step = settings.get("max_tokens", 128)
    assert limits(strategy, [IRCOT[0], "So the answer is: 1950."]) == [step, reader]
    if settings["reader"] != "chain":
        apart = SelfAsk(SelfAskSettings(max_steps=2, **settings), BARE, "chat")
        asked = ["Follow up: When?", "Ann Lee.", "So the final answer is: Ann Lee"]
        assert limits(apart, asked) == [step, reader, step]


def test_a_strategy_of_one_generation_writes_more():
    assert limits(ClosedBook(None, BARE), ["So the answer is: 1950."]) == [256]


def test_a_readers_prompt_leaves_room_for_its_text():
    passages = DictRetriever(FILM).search([" ".join(FILM)], 10)[0]

    def shown(**settings):
        settings = IRCoTSettings(max_steps=1, reader="direct", **settings)
        strategy = IRCoT(settings, BARE, "chat", Budget(400))
        _, actions = drive(strategy, "Who?", [IRCOT[0], "1950"], lambda query: passages)
        return [len(a.passages) for a in actions if isinstance(a, Generate)]

    assert shown() == [3, 3]
    assert shown(reader_max_tokens=350) == [3, 2]


def test_the_limit_of_a_reader_came_later():
    settings = IRCoTSettings().model_dump(mode="json")
    assert "reader_max_tokens" not in settings
    assert IRCoTSettings.model_validate(settings) == IRCoTSettings()


@pytest.mark.parametrize(
    ("strategy", "limit"), [("ircot", "--reader-max-tokens"), ("one_shot", "[default: 256]")]
)
def test_the_help_shows_the_limits(strategy, limit, capsys):
    run_command(["teach", "--strategy", strategy, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--max-tokens" in said
    assert limit in said
