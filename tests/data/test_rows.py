"""Files as they are downloaded: gzip, Parquet, DPR's TSV, and what is none of them."""

import builtins
import gzip
import io
import os
import tarfile
import threading
import zipfile

import orjson
import pytest
from mini import HOTPOT, array, lines

from steper.data import load_corpus, load_questions
from steper.data.items import read_items
from steper.data.rows import read_rows
from steper.errors import InputError, MissingExtraError

GENERIC = [{"id": "a", "question": "Who?", "answers": ["Bo"]}, {"id": "b", "question": "What?"}]
PASSAGES = [{"id": str(n), "title": f"T{n}", "text": f"Text {n}."} for n in range(2000)]


def refused(read, *parts):
    with pytest.raises(InputError) as caught:
        list(read())
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert part in text, (part, text)


def zipped(path):
    """The file gzipped, beside it."""
    there = path.with_name(f"{path.name}.gz")
    there.write_bytes(gzip.compress(path.read_bytes()))
    return there


def parquet(path, rows):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_gzipped_files_read_as_unzipped_ones(tmp_path):
    for path in (array(tmp_path, HOTPOT), lines(tmp_path, GENERIC)):
        assert load_questions(zipped(path)) == load_questions(path)
    corpus = lines(tmp_path, PASSAGES, "c.jsonl")
    assert list(load_corpus(zipped(corpus))) == list(load_corpus(corpus))


def test_gzip_is_known_without_its_ending(tmp_path):
    path = zipped(lines(tmp_path, GENERIC))
    assert len(load_questions(path.rename(tmp_path / "dev.jsonl"))) == 2


def test_damaged_gzip_says_where_and_how_to_mend_it(tmp_path):
    whole = zipped(lines(tmp_path, PASSAGES, "c.jsonl"))
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    refused(lambda: load_corpus(whole), f"{whole}, after line ", "cut off", "download or write it")
    whole.write_bytes(data[:-8] + b"\0" * 8)
    refused(lambda: load_corpus(whole), f"{whole}, after line ", "are damaged (CRC", "download")
    whole.write_bytes(data[:200] + b"\xff" * 200 + data[400:])
    refused(lambda: load_corpus(whole), str(whole), "are damaged")
    whole.write_bytes(b'{"id": "a", "text": "x"}\n')
    refused(
        lambda: load_corpus(whole), "not gzip", 'it begins with b\'{"id"', "rename it to c.jsonl"
    )


def test_parquet_reads_as_json_lines(tmp_path):
    path = parquet(tmp_path / "dev.parquet", GENERIC)  # the second row's answers are null
    assert load_questions(path) == load_questions(lines(tmp_path, GENERIC))
    corpus = parquet(tmp_path / "c.parquet", PASSAGES)
    assert list(load_corpus(corpus)) == list(load_corpus(lines(tmp_path, PASSAGES)))
    assert [item.place for item in read_items(corpus)][-1] == "row 2000"


def test_bad_values_in_parquet_are_named_by_row(tmp_path):
    rows = [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]
    path = parquet(tmp_path / "c.parquet", rows)
    refused(lambda: load_corpus(path), f"{path}, row 2 (id 'a')", "the same id stands at row 1")


def test_truncated_parquet_is_one_line(tmp_path):
    path = parquet(tmp_path / "c.parquet", PASSAGES)
    path.write_bytes(path.read_bytes()[:-100])
    refused(lambda: load_corpus(path), str(path), "not a whole Parquet file", "write it again")
    path.write_bytes(b"PAR1")
    refused(lambda: load_corpus(path), str(path), "not a whole Parquet file")
    path.write_text('{"id": "a", "text": "x"}')
    refused(lambda: load_corpus(path), str(path), "not a whole Parquet file")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'pyarrow'"), r"is not installed: pip install '"),
        (
            ImportError("numpy<2 is required, but found 2.1."),
            r"cannot be imported \(numpy<2 is required, but found 2\.1\): pip install --upgrade '",
        ),
    ],
)
def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch, error, said):
    path = tmp_path / "c.parquet"
    path.write_bytes(b"PAR1....PAR1")
    imported = builtins.__import__

    def no_pyarrow(name, *rest):
        if name.startswith("pyarrow"):
            raise error
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", no_pyarrow)
    with pytest.raises(MissingExtraError, match=rf"pyarrow, which {said}steper\[parquet\]'"):
        list(load_corpus(path))


def test_a_byte_order_mark_is_not_read(tmp_path):
    for path in (array(tmp_path, HOTPOT), lines(tmp_path, GENERIC)):
        plain = load_questions(path)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert load_questions(path) == plain
        assert load_questions(zipped(path)) == plain
    path = tmp_path / "c.tsv"
    path.write_bytes("\ufeffid\ttext\ttitle\n1\tx\ty\n".encode())
    assert [p.id for p in load_corpus(path)] == ["1"]
    path.write_bytes(b"\xef\xbb\xbf")
    refused(lambda: load_corpus(path), "is empty")


def test_dprs_table(tmp_path):
    path = tmp_path / "psgs.tsv"
    path.write_text(
        'id\ttext\ttitle\n1\t"Aaron ( or ; ""Ahärôn"") is a prophet."\tAaron\n'
        '2\tHe said "no" and left.\t"""Heroes"" (album)"\r\n'
        '\n3\t"A" and "B" are letters.\t"Heroes" (album)\n',
        encoding="utf-8",
    )
    passages = list(load_corpus(path))
    assert [(p.id, p.title, p.text) for p in passages] == [
        ("1", "Aaron", 'Aaron ( or ; "Ahärôn") is a prophet.'),
        ("2", '"Heroes" (album)', 'He said "no" and left.'),
        ("3", '"Heroes" (album)', '"A" and "B" are letters.'),
    ]
    assert list(load_corpus(zipped(path))) == passages
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[1:]), "utf-8")
    assert list(load_corpus(path)) == passages  # without a header the columns are DPR's


def test_a_tables_header_is_read_in_any_case(tmp_path):
    path = tmp_path / "c.tsv"
    path.write_text("ID\tText\tTitle\n1\tx\ty\n")
    assert [(p.id, p.title, p.text) for p in load_corpus(path)] == [("1", "y", "x")]
    path.write_text("id\tpassage\ttitle\n1\tx\ty\n")
    refused(
        lambda: load_corpus(path),
        f"{path}, line 1",
        "looks like a header, but no column is named text; name the columns id, text and title",
    )


def test_a_table_with_wrong_columns_is_named_by_line(tmp_path):
    path = tmp_path / "c.tsv"
    path.write_text("id\ttext\ttitle\n1\tx\ty\n2\tx\n")
    refused(
        lambda: load_corpus(path),
        f"{path}, line 3: 2 tab-separated columns, not 3 (id, text, title)",
        r"in '2\tx'",
        "written as JSON lines",
    )
    path.write_text("text\ttext\nx\ty\n")
    refused(lambda: load_corpus(path), f"{path}, line 1", "named alike")
    path.write_bytes(b"id\ttext\n1\t\xe9t\xe9\n")
    refused(lambda: load_corpus(path), f"{path}, line 2: not UTF-8 (byte 2 is 0xe9)")
    refused(lambda: read_items(path), "is TSV, which is read for corpora alone", "JSON lines")


def archives(folder):
    """(file, what is said of it)"""
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("x.json", "[]")
    yield folder / "a.zip", "a zip archive: unpack it"
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("x.json"), io.BytesIO(b""))
    yield folder / "a.tar.gz", "a tar archive: unpack it"


@pytest.mark.parametrize(
    ("name", "begins", "said"),
    [
        ("x.bz2", b"BZh91AY", "bzip2"),
        ("x.jsonl.gz", gzip.compress(b"\x1f\x8b\x08\x00", mtime=0), "gzipped twice"),
        ("x.arrow", b"ARROW1\0\0", "an Arrow or Feather file"),
        ("x.7z", b"7z\xbc\xaf\x27\x1c\0", "a 7z archive: unpack it"),
        ("x.lz4", b"\x04\x22\x4d\x18d", "compressed by lz4"),
        ("x.npy", b"\x93NUMPY\x01\0", "a NumPy array"),
        ("x.avro", b"Obj\x01\x04", "an Avro file"),
        ("x.orc", b"ORC\x11", "an ORC file"),
        ("x.feather", b"FEA1\0", "a Feather file"),
        ("x.json", b'{\n  "data": [\n    {\n      "id": 1', "rows seem to be under 'data'"),
        ("x.json", b'{"data": [\n {"id": 1}\n]}', "rows seem to be under 'data'"),
        ("x.json", b'{ \r\n "id": 1\n}', "one JSON object over several lines: write its rows"),
        ("x.pkl", b"\x80\x04\x95", "pickle"),
        ("x.json", "[{}]".encode("utf-16"), "UTF-16 text: save it as UTF-8"),
        ("x.json", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("x.json", b"\n<!DOCTYPE html>", "HTML or XML"),
        ("x.csv", b"id,question,answers\n", "CSV: write it as JSON lines"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_read_is_named(tmp_path, name, begins, said):
    path = tmp_path / name
    path.write_bytes(begins)
    for read in (read_rows, load_corpus):
        refused(lambda read=read: read(path), f"{path} is ", said, "what is read is JSON lines")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"id": "1"}\n{"id": "é"}\n', "line 2: not UTF-8 (byte 8 is 0xe9)"),
        ('[{"id": "1"},\n {"id": "é"}]', "line 2: not UTF-8 (byte 9 is 0xe9)"),
    ],
)
def test_latin_1_is_told_as_such(tmp_path, text, place):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    refused(lambda: read_items(path), f"{path}, {place}; save the file as UTF-8")


def test_archives_are_named(tmp_path):
    for path, said in archives(tmp_path):
        refused(lambda path=path: read_rows(path), f"{path} is {said}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_read_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = b"".join(orjson.dumps(row) + b"\n" for row in PASSAGES)
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(data),))
    writer.start()
    assert len(list(load_corpus(path))) == len(PASSAGES)
    writer.join()


@pytest.mark.parametrize("wrap", ["{}\n", "[{}]\n"], ids=["lines", "array"])
def test_what_pythons_json_writes_is_read(tmp_path, wrap):
    """NaN, and half of a character, which JSON has not: rows are not refused for fields beside."""
    row = '{"id": "a", "score": NaN, "question": "Who is \\ud83d?", "answers": ["Bo"]}'
    (tmp_path / "q.json").write_text(wrap.format(row), "utf-8")
    [(_, read)] = read_rows(tmp_path / "q.json")
    assert read["question"] == "Who is \ufffd?"
    assert (read["id"], read["answers"]) == ("a", ["Bo"])
    (tmp_path / "q.json").write_text(wrap.format(row.replace("NaN", "nan")), "utf-8")
    refused(lambda: read_rows(tmp_path / "q.json"), "line 1", "not JSON")
