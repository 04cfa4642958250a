"""F31: every fault at one in a hundred, for SOAK_MINUTES (20): nothing lost, nothing grows.

Each round is one click in Label Studio, which has each prediction once in the end. `make soak` runs
it and prints what it saw.
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

from tests.faults.delivering import OWED_HERE, deployed, end_holds, paid, retrieve
from tests.faults.image_host import ImageHost, image_host
from tests.faults.label_studio import Mood, Studio, label_studio
from tests.faults.processes import family, resident_bytes
from tests.faults.rig import Rig, Web, task, until
from tests.faults.scripted import Deed, number_of
from tests.faults.watch import HEALTH_P99_SECONDS

pytestmark = pytest.mark.soak

MINUTES = float(os.environ.get("SOAK_MINUTES", "20"))
ROUND = 50
RATE = 0.01
TTL = 240
"""Seconds for which results are kept here: longer than any debt is in doubt, and short enough that
Redis's keys can return to where they began."""
RQ_SECONDS = 240
"""Seconds in which RQ forgets workers that were killed, and what they had in hand."""
DEADLINE = 4
"""Seconds that a click waits: too few where a task hangs, so that some predictions are pushed."""
MIB = 2**20
DEEDS = (Deed.FAIL, Deed.BABBLE, Deed.HANG, Deed.DIE, Deed.OVERFLOW, Deed.BREAK)


@dataclass(slots=True)
class Soak:
    """One long run: what was asked of the model, and what the parts took meanwhile."""

    deployment: Rig
    web: Web
    host: ImageHost
    studio: Studio
    chance: Random
    deeds: list[Deed] = field(default_factory=list)
    """By number, what each task makes the model do."""
    unanswered: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, float]] = field(default_factory=list)

    def round(self) -> None:
        """Click once, with new tasks, while something may happen; wait until each is finished."""
        first = len(self.deeds)
        self.deeds += [self._deed() for _ in range(ROUND)]
        tasks = [self._task(n, self.deeds[n]) for n in range(first, len(self.deeds))]
        with ThreadPoolExecutor(1) as pool:
            clicked = pool.submit(retrieve, self.studio, self.web, tasks)
            # What was not accepted would be lost by right: nobody clicks again.
            until(lambda: clicked.done() or self._accepted() == len(self.deeds), 20)
            happened = [self._befall(what) for what in self._happenings()]
            self._end(clicked, happened)
        until(lambda: not self.deployment.pending(), 240)
        self._sample()

    def settle(self) -> None:
        """Wait until nothing is pending or owed any more."""
        self.deployment.settle(30)
        self.deployment.workers_ready(2)
        end_holds(self.deployment)
        until(lambda: not self.deployment.redis.zcard(OWED_HERE), 60)

    @property
    def line(self) -> str:
        """What was asked, what has come of it, and what has happened meanwhile."""
        return (
            f"{len(self.deeds)} tasks: {len(self.studio.stored)} predictions stored, "
            f"{paid(self.deployment)}; {self.unanswered} clicks unanswered; "
            f"{self.studio.failures} calls failed by Label Studio; {dict(self.faults)}"
        )

    def check(self) -> None:
        """Assert that Label Studio has one prediction of each task that has an answer, its own."""
        stored: dict[int, list[int]] = {}
        for number, prediction in self.studio.stored:
            stored.setdefault(number, []).append(number_of(prediction))
        wrong = {
            number: (deed.name, stored.get(number))
            for number, deed in enumerate(self.deeds)
            if stored.get(number) != (None if deed in DEEDS else [number])
        }
        assert not wrong, wrong

    def _deed(self) -> Deed:
        if self.chance.random() >= RATE * len(DEEDS):
            return Deed.ANSWER
        deed = self.chance.choice(DEEDS)
        self.faults[deed.name] += 1
        return deed

    def _task(self, number: int, deed: Deed) -> dict[str, Any]:
        from_host = deed is Deed.ANSWER and number % 5 == 0 and not self.host.failures(number) > 2
        image = f"{self.host.origin}/{number}" if from_host else task(number, deed)["data"]["image"]
        return {"id": number, "data": {"image": image}}

    def _accepted(self) -> int:
        return self.deployment.store.counters().get("accepted", 0)

    def _happenings(self) -> Iterator[Callable[[], None]]:
        for happening in (
            self._kill_a_worker,
            self._end_a_worker,
            self._kill_the_web,
            self._kill_redis,
            self._stop_redis,
            self._fail_label_studio,
        ):
            if self.chance.random() < RATE * 10:
                yield happening

    def _befall(self, happening: Callable[[], None]) -> str:
        time.sleep(self.chance.uniform(0, 0.3))
        happening()
        self.faults[happening.__name__] += 1
        return happening.__name__

    def _end(self, clicked: Future[int], happened: list[str]) -> None:
        """Wait for the answer, which may stay out only where something has happened."""
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
        """Let it fail for a second; from its first call on, if this round comes to pushes."""
        before = self.studio.failures
        self.studio.mood = self.chance.choice((Mood.FAILS, Mood.SAVES_AND_HANGS_UP))
        until(lambda: self.studio.failures > before or not self.deployment.pending(), 240)
        time.sleep(1)
        self.studio.mood = Mood.WELL

    def _sample(self) -> None:
        parts = [self.web.part.pid, *(part.pid for part in self.deployment.workers)]
        taken = sum(resident_bytes(pid) for pid in parts)
        self.memory.append((time.monotonic() / 60, taken / MIB))


def forgets(deployment: Rig, keys: int) -> bool:
    """Wait until Redis holds at most so many keys; say whether it came to that."""
    limit = time.monotonic() + TTL + RQ_SECONDS
    while deployment.redis.dbsize() > keys and time.monotonic() < limit:
        time.sleep(1)
    return int(deployment.redis.dbsize()) <= keys


def held(deployment: Rig) -> dict[str, tuple[int, int]]:
    """Return how many keys of each kind Redis holds, and for how many seconds more at most."""
    kinds: dict[str, tuple[int, int]] = {}
    for key in deployment.redis.scan_iter():
        kind = re.sub(rb"[0-9a-f]{8,}.*", b"#", key).decode()
        number, longest = kinds.get(kind, (0, -2))
        kinds[kind] = (number + 1, max(longest, deployment.redis.ttl(key)))
    return kinds


def files(pid: int) -> int:
    """Return how many files a process and its children have open."""
    return sum(one.num_fds() for one in family(pid))


def say(config: pytest.Config, line: str) -> None:
    """Print a figure, whatever else is captured."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{line}", file=sys.stderr)


def slope(samples: list[tuple[float, float]]) -> float:
    """Return the medians' growth from the first third to the last, per unit of time."""
    third = max(1, len(samples) // 3)

    def middle(part: list[tuple[float, float]]) -> tuple[float, float]:
        ordered = sorted(part, key=lambda sample: sample[1])
        return sum(moment for moment, _ in part) / len(part), ordered[len(ordered) // 2][1]

    (begun, low), (ended, high) = middle(samples[:third]), middle(samples[-third:])
    return (high - low) / (ended - begun)


def test_a_long_run_with_every_fault_loses_nothing_and_grows_nowhere(
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
        baseline, opened = rigged.redis.dbsize(), files(soak.web.part.pid)
        end = time.monotonic() + 60 * MINUTES
        while time.monotonic() < end:
            soak.round()
        soak.settle()
        left_open, growth = files(soak.web.part.pid), slope(soak.memory)
        p99 = rigged.watches[0].p99  # before the idle minutes that follow
        forgotten = forgets(rigged, baseline + 10)
        say(
            request.config,
            f"{soak.line}; memory {growth:+.2f} MiB a minute; "
            f"keys {baseline} → {rigged.redis.dbsize()}; files {opened} → {left_open}; "
            f"/health p99 {1000 * p99:.0f} ms",
        )
        soak.check()
        assert forgotten, held(rigged)
        assert 0 < left_open <= opened + 5
        assert p99 <= HEALTH_P99_SECONDS
        assert growth < 1 or MINUTES < 10, "a short run tells of warming up, not of growth"
