"""Real processes under a keeper, and real pages to ask them by: what a deployment is made of."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class Process:
    """One part in a process group of its own, started again by the rig's keeper when it dies."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._command = command
        self._env = env
        self.meant = False
        self.starts = 0
        self.statuses: list[int] = []
        self.start()

    def start(self) -> None:
        """Start it (again)."""
        self.process = subprocess.Popen(
            self._command, env=self._env, cwd=ROOT, start_new_session=True
        )
        self.starts += 1

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def tend(self) -> None:
        """Start it again if it has ended and that was not meant."""
        status = self.process.poll()
        if status is not None and not self.meant:
            self.statuses.append(status)
            self.start()

    def kill(self) -> None:
        """Kill its whole group."""
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end, for good."""
        self.meant = True
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> int:
        """Return its exit status."""
        return self.process.wait(timeout=seconds)
