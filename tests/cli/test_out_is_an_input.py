"""Where --out names what is to be read: one line, and nothing is lost."""

import pytest

from steper.cli.main import run
from steper.data.world import make_world, write_world
from steper.errors import InputError
from steper.store import check_out


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small world's two shards, a run and its examples."""
    home = tmp_path_factory.mktemp("made")
    write_world(make_world(5, "culture", {"train": 8}), home / "w")
    teach = ["teach", "--questions", f"{home}/w/train.json", "--corpus", f"{home}/w/corpus.jsonl"]
    for name, more in (("s1", ["--shard", "1/2"]), ("s2", ["--shard", "2/2"]), ("r", [])):
        assert run([*teach, "--model", "gold", "--out", f"{home}/{name}", *more]) == 0
    assert run(["build", f"{home}/r", "--recipe", "steper", "--out", f"{home}/e"]) == 0
    (home / "script.json").write_text('{"default": true, "text": "tie"}')
    (home / "dump.tar.bz2").write_bytes(b"BZh9")
    return home


CASES = [
    "merge s1 s2 --out s2 --overwrite",
    "merge s1 s2 --out ./s1/../s1 --overwrite",
    "relabel r --model gold --out r --overwrite",
    "judge a=r b=s1 --model scripted:script.json --out r --overwrite",
    "data hotpotqa-abstracts dump.tar.bz2 --out dump.tar.bz2",
    "train e --student e --out e --overwrite",
]


@pytest.mark.parametrize("line", CASES)
def test_it_is_refused(made, monkeypatch, capsys, line):
    monkeypatch.chdir(made)
    before = {p: p.read_bytes() for p in made.rglob("*") if p.is_file()}
    assert run(line.split()) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "is what is to be read; name another place" in error
    assert {p: p.read_bytes() for p in made.rglob("*") if p.is_file()} == before


def test_a_page_goes_over_a_page_alone(made, monkeypatch, capsys):
    monkeypatch.chdir(made)
    before = (made / "r/trajectories.jsonl").read_bytes()
    assert run(["report", "r", "--resamples", "100", "--out", "r/trajectories.jsonl"]) == 2
    assert "is there and no HTML page; name another --out" in capsys.readouterr().err
    assert (made / "r/trajectories.jsonl").read_bytes() == before


def test_links_and_names_of_the_hub(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with pytest.raises(InputError, match="is what is to be read"):
        check_out(tmp_path / "run", "org/model", tmp_path / "link")
    check_out(tmp_path / "other", "org/model", tmp_path / "run")
