"""Servers under test as child processes: started with a log, stopped with all their children."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.faults.processes import family

POLL_S = 0.5
STOP_S = 20
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
"""All that a server gets of our environment: a developer's own settings must not reach it."""


class ServerFailed(RuntimeError):
    """A server ended, or did not answer in time; the message ends with its log's last lines."""


@dataclass(frozen=True)
class Server:
    """One running child process that answers under `url` and writes to `log`."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait_until_ok(self, path: str, seconds: float) -> None:
        """Return once `path` answers 200; raise `ServerFailed` when it ends or time is up."""
        deadline = time.monotonic() + seconds
        while not _answers_ok(self.url + path):
            if self.process.poll() is not None:
                raise ServerFailed(f"{self.name} ended: {self.process.returncode}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name}: no {path} in {seconds} s\n{self.tail()}")
            time.sleep(POLL_S)

    def tail(self, lines: int = 30) -> str:
        """Return the log's last lines."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def serving(
    name: str, url: str, command: Sequence[str | Path], *, log: Path, env: Mapping[str, str]
) -> Iterator[Server]:
    """Run `command` with a small environment plus `env`; stop it with all its children after."""
    inherited = {key: os.environ[key] for key in INHERITED if key in os.environ}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**inherited, **env},
            start_new_session=True,
        )
    try:
        yield Server(name, url, process, log)
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and all its descendants: politely first, by force after `STOP_S`."""
    members = family(process.pid)
    # The parent alone is asked, so that it may end its children in its own order.
    process.terminate()
    _, alive = psutil.wait_procs(members, timeout=STOP_S)
    for straggler in alive:
        straggler.kill()
    # Orphans of a parent that died before we looked are still in its process group.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _answers_ok(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
