"""A run taken apart into shards and put together: equal to the whole, or refused in one line."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from doubles import FILM, DictRetriever, film_questions, film_script
from steper.cli.main import run as command
from steper.errors import InputError, ModelError, SettingsError
from steper.lm.base import FatalModelError
from steper.lm.scripted import ScriptedModel
from steper.merging import merge
from steper.prompt.render import PromptSettings
from steper.runs import Run, teach
from steper.shards import Shard
from steper.store import read_json
from steper.strategy.ircot import IRCoT

COUNT, OF = 40, 4


def run(out, said=film_script, questions=None, demos=0, **more):
    return teach(
        questions or film_questions(COUNT),
        IRCoT(prompt=PromptSettings(demos=demos)),
        ScriptedModel(said, identity="film", name="film"),
        DictRetriever(FILM),
        out,
        **more,
    )


def sampled_script(request):
    facts = film_script(request)
    return f"{facts} " if request.sample and request.step == 1 else facts


def shards_of(folder, of=OF, **more):
    return [run(folder / f"s{n}", shard=f"{n}/{of}", **more).path for n in range(1, of + 1)]


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Four shards, and the folder that they lie in."""
    folder = tmp_path_factory.mktemp("four")
    return folder, shards_of(folder)


def without_times(manifest):
    left_out = ("seconds", "merged", "inputs")
    return {name: value for name, value in manifest.items() if name not in left_out}


def assert_same_run(merged, whole):
    for name in ("trajectories.jsonl", "questions.jsonl"):
        assert (merged / name).read_bytes() == (whole / name).read_bytes()
    assert without_times(Run(merged).manifest) == without_times(Run(whole).manifest)
    assert sorted(p.name for p in merged.iterdir()) == sorted(p.name for p in whole.iterdir())


def test_shards_part_the_questions_by_their_ids_alone():
    questions = film_questions(COUNT)
    shards = [Shard(n, OF) for n in range(1, OF + 1)]
    parts = [[q.id for q in shard.choose(questions)] for shard in shards]
    assert sorted(id_ for part in parts for id_ in part) == sorted(q.id for q in questions)
    assert all(parts)
    random.Random(0).shuffle(questions)
    assert [sorted(q.id for q in shard.choose(questions[:20])) for shard in shards] == [
        sorted(set(part) & {q.id for q in questions[:20]}) for part in parts
    ]
    # Written down, for the shards of one run may be made by several versions.
    numbers = [next(s.number for s in shards if s.holds(f"q{n}")) for n in range(8)]
    assert numbers == [4, 3, 4, 4, 4, 2, 2, 4]


@pytest.mark.parametrize(
    "text", ["0/4", "5/4", "3", "a/b", "1/", "/4", "1/0", "-1/4", "1/4/2", "٣/8"]
)
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(SettingsError, match="NUMBER/OF was expected, such as 3/8"):
        Shard.parse(text)


@pytest.mark.parametrize("samples", [1, 3])
def test_shards_one_killed_and_resumed_make_the_whole_run(tmp_path, samples):
    whole = run(tmp_path / "whole", sampled_script, samples=samples)
    asked = []

    def breaks(request):
        asked.append((request.question_id, request.sample, request.step))
        return FatalModelError("no money") if len(asked) == 12 else sampled_script(request)

    with pytest.raises(FatalModelError):
        run(tmp_path / "s2", breaks, samples=samples, shard="2/4")
    with pytest.raises(InputError, match="s2: shard 2/4 is not finished; its own command goes on"):
        merge([tmp_path / "s2"], tmp_path / "m")
    again = []

    def healthy(request):
        again.append((request.question_id, request.sample, request.step))
        return sampled_script(request)

    run(tmp_path / "s2", healthy, samples=samples, shard="2/4")
    assert not set(asked[:11]) & set(again)
    others = [
        run(tmp_path / f"s{n}", sampled_script, samples=samples, shard=f"{n}/4").path
        for n in (4, 1, 3)
    ]
    merged = merge([tmp_path / "s2", *others], tmp_path / "m")
    assert_same_run(merged.path, whole.path)
    assert len(list(merged.trajectories())) == COUNT * samples


def test_a_shard_says_which_it_is_and_of_what(four):
    manifest = Run(four[1][2]).manifest
    assert manifest["shard"] == "3/4"
    assert manifest["settings"]["questions"]["count"] == COUNT
    ids = [Run(shard).manifest["settings"]["questions"]["hash"] for shard in four[1]]
    assert len(set(ids)) == 1
    assert manifest["counts"]["questions"] == len(list(Run(four[1][2]).questions())) < COUNT


def test_a_folder_of_one_shard_is_not_another_shards_nor_the_whole_runs(four):
    with pytest.raises(SettingsError, match='shard is "1/4" there, "2/4" now'):
        run(four[1][0], shard="2/4")
    with pytest.raises(SettingsError, match='shard is "1/4" there, null now'):
        run(four[1][0])


def test_a_missing_shard_is_named_with_its_questions(four, tmp_path):
    lacking = [q.id for q in Shard(3, 4).choose(film_questions(COUNT))]
    with pytest.raises(InputError) as error:
        merge([four[1][n] for n in (0, 1, 3)], tmp_path / "m")
    assert all(repr(id_) in str(error.value) for id_ in lacking[:5])
    assert str(error.value).endswith("are in none of the runs; lacking: shard 3/4")
    assert not (tmp_path / "m").exists()


def test_a_shard_that_comes_twice_is_refused_by_its_questions(four, tmp_path):
    shutil.copytree(four[1][0], tmp_path / "copy")
    with pytest.raises(InputError, match=r"^questions 'q\d+', .* are in both .*s1 and .*copy$"):
        merge([*four[1], tmp_path / "copy"], tmp_path / "m")


def test_shards_of_differing_settings_are_refused(four, tmp_path):
    other = run(tmp_path / "s4", shard="4/4", demos=1)
    with pytest.raises(SettingsError, match=r"s4 was made with other settings than .*s1: prompt"):
        merge([*four[1][:3], other.path], tmp_path / "m")
    other = run(tmp_path / "t4", questions=film_questions(COUNT + 1), shard="4/4")
    with pytest.raises(SettingsError, match=r"questions.count is 40 in the first, 41 in the other"):
        merge([*four[1][:3], other.path], tmp_path / "m")


def test_what_is_no_shard_is_not_merged(four, tmp_path):
    whole = run(tmp_path / "whole")
    with pytest.raises(InputError, match="whole: no shard of a run"):
        merge([whole.path], tmp_path / "m")
    with pytest.raises(InputError, match="nowhere: no run"):
        merge([tmp_path / "nowhere"], tmp_path / "m")


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("trajectories.jsonl", "1950", "1951", "trajectories.jsonl"),
        ("questions.jsonl", "number", "Number", "questions.jsonl"),
        ("manifest.json", '"k": 4', '"k": 5', r"manifest.json \(its settings\)"),
        ("manifest.json", '"seconds": ', '"seconds": null, "s": ', r"manifest.json \(seconds\)"),
    ],
)
def test_changed_shards_are_refused_and_what_was_changed_named(
    four, tmp_path, file, old, new, named
):
    copies = [shutil.copytree(path, tmp_path / path.name) for path in four[1]]
    change(copies[1] / file, old, new)
    with pytest.raises(InputError, match=f"s2/{named}: changed since the shard was finished"):
        merge(copies, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    change(copies[1] / file, new, old)
    assert merge(copies, tmp_path / "m").manifest["status"] == "complete"


def test_shards_of_before_have_no_checksums_and_are_read_line_by_line(four, tmp_path):
    copies = [shutil.copytree(path, tmp_path / path.name) for path in four[1]]
    manifest = read_json(copies[1] / "manifest.json")
    del manifest["sha256"]
    (copies[1] / "manifest.json").write_text(json.dumps(manifest))
    result = copies[1] / "trajectories.jsonl"
    lines = result.read_text().splitlines(keepends=True)
    result.write_text("".join(lines[1:]))
    with pytest.raises(InputError, match=r"a trajectory of question 'q.*', sample 0, was expected"):
        merge(copies, tmp_path / "m")
    result.write_text("".join([*lines, lines[0]]))
    with pytest.raises(InputError, match=r"a trajectory of question 'q.*' was not expected after"):
        merge(copies, tmp_path / "m")
    result.write_text("".join(lines))
    # What a merge that did not end has left is begun anew.
    assert merge(copies, tmp_path / "m").manifest["status"] == "complete"
    change(copies[1] / "questions.jsonl", "number", "Number")
    with pytest.raises(InputError, match=r"a questions.jsonl or ids.jsonl was changed"):
        merge(copies, tmp_path / "n")


def test_a_merged_run_whose_manifest_names_no_shards_is_refused(four, tmp_path):
    merged = merge(four[1], tmp_path / "m").path
    manifest = read_json(merged / "manifest.json")
    (merged / "manifest.json").write_text(json.dumps({**manifest, "merged": [0]}))
    with pytest.raises(InputError, match=r"m/manifest.json: merged names no shards"):
        merge(four[1], merged)


def test_shards_without_questions_are_shards(tmp_path):
    questions = film_questions(3)
    whole = run(tmp_path / "whole", questions=questions)
    parts = shards_of(tmp_path, of=9, questions=questions)
    assert 0 in [Run(part).manifest["counts"]["questions"] for part in parts]
    assert_same_run(merge(parts, tmp_path / "m").path, whole.path)
    assert parts == shards_of(tmp_path, of=9, questions=questions)


def test_merging_again_changes_nothing_and_other_shards_are_refused(four, tmp_path):
    merged = merge(four[1], tmp_path / "m").path
    before = (merged / "manifest.json").read_bytes()
    merge(four[1][::-1], tmp_path / "m")
    assert (merged / "manifest.json").read_bytes() == before

    def other(request):
        return "So the answer is: 1949."

    parts = shards_of(tmp_path, said=other)
    with pytest.raises(InputError, match="holds a run that other shards were merged to"):
        merge(parts, merged)
    assert merge(parts, merged, overwrite=True).path == merged
    whole = run(tmp_path / "whole").path
    with pytest.raises(InputError, match="holds another run"):
        merge(parts, whole)
    assert Run(merged).manifest["merged"][0]["shard"] == "1/4"


def test_failed_questions_keep_what_was_paid_for(tmp_path):
    def flaky(request):
        failing = request.question_id in ("q1", "q7") and request.step == 2
        return ModelError("busy") if failing else film_script(request)

    merged = merge(shards_of(tmp_path, said=flaky), tmp_path / "m")
    assert merged.manifest["counts"]["failed"] == 2
    asked = []

    def healthy(request):
        asked.append((request.question_id, request.step))
        return film_script(request)

    run(tmp_path / "m", healthy, retry_failed=True)
    assert sorted(asked) == [(q, step) for q in ("q1", "q7") for step in (2, 3)]
    assert_same_run(merged.path, run(tmp_path / "whole").path)


def test_commands_make_and_merge_shards(tmp_path, capsys):
    rows = [{"id": q.id, "question": q.text, "answers": ["1950"]} for q in film_questions(6)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "s.jsonl").write_text('{"default": true, "text": "So the answer is: 1950."}\n')
    given = ["teach", "--questions", str(tmp_path / "q.jsonl"), "--strategy", "closed_book"]
    given += ["--model", f"scripted:{tmp_path / 's.jsonl'}", "--out"]
    for n in (1, 2):
        assert command([*given, str(tmp_path / f"s{n}"), "--shard", f"{n}/2"]) == 0
        said = capsys.readouterr().out
        assert f"Shard {n}/2: " in said
        assert "Next: steper merge RUN… --out FOLDER" in said
    assert command([*given, str(tmp_path / "whole")]) == 0
    both = [str(tmp_path / "s1"), str(tmp_path / "s2")]
    assert command(["merge", *both, "--out", str(tmp_path / "m")]) == 0
    assert "6 questions: 6 answered" in capsys.readouterr().out
    assert_same_run(tmp_path / "m", tmp_path / "whole")
    inputs = [read_json(tmp_path / name / "manifest.json")["inputs"] for name in ("m", "whole")]
    assert inputs[0] == inputs[1]
    assert command(["merge", both[0], "--out", str(tmp_path / "n")]) == 2
    error = capsys.readouterr().err
    assert "lacking: shard 2/2" in error
    assert len(error.splitlines()) == 1
    assert command([*given, str(tmp_path / "x"), "--shard", "3/2"]) == 2
    assert "shard is '3/2'; NUMBER/OF was expected" in capsys.readouterr().err
