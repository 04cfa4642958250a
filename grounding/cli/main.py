"""The command line: `python -m grounding COMMAND`."""

from __future__ import annotations

import sys

import click

from grounding import __version__
from grounding.cli.check import health, selftest
from grounding.cli.serve import queue, up, worker
from grounding.errors import EXIT_SETTINGS, GroundingError, SettingError


@click.group(help="A Label Studio ML backend that answers with Qwen2.5-VL.")
@click.version_option(__version__)
def cli() -> None:
    """Hold the commands together."""


@click.command(
    help="Show what it does: sample pictures through the real server, as a table and pictures."
)
@click.option("--output", default="demo-output", help="Folder for the annotated pictures.")
def demo(output: str) -> None:
    """Answer the sample tasks and exit 0 when every one has a prediction."""
    from grounding.demo.run import run_demo

    sys.exit(run_demo(output))


for command in (up, queue, worker, health, selftest, demo):
    cli.add_command(command)


def main() -> None:
    """Run the command line; an error of ours ends it with one line that names cause and cure."""
    try:
        cli()
    except GroundingError as error:
        click.secho(f"cannot start: {error}", fg="red", err=True)
        sys.exit(EXIT_SETTINGS if isinstance(error, SettingError) else 1)
