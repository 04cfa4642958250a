"""Polls a web server as monitoring does, while a test injects faults: F32."""

from __future__ import annotations

import re
import threading
import time

import httpx

from tests.faults.processes import Process

HEALTH_SECONDS = 1.0
"""How long Label Studio waits for `/health`."""
HEALTH_P99_SECONDS = 0.3
"""F32's limit on an idle machine; a busy one also delays the polls themselves."""
PERIODS = {"/health": 0.2, "/ready": 1.0, "/metrics": 1.0}
"""Each path, and the seconds between two polls."""
SAMPLE = re.compile(r"^grounding_(tasks_\w+?)(?:\{.*\})? (\S+)$", re.MULTILINE)


class Watch:
    """The polls of one server: how long `/health` took, and what went wrong."""

    def __init__(self, url: str, part: Process) -> None:
        self._part = part
        # A new connection for each poll: one of a killed server would tell nothing.
        self._client = httpx.Client(
            base_url=url, timeout=5, trust_env=False, headers={"Connection": "close"}
        )
        self._over = threading.Event()
        # A thread for each path: without Redis the others take seconds, and `/health` must not.
        self._threads = [
            threading.Thread(target=self._loop, args=(path,), daemon=True) for path in PERIODS
        ]
        self._answering = 0
        self.seconds: list[float] = []
        self._late: list[float] = []
        self.complaints: list[str] = []
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop polling."""
        self._over.set()
        for thread in self._threads:
            thread.join(20)
        self._client.close()

    def check(self, limit: float) -> None:
        """Stop polling, and assert F32.

        `/health` always answered, within `limit` seconds at the 99th percentile, and the delay of
        the machine on top; `/ready` and `/metrics` answered too, and the counters added up at every
        moment.
        """
        self.stop()
        assert self.complaints == [], self.complaints
        assert self.seconds, "no poll was made"
        assert self.p99 <= limit + self.delay, f"/health took {self.p99:.2f} s"

    @property
    def p99(self) -> float:
        """The 99th percentile of the seconds that `/health` took."""
        return _percentile(self.seconds)

    @property
    def delay(self) -> float:
        """The 99th percentile of the seconds by which the machine delays whoever wakes up.

        A poll waits for three: the server's accepting thread, the one that answers, and our own.
        """
        return 3 * _percentile(self._late)

    def _loop(self, path: str) -> None:
        self._poll(path)
        begun = time.monotonic()
        while not self._over.wait(PERIODS[path]):
            self._late.append(time.monotonic() - begun - PERIODS[path])
            self._poll(path)
            begun = time.monotonic()

    def _poll(self, path: str) -> None:
        start, family, begun = self._part.starts, self._part.family_pids, time.monotonic()
        answered_before = start == self._answering
        try:
            answer = self._client.get(path)
        except httpx.TransportError as exc:
            if self._part.must_end:  # a terminated server takes no more connections
                return
            time.sleep(0.5)  # by then a process that was just killed has ended
            same = start == self._part.starts and self._part.is_alive
            # gunicorn replaces its own child, and a request within a killed one has no answer.
            same &= family == self._part.family_pids
            if same and answered_before:  # a new process needs a second to answer
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


def _percentile(seconds: list[float]) -> float:
    ordered = sorted(seconds)
    return ordered[int(0.99 * (len(ordered) - 1))] if ordered else 0.0


def _imbalance(text: str) -> list[str]:
    """Return what does not add up: accepted = done + failed + pending."""
    sums: dict[str, float] = {}
    for name, value in SAMPLE.findall(text):
        sums[name] = sums.get(name, 0) + float(value)
    parts = ("tasks_done_total", "tasks_failed_total", "tasks_pending")
    right = sum(sums.get(part, 0) for part in parts) == sums["tasks_accepted_total"]
    return [] if right else [f"/metrics: {sums}"]
