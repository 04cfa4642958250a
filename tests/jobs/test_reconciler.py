"""The reconciler finds every pending job that no queue has, at a cost that does not grow."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis import Redis
from rq import Queue

from grounding.jobs import reconciler as module
from grounding.jobs.keys import SWEPT, redis_key
from grounding.jobs.queues import KeyJob, Queues, key_of, rq_name
from grounding.jobs.reconciler import SHORT, Reconciler
from grounding.jobs.store import (
    CONFIGS,
    UNQUEUED,
    Job,
    JobStore,
    QueueName,
    job_key,
)
from tests.jobs.contents import GRACE_SECONDS

BULK = f"rq:queue:{rq_name(QueueName.BULK)}"


def enter(store: JobStore, *keys: str) -> None:
    """Accept and queue bulk jobs, as a web server does."""
    store.accept([Job(key, QueueName.BULK, "1", {"id": 1}) for key in keys])
    Queues(store.redis).put(QueueName.BULK, keys)


def queued(redis: Redis) -> list[str]:
    return [key_of(entry.decode()) for entry in redis.lrange(BULK, 0, -1)]


def dequeue(redis: Redis) -> None:
    """Take a key as a slot does that dies before it can do more."""
    queue = Queue(rq_name(QueueName.BULK), connection=redis, serializer="json", job_class=KeyJob)
    Queue.dequeue_any([queue], None, connection=redis, job_class=KeyJob, serializer="json")


def end_grace(redis: Redis) -> None:
    for key in redis.zrange(UNQUEUED, 0, -1):
        redis.zincrby(UNQUEUED, -GRACE_SECONDS * 1000, key)


def reconcile_later(reconciler: Reconciler, redis: Redis) -> int:
    """Let the time of grace pass; return what a round puts back then."""
    end_grace(redis)
    return reconciler.reconcile()


@pytest.fixture
def reconciler(redis: Redis, store: JobStore) -> Reconciler:
    """A reconciler whose next sweep is far away."""
    redis.set(SWEPT, 1, ex=500)
    return Reconciler(redis, store)


def test_a_queued_job_is_left_where_it_is(
    redis: Redis, store: JobStore, reconciler: Reconciler
) -> None:
    enter(store, "a", "b")
    redis.delete(SWEPT)
    assert reconciler.reconcile() == 0
    assert reconcile_later(reconciler, redis) == 0
    assert queued(redis) == ["a", "b"]


@pytest.mark.parametrize("after_start", [False, True])
def test_a_key_that_a_dead_slot_had_taken_is_put_back_once(
    redis: Redis, store: JobStore, reconciler: Reconciler, after_start: bool
) -> None:
    enter(store, "a", "b")
    dequeue(redis)
    if after_start:  # what RQ does between taking a key and running it
        entry = redis.lpop(f"{BULK}:intermediate")
        redis.zadd(f"rq:wip:{rq_name(QueueName.BULK)}", {f"{entry.decode()}:run": 10**10})  # type: ignore[union-attr]
    assert queued(redis) == ["b"]
    assert reconciler.reconcile() == 0, "a living slot may be about to claim it"
    assert reconcile_later(reconciler, redis) == 1
    assert queued(redis) == ["a", "b"]
    for _ in range(3):
        assert reconcile_later(reconciler, redis) == 0, "the old entry is still there, and stale"


def test_a_slow_slot_keeps_its_job(redis: Redis, store: JobStore, reconciler: Reconciler) -> None:
    enter(store, "a")
    dequeue(redis)
    reconciler.reconcile()
    assert store.claim("a", "slow") is not None
    assert reconcile_later(reconciler, redis) == 0


def test_a_released_or_postponed_job_is_queued_again(
    redis: Redis, store: JobStore, reconciler: Reconciler
) -> None:
    enter(store, "a", "b")
    for key in "ab":
        dequeue(redis)
        store.claim(key, "me")
    store.release(["a"], "me")
    store.postpone("b", "me", suspect=False)
    assert reconciler.reconcile() == 1
    assert queued(redis) == ["a"]
    assert reconcile_later(reconciler, redis) == 1
    assert queued(redis) == ["b", "a"]


def test_lost_lists_are_noticed_by_their_counts_and_refilled_in_order(
    redis: Redis, store: JobStore, reconciler: Reconciler
) -> None:
    keys = "abc"
    enter(store, *keys)
    redis.delete(BULK)
    assert reconciler.reconcile() == 0
    assert redis.exists(SHORT), "once may be a coincidence"
    reconciler.reconcile()
    assert reconcile_later(reconciler, redis) == 3
    assert queued(redis) == list(keys)


def test_many_lost_jobs_come_back_in_batches_and_in_order(
    redis: Redis, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    store = JobStore(redis)
    keys = [f"{n:03}" for n in range(25)]
    for key in keys:
        enter(store, key)
        time.sleep(0.001)
    redis.delete(BULK, SWEPT)
    assert reconciler.reconcile() == 0
    end_grace(redis)
    assert [reconciler.reconcile() for _ in range(4)] == [10, 10, 5, 0]
    assert sorted(queued(redis)) == keys
    assert queued(redis)[5:] == keys[:20]


def test_a_sweep_finds_what_the_counts_hide(
    redis: Redis, store: JobStore, reconciler: Reconciler
) -> None:
    """RQ has dropped one job, and has another twice."""
    enter(store, "a", "b")
    Queues(redis).put(QueueName.BULK, ["b"])
    redis.lpop(BULK)
    assert reconciler.reconcile() == 0
    assert not redis.exists(SHORT)
    redis.delete(SWEPT)
    reconciler.reconcile()
    assert reconcile_later(reconciler, redis) == 1
    assert sorted(queued(redis)) == ["a", "b", "b"]


@pytest.mark.parametrize("is_text", [False, True])
def test_a_job_whose_record_is_lost_fails_and_holds_nothing_up(
    redis: Redis, store: JobStore, reconciler: Reconciler, is_text: bool
) -> None:
    enter(store, "a", "b")
    redis.delete(job_key("a"), BULK, SWEPT)
    if is_text:
        redis.set(job_key("a"), "planted")
    reconciler.reconcile()
    assert reconcile_later(reconciler, redis) == 1
    assert queued(redis) == ["b"]
    counted, unfinished = store.read_totals()
    assert (counted["accepted"], counted["failed:record_lost"], unfinished) == (2, 1, 1)


def test_a_project_whose_only_record_is_lost_has_its_room_back(
    redis: Redis, store: JobStore, reconciler: Reconciler
) -> None:
    store.accept([Job("a", QueueName.BULK, "1", {"id": 1}, blob=b"x" * 2000, config="<View/>")])
    Queues(redis).put(QueueName.BULK, ["a"])
    redis.delete(job_key("a"), BULK, SWEPT)
    reconciler.reconcile()
    assert store.unfinished_by_project() == {}
    assert not redis.exists(redis_key("blob_bytes"), CONFIGS)


def test_a_rounds_work_does_not_grow_with_what_waits(redis: Redis, reconciler: Reconciler) -> None:
    store = JobStore(redis)
    enter(store, *(str(n) for n in range(50)))
    few = traffic(redis, reconciler)
    enter(store, *(f"more{n}" for n in range(3000)))
    assert traffic(redis, reconciler) <= few + 100


def traffic(redis: Redis, reconciler: Reconciler) -> int:
    """Return how many bytes Redis sends in one round."""

    def sent() -> int:
        stats: Any = redis.info("stats")
        return int(stats["total_net_output_bytes"])

    reconciler.reconcile()
    before = sent()
    overhead = sent() - before
    before = sent()
    assert reconciler.reconcile() == 0
    return sent() - before - overhead


def test_the_longer_a_sweep_takes_the_later_is_the_next(
    redis: Redis, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    Reconciler(redis, store).reconcile()
    assert 0 < redis.pttl(SWEPT) <= module.SWEEP_MS
    redis.delete(SWEPT)
    monkeypatch.setattr(module, "SWEEP_SHARE", 1e-6)
    Reconciler(redis, store).reconcile()
    assert module.SWEEP_MS < redis.pttl(SWEPT) <= module.LONGEST_SWEEP_MS


def test_a_sweep_from_before_a_clock_was_set_back_is_soon_repeated(
    redis: Redis, store: JobStore, reconciler: Reconciler
) -> None:
    redis.set(SWEPT, 1, ex=86_400)
    reconciler.reconcile()
    assert redis.pttl(SWEPT) <= module.LONGEST_SWEEP_MS


def test_every_pending_job_is_somewhere(redis: Redis, store: JobStore) -> None:
    """What is unfinished is unqueued, in RQ, or leased: the reconciler's counts rely on it."""
    enter(store, "queued", "leased")
    store.accept([Job("new", QueueName.BULK, "1", {"id": 1})])
    store.claim("leased", "me")
    assert redis.zrange(redis_key("unqueued"), 0, -1) == [b"new"]
    assert redis.zcard(redis_key("pending")) == 3
