"""What models, servers and corpora say reaches the terminal as text, and does nothing there."""

import io
import logging

import pytest
from rich.table import Table
from rich.text import Text

from doubles import DictRetriever, film_questions
from retrieve.test_http_retriever import serving
from steper.cli.main import run
from steper.cli.terminal import VisibleFormatter, new_bar, plain_console, table_of, warn
from steper.lm.scripted import ScriptedModel
from steper.prompt.render import PromptSettings
from steper.runs import teach
from steper.strategy.ircot import IRCoT
from steper.text import visible

NASTY = "\x1b]0;mine\x07 \x1b[2J\x9b31m [red]is[/red] :m: \u202eABC"
SHOWN = r"\x1b]0;mine\x07 \x1b[2J\x9b31m [red]is[/red] :m: \u202eABC"


def test_what_a_terminal_would_obey_is_written_out():
    assert visible(NASTY) == SHOWN
    assert visible("Zoë\t“東京”\nnext 👩‍🔬") == "Zoë\t“東京”\nnext 👩‍🔬"


def printed(*renderables):
    file = io.StringIO()
    console = plain_console(file=file, width=200, force_terminal=True, color_system=None)
    for renderable in renderables:
        console.print(renderable)
    return file.getvalue()


def test_consoles_write_escapes_out_and_read_no_markup_or_emoji():
    table = Table(NASTY)
    table.add_row(Text(NASTY))
    table.add_row(NASTY)
    text = printed(NASTY, Text(NASTY, style="bold"), table)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.count(SHOWN.replace(r"\x07", "")) == 2  # rich itself takes the bell away
    assert text.count(r"\x1b[2J\x9b31m [red]is") == 5


def test_bars_warnings_and_logs_write_escapes_out(capsys):
    warn([NASTY])
    with new_bar(disable=False) as bar:
        bar.add_task(NASTY, total=1, rates=NASTY)
    record = logging.LogRecord("x", logging.WARNING, "", 1, "it said %s", (NASTY,), None)
    assert VisibleFormatter("%(message)s").format(record) == f"it said {SHOWN}"
    said = capsys.readouterr().err
    assert ":m:" in said
    assert not [obeyed for obeyed in ("\x1b]", "\x1b[2J", "\x07", "\x9b") if obeyed in said]


def test_errors_write_escapes_out(capsys, tmp_path):
    assert run(["search", str(tmp_path / f"no{NASTY}"), "query"]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert SHOWN in said


def script(request):
    return [f"{NASTY}.", f"So the answer is: {NASTY}."][request.step > 1]


@pytest.mark.parametrize("arguments", [[], ["-q", "q0"], ["-q", "q0", "--full"]])
def test_show_writes_escapes_out(tmp_path, capsys, arguments):
    questions = [q.model_copy(update={"text": q.text + NASTY}) for q in film_questions(1)]
    retriever = DictRetriever({"Gold Rain": f"Gold Rain is {NASTY}", f"Gold {NASTY}": NASTY})
    strategy = IRCoT(prompt=PromptSettings(demos=0))
    teach(questions, strategy, ScriptedModel(script), retriever, tmp_path / "run")
    assert run(["show", str(tmp_path / "run"), *arguments]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\x9b" not in said
    assert r"\x1b" in said


def test_search_and_ask_write_escapes_out(tmp_path, capsys):
    document = {"id": "1", "title": f"A {NASTY}", "text": f"Oslo {NASTY}"}
    with serving() as server:
        server.replies = [lambda body: {"result": [[document]] * len(body["queries"])}]
        assert run(["search", server.url, "Oslo"]) == 0
        said = capsys.readouterr().out
        script = tmp_path / "script.jsonl"
        script.write_text('{"default": true, "text": "So the answer is: \\u001b[2J:m:."}\n')
        asked = ["ask", "Where?", "--model", f"scripted:{script}", "--corpus", server.url]
        assert run(asked) == 0, capsys.readouterr().err
        said += capsys.readouterr().out
    assert "\x1b" not in said
    assert r"\x1b[2J" in said
    assert ":m:" in said


def test_ask_says_what_was_cut_off_as_a_run_does(tmp_path, capsys):
    script = tmp_path / "script.jsonl"
    script.write_text('{"default": true, "text": "<think>Where"}\n')
    asked = ["ask", "Where?", "--model", f"scripted:{script}", "--strategy", "closed_book"]
    assert run(asked) == 0
    assert "1 of 1 generations (100 %) were cut off" in capsys.readouterr().err


def test_a_heading_that_is_wider_than_its_column_has_a_line_for_each_word(capsys):
    rows = [["", "step end", "EM"], ["vanilla_kd_iter", "model", "21.3"], ["steper", "cut", "25.3"]]
    plain_console().print(table_of(rows))
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "                  step",
        "                   end    EM",
        "vanilla_kd_iter  model  21.3",
        "steper             cut  25.3",
    ]
