"""Who waits for a job hears of its end in an inbox, a Redis list."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from grounding.errors import ImageMissing
from grounding.jobs.keys import INBOX_LENGTH, redis_key
from grounding.jobs.store import Job, JobStore, QueueName

PREDICTION = {"result": [], "model_version": "v"}


def job(key: str = "a", *, project: str = "1") -> Job:
    return Job(key, QueueName.BULK, project, {"id": key})


def interactive_job(key: str, timeout: float) -> Job:
    return Job(key, QueueName.INTERACTIVE, "1", {"id": key}, "x", timeout)


def inbox(redis: Redis, name: str = "inbox") -> list[str]:
    return [key.decode() for key in redis.lrange(name, 0, -1)]


def test_each_end_of_a_job_is_told_to_every_inbox_once(redis: Redis) -> None:
    store = JobStore(redis)
    store.accept([interactive_job(key, 60) for key in "abc"])
    store.watch(["a", "b", "c"], "inbox")
    store.watch(["a"], "other")
    store.watch(["a"], "other")
    assert inbox(redis) == []
    store.claim("a", "me")
    store.finish("a", PREDICTION, "nothing")
    store.finish("a", PREDICTION, "nothing")
    store.fail("b", ImageMissing("gone"))
    store.cancel(["c"])
    assert inbox(redis) == ["a", "b", "c"]
    assert inbox(redis, "other") == ["a"]
    assert 0 < redis.ttl("inbox") <= 120
    assert list(redis.scan_iter(redis_key("waiters", key="*"))) == []


def test_a_job_past_its_timeout_is_told_too(redis: Redis) -> None:
    store = JobStore(redis)
    store.accept([interactive_job("a", 0.05)])
    store.watch(["a"], "inbox")
    time.sleep(0.1)
    store.cancel_unwaited()
    assert inbox(redis) == ["a"]


def test_watch_returns_what_has_ended_and_tells_the_rest(redis: Redis) -> None:
    store = JobStore(redis)
    store.accept([job("done"), job("failed"), job("left")])
    store.finish("done", PREDICTION, "nothing")
    store.fail("failed", ImageMissing("gone"))
    assert store.watch(["done", "left", "failed", "unknown"], "inbox") == [
        "done",
        "failed",
        "unknown",
    ]
    store.finish("left", PREDICTION, "nothing")
    assert inbox(redis) == ["left"]


def test_an_inbox_that_nobody_empties_stays_small(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JobStore(redis)
    redis.rpush("inbox", *range(INBOX_LENGTH))
    store.accept([job()])
    store.watch(["a"], "inbox")
    store.finish("a", PREDICTION, "nothing")
    assert redis.llen("inbox") == INBOX_LENGTH
    assert redis.lindex("inbox", -1) == b"a"


def test_an_inbox_that_is_no_list_keeps_no_result_from_being_written(
    redis: Redis, store: JobStore
) -> None:
    redis.set("inbox", "planted")
    store.accept([job()])
    store.watch(["a"], "inbox")
    assert store.finish("a", PREDICTION, "nothing")
    assert store.unfinished(["a"]) == []
