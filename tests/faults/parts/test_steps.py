"""Tests of F2: a process killed at any step loses and duplicates nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.crash import POINTS
from tests.faults.rig import number_of_each, rig, task, until

pytestmark = pytest.mark.faults

WEB = [point for point in POINTS if point.startswith("after the job is")]


WORKER = [*POINTS][: [*POINTS].index(WEB[0])]


@pytest.mark.parametrize("point", WORKER)
def test_a_worker_killed_at_a_step_loses_and_duplicates_nothing(tmp_path: Path, point: str) -> None:
    with rig(tmp_path, crash=point) as deployment:
        web = deployment.web()
        begun = time.monotonic()
        assert number_of_each(web.predict([task(n) for n in range(8)])) == list(range(8))
        assert time.monotonic() - begun < 10
        # The answer may come before the rig has seen the worker's end.
        until(lambda: sum(len(part.statuses) for part in deployment.workers) == 1, 5)
        deployment.settle(10)
        assert deployment.store.read_totals()[0]["done"] == 8


@pytest.mark.parametrize("point", WEB)
def test_a_web_server_killed_at_a_step_loses_nothing_that_it_accepted(
    tmp_path: Path, point: str
) -> None:
    """Without another request: the workers' reconciler queues what was accepted."""
    with rig(tmp_path) as deployment:
        web = deployment.web(crash=point)
        with pytest.raises(Exception, match=r"disconnected|reset"):
            web.predict([task(n) for n in range(8)])
        until(lambda: deployment.store.read_totals()[0].get("done") == 8, 10)
        assert sorted(deployment.calls()) == list(range(8))
        deployment.settle(10)
