"""Wrong inputs as a user makes them: one clear line, exit code 2, nothing half-written."""

import json
import re

import pytest

from steper.cli.main import run

MUSIQUE = {
    "id": "2hop__1_2",
    "question": "Who leads the city of Gold Rain?",
    "question_decomposition": [
        {"id": 1, "question": "Gold Rain >> city", "answer": "Oslo", "paragraph_support_idx": 0},
        {"id": 2, "question": "who leads #1", "answer": "Ann Lee", "paragraph_support_idx": 1},
    ],
    "paragraphs": [
        {
            "idx": 0,
            "title": "Gold Rain",
            "paragraph_text": "Gold Rain is a film set in Oslo.",
            "is_supporting": True,
        },
        {
            "idx": 1,
            "title": "Oslo",
            "paragraph_text": "Oslo is led by Ann Lee.",
            "is_supporting": True,
        },
    ],
    "answer": "Ann Lee",
    "answer_aliases": [],
    "answerable": True,
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with good inputs, as the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    items = [MUSIQUE | {"id": f"2hop__{i}"} for i in range(20)]
    lines = [json.dumps(item) for item in items]
    (tmp_path / "good.jsonl").write_text("\n".join(lines))
    (tmp_path / "broken.jsonl").write_text("\n".join([*lines[:16], lines[16][:-9], *lines[17:]]))
    (tmp_path / "twice.jsonl").write_text("\n".join([*lines[:3], lines[0]]))
    far = json.loads(lines[0])
    far["question_decomposition"][1]["paragraph_support_idx"] = 20
    (tmp_path / "far.jsonl").write_text(json.dumps(far))
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "corpus.jsonl").write_text('{"title": "Oslo", "text": "Oslo is a city."}\n')
    (tmp_path / "badcorpus.jsonl").write_text('{"title": "Oslo", "text": 5}\n')
    (tmp_path / "config.yaml").write_text("strategy:\n  kk: 3\n")
    (tmp_path / "steps.yaml").write_text("train: {max_steps: 3}\n")
    (tmp_path / "turns.yaml").write_text("prompt: {layout: append_only, reasoning: anew}\n")
    (tmp_path / "k.yaml").write_text("strategy: {k: 0}\n")
    (tmp_path / "sections.yaml").write_text("strategie:\n  k: 3\n")
    (tmp_path / "address.yaml").write_text("openai: {base_url: {a: 1}}\n")
    (tmp_path / "circle.yaml").symlink_to("circle.yaml")
    (tmp_path / "config.txt").write_text("strategy: [1,\n  2\nx: :")
    (tmp_path / "student").mkdir()
    card = {"form": "chat", "strategy": {"name": "ircot"}, "prompt": {"layout": "append_only"}}
    (tmp_path / "student/steper.json").write_text(json.dumps(card))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").write_text("mine")
    return tmp_path


TEACH = "teach --model gold --out new"

SERVER = "teach --model openai:m --out new --questions good.jsonl"

CASES = [
    ("missing file", f"{TEACH} --questions none.jsonl", "none.jsonl: no such file"),
    ("a folder", f"{TEACH} --questions full", "full is a folder"),
    ("broken JSON on line 17", f"{TEACH} --questions broken.jsonl", "broken.jsonl, line 17"),
    ("wrong benchmark", f"{TEACH} --questions good.jsonl --benchmark hotpotqa", "musique"),
    ("unknown benchmark", f"{TEACH} --questions good.jsonl --benchmark hotpot", "hotpotqa"),
    ("empty questions", f"{TEACH} --questions empty.jsonl", "empty.jsonl"),
    ("empty corpus", f"{TEACH} --questions good.jsonl --corpus empty.jsonl", "empty.jsonl"),
    ("bad corpus", f"{TEACH} --questions good.jsonl --corpus badcorpus.jsonl", "line 1"),
    (
        "gold index out of range",
        f"{TEACH} --questions far.jsonl",
        "paragraph_support_idx is 20, but the question has 2 paragraphs (0–1)",
    ),
    ("duplicate ids", f"{TEACH} --questions twice.jsonl", "2hop__0"),
    ("unknown model", "teach --model gpt --out new --questions good.jsonl", "known forms"),
    ("no model folder", "teach --model hf:./nowhere --out new --questions good.jsonl", "nowhere"),
    ("no model in the folder", "teach --model ./full --out new --questions good.jsonl", "full"),
    (
        "server down",
        "teach --model openai:m --base-url http://127.0.0.1:9/v1 --max-retries 0 --out new "
        "--questions good.jsonl",
        "127.0.0.1:9",
    ),
    (
        "key missing",
        "teach --model openai:gpt-5 --out new --questions good.jsonl",
        "OPENAI_API_KEY",
    ),
    ("unknown strategy", f"{TEACH} --questions good.jsonl --strategy ircott", "ircot"),
    (
        "setting of another strategy",
        f"{TEACH} --questions good.jsonl --strategy one_shot --max-steps 3",
        "--max-steps",
    ),
    (
        "number out of range",
        f"{TEACH} --questions good.jsonl --k 0",
        "--k: Input should be greater than or equal to 1, not 0",
    ),
    (
        "settings that contradict each other",
        f"{TEACH} --questions good.jsonl --strategy self_ask --reader cot --layout append_only",
        "layout=passages_first",
    ),
    ("not a number", f"{TEACH} --questions good.jsonl --k many", "--k"),
    ("unknown option", f"{TEACH} --questions good.jsonl --kk 3", "--k"),
    ("an option left out", "index --out new", "--corpus is missing; steper index --help"),
    (
        "a value without its option",
        "index corpus.jsonl --out new",
        "--corpus is missing, and corpus.jsonl stands without its option",
    ),
    ("an option without its value", "train full --out", "--out has no value"),
    ("unknown command", "tech", "teach"),
    ("required option missing", "teach --model gold --out new", "--questions"),
    (
        "unknown setting in the config",
        f"{TEACH} --questions good.jsonl --config config.yaml",
        "config.yaml",
    ),
    (
        "options that exclude each other",
        f"{TEACH} --questions good.jsonl --device cpu --device-map auto",
        "error: --device and --device-map: device is cpu",
    ),
    (
        "a file's setting and an option that exclude each other",
        "train none --student x --out new --config steps.yaml --max-tokens 4",
        "error: steps.yaml, section train and --max-tokens: max_steps and max_tokens exclude",
    ),
    (
        "a file's settings that exclude each other",
        f"{TEACH} --questions good.jsonl --config turns.yaml",
        "error: turns.yaml, section prompt: reasoning=anew",
    ),
    (
        "a student's setting and an option that exclude each other",
        "eval --student student --questions good.jsonl --out new --reasoning anew",
        "error: the student's own settings and --reasoning: reasoning=anew",
    ),
    (
        "a file's setting for a student",
        "eval --student shipped:student-base --questions good.jsonl --out new --config k.yaml",
        "error: k.yaml, section strategy: k: Input should be greater than or equal to 1, not 0",
    ),
    (
        "number out of range for a student",
        "eval --student shipped:student-base --questions good.jsonl --out new --max-steps 0",
        "error: --max-steps: Input should be greater than or equal to 1, not 0",
    ),
    ("an address that is none", f"{SERVER} --base-url foo", "error: --base-url: base_url is 'foo'"),
    (
        "an address that is no text",
        f"{TEACH} --questions good.jsonl --config address.yaml",
        "section openai: base_url: an address was expected, or a list of them",
    ),
    ("links in a circle", "run circle.yaml", "circle.yaml: cannot be read (Too many levels of"),
    ("runs in a circle", "compare a=circle.yaml b=circle.yaml", "circle.yaml is given twice"),
    ("a run in a circle", "report circle.yaml --out new", "circle.yaml: no such folder"),
    ("an archive in a circle", "data hotpotqa-abstracts circle.yaml --out new", "Too many levels"),
    ("an output in a circle", "world --out circle.yaml", "cannot be written (File exists)"),
    ("jobs out of range", "run small-world --jobs 0", "error: --jobs: a number of tasks from 1 on"),
    ("jobs that are no YAML", "run small-world --jobs [", "error: --jobs [: the value is not YAML"),
    ("unknown section", f"{TEACH} --questions good.jsonl --config sections.yaml", "strategy"),
    ("config that is no YAML", f"{TEACH} --questions good.jsonl --config config.txt", "not YAML"),
    (
        "out holds other things",
        "teach --model gold --out full --questions good.jsonl",
        "thesis.tex",
    ),
    ("out is a file", "teach --model gold --out notes.txt --questions good.jsonl", "notes.txt"),
    ("retriever down", f"{TEACH} --questions good.jsonl --corpus ftp://x/y", "ftp://"),
    ("limit and sample", f"{TEACH} --questions good.jsonl --limit 3 --sample 2", "--sample"),
    ("sample too large", f"{TEACH} --questions good.jsonl --sample 30", "20"),
    ("no run to evaluate", "eval full", "full"),
    ("no run to show", "show full", "manifest.json"),
    ("not an index", "search full query", "full"),
    (
        "script that is none",
        "teach --model scripted:notes.txt --out new --questions good.jsonl",
        "notes.txt",
    ),
    ("index over other things", "index --corpus corpus.jsonl --out full", "full"),
    (
        "score of what is not there",
        "score none.json --questions good.jsonl --benchmark musique",
        "none.json",
    ),
    (
        "a world over other files",
        "world --out full --train 2 --dev 1 --test 1",
        "full holds thesis.tex, which no world put there",
    ),
    (
        "score without a benchmark",
        "score notes.txt --questions good.jsonl --benchmark squad",
        "squad",
    ),
]


@pytest.mark.parametrize(("arguments", "said"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_one_clear_line_and_nothing_written(here, capsys, arguments, said):
    before = sorted(p.relative_to(here) for p in here.rglob("*"))
    assert run(arguments.split()) == 2
    error = capsys.readouterr().err.strip()
    line = error.splitlines()[-1]
    assert re.match(r"steper( \w+)?: error: ", line)
    assert said in line
    assert "Traceback" not in error
    after = sorted(p.relative_to(here) for p in here.rglob("*"))
    assert after == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "nope", "--student", "none/such"], "nope is not a run folder"),
        (["judge", "nope", "none", "--model", "openai:m"], "nope is not a run folder"),
        (
            ["teach", "--questions", "good.jsonl", "--corpus", "nope", "--model", "openai:m"],
            "nope: no such file or folder",
        ),
    ],
)
def test_what_is_missing_is_told_before_a_model_is_opened(here, capsys, arguments, said):
    """That takes minutes; here neither the model nor its key is there."""
    assert run([*arguments, "--out", "out"]) == 2
    assert said in capsys.readouterr().err


def test_an_address_of_the_environment_is_named(here, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_BASE_URL", "foo")
    assert run(SERVER.split()) == 2
    assert "the environment variable OPENAI_BASE_URL is 'foo'" in capsys.readouterr().err


def test_settings_that_differ_from_an_earlier_run(here, capsys):
    good = [*TEACH.split(), "--questions", "good.jsonl"]
    assert run(good) == 0
    files = {p: p.read_bytes() for p in (here / "new").rglob("*") if p.is_file()}
    assert run([*good, "--k", "3"]) == 2
    assert "strategy.k is 4 there, 3 now" in capsys.readouterr().err
    assert run([*good, "--corpus", "corpus.jsonl"]) == 2
    assert "retriever." in capsys.readouterr().err
    assert files == {p: p.read_bytes() for p in (here / "new").rglob("*") if p.is_file()}


def test_index_made_with_other_settings(here, capsys):
    assert run(["index", "--corpus", "corpus.jsonl", "--out", "idx", "--k1", "0.9"]) == 0
    assert (
        run(
            [
                "teach",
                "--model",
                "gold",
                "--out",
                "new",
                "--questions",
                "good.jsonl",
                "--corpus",
                "idx",
            ]
        )
        == 0
    )
    assert run(["index", "--corpus", "corpus.jsonl", "--out", "idx2"]) == 0
    capsys.readouterr()
    assert (
        run(
            [
                "teach",
                "--model",
                "gold",
                "--out",
                "new",
                "--questions",
                "good.jsonl",
                "--corpus",
                "idx2",
            ]
        )
        == 2
    )
    assert "retriever.settings.k1" in capsys.readouterr().err


def test_an_unknown_question_names_near_ones(here, capsys):
    run([*TEACH.split(), "--questions", "good.jsonl"])
    capsys.readouterr()
    assert run(["show", "new", "--question", "2hop__77"]) == 2
    assert "2hop__" in capsys.readouterr().err
