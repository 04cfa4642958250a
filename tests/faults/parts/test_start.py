"""Tests of readiness: parts start in any order (F28), and `/ready` follows changes (F32)."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest

from tests.faults.rig import Rig, number_of_each, rig, task, until

pytestmark = pytest.mark.faults

READY_SECONDS = 5
TRUTH_SECONDS = 15
"""F32: how long `/ready` may take to show a change."""


@pytest.mark.parametrize("order", [*permutations(["redis", "web", "worker"])], ids="-".join)
def test_a_deployment_becomes_ready_whatever_part_starts_first(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    deployment = Rig(tmp_path)
    starts: dict[str, Callable[[], object]] = {
        "redis": deployment.start_redis,
        "web": deployment.web,
        "worker": deployment.worker,
    }
    try:
        started = {}
        for part in order:
            begun = time.monotonic()
            started[part] = starts[part]()
            time.sleep(0.7)
            if "web" in started and len(started) < 3:
                web = started["web"]
                assert web.get("/health").status_code == 200
                assert web.get("/ready").status_code == 503
        web = started["web"]
        until(lambda: web.get("/ready").status_code == 200, READY_SECONDS)
        took = time.monotonic() - begun
        print(f"{'-'.join(order)}: ready {took:.1f} s after the last part was started")
        assert took < READY_SECONDS
        assert number_of_each(web.predict([task(n) for n in range(4)])) == [0, 1, 2, 3]
        assert all(part.starts == 1 for part in deployment.parts), "no part needed a restart"
        deployment.check_counters()
        deployment.check_watches()
    finally:
        deployment.close()


def test_ready_shows_a_change_soon(tmp_path: Path) -> None:
    """F32."""
    with rig(tmp_path, workers=1) as deployment:
        web = deployment.web()

        def becomes(status: int) -> None:
            until(lambda: web.get("/ready").status_code == status, TRUTH_SECONDS)

        becomes(200)
        (worker,) = deployment.workers
        worker.must_end = True
        worker.kill()
        becomes(503)
        deployment.worker()
        becomes(200)
        deployment.stop_redis()
        becomes(503)
        deployment.start_redis()
        becomes(200)
