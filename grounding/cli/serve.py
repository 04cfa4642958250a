"""The commands that serve: everything on this machine, or one part of it."""

from __future__ import annotations

import signal
import sys
import threading

import click

from grounding.labelstudio.client.api import KEY_NEEDED
from grounding.logs import set_up_logging
from grounding.settings import Settings

PING_SECONDS = 1.0
SILENT_PINGS = 5
"""Pings without an answer after which the embedded queue counts as ended."""
ENDING_SECONDS = 6.0
"""How long the queue of an `up` that was killed may take to end, before the next one gives up."""

DEMO_WARNING = (
    "MODEL is not set: serving the shapes demo model. It knows ONLY coloured shapes such as "
    "'red circle'.\nFor real pictures: MODEL=Qwen/Qwen2.5-VL-7B-Instruct make serve"
)

KEY_WARNING = (
    f"{KEY_NEEDED}, which is not set: pictures uploaded to Label Studio will fail.\n"
    "It is in Label Studio under Account & Settings → Personal Access Token: "
    "LABEL_STUDIO_API_KEY=… make serve"
)


@click.command(help="Run everything on this machine: queue, worker and web server.")
@click.option("--host", default=None, help="Address to listen on (GROUNDING_HOST).")
@click.option("--port", default=None, type=int, help="Port to listen on (PORT).")
def up(host: str | None, port: int | None) -> None:
    """Run the queue, a worker and the web server until SIGTERM or Ctrl-C."""
    from grounding.cli.supervisor import keep_running, running
    from grounding.factory import fetcher

    given = {"host": host, "port": port}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    settings.check_exposure()
    fetcher(settings)  # refuses the worker's wrong settings before anything listens
    stopping = _stop_on_signals()
    if settings.is_demo:
        click.secho(DEMO_WARNING, fg="yellow", bold=True, err=True)
    if settings.label_studio_api_key is None:
        click.secho(KEY_WARNING, fg="yellow", err=True)
    with running(settings) as parts:
        click.echo(f"Listening on http://{settings.address} (Ctrl-C stops)", err=True)
        keep_running(parts, stopping)
        click.echo("Finishing the requests and tasks that have begun …", err=True)


@click.command(help="Run the embedded queue; `up` does that by itself.")
def queue() -> None:
    """Run the embedded Valkey server until SIGTERM; exit 1 if it ends by itself."""
    from grounding.jobs.connection import embedded, lock_data_dir

    settings, stopping = load_settings(), _stop_on_signals()
    data_dir = settings.data_dir
    with (
        lock_data_dir(data_dir, "queue.lock", seconds=ENDING_SECONDS),
        embedded(data_dir) as server,
    ):
        silent = 0
        while silent < SILENT_PINGS and not stopping.wait(PING_SECONDS):
            silent = 0 if server.is_running() else silent + 1
    sys.exit(0 if stopping.is_set() else 1)


@click.command(help="Run one worker: a model, and its share of the queue.")
def worker() -> None:
    """Run a model process until SIGTERM."""
    from grounding.factory import load_context
    from grounding.jobs.connection import queue_url
    from grounding.jobs.worker import Worker

    settings = load_settings()
    sys.exit(Worker(settings, queue_url(settings), load_context).run())


def load_settings(**overrides: object) -> Settings:
    """Return the settings, with logging set up as they say; `SettingError` for a wrong one."""
    settings = Settings.load(**overrides)
    set_up_logging(settings.log_level)
    return settings


def _stop_on_signals() -> threading.Event:
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.set())
    return stopping
