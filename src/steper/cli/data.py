"""`steper data`: large official files → files that the other commands read."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from steper.cli.terminal import counting, plain_console

if TYPE_CHECKING:
    from steper.records import Passage


def data(what: Literal["hotpotqa-abstracts"], archive: Path, *, out: Path) -> None:
    """Turn an official dump into a corpus file.

    It is read as a stream: nothing is unpacked to disk. The file appears when it is whole.

    Parameters
    ----------
    what
        hotpotqa-abstracts: the 5.2 million abstracts of HotpotQA's fullwiki setting.
    archive
        The dump as it was downloaded
        (enwiki-20171001-pages-meta-current-withlinks-abstracts.tar.bz2), or the folder that it was
        unpacked to.
    out
        The corpus file to write: {"title", "text"} a line.
    """
    from steper.data.hotpotqa_abstracts import Abstracts
    from steper.store import check_out, write_jsonl

    check_out(out, archive)
    began = time.perf_counter()
    abstracts = Abstracts(archive)
    count = write_jsonl(out, _rows(abstracts))
    console = plain_console(soft_wrap=True)
    left_out = f" ({abstracts.empty:,} articles without an abstract left out)"
    console.print(
        f"{count:,} passages{left_out if abstracts.empty else ''}, "
        f"{out.stat().st_size / 1e6:,.1f} MB, {time.perf_counter() - began:.1f} s → {out}"
    )
    console.print(f"Next: steper index --corpus {shlex.quote(str(out))} --out FOLDER")


def _rows(passages: Iterable[Passage]) -> Iterator[dict[str, str]]:
    """The corpus's lines, counted on the terminal; readers make the ids of what they say."""
    with counting() as on_progress:
        for number, passage in enumerate(passages, start=1):
            if number % 1000 == 0:
                on_progress(number)
            yield {"title": passage.title, "text": passage.text}
