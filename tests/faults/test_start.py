"""F28: whatever order the parts of a deployment start in, it becomes ready by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest

from tests.faults.rig import Rig, number_of_each, task, until

pytestmark = pytest.mark.faults

READY_SECONDS = 5
STARTING_SECONDS = 10
"""What the last part itself may take to start: Python alone needs seconds on a busy machine."""


@pytest.mark.parametrize("order", [*permutations(["redis", "web", "worker"])], ids="-".join)
def test_a_deployment_becomes_ready_whatever_starts_first(
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
            started[part] = starts[part]()
            time.sleep(0.7)
            if "web" in started and len(started) < 3:
                web = started["web"]
                assert web.get("/health").status_code == 200
                assert web.get("/ready").status_code == 503
        web = started["web"]
        begun = time.monotonic()
        until(lambda: web.get("/ready").status_code == 200, READY_SECONDS + STARTING_SECONDS)
        print(f"{'-'.join(order)}: ready {time.monotonic() - begun:.1f} s after the last start")
        assert number_of_each(web.predict([task(n) for n in range(4)])) == [0, 1, 2, 3]
        assert all(part.starts == 1 for part in deployment.parts), "no restart was needed"
        deployment.check_books()
    finally:
        deployment.close()
