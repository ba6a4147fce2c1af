"""HotpotQA's dump of abstracts: a tar archive, bzip2 within bzip2, read as a stream."""

import bz2
import io
import json
import tarfile

import pytest

from steper.cli.main import run as command
from steper.data import load_corpus
from steper.data.hotpotqa_abstracts import Abstracts
from steper.errors import InputError
from steper.records import Passage

ROWS = [
    {"id": "12", "title": "Anarchism", "text": ["It is a philosophy.", " It advocates much."]},
    {"id": "25", "title": "Simon &amp; Simon", "text": ['A <a href="tv">series</a>.'], "url": "x"},
    {"id": "39", "title": "Empty", "text": []},
    {"id": "40", "title": "Blank", "text": [" "]},
    {"id": "41", "title": "Köln", "text": ["A city."]},
]
PASSAGES = [
    Passage.make("Anarchism", "It is a philosophy. It advocates much."),
    Passage.make("Simon &amp; Simon", "A series."),
    Passage.make("Köln", "A city."),
]


def packed(rows):
    return bz2.compress("".join(json.dumps(row) + "\n" for row in rows).encode())


def dump(path, files, mode="w:bz2"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"enwiki/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def archive(tmp_path):
    files = {
        "AA/wiki_00.bz2": packed(ROWS[:3]),
        "README.txt": b"hello",
        "AB/wiki_01.bz2": packed(ROWS[3:]),
    }
    return dump(tmp_path / "abstracts.tar.bz2", files)


def test_every_article_with_text_is_a_passage(archive, tmp_path):
    abstracts = Abstracts(archive)
    assert list(abstracts) == PASSAGES
    assert abstracts.empty == 2
    assert list(abstracts) == PASSAGES  # once more
    with tarfile.open(archive) as unpacked:
        unpacked.extractall(tmp_path / "unpacked", filter="data")
    assert list(Abstracts(tmp_path / "unpacked")) == PASSAGES
    assert list(Abstracts(tmp_path / "unpacked/enwiki/AA/wiki_00.bz2")) == PASSAGES[:2]
    plain = dump(tmp_path / "plain.tar", {"wiki_00.bz2": packed(ROWS)}, "w")
    assert list(Abstracts(plain)) == PASSAGES


def test_the_command_writes_a_corpus(archive, tmp_path, capsys):
    out = tmp_path / "corpus.jsonl"
    assert command(["data", "hotpotqa-abstracts", str(archive), "--out", str(out)]) == 0
    assert list(load_corpus(out)) == PASSAGES
    said = capsys.readouterr().out
    assert "3 passages (2 articles without an abstract left out)" in said
    assert f"steper index --corpus {out}" in said


def test_a_text_is_the_paragraph_of_hotpotqa_s_questions(archive):
    """So a question's gold passages are known by their ids in this corpus."""
    sentences = ROWS[0]["text"]
    assert next(iter(Abstracts(archive))).id == Passage.make("Anarchism", "".join(sentences)).id


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda p: dump(p, {"a.txt": b"x"}), ["holds no .bz2 files"]),
        (lambda p: p.write_bytes(b"PK\x03\x04 nothing"), ["no whole tar archive"]),
        (lambda p: p.write_bytes(dump(p, {"w.bz2": packed(ROWS)}).read_bytes()[:150]), ["whole"]),
        (lambda p: dump(p, {"w.bz2": packed(ROWS)[:-20]}), ["w.bz2: damaged bzip2 data"]),
        (lambda p: dump(p, {"w.bz2": bz2.compress(b"{}\n")}), ["w.bz2, line 1: ", '"title": …']),
        (lambda p: dump(p, {"w.bz2": bz2.compress(b"\n{x")}), ["w.bz2, line 1: no JSON"]),
        (
            lambda p: dump(p, {"w.bz2": packed([{"title": "A", "text": [["A"], ["B."]]}])}),
            ["line 1: its text is a list of paragraphs", "whole articles"],
        ),
    ],
)
def test_what_is_no_such_dump_is_refused_and_nothing_written(make, parts, tmp_path, capsys):
    path, out = tmp_path / "dump.tar.bz2", tmp_path / "corpus.jsonl"
    make(path)
    with pytest.raises(InputError) as caught:
        list(Abstracts(path))
    for part in parts:
        assert part in str(caught.value)
    assert command(["data", "hotpotqa-abstracts", str(path), "--out", str(out)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_missing_file_and_another_name_are_refused(tmp_path, capsys):
    assert command(["data", "hotpotqa-abstracts", "none.tar.bz2", "--out", "x"]) == 2
    assert "none.tar.bz2" in capsys.readouterr().err
    assert command(["data", "wikipedia", "none.tar.bz2", "--out", "x"]) == 2
    assert "hotpotqa-abstracts" in capsys.readouterr().err
