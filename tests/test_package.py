"""The package as a whole: free imports, imports that point one way, a notebook's event loop."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "steper"

# What stands lower may import what stands higher, never the other way round.
LAYERS = [
    {
        "artifact",
        "checksums",
        "doors",
        "errors",
        "grounding",
        "notebook",
        "records",
        "redaction",
        "store",
        "stored",
        "text",
    },
    {"prompt"},
    {"retrieve", "lm"},
    {"gold"},
    {"data"},
    {"strategy"},
    {"appending", "engine", "journal", "merging", "runs", "shards"},
    {"relabelling"},
    {"evaluation"},
    {"judging"},
    {"recipes"},
    {"examples"},
    {"training"},
    {"student"},
    {"cluster"},
    {"reporting"},
    {"pipeline"},
    {"studies"},
    {"dryrun"},
    {"api"},
    {"cli"},
]
# Rows whose members may import each other; retrieve and lm may not.
TOGETHER = (LAYERS[0], {"appending", "engine", "journal", "merging", "runs", "shards"})


def module_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("steper."):
            yield node.module.split(".")[1]


def test_imports_point_one_way():
    level = {name: i for i, names in enumerate(LAYERS) for name in names}
    wrong = []
    for path in SOURCE.rglob("*.py"):
        here = module_of(path)
        if here in ("__init__", "__main__", "assets"):
            continue
        for there in imported(path):
            same = there == here
            alike = level[here] == level[there] and LAYERS[level[here]] in TOGETHER
            if not (level[there] < level[here] or same or alike):
                wrong.append(f"{path.relative_to(SOURCE)} imports {there}")
    assert not wrong


def test_the_picture_in_design_md_is_the_one_that_holds():
    text = (SOURCE.parents[1] / "docs" / "design.md").read_text("utf-8")
    rows = text.split("```text\n")[1].split("```")[0].strip().splitlines()
    drawn = [set(re.split(r"  +", row)[0].split()) for row in rows]
    assert drawn == LAYERS[::-1]


def run_python(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_import_is_free():
    code = (
        "import sys, logging, random\n"
        "state = random.getstate()\n"
        "import steper\n"
        "heavy = {'torch', 'transformers', 'openai', 'numpy', 'bm25s', 'pydantic', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert not logging.getLogger().handlers and random.getstate() == state\n"
        "assert 'teach' in dir(steper)\n"
        "print('free')"
    )
    assert run_python(code) == "free\n"


def test_help_needs_no_framework():
    code = (
        "import sys\n"
        "from importlib import import_module\n"
        "from steper.cli.main import COMMANDS, run\n"
        "for name in ('teach', 'eval', 'index', 'search', 'score', 'show'):\n"
        "    import_module(COMMANDS[name][0].partition(':')[0])\n"
        "run(['teach', '--help'])\n"
        "assert not {'torch', 'transformers', 'openai'} & set(sys.modules)"
    )
    assert "Usage: steper teach" in run_python(code)


def test_no_public_name_is_a_modules():
    """Else importing the module would put it where the function is expected."""
    import steper

    modules = {path.stem for path in SOURCE.iterdir()}
    assert not modules & set(steper.__all__)


def test_every_public_name_is_there():
    import steper

    for name in steper.__all__:
        assert getattr(steper, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'tech'"):
        _ = steper.tech


def test_what_a_door_says_it_expects_is_a_public_name():
    import steper
    from steper.recipes import RECIPES
    from steper.strategy import STRATEGIES

    said = f"{STRATEGIES.expected}, {RECIPES.expected}"
    named = re.findall(r"steper\.(\w+)", said)
    assert named == ["Strategy", "Recipe"]
    assert set(named) <= set(steper.__all__)


def test_dir_lists_the_public_names_and_nothing_else():
    code = (
        "import steper\n"
        "steper.Run, steper.load_questions\n"
        "assert [n for n in dir(steper) if not n.startswith('__')] == sorted(steper.__all__)\n"
        "assert '__version__' in dir(steper)\n"
        "print(steper.__version__)"
    )
    assert run_python(code).strip()[0].isdigit()


def test_ten_lines_of_python_inside_a_running_event_loop(tmp_path, capsys):
    code = f"""
import asyncio

async def cell():
    import steper
    from steper.records import Hop
    passages = [steper.Passage.make("Oslo", "Oslo is the capital of Norway."),
                steper.Passage.make("Gold Rain", "Gold Rain is a film set in Oslo.")]
    hops = (Hop(subject="Gold Rain", relation="set in", answer="Oslo", passage_id=passages[1].id),
            Hop(subject="Oslo", relation="country", answer="Norway", passage_id=passages[0].id))
    questions = [steper.Question(id="1", text="In which country is Gold Rain set?", hops=2,
        benchmark="2wikimultihopqa", type="compositional", answers=("Norway",),
        gold=tuple(passages), decomposition=hops, context=tuple(passages))]
    retriever = steper.BM25Index.build(steper.build_corpus(questions))
    lm = steper.open_model("gold", questions=questions)
    run = steper.teach(questions, "ircot", lm, retriever, {str(tmp_path / "run")!r})
    print(steper.evaluate_run(run.path).overall.answers.em.value)

asyncio.run(cell())
"""
    exec(compile(code, "cell", "exec"), {})
    assert capsys.readouterr().out.strip() == "1.0"


def test_the_list_of_commands_says_what_their_docstrings_say():
    from importlib import import_module

    from steper.cli.main import COMMANDS

    for place, summary in COMMANDS.values():
        module, function = place.split(":")
        assert getattr(import_module(module), function).__doc__.strip().splitlines()[0] == summary
