"""All of the job in Python, every folder named by a text: from questions to a report."""

from dataclasses import dataclass
from os import fspath
from pathlib import Path

import pytest

import steper
import steper.api
from doubles import FILM, DictRetriever, film_questions, film_script
from lm.tiny import make_tiny_llama
from pipeline.made import write_files
from steper.errors import ModelError, SteperError
from steper.evaluation.statistics import Bootstrap
from steper.examples.build import BuildCounts
from steper.examples.example_folder import ExampleFolder, Written
from steper.lm.scripted import ScriptedModel
from steper.recipes.base import Recipe
from steper.recipes.stepwise import STEPER
from steper.store import dump_line
from steper.strategy.actions import Generate, Search
from steper.strategy.ircot import IRCoT

TEACHER = {"settings": {"max_steps": 4, "k": 3, "max_tokens": 12}}
SHORT = {"prompt": {"demos": 0, "passage_words": 20}}
QUICK = {"resamples": 100}


@dataclass
class Job:
    """The folder of a whole job, as text, and what its functions gave back."""

    folder: str
    run: steper.Run
    built: object
    trained: object


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Ten questions taught by the gold annotations, and a tiny student after two steps."""
    folder = fspath(tmp_path_factory.mktemp("job"))
    write_files(Path(folder))
    tiny = fspath(make_tiny_llama(f"{folder}/tiny", window=8192))
    train = f"{folder}/train.json"
    run = steper.teach(train, "ircot", "gold", "auto", f"{folder}/run", **TEACHER, **SHORT)
    built = steper.build(
        run,
        "steper",
        out=f"{folder}/examples",
        student=tiny,
        exclude=f"{folder}/test.json",
        filters={"correct": "em"},
        demos=0,
    )
    batch = {"batch_size": 4, "micro_batch_size": 2, "dtype": "float32"}
    trained = steper.train(built, tiny, f"{folder}/student", batch, max_steps=2)
    student = {"corpus": "auto", "out": f"{folder}/asked", "bootstrap": QUICK}
    steper.evaluate(f"{folder}/student", f"{folder}/test.json", **student)
    return Job(folder, run, built, trained)


def test_a_taught_run_is_scored_and_its_scores_written(job):
    assert job.run.manifest["inputs"]["questions"]["format"] == "2wikimultihopqa"
    evaluation = steper.evaluate(f"{job.folder}/run", bootstrap=Bootstrap(resamples=100))
    assert evaluation.metrics.overall.answers.em.value == 1
    assert evaluation.metrics == steper.evaluate(job.run, bootstrap=QUICK).metrics
    assert (job.run.path / "scores.jsonl").exists()


def test_a_built_folder_has_its_counts_and_the_students_form(job):
    assert job.built.counts.kept == 10
    settings = job.built.folder.manifest["settings"]
    assert (settings["form"], settings["recipe"]) == ("chat", "steper")
    assert settings["inputs"]["excluded_sha256"]


def test_what_a_build_opens_is_closed_and_what_was_open_stays(job, tmp_path, monkeypatch):
    class Retriever(DictRetriever):
        closed = False

        def close(self):
            self.closed = True

    ours, opened = Retriever(FILM), Retriever(FILM)
    monkeypatch.setattr(steper.api, "open_corpus", lambda c, _: c if c is ours else opened)
    steper.build(job.run, out=tmp_path / "a", corpus="corpus.jsonl", demos=0)
    steper.build(job.run, out=tmp_path / "b", corpus=ours, demos=0)
    assert opened.closed
    assert not ours.closed


def test_keywords_go_over_the_settings_of_a_training(job):
    assert job.trained.manifest["trained"]["steps"] == 2
    assert job.trained.manifest["settings"]["training"]["batch_size"] == 4
    again = steper.train(
        f"{job.folder}/examples",
        f"{job.folder}/tiny",
        f"{job.folder}/student",
        batch_size=4,
        micro_batch_size=2,
        dtype="float32",
        max_steps=2,
    )
    assert again.up_to_date


def test_a_student_is_asked_as_it_was_trained(job):
    settings = steper.Run(f"{job.folder}/asked").manifest["settings"]
    assert settings["prompt"]["passage_words"] == 20
    assert settings["strategy"]["k"] == 3
    question = steper.load_questions(f"{job.folder}/test.json")[0]
    events = []
    trajectory = steper.ask(
        question,
        job.trained,
        "auto",
        settings={"max_steps": 2},
        watch=lambda trace, event: events.append(event),
    )
    assert trajectory.steps[0].hits
    assert isinstance(events[0], Search)
    assert isinstance(events[2], Generate)
    assert events[-1] is None
    model = steper.open_model(job.trained.path)
    try:
        same = steper.ask(question, model, "auto", settings={"max_steps": 2})
    finally:
        model.close()
    assert same == trajectory


def test_runs_are_compared_and_reported_by_name_and_by_list(job):
    test, out = f"{job.folder}/test.json", f"{job.folder}/gold"
    steper.evaluate("gold", test, "auto", out, **TEACHER, **SHORT, bootstrap=QUICK)
    runs = {"gold": steper.Run(out), "student": [f"{job.folder}/asked"]}
    found = steper.compare(runs, baseline="student", metrics=["em"], bootstrap=QUICK)
    assert found.metrics[0].differences[0].difference.value == 1
    listed = steper.compare([out, f"{job.folder}/asked"], out, ["em"], bootstrap=QUICK)
    assert list(listed.methods) == ["gold", "asked"]
    training = {"student": job.trained}
    page = steper.report(
        runs, f"{job.folder}/r.html", training=training, bootstrap=QUICK, title="T"
    )
    assert "<title>T" in page.read_text()


def test_a_corpus_is_a_file_an_index_or_a_retriever(job):
    question = steper.load_questions(f"{job.folder}/test.json")[0]
    index = steper.BM25Index.build(question.context)
    index.save(f"{job.folder}/index")
    corpus = f"{job.folder}/corpus.jsonl"
    Path(corpus).write_text("".join(p.model_dump_json() + "\n" for p in question.context))
    found = [
        steper.ask(question, "gold", named, **TEACHER, **SHORT)
        for named in (index, f"{job.folder}/index", corpus, "auto")
    ]
    assert all(t == found[0] for t in found)
    assert index.search(["film"], 1) is not None  # it is not closed
    index.close()
    opened = steper.BM25Index.load(f"{job.folder}/index")
    assert repr(opened) == f"BM25Index({len(question.context)} passages, {opened.n_terms} terms)"
    opened.close()


@pytest.mark.slow
def test_a_shipped_model_is_asked_in_its_own_words(job):
    question = steper.load_questions(f"{job.folder}/test.json")[0]
    trajectory = steper.ask(question, "shipped:teacher", "auto", settings={"max_steps": 1})
    assert trajectory.strategy == "ircot"
    assert trajectory.steps[0].rationale


def test_a_pipeline_takes_its_file(job):
    pipeline = steper.Pipeline(f"{job.folder}/pipeline.yaml", f"{job.folder}/all")
    assert next(step.state for step in pipeline.plan(["index"])) == "to do"
    assert "small" in repr(pipeline)


def test_whoever_watches_changes_nothing_even_where_the_model_fails():
    def script(request):
        return ModelError("out of order") if request.step > 1 else film_script(request)

    def asked(**watched):
        question = film_questions(1)[0]
        return steper.ask(question, ScriptedModel(script), DictRetriever(FILM), **watched)

    trajectory = asked(watch=lambda trace, event: None)
    assert trajectory == asked()
    assert trajectory.status == "failed"
    assert [step.generated for step in trajectory.steps] == [True, False]


class Careful(IRCoT):
    """A strategy of one's own, as in a notebook."""

    name = "careful"


def test_a_run_by_a_strategy_of_ones_own_becomes_examples(tmp_path):
    own = {"settings": {"k": 3}, "prompt": {"demos": 0}}
    questions, model = film_questions(3), ScriptedModel(film_script)
    run = steper.teach(questions, Careful, model, DictRetriever(FILM), tmp_path / "run", **own)
    with pytest.raises(SteperError, match="code outside this package"):
        steper.build(run, out=tmp_path / "untold")
    mine = Recipe("mine", STEPER.make, "uniform", "as StepER")
    built = steper.build(
        run,
        mine,
        out=tmp_path / "examples",
        strategy=Careful,
        more_filters=[lambda question, replay: {0: "odd"} if question.id == "q1" else {}],
    )
    examples = list(built.folder.examples())
    assert {(e.recipe, e.strategy) for e in examples} == {("mine", "careful")}
    assert built.counts.dropped == {"odd": 1}
    assert built.folder.manifest["counts"]["kept"] == 2


def test_examples_say_in_one_line_what_they_are(job):
    made = ExampleFolder(Path("runs/e"))
    assert repr(made) == "ExampleFolder('runs/e')"
    counts = BuildCounts(trajectories=12, kept=8, examples=24)
    told = "Written('runs/e', 24 examples, 8 of 12 trajectories)"
    assert repr(Written(made, counts, (), up_to_date=False)) == told
    assert fspath(job.built) == fspath(job.built.folder) == f"{job.folder}/examples"


WRONG = {
    "no such question file": (
        lambda f: steper.teach(f"{f}/x.json", None, "gold", "auto", f),
        "no such file",
    ),
    "an unknown strategy": (
        lambda f: steper.ask("Why?", "gold", strategy="ircott"),
        "unknown strategy 'ircott'; did you mean ircot",
    ),
    "a strategy that lacks its corpus": (lambda f: steper.ask("Why?", "gold"), "needs a corpus"),
    "an empty question": (lambda f: steper.ask(" ", "gold"), "the question is empty"),
    "an unknown setting": (
        lambda f: steper.train(f"{f}/examples", f"{f}/tiny", f"{f}/s", epoch=1),
        "TrainSettings: epoch: unknown field",
    ),
    "a bad setting": (
        lambda f: steper.build(f"{f}/run", out=f"{f}/e", demos=-1),
        "ExampleSettings: demos: ",
    ),
    "a student to be scored": (lambda f: steper.evaluate(f"{f}/student"), "is a student: ask it"),
    "no folder to write to": (
        lambda f: steper.evaluate(f"{f}/student", f"{f}/test.json"),
        "give both questions and out",
    ),
    "one run to compare": (lambda f: steper.compare(f"{f}/run"), "at least two runs"),
    "no run to report": (lambda f: steper.report([f"{f}/x"], f"{f}/r.html"), "no such folder"),
    "no pipeline": (lambda f: steper.Pipeline(f"{f}/x.yaml", f), "x.yaml: no such file"),
    "no such shipped model": (lambda f: steper.ask("Why?", "shipped:x"), "unknown shipped model"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_inputs_are_one_line(job, wrong):
    call, said = WRONG[wrong]
    with pytest.raises(SteperError, match=said) as raised:
        call(job.folder)
    assert "\n" not in str(raised.value)


def test_half_a_character_does_not_end_a_question():
    def found(query, k):
        return [("T\ud800", "x\udc00"), {"id": "\ud800", "title": "U", "text": "y"}][:k]

    script = ScriptedModel(lambda request: "So the answer is: x.")
    done = steper.ask("Wh\udcff is it?", script, found, strategy="ircot")
    assert done.question == "Wh� is it?"
    assert [p.title for p in done.passages] == ["T�", "U"]
    assert dump_line(done)
