"""Runs the parts of one machine together: the embedded queue, a worker and the web server."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from grounding.errors import SettingError
from grounding.jobs.connection import embedded
from grounding.settings import Settings

log = logging.getLogger(__name__)

ROOT = Path(__file__).parent.parent
BACK_OFF_SECONDS = 5.0
"""Shortest time between two starts of one part."""
PATIENCE_SECONDS = 100.0
"""How long parts may take to finish what is in hand: a little over the longest deadline."""


class Part:
    """One child process, started again whenever it ends."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._name = name
        self._command = command
        self._env = dict(env)
        self._due = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, while one runs."""
        return self._process.pid if self._process else None

    def tend(self) -> None:
        """Start the process if it is not running and its waiting time is over."""
        if self._process is not None and self._process.poll() is not None:
            log.warning("%s ended with status %d", self._name, self._process.returncode)
            self._process = None
        if self._process is None and time.monotonic() >= self._due:
            self._process = subprocess.Popen(self._command, env=self._env)  # noqa: S603
            self._due = time.monotonic() + BACK_OFF_SECONDS

    def stop(self) -> None:
        """Ask the process to finish what is in hand and end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def join(self, seconds: float) -> None:
        """Wait for the end, at most so long; then end it."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(settings: Settings) -> Iterator[list[Part]]:
    """Run the queue (unless REDIS_URL names one), a worker and the web server around the block."""
    _check_port(settings)
    with ExitStack() as stack:
        env = os.environ | settings.environment()
        if settings.redis_url is None:
            env["REDIS_URL"] = stack.enter_context(embedded(settings.data_dir))
        parts = [
            Part("worker", [sys.executable, "-m", "grounding", "worker"], env),
            Part("server", gunicorn(settings), env),
        ]
        stack.callback(_end, parts)
        for part in parts:
            part.tend()
        yield parts


def tend(parts: Sequence[Part], stopping: threading.Event) -> None:
    """Keep every part running until `stopping` is set."""
    while not stopping.wait(0.5):
        for part in parts:
            part.tend()


def _end(parts: Sequence[Part]) -> None:
    for part in parts:
        part.stop()
    for part in parts:
        part.join(PATIENCE_SECONDS)


def _check_port(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as exc:
            raise SettingError(
                f"cannot listen on {settings.host}:{settings.port}: {exc.strerror}",
                hint="Choose another PORT, or end what listens there",
            ) from exc


def gunicorn(settings: Settings) -> list[str]:
    """Return the command that runs the web server under these settings."""
    options = {
        "--bind": f"{settings.host}:{settings.port}",
        "--worker-class": "gthread",
        "--threads": str(settings.threads),
        "--timeout": "120",
        "--graceful-timeout": str(int(PATIENCE_SECONDS)),
        "--chdir": str(ROOT),
        "--log-level": "warning",
    }
    flat = [word for pair in options.items() for word in pair]
    return [sys.executable, "-m", "gunicorn", *flat, "_wsgi:app"]
