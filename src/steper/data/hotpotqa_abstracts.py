"""HotpotQA's corpus: the official dump of 5.2 million Wikipedia abstracts → passages.

The dump is `enwiki-20171001-pages-meta-current-withlinks-abstracts.tar.bz2` from the HotpotQA site
(https://hotpotqa.github.io/wiki-readme.html): a tar archive, compressed by bzip2, of files that are
compressed by bzip2 once more, each with one article a line. Everything is read as a stream, so
neither the archive nor a part of it is ever unpacked to disk or held in memory.

Titles and texts stay as they are, with `&amp;` and the like: so they are, character for character,
the paragraphs of HotpotQA's questions, and have their ids.
"""

from __future__ import annotations

import bz2
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from steper.errors import InputError
from steper.records import Passage
from steper.store import open_input

DUMP = "enwiki-20171001-pages-meta-current-withlinks-abstracts.tar.bz2"

_LINK = re.compile(r"</?a\b[^>]*>")


@dataclass
class Abstracts:
    """The passages of a dump, read anew each time that they are asked for.

    `path` is the archive, the folder that it was unpacked to, or one of its files. `empty` counts
    the articles without an abstract, which are left out.
    """

    path: Path
    empty: int = 0

    def __iter__(self) -> Iterator[Passage]:
        """Raises InputError for what is no such dump, naming the file in it and the line."""
        self.empty = 0
        files = 0
        for name, file in _files(self.path):
            files += 1
            for number, line in enumerate(_lines(name, file), start=1):
                passage = _passage(line, f"{name}, line {number}")
                if passage is None:
                    self.empty += 1
                else:
                    yield passage
        if not files:
            raise InputError(f"{self.path} holds no .bz2 files; {DUMP} was expected")


def _files(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """(its name for messages, its bytes) of every file of articles, compressed as it is."""
    if path.is_dir():
        for file in sorted(path.rglob("*.bz2")):
            with file.open("rb") as opened:
                yield str(file), opened
        return
    with open_input(path) as outer:
        if path.name.endswith(".bz2") and ".tar" not in path.suffixes:
            yield str(path), outer
            return
        try:
            with tarfile.open(fileobj=outer, mode="r|*") as archive:
                for member in archive:
                    part = archive.extractfile(member) if member.name.endswith(".bz2") else None
                    if part is not None:
                        yield f"{path}, {member.name}", part
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InputError(
                f"{path} is no whole tar archive ({error}); {DUMP} was expected: download it again"
            ) from None


def _lines(name: str, file: IO[bytes]) -> Iterator[bytes]:
    try:
        with bz2.open(file) as unpacked:
            yield from unpacked
    except (EOFError, OSError, ValueError) as error:
        raise InputError(f"{name}: damaged bzip2 data ({error}); download the dump again") from None


def _passage(line: bytes, place: str) -> Passage | None:
    """The passage of one article; None where it has no text."""
    try:
        row = orjson.loads(line)
    except ValueError as error:
        raise InputError(f"{place}: no JSON ({error}); an article was expected") from None
    title, text = (row.get("title"), row.get("text")) if isinstance(row, dict) else (None, None)
    if not isinstance(title, str) or not isinstance(text, list):
        raise InputError(f'{place}: {{"title": …, "text": [sentence, …]}} was expected')
    if not all(isinstance(sentence, str) for sentence in text):
        raise InputError(
            f"{place}: its text is a list of paragraphs, as in the dump of whole articles; that of "
            f"abstracts was expected: {DUMP}"
        )
    joined = _LINK.sub("", "".join(text)).strip()
    return Passage.make(title, joined) if joined else None
