import json

import pytest

from steper.artifact import replacing_folder
from steper.cli.index import index
from steper.cli.search import search
from steper.errors import InputError
from steper.retrieve import BM25Settings


@pytest.fixture
def corpus(tmp_path, passages):
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps(p.model_dump()) + "\n" for p in passages))
    return file


def test_index_then_search(tmp_path, corpus, capsys):
    out = tmp_path / "runs" / "my index"
    index(corpus=str(corpus), out=out, settings=BM25Settings(stemmer="english"))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("6 passages, ")
    assert printed[0].endswith(f" s → {out}")
    assert printed[1] == f"Next: steper search '{out}' \"your query\""
    search(str(out), "composer", k=1)
    shown = capsys.readouterr().out
    assert "p5" not in shown
    assert shown.split()[:1] == ["1"]
    assert "A passage that has no title speaks of a composer, too." in shown
    search(str(out), "[bold]Leeds[/] Dover")
    assert "Leeds is a city" in capsys.readouterr().out
    search(str(out), "xylophone")
    assert capsys.readouterr().out == "no passage shares a word with this query\n"


def test_the_contexts_of_questions_make_a_corpus(tmp_path, capsys):
    questions = tmp_path / "questions.json"
    context = [["Dover", ["Dover is a town. ", "It is a port."]], ["Leeds", ["A city."]]]
    item = {
        "_id": "q1",
        "question": "Where is Dover?",
        "answer": "Kent",
        "type": "bridge",
        "level": "easy",
        "supporting_facts": [["Dover", 0]],
        "context": context,
    }
    questions.write_text(json.dumps([item]))
    index(corpus="auto", questions=questions, out=tmp_path / "index")
    assert capsys.readouterr().out.startswith("2 passages, ")


def test_wrong_inputs_leave_nothing(tmp_path, corpus):
    out = tmp_path / "runs" / "index"
    with pytest.raises(InputError, match="--corpus auto needs --questions FILE"):
        index(corpus="auto", out=out)
    with pytest.raises(InputError, match="--questions goes with --corpus auto only"):
        index(corpus=str(corpus), questions=corpus, out=out)
    with pytest.raises(InputError, match=r"none.jsonl: no such file"):
        index(corpus=str(tmp_path / "none.jsonl"), out=out)
    with pytest.raises(InputError, match=r"corpus.jsonl is a file"):
        index(corpus=str(corpus), out=corpus)
    corpus.write_text(corpus.read_text() + "{broken\n")
    with pytest.raises(InputError, match=r"corpus.jsonl, line 7"):
        index(corpus=str(corpus), out=out)
    assert [file.name for file in tmp_path.iterdir()] == ["corpus.jsonl"]


def test_a_second_process_is_refused_before_it_reads_the_corpus(tmp_path, corpus):
    with (
        replacing_folder(tmp_path / "index"),
        pytest.raises(InputError, match="index: another steper process is writing it"),
    ):
        index(corpus=str(tmp_path / "none.jsonl"), out=tmp_path / "index")
    index(corpus=str(corpus), out=tmp_path / "index")
