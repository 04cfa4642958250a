"""`doctor`: what is wrong with this deployment, and what to do about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

import click
from rich.console import Console
from rich.markup import escape

from grounding.cli.console import load_reading_settings, results_console
from grounding.diagnosis.checks import Check, CheckResult, Deployment, Level, of_error, well
from grounding.diagnosis.machine import (
    check_exposure,
    check_model,
    check_python,
    check_queue,
    check_server,
)
from grounding.diagnosis.studio import check_project, check_studio
from grounding.errors import GroundingError, SettingError

CHECKS: dict[str, Check] = {
    "Python": check_python,
    "password": check_exposure,
    "queue": check_queue,
    "web server": check_server,
    "model": check_model,
    "Label Studio": check_studio,
    "project": check_project,
}
SIGNS = {Level.WELL: "[green]✓", Level.WARNING: "[yellow]![/yellow]", Level.FAULT: "[red]✗[/red]"}


@click.command(help="Look for what is wrong, and say what to do about it.")
@click.option("--project", type=int, help="Number of a project in Label Studio to look at, too.")
@click.option("--json", "as_json", is_flag=True, help="Print what is found as JSON.")
def doctor(project: int | None, as_json: bool) -> None:
    """Exit 0 where all is well or only warnings are due, 1 where there is a fault."""
    found = []
    console = results_console()
    for one in examine(project):
        found.append(one)
        if not as_json:
            _print(one, console)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=1, ensure_ascii=False))
    sys.exit(1 if any(one.level is Level.FAULT for one in found) else 0)


def examine(project: int | None) -> Iterator[CheckResult]:
    """Yield everything that is found; with wrong settings nothing else can be looked at."""
    try:
        settings = load_reading_settings(log_level="error")
    except SettingError as error:
        yield of_error("settings", error)
        return
    yield well("settings", "can be read")
    deployment = Deployment(settings, project)
    for what, check in CHECKS.items():
        try:
            yield from check(deployment)
        except GroundingError as error:
            yield of_error(what, error)


def _print(one: CheckResult, console: Console) -> None:
    console.print(f"{SIGNS[one.level]} [bold]{escape(one.what)}[/bold]: {escape(one.seen)}")
    if one.cure:
        console.print(f"    → {escape(one.cure)}")
