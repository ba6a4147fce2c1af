"""`steper leakage`: what test questions have in common with training questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from steper.cli.options import SWITCH, at_least
from steper.cli.terminal import plain_console, table_of

if TYPE_CHECKING:
    from steper.evaluation.leakage import Leakage
    from steper.records import Question


def leakage(
    test: Path,
    /,
    *,
    train: list[Path] | None = None,
    demos: int = 0,
    benchmark: str = "auto",
    json: Annotated[bool, SWITCH] = False,
) -> None:
    """Say what test questions have in common with what was learnt from.

    Compares ids, normalised texts, sets of gold passages (two at the least) and single ones. Each
    test question is counted once a source, by the first of these. The first three end the command
    with exit code 2; single passages are shared within benchmarks and are reported alone.

    Parameters
    ----------
    test
        The file of test questions, in any format that `steper teach` reads.
    train
        A file of questions that a model learns or learnt from (training, pretraining worlds). May
        be given several times.
    demos
        Compare with the first so many demonstrations of the prompts, too.
    benchmark
        The questions' benchmark where the files do not tell it.
    json
        Print JSON, with the ids, instead of a table.
    """
    from steper.data import read_question_file
    from steper.errors import SettingsError
    from steper.evaluation.leakage import demonstrated, find_leakage

    at_least(0, demos=demos)
    files = {str(path): read_question_file(path, benchmark) for path in train or ()}
    sources: dict[str, Sequence[Question]] = {path: file.questions for path, file in files.items()}
    if demos:
        sources["the demonstrations"] = demonstrated(demos)
    if not sources:
        raise SettingsError("name what was learnt from: --train FILE, or --demos N")
    found = find_leakage(read_question_file(test, benchmark).questions, sources)
    if json:
        print(found.model_dump_json(indent=2))
    else:
        plain_console().print(table_of(_rows(found)))
    found.check(str(test))


def _rows(found: Leakage) -> list[list[str]]:
    rows = [[f"{found.test} test questions", "questions", "id", "text", "gold set", "one passage"]]
    for overlap in found.overlaps:
        lists = (overlap.id, overlap.text, overlap.gold_set, overlap.gold_passage)
        rows.append([overlap.source, str(overlap.questions), *(str(len(ids)) for ids in lists)])
    return rows
