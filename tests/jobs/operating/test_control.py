"""Tests of what an operator does to a project: dropping what waits, asking failed tasks again."""

from __future__ import annotations

from redis import Redis

from grounding.errors import ImageMissing
from grounding.jobs.operating.control import ProjectControl
from grounding.jobs.operating.overview import describe_queue
from grounding.jobs.operating.scripts import MAX_FAILURES
from grounding.jobs.reconciler import Reconciler
from grounding.jobs.store import (
    MAX_DEATHS,
    SEEN_SECONDS,
    Job,
    JobStore,
    QueueName,
    State,
    job_key,
    lease_key,
)

CONFIG = "<View/>"


def job(key: str, task: int | None = 7, project: str = "1", **more: object) -> Job:
    payload = {"id": task, "data": {"image": "a.png"}, "label_config": None}
    return Job(key, QueueName.BULK, project, payload, config=CONFIG, **more)  # type: ignore[arg-type]


def fail(store: JobStore, one: Job, *, deliver: bool = False) -> None:
    store.accept([one], deliver_after=0 if deliver else None)
    assert store.fail(one.key, ImageMissing("gone"))


def consistent(store: JobStore) -> dict[str, int]:
    """Return the counters, after the check that every accepted job is accounted for."""
    count, pending = store.read_totals()
    assert count["accepted"] == count.get("done", 0) + count.get("failed", 0) + pending
    return count


def test_what_waits_is_dropped_and_what_is_held_or_waited_for_or_another_s_is_not(
    redis: Redis,
) -> None:
    store = JobStore(redis)
    kept = [job("held"), job("other", project="2"), job("done")]
    urgent = Job("urgent", QueueName.INTERACTIVE, "1", {"id": 1}, timeout=60)
    store.accept([*kept, urgent, *(job(f"waits{n}", n) for n in range(1200))], deliver_after=0)
    store.claim("held", "me")
    store.finish("done", {"result": []}, "nothing")
    assert ProjectControl(redis, "1").drop_pending() == 1200
    assert sorted(store.unfinished(["held", "other", "urgent"])) == ["held", "other", "urgent"]
    assert consistent(store)["failed:cancelled"] == 1200
    undelivered = {one["project"]: one["undelivered"] for one in describe_queue(store)["projects"]}
    assert undelivered == {"1": 1, "2": 0}, "what is done is delivered"
    assert store.claim("waits3", "me") is None
    assert redis.zcard("grounding:2:undelivered:1") == 3, "what is held, waited for or done"
    assert ProjectControl(redis, "1").drop_pending() == 0
    assert store.accept([job("waits3", 3)]) == [State.NEW], "it may be asked again at once"


def test_a_dropped_job_wakes_whoever_waits_for_it(redis: Redis) -> None:
    store = JobStore(redis)
    store.accept([job("a")])
    store.watch(["a"], "inbox")
    ProjectControl(redis, "1").drop_pending()
    assert redis.lrange("inbox", 0, -1) == [b"a"]


def test_a_failed_task_is_kept_with_all_that_asking_again_takes(redis: Redis) -> None:
    store = JobStore(redis)
    fail(store, job("a", 7), deliver=True)
    fail(store, job("b", None))
    whole, nameless = ProjectControl(redis, "1").failed()
    assert (whole.task, whole.key, whole.config, whole.delivers) == ("7", "a", CONFIG, True)
    assert whole.payload == job("a").payload
    assert whole.is_whole
    assert (nameless.task, nameless.delivers) == ("b", False)


def test_a_failure_outlives_the_time_in_which_it_is_not_tried_again(redis: Redis) -> None:
    store = JobStore(redis)
    fail(store, job("a"))
    assert redis.ttl(job_key("a")) <= store.limits.failed_ttl
    for key in (b"grounding:2:failure:1:7", b"grounding:2:failures:1"):
        assert store.limits.failed_ttl < redis.ttl(key) <= store.limits.result_ttl
    redis.delete(job_key("a"))
    assert [one["code"] for one in describe_queue(store)["failed"]] == ["image_not_found"]


def test_an_annotator_s_question_that_kills_workers_is_not_asked_again_as_bulk(
    redis: Redis,
) -> None:
    """Though nobody but the reconciler knows of the last death."""
    store = JobStore(redis)
    asked = {**job("a").payload, "context": {"result": [{"value": {"text": ["cat"]}}]}}
    store.accept([Job("a", QueueName.INTERACTIVE, "1", asked, config=CONFIG, timeout=60)])
    for _ in range(MAX_DEATHS):
        assert store.claim("a", "me") is not None
        assert store.start_alone("a", "me")
        redis.delete(lease_key("a"))
        Reconciler(redis, store).reconcile()
    assert store.outcomes(["a"])["a"].code == "worker_died"
    assert 0 < redis.ttl(job_key("a")) <= SEEN_SECONDS, "they may soon ask again"
    assert describe_queue(store)["failed"] == []
    assert ProjectControl(redis, "1").failed() == []
    fail(store, Job("b", QueueName.BULK, "1", asked, config=CONFIG))
    (of_another_release,) = ProjectControl(redis, "1").failed()
    assert not of_another_release.is_whole


def test_a_failure_goes_when_its_task_is_answered_under_whatever_key(redis: Redis) -> None:
    store = JobStore(redis)
    fail(store, job("a", 7))
    fail(store, job("b", 8))
    store.accept([job("changed", 7)])
    store.finish("changed", {"result": []}, "nothing")
    assert [one["task"] for one in describe_queue(store)["failed"]] == [8]
    assert not redis.exists("grounding:2:failure:1:7")


def test_a_task_that_fails_again_is_one_failure_with_the_latest_reason(redis: Redis) -> None:
    store = JobStore(redis)
    fail(store, job("a"))
    fail(store, job("b"))
    (shown,) = describe_queue(store)["failed"]
    assert (shown["job"], shown["task"]) == ("b", 7)


def test_failures_of_a_project_are_bounded_and_the_oldest_go(redis: Redis) -> None:
    store = JobStore(redis)
    for number in range(MAX_FAILURES + 5):
        fail(store, job(f"j{number}", number))
    kept = ProjectControl(redis, "1").failed()
    assert len(kept) == MAX_FAILURES
    assert "0" not in {one.task for one in kept}
    assert not redis.exists("grounding:2:failure:1:0")
    assert len(describe_queue(store)["failed"]) == 100


def test_a_payload_that_is_too_long_or_lies_in_the_task_is_not_kept(redis: Redis) -> None:
    store = JobStore(redis)
    long = Job("long", QueueName.BULK, "1", {"id": 1, "data": {"x": "y" * 20_000}}, config=CONFIG)
    apart = Job("apart", QueueName.BULK, "1", {"id": 2, "data": None}, "data", config=CONFIG)
    fail(store, long)
    fail(store, apart)
    assert [one.is_whole for one in ProjectControl(redis, "1").failed()] == [False, False]
    assert len(describe_queue(store)["failed"]) == 2, "they are shown all the same"


def test_a_reopened_job_is_accepted_afresh_and_forgotten_when_told(redis: Redis) -> None:
    store, control = JobStore(redis), ProjectControl(redis, "1")
    fail(store, job("a"))
    assert store.accept([job("a")]) == [State.FAILED]
    store.accept([job("running", 9)])
    control.reopen(["a", "running", "unknown"])
    assert store.accept([job("a")]) == [State.NEW]
    assert store.unfinished(["running"]) == ["running"], "only a failure is reopened"
    control.forget(["7"])
    assert control.failed() == []
    consistent(store)
