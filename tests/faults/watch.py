"""Looks at a web server five times a second, as monitoring does, while a test maltreats it: F32."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.faults.rig import Web

PERIOD_SECONDS = 0.2
SAMPLE = re.compile(r"^(tasks_\w+?)(?:\{.*\})? (\S+)$", re.MULTILINE)


class Watch:
    """What was seen: how long `/health` took, and what should not have been seen."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self.seconds: list[float] = []
        self.complaints: list[str] = []
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join(20)

    @property
    def line(self) -> str:
        """The figures, for people."""
        ordered = sorted(self.seconds) or [0.0]
        p99 = ordered[int(0.99 * (len(ordered) - 1))]
        return f"/health: {len(self.seconds)} times, p99 {1000 * p99:.0f} ms"

    def _loop(self) -> None:
        while not self._over.wait(PERIOD_SECONDS):
            for path in ("/health", "/ready", "/metrics"):
                self._look(path)

    def _look(self, path: str) -> None:
        starts, begun = self._web.part.starts, time.monotonic()
        try:
            answer = self._web.get(path)
        except httpx.TransportError as exc:
            time.sleep(0.5)  # a process that was killed at this moment is known as dead by now
            alive = self._web.part.starts == starts and self._web.part.process.poll() is None
            if alive and self._has_begun:
                self.complaints.append(f"{path}: {exc!r}")
            return
        if path == "/health":
            self.seconds.append(time.monotonic() - begun)
        self._judge(path, answer)

    @property
    def _has_begun(self) -> bool:
        """Whether the process has listened yet: a new one takes a second to begin."""
        return self._web.is_up()

    def _judge(self, path: str, answer: httpx.Response) -> None:
        allowed = (200,) if path == "/health" else (200, 503)
        if answer.status_code not in allowed:
            self.complaints.append(f"{path}: {answer.status_code}")
        elif path == "/metrics" and answer.status_code == 200:
            self.complaints += _imbalance(answer.text)


def _imbalance(text: str) -> list[str]:
    """Return what does not add up: accepted = done + failed + pending."""
    sums: dict[str, float] = {}
    for name, value in SAMPLE.findall(text):
        sums[name] = sums.get(name, 0) + float(value)
    parts = ("tasks_done_total", "tasks_failed_total", "tasks_pending")
    right = sum(sums.get(part, 0) for part in parts) == sums["tasks_accepted_total"]
    return [] if right else [f"/metrics: {sums}"]


def say(config: pytest.Config, line: str) -> None:
    """Print a figure, whatever else is captured."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{line}", file=sys.stderr)


@contextmanager
def watched(web: Web) -> Iterator[Watch]:
    """Watch `web` around the block; fails where it was ever down while its process lived."""
    watch = Watch(web)
    try:
        yield watch
    finally:
        watch.stop()
    assert watch.complaints == []
    assert watch.seconds
