"""All of the job as functions: what the commands of these names do, for Python.

A folder is a text, a path, or what another function gave back. A `model` is a spec as on the
command line (`gold`, `openai:NAME`, `shipped:teacher`, a folder), an open model, or a function that
answers a request; a trained student is asked as it was trained, but for the settings that are
given. A `corpus` is `auto` (the union of the questions' own contexts), a corpus.jsonl, an index's
folder, a server's address, an open retriever, or a function (query, k) -> passages. What a function
opens itself it closes. Settings are objects or mappings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from steper.data import read_question_file
from steper.data.retrievers import check_corpus, open_corpus
from steper.engine import Engine
from steper.errors import InputError, SettingsError
from steper.evaluation import compare as comparing
from steper.evaluation.leakage import find_leakage
from steper.evaluation.methods import load_methods, parse_methods, shared_questions
from steper.evaluation.scoring import Evaluation
from steper.evaluation.statistics import Bootstrap
from steper.examples.build import build_examples
from steper.examples.example_folder import ExampleFolder, Written, write_examples
from steper.examples.example_settings import ExampleSettings
from steper.examples.export import Export
from steper.examples.filters import Filter, FilterSettings
from steper.examples.student_form import student_form
from steper.judging.judge import JudgeSettings, judged_runs
from steper.judging.judge import judge as ask_judge
from steper.judging.preferences import Preferences
from steper.lm.base import LanguageModel
from steper.lm.judge import MAX_TOKENS, LMJudge
from steper.lm.open import as_model, open_model
from steper.lm.shipped import locate_model
from steper.prompt.render import PromptSettings
from steper.recipes import RECIPES, Recipe
from steper.records import Question, Trajectory
from steper.relabelling import relabel as relabel_run
from steper.retrieve import Retriever
from steper.runs import Run, fit_to_model
from steper.runs import teach as run_teacher
from steper.store import as_settings, as_values
from steper.strategy import Strategy
from steper.strategy.watching import Watch, watched
from steper.student import (
    StudentOptions,
    open_asked,
    score_and_write,
    student_folder,
    student_retriever,
)
from steper.training.train_settings import TrainSettings

if TYPE_CHECKING:
    from steper.pipeline.watching import Watcher
    from steper.studies.study import StudyOutcome
    from steper.training.job import Progress, Trained

Place = str | PathLike[str]
Places = Place | Iterable[Place]
Runs = Mapping[str, Places] | Places
Model = LanguageModel | Callable[..., Any] | Place
Corpus = Retriever | Callable[..., Any] | Path | str | None
Asking = Strategy[Any] | type[Strategy[Any]] | str | None
Values = BaseModel | Mapping[str, Any] | None


def teach(
    questions: Sequence[Question] | Place,
    strategy: Asking,
    model: Model,
    corpus: Corpus,
    out: Place,
    *,
    settings: Values = None,
    prompt: Values = None,
    allow_code: bool = False,
    **options: Any,
) -> Run:
    """Answer all questions and write their trajectories to the folder `out`.

    `strategy` None is a student's own, else ircot; `settings` are the strategy's. `allow_code` lets
    a student's folder name code outside this package, which is then loaded. The other
    `options` (samples, in_flight, overwrite, retry_failed, progress) and the errors are those of
    `steper.runs.teach`; the same call again goes on where an interrupted one stopped.
    """
    if isinstance(questions, (str, PathLike)):
        file = read_question_file(path := Path(questions))
        options = {"inputs": {"questions": file.describe(path)}, **options}
        questions = file.questions
    opened = _opened(questions, strategy, model, corpus, settings, prompt, allow_code)
    with opened as (how, lm, retriever):
        return run_teacher(questions, how, lm, retriever, Path(out), **options)


def ask(
    question: Question | str,
    model: Model,
    corpus: Corpus = None,
    *,
    strategy: Asking = None,
    settings: Values = None,
    prompt: Values = None,
    allow_code: bool = False,
    watch: Watch | None = None,
) -> Trajectory:
    """Answer one question, writing nothing; `watch` is told each action and result as it comes.

    Raises InputError for an empty question, SettingsError where the strategy searches and there is
    no `corpus`, and whatever the model or the retriever raises.
    """
    asked = question if isinstance(question, Question) else Question(id="question", text=question)
    if not asked.text.strip():
        raise InputError("the question is empty")
    opened = _opened([asked], strategy, model, corpus, settings, prompt, allow_code)
    with opened as (how, lm, retriever):
        how = watched(how, watch) if watch else how
        (trajectory,) = Engine(how, lm, retriever, in_flight=1).run([asked])
    return trajectory


def evaluate(
    run_or_model: Model,
    questions: Sequence[Question] | Place | None = None,
    corpus: Corpus = "auto",
    out: Place | None = None,
    *,
    strategy: Asking = None,
    partial: bool = False,
    bootstrap: Values = None,
    **options: Any,
) -> Evaluation:
    """Score a run and write the scores into it; with `questions`, first ask a model (a student).

    The model's run is written to `out`; `options` are those of `teach`. `partial` scores an
    unfinished run. Raises SettingsError where only one of `questions` and `out` is given.
    """
    if questions is not None and out is not None:
        run: Place = teach(questions, strategy, run_or_model, corpus, out, **options)
    elif questions is out is None and isinstance(run_or_model, (str, PathLike)):
        if student_folder(Path(run_or_model)):
            raise SettingsError(f"{Path(run_or_model)} is a student: ask it questions, with out=")
        run = run_or_model
    else:
        raise SettingsError("to ask a model, give both questions and out; to score, name a run")
    return score_and_write(Path(run), as_settings(Bootstrap, bootstrap), partial)


def build(
    run: Place,
    recipe: Recipe | str = "steper",
    *,
    out: Place,
    strategy: type[Strategy[Any]] | None = None,
    student: Place | None = None,
    filters: Values = None,
    more_filters: Sequence[Filter | str] = (),
    exclude: Places = (),
    corpus: Corpus = None,
    judge: LanguageModel | Callable[..., Any] | None = None,
    in_flight: int = 64,
    max_tokens: int = MAX_TOKENS,
    exports: Sequence[Export] = (),
    partial: bool = False,
    overwrite: bool = False,
    allow_code: bool = False,
    more_runs: Places = (),
    **settings: Any,
) -> Written:
    """Write the step examples that a recipe makes of a run to the folder `out`, with counts.

    `strategy` is the run's own where it is a class of yours, `student` a model whose tokenizer says
    the form, `settings` are ExampleSettings'. A `judge` is asked up to `in_flight` things at once,
    each with room for `max_tokens`. See `build_examples` and `write_examples`.
    """
    for folder in (run, *_listed(more_runs)):  # before a hub is asked for the student
        Run(Path(folder)).check(partial)
    made_by = RECIPES.find(recipe) if isinstance(recipe, str) else recipe
    name = recipe if isinstance(recipe, str) else recipe.name
    if student is not None:
        settings = {"form": student_form(locate_model(fspath(student))), **settings}
    with ExitStack() as stack:
        made = build_examples(
            Path(run),
            as_settings(ExampleSettings, settings, recipe=name),
            as_settings(FilterSettings, filters),
            recipe=made_by,
            strategy=strategy,
            more_filters=more_filters,
            exclude=[Path(file) for file in _listed(exclude)],
            retriever=_corpus(corpus, (), stack),
            judge=None if judge is None else LMJudge(as_model(judge), max_tokens, in_flight),
            partial=partial,
            allow_code=allow_code,
            more_runs=[Path(more) for more in _listed(more_runs)],
        )
        return write_examples(made, Path(out), exports=exports, overwrite=overwrite)


def train(
    examples: Place | Written | ExampleFolder,
    student: Place,
    out: Place,
    settings: Values = None,
    *,
    overwrite: bool = False,
    resume_from: int | None = None,
    progress: Progress | None = None,
    **more: Any,
) -> Trained:
    """Train a student on a folder of examples and write it to the folder `out`.

    `more` are settings that go over `settings`: `train(…, epochs=1)`. See `training.job.train`.
    """
    from steper.training.job import train as run_training  # it needs torch

    folder = examples.folder if isinstance(examples, Written) else examples
    return run_training(
        folder.path if isinstance(folder, ExampleFolder) else Path(folder),
        fspath(student),
        Path(out),
        as_settings(TrainSettings, settings, **more),
        overwrite=overwrite,
        resume_from=resume_from,
        progress=progress,
    )


def compare(
    runs: Runs,
    baseline: Place | None = None,
    metrics: Iterable[str] = comparing.DEFAULT_METRICS,
    *,
    trained_on: Places = (),
    bootstrap: Values = None,
    partial: bool = False,
) -> comparing.Comparison:
    """Compare runs over the same questions, pair by pair, with the baseline (the first).

    `runs` are {name: run, or the runs of several seeds}, or a list, where a run's name is that of
    its folder, or NAME=RUN. `trained_on` are files of training questions: of test questions that
    share a gold passage with one, the scores of the others are given beside. Raises InputError for
    fewer than two, for what does not compare, and for test questions that were trained on.
    """
    folders, metrics = _folders(runs), comparing.check_metrics(metrics)
    comparing.check_several(folders)
    intervals = as_settings(Bootstrap, bootstrap)
    methods = load_methods(folders, partial, intervals)
    sources = {str(Path(f)): read_question_file(Path(f)).questions for f in _listed(trained_on)}
    leakage = find_leakage(shared_questions(methods).values(), sources)
    leakage.check("the runs")
    apart = leakage.shared_gold
    return comparing.compare(methods, _named(baseline), metrics, intervals, shared_gold=apart)


def judge(
    runs: Runs,
    model: Model,
    out: Place,
    settings: Values = None,
    *,
    bootstrap: Values = None,
    **options: Any,
) -> Preferences:
    """Have a language model compare two runs ({name: run}), ability by ability, in `out`.

    `settings` are JudgeSettings', `options` in_flight, overwrite, retry_failed and progress; see
    `steper.judging.judge`. The same call again goes on where an interrupted one stopped.
    """
    named = judged_runs(_folders(runs))
    asked, intervals = as_settings(JudgeSettings, settings), as_settings(Bootstrap, bootstrap)
    with ExitStack() as stack:
        lm = _lm(model, (), stack)
        return ask_judge(named, lm, Path(out), asked, bootstrap=intervals, **options)


def relabel(run: Place, model: Model, out: Place, prompt: Values = None, **options: Any) -> Run:
    """Have a teacher write the step at each state of a student's run; a run folder in `out`.

    `prompt` is how the teacher is asked; `options` and errors are those of
    `steper.relabelling.relabel`.
    """
    source = Run(Path(run))
    source.check()
    with ExitStack() as stack:
        lm = _lm(model, source.questions(), stack)
        return relabel_run(source, lm, Path(out), as_settings(PromptSettings, prompt), **options)


def report(
    runs: Runs,
    out: Place,
    *,
    baseline: Place | None = None,
    training: Runs = (),
    bootstrap: Values = None,
    partial: bool = False,
    **settings: Any,
) -> Path:
    """Write runs over the same questions as one HTML page, the file `out`, and return its path.

    `runs` as in `compare`; `training`, likewise, are folders with training logs; `settings` those
    of ReportSettings: title, examples, seed.
    """
    from steper.reporting import ReportSettings, write_report  # it brings in jinja2

    shown = as_settings(ReportSettings, settings, baseline=_named(baseline))
    intervals = as_settings(Bootstrap, bootstrap)
    methods = load_methods(_folders(runs), partial, intervals)
    return write_report(methods, Path(out), shown, intervals, _folders(training))


def study(
    config: Place,
    out: Place,
    *,
    quick: bool = False,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> StudyOutcome:
    """Run a study, a YAML file or one of the package by its name, in the folder `out`.

    `quick` and `overrides` ("seeds=[0,1]") are `--quick` and `--set` of `steper study`; `watcher`
    is told of each task. The same call again goes on where an earlier one stopped; errors are
    those of `steper.studies.study_file.load_study` and `steper.studies.study.Study`.
    """
    from steper.studies.study import Study  # it brings in jinja2
    from steper.studies.study_file import find_study, load_study

    path, name, base = find_study(fspath(config))
    file = load_study(path, overrides, base, name=name, quick=quick)
    return Study(file, Path(out)).run(watcher=watcher)


def _named(baseline: Place | None) -> str | None:
    return None if baseline is None else str(Path(baseline))


def _listed(places: Places) -> list[Place]:
    return [places] if isinstance(places, (str, PathLike)) else list(places)


def _folders(runs: Runs) -> dict[str, tuple[Path, ...]]:
    if isinstance(runs, Mapping):
        return {name: tuple(map(Path, _listed(some))) for name, some in runs.items()}
    return parse_methods(str(Path(run)) for run in _listed(runs))


@contextmanager
def _opened(
    questions: Sequence[Question],
    strategy: Asking,
    model: Model,
    corpus: Corpus,
    settings: Values,
    prompt: Values,
    allow_code: bool,
) -> Iterator[tuple[Strategy[Any], LanguageModel, Retriever | None]]:
    """Strategy, model and retriever; what was not open before is closed."""
    model = Path(model) if isinstance(model, (str, PathLike)) else model
    made = strategy if isinstance(strategy, Strategy) else None
    if made is not None and (settings or prompt):
        raise SettingsError("a made strategy has its settings: give it those")
    named = strategy if not isinstance(strategy, Strategy) else type(strategy)
    check_corpus(corpus)
    options = StudentOptions(named, as_values(settings), as_values(prompt), allow_code=allow_code)
    with ExitStack() as stack:
        lm, how = open_asked(model, options, questions)
        how = how if made is None else fit_to_model(made, lm)
        if lm is not model:
            stack.callback(lm.close)
        retriever = _corpus(corpus, questions, stack) if how.searches else None
        if retriever is not None:
            retriever = student_retriever(lm.name, retriever, allow_code)
        yield how, lm, retriever


def _lm(model: Model, questions: Sequence[Question], stack: ExitStack) -> LanguageModel:
    """The model, closed with the stack if it was not open before."""
    if not isinstance(model, (str, PathLike)):
        return as_model(model)
    return stack.enter_context(closing(open_model(fspath(model), questions=questions)))


def _corpus(corpus: Corpus, questions: Sequence[Question], stack: ExitStack) -> Retriever | None:
    """The retriever over a corpus, closed with the stack if it was not open before."""
    if corpus is None:
        return None
    retriever = open_corpus(corpus, questions)
    if retriever is not corpus:
        stack.callback(retriever.close)
    return retriever
