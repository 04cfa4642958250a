"""F31: every fault at one in a hundred, for SOAK_MINUTES (20): nothing lost, nothing grows.

`make soak` runs it and prints what it saw.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.faults.image_host import ImageHost, image_host
from tests.faults.processes import family, resident_bytes
from tests.faults.rig import Rig, Web, number_of_each, rig, task, until
from tests.faults.scripted import Deed
from tests.faults.watch import HEALTH_P99_SECONDS

pytestmark = pytest.mark.soak

MINUTES = float(os.environ.get("SOAK_MINUTES", "20"))
ROUND = 50
RATE = 0.01
TTL = 60
"""Seconds for which results are kept here, so that Redis's keys can return to where they began."""
RQ_SECONDS = 240
"""Seconds in which RQ forgets workers that were killed, and what they had in hand."""
MIB = 2**20
DEEDS = (Deed.FAIL, Deed.BABBLE, Deed.HANG, Deed.DIE, Deed.OVERFLOW, Deed.BREAK)


@dataclass(slots=True)
class Soak:
    """One long run: what was asked and answered, and what the parts took meanwhile."""

    deployment: Rig
    web: Web
    host: ImageHost
    chance: Random
    numbers: int = 0
    answered: int = 0
    failed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, float]] = field(default_factory=list)

    def round(self) -> None:
        """Ask for some tasks while something may happen; then see that each has its answer."""
        deeds = {n: self._deed() for n in range(self.numbers, self.numbers + ROUND)}
        self.numbers += ROUND
        tasks = [self._task(n, deed) for n, deed in deeds.items()]
        for happening in (self._kill_a_worker, self._kill_redis, self._kill_the_web):
            if self.chance.random() < RATE * 10:
                self.faults[happening.__name__] += 1
                happening(tasks)
        entries = self._retrieved(tasks)
        for (number, deed), found in zip(deeds.items(), entries, strict=True):
            assert found in ((None,) if deed not in (Deed.ANSWER, Deed.STOP_SHORT) else (number,))
            self.answered += found is not None
            self.failed += found is None
        self._sample()

    def _deed(self) -> Deed:
        if self.chance.random() >= RATE * len(DEEDS):
            return Deed.ANSWER
        deed = self.chance.choice(DEEDS)
        self.faults[deed.name] += 1
        return deed

    def _task(self, number: int, deed: Deed) -> dict[str, object]:
        from_host = deed is Deed.ANSWER and number % 5 == 0 and not self.host.failures(number) > 2
        image = f"{self.host.origin}/{number}" if from_host else task(number, deed)["data"]["image"]
        return {"id": number, "data": {"image": image}}

    def _retrieved(self, tasks: list[dict[str, object]]) -> list[int | None]:
        """Ask until nothing is pending, as someone does who clicks again; each at least once."""
        until(lambda: self._asked(tasks), 120)
        until(lambda: not self._pending(), 240)
        return number_of_each(self.web.predict(tasks))

    def _asked(self, tasks: list[dict[str, object]]) -> bool:
        try:
            return self.web.post(tasks).status_code == 200
        except httpx.TransportError:
            return False

    def _pending(self) -> int:
        return self.deployment.ledger.books()[1]

    def _kill_a_worker(self, tasks: list[dict[str, object]]) -> None:
        self._during(tasks, lambda: self.chance.choice(self.deployment.workers).kill())

    def _kill_the_web(self, tasks: list[dict[str, object]]) -> None:
        self._during(tasks, self.web.part.kill)
        until(self.web.is_up, 60)

    def _kill_redis(self, tasks: list[dict[str, object]]) -> None:
        def outage() -> None:
            self.deployment.stop_redis()
            time.sleep(1)
            self.deployment.start_redis()

        self._during(tasks, outage)

    def _during(self, tasks: list[dict[str, object]], fault: Callable[[], None]) -> None:
        """Do it while the tasks are on their way: nobody waits for this request's answer."""
        with suppress(httpx.TransportError):
            self.web.post(tasks, timeout=0.3)
        fault()

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
    kept = {"result_ttl": TTL, "dead_ttl": TTL, "forget": TTL}
    terms = kept | {"job_timeout": 2, "bulk_deadline": 60}
    with (
        image_host(rate=10 * RATE) as host,
        rig(tmp_path, seconds=0.02, allowed_origins=host.origin, **terms) as deployment,
    ):
        web = deployment.web()
        soak = Soak(deployment, web, host, Random(31))
        baseline, opened = deployment.redis.dbsize(), files(web.part.pid)
        end = time.monotonic() + 60 * MINUTES
        while time.monotonic() < end:
            soak.round()
        deployment.settle(30)
        deployment.workers_ready(2)
        left_open = files(web.part.pid)
        forgotten = forgets(deployment, baseline + 10)
        keys = deployment.redis.dbsize()
        growth = slope(soak.memory)
        (watch,) = deployment.watches
        say(
            request.config,
            f"{soak.numbers} tasks: {soak.answered} answered, {soak.failed} failed as they must; "
            f"{dict(soak.faults)}; memory {growth:+.2f} MiB a minute; keys {baseline} → {keys}; "
            f"files {opened} → {left_open}; /health p99 {1000 * watch.p99:.0f} ms",
        )
        assert soak.answered + soak.failed == soak.numbers
        assert forgotten, held(deployment)
        assert left_open <= opened + 5
        assert watch.p99 <= HEALTH_P99_SECONDS
        assert growth < 1 or MINUTES < 10, "a short run tells of warming up, not of growth"
