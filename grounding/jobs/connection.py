"""Connections to the queue's Redis or Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from grounding.errors import QueueError, SettingError
from grounding.jobs.embedded import socket_path
from grounding.logs import QUEUE_OUTAGE
from grounding.settings import Settings

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 5.0


class _ReportingRetry(Retry):
    """Redis' own retries, which report whether the server answers."""

    def call_with_retry(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the command returns, or raise what it raises after the last try."""
        try:
            answer = super().call_with_retry(*args, **kwargs)
        except (ConnectionError, TimeoutError) as exc:
            QUEUE_OUTAGE.begin(exc)
            raise
        # None may come without a word of the server: connecting returns it for an open connection.
        if answer is not None:
            QUEUE_OUTAGE.end()
        return answer


def connect(url: str, *, answer_seconds: float = ANSWER_SECONDS) -> Redis:
    """Return a connection pool to the server at `url`; nothing is sent yet.

    A server that does not answer in `answer_seconds` counts as away. A broken connection is
    made anew once, at once: every script may run twice.
    """
    try:
        return Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=answer_seconds,
            retry=_ReportingRetry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        )
    except ValueError as exc:
        raise SettingError(
            "REDIS_URL is no Redis address", hint="Write it as redis://:password@host:6379/0"
        ) from exc


def queue_url(settings: Settings) -> str:
    """Return the queue's address: REDIS_URL, or that of the embedded server that `up` started.

    Raises `QueueError` where there is neither.
    """
    if settings.redis_url:
        return settings.redis_url.get_secret_value()
    path = socket_path(settings.data_dir)
    if not path.exists():
        raise QueueError(
            "no queue is running", hint="Set REDIS_URL, or run `python -m grounding up`"
        )
    return f"unix://{path}"


@contextmanager
def queue_errors() -> Iterator[None]:
    """Translate what the Redis client raises inside the block into `QueueError`."""
    try:
        yield
    except OutOfMemoryError as exc:
        raise QueueError(
            "the queue's memory is full", code="queue_full", hint="Raise maxmemory of Redis"
        ) from exc
    except ResponseError as exc:
        if "MISCONF" not in str(exc):  # a pipeline puts words of its own before it
            raise QueueError("the queue refuses to work") from exc
        raise QueueError(
            "the queue cannot write to its disk",
            code="queue_disk_full",
            hint="Free space where Redis keeps its data; it goes on by itself",
        ) from exc
    except RedisError as exc:
        raise QueueError("the queue does not answer") from exc
