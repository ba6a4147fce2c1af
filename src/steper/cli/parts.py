"""What a command says of strategies and recipes, which are not known before they are looked for.

Two strategies may have a setting of one name, each in its own way. So a command that asks one gets
the options of the strategy that is named on its command line, or of the student's own, or of the
default one; `--help` shows those. `{strategies}` and `{recipes}` in its docstring are all names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import FunctionType
from typing import Annotated, Any, Optional, get_args, get_type_hints

from steper.cli.options import FLAT, grouped, options
from steper.errors import SteperError
from steper.lm.shipped import locate_model
from steper.recipes import RECIPES
from steper.strategy import DEFAULT, STRATEGIES, Strategy, load_strategy


def with_parts(command: FunctionType, arguments: Sequence[str]) -> FunctionType:
    """The command with the options of the strategy that its arguments name, and with all names.

    Raises SettingsError where there is no such strategy.
    """
    copy = FunctionType(command.__code__, command.__globals__, command.__name__)
    copy.__defaults__, copy.__kwdefaults__ = command.__defaults__, command.__kwdefaults__
    copy.__module__ = command.__module__
    copy.__annotations__ = get_type_hints(command, include_extras=True)
    known = {"{strategies}": STRATEGIES.names(), "{recipes}": RECIPES.names()}
    copy.__doc__ = command.__doc__ or ""
    for mark, names in known.items():
        copy.__doc__ = copy.__doc__.replace(mark, ", ".join(names))
    if "strategy" in copy.__annotations__:
        kind = named_strategy(arguments)
        title = f"Strategy {kind.name} (others: --strategy NAME --help)"
        every, *_ = get_args(get_args(copy.__annotations__["settings"])[0])  # of `every | None`
        replaced = grouped({"strategy": (title, options(kind.settings_type))}, base=every)
        copy.__annotations__["settings"] = Annotated[Optional[replaced], FLAT]  # noqa: UP045
    return copy


def named_strategy(arguments: Sequence[str]) -> type[Strategy[Any]]:
    """The strategy that a command line names, or the student's that it names, or the default."""
    spec = _value(arguments, "--strategy")
    if spec is not None:
        return STRATEGIES.find(spec)
    student = _value(arguments, "--student") or _value(arguments, "--model")
    if student is not None:
        from steper.student import STEPER, read_student_card, student_folder

        allow = "--allow-code" in arguments
        try:
            folder = student_folder(locate_model(student))
            if folder is not None:
                recorded, place = read_student_card(folder).strategy, str(Path(folder) / STEPER)
                return load_strategy(recorded, allow_code=allow, place=place)[0]
        except SteperError:  # the command itself says what is wrong with the student
            return STRATEGIES.find(DEFAULT)
    return STRATEGIES.find(DEFAULT)


def whose_option(flag: str) -> str | None:
    """The strategies that have a setting of this flag, in words; None where none has."""
    name = flag.lstrip("-").removeprefix("no-").replace("-", "_").partition("=")[0]
    found = [k.name for k in map(STRATEGIES.find, STRATEGIES.names()) if _has(k, name)]
    return ", ".join(found) or None


def _has(kind: type[Strategy[Any]], name: str) -> bool:
    return name in kind.settings_type.model_fields


def _value(arguments: Sequence[str], flag: str) -> str | None:
    """The value of `--flag VALUE` or `--flag=VALUE`; the last one counts."""
    found = None
    for at, argument in enumerate(arguments):
        if argument == flag and at + 1 < len(arguments):
            found = arguments[at + 1]
        elif argument.startswith(f"{flag}="):
            found = argument.partition("=")[2]
    return found
