"""Whether a part of this machine is alive: what a container's health check asks."""

from __future__ import annotations

import socket
from typing import Literal

import httpx

from grounding.jobs.connection import connect, queue_errors, queue_url
from grounding.jobs.heartbeat import worker_statuses
from grounding.settings import Settings

ANSWER_SECONDS = 3.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  listened on, not called


def is_alive(part: Literal["server", "worker"], settings: Settings) -> bool:
    """Say whether this machine's web server answers, or a worker of it is at work.

    A worker that is still loading its model is alive; one whose model failed is not. Raises
    `QueueError` where the queue that workers report to does not answer.
    """
    return _server_answers(settings) if part == "server" else _worker_reports(settings)


def _server_answers(settings: Settings) -> bool:
    host = ANY_ADDRESS.get(settings.host)
    address = f"{host}:{settings.port}" if host else settings.address
    try:
        answer = httpx.get(f"http://{address}/health", timeout=ANSWER_SECONDS, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.is_success


def _worker_reports(settings: Settings) -> bool:
    host = socket.gethostname()
    with connect(queue_url(settings)) as redis, queue_errors():
        return any(
            status.host == host and status.phase != "failed" for status in worker_statuses(redis)
        )
