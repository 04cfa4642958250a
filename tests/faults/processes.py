"""Real processes under a keeper, and real pages to ask them by: what a deployment is made of."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent.parent


class Process:
    """One part in a process group of its own, started again by the rig's keeper when it dies."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: Path = ROOT) -> None:
        self._command = command
        self._env = env
        self._cwd = cwd
        # The keeper may be about to start it again just as it is told to end.
        self._lock = threading.Lock()
        self.meant = False
        self.starts = 0
        self.statuses: list[int] = []
        self.start()

    def start(self) -> None:
        """Start it (again)."""
        self.process = subprocess.Popen(
            self._command, env=self._env, cwd=self._cwd, start_new_session=True
        )
        self.starts += 1

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def tend(self) -> None:
        """Start it again if it has ended and that was not meant."""
        with self._lock:
            status = self.process.poll()
            if status is not None and not self.meant:
                self.statuses.append(status)
                self.start()

    def kill(self) -> None:
        """Kill its whole group, and see it dead."""
        process = self.process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)

    def terminate(self) -> None:
        """Ask it to end, for good."""
        with self._lock:
            self.meant = True
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """Return its exit status."""
        return self.process.wait(timeout=seconds)


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all below it; none where it has ended."""
    try:
        whole = psutil.Process(pid)
        return [whole, *whole.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def resident_bytes(pid: int) -> int:
    """Return the memory of a process and all below it; 0 while there is none."""
    try:
        return sum(one.memory_info().rss for one in family(pid))
    except psutil.NoSuchProcess:  # it ended meanwhile
        return 0
