"""What stands on disk: whole, checked, replaced at once, and clear about what is wrong."""

import json
import shutil

import pytest

from steper import artifact
from steper.errors import InputError, RetrievalError
from steper.retrieve import BM25Index, BM25Settings, index_folder
from steper.retrieve.bm25_scores import Field

QUERIES = ["Where was the director of Nightfall born?", "port", "the", "composer"]


@pytest.fixture
def load(saved):
    """Open the saved index, closing it at the end."""
    made = []

    def make(path=saved, **kwargs):
        made.append(BM25Index.load(path, **kwargs))
        return made[-1]

    yield make
    for index in made:
        index.close()


def edit_manifest(saved, **changes):
    file = saved / "index.json"
    value = json.loads(file.read_text())
    value.update(changes)
    file.write_text(json.dumps(value))


@pytest.mark.parametrize("fields", ["separate", "title+text"])
def test_a_loaded_index_is_the_built_one(build, passages, tmp_path, load, fields):
    made = BM25Settings(fields=fields, stemmer="english", k1=0.9)
    index = build(passages, made)
    index.save(tmp_path / "a" / "b" / "index")
    loaded = load(tmp_path / "a" / "b" / "index")
    assert loaded.search(QUERIES, 4) == index.search(QUERIES, 4)
    assert loaded.fingerprint() == index.fingerprint()
    assert loaded.settings == made
    assert len(loaded) == len(index) == 6
    assert loaded.n_terms == index.n_terms
    loaded.save(tmp_path / "copy")
    assert load(tmp_path / "copy").search(QUERIES, 4) == index.search(QUERIES, 4)


def test_scores_and_offsets_are_memory_mapped(load):
    index = load()
    for field in index._fields.values():
        assert type(field._index.scores["data"]).__name__ == "memmap"
        assert type(field._index.scores["indices"]).__name__ == "memmap"
    assert type(index._passages._offsets).__name__ == "memmap"


def test_an_index_is_replaced_while_it_is_open(build, passages, saved, load):
    before = load()
    build(passages[:2]).save(saved)
    assert len(load()) == 2
    assert before.search(["Leeds"], 1)[0][0].passage == passages[4]
    assert [file.name for file in saved.parent.iterdir()] == ["index"]


def test_a_save_that_fails_leaves_the_old_index(build, passages, saved, load, monkeypatch):
    def fail(self, path):
        raise OSError("no space left on device")

    monkeypatch.setattr(Field, "save", fail)
    with pytest.raises(OSError, match="no space"):
        build(passages[:2]).save(saved)
    assert len(load()) == 6
    assert [file.name for file in saved.parent.iterdir()] == ["index"]


def test_folders_of_other_things_are_not_replaced(build, passages, tmp_path):
    target = tmp_path / "notes"
    target.mkdir()
    build(passages).save(target)  # an empty folder is fine
    shutil.rmtree(target)
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="notes is a folder that is not an index"):
        build(passages).save(target)
    assert (target / "thesis.txt").read_text() == "years of work"
    with pytest.raises(InputError, match=r"thesis.txt is a file; an index is a folder"):
        build(passages).save(target / "thesis.txt")
    with pytest.raises(InputError, match="cannot be written"):
        build(passages).save(target / "thesis.txt" / "index")


def test_other_settings_are_named(saved, load):
    load(settings=BM25Settings())
    with pytest.raises(RetrievalError) as raised:
        load(settings=BM25Settings(stemmer="english", k1=0.9))
    assert str(raised.value) == (
        f"{saved} was made with other settings (k1: 1.2, not 0.9, stemmer: 'porter', not "
        f"'english'); build it again: steper index --corpus FILE --out {saved}"
    )


def test_another_tokenizer_is_noticed(saved, load):
    edit_manifest(saved, analyzer_check="0123456789abcdef")
    with pytest.raises(RetrievalError, match="another version of the tokenizer or of PyStemmer"):
        load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 3}, "has index format 3, this version of steper reads 2; update steper, or"),
        ({"format": 0}, "has index format 0, this version of steper reads 2; build it again"),
        ({"format": None}, "has index format None"),
        ({"passages": 0}, "index.json is damaged (passages: Input should be greater than"),
        ({"settings": {"k1": -1}}, "index.json is damaged (settings.k1: "),
        ({"settings": {"k3": 1}}, "index.json is damaged (settings.k3: unknown field)"),
        ({"sha256": {}}, "index.json is damaged (files and sha256 do not name the same files)"),
        ({"kind": "a search engine"}, "is not a steper index"),
    ],
)
def test_a_manifest_of_another_kind_is_named(saved, load, changes, message):
    edit_manifest(saved, **changes)
    with pytest.raises((RetrievalError, InputError)) as raised:
        load()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_broken_manifest_is_named(saved, load):
    (saved / "index.json").write_text("{")
    with pytest.raises(RetrievalError, match=r"index.json is damaged \(not JSON\)"):
        load()


def test_every_missing_or_cut_file_is_named(saved, load):
    files = sorted(file for file in saved.rglob("*") if file.is_file())
    assert len(files) == 14
    for file in files:
        if file.name == "index.json":
            continue
        content = file.read_bytes()
        file.write_bytes(content[:-1])
        with pytest.raises(RetrievalError, match=f"{file.name} has .* bytes where .* are expected"):
            load()
        file.unlink()
        with pytest.raises(RetrievalError, match=f"{file.name} is missing: the index is damaged"):
            load()
        file.write_bytes(content)
    assert len(load()) == 6


@pytest.mark.parametrize("large", [False, True])
def test_damage_without_another_size_is_found_in_every_file(saved, load, large, monkeypatch):
    if large:
        monkeypatch.setattr(index_folder, "SMALL_BYTES", 0)
    load()
    for name in json.loads((saved / "index.json").read_text())["files"]:
        file = saved / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        message = f"{file.name} does not hold what was written: the index is damaged; build it"
        with pytest.raises(RetrievalError, match=message):
            load()
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    assert len(load()) == 6


def test_a_large_index_is_read_through_once(saved, load, monkeypatch):
    monkeypatch.setattr(index_folder, "SMALL_BYTES", 0)
    monkeypatch.setattr(artifact, "RACY_NS", -2_000_000_000)
    load()
    read, real = [], index_folder.sha256_file
    monkeypatch.setattr(index_folder, "sha256_file", lambda path: read.append(path) or real(path))
    load()
    assert not read
    (saved / "offsets.npy").touch()
    load()
    assert len(read) == 13


def test_an_index_of_format_1_is_read(saved, load):
    manifest = json.loads((saved / "index.json").read_text())
    del manifest["sha256"]
    (saved / "index.json").write_text(json.dumps({**manifest, "format": 1}))
    assert load().search(["Leeds"], 1)[0][0].passage.id == "p4"
    file = saved / "passages.jsonl"
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(RetrievalError, match=r"passages.jsonl: passage 4 is damaged"):
        load().search(["Leeds"], 1)


def test_where_there_is_no_index(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such index; make one with: steper index"):
        BM25Index.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is not an index \(it has no index.json\); make one"):
        BM25Index.load(tmp_path)
    (tmp_path / "corpus.jsonl").write_text("")
    with pytest.raises(InputError, match=r"corpus.jsonl is a file; an index is a folder"):
        BM25Index.load(tmp_path / "corpus.jsonl")
