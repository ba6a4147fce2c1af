"""Run folders become one HTML page that needs nothing else: no network, no other file.

Texts of questions, passages and models are somebody else's: jinja2 escapes them all, and the page
forbids itself by a content security policy to load anything or to run any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from steper.errors import InputError
from steper.evaluation.methods import Method
from steper.evaluation.statistics import Bootstrap
from steper.reporting.contents import ReportSettings, gather
from steper.reporting.provenance import shown_path
from steper.reporting.wording import FILTERS
from steper.store import atomic_writer, open_input

DOCTYPE = b"<!doctype html"
"""How our pages begin, in lower case."""


def write_report(
    methods: Sequence[Method],
    out: Path | str,
    settings: ReportSettings | None = None,
    bootstrap: Bootstrap | None = None,
    training: Mapping[str, Sequence[Path | str]] | None = None,
) -> Path:
    """Write the report of evaluated methods (see `load_methods`) to the file `out`, atomically.

    `training` are folders with training logs, by method name or by any other name; a method that
    has none there is looked up by its model's folder. Raises InputError on a broken log, and when
    `out` cannot be written.
    """
    out = Path(out)
    if out.is_dir():
        raise InputError(f"{out} is a folder; a file such as {out / 'report.html'} was expected")
    logs = {name: [Path(folder) for folder in some] for name, some in (training or {}).items()}
    settings, bootstrap = settings or ReportSettings(), bootstrap or Bootstrap()
    return write_page_file(out, render(methods, settings, bootstrap, logs, out.parent))


def write_page_file(out: Path, page: str) -> Path:
    """Write a page to the file `out`, atomically.

    Raises InputError where it cannot be written, or where a file is that is no page.
    """
    if out.is_file() and out.stat().st_size:
        with open_input(out) as file:
            if file.read(len(DOCTYPE)).lower() != DOCTYPE:
                raise InputError(f"{out} is there and no HTML page; name another --out")
    with atomic_writer(out) as file:
        file.write(page.encode())
    return out


def render(
    methods: Sequence[Method],
    settings: ReportSettings,
    bootstrap: Bootstrap,
    training: Mapping[str, Sequence[Path]],
    home: Path,
) -> str:
    """The HTML of a page in the folder `home`; the same input gives the same page."""
    if not methods:
        raise InputError("there is nothing to report; name at least one run")
    return render_page("report.html.j2", home, gather(methods, settings, bootstrap, training))


def render_page(template: str, home: Path, contents: Mapping[str, Any]) -> str:
    """The HTML that a template makes of `contents`, for a page in the folder `home`."""
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            **contents,
            home=home,
            style=Markup(_asset("report.css")),
            script=Markup(script),
            script_hash=digest,
        )
    )


@cache  # compiling the templates takes longer than a page
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("steper.reporting", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    environment.filters["here"] = _here
    return environment


@jinja2.pass_context
def _here(context: jinja2.runtime.Context, path: Path) -> str:
    return shown_path(path, context["home"])


def _asset(name: str) -> str:
    return (resources.files("steper.reporting") / "templates" / name).read_text("utf-8")
