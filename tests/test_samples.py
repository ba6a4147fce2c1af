"""Several sampled trajectories of a question: taught, resumed, scored, shown, built, trained on."""

from __future__ import annotations

import json
from dataclasses import replace

import orjson
import pytest

from doubles import FILM, DictRetriever, film_questions
from examples.runs import question
from lm.asking import ask
from lm.fake_server import Reply, fake_server
from lm.tiny import make_tiny_llama
from steper.cli.main import run as command
from steper.errors import InputError, SettingsError
from steper.evaluation.compare import compare
from steper.evaluation.methods import load_methods
from steper.evaluation.samples import agreement, majority
from steper.evaluation.scoring import score_run, write_evaluation
from steper.examples.build import build_examples
from steper.examples.example_folder import write_examples
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import FilterSettings
from steper.gold.teacher import GoldTeacher
from steper.lm.base import FatalModelError
from steper.lm.hf import HFModel
from steper.lm.model_settings import GenerationSettings, HFSettings, OpenAISettings
from steper.lm.openai_server import OpenAIModel
from steper.lm.scripted import ScriptedModel
from steper.prompt.render import PromptSettings
from steper.reporting.trajectories import gather_examples
from steper.runs import Run, teach
from steper.strategy.ircot import IRCoT
from steper.training.encoding import is_held_out

BARE = PromptSettings(instruction=False, demos=0)

TEXTS = {
    0: ["Gold Rain was directed by Ann Lee.", "Ann Lee, she.", "So the answer is: 1950."],
    1: ["Gold Rain was directed by Ann Lee.", "So the answer is: 1950."],
    2: ["Ann who?", "So the answer is: 1950."],
    3: ["So the answer is: 1949."],
}
"""Of each sample: right in three steps; right in two on all gold; in two without; wrong."""


def script(request):
    return TEXTS[request.sample][request.step - 1]


def sampled(out, count=2, said=script, samples=4, **more):
    return teach(
        [question(n) for n in range(count)],
        IRCoT(None, BARE),
        ScriptedModel(said, identity="film"),
        DictRetriever(FILM),
        out,
        samples=samples,
        **more,
    )


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """A run of two questions, four samples each."""
    return sampled(tmp_path_factory.mktemp("four") / "r")


def test_a_run_holds_the_samples_of_each_question_in_order(four):
    trajectories = list(four.trajectories())
    assert [t.key for t in trajectories] == [(f"q{n}", s) for n in (0, 1) for s in range(4)]
    assert [len(t.steps) for t in trajectories[:4]] == [3, 2, 2, 1]
    assert [q.id for q in four.questions()] == ["q0", "q1"]
    manifest = four.manifest
    assert manifest["settings"]["samples"] == 4
    assert (manifest["counts"]["questions"], manifest["counts"]["trajectories"]) == (2, 8)
    assert manifest["counts"]["answered"] == 8


def test_one_sample_is_what_a_run_always_was(tmp_path):
    one = sampled(tmp_path / "r", samples=1)
    assert "samples" not in one.manifest["settings"]
    assert "trajectories" not in one.manifest["counts"]
    rows = (tmp_path / "r/trajectories.jsonl").read_bytes().splitlines()
    assert all("sample" not in orjson.loads(row) for row in rows)


def test_other_numbers_of_samples_are_other_settings(tmp_path):
    sampled(tmp_path / "r", samples=2)
    with pytest.raises(SettingsError, match="samples is 2 there, 3 now"):
        sampled(tmp_path / "r", samples=3)


def test_an_interrupted_run_goes_on_inside_its_samples(four, tmp_path):
    asked = []

    def breaks(request):
        asked.append((request.question_id, request.sample, request.step))
        return FatalModelError("no money") if len(asked) == 10 else script(request)

    with pytest.raises(FatalModelError):
        sampled(tmp_path / "r", said=breaks)
    there = list(Run(tmp_path / "r").trajectories())
    assert [t.key for t in there] == sorted(t.key for t in there)
    known, again = set(asked) - {asked[9]}, []

    def healthy(request):
        again.append((request.question_id, request.sample, request.step))
        return script(request)

    sampled(tmp_path / "r", said=healthy)
    assert not known & set(again)
    assert len(known) + len(again) == 16
    same = ("trajectories.jsonl", "questions.jsonl")
    assert [(tmp_path / "r" / n).read_bytes() for n in same] == [
        (four.path / n).read_bytes() for n in same
    ]


def test_a_model_that_samples_nothing_is_refused(tmp_path):
    gold = GoldTeacher([question()])
    with pytest.raises(SettingsError, match="samples is 3, but gold writes the same text each"):
        teach([question()], IRCoT(None, BARE), gold, DictRetriever(FILM), tmp_path / "r", samples=3)
    with pytest.raises(SettingsError, match="samples is 0; it must be at least 1"):
        sampled(tmp_path / "r", samples=0)
    assert not (tmp_path / "r").exists()


def test_a_local_model_samples_each_by_its_own_seed_in_any_batch(tmp_path):
    folder = str(make_tiny_llama(tmp_path / "m"))
    requests = [
        replace(ask(f"Who, {n}?", question_id=f"q{n}", form="chat", max_tokens=8), sample=s)
        for n in range(2)
        for s in range(3)
    ]

    def texts(asked, **settings):
        model = HFModel(
            folder,
            generation=GenerationSettings(temperature=1.5),
            settings=HFSettings(**settings),
        )
        try:
            assert not model.greedy
            return [f.result(60).text for f in model.submit(asked)]
        finally:
            model.close()

    together = texts(requests)
    assert len(set(together)) == 6
    assert texts(requests[::-1], batch_size=2)[::-1] == together
    first = [replace(r, sample=0) for r in requests]
    assert texts(first) == [together[n] for n in (0, 0, 0, 3, 3, 3)]
    greedy = HFModel(folder)
    assert greedy.greedy
    greedy.close()


def test_a_server_is_sent_a_seed_for_each_sample():
    seeds = {}
    with fake_server(lambda n, b: Reply()) as fake:
        for temperature in (0.7, 0.0):
            model = OpenAIModel(
                "m",
                generation=GenerationSettings(temperature=temperature, seed=5),
                settings=OpenAISettings(base_url=fake.url),
            )
            assert model.greedy is (temperature == 0)
            for name, sample in (("a", 0), ("a", 1), ("a", 2), ("b", 1)):
                request = replace(ask(question_id=name, form="chat"), sample=sample)
                model.submit([request])[0].result(30)
                seeds.setdefault(temperature, []).append(fake.calls[-1][1].get("seed"))
            model.close()
    assert seeds[0.0] == [None] * 4
    assert seeds[0.7][0] == 5
    assert len(set(seeds[0.7])) == 4
    assert all(0 <= seed < 2**31 for seed in seeds[0.7])


def test_the_first_sample_is_scored_and_the_others_beside_it(four, tmp_path):
    alone = score_run(sampled(tmp_path / "one", samples=1).path)
    evaluation = score_run(four.path)
    assert evaluation.scores == alone.scores
    assert evaluation.metrics.overall == alone.metrics.overall
    assert alone.metrics.samples is None
    assert "samples" not in alone.metrics.model_dump(mode="json")
    found = evaluation.metrics.samples
    assert (found.n, found.trajectories, found.most) == (2, 8, 4)
    assert (found.em.value, found.em_best.value, found.em_majority.value) == (0.75, 1.0, 1.0)
    assert found.agreement.value == 0.75
    write_evaluation(evaluation, tmp_path / "one")
    assert json.loads((tmp_path / "one/metrics.json").read_text())["samples"]["most"] == 4


def test_an_unfinished_sampled_run_is_scored_on_its_first_samples(four, tmp_path):
    sampled(tmp_path / "r")
    lines = (tmp_path / "r/trajectories.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "r/trajectories.jsonl").write_bytes(b"".join(lines[:4] + lines[5:]))
    with pytest.raises(InputError, match="lacks the trajectories of 1 of its questions"):
        score_run(tmp_path / "r")
    assert score_run(tmp_path / "r", partial=True).metrics.missing == 1


def test_methods_are_compared_by_their_first_samples(four, tmp_path):
    sampled(tmp_path / "one", samples=1)
    methods = load_methods({"four": [four.path], "one": [tmp_path / "one"]})
    found = compare(methods)
    assert found.shared == 2
    assert any("of 4 samples a question the first is scored" in line for line in found.warnings)
    assert found.metrics[0].differences[0].difference.value == 0
    shown = gather_examples(methods, methods, methods[0].questions, 1, 0).shown[0]
    assert [len(column.steps) for column in shown.columns] == [3, 3]


def test_the_majority_is_the_commonest_answer_and_the_first_of_equals():
    assert majority(["Oslo", "the oslo!", "Rome", ""]) == "Oslo"
    assert majority(["Rome", "Oslo"]) == "Rome"
    assert majority(["", ""]) == majority([]) == ""
    assert agreement(["Oslo", "OSLO", "Rome", ""]) == 0.5
    assert agreement(["", ""]) == 0


def test_commands_show_and_score_samples(four, capsys):
    folder = str(four.path)
    assert command(["show", folder]) == 0
    assert "sample" in capsys.readouterr().out.splitlines()[0]
    assert command(["show", folder, "-q", "q1", "--sample", "3"]) == 0
    assert "q1 · sample 3 ·" in capsys.readouterr().out
    assert command(["show", folder, "-q", "q1", "--sample", "4"]) == 2
    assert "--sample is 4; the run has samples 0 to 3" in capsys.readouterr().err
    assert command(["eval", folder]) == 0
    said = capsys.readouterr().out
    assert "Samples, 4 a question: EM 75.0 [75.0, 75.0] on average" in said


def built(run, **filters):
    made = build_examples(run, ExampleSettings(form="plain"), FilterSettings(**filters))
    return made, [(e.question_id, e.trajectory.rpartition("@")[2], e.step) for e in made]


@pytest.mark.parametrize(
    ("which", "steps", "per_question"),
    [("all", [3, 2, 2], {"3": 2}), ("first", [3], {"1": 2}), ("best", [2], {"1": 2})],
)
def test_all_the_first_or_the_best_of_the_right_samples_are_learnt(
    four, which, steps, per_question
):
    made, found = built(four, per_question=which)
    counts = made.counts
    assert len([place for place in found if place[0] == "q0"]) == sum(steps)
    assert counts.per_question == per_question
    assert counts.trajectories == 8
    assert counts.kept == 2 * len(steps)
    others = {"other_sample": 6 - counts.kept} if which != "all" else {}
    assert counts.dropped == {"wrong_answer": 2, **others}
    if which == "best":  # as short as sample 2, but it found all gold passages
        assert {sample for _, sample, _ in found} == {"1"}


def test_the_next_best_is_learnt_where_a_filter_takes_the_best(four):
    def no_short_ones(question, replay):
        return {0: "short"} if len(replay.steps) < 3 else {}

    made = build_examples(
        four,
        ExampleSettings(form="plain"),
        FilterSettings(per_question="best"),
        more_filters=[no_short_ones],
    )
    assert len({e.trajectory for e in made}) == 2
    assert made.counts.dropped == {"wrong_answer": 2, "short": 4}


def test_examples_of_samples_have_names_of_their_own_and_are_held_out_by_question(four, tmp_path):
    made = build_examples(four, ExampleSettings(form="plain"))
    examples = list(made)
    assert len({e.id for e in examples}) == len(examples)
    assert len({e.trajectory for e in examples}) == 6
    for share in (0.3, 0.6):
        sides = {(e.question_id, is_held_out(e.question_id, share, 0)) for e in examples}
        assert len(sides) == 2
    written = write_examples(made, tmp_path / "ex")
    assert written.folder.manifest["counts"]["per_question"] == {"3": 2}
    again = write_examples(build_examples(four, ExampleSettings(form="plain")), tmp_path / "ex")
    assert again.up_to_date
    assert again.counts.per_question == {"3": 2}


def test_old_counts_of_examples_stay_as_they_were(tmp_path):
    one = sampled(tmp_path / "r", samples=1)
    written = write_examples(build_examples(one, ExampleSettings(form="plain")), tmp_path / "ex")
    assert "per_question" not in written.folder.manifest["counts"]
    assert "per_question" not in written.folder.manifest["settings"]["filters"]


def test_the_command_teaches_samples(tmp_path, capsys):
    questions = tmp_path / "q.jsonl"
    questions.write_text(
        "".join(
            json.dumps({"id": q.id, "question": q.text, "answers": list(q.answers)}) + "\n"
            for q in film_questions(2)
        )
    )
    scripted = tmp_path / "s.jsonl"
    scripted.write_text('{"default": true, "text": "So the answer is: 1950."}\n')
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"title": t, "text": x}) + "\n" for t, x in FILM.items()))
    given = ["teach", "--questions", str(questions), "--corpus", str(corpus), "--samples", "2"]
    out = ["--out", str(tmp_path / "r")]
    assert command([*given, "--model", f"scripted:{scripted}", *out]) == 2
    assert "writes the same text each time" in capsys.readouterr().err
    (tmp_path / "sure.py").write_text("def say(request):\n    return 'So the answer is: 1950.'\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        assert command([*given, "--model", "sure:say", *out]) == 0
    assert "2 questions, 4 trajectories: 4 answered" in capsys.readouterr().out
