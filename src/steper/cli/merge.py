"""`steper merge`: shards of a run put together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from steper.cli.options import SWITCH
from steper.cli.teach import show_run


def merge(
    runs: Annotated[list[Path], SWITCH],
    /,
    *,
    out: Path,
    overwrite: Annotated[bool, SWITCH] = False,
) -> None:
    """Put the shards of a run together.

    The result equals, record by record, the run that was not taken apart. Refused where a shard is
    missing or not finished, where a question comes twice, and where settings differ.

    Parameters
    ----------
    runs
        The folders of all shards, which `steper teach --shard` wrote.
    out
        The whole run's folder.
    overwrite
        Begin anew in a folder that holds another run.
    """
    from steper.merging import merge as merge_runs

    show_run(merge_runs(runs, out, overwrite=overwrite))
