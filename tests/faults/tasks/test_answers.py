"""Tests of faults of single tasks: bad pictures, bad answers, and callers that have gone."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from grounding.inference.answering import LOOK_SECONDS
from grounding.jobs.reconciler import PERIOD_SECONDS
from tests.faults.image_host import PASSING, Fault, image_host
from tests.faults.rig import PROMPTED, number_of_each, rig, task, typed, until
from tests.faults.scripted import Behavior

pytestmark = pytest.mark.faults


def test_a_waiting_job_is_cancelled_at_its_deadline_though_the_caller_has_gone(
    tmp_path: Path,
) -> None:
    """F14: the running job is ended, too; those queued behind it never reach the model."""
    settings = {"interactive_slots": 1, "interactive_deadline": 1.5, "bulk_slots": 1}
    with rig(tmp_path, workers=1, seconds=3, **settings) as deployment:
        web = deployment.web()

        def ask_and_leave(number: int) -> None:
            with pytest.raises(httpx.ReadTimeout):
                web.post([task(number)], label_config=PROMPTED, params=typed(), timeout=0.7)

        with ThreadPoolExecutor(3) as callers:
            running = callers.submit(ask_and_leave, 1)
            until(lambda: deployment.calls()[1] == 1, 20)
            queued = [callers.submit(ask_and_leave, n) for n in (2, 3)]
            begun = time.monotonic()
            for one in (running, *queued):
                one.result(20)
        until(lambda: deployment.store.read_totals()[0].get("failed:nobody_waits") == 3, 10)
        late = time.monotonic() - begun - 1.5
        assert late < 3 * PERIOD_SECONDS + LOOK_SECONDS, "one period, on a machine at half speed"
        deployment.settle(20)
        assert sorted(deployment.calls()) == [1]
        left = deployment.store.read_totals()[0]
        assert (left["accepted"], left["failed"], left.get("done", 0)) == (3, 3, 0)


def test_a_failing_image_host_costs_only_the_pictures_that_it_never_sends(tmp_path: Path) -> None:
    """F21."""
    numbers = range(200)
    with (
        image_host() as host,
        rig(tmp_path, seconds=0, allowed_origins=host.origin, bulk_deadline=90) as deployment,
    ):
        web = deployment.web()
        tasks = [{"id": n, "data": {"image": f"{host.origin}/{n}"}} for n in numbers]
        found = number_of_each(web.predict(tasks))
        fine = [n for n in numbers if host.fault(n) in PASSING]
        assert [n for n in found if n is not None] == fine
        assert {host.fault(n) for n in numbers} == set(Fault), "the seed must bring every fault"
        tries = {Fault.GONE: 1, Fault.FAILED: 3}
        expected = {n: tries.get(host.fault(n), 1 + host.failures(n)) for n in numbers}
        assert host.requests == expected, "a 404 is not retried, a failure twice"
        codes = deployment.store.read_totals()[0]
        faults = [host.fault(n) for n in numbers]
        assert codes["failed:image_not_found"] == faults.count(Fault.GONE)
        assert codes["failed:image_unreachable"] == faults.count(Fault.FAILED)
        shown = web.get("/metrics").text
        longest = re.findall(
            r'fetch_seconds_bucket\{le="(30\.0|\+Inf)",outcome="\w+"\} (\S+)', shown
        )
        assert longest
        assert longest[::2] == [("30.0", count) for _, count in longest[1::2]]
        deployment.settle(5)


def test_unreadable_and_truncated_answers_cost_only_the_unreadable_tasks(
    tmp_path: Path,
) -> None:
    """F26: 20 % unreadable, 10 % truncated; complete items before the cut are kept."""
    behaviors = {0: Behavior.BABBLE, 5: Behavior.BABBLE, 7: Behavior.STOP_SHORT}
    numbers = range(1000)
    with rig(tmp_path, seconds=0, bulk_deadline=90) as deployment:
        web = deployment.web()
        entries = web.predict([task(n, behaviors.get(n % 10, Behavior.ANSWER)) for n in numbers])
        wanted = [None if behaviors.get(n % 10) is Behavior.BABBLE else n for n in numbers]
        assert number_of_each(entries) == wanted
        counted = deployment.store.read_totals()[0]
        unreadable = {name: n for name, n in counted.items() if name.startswith("failed:")}
        assert sum(unreadable.values()) == wanted.count(None) == 200
        assert all(name.startswith("failed:output_") for name in unreadable)
        assert deployment.calls()[0] == 2, "asked once more with the strict wording"
        assert deployment.calls()[1] == 1


def test_a_picture_that_the_model_fails_on_fails_alone(tmp_path: Path) -> None:
    """The others of its batch are run again without it."""
    with rig(tmp_path, workers=1, seconds=0.3) as deployment:
        deployment.enter(0)
        until(lambda: deployment.calls()[0], 20)
        (bad,) = deployment.enter(1, behavior=Behavior.FAIL)
        good = deployment.enter(*range(2, 8))
        deployment.settle(30)
        outcomes = deployment.store.outcomes([bad, *good])
        assert outcomes[bad].code == "model_unavailable"
        assert all(outcomes[key].prediction for key in good)
        assert deployment.calls()[1] > 1, "it was in a batch first"
