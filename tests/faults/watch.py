"""Looks at a web server five times a second, as monitoring does, while a test maltreats it: F32."""

from __future__ import annotations

import re
import threading
import time
from itertools import count
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from tests.faults.rig import Web

PERIOD_SECONDS = 0.2
HEALTH_P99_SECONDS = 0.3
"""F32's bar."""
SAMPLE = re.compile(r"^(tasks_\w+?)(?:\{.*\})? (\S+)$", re.MULTILINE)


class Watch:
    """What was seen: how long `/health` took, and what should not have been seen."""

    def __init__(self, web: Web) -> None:
        self._web = web
        # A connection for each look, as one that a killed server left behind would be no sign.
        self._client = httpx.Client(
            base_url=web.url, timeout=5, trust_env=False, headers={"Connection": "close"}
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._answering = 0
        self.seconds: list[float] = []
        self.complaints: list[str] = []
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join(20)
        self._client.close()

    @property
    def p99(self) -> float:
        """The seconds that `/health` took at the 99th percentile; 0 before the first look."""
        ordered = sorted(self.seconds) or [0.0]
        return ordered[int(0.99 * (len(ordered) - 1))]

    def _loop(self) -> None:
        for number in count():
            if self._over.wait(PERIOD_SECONDS):
                return
            self._look("/health")
            if number % 5 == 0:
                self._look("/ready")
                self._look("/metrics")

    def _look(self, path: str) -> None:
        start, begun = self._web.part.starts, time.monotonic()
        try:
            answer = self._client.get(path)
        except httpx.TransportError as exc:
            if self._web.part.meant:  # one that was told to end takes no more connections
                return
            time.sleep(0.5)  # a process that was killed at this moment is known as dead by now
            same = start == self._web.part.starts and self._web.part.process.poll() is None
            if same and start == self._answering:  # a new one takes a second until it answers
                self.complaints.append(f"{path}: {exc!r}")
            return
        self._answering = start
        if path == "/health":
            self.seconds.append(time.monotonic() - begun)
        self._judge(path, answer)

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
