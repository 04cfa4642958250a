"""Tests of faults of the queue: full memory, full disk, stale locks, wrong clocks."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from grounding.jobs.reconciler import LOCK
from grounding.jobs.store import lease_key
from tests.faults.rig import Rig, number_of_each, rig, task, until

pytestmark = pytest.mark.faults

MIB = 2**20
HOUR = 3600
LEASE_MS = 1000
"""How long a lease lasts in the rig."""
Entries = Future[list[Any]]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def large(number: int) -> dict[str, Any]:
    """Return a task with twenty thousand characters in its data."""
    asked = task(number)
    return {**asked, "data": asked["data"] | {"note": "x" * 20_000}}


def test_with_full_memory_nothing_new_is_accepted_and_accepted_jobs_finish(
    tmp_path: Path,
) -> None:
    """F10."""
    with rig(tmp_path, seconds=0.02) as deployment:
        hasty = deployment.web(bulk_deadline=0.1)
        used = deployment.redis.info("memory")["used_memory"]
        deployment.redis.config_set("maxmemory", used + 10 * MIB)
        count = 0
        while not deployment.store.read_totals()[0].get("refused"):
            assert count < 5000, "the memory did not fill"
            hasty.predict([large(n) for n in range(count, count + 250)])
            count += 250
        deployment.settle(120)
        counters = deployment.store.read_totals()[0]
        assert counters["done"] == counters["accepted"] >= 250
        assert counters["accepted"] + counters["refused"] == count
        assert all(part.starts == 1 for part in deployment.parts)
        waiting_web = deployment.web()
        assert number_of_each(waiting_web.predict([large(9000), task(9001)])) == [9000, 9001]
        deployment.redis.config_set("maxmemory", 1)
        refused = waiting_web.post([task(9002)])
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_full")
        assert waiting_web.get("/ready").status_code == 503
        deployment.redis.config_set("maxmemory", 0)
        assert number_of_each(waiting_web.predict([task(9002)])) == [9002]


def test_a_full_disk_is_a_clear_error_until_there_is_space(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """F23: the append-only file cannot grow, and Valkey refuses writes until it can."""
    with rig(tmp_path) as deployment:
        web = deployment.web()
        asked: Entries = pool.submit(web.predict, [task(n) for n in range(300)])
        until(lambda: len(deployment.calls()) > 50, 20)
        written = max(f.stat().st_size for f in (tmp_path / "queue").rglob("*.aof"))
        limit(deployment, written)
        refused = until(lambda: refusal(deployment, web), 20)
        assert (refused["code"], "disk" in refused["message"]) == ("queue_disk_full", True)
        assert web.get("/health").status_code == 200
        limit(deployment, resource.RLIM_INFINITY)
        assert number_of_each(asked.result(90)) == list(range(300))
        deployment.settle(30)


def limit(deployment: Rig, size: int) -> None:
    """Limit each file of Valkey to `size` bytes."""
    resource.prlimit(deployment.redis_pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def refusal(deployment: Rig, web: Any) -> dict[str, Any] | None:
    """Return the error of a new request; None until Valkey reaches its limit."""
    answer = web.post([task(5000 + int(time.monotonic() * 1000) % 20_000)], timeout=10)
    return answer.json()["error"] if answer.status_code == 503 else None


def test_stale_locks_of_dead_processes_delay_nothing(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """F12: RQ's own locks last 15 minutes, and one of ours may be as stale."""
    with rig(tmp_path, seconds=0.3) as deployment:
        web = deployment.web()
        asked: Entries = pool.submit(web.predict, [task(n) for n in range(40)])
        until(lambda: len(deployment.calls()) >= 8, 20)
        for name in (
            "rq:clean_registries:grounding-2-bulk",
            "rq:clean_registries:grounding-2-interactive",
            LOCK,
        ):
            deployment.redis.set(name, "a process that died", ex=899)
        held = list(deployment.store.leased())
        begun = time.monotonic()
        for part in deployment.workers:
            part.kill()
        until(lambda: not deployment.store.unfinished(held), 15)
        assert time.monotonic() - begun < 10
        assert number_of_each(asked.result(60)) == list(range(40))


def test_clocks_that_are_an_hour_wrong_lose_nothing_and_prolong_no_lease(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """F24: of web and workers in both directions, and the effect of Redis's on leases."""
    clock = tmp_path / "clock"
    with rig(tmp_path, clock=clock) as deployment:
        web = deployment.web()
        asked: Entries = pool.submit(web.predict, [task(n) for n in range(400)])
        for part, offset in ((1, HOUR), (2, -HOUR), (3, 0)):
            until(lambda part=part: len(deployment.calls()) > 80 * part, 60)  # type: ignore[misc]
            clock.write_text(str(offset))
            held = [lease_key(key) for key in deployment.store.leased()]
            deployment.workers[0].kill()
            for lease in held if offset < 0 else []:
                deployment.redis.pexpire(lease, HOUR * 1000)
            until(lambda held=held: longest(deployment, held) <= LEASE_MS, 10)  # type: ignore[misc]
            deployment.workers_ready(2)
        assert number_of_each(asked.result(90)) == list(range(400))
        stranded = deployment.enter(5000, queued=False)
        until(lambda: not deployment.store.unfinished(stranded), 10)
        assert "grounding_oldest_pending_seconds 0.0\n" in web.get("/metrics").text


def longest(deployment: Rig, leases: list[str]) -> int:
    """Return the remaining milliseconds of the longest of `leases`."""
    return max((deployment.redis.pttl(lease) for lease in leases), default=0)


def test_another_process_takes_over_from_a_killed_reconciler(tmp_path: Path) -> None:
    """F30: the process that holds the lock is killed five times, each time with a stranded job."""
    with rig(tmp_path) as deployment:
        deployment.web()
        for number in range(5):
            stranded = deployment.enter(number, queued=False)
            holder = int(until(lambda: deployment.redis.get(LOCK), 5))
            with suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL)
            begun = time.monotonic()
            until(lambda keys=stranded: not unfinished(deployment, keys), 15)  # type: ignore[misc]
            assert time.monotonic() - begun < 10
            deployment.workers_ready(2)
        deployment.settle(5)
        assert deployment.store.read_totals()[0]["reconciled"] >= 5


def unfinished(deployment: Rig, keys: list[str]) -> list[str]:
    try:
        return deployment.store.unfinished(keys)
    except RedisError:
        return keys
