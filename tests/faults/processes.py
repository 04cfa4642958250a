"""The real processes that a test deployment is made of."""

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
    """One part in a process group of its own; the rig restarts it when it ends unexpectedly."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: Path = ROOT) -> None:
        self._command = command
        self._env = env
        self._cwd = cwd
        # The rig may be about to restart it just as a test terminates it.
        self._lock = threading.Lock()
        self.must_end = False
        self.starts = 0
        self.statuses: list[int] = []
        self.start()

    def start(self) -> None:
        """Start it, or restart it."""
        self.starts += 1
        self.process = subprocess.Popen(
            self._command, env=self._env, cwd=self._cwd, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs; `poll` may say so of a dead one while another thread reaps it."""
        try:
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    @property
    def family_pids(self) -> set[int]:
        """The ids of the process and of all below it."""
        return {one.pid for one in family(self.pid)}

    def tend(self) -> None:
        """Restart it if it has ended unexpectedly."""
        with self._lock:
            status = self.process.poll()
            if status is not None and not self.must_end:
                self.statuses.append(status)
                self.start()

    def kill(self) -> None:
        """Kill its whole group, and wait for its end."""
        process = self.process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)

    def terminate(self) -> None:
        """Send SIGTERM; it is not restarted."""
        with self._lock:
            self.must_end = True
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """Wait for its end; return its exit status."""
        return self.process.wait(timeout=seconds)


def family(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants; none if it has ended."""
    try:
        whole = psutil.Process(pid)
        return [whole, *whole.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants; 0 if it has ended."""
    try:
        return sum(one.memory_info().rss for one in family(pid))
    except psutil.NoSuchProcess:  # one has ended meanwhile
        return 0
