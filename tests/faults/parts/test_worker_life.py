"""Tests of how a worker process ends: hung, broken, terminated, and terminated twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grounding.jobs.queues import Queues
from grounding.jobs.store import Job, QueueName
from grounding.settings import Settings
from grounding.tasks import Task
from tests.faults.processes import resident_bytes
from tests.faults.rig import CONFIG, Rig, rig, task, until
from tests.faults.scripted import GROWTH, Behavior, number_of
from tests.jobs.contents import GRACE_SECONDS

SECONDS = 0.7
"""How long the model takes for a batch."""
JOB_TIMEOUT = 1.2


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Rig]:
    """A deployment with one worker and no web server."""
    with rig(tmp_path, workers=1, seconds=SECONDS, job_timeout=JOB_TIMEOUT) as running:
        yield running


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The same, for tests that leave the worker running."""
    folder = tmp_path_factory.mktemp("lasting")
    with rig(folder, workers=1, seconds=SECONDS, job_timeout=JOB_TIMEOUT) as running:
        yield running


def has_started(one: Rig) -> bool:
    return bool(one.calls())


def answered(one: Rig, keys: list[str]) -> list[int]:
    outcomes = one.store.outcomes(keys)
    return [number_of(dict(outcomes[key].prediction or {})) for key in keys]


def test_a_hang_in_native_code_ends_the_process_in_time_and_it_is_restarted(one: Rig) -> None:
    """F5: the hang holds the interpreter's lock, so that no Python code can run."""
    (worker,) = one.parts
    one.enter(1, behavior=Behavior.HANG)
    until(lambda: has_started(one), 10)
    begun = time.monotonic()
    until(lambda: worker.starts == 2, 10)
    assert time.monotonic() - begun < JOB_TIMEOUT + 2


def test_batches_within_the_time_limit_are_no_hang(lasting: Rig) -> None:
    """The time starts with each batch, and does not run without one."""
    (worker,) = lasting.parts
    keys = lasting.enter(*range(100, 120))
    lasting.settle(20)
    time.sleep(JOB_TIMEOUT + 0.5)
    assert worker.starts == 1
    assert answered(lasting, keys) == list(range(100, 120))


@pytest.mark.faults
def test_a_broken_device_ends_the_process_and_fails_only_the_job_that_breaks_it(one: Rig) -> None:
    """F7: after an illegal access, every later call of the process would fail."""
    (worker,) = one.parts
    (bad,) = one.enter(1, behavior=Behavior.BREAK)
    good = one.enter(2, 3)
    one.settle(60)
    assert one.store.outcomes([bad])[bad].code == "worker_died"
    assert answered(one, good) == [2, 3]
    assert worker.starts == 1 + one.calls()[1]
    assert one.calls()[1] in (3, 4), "three deaths alone, and one beside other jobs"


def test_a_broken_device_ends_the_process_and_harms_no_later_job(one: Rig) -> None:
    (worker,) = one.parts
    one.enter(1, behavior=Behavior.BREAK)
    until(lambda: worker.starts == 2, 10)
    assert worker.statuses == [4]
    good = one.enter(2, 3)
    until(lambda: not one.store.unfinished(good), 30)
    assert answered(one, good) == [2, 3]


def test_out_of_memory_fails_only_the_job_that_does_not_fit(lasting: Rig) -> None:
    (giant,) = lasting.enter(1, behavior=Behavior.OVERFLOW)
    good = lasting.enter(*range(2, 8))
    lasting.settle(30)
    assert lasting.store.outcomes([giant])[giant].code == "out_of_memory"
    assert answered(lasting, good) == list(range(2, 8))
    assert lasting.parts[0].starts == 1


def test_a_fault_of_the_model_and_an_unreadable_answer_have_codes_of_their_own(
    lasting: Rig,
) -> None:
    (failed,) = lasting.enter(11, behavior=Behavior.FAIL)
    lasting.settle(20)
    (babbled,) = lasting.enter(12, behavior=Behavior.BABBLE)
    lasting.settle(20)
    outcomes = lasting.store.outcomes([failed, babbled])
    codes = {key: outcome.code for key, outcome in outcomes.items()}
    assert codes[failed] == "model_unavailable"
    assert codes[babbled].startswith("output_")


def test_sigterm_finishes_running_jobs_takes_no_more_and_exits_0(one: Rig) -> None:
    """F18."""
    (worker,) = one.parts
    first = one.enter(*range(4))
    until(lambda: has_started(one) and len(one.store.leased()) == 4, 10)
    slots: Any = one.redis.scard("rq:workers")
    worker.terminate()
    until(lambda: one.redis.scard("rq:workers") < slots, 10)  # those without a job leave at once
    late = one.enter(10, 11)
    assert worker.wait(10) == 0
    assert answered(one, first) == [0, 1, 2, 3]
    assert one.store.unfinished(late) == late
    assert not any(one.store.leased().values())
    assert list(one.redis.scan_iter("grounding:*:worker:*")) == []


def test_a_second_sigterm_releases_the_leases_at_once(one: Rig) -> None:
    """F18."""
    (worker,) = one.parts
    one.enter(1, behavior=Behavior.ANSWER)
    until(lambda: has_started(one), 10)
    worker.terminate()
    time.sleep(0.2)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait(3) == 1
    assert one.store.leased() == {}
    claim = one.store.claim("job1", "another")
    assert claim is not None
    assert not claim.alone, "no worker died"


@pytest.mark.faults
def test_after_a_second_sigterm_another_worker_starts_the_job_within_two_seconds(
    tmp_path: Path,
) -> None:
    """F18."""
    with rig(tmp_path, seconds=3) as two:
        two.enter(1)
        until(lambda: has_started(two), 10)
        holder = int((tmp_path / "calls").read_text().split()[0])
        (worker,) = [part for part in two.workers if part.pid == holder]
        time.sleep(GRACE_SECONDS)  # the reconciler leaves younger jobs alone
        worker.terminate()
        time.sleep(0.2)
        worker.process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        until(lambda: two.calls()[1] == 2, 10)
        assert time.monotonic() - begun < 2
        two.settle(10)


def test_a_worker_can_be_stopped_while_redis_is_away(one: Rig) -> None:
    (worker,) = one.parts
    one.stop_redis()
    worker.terminate()
    assert worker.wait(15) == 0


def test_a_result_computed_while_redis_is_away_is_written_when_it_returns(one: Rig) -> None:
    """F8: the model is not asked again."""
    (key,) = one.enter(7)
    until(lambda: has_started(one), 10)
    one.stop_redis()
    time.sleep(SECONDS + 0.5)
    one.start_redis()
    one.settle(10)
    assert answered(one, [key]) == [7]
    assert one.calls()[7] == 1


def test_dropped_findings_are_counted(lasting: Rig) -> None:
    """The scripted model answers with a box, which a key point control cannot show."""
    points = CONFIG.replace("RectangleLabels", "KeyPointLabels")
    version = Settings.load().model_version(points)
    asked = Task(7, task(7, Behavior.ANSWER)["data"], points, None, version)
    lasting.store.accept([Job("points", QueueName.BULK, "1", asked.payload())])
    Queues(lasting.redis).put(QueueName.BULK, ["points"])
    until(lambda: lasting.store.read_totals()[0].get("dropped:wrong_shape") == 1, 15)


@pytest.mark.faults
def test_a_worker_whose_memory_grows_exits_with_0_and_is_replaced(
    tmp_path: Path,
) -> None:
    """F27: each job leaks 10 MiB; five fit."""
    with rig(tmp_path, workers=1, seconds=0.02, bulk_slots=1, interactive_slots=1) as measured:
        limit = resident_bytes(measured.workers[0].pid) + 5 * GROWTH
        measured.workers[0].terminate()
        worker = measured.worker(max_worker_rss=limit)
        measured.workers_ready(1)
        keys = measured.enter(*range(20), behavior=Behavior.GROW)
        highest = 0
        while measured.store.unfinished(keys):
            highest = max(highest, resident_bytes(worker.pid))
            time.sleep(0.01)
        assert answered(measured, keys) == list(range(20))
        assert limit < highest < limit + 2 * GROWTH, "the job that exceeds the limit, and no more"
        assert worker.statuses
        assert set(worker.statuses) == {0}
        assert set(measured.calls().values()) == {1}


@pytest.mark.faults
def test_a_memory_limit_that_the_model_exceeds_is_refused(tmp_path: Path) -> None:
    with rig(tmp_path, workers=0) as deployment:
        worker = deployment.worker(max_worker_rss=1000)
        until(lambda: worker.statuses, 20)
        assert worker.statuses[0] == 2
