"""The job store's promises, against a real Valkey."""

from __future__ import annotations

import time

from redis import Redis

from grounding.errors import ImageMissing
from grounding.jobs.keys import redis_key
from grounding.jobs.store import (
    DEADLINES,
    PREFIX,
    Job,
    JobStore,
    QueueName,
    State,
    StoreLimits,
    job_key,
    lease_key,
)
from tests.jobs.contents import blob_bytes, pending_keys

PREDICTION = {"result": [], "model_version": "v"}


def job(key: str = "a", *, queue: QueueName = QueueName.BULK, project: str = "1") -> Job:
    return Job(key, queue, project, {"id": key})


def expire_lease(redis: Redis, key: str) -> None:
    redis.delete(lease_key(key))


def blob_key(key: str) -> str:
    return redis_key("blob", key=key)


def queue_of(store: JobStore, key: str) -> str:
    return str(store.redis.hget(job_key(key), "queue").decode())  # type: ignore[union-attr]


def test_the_same_job_is_entered_once(store: JobStore) -> None:
    assert store.accept([job(), job(), job("b")]) == [State.NEW, State.PENDING, State.NEW]
    assert pending_keys(store) == {"a", "b"}


def test_a_waiting_person_raises_a_bulk_job_to_the_interactive_queue_once(store: JobStore) -> None:
    store.accept([job()])
    front = job(queue=QueueName.INTERACTIVE)
    assert store.accept([front, front, job()]) == [State.RAISED, State.PENDING, State.PENDING]
    assert queue_of(store, "a") == QueueName.INTERACTIVE


def test_one_project_cannot_fill_the_queue_for_others(store: JobStore) -> None:
    own = [job(str(n)) for n in range(4)]
    assert store.accept(own)[3] is State.FULL
    assert store.accept([job("other", project="2")]) == [State.NEW]
    store.finish("0", PREDICTION, "nothing")
    assert store.accept([own[3]]) == [State.NEW]
    assert store.read_totals()[0]["refused"] == 1


def test_a_claim_is_exclusive_and_carries_the_payload(store: JobStore) -> None:
    store.accept([job()])
    claim = store.claim("a", "me")
    assert claim is not None
    assert (claim.payload, claim.alone) == ({"id": "a"}, False)
    assert store.claim("a", "you") is None
    assert store.claim("unknown", "you") is None


def test_the_first_result_wins(store: JobStore) -> None:
    store.accept([job()])
    store.claim("a", "me")
    assert store.finish("a", PREDICTION, "nothing")
    assert not store.finish("a", {"result": [1]}, "found")
    assert not store.fail("a", ImageMissing("gone"))
    assert store.outcomes(["a", "unknown"])["a"].prediction == PREDICTION
    assert store.unfinished(["a"]) == []


def test_a_failed_job_keeps_its_reason_and_is_asked_afresh_when_that_expires(
    redis: Redis, store: JobStore
) -> None:
    store.accept([job()])
    store.fail("a", ImageMissing("no such picture", hint="Look again"))
    outcome = store.outcomes(["a"])["a"]
    assert (outcome.prediction, outcome.code) == (None, "image_not_found")
    assert outcome.reason == "no such picture. Look again"
    assert store.accept([job()]) == [State.FAILED]
    assert 0 < redis.ttl(job_key("a")) <= store.limits.failed_ttl
    redis.delete(job_key("a"))
    assert store.accept([job()]) == [State.NEW]


def test_a_renewed_lease_outlives_its_term_and_a_silent_one_expires(store: JobStore) -> None:
    store.accept([job(), job("b")])
    store.claim("a", "me")
    store.claim("b", "me")
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        store.renew(["a"], "me")
        store.renew(["b"], "another worker, who does not hold it")
        time.sleep(0.2)
    assert store.leased() == {"a": True, "b": False}


def test_deaths_count_only_of_a_job_that_runs_alone(redis: Redis, store: JobStore) -> None:
    store.accept([job()])
    deaths = []
    for _ in range(4):
        claim = store.claim("a", "me")
        assert claim is not None
        assert not claim.alone or store.start_alone("a", "me")
        expire_lease(redis, "a")
        deaths.append(store.expire("a"))
    assert deaths == [0, 1, 2, 3], "the first may be the fault of a job beside it"


def test_a_job_whose_holder_died_runs_alone_next(redis: Redis, store: JobStore) -> None:
    store.accept([job()])
    store.claim("a", "me")
    expire_lease(redis, "a")
    store.expire("a")
    claim = store.claim("a", "you")
    assert claim is not None
    assert claim.alone


def test_a_job_that_waits_to_run_alone_is_not_blamed_for_a_death_meanwhile(
    redis: Redis, store: JobStore
) -> None:
    store.accept([job()])
    for _ in range(5):
        assert store.claim("a", "me") is not None
        expire_lease(redis, "a")
        assert store.expire("a") == 0


def test_a_job_does_not_start_alone_under_a_lost_lease(redis: Redis, store: JobStore) -> None:
    store.accept([job()])
    store.claim("a", "me")
    assert not store.start_alone("a", "you")
    expire_lease(redis, "a")
    assert not store.start_alone("a", "me")


def test_a_living_lease_does_not_expire(store: JobStore) -> None:
    store.accept([job()])
    store.claim("a", "me")
    assert store.expire("a") == 0
    assert store.claim("a", "you") is None


def test_a_released_job_is_free_at_once_and_not_blamed(store: JobStore) -> None:
    store.accept([job()])
    store.claim("a", "me")
    store.release(["a"], "you")
    assert store.claim("a", "you") is None
    store.release(["a"], "me")
    claim = store.claim("a", "you")
    assert claim is not None
    assert not claim.alone


def test_what_was_accepted_is_done_failed_or_pending(store: JobStore) -> None:
    store.accept([job(), job("b"), job("c")])
    store.finish("a", PREDICTION, "nothing")
    store.fail("b", ImageMissing("gone"))
    counted = store.read_totals()[0]
    assert counted["accepted"] == counted["done"] + counted["failed"] + len(pending_keys(store))
    assert (counted["done:nothing"], counted["failed:image_not_found"]) == (1, 1)


def test_every_key_of_the_store_has_its_prefix(redis: Redis, store: JobStore) -> None:
    store.accept([job()])
    store.claim("a", "me")
    assert all(key.startswith(PREFIX.encode()) for key in redis.scan_iter())


# What a job carries beside its record


def blobs(redis: Redis) -> tuple[int, int]:
    """Return how many there are, and how many bytes the store says they have."""
    return len(list(redis.scan_iter(blob_key("*")))), blob_bytes(redis)


def with_blob(key: str, text: str) -> Job:
    return Job(key, QueueName.BULK, "1", {"id": key}, text.encode())


def test_a_blob_lies_beside_the_record_until_the_job_is_finished(
    redis: Redis, store: JobStore
) -> None:
    store.accept(
        [with_blob("a", "grün"), with_blob("a", "grün"), with_blob("b", "x" * 9), job("c")]
    )
    assert blobs(redis) == (2, 14)
    assert b"x" not in b"".join(redis.hvals(job_key("b")))
    claim = store.claim("a", "me")
    assert claim is not None
    assert claim.blob == "grün".encode()
    store.release(["a"], "me")
    assert blobs(redis) == (2, 14)
    store.finish("a", PREDICTION, "nothing")
    store.fail("b", ImageMissing("gone"))
    store.finish("b", PREDICTION, "nothing")
    assert blobs(redis) == (0, 0)


def test_blobs_beyond_the_bound_are_refused_until_others_are_gone(redis: Redis) -> None:
    store = JobStore(redis, StoreLimits(max_blob_bytes=10))
    three = [with_blob(key, "x" * 5) for key in "abc"]
    assert store.accept(three) == [State.NEW, State.NEW, State.NO_ROOM]
    assert store.accept([job("small")]) == [State.NEW]
    assert store.read_totals()[0]["refused"] == 1
    assert pending_keys(store) == {"a", "b", "small"}
    store.finish("a", PREDICTION, "nothing")
    assert store.accept(three[2:]) == [State.NEW]


def test_an_expired_blob_is_missing_in_the_claim_and_takes_no_room(
    redis: Redis, store: JobStore
) -> None:
    store.accept([with_blob("a", "x")])
    assert 0 < redis.ttl(blob_key("a")) <= store.limits.result_ttl
    redis.delete(blob_key("a"))
    claim = store.claim("a", "me")
    assert claim is not None
    assert claim.blob is None
    store.fail("a", ImageMissing("gone"))
    assert blobs(redis) == (0, 0)


# Interactive jobs that nobody waits for any more


def interactive_job(key: str, timeout: float, asker: str = "") -> Job:
    return Job(key, QueueName.INTERACTIVE, "1", {"id": key}, "x", timeout, asker=asker)


def books(store: JobStore) -> tuple[int, int, int]:
    """Return what was accepted, what failed because nobody waits, and what is pending."""
    count = store.read_totals()[0]
    return count["accepted"], count.get("failed:nobody_waits", 0), len(pending_keys(store))


def test_an_interactive_job_past_its_timeout_is_never_claimed(
    redis: Redis, store: JobStore
) -> None:
    store.accept([interactive_job("a", 0.05), job("b")])
    time.sleep(0.1)
    assert store.claim("a", "me") is None
    assert store.claim("b", "me") is not None, "bulk is wanted whenever it comes"
    assert books(store) == (2, 1, 1)
    assert blobs(redis) == (0, 0)
    assert store.unfinished_by_project() == {"1": 1}
    assert store.accept([interactive_job("a", 5)]) == [State.NEW], "it may be asked again"
    assert store.claim("a", "me") is not None


def test_only_what_nobody_waits_for_is_dropped(redis: Redis, store: JobStore) -> None:
    store.accept([interactive_job(key, 60) for key in ("due", "held", "early")])
    assert store.claim("held", "me") is not None
    redis.zadd(DEADLINES, {"due": 1, "held": 1})
    assert store.cancel_unwaited() == 1
    assert pending_keys(store) == {"held", "early"}
    assert store.finish("held", PREDICTION, "nothing")
    assert redis.zrange(DEADLINES, 0, -1) == [b"early"]


def test_a_second_asker_prolongs_the_wait(store: JobStore) -> None:
    store.accept([interactive_job("a", 0.05)])
    store.accept([interactive_job("a", 60)])
    store.accept([interactive_job("a", 0.05)])
    time.sleep(0.1)
    assert store.cancel_unwaited() == 0
    assert store.claim("a", "me") is not None


def test_an_interactive_job_can_be_withdrawn_though_it_runs(store: JobStore) -> None:
    store.accept([interactive_job("a", 60), interactive_job("b", 60), job("bulk")])
    store.claim("b", "me")
    assert store.cancel(["a", "b", "bulk", "unknown"]) == 2
    assert pending_keys(store) == {"bulk"}
    assert store.leased() == {}
    assert not store.is_known("b")
    assert not store.finish("b", PREDICTION, "nothing"), "its worker has nothing to write"
    assert store.outcomes(["a", "b"]) == {}
    assert books(store) == (3, 2, 1)


def test_a_job_stays_while_one_of_an_annotator_s_two_requests_waits(store: JobStore) -> None:
    """A page that is opened anew may ask before it is seen that the one before was closed."""
    store.accept([interactive_job("a", 60, "ann"), interactive_job("b", 60, "ann")])
    store.accept([interactive_job("a", 60, "ann")])
    assert store.cancel(["a", "b"], "ann", one=True) == 1
    assert pending_keys(store) == {"a"}
    assert store.cancel(["a"], "bob", one=True) == 0, "who never asked has nothing to withdraw"
    assert store.cancel(["a"], "ann", one=True) == 1


def test_a_job_that_another_annotator_asked_as_well_stays(store: JobStore) -> None:
    store.accept([interactive_job("a", 60)])
    store.accept([interactive_job("a", 60)])
    assert store.cancel(["a"]) == 0
    assert store.claim("a", "me") is not None
    store.release(["a"], "me")
    assert store.cancel(["a"]) == 1


def test_an_annotator_who_asks_the_same_twice_is_one_asker(store: JobStore) -> None:
    store.accept([interactive_job("a", 60, "ann")])
    store.accept([interactive_job("a", 60, "ann")])
    assert store.cancel(["a"], "bob") == 0, "who did not ask withdraws nothing"
    assert store.cancel(["a"], "ann") == 1


def test_each_of_two_annotators_is_an_asker_however_often_one_asks_and_withdraws(
    store: JobStore,
) -> None:
    for asker in ("ann", "bob", "ann"):
        store.accept([interactive_job("a", 60, asker)])
    assert store.cancel(["a"], "ann") == 0
    assert store.cancel(["a"], "ann") == 0, "she has withdrawn already"
    store.accept([interactive_job("a", 60, "ann")])
    assert store.cancel(["a"], "bob") == 0
    assert store.cancel(["a"], "ann") == 1


def test_who_withdraws_while_a_worker_holds_the_job_has_withdrawn(store: JobStore) -> None:
    for asker in ("ann", "bob"):
        store.accept([interactive_job("a", 60, asker)])
    store.claim("a", "me")
    assert store.cancel(["a"], "ann") == 0
    store.release(["a"], "me")
    assert store.cancel(["a"], "bob") == 1


def test_an_asker_without_a_name_stays_until_the_deadline(store: JobStore) -> None:
    for asker in ("", "ann"):
        store.accept([interactive_job("a", 60, asker)])
    assert store.cancel(["a"], "ann") == 0
    assert pending_keys(store) == {"a"}


def test_withdrawing_what_is_gone_leaves_no_record(redis: Redis, store: JobStore) -> None:
    redis.zadd(DEADLINES, {"a": 1})
    assert store.cancel(["a"], "ann") + store.cancel(["a"]) == 0
    assert not redis.exists(job_key("a"))


def test_a_project_s_bulk_leaves_room_for_people(store: JobStore) -> None:
    bound = store.limits.max_pending
    store.accept([job(str(n)) for n in range(bound)])
    assert store.accept([job("more")]) == [State.FULL]
    asked = [interactive_job(f"asked{n}", 60) for n in range(bound + 1)]
    assert store.accept(asked) == [State.NEW] * bound + [State.FULL]


def test_an_interactive_job_that_failed_may_soon_be_asked_again(
    redis: Redis, store: JobStore
) -> None:
    store.accept([interactive_job("a", 60), job("b")])
    for key in ("a", "b"):
        claim = store.claim(key, "me")
        assert claim is not None
        assert claim.waited is (key == "a")
        store.fail(key, ImageMissing("gone"))
    assert 0 < redis.ttl(job_key("a")) <= 10 < redis.ttl(job_key("b"))


def test_a_result_that_is_asked_for_is_kept_anew(redis: Redis, store: JobStore) -> None:
    store.accept([job()])
    store.finish("a", PREDICTION, "nothing")
    redis.expire(job_key("a"), 1)
    assert store.accept([job()]) == [State.DONE]
    assert redis.ttl(job_key("a")) > 1


def test_a_postponed_job_goes_to_the_bulk_and_counts_as_suspect(
    redis: Redis, store: JobStore
) -> None:
    store.accept([job(queue=QueueName.INTERACTIVE)])
    counted = []
    for suspect in (True, False, True):
        assert store.claim("a", "me") is not None
        counted.append(store.postpone("a", "me", suspect=suspect))
    assert counted == [1, 1, 2]
    assert queue_of(store, "a") == QueueName.BULK
    assert store.leased() == {}
    assert store.postpone("a", "another", suspect=True) == 0


# Redis's memory


def test_when_memory_runs_short_nothing_new_is_accepted_and_what_is_there_ends(
    redis: Redis, store: JobStore
) -> None:
    store.accept([job(), job("b")])
    store.claim("a", "me")
    used = redis.info("memory")["used_memory"]
    try:
        redis.config_set("maxmemory", int(used * 1.1))
        assert store.is_short_of_memory()
        assert store.accept([job("new")]) == [State.FULL]
        redis.config_set("maxmemory", 1)  # now even a write is too much for Redis
        assert store.finish("a", PREDICTION, "nothing")
        assert store.claim("b", "me") is not None
        store.release(["b"], "me")
    finally:
        redis.config_set("maxmemory", 0)
    assert not store.is_short_of_memory()
    assert store.accept([job("new")]) == [State.NEW]


def test_the_obstacle_to_every_new_job_is_named(store: JobStore) -> None:
    assert store.obstacle() == ""
    store.accept([job(str(n)) for n in range(3)])
    assert "GROUNDING_MAX_PENDING" in store.obstacle()
    store.accept([job("other", project="2")])
    assert store.obstacle() == "", "the other project is served"
