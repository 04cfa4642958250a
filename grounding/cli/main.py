"""The command line: `python -m grounding COMMAND`."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Literal

import click
import httpx
from redis.exceptions import RedisError

from grounding import __version__
from grounding.cli.config import config
from grounding.cli.console import load_settings
from grounding.cli.doctor import doctor
from grounding.cli.evaluate import evaluate
from grounding.cli.export import export
from grounding.cli.predict import predict
from grounding.cli.prelabel import prelabel
from grounding.cli.preview import preview
from grounding.errors import EXIT_INPUT, EXIT_SETTINGS, GroundingError, InputError, SettingError
from grounding.jobs.connection import check_keeping, connect, queue_errors, queue_url
from grounding.jobs.heartbeat import worker_statuses
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
    "{needed}: without, pictures uploaded to Label Studio will fail.\n"
    "The key is in Label Studio under Account & Settings → Personal Access Token:\n"
    "LABEL_STUDIO_URL={url} LABEL_STUDIO_API_KEY=… make serve"
)
USUAL_URL = "http://localhost:8080"
"""Where Label Studio listens unless it is told otherwise."""


@click.command(help="Run everything on this machine: queue, worker and web server.")
@click.option("--host", default=None, help="Address to listen on (GROUNDING_HOST).")
@click.option("--port", default=None, type=int, help="Port to listen on (PORT).")
def up(host: str | None, port: int | None) -> None:
    """Run the queue, a worker and the web server until SIGTERM or Ctrl-C."""
    from grounding.cli.supervisor import keep_running, running
    from grounding.factory import fetcher
    from grounding.web.operator.status import warnings

    options = {"host": host, "port": port}
    settings = load_settings(**{name: text for name, text in options.items() if text is not None})
    settings.check_exposure()
    fetcher(settings)  # refuses the worker's wrong settings before anything listens
    _check_given_queue(settings)
    stopping = _stop_on_signals()
    if settings.is_demo:
        click.secho(DEMO_WARNING, fg="yellow", bold=True, err=True)
    for needed in warnings(settings):
        url = settings.label_studio_url or USUAL_URL
        click.secho(KEY_WARNING.format(needed=needed, url=url), fg="yellow", err=True)
    with running(settings) as parts:
        address = f"http://{settings.address}"
        click.echo(f"Listening on {address} (Ctrl-C stops)", err=True)
        click.echo(f"The worker is starting; {address}/ready says how far it is", err=True)
        keep_running(parts, stopping)
        click.echo("Finishing the requests and tasks that have begun …", err=True)


def _check_given_queue(settings: Settings) -> None:
    """Raise `SettingError` where REDIS_URL leads to a server that would lose tasks in silence."""
    if settings.redis_url is None:
        return
    with suppress(RedisError), closing(connect(queue_url(settings))) as redis:
        check_keeping(redis, settings)  # the worker logs what it returns


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


def _stop_on_signals() -> threading.Event:
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.set())
    return stopping


ANSWER_SECONDS = 3.0


@click.command(help="Say whether this machine's server or worker is alive: 0 is yes.")
@click.argument("part", type=click.Choice(["server", "worker"]))
@click.option("--ready", is_flag=True, help="Of a worker: only if its model is loaded.")
def health(part: Literal["server", "worker"], ready: bool) -> None:
    """Exit 0 if the part is alive, else 1: what a container's health check runs."""
    if ready and part == "server":
        raise click.UsageError("--ready is of a worker.")
    settings = load_settings()
    alive = _worker_reports(settings, ready=True) if ready else is_alive(part, settings)
    wanted = "ready" if ready else "alive"
    click.echo(f"{part}: {wanted if alive else f'not {wanted}'}")
    sys.exit(0 if alive else 1)


@click.command(help="Ask the model a picture whose answer is known, and compare.")
def selftest() -> None:
    """Print what the self-test measures; exit 0 if the model is right, else 1."""
    from grounding.factory import examine, load_engine

    settings = load_settings()
    engine = load_engine(settings, lambda **_: None)
    try:
        report = examine(engine, settings)
    finally:
        engine.close()
    for line in report.lines:
        click.echo(line)
    report.check()
    click.secho("The model sees what is sent, and points where it is.", fg="green")


def is_alive(part: Literal["server", "worker"], settings: Settings) -> bool:
    """Say whether this machine's web server answers, or a worker of this machine runs.

    A worker that still loads its model is alive; one whose model failed is not. Raises
    `QueueError` if the queue that workers report to does not answer.
    """
    return _server_answers(settings) if part == "server" else _worker_reports(settings)


def _server_answers(settings: Settings) -> bool:
    try:
        url = f"{settings.own_url}/health"
        response = httpx.get(url, timeout=ANSWER_SECONDS, trust_env=False)
    except httpx.TransportError:
        return False
    return response.is_success


def _worker_reports(settings: Settings, *, ready: bool = False) -> bool:
    here = socket.gethostname()
    with connect(queue_url(settings)) as redis, queue_errors():
        workers = worker_statuses(redis)
        mine = [one for one in workers if one.host == here]
    return any(one.is_ready if ready else one.phase != "failed" for one in mine)


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


COMMANDS = (
    *(up, queue, worker, health, selftest, demo),
    *(predict, preview, prelabel, evaluate, export, config, doctor),
)
for command in COMMANDS:
    cli.add_command(command)


def main(wanted: click.Command = cli, words: Sequence[str] | None = None) -> None:
    """Run the command line; an error of ours, or of a file or disk, ends it with one line."""
    try:
        wanted(words)
    except SettingError as error:
        click.secho(f"cannot start: {error}", fg="red", err=True)
        sys.exit(EXIT_SETTINGS)
    except InputError as error:
        click.secho(str(error), fg="red", err=True)
        sys.exit(EXIT_INPUT)
    except GroundingError as error:
        click.secho(str(error), fg="red", err=True)
        sys.exit(1)
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        click.secho(f"{what}{error.strerror or error}", fg="red", err=True)
        sys.exit(1)
