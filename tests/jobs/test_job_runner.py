"""What becomes of a worker's jobs when its server is away, or when nobody waits any more."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from PIL import Image
from redis import Redis

from grounding.asking.run import Recorder
from grounding.engines.base import Completion, ModelRequest
from grounding.errors import EngineAway
from grounding.jobs import worker
from grounding.jobs.operating import thumbnails
from grounding.jobs.payloads import split
from grounding.jobs.store import Job, JobStore, QueueName
from grounding.jobs.worker import JobRunner
from grounding.pipeline import WorkerContext
from grounding.settings import Settings
from grounding.tasks import Task, model_version
from grounding.testing import ScriptedEngine
from tests.faults.rig import until
from tests.serving import CONFIG


class OnePicture:
    """A fetcher whose every picture is white."""

    def fetch(self, value: str, task_id: int | None = None, check: object = None) -> bytes:
        """Return a PNG."""
        file = io.BytesIO()
        Image.new("RGB", (64, 64), "white").save(file, "PNG")
        return file.getvalue()


def away(batch: Sequence[ModelRequest]) -> Sequence[Completion]:
    raise EngineAway("the server does not answer")


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis)


def nothing(batch: Sequence[ModelRequest]) -> Sequence[Completion]:
    return [Completion("[]", complete=True)] * len(batch)


@pytest.fixture
def runner(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobRunner]:
    monkeypatch.setattr(worker, "AWAY_SECONDS", 0)
    context = WorkerContext(ScriptedEngine(away), OnePicture(), 64, 10_000)
    running = JobRunner("w", store, context, Settings.load())
    yield running
    running.close()


def accept(store: JobStore, *, timeout: float) -> None:
    """Accept the job "a"; with `timeout` an annotator waits for it."""
    task = Task(7, {"image": "x"}, CONFIG, None, model_version(Settings.load(), CONFIG, ""))
    parts = split(task.payload())
    queue = QueueName.INTERACTIVE if timeout else QueueName.BULK
    store.accept([Job("a", queue, "1", parts.record, parts.data, timeout, parts.config)])


def test_an_annotator_reads_at_once_that_the_server_is_away(
    store: JobStore, runner: JobRunner
) -> None:
    accept(store, timeout=60)
    runner.run("a")
    assert store.outcomes(["a"])["a"].code == "server_away"


def test_each_line_about_a_task_names_it(
    store: JobStore, runner: JobRunner, busy: JobRunner, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    accept(store, timeout=0)
    runner.run("a")
    store.redis.flushall()
    accept(store, timeout=SOON)
    busy.run("a")
    lines = [one.message for one in caplog.records if one.name == worker.__name__]
    assert len(lines) == 2
    assert all(line.startswith("task 7") for line in lines)


@pytest.mark.parametrize("timeout", [60, 0], ids=["annotator", "bulk"])
def test_a_process_that_ends_leaves_its_jobs_to_others_unblamed(
    store: JobStore, runner: JobRunner, timeout: float
) -> None:
    accept(store, timeout=timeout)
    runner.drain()
    runner.run("a")
    claim = store.claim("a", "another")
    assert claim is not None
    assert claim.queue is (QueueName.INTERACTIVE if timeout else QueueName.BULK)
    assert not store.redis.hexists("grounding:2:job:a", "suspected")


def test_an_answer_is_written_before_it_is_kept_for_the_operator_s_page(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = WorkerContext(ScriptedEngine(nothing), OnePicture(), 64, 10_000)
    running = JobRunner("w", store, context, Settings.load())
    seen: list[object] = []

    def fail(*_: object) -> None:
        seen.append(store.outcomes(["a"])["a"].prediction)
        raise MemoryError

    monkeypatch.setattr(thumbnails, "thumbnail", fail)
    accept(store, timeout=0)
    running.run("a")
    running.close()
    assert seen == [store.outcomes(["a"])["a"].prediction]
    assert seen[0]["result"] == []  # type: ignore[index]


SOON = 1.0
"""Seconds for which an annotator waits."""


@pytest.fixture
def busy(store: JobStore) -> Iterator[JobRunner]:
    """A runner whose model has something else to do for longer than that."""
    asked: list[ModelRequest] = []

    def answer(batch: Sequence[ModelRequest]) -> Sequence[Completion]:
        if not asked:
            time.sleep(2 * SOON)
        asked.extend(batch)
        return nothing(batch)

    engine = ScriptedEngine(answer, max_batch=1)
    engine.submit([ModelRequest(("first",), 1)])
    context = WorkerContext(engine, OnePicture(), 64, 10_000)
    running = JobRunner("w", store, context, Settings.load())
    yield running
    running.close()


def test_a_job_that_nobody_waits_for_any_more_is_ended(store: JobStore, busy: JobRunner) -> None:
    accept(store, timeout=SOON)
    busy.run("a")
    totals = store.read_totals()[0]
    assert totals["failed:nobody_waits"] == 1
    assert store.outcomes(["a"]) == {}
    assert store.leased() == {}


def test_a_job_that_its_annotator_withdraws_is_ended_while_the_model_writes(
    store: JobStore, busy: JobRunner
) -> None:
    recorder = Recorder(busy._context.engine)
    busy._context = replace(busy._context, engine=recorder)
    accept(store, timeout=60)
    running = threading.Thread(target=busy.run, args=("a",))
    running.start()
    until(lambda: recorder.asked, 10)
    ((_, future),) = recorder.asked
    assert store.cancel(["a"]) == 1
    running.join(SOON)
    assert not running.is_alive()
    assert future.cancelled()
    assert store.read_totals()[0]["failed:nobody_waits"] == 1
    accept(store, timeout=60)
    busy.run("a")
    assert store.outcomes(["a"])["a"].prediction is not None, "it may be asked again"


def test_the_wait_for_a_turn_beside_a_job_that_runs_alone_counts(
    store: JobStore, busy: JobRunner
) -> None:
    accept(store, timeout=SOON)
    running = threading.Thread(target=busy.run, args=("a",))
    with busy._exclusive.enter(alone=True, urgent=False):
        running.start()
        time.sleep(1.5 * SOON)
    running.join(20)
    assert store.read_totals()[0]["failed:nobody_waits"] == 1


def test_a_job_that_is_asked_again_meanwhile_is_done_again(
    store: JobStore, busy: JobRunner
) -> None:
    accept(store, timeout=SOON)
    running = threading.Thread(target=busy.run, args=("a",))
    running.start()
    time.sleep(SOON / 2)
    assert store.leased() == {"a": True}
    accept(store, timeout=60)
    running.join(20)
    assert "failed:nobody_waits" not in store.read_totals()[0]
    assert store.unfinished(["a"]) == ["a"]
    busy.run("a")
    assert store.outcomes(["a"])["a"].prediction is not None
