"""Tests of what `/jobs` and the operator's page tell of projects, tasks and failures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import ConnectionPool, Redis

from grounding.errors import ImageMissing
from grounding.jobs.keys import redis_key
from grounding.jobs.operating.overview import describe_job, describe_queue
from grounding.jobs.operating.scripts import PACE_JOBS, PACE_SECONDS
from grounding.jobs.store import Job, JobStore, QueueName, job_key


@pytest.mark.parametrize(
    "changes",
    [{"outcome": "{"}, {"outcome": "[1]"}, {"task": "x"}, {"accepted": "?"}, {"new": "1"}],
    ids=str,
)
def test_a_job_of_another_release_is_described_as_far_as_possible(
    redis: Redis, changes: dict[str, str]
) -> None:
    store = JobStore(redis)
    store.accept([Job("a", QueueName.BULK, "1", {"id": 7})])
    store.fail("a", ImageMissing("gone"))
    redis.hset(job_key("a"), mapping=changes)
    shown = describe_job(store, "a")
    assert shown is not None
    assert (shown["state"], shown["queue"]) == ("failed", "bulk")
    assert json.dumps(shown, allow_nan=False)
    assert [one["job"] for one in describe_queue(store)["failed"]] == ["a"]


def round_trips(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how often `describe_queue` waits for Redis: each command or pipeline once."""
    taken = 0

    def get_connection(pool: ConnectionPool, *args: Any, **options: Any) -> Any:
        nonlocal taken
        taken += 1
        return original(pool, *args, **options)

    original = ConnectionPool.get_connection
    with monkeypatch.context() as patched:
        patched.setattr(ConnectionPool, "get_connection", get_connection)
        describe_queue(JobStore(redis))
    return taken


def test_the_overview_waits_for_redis_as_often_for_many_projects_as_for_one(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JobStore(redis)

    def fill(project: str) -> None:
        for name in ("done", "failed", "held"):
            job = Job(f"{project}{name}", QueueName.BULK, project, {"id": 7})
            store.accept([job], deliver_after=0)
        store.finish(f"{project}done", {"result": []}, "nothing")
        store.fail(f"{project}failed", ImageMissing("gone"))
        store.claim(f"{project}held", "me")

    fill("1")
    describe_queue(store)
    one = round_trips(redis, monkeypatch)
    for project in range(2, 30):
        fill(str(project))
    assert round_trips(redis, monkeypatch) == one
    shown = describe_queue(store)
    assert len(shown["projects"]) == len(shown["failed"]) == 29
    assert {(p["done"], p["running"], p["undelivered"]) for p in shown["projects"]} == {(1, 1, 1)}


def test_a_job_without_most_of_its_fields_is_described(redis: Redis) -> None:
    redis.hset(job_key("a"), "state", "done")
    shown = describe_job(JobStore(redis), "a")
    assert shown is not None
    assert (shown["state"], shown["project"], shown["task"]) == ("done", "", None)


def project(store: JobStore) -> dict[str, Any]:
    (shown,) = describe_queue(store)["projects"]
    return dict(shown)


def ends(store: JobStore, *keys: str) -> None:
    store.accept([Job(key, QueueName.BULK, "1", {"id": 7}) for key in keys])
    for key in keys:
        store.finish(key, {"result": []}, "nothing")


def move_back(redis: Redis, seconds: float) -> None:
    """Pretend that the project's jobs ended so long ago."""
    name = redis_key("finishes", project="1")
    times = [int(one) - int(seconds * 1000) for one in redis.lrange(name, 0, -1)]
    redis.delete(name)
    redis.rpush(name, *times)


def test_the_pace_counts_until_now_and_tells_the_time_left(redis: Redis) -> None:
    store = JobStore(redis)
    ends(store, *(f"a{n}" for n in range(11)))
    store.accept([Job(f"b{n}", QueueName.BULK, "1", {"id": n}) for n in range(30)])
    move_back(redis, 20)
    shown = project(store)
    assert shown["rate"] == pytest.approx(0.5, rel=0.1), "a standstill counts as time, too"
    assert shown["seconds_left"] == pytest.approx(60, rel=0.1)


def test_no_pace_is_told_without_two_ends_or_without_work(redis: Redis) -> None:
    store = JobStore(redis)
    ends(store, "a")
    store.accept([Job("b", QueueName.BULK, "1", {"id": 1})])
    assert (project(store)["rate"], project(store)["seconds_left"]) == (None, None)
    store.finish("b", {"result": []}, "nothing")
    assert project(store)["rate"] is None


def test_what_is_kept_for_the_pace_is_bounded(redis: Redis) -> None:
    store = JobStore(redis)
    ends(store, *(f"a{n}" for n in range(PACE_JOBS + 20)))
    name = redis_key("finishes", project="1")
    assert redis.llen(name) == PACE_JOBS
    assert 0 < redis.ttl(name) <= PACE_SECONDS


@pytest.mark.parametrize(("pause", "run"), [(10, (7, 9)), (130, (3, 5))], ids=str)
def test_progress_counts_a_run_from_the_last_long_pause(
    redis: Redis, pause: float, run: tuple[int, int]
) -> None:
    store = JobStore(redis)
    ends(store, *(f"a{n}" for n in range(4)))
    move_back(redis, pause)
    store.accept([Job(f"b{n}", QueueName.BULK, "1", {"id": n}) for n in range(5)])
    for n in range(2):
        store.finish(f"b{n}", {"result": []}, "nothing")
    store.fail("b2", ImageMissing("gone"))
    shown = project(store)["run"]
    assert (shown["ended"], shown["of"]) == run
