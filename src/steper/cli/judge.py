"""`steper judge`: a language model's preference between two runs, ability by ability."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from steper.cli.asking import GROUPS, MODEL_SECTIONS, open_lm
from steper.cli.compare import bootstrap_settings
from steper.cli.options import FLAT, SWITCH, Chosen, at_least, grouped
from steper.cli.terminal import plain_console, table_of, teach_bar
from steper.errors import InputError, SettingsError, unknown_name
from steper.store import validated

if TYPE_CHECKING:
    from pydantic import BaseModel as JudgeOptions

    from steper.judging.judge import JudgeSettings
    from steper.judging.preferences import Preferences
else:
    JudgeOptions = grouped({section: GROUPS[section] for section in MODEL_SECTIONS})


MANY = 0.1
"""A larger share of unreadable verdicts is said in words."""


def judge(
    a: str,
    b: str,
    /,
    *,
    model: str,
    out: Path,
    ability: Annotated[list[str] | None, SWITCH] = None,
    questions: int | None = None,
    passage_words: int = 80,
    max_tokens: int = 256,
    resamples: int = 2000,
    seed: int = 0,
    config: Path | None = None,
    in_flight: int = 64,
    overwrite: Annotated[bool, SWITCH] = False,
    retry_failed: Annotated[bool, SWITCH] = False,
    json: Annotated[bool, SWITCH] = False,
    settings: Annotated[JudgeOptions | None, FLAT] = None,
) -> None:
    """Have a language model compare two runs over the same questions, ability by ability.

    For each of StepER's abilities it sees the same part of both trajectories and a rubric, once in
    each order; a preference counts where it survives the exchange. Beside it stands how often the
    judge keeps its mind, how often its verdict could not be read, and Cohen's κ with what the gold
    facts say, where questions have them. The same command again goes on where it stopped.

    Parameters
    ----------
    a
        A folder that `steper teach` wrote; NAME=RUN gives it a name.
    b
        The one that it is compared with.
    model
        The judge, as in `steper teach --model`; best none that made one of the runs.
    out
        The folder for its verdicts.
    ability
        initialization, expansion or aggregation; can be repeated. Default: all three.
    questions
        Judge so many questions, drawn by the seed. Default: all that both runs have.
    passage_words
        Words of a passage that the judge is shown at most.
    max_tokens
        Tokens of a verdict with its reason at most, thoughts included.
    resamples
        Draws of the bootstrap, and sign patterns of the test.
    seed
        Seed of both, and of the questions that are drawn.
    config
        YAML file with settings of the judge in the sections generation, hf, openai and vllm.
    in_flight
        Requests to the judge under way at once.
    overwrite
        Begin anew in a folder that holds other verdicts.
    retry_failed
        Ask for failed verdicts again.
    json
        Print JSON instead of tables.
    """
    from steper.evaluation.methods import parse_methods
    from steper.judging.judge import PREFERENCES, judged_runs
    from steper.judging.judge import judge as judge_runs

    at_least(1, in_flight=in_flight)
    _refuse_gold(model)
    asked = _asked(ability, questions, passage_words, max_tokens, seed)
    intervals = bootstrap_settings(resamples, seed)
    runs = judged_runs(parse_methods([a, b]))
    chosen = Chosen(MODEL_SECTIONS, config, settings)
    with ExitStack() as stack:
        lm = open_lm(chosen, model)
        stack.callback(lm.close)
        found = judge_runs(
            runs,
            lm,
            out,
            asked,
            bootstrap=intervals,
            in_flight=in_flight,
            overwrite=overwrite,
            retry_failed=retry_failed,
            progress=stack.enter_context(teach_bar("judge")),
        )
    if json:
        print(found.model_dump_json(indent=2))
    else:
        _show(found, out)
        print(f"Verdicts: {out / 'trajectories.jsonl'}; what came of them: {out / PREFERENCES}")


def _refuse_gold(model: str) -> None:
    if model == "gold":
        raise SettingsError(
            "gold annotations weigh nothing; name a language model as the judge (what gold says "
            "stands beside its verdicts, and in `steper compare --metric`)"
        )


def _asked(
    ability: list[str] | None, questions: int | None, passage_words: int, max_tokens: int, seed: int
) -> JudgeSettings:
    """What is asked of the judge; an error names the option."""
    from steper.judging.judge import JudgeSettings
    from steper.judging.pairs import ABILITIES

    at_least(1, passage_words=passage_words, max_tokens=max_tokens)
    if questions is not None:
        at_least(1, questions=questions)
    for name in ability or ():
        if name not in ABILITIES:
            raise InputError(unknown_name("ability", name, ABILITIES))
    given = {
        "questions": questions,
        "seed": seed,
        "passage_words": passage_words,
        "max_tokens": max_tokens,
        **({"abilities": ability} if ability else {}),
    }
    return validated(JudgeSettings, given)


def _show(found: Preferences, out: Path) -> None:
    """Both tables, what the judge cost, and what to think of it where it cannot be trusted."""
    from steper.judging.preferences import preference_tables
    from steper.runs import Run

    console, counts = plain_console(), Run(out).manifest["counts"]
    for title, rows in preference_tables(found):
        console.print(title, style="bold")
        console.print(table_of(rows))
        console.print()
    cost = "" if counts["dollars"] is None else f", ${counts['dollars']:.2f}"
    tokens = counts["prompt_tokens"] + counts["completion_tokens"]
    console.print(f"{counts['generations']} verdicts asked, {tokens:,} tokens{cost}")
    if alike := sum(one.alike for one in found.abilities):
        console.print(f"{alike} ties were not asked: both show the same")
    for error, number in sorted(counts["errors"].items(), key=lambda item: -item[1]):
        console.print(f"  {number} × {error}")
    asked = sum(one.asked for one in found.abilities)
    unreadable = sum(one.unreadable for one in found.abilities)
    if unreadable > MANY * asked:
        console.print(
            f"{unreadable} of {asked} verdicts could not be read: a larger judge or more "
            "--max-tokens would help"
        )
    if counts["failed"]:
        console.print("Failed verdicts are asked for again with --retry-failed.")
