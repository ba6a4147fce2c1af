"""The `steper` command: every subcommand by name, and how errors end it.

A user's mistake is one line on standard error and exit code 2; Ctrl-C and SIGTERM are exit code
130; a bug keeps its traceback.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts import MissingArgumentError

SUMMARIES = {
    "index": "Index a corpus for BM25 search.",
    "search": "Show the passages that a query finds, best first.",
    "teach": "Run a teacher over questions and write its trajectories.",
    "relabel": "Have a teacher write the step at each state that a student came to.",
    "merge": "Put the shards of a run together.",
    "build": "Make step-wise training examples of a run's trajectories.",
    "train": "Train a student on step examples.",
    "eval": "Score a run by its benchmark's own rules, or a student's answers to questions.",
    "show": "Show one trajectory, step by step.",
    "score": "Score any system's predictions by the benchmark's own rules.",
    "compare": "Compare runs over the same questions, pair by pair.",
    "judge": "Have a language model compare two runs over the same questions, ability by ability.",
    "report": "Write runs over the same questions as one HTML page that needs no network.",
    "leakage": "Say what test questions have in common with what was learnt from.",
    "data": "Turn an official dump into a corpus file.",
    "world": "Generate a small encyclopedia with multi-hop questions.",
    "run": "Run a whole pipeline: world, index, teach, build, train, eval, compare, report.",
    "study": "Run a study: several pipelines that share what is equal, with one table, plot and "
    "report.",
    "ask": "Ask one question and watch each step: its query, what was found, what was concluded.",
}
"""The docstrings' first lines: `--help` imports no command to list them."""

COMMANDS = {name: (f"steper.cli.{name}:{name}", text) for name, text in SUMMARIES.items()}
"""Name → function and summary."""


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    try:
        return _run(arguments)
    except KeyboardInterrupt:  # also while modules are loaded, or another end is under way
        pass
    except Exception as error:
        if not _hides_interrupt(error):
            raise
    print("steper: interrupted; the same command goes on from here", file=sys.stderr)
    return 130


def _hides_interrupt(error: Exception) -> bool:
    """Whether pydantic was building a validator as the interrupt came: it makes its own of it."""
    from pydantic_core import SchemaError

    return isinstance(error, SchemaError) and "KeyboardInterrupt" in str(error)


def _run(arguments: Sequence[str]) -> int:
    import cyclopts

    from steper.errors import SteperError, lacks_room

    app = cyclopts.App(
        name="steper",
        help="Distil a multi-step retrieval-augmented LM into a small one, step by step.",
        version_flags=["--version"],
        suppress_keyboard_interrupt=False,
    )
    try:
        for name, (place, summary) in COMMANDS.items():
            # The command that is run speaks for itself, with its whole docstring.
            if [name] == list(arguments[:1]):
                app.command(_loaded(place, arguments), name=name)
            else:
                app.command(place, name=name, help=summary)
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (SteperError, cyclopts.CycloptsError) as error:
        _complain(_message(error), arguments)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if not lacks_room(error):
            raise
        _complain(f"{error}; make room, and give the same command again", arguments)
        return 2
    return 0


def _loaded(place: str, arguments: Sequence[str]) -> Any:
    """The function of a command; see `parts` for what it says of strategies and recipes."""
    module, _, name = place.partition(":")
    function = getattr(import_module(module), name)
    if not {"strategy", "recipe"} & function.__annotations__.keys():
        return function
    from steper.cli.parts import with_parts

    return with_parts(function, arguments)


def _message(error: Exception) -> str:
    """An error's text; what pydantic finds wrong with an option's value is put in one line."""
    from cyclopts import MissingArgumentError, UnknownOptionError
    from cyclopts.exceptions import UnusedCliTokensError
    from pydantic import ValidationError

    if isinstance(error, UnknownOptionError):
        from steper.cli.parts import whose_option

        flag = error.token.keyword or error.token.value
        whose = whose_option(flag)
        return f"{error} {flag} is a setting of strategy {whose}" if whose else str(error)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        what = f"{error.keyword} has no value" if error.keyword else _not_given(error)
        return f"{what}; steper {' '.join(error.command_chain or ())} --help says what it takes"
    if isinstance(error, UnusedCliTokensError):
        more, name = " ".join(error.unused_tokens or ()), " ".join(error.command_chain or ())
        return f"{more}: one argument too many; steper {name} --help says what it takes"
    if not isinstance(error.__cause__, ValidationError):
        return str(error)
    first = error.__cause__.errors()[0]
    names = [part for part in first["loc"] if isinstance(part, str)]
    # The section and the option, or the option alone.
    option = "".join(f"--{name}" for name in names[:2][-1:]).replace("_", "-")
    return f"{option}: {first['msg']}, not {first['input']!r}"


def _not_given(error: MissingArgumentError) -> str:
    """What of a command was not given, and what was given without its option."""
    assert error.argument is not None
    more = " ".join(error.unused_tokens or ())
    return f"{error.argument.name} is missing" + (
        f", and {more} stands without its option" if more else ""
    )


def _complain(message: str, arguments: Sequence[str]) -> None:
    from steper.text import visible

    lines = [line.strip() for line in message.splitlines() if line.strip()]
    command = f"steper {arguments[0]}" if arguments and arguments[0] in COMMANDS else "steper"
    print(visible(f"{command}: error: {' '.join(lines)}"), file=sys.stderr)


def main() -> None:
    """Entry point of the `steper` command."""
    from steper.cli.terminal import OnlyOnce, VisibleFormatter

    # Parts of one's own, `my_module:Name`, are looked for in the working folder, too.
    sys.path.append(str(Path.cwd()))
    logging.basicConfig(level=logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(OnlyOnce())
        handler.setFormatter(VisibleFormatter("%(levelname)s %(name)s: %(message)s"))
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # what `kill` and schedulers send
        # Last: until `run` can take it as Ctrl-C, nothing has begun that must end in order.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(sys.argv[1:]))
