"""The student of another method, to be asked as this method's examples say: nothing is trained.

Methods may differ in how their students are asked alone, and learn the very same text (Vanilla-KD,
asked to write on or to write anew). A second training would come to the same weights.
"""

from __future__ import annotations

import shutil
from itertools import zip_longest
from pathlib import Path

from steper.artifact import (
    LOCK,
    MANIFEST,
    WORK,
    as_json,
    begun,
    model_checksums,
    replacing_folder,
)
from steper.errors import InputError, SettingsError
from steper.examples.example_folder import EXAMPLES, ExampleFolder
from steper.store import read_json, sha256_file, write_json
from steper.training.train_folder import CHECKPOINTS, LOG, STEPER, TrainFolder, student_card


def take_student(examples: Path, trained: Path, out: Path, overwrite: bool) -> None:
    """Copy a trained student to `out`, asked as `examples` are; one that is there already stays.

    A reranker of the other method is left behind. Raises InputError where `trained` is no complete
    training, SettingsError where it learnt other text than `examples` hold.
    """
    source, theirs = ExampleFolder(examples), TrainFolder(trained, {}).manifest
    if theirs.get("status") != "complete":
        raise InputError(f"{trained} is no complete training")
    made, learnt = source.manifest, ExampleFolder(Path(theirs["examples"]["path"]))
    own = {"sha256": sha256_file(examples / EXAMPLES), "recipe": made["recipe"]}
    settings = as_json(
        {**theirs["settings"], "examples": {**theirs["settings"]["examples"], **own}}
    )
    with replacing_folder(out) as new:
        if begun(out, "a student's folder") and not overwrite:
            there = read_json(out / MANIFEST)
            if there.get("settings") == settings and there.get("taken_from") == theirs["sha256"]:
                return
        _check_same(source, learnt)
        for name in (*theirs["sha256"], LOG):
            if name != STEPER:
                shutil.copyfile(trained / name, new / name)
        card = read_json(trained / STEPER)
        arguments, longest = card.get("chat_template_kwargs", {}), card.get("longest_target", 0)
        write_json(new / STEPER, student_card(made, card["weights"], arguments, longest))
        TrainFolder(new, settings).write_manifest(
            "complete",
            {
                "student": theirs["student"],
                "examples": {"path": str(examples), "settings": made["settings_hash"]},
                **{name: theirs[name] for name in ("resolved", "counts", "trained", "sigma")},
                "taken_from": theirs["sha256"],
                "sha256": model_checksums(new),
            },
        )


def copy_student(trained: Path, out: Path) -> None:
    """Copy a complete training to `out`, whatever is there; without its checkpoints.

    Raises InputError where `trained` is no complete training.
    """
    if not TrainFolder(trained, {}).complete:
        raise InputError(f"{trained} is no complete training")
    left_out = shutil.ignore_patterns(CHECKPOINTS, WORK, LOCK)
    with replacing_folder(out) as new:
        shutil.copytree(trained, new, ignore=left_out, dirs_exist_ok=True)


def _check_same(own: ExampleFolder, learnt: ExampleFolder) -> None:
    """Refuse examples that differ in what is learnt: their text, or how it is weighed."""
    for one, other in zip_longest(own.examples(), learnt.examples()):
        if one is None or other is None or one.learnt != other.learnt:
            where = f"{one.id} of {own.path}" if one else f"{other.id} of {learnt.path}"
            raise SettingsError(
                f"student_of: {where} is not in the other's examples; students can be shared by "
                "methods that learn the same text alone"
            )
    weights = [folder.manifest["weights"] for folder in (own, learnt)]
    if weights[0] != weights[1]:
        raise SettingsError(
            f"student_of: {own.path} weighs steps otherwise ({weights[0]}) than {learnt.path} "
            f"({weights[1]}); train it by itself"
        )
