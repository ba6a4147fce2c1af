"""`steper teach`: run a teacher over questions and write its trajectories."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from steper.cli.options import given, merge, options, read_config
from steper.errors import SettingsError
from steper.lm.model_settings import GenerationSettings, HFSettings, OpenAISettings
from steper.prompt.render import PromptSettings
from steper.strategy import DEFAULT, STRATEGIES

if TYPE_CHECKING:
    from pydantic import BaseModel as GenerationOptions
    from pydantic import BaseModel as HFOptions
    from pydantic import BaseModel as OpenAIOptions
    from pydantic import BaseModel as PromptOptions
    from pydantic import BaseModel as StrategyOptions

    from steper.data import QuestionFile
    from steper.lm.base import LanguageModel
    from steper.records import Question
    from steper.strategy import Strategy
else:
    StrategyOptions = options("StrategyOptions", [STRATEGIES.find(DEFAULT).settings_type])
    PromptOptions = options("PromptOptions", [PromptSettings])
    GenerationOptions = options("GenerationOptions", [GenerationSettings])
    HFOptions = options("HFOptions", [HFSettings], skip=["form", "context_window"])
    OpenAIOptions = options("OpenAIOptions", [OpenAISettings])

__all__ = [
    "MODEL_SECTIONS",
    "SECTIONS",
    "GenerationOptions",
    "HFOptions",
    "OpenAIOptions",
    "PromptOptions",
    "StrategyOptions",
    "choose_questions",
    "describe_inputs",
    "flat",
    "open_lm",
    "open_strategy",
    "teach",
]

MODEL_SECTIONS = ("generation", "hf", "openai")
SECTIONS = ("strategy", "prompt", *MODEL_SECTIONS)


def flat(title: str) -> Parameter:
    """Options of their own, under a heading of the help."""
    return Parameter(name="*", group=Group(title, sort_key=10))


def teach(
    *,
    questions: Path,
    corpus: str = "auto",
    model: str,
    out: Path,
    strategy: str | None = None,
    benchmark: str = "auto",
    aliases: Path | None = None,
    limit: int | None = None,
    sample: int | None = None,
    sample_dev: int | None = None,
    sample_seed: int = 0,
    config: Path | None = None,
    in_flight: int = 64,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    retry_failed: Annotated[bool, Parameter(negative="")] = False,
    allow_code: Annotated[bool, Parameter(negative="")] = False,
    strategy_options: Annotated[StrategyOptions | None, flat("Strategy")] = None,
    prompt_options: Annotated[PromptOptions | None, flat("Prompt")] = None,
    generation_options: Annotated[GenerationOptions | None, flat("Generation")] = None,
    hf_options: Annotated[HFOptions | None, flat("Local model (hf:)")] = None,
    openai_options: Annotated[OpenAIOptions | None, flat("Server (openai:)")] = None,
) -> None:
    """Run a teacher over questions and write its trajectories.

    The same command again goes on where an interrupted run stopped; nothing that had finished is
    asked again.

    Parameters
    ----------
    questions
        Questions in the format of HotpotQA, 2WikiMultiHopQA, MuSiQue, FlashRAG or Search-R1, or
        with id, question and answers: JSON lines, JSON (both also gzipped) or Parquet.
    corpus
        auto (the union of the questions' own contexts), a corpus.jsonl, a folder made by
        `steper index`, the http(s) address of a /retrieve server, or package.module:NAME.
    model
        gold (the questions' annotations, no LM), a model folder or hub name, openai:MODEL,
        shipped:NAME, scripted:FILE, or package.module:NAME of a function of your own. A folder
        that `steper train` wrote is asked as it was trained: its strategy and prompt settings are
        the defaults.
    out
        The run's folder.
    strategy
        {strategies}, or package.module:NAME of your own. Default: ircot, or a trained student's.
    benchmark
        The questions' benchmark where the file does not tell it, or package.module:NAME of a
        function that makes a Question of a row.
    aliases
        2Wiki's id_aliases file.
    limit
        Take the first so many questions.
    sample
        Take so many questions at random (IRCoT's authors take 500).
    sample_dev
        Take so many questions at random that no --sample of the same seed has, for tuning.
    sample_seed
        Seed of the samples.
    config
        YAML file with settings in the sections strategy, prompt, generation, hf and openai;
        options on the command line go over it.
    in_flight
        Requests to the model under way at once.
    overwrite
        Begin anew in a folder that holds another run.
    retry_failed
        Ask the failed questions of a complete run again; those of an unfinished run are anyway.
    allow_code
        Let a student's folder name code outside this package (a strategy), which is then loaded.
    """
    from steper.cli.progress import TeachProgress, print_summary
    from steper.data import read_question_file
    from steper.data.retrievers import open_corpus
    from steper.runs import teach as run_teacher
    from steper.student import adopt_student

    if in_flight < 1:
        raise SettingsError(f"--in-flight is {in_flight}; at least 1 was expected")
    kind, sections = adopt_student(model, strategy, read_config(config, SECTIONS), allow_code)
    file = read_question_file(questions, benchmark, aliases)
    chosen = [
        question.model_copy(update={"context": ()})
        for question in choose_questions(file.questions, limit, sample, sample_dev, sample_seed)
    ]
    flags = {
        "generation": given(generation_options),
        "hf": given(hf_options),
        "openai": given(openai_options),
    }
    inputs = describe_inputs(
        questions,
        file,
        aliases,
        limit=limit,
        sample={"test": sample, "dev": sample_dev, "seed": sample_seed},
        corpus=corpus,
        model=model,
    )
    with ExitStack() as stack:
        lm = open_lm(model, sections, flags, chosen, config)
        stack.callback(lm.close)
        how = open_strategy(
            kind, lm, sections, given(strategy_options), given(prompt_options), config
        )
        retriever = None
        if kind.searches:
            retriever = open_corpus(corpus, file.questions)
            stack.callback(retriever.close)
        del file  # its contexts are in the index by now
        run = run_teacher(
            chosen,
            how,
            lm,
            retriever,
            out,
            in_flight=in_flight,
            overwrite=overwrite,
            retry_failed=retry_failed,
            inputs=inputs,
            progress=stack.enter_context(TeachProgress()),
        )
    print_summary(run)


def describe_inputs(
    questions: Path, file: QuestionFile, aliases: Path | None, **more: object
) -> dict[str, Any]:
    """What a run's manifest says of its inputs: files with their hashes, what was left out."""
    from steper.store import sha256_file

    return {
        "questions": file.describe(questions),
        "aliases": sha256_file(aliases) if aliases else None,
        **more,
    }


def choose_questions(
    every: list[Question], limit: int | None, test: int | None, dev: int | None, seed: int
) -> list[Question]:
    """The first `limit` questions, or a random sample for testing or tuning; all by default."""
    from steper.data import sample_questions

    given_numbers = {"--limit": limit, "--sample": test, "--sample-dev": dev}
    numbers = {name: number for name, number in given_numbers.items() if number is not None}
    if len(numbers) > 1:
        raise SettingsError(f"{' and '.join(numbers)} exclude each other; give one of them")
    for name, number in numbers.items():
        if number < 1:
            raise SettingsError(f"{name} is {number}; at least 1 was expected")
    if test is not None:
        return sample_questions(every, test=test, dev=0, seed=seed).test
    if dev is not None:
        return sample_questions(every, test=0, dev=dev, seed=seed).dev
    return every[:limit]


def open_lm(
    spec: str,
    sections: dict[str, dict[str, Any]],
    flags: dict[str, dict[str, Any]],
    questions: list[Question],
    config: Path | None,
) -> LanguageModel:
    """The model of a spec, with settings from the configuration's sections and the flags."""
    from steper.lm.open import open_model

    classes: dict[str, Any] = {
        "generation": GenerationSettings,
        "hf": HFSettings,
        "openai": OpenAISettings,
    }
    settings: dict[str, Any] = {
        name: merge(cls, sections[name], flags[name], f"{config}, section {name}")
        for name, cls in classes.items()
    }
    return open_model(spec, questions=questions, **settings)


def open_strategy(
    kind: type[Strategy[Any]],
    lm: LanguageModel,
    sections: dict[str, dict[str, Any]],
    flags: dict[str, Any],
    prompt_flags: dict[str, Any],
    config: Path | None,
) -> Strategy[Any]:
    """The strategy, with settings from the configuration's sections and the flags."""
    from steper.runs import make_strategy

    settings_type = kind.settings_type
    for flag in flags:
        if flag not in settings_type.model_fields:
            raise SettingsError(f"--{flag.replace('_', '-')} is no setting of strategy {kind.name}")
    settings = merge(settings_type, sections["strategy"], flags, f"{config}, section strategy")
    prompt = merge(PromptSettings, sections["prompt"], prompt_flags, f"{config}, section prompt")
    return make_strategy(kind, lm, settings, prompt)
