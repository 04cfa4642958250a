"""`label-studio-ml start .`: that command runs the folder's `_wsgi.py` with the options below."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

import grounding
from grounding.cli.main import main, up
from grounding.errors import InputError
from grounding.settings.environment import variable

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@click.command(
    name="_wsgi.py",
    help="Run queue, worker and web server, as `python -m grounding up` does. What it serves is "
    "said by environment variables: docs/settings.md.",
)
@click.option("-p", "--port", type=int, help="Port to listen on (PORT).")
@click.option("--host", help="Address to listen on (GROUNDING_HOST).")
@click.option("--log-level", type=click.Choice(LEVELS), help="Least severe events (LOG_LEVEL).")
@click.option("-d", "--debug", is_flag=True, help="The same as --log-level DEBUG.")
@click.option("--kwargs", "--with", "kwargs", multiple=True, hidden=True)
@click.option("--model-dir", hidden=True)
@click.option("--check", is_flag=True, hidden=True)
@click.pass_context
def start(
    context: click.Context,
    /,
    port: int | None,
    host: str | None,
    log_level: str | None,
    debug: bool,
    **unused: object,
) -> None:
    """Run everything until SIGTERM or Ctrl-C."""
    if unused["kwargs"]:
        raise InputError(
            "the model takes no --kwargs", hint="Set environment variables, such as MODEL=…"
        )
    level = "DEBUG" if debug else log_level
    if level:
        os.environ[variable("log_level")] = level.lower()
    context.invoke(up, host=host, port=port)


def run(words: Sequence[str] | None = None) -> None:
    """Run the command; an error of ours ends it with one line that names cause and cure.

    The parts find this very package, whatever folder the command is called in.
    """
    ours, theirs = str(Path(grounding.__file__).parents[1]), os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (ours, theirs)))
    main(start, sys.argv[1:] if words is None else words)
