"""The commands that check: whether a part is alive, and whether the model sees what is sent."""

from __future__ import annotations

import socket
import sys
from typing import Literal

import click
import httpx

from grounding.cli.serve import load_settings
from grounding.jobs.connection import connect, queue_errors, queue_url
from grounding.jobs.heartbeat import worker_statuses
from grounding.settings import Settings

ANSWER_SECONDS = 3.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  listened on, not called


@click.command(help="Say whether this machine's server or worker is alive: 0 is yes.")
@click.argument("part", type=click.Choice(["server", "worker"]))
def health(part: Literal["server", "worker"]) -> None:
    """Exit 0 if the part is alive, else 1: what a container's health check runs."""
    sys.exit(0 if is_alive(part, load_settings()) else 1)


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
    host = ANY_ADDRESS.get(settings.host)
    address = f"{host}:{settings.port}" if host else settings.address
    try:
        response = httpx.get(f"http://{address}/health", timeout=ANSWER_SECONDS, trust_env=False)
    except httpx.TransportError:
        return False
    return response.is_success


def _worker_reports(settings: Settings) -> bool:
    here = socket.gethostname()
    with connect(queue_url(settings)) as redis, queue_errors():
        workers = worker_statuses(redis)
        return any(one.host == here and one.phase != "failed" for one in workers)
