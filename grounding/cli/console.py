"""What the commands share: settings, files, and progress on the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from grounding.errors import InputError
from grounding.logs import set_up_logging
from grounding.settings import Settings

if TYPE_CHECKING:
    from grounding.labelstudio.client.projects import Projects

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
"""The type of an argument that names a file which must be there."""

Advance = Callable[[int, int], None]
"""Says that so many more are done, of so many in all."""


def load_settings(**overrides: object) -> Settings:
    """Return the settings, with logging set up as they say; `SettingError` for a wrong one."""
    settings = Settings.load(**overrides)
    set_up_logging(settings.log_level)
    return settings


def load_reading_settings(**overrides: object) -> Settings:
    """Return the settings of a command that reads pictures as the worker of `up` does."""
    return beside_server(load_settings(**overrides))


def beside_server(settings: Settings) -> Settings:
    """Return the settings of what reads pictures on the web server's own machine.

    The web server has the sample pictures of `examples/`, so its origins are allowed, by both
    names that a browser on this machine knows it by.
    """
    own = {f"http://{host}:{settings.port}" for host in ("localhost", "127.0.0.1")}
    return settings.model_copy(update={"allowed_origins": settings.allowed_origins | own})


FILE_WIDTH = 120
"""Columns of a table where no terminal tells its own."""


def results_console(*, stderr: bool = False) -> Console:
    """Return the console of what a command says, on standard output unless `stderr` is set."""
    console = Console(highlight=False, stderr=stderr)
    if console.is_terminal:
        return console
    return Console(highlight=False, stderr=stderr, width=FILE_WIDTH)


@contextmanager
def progress(what: str) -> Iterator[Advance]:
    """Show how far a step is and how long it will take, on a terminal's standard error.

    Standard output stays free for what scripts read; elsewhere nothing is shown.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)

        def advance(more: int, total: int) -> None:
            bar.update(task, advance=more, total=total)

        yield advance


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, with or without a mark; `InputError` if it has none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{path} is no text in UTF-8 ({type(exc).__name__})", hint="") from exc


def read_json(path: Path) -> Any:
    """Return the JSON in a file; `InputError` if it has none."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{path} is no JSON ({type(exc).__name__})", hint="") from exc


def read_annotated(projects: Projects, number: int) -> list[Mapping[str, Any]]:
    """Return the tasks of a project that someone has annotated."""
    tasks: list[Mapping[str, Any]] = []
    with progress("reading tasks") as bar:
        for page in projects.pages(number):
            tasks += [task for task in page.tasks if task.get("annotations")]
            bar(len(page.tasks), page.total)
    return tasks


def write(path: Path, text: str) -> None:
    """Write a file whole, with its folder; `InputError` where that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise InputError(f"{path} cannot be written: {exc.strerror}", hint="") from exc
