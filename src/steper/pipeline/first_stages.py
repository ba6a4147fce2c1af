"""The stages before the teacher: a student's base, a generated world, an index."""

from __future__ import annotations

import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from steper.artifact import model_digest
from steper.errors import ModelError, SettingsError
from steper.lm.model_source import count_stored_parameters
from steper.pipeline.plan import Advance
from steper.pipeline.workspace import Workspace
from steper.retrieve.bm25 import BM25Index
from steper.retrieve.index_folder import replacing_index


def make_base(ws: Workspace, overwrite: bool, advance: Advance, *, student: str) -> str:
    """Run the command that makes an untrained student; one that is there already stays."""
    settings = ws.settings.students[student]
    folder = Path(settings.model)
    if overwrite or not (folder / "config.json").exists():
        assert settings.made_by is not None
        command = shlex.split(settings.made_by)
        if command[:1] == ["python"]:
            command[0] = sys.executable
        try:
            code = subprocess.run(command, stdout=2, check=False).returncode
        except OSError as error:
            raise SettingsError(
                f"students.{student}.made_by: {command[0]} cannot be run ({error.strerror})"
            ) from None
        if code or not (folder / "config.json").exists():
            ended = f"ended with exit code {code}" if code else f"made no model in {folder}"
            raise ModelError(f"students.{student}.made_by: {settings.made_by!r} {ended}")
    parameters = count_stored_parameters(folder)
    known = f"{parameters:,} parameters" if parameters else "a model"
    return f"{known}, sha256 {model_digest(folder)[:16]}"


def make_world(ws: Workspace, overwrite: bool, advance: Advance, *, data: str) -> str:
    """Generate a data set's world and write it."""
    from steper.data.world import make_world as generate
    from steper.data.world import write_world

    settings, out = ws.data_set(data).settings.world, ws.data_set(data).world
    assert settings is not None
    assert out is not None
    counts = {"train": settings.train, "test": settings.test}
    world = generate(settings.seed, settings.domain, counts)
    write_world(world, out)
    return (
        f"{len(world.passages)} articles, {settings.train} training and {settings.test} test "
        "questions"
    )


def make_index(ws: Workspace, overwrite: bool, advance: Advance, *, data: str) -> str:
    """Index a data set's corpus."""
    out = ws.index(data)
    assert out is not None
    ws.release(data)
    passages = ws.passages(data)

    def progress(n: int) -> None:
        advance(n, len(passages), None)

    with replacing_index(out) as new:
        built = BM25Index.build(passages, ws.settings.index, spool=new.parent, on_progress=progress)
        with closing(built):
            built.write(new)
    return f"{len(built):,} passages, {built.n_terms:,} terms"
