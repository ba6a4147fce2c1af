"""Files as rows, each with its place: what questions and corpora are read from.

In: JSON lines, a JSON array, a table as TSV (corpora alone), any of them gzipped, or Parquet. Out:
`(place, row)`, such as `("line 17", {"id": …})`. A file is known by how it begins, so its name may
end in anything; TSV, which begins like any text, by its name. What is none of these is refused with
the name of what it is.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from steper.data.json_array import read_array
from steper.errors import InputError, missing_extra
from steper.store import BYTE_ORDER_MARK, open_input, parse_json_lines

Row = tuple[str, dict[str, Any]]
"""Where a row stands (`line 17`, `item 3`, `row 5`) and what it holds."""

READ, TSV = "JSON lines, a JSON array (both also gzipped) or Parquet", ", or a corpus as DPR's TSV"

DPR_COLUMNS = ("id", "text", "title")
"""Columns of DPR's `psgs_w100.tsv`, which a TSV file without a header is taken to have."""

ID_COLUMNS = ("id", "_id", "docid", "doc_id", "pid", "passage_id")
"""What the first column of a header is named; no passage has such an id."""

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"

NOT_READ = {
    b"PK\x03\x04": "a zip archive: unpack it and name a file that was in it "
    "(a spreadsheet: write its table as JSON lines)",
    b"BZh": "compressed by bzip2: unpack it (bunzip2)",
    b"\xfd7zXZ": "compressed by xz: unpack it (unxz)",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it (unzstd)",
    GZIP: "gzipped twice: unpack it (gunzip)",
    PARQUET: "a gzipped Parquet file: unpack it (gunzip)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it and name a file that was in it",
    b"\x04\x22\x4d\x18": "compressed by lz4: unpack it (unlz4)",
    b"\x93NUMPY": "a NumPy array: write it as JSON lines",
    b"Obj\x01": "an Avro file: write it as Parquet or JSON lines",
    b"ORC": "an ORC file: write it as Parquet or JSON lines",
    b"FEA1": "a Feather file: write it as Parquet or JSON lines",
    b"ARROW1": "an Arrow or Feather file: write it as Parquet or JSON lines",
    b"\xff\xff\xff\xff": "an Arrow stream, as `datasets` keeps them: write it as Parquet or JSON "
    "lines (Dataset.to_parquet, Dataset.to_json)",
    b"\x80": "a Python pickle: write it as JSON lines",
    b"SQLite format 3": "an SQLite database: write its table as JSON lines",
    b"\x89HDF": "an HDF5 file: write it as JSON lines",
    b"%PDF": "a PDF: write its text as JSON lines",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"version https://git-lfs": "a Git LFS pointer, not the data: get it by `git lfs pull`",
    b"<": "HTML or XML, perhaps the page of a download that failed: download the file itself",
}
"""How files begin that are not read, and what to do with each."""

TAR = slice(257, 262)
"""Where a tar archive says `ustar`."""

ENDINGS = {
    ".csv": "CSV: write it as JSON lines, an object a line",
    ".yaml": "YAML: write it as JSON lines, an object a line",
    ".yml": "YAML: write it as JSON lines, an object a line",
    ".txt": "plain text: write it as JSON lines, an object a line",
}
"""The same for text that has no JSON, by the ending of its name."""


def read_rows(path: Path | str, *, tables: bool = False) -> Iterator[Row]:
    """The rows of a file, one at a time.

    With `tables` a file whose name ends in .tsv is a table. Raises InputError for a missing, empty
    or damaged file, one of a format that is not read, or a row that is no object;
    MissingExtraError for Parquet without pyarrow.
    """
    path = Path(path)
    # Opened once and looked at by `peek`: what comes through a pipe cannot be read again.
    with cast(BufferedReader, open_input(path)) as file:
        head = file.peek()
        if head.startswith(PARQUET) or path.suffix.lower() == ".parquet":
            yield from _parquet(path)
        elif head.startswith(GZIP):
            yield from _gunzipped(path, file, tables)
        elif head and path.suffix.lower() == ".gz":
            raise InputError(
                f"{path}: not gzip, though its name ends in .gz: it begins with {head[:20]!r}; "
                f"download it again or, if it is unpacked already, rename it to {path.stem}"
            )
        else:
            yield from _text_rows(path, file, tables)


def _gunzipped(path: Path, file: IO[bytes], tables: bool) -> Iterator[Row]:
    where = "at its beginning"
    try:
        with gzip.GzipFile(fileobj=file) as unzipped:
            text = BufferedReader(cast(Any, unzipped))
            for place, row in _text_rows(path, text, tables):
                where = f"after {place}"
                yield place, row
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        cut = isinstance(error, EOFError)
        what = "end too early, the file was cut off" if cut else f"are damaged ({error})"
        raise InputError(
            f"{path}, {where}: its gzip data {what}; download or write it again"
        ) from None


def _text_rows(path: Path, file: BufferedReader, tables: bool) -> Iterator[Row]:
    """Rows of JSON or TSV."""
    head = file.peek()
    start = head.removeprefix(BYTE_ORDER_MARK).lstrip()
    if not start:
        raise InputError(f"{path} is empty; a JSON array or JSON lines were expected")
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if problem := _other_format(head, start, ending, tables):
        raise InputError(f"{path} is {problem}; what is read is {READ}{TSV * tables}")
    if tables and ending == ".tsv":
        yield from _table(path, file)
    elif start.startswith(b"["):
        yield from _array(path, file)
    else:
        for number, row in parse_json_lines(path, file, foreign=True):
            yield f"line {number}", row


def _other_format(head: bytes, start: bytes, ending: str, tables: bool) -> str | None:
    """What the file is and how to mend it, where it is none that is read."""
    for beginning, what in NOT_READ.items():
        if head.startswith(beginning) or start.startswith(beginning):
            return what
    if head[TAR] == b"ustar":
        return "a tar archive: unpack it and name a file that was in it"
    if ending == ".tsv" and not tables:
        return "TSV, which is read for corpora alone: write it as JSON lines, an object a line"
    if start[:1] not in (b"{", b"["):
        return ENDINGS.get(ending)
    # Its first line ends where something has begun; a row's own line ends with "}".
    if re.match(rb"\{(?:[^\n]*[\[{])?[^\S\n]*\n", start):
        rows = re.search(rb'"(\w+)"\s*:\s*\[\s*\{', start)
        seem = f" (rows seem to be under {rows[1].decode(errors='replace')!r})" if rows else ""
        return f"one JSON object over several lines{seem}: write its rows as a list, or one a line"
    return None


def _array(path: Path, file: IO[bytes]) -> Iterator[Row]:
    for number, value in enumerate(read_array(path, file), start=1):
        if not isinstance(value, dict):
            raise InputError(
                f"{path}, item {number}: a JSON object was expected, not {type(value).__name__}"
            )
        yield f"item {number}", value


def _table(path: Path, file: Iterable[bytes]) -> Iterator[Row]:
    """Rows of a TSV file; its first line names the columns, else they are DPR's."""
    columns: list[str] | None = None
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, line {number}: not UTF-8 (byte {error.start} is "
                f"{line[error.start]:#x}); save the file as UTF-8"
            ) from None
        if not text.strip():
            continue
        cells = [_unquoted_cell(cell) for cell in text.split("\t")]
        if columns is None:
            header = [_column(cell) for cell in cells]
            named = {"text", "contents"} & set(header)
            if not named and header[0] in ID_COLUMNS:
                raise InputError(
                    f"{path}, line {number}: {text[:60]!r} looks like a header, but no column is "
                    "named text; name the columns id, text and title, or leave the header out "
                    "where they stand in this order"
                )
            columns = header if named else list(DPR_COLUMNS)
            if named and len(set(header)) < len(header):
                raise InputError(f"{path}, line {number}: two columns are named alike: {text!r}")
            if named:
                continue
        if len(cells) != len(columns):
            raise InputError(
                f"{path}, line {number}: {len(cells)} tab-separated columns, not "
                f"{len(columns)} ({', '.join(columns)}), in {text[:60]!r}; a text with tabs or "
                "line breaks has to be written as JSON lines"
            )
        yield f"line {number}", dict(zip(columns, cells, strict=True))


def _column(name: str) -> str:
    """A column's name; those that a corpus has, in small letters."""
    small = name.strip().lower()
    return small if small in (*ID_COLUMNS, "text", "title", "contents") else name


def _unquoted_cell(cell: str) -> str:
    """A cell without the quotation marks that CSV writers put around it, inner ones doubled.

    `"a ""b"" c"` is `a "b" c`; `"a" and "b"`, whose inner ones are not doubled, stays as it is.
    """
    inner = cell[1:-1]
    if len(cell) < 2 or not cell[0] == cell[-1] == '"' or '"' in inner.replace('""', ""):
        return cell
    return inner.replace('""', '"')


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise missing_extra("pyarrow", "parquet", error) from None
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        after = f", after row {number}" if number else ""
        said = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(
            f"{path}{after}: not a whole Parquet file ({said}); download or write it again"
        ) from None
