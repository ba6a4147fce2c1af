"""A folder of examples is written whole or not at all, and never over something else."""

import pytest
from runs import CASES, run_case

from steper.artifact import replacing_folder
from steper.errors import InputError, SettingsError
from steper.examples import export
from steper.examples.build import build_examples
from steper.examples.example_folder import ExampleFolder, write_examples
from steper.examples.example_settings import ExampleSettings
from steper.examples.filters import FilterSettings
from steper.prompt.render import PromptSettings


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_what_is_written_is_read_again(film_run, tmp_path):
    build = build_examples(film_run)
    written = write_examples(build, tmp_path / "deep" / "examples")
    assert not written.up_to_date
    folder = ExampleFolder(tmp_path / "deep" / "examples")
    assert list(folder.examples()) == list(build)
    manifest = folder.manifest
    assert manifest["recipe"] == "steper"
    assert manifest["weights"] == "learned"
    assert manifest["settings"]["strategy"]["name"] == "ircot"
    assert manifest["settings"]["prompt"]["demos"] == 0
    assert manifest["run"]["settings"]["prompt"]["demos"] == 1
    assert manifest["counts"]["dropped"]["wrong_answer"] == 1
    assert len(manifest["settings"]["inputs"]["trajectories_sha256"]) == 64
    assert {p.name for p in folder.path.iterdir()} == {"manifest.json", "examples.jsonl"}
    assert {p.name for p in folder.path.parent.iterdir()} == {"examples"}


def test_the_same_again_is_up_to_date_and_untouched(film_run, tmp_path):
    out = tmp_path / "examples"
    first = write_examples(build_examples(film_run), out)
    before = files(out)
    again = write_examples(build_examples(film_run), out)
    assert again.up_to_date
    assert again.counts == first.counts
    assert files(out) == before


@pytest.mark.parametrize(
    ("settings", "filters", "said"),
    [
        ({"recipe": "vanilla_kd"}, {}, 'recipe is "steper" there, "vanilla_kd" now'),
        ({"demos": 1}, {}, "demos is 0 there, 1 now"),
        ({}, {"threshold": 0.5}, "filters.threshold is 1.0 there, 0.5 now"),
    ],
)
def test_other_settings_are_refused_unless_overwriting(settings, filters, said, film_run, tmp_path):
    out = tmp_path / "examples"
    write_examples(build_examples(film_run), out)
    before = files(out)
    build = build_examples(film_run, ExampleSettings(**settings), FilterSettings(**filters))
    with pytest.raises(SettingsError, match=said):
        write_examples(build, out)
    assert files(out) == before
    written = write_examples(build, out, overwrite=True)
    assert list(ExampleFolder(out).examples()) == list(build)
    assert not written.up_to_date


def test_other_trajectories_are_noticed(film_run, tmp_path):
    out = tmp_path / "examples"
    write_examples(build_examples(film_run), out)
    trajectories = film_run.path / "trajectories.jsonl"
    trajectories.write_text(trajectories.read_text().replace("Ann Lee", "Ann Leo"))
    with pytest.raises(SettingsError, match=r"inputs\.trajectories_sha256"):
        write_examples(build_examples(film_run), out)


def test_a_folder_of_other_things_is_refused(film_run, tmp_path):
    with pytest.raises(InputError, match="not the manifest of step examples"):
        write_examples(build_examples(film_run), film_run.path)
    out = tmp_path / "notes"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"holds 'notes\.txt'"):
            write_examples(build_examples(film_run), out, overwrite=overwrite)
    with pytest.raises(InputError, match="is a file"):
        write_examples(build_examples(film_run), out / "notes.txt")
    assert files(out) == {"notes.txt": b"mine"}


def test_an_empty_folder_is_taken(film_run, tmp_path):
    out = tmp_path / "examples"
    out.mkdir()
    assert write_examples(build_examples(film_run), out).counts.examples == 3


def test_nothing_is_left_behind_when_no_example_is_left(film_run, tmp_path):
    out = tmp_path / "sub" / "examples"
    build = build_examples(film_run, filters=FilterSettings(max_steps=1))
    with pytest.raises(
        InputError, match=r"no example is left \(4 trajectories: 1 × too_many_steps"
    ):
        write_examples(build, out)
    assert not out.parent.exists()


def test_a_failure_on_the_way_leaves_the_old_folder(film_run, tmp_path, monkeypatch):
    out = tmp_path / "examples"
    write_examples(build_examples(film_run), out)
    before = files(out)

    def fail(examples, folder):
        raise OSError("disk full")

    monkeypatch.setitem(export.EXPORTS, "jsonl", fail)
    with pytest.raises(OSError, match="disk full"):
        write_examples(build_examples(film_run), out, exports=["jsonl"], overwrite=True)
    assert files(out) == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_second_build_of_the_same_folder_is_refused(film_run, tmp_path):
    with (
        replacing_folder(tmp_path / "examples"),
        pytest.raises(InputError, match="examples: another steper process is writing it"),
    ):
        write_examples(build_examples(film_run), tmp_path / "examples")
    assert not write_examples(build_examples(film_run), tmp_path / "examples").up_to_date


def test_a_bad_trajectory_is_named_and_nothing_written(film_run, tmp_path):
    path = film_run.path / "trajectories.jsonl"
    path.write_text(path.read_text().replace('"kind":"exp"', '"kind":"middle"', 1))
    with pytest.raises(InputError, match=r"trajectories.jsonl, line 1: steps\[1\].kind"):
        write_examples(build_examples(film_run), tmp_path / "examples")
    assert not (tmp_path / "examples").exists()


def test_reading_names_the_bad_line(film_run, tmp_path):
    out = tmp_path / "examples"
    write_examples(build_examples(film_run), out)
    lines = (out / "examples.jsonl").read_text().splitlines()
    lines[1] = lines[1].replace('"kind":"exp"', '"kind":"middle"')
    (out / "examples.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"examples\.jsonl, line 2: kind"):
        list(ExampleFolder(out).examples())
    with pytest.raises(InputError, match="no folder of examples"):
        _ = ExampleFolder(tmp_path).manifest


def test_append_only_runs_are_built_as_they_are(tmp_path):
    settings = PromptSettings(layout="append_only", demos=0)
    run, _ = run_case(CASES["ircot"], tmp_path / "run", settings)
    written = write_examples(build_examples(run), tmp_path / "examples")
    assert {e.layout for e in written.folder.examples()} == {"append_only"}
