"""Runs the parts of one machine together: the embedded queue, a worker and the web server."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from grounding.cli.console import beside_server
from grounding.errors import EXIT_SETTINGS, GroundingError, SettingError
from grounding.jobs.connection import lock_data_dir, socket_path
from grounding.settings import Settings

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent.parent
PR_SET_PDEATHSIG = 1
RESTART_SECONDS = 5.0
"""Shortest time between two starts of one part."""
MAX_RESTART_SECONDS = 60.0
"""The same for a part that ends each time, within a minute, with an error."""
MAX_FAILED_STARTS = 8
"""Ends in a row, each within a minute and with an error, after which people have to help.

That is about five minutes: as long as an outage of the hub, or a server that starts, may take.
"""
STOP_SECONDS = 100.0
"""How long parts may take to finish what they do: a little over the longest deadline."""


class Part:
    """One child process, started again whenever it ends; killed with `ending` if we are killed."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str],
        ending: signal.Signals = signal.SIGKILL,
    ) -> None:
        self._name = name
        self._command = command
        self._env = env
        self._ending = ending
        self._pause = RESTART_SECONDS
        self._started = -math.inf
        self._failed_starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, while one runs."""
        return self._process.pid if self._process else None

    def keep_running(self) -> None:
        """Start the process if it does not run and its pause is over.

        Raises `SettingError` if the process has ended because of its settings, and `GroundingError`
        if it could not run too often.
        """
        if self._process is not None and self._process.poll() is not None:
            self._note_end(self._process.returncode)
            self._process = None
        if self._process is None and time.monotonic() >= self._started + self._pause:
            # A session of its own: Ctrl-C in the terminal is for us, who end the parts in order.
            self._process = subprocess.Popen(  # noqa: S603
                self._command,
                env=self._env,
                start_new_session=True,
                preexec_fn=end_with_parent(self._ending),
            )
            self._started = time.monotonic()

    def _note_end(self, status: int) -> None:
        if status == EXIT_SETTINGS:
            raise SettingError(
                f"the {self._name} cannot run under these settings, as it says above"
            )
        log.warning("the %s ended with status %d", self._name, status)
        # One that was killed, or that had run for a while, starts again soon.
        if status <= 0 or time.monotonic() >= self._started + MAX_RESTART_SECONDS:
            self._failed_starts, self._pause = 0, RESTART_SECONDS
            return
        # It cannot run, such as a worker without model.
        self._failed_starts += 1
        self._pause = min(2 * self._pause, MAX_RESTART_SECONDS)
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise GroundingError(
                f"the {self._name} has ended {self._failed_starts} times as soon as it began",
                hint="Mend what it says above, and start again",
            )

    def stop(self) -> None:
        """Ask the process to finish what it does and end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def join(self, seconds: float) -> None:
        """Wait for the end, at most so long; then kill the process."""
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
        env = os.environ | beside_server(settings).environment()
        parts = [Part(name, command(name), env) for name in ("worker", "server")]
        if settings.redis_url is None:
            stack.enter_context(lock_data_dir(settings.data_dir))
            env["REDIS_URL"] = f"unix://{socket_path(settings.data_dir)}"
            # Not by SIGKILL: it has to end its Valkey.
            parts.insert(0, Part("queue", command("queue"), env, ending=signal.SIGTERM))
        # The queue is ended last: the others write their results to it.
        stack.callback(_end, parts[:-2])
        stack.callback(_end, parts[-2:])
        for part in parts:
            part.keep_running()
        yield parts


def keep_running(parts: Sequence[Part], stopping: threading.Event) -> None:
    """Keep every part running until `stopping` is set; raises if one cannot run at all."""
    while not stopping.wait(0.5):
        for part in parts:
            part.keep_running()


def _end(parts: Sequence[Part]) -> None:
    until = time.monotonic() + STOP_SECONDS
    for part in parts:
        part.stop()
    for part in parts:
        part.join(max(0.0, until - time.monotonic()))


def command(name: str) -> list[str]:
    """Return the command that runs one part: "queue", "worker" or "server"."""
    if name == "server":
        entry = entry_folder()
        config = ["--config", str(entry / "gunicorn.conf.py"), "--pythonpath", str(entry)]
        return [sys.executable, "-m", "gunicorn", *config, "_wsgi:app"]
    return [sys.executable, "-m", "grounding", name]


def entry_folder() -> Path:
    """Return the folder of what gunicorn runs: the package's own, or a checkout's root."""
    installed = PACKAGE / "entry"
    return installed if installed.is_dir() else PACKAGE.parent


def end_with_parent(ending: signal.Signals) -> Callable[[], None]:
    """Return what a new child calls, so that the kernel sends it `ending` when we die.

    Even by SIGKILL, and even while the child hangs in native code. On Linux only; elsewhere an
    orphan finishes what it does. Call this in the parent, in the thread that starts the child: the
    end of that thread counts as the parent's.
    """
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def follow() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, ending)
            if os.getppid() != parent:  # it died before the kernel knew
                os._exit(1)

    return follow


def _check_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as exc:
            raise SettingError(
                f"cannot listen on {settings.address}: {exc.strerror}",
                hint="Choose another PORT, or end what listens there",
            ) from exc
