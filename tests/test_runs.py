import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from doubles import FILM, DictRetriever, film_questions, film_script
from steper.artifact import differing
from steper.errors import InputError, ModelError, SettingsError
from steper.journal import RunFolder
from steper.lm.base import Completion, FatalModelError
from steper.lm.scripted import ScriptedModel
from steper.prompt.render import PromptSettings
from steper.runs import Run, make_strategy, teach
from steper.strategy.ircot import IRCoT, IRCoTSettings

ACTION = {
    "question_id": "q0",
    "n": 0,
    "request": "5f",
    "completion": Completion(text="x").model_dump(mode="json", exclude_none=True),
}
BARE = PromptSettings(instruction=False, demos=0)


def run(out, script=film_script, count=6, prompt=BARE, settings=None, **more):
    return teach(
        film_questions(count),
        IRCoT(settings, prompt),
        ScriptedModel(script, identity="film"),
        DictRetriever(FILM),
        out,
        **more,
    )


def test_a_run_folder_has_its_manifest_questions_and_trajectories_in_order(tmp_path):
    result = run(tmp_path / "r")
    assert [t.question_id for t in result.trajectories()] == [f"q{i}" for i in range(6)]
    assert [q.id for q in result.questions()] == [f"q{i}" for i in range(6)]
    manifest = result.manifest
    assert manifest["status"] == "complete"
    assert manifest["counts"]["answered"] == 6
    assert manifest["counts"]["generations"] == 18
    assert manifest["settings"]["strategy"]["max_steps"] == 5
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == [
        ".lock",
        "manifest.json",
        "questions.jsonl",
        "trajectories.jsonl",
    ]


def test_prompts_that_never_fit_are_told_with_their_reason(tmp_path):
    model = ScriptedModel(film_script, context_window=200)
    strategy = IRCoT(None, PromptSettings(demos=1))
    made = teach(film_questions(3), strategy, model, DictRetriever(FILM), tmp_path / "r")
    assert made.manifest["counts"]["capped"] == 3
    assert made.manifest["warnings"] == [
        "3 × context_budget: the prompt does not fit; show fewer demos or passages, or raise "
        "context_window"
    ]


def test_a_complete_run_is_not_asked_again(tmp_path):
    run(tmp_path / "r")
    before = (tmp_path / "r/manifest.json").read_bytes()
    run(tmp_path / "r", script=lambda request: ModelError("must not be asked"))
    assert (tmp_path / "r/manifest.json").read_bytes() == before


def test_other_settings_are_refused_by_name(tmp_path):
    run(tmp_path / "r")
    with pytest.raises(SettingsError, match=r"strategy\.k is 4 there, 6 now"):
        run(tmp_path / "r", settings=IRCoTSettings(k=6))
    with pytest.raises(SettingsError, match=r"questions\.count is 6 there, 7 now"):
        run(tmp_path / "r", count=7)
    run(tmp_path / "r", settings=IRCoTSettings(k=6), overwrite=True)
    assert Run(tmp_path / "r").manifest["settings"]["strategy"]["k"] == 6


def test_failed_questions_are_asked_again_on_request(tmp_path):
    def flaky(request):
        if request.question_id == "q2" and request.step == 2:
            return ModelError("busy")
        return film_script(request)

    first = run(tmp_path / "r", script=flaky)
    assert first.manifest["counts"]["failed"] == 1
    assert first.manifest["counts"]["errors"] == {"busy": 1}
    asked = []

    def healthy(request):
        asked.append((request.question_id, request.step))
        return film_script(request)

    again = run(tmp_path / "r", script=healthy, retry_failed=True)
    assert again.manifest["counts"]["answered"] == 6
    assert asked == [("q2", 2), ("q2", 3)]
    undisturbed = run(tmp_path / "other")
    assert list(again.trajectories()) == list(undisturbed.trajectories())


def test_an_interrupted_run_goes_on(tmp_path):
    def down(request):
        if request.question_id == "q4":
            raise KeyboardInterrupt
        return film_script(request)

    class Interrupted(ScriptedModel):
        def _answer(self, request):
            if request.question_id == "q4":
                raise KeyboardInterrupt
            return super()._answer(request)

    with pytest.raises(KeyboardInterrupt):
        teach(
            film_questions(6),
            IRCoT(None, BARE),
            Interrupted(film_script, identity="film"),
            DictRetriever(FILM),
            tmp_path / "r",
        )
    assert Run(tmp_path / "r").manifest["status"] == "running"
    result = run(tmp_path / "r")
    assert len(list(result.trajectories())) == 6


def test_what_had_finished_at_an_early_end_is_recorded(tmp_path):
    """Answers that wait in the inbox when the run ends are paid for, and must not be lost."""
    asked = []

    def script(request):
        asked.append((request.question_id, request.step))
        if len(asked) == 40:
            return FatalModelError("key was taken back")
        return film_script(request)

    with pytest.raises(FatalModelError):
        run(tmp_path / "r", script=script, count=60)
    finished = {key for key in asked if key != asked[39]}
    assert known_generations(tmp_path / "r") == finished
    again = []

    def healthy(request):
        again.append((request.question_id, request.step))
        return film_script(request)

    run(tmp_path / "r", script=healthy, count=60)
    assert not finished & set(again)


def test_a_run_that_never_got_an_answer_leaves_its_folder_free(tmp_path):
    """A wrong model name or a dead server is mended with the same --out."""
    with pytest.raises(ModelError):
        run(tmp_path / "r", script=lambda request: ModelError("unknown model"))
    result = run(tmp_path / "r", settings=IRCoTSettings(k=3))
    assert result.manifest["settings"]["strategy"]["k"] == 3
    assert len(list(result.trajectories())) == 6


def test_a_model_may_move_to_another_folder(tmp_path):
    old = {"model": {"model": "./m", "digest": "abc"}}
    folder = RunFolder(tmp_path / "r", film_questions(1), old)
    folder.write_actions([ACTION])
    folder.close()
    RunFolder(
        tmp_path / "r", film_questions(1), {"model": {"model": "/a/m", "digest": "abc"}}
    ).close()
    with pytest.raises(SettingsError, match=r"model\.digest"):
        RunFolder(tmp_path / "r", film_questions(1), {"model": {"model": "./m", "digest": "x"}})


def test_two_processes_cannot_write_one_run(tmp_path):
    folder = RunFolder(tmp_path / "r", film_questions(1), {})
    with pytest.raises(InputError, match="another steper process"):
        RunFolder(tmp_path / "r", film_questions(1), {})
    folder.close()
    RunFolder(tmp_path / "r", film_questions(1), {}).close()


def test_a_line_cut_off_by_a_crash_is_taken_off(tmp_path):
    folder = RunFolder(tmp_path / "r", film_questions(1), {})
    folder.write_actions([ACTION])
    folder.close()
    with (tmp_path / "r/actions.jsonl").open("ab") as file:
        file.write(b'{"question_id": "q0", "n"')
    folder = RunFolder(tmp_path / "r", film_questions(1), {})
    assert folder.recorded_actions() == {("q0", 0): [ACTION]}
    folder.close()


def test_a_damaged_line_is_named(tmp_path):
    folder = RunFolder(tmp_path / "r", film_questions(1), {})
    folder.write_actions([ACTION])
    folder.close()
    with (tmp_path / "r/actions.jsonl").open("ab") as file:
        file.write(b"\0\0\0\n")
    folder = RunFolder(tmp_path / "r", film_questions(1), {})
    with pytest.raises(InputError, match=r"actions\.jsonl, line 2: .*JSON"):
        folder.recorded_actions()
    folder.close()


@pytest.mark.parametrize("write", ["write_json", "write_jsonl"])
def test_a_run_killed_while_its_folder_is_made_goes_on(tmp_path, monkeypatch, write):
    def killed(*_):
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(f"steper.journal.{write}", killed)
        with pytest.raises(SystemExit):
            run(tmp_path / "r")
    assert len(list(run(tmp_path / "r").trajectories())) == 6
    assert len(list(Run(tmp_path / "r").questions())) == 6


def test_a_kill_between_the_last_writes_leaves_nothing_behind(tmp_path, monkeypatch):
    def killed(*_):
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "_tidy", killed)
        with pytest.raises(SystemExit):
            run(tmp_path / "r")
    run(tmp_path / "r")
    run(tmp_path / "whole")
    names = [sorted(p.name for p in (tmp_path / name).iterdir()) for name in ("r", "whole")]
    assert names[0] == names[1]


def test_a_kill_while_failed_questions_are_taken_up_again_loses_nothing(tmp_path, monkeypatch):
    def flaky(request):
        return ModelError("busy") if request.question_id == "q2" else film_script(request)

    def killed(*_):
        raise SystemExit

    run(tmp_path / "r", script=flaky)
    with monkeypatch.context() as patched:
        patched.setattr("steper.journal.write_json", killed)
        with pytest.raises(SystemExit):
            run(tmp_path / "r", retry_failed=True)
    asked = []

    def healthy(request):
        asked.append(request.question_id)
        return film_script(request)

    assert run(tmp_path / "r", script=healthy).manifest["counts"]["answered"] == 6
    assert set(asked) == {"q2"}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        run(tmp_path / "file/r")


def test_overwrite_spares_folders_that_are_no_runs(tmp_path):
    (tmp_path / "manifest.json").write_text('{"settings": {}, "content": "step examples"}')
    with pytest.raises(InputError, match="not the manifest of a run"):
        run(tmp_path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("name", ["notes.txt", "data.jsonl"])
def test_a_folder_with_other_things_is_refused(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="not a run folder"):
        run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_repeated_ids_empty_sets_and_demonstrations_are_refused(tmp_path):
    questions = film_questions(2)
    bad = [questions[0], questions[1].model_copy(update={"id": "q0"})]
    args = (IRCoT(None, PromptSettings()), ScriptedModel(film_script), DictRetriever(FILM))
    with pytest.raises(InputError, match="'q0' comes twice"):
        teach(bad, *args, tmp_path / "r")
    with pytest.raises(InputError, match="no questions"):
        teach([], *args, tmp_path / "r")
    shown = [
        questions[0].model_copy(update={"text": "When was the director of the film  jaws born?"})
    ]
    with pytest.raises(InputError, match="one of the prompt's demonstrations"):
        teach(shown, *args, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_window_too_small_is_said(tmp_path):
    with pytest.raises(SettingsError, match="window of 100 tokens"):
        make_strategy("ircot", ScriptedModel(film_script, context_window=100))


def test_differing_names_the_path():
    assert list(differing({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2})) == [
        "a.b is 1 there, 3 now"
    ]


KILLED = Path(__file__).parent / "killed_run.py"


class Runs:
    """A process that makes runs in forks."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, str(KILLED)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, *arguments):
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def has_ended(self):
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def end(self):
        return int(self.process.stdout.readline())


def killed_runs(runs, tmp_path, kills, count, seed=0):
    """Kill a run `kills` times at random moments, then let it end; returns its folder."""
    chance = random.Random(seed)
    out, log = tmp_path / "killed", tmp_path / "calls.jsonl"
    asked = (str(out), str(log), count)
    done = 0
    journalled = []
    while done < kills:
        pid = runs.start(*asked)
        time.sleep(chance.uniform(0.0, 0.35))
        if not runs.has_ended():
            os.kill(pid, signal.SIGKILL)
        done += runs.end() == -signal.SIGKILL
        finished = known_generations(out)
        journalled.append((finished, len(log.read_bytes().splitlines()) if log.exists() else 0))
        if (out / "trajectories.jsonl").exists():
            break
    runs.start(*asked)
    assert runs.end() == 0
    return out, log, journalled, done


def known_generations(out):
    """(question, step) of each generation on disk."""
    known = set()
    for name in ("actions.jsonl", "trajectories.part"):
        if not (out / name).exists():
            continue
        for line in (out / name).read_bytes().split(b"\n")[:-1]:
            row = orjson.loads(line)
            if "completion" in row:
                known.add((row["question_id"], (row["n"] + 1) // 2))
            known |= {(row["question_id"], s["index"]) for s in row.get("steps", ())}
    return known


def check_kills(tmp_path, kills, count):
    runs, whole = Runs(), tmp_path / "whole"
    with runs.process:
        out, log, journalled, done = killed_runs(runs, tmp_path, kills, count)
        runs.start(str(whole), str(tmp_path / "whole.log"), count)
        assert runs.end() == 0
    for name in ("trajectories.jsonl", "questions.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    calls = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    for finished, before in journalled:
        later = {(c["question_id"], c["step"]) for c in calls[before:]}
        assert not finished & later
    return done


def test_killed_runs_end_as_undisturbed_ones(tmp_path):
    assert check_kills(tmp_path, 2, 100) > 0
