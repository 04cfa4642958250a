"""Test of F31: every fault at 1 % for SOAK_MINUTES (20) loses nothing, and nothing grows.

Each round is one click in Label Studio, which finally has each prediction once. `make soak` runs
it and prints its measurements.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from grounding.settings import Settings
from tests.faults.delivering import ENTRIES, deliveries, deployed, expire_holds, retrieve
from tests.faults.image_host import ImageHost, image_host
from tests.faults.label_studio import Mood, Studio, label_studio
from tests.faults.processes import family, resident_bytes
from tests.faults.rig import Rig, Web, task, until
from tests.faults.scripted import Behavior, number_of
from tests.faults.watch import HEALTH_P99_SECONDS

pytestmark = pytest.mark.soak

MINUTES = float(os.environ.get("SOAK_MINUTES", "20"))
ROUND = 50
RATE = 0.01
TTL = 240
"""How long results are kept, in seconds: longer than a delivery stays unconfirmed, and short enough
that the number of Redis's keys can return to its first value."""
RQ_SECONDS = 240
"""After how many seconds RQ drops killed workers and their jobs."""
DEADLINE = 4
"""Seconds that a click waits: too few if a task hangs, so that some predictions are pushed."""
SHOWN_ANSWERS = Settings.model_fields["shown_answers"].default
"""The last answers, whose small pictures Redis keeps for an hour."""
MIB = 2**20
FAILING = (
    Behavior.FAIL,
    Behavior.BABBLE,
    Behavior.HANG,
    Behavior.DIE,
    Behavior.OVERFLOW,
    Behavior.BREAK,
)


@dataclass(slots=True)
class Soak:
    """One long run: the behavior of each task, and the memory of the parts."""

    deployment: Rig
    web: Web
    host: ImageHost
    studio: Studio
    chance: Random
    behaviors: list[Behavior] = field(default_factory=list)
    """What the model does with each task, by number."""
    unanswered: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, float]] = field(default_factory=list)

    def round(self) -> None:
        """Click once for new tasks while faults happen; wait until all are finished."""
        first = len(self.behaviors)
        self.behaviors += [self._behavior() for _ in range(ROUND)]
        tasks = [self._task(n, self.behaviors[n]) for n in range(first, len(self.behaviors))]
        with ThreadPoolExecutor(1) as pool:
            clicked = pool.submit(retrieve, self.studio, self.web, tasks)
            # Tasks that were not accepted would be lost without another click.
            until(lambda: clicked.done() or self._accepted() == len(self.behaviors), 20)
            happened = [self._inject(what) for what in self._faults()]
            self._end(clicked, happened)
        until(lambda: not self.deployment.pending(), 240)
        self._sample()

    def settle(self) -> None:
        """Wait until nothing is pending or undelivered."""
        self.deployment.settle(30)
        self.deployment.workers_ready(2)
        expire_holds(self.deployment)
        until(lambda: not self.deployment.redis.zcard(ENTRIES), 60)

    @property
    def line(self) -> str:
        """The tasks, their outcomes and the faults on one line."""
        return (
            f"{len(self.behaviors)} tasks: {len(self.studio.stored)} predictions stored, "
            f"{deliveries(self.deployment)}; {self.unanswered} clicks unanswered; "
            f"{self.studio.failures} calls failed by Label Studio; {dict(self.faults)}"
        )

    def check(self) -> None:
        """Assert that Label Studio has exactly the right prediction of each task with an answer."""
        stored: dict[int, list[int]] = {}
        for number, prediction in self.studio.stored:
            stored.setdefault(number, []).append(number_of(prediction))
        wrong = {
            number: (behavior.name, stored.get(number))
            for number, behavior in enumerate(self.behaviors)
            if stored.get(number) != (None if behavior in FAILING else [number])
        }
        assert not wrong, wrong

    def _behavior(self) -> Behavior:
        if self.chance.random() >= RATE * len(FAILING):
            return Behavior.ANSWER
        behavior = self.chance.choice(FAILING)
        self.faults[behavior.name] += 1
        return behavior

    def _task(self, number: int, behavior: Behavior) -> dict[str, Any]:
        from_host = (
            behavior is Behavior.ANSWER and number % 5 == 0 and not self.host.failures(number) > 2
        )
        image = (
            f"{self.host.origin}/{number}" if from_host else task(number, behavior)["data"]["image"]
        )
        return {"id": number, "data": {"image": image}}

    def _accepted(self) -> int:
        return self.deployment.store.read_totals()[0].get("accepted", 0)

    def _faults(self) -> Iterator[Callable[[], None]]:
        for fault in (
            self._kill_a_worker,
            self._end_a_worker,
            self._kill_the_web,
            self._kill_redis,
            self._stop_redis,
            self._fail_label_studio,
        ):
            if self.chance.random() < RATE * 10:
                yield fault

    def _inject(self, fault: Callable[[], None]) -> str:
        time.sleep(self.chance.uniform(0, 0.3))
        fault()
        self.faults[fault.__name__] += 1
        return fault.__name__

    def _end(self, clicked: Future[int], happened: list[str]) -> None:
        """Wait for the answer, which may be missing only if a fault happened."""
        try:
            clicked.result(100)
        except httpx.HTTPError:
            if not happened:
                raise
            self.unanswered += 1

    def _kill_a_worker(self) -> None:
        self.chance.choice(self.deployment.workers).kill()

    def _end_a_worker(self) -> None:
        old = self.chance.choice(self.deployment.workers)
        old.terminate()
        self.deployment.worker()
        old.wait(60)

    def _kill_the_web(self) -> None:
        self.web.part.kill()
        until(self.web.is_up, 60)

    def _kill_redis(self) -> None:
        self.deployment.stop_redis()
        time.sleep(1)
        self.deployment.start_redis()

    def _stop_redis(self) -> None:
        redis = self.deployment.redis_pid
        os.kill(redis, signal.SIGSTOP)
        time.sleep(2)
        os.kill(redis, signal.SIGCONT)

    def _fail_label_studio(self) -> None:
        """Let it fail for a second, from the first push on if there is one in this round."""
        before = self.studio.failures
        self.studio.mood = self.chance.choice((Mood.FAILS, Mood.SAVES_AND_HANGS_UP))
        until(lambda: self.studio.failures > before or not self.deployment.pending(), 240)
        time.sleep(1)
        self.studio.mood = Mood.WELL

    def _sample(self) -> None:
        parts = [self.web.part.pid, *(part.pid for part in self.deployment.workers)]
        taken = sum(resident_bytes(pid) for pid in parts)
        self.memory.append((time.monotonic() / 60, taken / MIB))


def shrinks_to(deployment: Rig, keys: int) -> bool:
    """Wait until Redis holds at most `keys` keys; return whether it does."""
    limit = time.monotonic() + TTL + RQ_SECONDS
    while deployment.redis.dbsize() > keys and time.monotonic() < limit:
        time.sleep(1)
    return int(deployment.redis.dbsize()) <= keys


def held(deployment: Rig) -> dict[str, tuple[int, int]]:
    """Return the number of keys of each kind in Redis, and the longest remaining seconds."""
    kinds: dict[str, tuple[int, int]] = {}
    for key in deployment.redis.scan_iter():
        kind = re.sub(rb"([0-9a-f]{8,}|(?<=thumbnail:)).*", b"#", key).decode()
        number, longest = kinds.get(kind, (0, -2))
        kinds[kind] = (number + 1, max(longest, deployment.redis.ttl(key)))
    return kinds


def files(pid: int) -> int:
    """Return how many files a process and its descendants have open."""
    return sum(one.num_fds() for one in family(pid))


def say(config: pytest.Config, line: str) -> None:
    """Print a line even while pytest captures output."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{line}", file=sys.stderr)


def slope(samples: list[tuple[float, float]]) -> float:
    """Return the growth of the median from the first third to the last, per unit of time."""
    third = max(1, len(samples) // 3)

    def middle(part: list[tuple[float, float]]) -> tuple[float, float]:
        ordered = sorted(part, key=lambda sample: sample[1])
        return sum(moment for moment, _ in part) / len(part), ordered[len(ordered) // 2][1]

    (begun, low), (ended, high) = middle(samples[:third]), middle(samples[-third:])
    return (high - low) / (ended - begun)


def test_a_long_run_with_every_fault_loses_nothing_and_does_not_grow(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kept = {"result_ttl": TTL, "failed_ttl": TTL, "forget": TTL}
    terms = kept | {"job_timeout": 2, "bulk_deadline": DEADLINE}
    with (
        image_host(rate=10 * RATE) as host,
        label_studio() as studio,
        deployed(tmp_path, studio, seconds=0.02, allowed_origins=host.origin, **terms) as rigged,
    ):
        soak = Soak(rigged, rigged.web(), host, studio, Random(31))
        baseline = rigged.redis.dbsize()
        end = time.monotonic() + 60 * MINUTES
        soak.round()
        opened = files(soak.web.part.pid)  # those of threads that wait for Redis among them
        while time.monotonic() < end:
            soak.round()
        soak.settle()
        left_open, growth = files(soak.web.part.pid), slope(soak.memory)
        p99 = rigged.watches[0].p99  # before the idle minutes below
        shrunk = shrinks_to(rigged, baseline + 10 + SHOWN_ANSWERS)
        say(
            request.config,
            f"{soak.line}; memory {growth:+.2f} MiB a minute; "
            f"keys {baseline} → {rigged.redis.dbsize()}; files {opened} → {left_open}; "
            f"/health p99 {1000 * p99:.0f} ms",
        )
        soak.check()
        assert shrunk, held(rigged)
        assert 0 < left_open <= opened + 5
        assert p99 <= HEALTH_P99_SECONDS
        assert growth < 1 or MINUTES < 10, "a short run measures warming up, not growth"
