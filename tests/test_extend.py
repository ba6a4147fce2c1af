"""docs/extend.md is run as it stands: its files, its commands, its Python."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from steper.cli.main import run
from steper.doors import plugins

DOCUMENT = Path(__file__).parents[1] / "docs" / "extend.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [match.groups() for match in BLOCK.finditer(DOCUMENT.read_text("utf-8"))]


@contextmanager
def fresh(folder):
    """As in a new process there: its modules importable and not yet imported, plug-ins unread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("COLUMNS", "200")
        before = set(sys.modules)
        plugins.cache_clear()
        yield
    plugins.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


def steper(folder, command):
    """Run a command line of `steper` in the folder: its exit code and what it prints."""
    out, err = StringIO(), StringIO()
    with fresh(folder), redirect_stdout(out), redirect_stderr(err):
        code = run(shlex.split(command.replace("\\\n", " "))[1:])
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


def python_here(folder, code):
    """Run Python code in the folder: what it prints."""
    out = StringIO()
    with fresh(folder), redirect_stdout(out):
        exec(compile(code, "code", "exec"), {})
    return out.getvalue()


def python(folder, *arguments):
    """Run Python in the folder, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with all files of the document, its commands run there in order.

    The first of them in a process of its own: modules in the working folder are found.
    """
    folder = tmp_path_factory.mktemp("extend")
    for _, name, text in BLOCKS:
        if name:
            (folder / name).write_text(text, "utf-8")
    said = []
    for kind, _, text in BLOCKS:
        if kind != "sh":
            continue
        for command in text.replace("\\\n", " ").strip().splitlines():
            done = steper(folder, command) if said else python(folder, "-m", *shlex.split(command))
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            said.append(done.stdout)
    return folder, said


def settings(folder, run):
    return json.loads((folder / run / "manifest.json").read_text())["settings"]


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_no_part_takes_more_than_twenty_lines_of_its_own():
    for kind, name, text in BLOCKS:
        if kind == "python":
            own = [line for line in text.splitlines() if line and "import" not in line]
            assert len(own) <= 20, name


@pytest.mark.slow
def test_the_commands_do_what_they_say(place):
    folder, said = place
    made = settings(folder, "runs/mine")
    assert made["strategy"]["name"] == "retgen"
    assert made["strategy"]["spec"] == "my_strategy:IterRetGen"
    assert made["strategy"]["code"]
    assert made["model"]["function"] == "my_model:answer"
    assert made["retriever"]["function"] == "my_retriever:find"
    assert "--iterations" in said[1]
    rows = lines(folder / "runs/half/examples.jsonl")
    weights = [[s["weight"] for s in row["segments"] if s["kind"]] for row in rows]
    assert weights == [[0.5, 1.0]] * 4
    assert settings(folder, "runs/half")["filters_from"][0]["spec"] == "my_filter:short"


def test_a_pipeline_takes_all_of_them(place):
    folder, _ = place
    made = settings(folder, "runs/pipeline/teach/mine")
    assert made["strategy"]["spec"] == "my_strategy:IterRetGen"
    built = settings(folder, "runs/pipeline/build/mine/small/half")
    assert built["recipe_from"]["spec"] == "my_recipe:make"
    assert built["filters_from"][0]["spec"] == "my_filter:short"
    stamps = json.loads((folder / "runs/pipeline/pipeline.json").read_text())["tasks"]
    assert stamps["teach/mine"]["key"]["strategy"]["code"]


def test_the_strategy_searches_again_with_what_it_wrote(place):
    folder, _ = place
    rows = lines(folder / "runs/mine/trajectories.jsonl")
    first, second = rows[0]["steps"]
    assert first["query"] == rows[0]["question"]
    assert second["query"].endswith("So the answer is: 1946.")
    assert rows[0]["answer"] == "1946"


def test_training_prompts_are_those_that_the_model_was_asked(place):
    folder, _ = place
    code = """
import json, steper
from my_model import answer
from my_retriever import find
from my_strategy import IterRetGen
from my_benchmark import read
asked = []
def model(request):
    asked.append(request.prompt.segments)
    return answer(request)
questions = steper.load_questions("questions.jsonl", read)
run = steper.teach(questions, IterRetGen, model, find, "runs/asked")
steper.build(run, out="runs/asked-examples", strategy=IterRetGen, demos=3, overwrite=True)
from steper.examples.example_folder import ExampleFolder
from pathlib import Path
prompts = [e.segments[:-1] for e in ExampleFolder(Path("runs/asked-examples")).examples()]
print(len(prompts), sorted(map(repr, prompts)) == sorted(map(repr, asked)))
"""
    assert python_here(folder, code).split() == ["4", "True"]


def test_it_runs_in_python(place):
    folder, _ = place
    assert python_here(folder, (folder / "in_python.py").read_text("utf-8")).split()[-1] == "4"


def test_code_that_a_folder_names_is_loaded_only_where_that_is_allowed(place):
    folder, _ = place
    command = "steper build runs/mine --form plain --out runs/refused"
    done = steper(folder, command)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "names the strategy 'my_strategy:IterRetGen'" in done.stderr
    assert "--allow-code" in done.stderr


def test_changed_code_is_noticed(place):
    folder, _ = place
    module = folder / "my_strategy.py"
    before = module.read_text()
    module.write_text(before + "\n# changed\n")
    command = next(text for kind, _, text in BLOCKS if kind == "sh").split("\nsteper")[0]
    done = steper(folder, command)
    module.write_text(before)
    assert done.returncode == 2
    assert "strategy.code is" in done.stderr


def test_an_installed_plug_in_gives_short_names(place, tmp_path):
    """Entry points as the document writes them, found in the metadata of an installed package."""
    folder, _ = place
    package, about = tmp_path / "my_package", tmp_path / "my_package-1.0.dist-info"
    package.mkdir()
    about.mkdir()
    (package / "__init__.py").touch()
    for part in ("strategy", "recipe", "retriever", "model"):
        (package / f"{part}.py").write_text((folder / f"my_{part}.py").read_text())
    with (package / "model.py").open("a") as file:
        file.write("\n\ndef open_mine(rest, how):\n    return FunctionModel(answer)\n")
        file.write("\n\nfrom steper.lm.function import FunctionModel\n")
    with (package / "retriever.py").open("a") as file:
        file.write("\n\ndef open_mine(rest):\n    return find\n")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    groups = next(text for kind, _, text in BLOCKS if kind == "toml")
    points = groups.replace("[project.entry-points.", "[").replace('"', "")
    more = "[steper.models]\nmine = my_package.model:open_mine\n"
    more += "[steper.retrievers]\nmine = my_package.retriever:open_mine\n"
    (about / "entry_points.txt").write_text(points + more)
    (tmp_path / "questions.jsonl").write_text((folder / "questions.jsonl").read_text())
    (tmp_path / "my_benchmark.py").write_text((folder / "my_benchmark.py").read_text())
    teach = (
        "steper teach --questions questions.jsonl --benchmark my_benchmark:read --corpus mine:x "
        "--model mine:any --strategy retgen --out run"
    )
    for command in (teach, "steper build run --recipe half --form plain --out examples"):
        done = steper(tmp_path, command)
        assert done.returncode == 0, done.stderr
    assert settings(tmp_path, "run")["strategy"]["spec"] == "my_package.strategy:IterRetGen"
    helped = steper(tmp_path, "steper teach --strategy retgen --help")
    assert "--iterations" in helped.stdout
    assert "retgen" in steper(tmp_path, "steper teach --help").stdout


def test_a_students_folder_names_code_that_is_loaded_only_where_that_is_allowed(place, tmp_path):
    from steper.lm.shipped import locate_model

    folder, _ = place
    student = folder / "student"
    shutil.copytree(locate_model("shipped:student-base"), student)
    card = json.loads((student / "steper.json").read_text())
    card["strategy"] = settings(folder, "runs/mine")["strategy"]
    (student / "steper.json").write_text(json.dumps(card))
    ask = "steper ask 'Who wrote the novel Jaws?' --student student --corpus my_retriever:find"
    refused = steper(folder, ask)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "student/steper.json names the strategy 'my_strategy:IterRetGen'" in refused.stderr
    done = steper(folder, f"{ask} --allow-code")
    assert done.returncode == 0, done.stderr
    assert "Step 2" in done.stdout


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--strategy my_strateg:IterRetGen", "there is no module 'my_strateg'"),
        ("--strategy my_strategy:IterRetgen", "did you mean IterRetGen"),
        ("--strategy my_model:answer", "is no strategy: expected a subclass of"),
        ("--strategy ircoot", "unknown strategy 'ircoot'; did you mean ircot"),
        ("--model my_model:SAID", "is no language model: expected"),
        ("--corpus my_model:SAID", "is no retriever: expected"),
        ("--benchmark my_retriever:find", "line 1: my_retriever:find cannot read it"),
    ],
)
def test_what_is_not_there_is_one_line(place, option, message):
    folder, _ = place
    given = {
        "--questions": "questions.jsonl",
        "--benchmark": "my_benchmark:read",
        "--corpus": "my_retriever:find",
        "--model": "my_model:answer",
        "--strategy": "my_strategy:IterRetGen",
        "--out": "runs/wrong",
    }
    name, value = option.split()
    given[name] = value
    done = steper(folder, " ".join(["steper teach", *(f"{o} {v}" for o, v in given.items())]))
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert message in done.stderr
