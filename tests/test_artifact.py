"""The keeper of folders: one writer at a time, whole or not at all, known again by contents."""

import errno
import hashlib
import os
import signal
import subprocess
import sys

import pytest

from doubles import change_in_the_middle
from steper import artifact
from steper.artifact import Lock, begun, lock_folder, model_digest, replacing_folder
from steper.errors import InputError
from steper.store import read_json, write_json

HOLDING = """
import sys, time
from pathlib import Path
from steper.artifact import replacing_folder

with replacing_folder(Path(sys.argv[1])) as new:
    (new / "half").write_bytes(b"x" * 100_000)
    print("ready", flush=True)
    time.sleep(60)
"""

DYING_IN_THE_SWAP = """
import os, signal, sys
from pathlib import Path
from steper.artifact import replacing_folder

real = Path.rename

def rename(self, target):
    if self.name == "new":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)

Path.rename = rename
with replacing_folder(Path(sys.argv[1])) as new:
    (new / "file").write_text("new")
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def replace(path, text):
    with replacing_folder(path) as new:
        (new / "file").write_text(text)


@pytest.fixture
def holder(tmp_path):
    """A process that is about to replace `tmp_path / "out"`."""
    command = [sys.executable, "-c", HOLDING, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_lock_has_one_holder(tmp_path):
    with Lock(tmp_path / "sub" / ".lock", "taken"):
        with pytest.raises(InputError, match="taken"):
            Lock(tmp_path / "sub" / ".lock", "taken").take()
        with Lock(tmp_path / "other", "taken"):
            pass
    with Lock(tmp_path / "sub" / ".lock", "taken"):
        pass


def test_a_lock_whose_file_was_removed_between_opening_and_locking_is_no_lock(
    tmp_path, monkeypatch
):
    file, real, calls = tmp_path / ".lock", artifact.fcntl.flock, []

    def flock(fd, how):
        real(fd, how)
        calls.append(fd)
        if len(calls) == 1:
            file.unlink()

    monkeypatch.setattr(artifact.fcntl, "flock", flock)
    with Lock(file, "taken"):
        assert file.exists()
        assert len(calls) == 2


def test_a_file_system_without_locks_is_one_line(tmp_path, monkeypatch):
    def flock(fd, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(artifact.fcntl, "flock", flock)
    with pytest.raises(InputError, match=r"run: cannot be written \(No locks available\)"):
        lock_folder(tmp_path / "run", "taken", ())


def test_what_a_killed_writer_left_of_the_folders_files_goes(tmp_path):
    left = [".manifest.json.a1b2c3d4.tmp", ".manifest.json._______0.tmp"]
    others = [".manifest.json.tmp", ".notes.a1b2c3d4.tmp", "manifest.json.a1b2c3d4.tmp"]
    for name in (*left, *others):
        (tmp_path / name).write_text("half")
    lock_folder(tmp_path, "taken", ("manifest.json",)).release()
    assert names(tmp_path) == sorted([*others, ".lock"])


def test_a_folder_with_nothing_but_left_overs_is_not_begun(tmp_path):
    assert not begun(tmp_path / "none", "a run folder")
    (tmp_path / ".lock").touch()
    (tmp_path / ".manifest.json.a1b2c3d4.tmp").touch()
    assert not begun(tmp_path, "a run folder")
    (tmp_path / "notes").touch()
    with pytest.raises(InputError, match=r"holds 'notes' and no manifest.json: not a run folder"):
        begun(tmp_path, "a run folder")
    with pytest.raises(InputError, match="notes is a file; a run folder was expected"):
        begun(tmp_path / "notes", "a run folder")
    (tmp_path / "manifest.json").touch()
    assert begun(tmp_path, "a run folder")


def test_a_folder_is_replaced_whole(tmp_path):
    out = tmp_path / "deep" / "out"
    before = os.umask(0o027)
    try:
        replace(out, "one")
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == 0o750
    (out / "more").touch()
    replace(out, "two")
    assert (out / "file").read_text() == "two"
    assert names(out) == ["file"]
    assert names(out.parent) == ["out"]


def test_a_folder_that_nothing_is_put_into_replaces_nothing(tmp_path):
    replace(tmp_path / "out", "one")
    with replacing_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "file").read_text() == "one"
    assert names(tmp_path) == ["out"]


def test_a_link_to_a_folder_stays_one(tmp_path):
    replace(tmp_path / "disk" / "out", "one")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "out")
    replace(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "out" / "file").read_text() == "two"
    assert names(tmp_path) == ["disk", "link"]


def test_a_failure_leaves_all_as_it_was(tmp_path):
    def fail(out):
        with replacing_folder(out) as new:
            (new / "file").write_text("half")
            raise RuntimeError

    replace(tmp_path / "out", "one")
    for out in (tmp_path / "out", tmp_path / "deep" / "er" / "out"):
        with pytest.raises(RuntimeError):
            fail(out)
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "file").read_text() == "one"


def test_a_swap_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    replace(tmp_path / "out", "one")
    real = artifact.Path.rename

    def rename(self, target):
        if self.name == "new":
            raise OSError(errno.EIO, "I/O error")
        return real(self, target)

    monkeypatch.setattr(artifact.Path, "rename", rename)
    with pytest.raises(InputError, match=r"out: cannot be written \(I/O error\)"):
        replace(tmp_path / "out", "two")
    assert (tmp_path / "out" / "file").read_text() == "one"
    assert names(tmp_path) == ["out"]


def test_what_a_living_process_writes_is_left_alone_and_a_dead_ones_goes(tmp_path, holder):
    work = tmp_path / ".out.steper.tmp"
    mine = [".out.a1b2c3d4.tmp", "out.steper.tmp"]
    for name in mine:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="out: another steper process is writing it"):
        replace(tmp_path / "out", "second")
    assert (work / "new" / "half").stat().st_size == 100_000
    replace(tmp_path / "out.old", "another target")
    assert work.exists()
    holder.kill()
    holder.wait()
    assert (work / "new" / "half").exists()
    with replacing_folder(tmp_path / "out"):
        assert names(work / "new") == []
    assert not work.exists()
    assert names(tmp_path) == sorted([*mine, "out.old"])


def test_killed_in_the_middle_of_a_swap_the_old_folder_comes_back(tmp_path):
    out = tmp_path / "out"
    replace(out, "old")
    done = subprocess.run([sys.executable, "-c", DYING_IN_THE_SWAP, str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    with replacing_folder(out):
        assert (out / "file").read_text() == "old"
    assert names(tmp_path) == ["out"]


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    write_json(folder / "config.json", {"hidden": 16})
    (folder / "model.safetensors").write_bytes(b"\0" * 3_000_000)
    (folder / "merges.txt").write_text("a b")
    (folder / "log.jsonl").write_text("{}")
    (folder / "checkpoints.bin").mkdir()
    return folder


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that are read for a digest."""
    found, real = [], artifact.feed

    def feed(digest, path):
        found.append(path.name)
        real(digest, path)

    monkeypatch.setattr(artifact, "feed", feed)
    return found


@pytest.fixture
def no_races(monkeypatch, tmp_path):
    """An empty cache that takes files as young as a test's; its file."""
    monkeypatch.setattr(artifact, "RACY_NS", -2_000_000_000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "steper" / "digests.json"


def test_a_models_digest_is_of_every_byte_of_its_files(model):
    expected = hashlib.sha256()
    for name in ("config.json", "merges.txt", "model.safetensors"):
        content = (model / name).read_bytes()
        expected.update(f"{name}\0{len(content)}\0".encode() + content)
    before = model_digest(model)
    assert before == expected.hexdigest()
    (model / "log.jsonl").write_text("{}\n{}")
    assert model_digest(model) == before
    change_in_the_middle(model / "model.safetensors", 1)
    assert model_digest(model) != before


def test_files_that_stay_are_read_once(model, reads, no_races):
    first = model_digest(model)
    assert sorted(reads) == ["config.json", "merges.txt", "model.safetensors"]
    assert model_digest(model) == first
    assert len(reads) == 3
    change_in_the_middle(model / "model.safetensors")
    assert model_digest(model) != first
    assert len(reads) == 6
    (model / "model.safetensors").rename(model / "pytorch.bin")
    model_digest(model)
    assert len(reads) == 9


def test_what_was_changed_just_now_is_not_kept(model, reads, no_races, monkeypatch):
    monkeypatch.setattr(artifact, "RACY_NS", 2_000_000_000)
    model_digest(model)
    model_digest(model)
    assert len(reads) == 6
    assert not no_races.exists()


def test_what_is_changed_while_it_is_read_is_not_kept(model, no_races, monkeypatch):
    real = artifact.feed

    def feed(digest, path):
        real(digest, path)
        change_in_the_middle(model / "model.safetensors")

    monkeypatch.setattr(artifact, "feed", feed)
    model_digest(model)
    assert not no_races.exists()


def test_the_cache_is_bounded_and_the_newest_stay(model, no_races, monkeypatch):
    monkeypatch.setattr(artifact, "KNOWN_FOLDERS", 3)
    write_json(no_races, {f"/m{n}": {"files": [], "value": "x"} for n in range(5)})
    model_digest(model)
    assert list(read_json(no_races)) == ["/m3", "/m4", str(model)]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"FOLDER": 1}', b'{"FOLDER": {"files": 1}}'])
def test_a_broken_cache_does_no_harm(model, no_races, content):
    expected = model_digest(model)
    no_races.write_bytes(content.replace(b"FOLDER", str(model).encode()))
    assert model_digest(model) == expected
    assert read_json(no_races)[str(model)]["value"] == expected


@pytest.mark.parametrize("home", ["file", "relative"])
def test_a_cache_that_cannot_be_written_does_no_harm(model, no_races, tmp_path, monkeypatch, home):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file") if home == "file" else "relative")
    monkeypatch.chdir(tmp_path)
    before = names(tmp_path)
    assert model_digest(model) == model_digest(model)
    assert names(tmp_path) == before
