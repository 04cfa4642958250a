"""The command line: `python -m grounding COMMAND`."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any, Literal

import click

from grounding import __version__
from grounding.errors import GroundingError, SettingError
from grounding.jobs.connection import queue_url
from grounding.logs import set_up_logging
from grounding.settings import Settings

EXIT_SETTINGS = 2
PING_SECONDS = 1.0
SILENT_PINGS = 5


@click.group(help="A Label Studio ML backend that answers with Qwen2.5-VL.")
@click.version_option(__version__)
def cli() -> None:
    """Gather the commands."""


@cli.command(help="Run everything on this machine: queue, worker and web server.")
@click.option("--host", default=None, help="Address to listen on (HOST).")
@click.option("--port", default=None, type=int, help="Port to listen on (PORT).")
def up(host: str | None, port: int | None) -> None:
    """Run the queue, a worker and the web server until SIGTERM or Ctrl-C."""
    from grounding.cli.supervisor import running, tend

    settings = _settings(host=host, port=port)
    settings.check_exposure()
    stopping = _stop_on_signals()
    if settings.is_demo:
        click.secho(DEMO_WARNING, fg="yellow", bold=True, err=True)
    with running(settings) as parts:
        click.echo(f"Listening on http://{settings.address} (Ctrl-C stops)", err=True)
        tend(parts, stopping)
        click.echo("Finishing what is in hand …", err=True)


@cli.command(help="Run the embedded queue; `up` does that by itself.")
def queue() -> None:
    """Run the embedded Valkey server until SIGTERM; end with 1 where it dies."""
    from grounding.jobs.connection import embedded

    settings, stopping = _settings(), _stop_on_signals()
    with embedded(settings.data_dir) as server:
        silent = 0
        while silent < SILENT_PINGS and not stopping.wait(PING_SECONDS):
            silent = 0 if server.is_running() else silent + 1
    sys.exit(0 if stopping.is_set() else 1)


@cli.command(help="Run one worker: a model, and its share of the queue.")
def worker() -> None:
    """Run a model process until SIGTERM."""
    from grounding.factory import load_context
    from grounding.jobs.worker import Worker

    settings = _settings()
    sys.exit(Worker(settings, queue_url(settings), load_context).run())


@cli.command(help="Say whether this machine's server or worker is alive: 0 is yes.")
@click.argument("part", type=click.Choice(["server", "worker"]))
def health(part: Literal["server", "worker"]) -> None:
    """Exit 0 where the part is alive, else 1: what containers are checked by."""
    from grounding.cli.health import is_alive

    sys.exit(0 if is_alive(part, _settings()) else 1)


@cli.command(help="Ask the model a picture whose answer is known, and compare.")
def selftest() -> None:
    """Print what the self-test measures; exit 0 where it is right, 1 where not."""
    from grounding.factory import examine, load_engine

    settings = _settings()
    engine = load_engine(settings, lambda **_: None)
    try:
        finding = examine(engine, settings)
    finally:
        engine.close()
    for line in finding.lines:
        click.echo(line)
    finding.check()
    click.secho("The model sees what is sent, and points where it is.", fg="green")


@cli.command(
    help="Show what it does: sample pictures through the real server, as a table and pictures."
)
@click.option("--output", default="demo-output", help="Folder for the annotated pictures.")
def demo(output: str) -> None:
    """Answer the sample tasks and exit 0 when every one has a prediction."""
    from grounding.demo.run import run_demo

    sys.exit(run_demo(output))


DEMO_WARNING = (
    "MODEL is not set: serving the shapes demo model. It knows ONLY coloured shapes such as "
    "'red circle'.\nFor real pictures: MODEL=Qwen/Qwen2.5-VL-7B-Instruct make serve"
)


def _stop_on_signals() -> threading.Event:
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.set())
    return stopping


def _settings(**overrides: Any) -> Settings:
    given = {name: value for name, value in overrides.items() if value is not None}
    settings = Settings.load(**given)
    set_up_logging(settings.log_level)
    return settings


def main() -> None:
    """Run the command line; one of our errors ends it with one line that names cause and cure."""
    try:
        cli()
    except GroundingError as error:
        click.secho(f"cannot start: {error}", fg="red", err=True)
        sys.exit(EXIT_SETTINGS if isinstance(error, SettingError) else 1)
