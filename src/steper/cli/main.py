"""The `steper` command: every subcommand by name, and how errors end it.

A user's mistake is one line on standard error and exit code 2; Ctrl-C is exit code 130; a bug keeps
its traceback.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

COMMANDS = {
    "index": "steper.cli.index:index",
    "search": "steper.cli.search:search",
    "teach": "steper.cli.teach:teach",
    "build": "steper.cli.build:build",
    "train": "steper.cli.train:train",
    "eval": "steper.cli.eval:eval_",
    "show": "steper.cli.show:show",
    "score": "steper.cli.score:score",
    "compare": "steper.cli.compare:compare",
    "report": "steper.cli.report:report",
    "world": "steper.cli.world:world",
    "run": "steper.cli.run:run",
    "ask": "steper.cli.ask:ask",
}


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    import cyclopts

    from steper.errors import SteperError

    app = cyclopts.App(
        name="steper",
        help="Distil a multi-step retrieval-augmented LM into a small one, step by step.",
        version_flags=["--version"],
        suppress_keyboard_interrupt=False,
    )
    for name, place in COMMANDS.items():
        app.command(place, name=name)
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (SteperError, cyclopts.CycloptsError) as error:
        _complain(_message(error), arguments)
        return 2
    except KeyboardInterrupt:
        print("steper: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    return 0


def _message(error: Exception) -> str:
    """An error's text; what pydantic finds wrong with an option's value is put in one line."""
    from pydantic import ValidationError

    if not isinstance(error.__cause__, ValidationError):
        return str(error)
    first = error.__cause__.errors()[0]
    option = "".join(f"--{part}" for part in first["loc"][:1]).replace("_", "-")
    return f"{option}: {first['msg']}, not {first['input']!r}"


def _complain(message: str, arguments: Sequence[str]) -> None:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    command = f"steper {arguments[0]}" if arguments and arguments[0] in COMMANDS else "steper"
    print(f"{command}: error: {' '.join(lines)}", file=sys.stderr)


def main() -> None:
    """Entry point of the `steper` command."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(run(sys.argv[1:]))
