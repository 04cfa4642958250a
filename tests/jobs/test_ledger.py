"""The ledger's promises, against a real Valkey."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from grounding.errors import ImageMissing
from grounding.jobs.ledger import PREFIX, Job, Lane, Ledger, State, Terms, job_key, lease_key

PREDICTION = {"result": [], "model_version": "v"}


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, Terms(lease_ttl=2, max_pending=3))


def job(key: str = "a", *, lane: Lane = Lane.BULK, project: str = "1") -> Job:
    return Job(key, lane, project, {"id": key})


def expire_lease(redis: Redis, key: str) -> None:
    redis.delete(lease_key(key))


def test_the_same_job_is_entered_once(ledger: Ledger) -> None:
    assert ledger.accept([job(), job(), job("b")]) == [State.NEW, State.PENDING, State.NEW]
    assert set(ledger.pending()) == {"a", "b"}


def test_a_waiting_person_raises_a_bulk_job_to_the_front_lane_once(ledger: Ledger) -> None:
    ledger.accept([job()])
    front = job(lane=Lane.INTERACTIVE)
    assert ledger.accept([front, front, job()]) == [State.RAISED, State.PENDING, State.PENDING]
    assert ledger.lanes(["a"]) == {"a": Lane.INTERACTIVE}


def test_one_project_cannot_fill_the_queue_for_others(ledger: Ledger) -> None:
    own = [job(str(n)) for n in range(4)]
    assert ledger.accept(own)[3] is State.FULL
    assert ledger.accept([job("other", project="2")]) == [State.NEW]
    ledger.finish("0", PREDICTION, "nothing")
    assert ledger.accept([own[3]]) == [State.NEW]
    assert ledger.counters()["refused"] == 1


def test_a_claim_is_exclusive_and_carries_the_payload(ledger: Ledger) -> None:
    ledger.accept([job()])
    claim = ledger.claim("a", "me")
    assert claim is not None
    assert (claim.payload, claim.alone) == ({"id": "a"}, False)
    assert ledger.claim("a", "you") is None
    assert ledger.claim("unknown", "you") is None


def test_the_first_result_wins(ledger: Ledger) -> None:
    ledger.accept([job()])
    ledger.claim("a", "me")
    assert ledger.finish("a", PREDICTION, "nothing")
    assert not ledger.finish("a", {"result": [1]}, "found")
    assert not ledger.bury("a", ImageMissing("gone"))
    assert ledger.outcomes(["a", "unknown"])["a"].prediction == PREDICTION
    assert ledger.unfinished(["a"]) == []


def test_a_dead_job_keeps_its_reason_and_is_asked_afresh_when_that_lapses(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.accept([job()])
    ledger.bury("a", ImageMissing("no such picture", hint="Look again"))
    outcome = ledger.outcomes(["a"])["a"]
    assert (outcome.prediction, outcome.code) == (None, "image_not_found")
    assert outcome.reason == "no such picture. Look again"
    assert ledger.accept([job()]) == [State.DEAD]
    assert 0 < redis.ttl(job_key("a")) <= ledger.terms.dead_ttl
    redis.delete(job_key("a"))
    assert ledger.accept([job()]) == [State.NEW]


def test_a_renewed_lease_outlives_its_term_and_a_silent_one_lapses(ledger: Ledger) -> None:
    ledger.accept([job(), job("b")])
    ledger.claim("a", "me")
    ledger.claim("b", "me")
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        ledger.renew(["a"], "me")
        ledger.renew(["b"], "a stranger, whose word is not heard")
        time.sleep(0.2)
    assert ledger.leased() == {"a": True, "b": False}


def test_a_job_dies_at_its_third_death_alone(redis: Redis, ledger: Ledger) -> None:
    ledger.accept([job()])
    deaths = []
    for _ in range(4):
        claim = ledger.claim("a", "me")
        assert claim is not None
        assert not claim.alone or ledger.start_alone("a", "me")
        expire_lease(redis, "a")
        deaths.append(ledger.lapse("a"))
    assert deaths == [0, 1, 2, 3], "the first may be the fault of a job beside it"


def test_a_job_whose_holder_died_runs_alone_next(redis: Redis, ledger: Ledger) -> None:
    ledger.accept([job()])
    ledger.claim("a", "me")
    expire_lease(redis, "a")
    ledger.lapse("a")
    claim = ledger.claim("a", "you")
    assert claim is not None
    assert claim.alone


def test_a_job_that_waits_to_run_alone_is_not_blamed_for_a_death_meanwhile(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.accept([job()])
    for _ in range(5):
        assert ledger.claim("a", "me") is not None
        expire_lease(redis, "a")
        assert ledger.lapse("a") == 0


def test_a_job_does_not_start_alone_under_a_lost_lease(redis: Redis, ledger: Ledger) -> None:
    ledger.accept([job()])
    ledger.claim("a", "me")
    assert not ledger.start_alone("a", "you")
    expire_lease(redis, "a")
    assert not ledger.start_alone("a", "me")


def test_a_living_lease_does_not_lapse(ledger: Ledger) -> None:
    ledger.accept([job()])
    ledger.claim("a", "me")
    assert ledger.lapse("a") == 0
    assert ledger.claim("a", "you") is None


def test_a_released_job_is_free_at_once_and_blameless(ledger: Ledger) -> None:
    ledger.accept([job()])
    ledger.claim("a", "me")
    ledger.release(["a"], "you")
    assert ledger.claim("a", "you") is None
    ledger.release(["a"], "me")
    claim = ledger.claim("a", "you")
    assert claim is not None
    assert not claim.alone


def test_what_was_accepted_is_done_dead_or_pending(ledger: Ledger) -> None:
    ledger.accept([job(), job("b"), job("c")])
    ledger.finish("a", PREDICTION, "nothing")
    ledger.bury("b", ImageMissing("gone"))
    counted = ledger.counters()
    assert counted["accepted"] == counted["done"] + counted["dead"] + len(ledger.pending())
    assert (counted["done:nothing"], counted["dead:image_not_found"]) == (1, 1)


def test_every_key_of_the_ledger_stands_under_its_prefix(redis: Redis, ledger: Ledger) -> None:
    ledger.accept([job()])
    ledger.claim("a", "me")
    assert all(key.startswith(PREFIX.encode()) for key in redis.scan_iter())


# What a job carries beside its record


def blobs(redis: Redis) -> tuple[int, int]:
    """Return how many there are, and how many bytes the books say they have."""
    return len(list(redis.scan_iter("g:blob:*"))), int(redis.get("g:blob_bytes") or 0)


def with_blob(key: str, text: str) -> Job:
    return Job(key, Lane.BULK, "1", {"id": key}, text)


def test_a_blob_lies_beside_the_record_until_the_job_is_finished(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.accept(
        [with_blob("a", "grün"), with_blob("a", "grün"), with_blob("b", "x" * 9), job("c")]
    )
    assert blobs(redis) == (2, 14)
    assert b"x" not in b"".join(redis.hvals(job_key("b")))
    claim = ledger.claim("a", "me")
    assert claim is not None
    assert claim.blob == "grün".encode()
    ledger.release(["a"], "me")
    assert blobs(redis) == (2, 14)
    ledger.finish("a", PREDICTION, "nothing")
    ledger.bury("b", ImageMissing("gone"))
    ledger.finish("b", PREDICTION, "nothing")
    assert blobs(redis) == (0, 0)


def test_blobs_beyond_the_bound_are_refused_until_others_are_gone(redis: Redis) -> None:
    ledger = Ledger(redis, Terms(max_blob_bytes=10))
    three = [with_blob(key, "x" * 5) for key in "abc"]
    assert ledger.accept(three) == [State.NEW, State.NEW, State.NO_ROOM]
    assert ledger.accept([job("small")]) == [State.NEW]
    assert ledger.counters()["refused"] == 1
    assert set(ledger.pending()) == {"a", "b", "small"}
    ledger.finish("a", PREDICTION, "nothing")
    assert ledger.accept(three[2:]) == [State.NEW]


def test_an_expired_blob_is_told_and_no_room_is_kept_for_it(redis: Redis, ledger: Ledger) -> None:
    ledger.accept([with_blob("a", "x")])
    assert 0 < redis.ttl("g:blob:a") <= ledger.terms.result_ttl
    redis.delete("g:blob:a")
    claim = ledger.claim("a", "me")
    assert claim is not None
    assert claim.blob is None
    ledger.bury("a", ImageMissing("gone"))
    assert blobs(redis) == (0, 0)


# Questions that nobody waits for any more


def question(key: str, patience: float) -> Job:
    return Job(key, Lane.INTERACTIVE, "1", {"id": key}, "x", patience)


def books(ledger: Ledger) -> tuple[int, int, int]:
    """Return what was accepted, what is dead because nobody waits, and what is pending."""
    count = ledger.counters()
    return count["accepted"], count.get("dead:nobody_waits", 0), len(ledger.pending())


def test_a_question_past_its_askers_patience_is_never_handed_out(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.accept([question("a", 0.05), job("b")])
    time.sleep(0.1)
    assert ledger.claim("a", "me") is None
    assert ledger.claim("b", "me") is not None, "bulk is wanted whenever it comes"
    assert books(ledger) == (2, 1, 1)
    assert blobs(redis) == (0, 0)
    assert redis.hget("g:projects", "1") == b"1"
    assert ledger.accept([question("a", 5)]) == [State.NEW], "it may be asked again"
    assert ledger.claim("a", "me") is not None


def test_only_what_nobody_waits_for_is_dropped(redis: Redis, ledger: Ledger) -> None:
    ledger.accept([question("due", 0.05), question("held", 0.05), question("early", 60)])
    ledger.claim("held", "me")
    time.sleep(0.1)
    assert ledger.cancel_unwaited() == 1
    assert set(ledger.pending()) == {"held", "early"}
    assert ledger.finish("held", PREDICTION, "nothing")
    assert redis.zrange("g:waited", 0, -1) == [b"early"]


def test_a_second_asker_prolongs_the_wait(ledger: Ledger) -> None:
    ledger.accept([question("a", 0.05)])
    ledger.accept([question("a", 60)])
    ledger.accept([question("a", 0.05)])
    time.sleep(0.1)
    assert ledger.cancel_unwaited() == 0
    assert ledger.claim("a", "me") is not None


def test_a_question_can_be_withdrawn_unless_it_runs(ledger: Ledger) -> None:
    ledger.accept([question("a", 60), question("b", 60), job("bulk")])
    ledger.claim("b", "me")
    assert ledger.cancel(["a", "b", "bulk", "unknown"]) == 1
    assert set(ledger.pending()) == {"b", "bulk"}
    assert ledger.outcomes(["a"]) == {}


def test_a_question_that_another_asked_as_well_outlives_one_askers_next(ledger: Ledger) -> None:
    ledger.accept([question("a", 60)])
    ledger.accept([question("a", 60)])
    assert ledger.cancel(["a"]) == 0
    assert ledger.claim("a", "me") is not None
    ledger.release(["a"], "me")
    assert ledger.cancel(["a"]) == 1


def test_a_project_s_bulk_leaves_room_for_people(ledger: Ledger) -> None:
    bound = ledger.terms.max_pending
    ledger.accept([job(str(n)) for n in range(bound)])
    assert ledger.accept([job("more")]) == [State.FULL]
    asked = [question(f"asked{n}", 60) for n in range(bound + 1)]
    assert ledger.accept(asked) == [State.NEW] * bound + [State.FULL]


def test_a_question_that_failed_may_soon_be_asked_again(redis: Redis, ledger: Ledger) -> None:
    ledger.accept([question("a", 60), job("b")])
    for key in ("a", "b"):
        claim = ledger.claim(key, "me")
        assert claim is not None
        assert claim.waited is (key == "a")
        ledger.bury(key, ImageMissing("gone"), waited=claim.waited)
    assert 0 < redis.ttl(job_key("a")) <= 10 < redis.ttl(job_key("b"))


def test_a_result_that_is_asked_for_is_kept_anew(redis: Redis, ledger: Ledger) -> None:
    ledger.accept([job()])
    ledger.finish("a", PREDICTION, "nothing")
    redis.expire(job_key("a"), 1)
    assert ledger.accept([job()]) == [State.DONE]
    assert redis.ttl(job_key("a")) > 1


def test_a_postponed_job_waits_in_the_bulk_and_its_suspicions_are_counted(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.accept([job(lane=Lane.INTERACTIVE)])
    counted = []
    for suspect in (True, False, True):
        assert ledger.claim("a", "me") is not None
        counted.append(ledger.postpone("a", "me", suspect=suspect))
    assert counted == [1, 1, 2]
    assert ledger.lanes(["a"]) == {"a": Lane.BULK}
    assert ledger.leased() == {}
    assert ledger.postpone("a", "another", suspect=True) == 0


# Redis's memory


def test_when_memory_runs_short_nothing_new_is_accepted_and_what_is_there_ends(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.accept([job(), job("b")])
    ledger.claim("a", "me")
    used = redis.info("memory")["used_memory"]
    try:
        redis.config_set("maxmemory", int(used * 1.1))
        assert ledger.is_short_of_memory()
        assert ledger.accept([job("new")]) == [State.FULL]
        redis.config_set("maxmemory", 1)  # now even a write is too much for Redis
        assert ledger.finish("a", PREDICTION, "nothing")
        assert ledger.claim("b", "me") is not None
        ledger.release(["b"], "me")
    finally:
        redis.config_set("maxmemory", 0)
    assert not ledger.is_short_of_memory()
    assert ledger.accept([job("new")]) == [State.NEW]


def test_what_keeps_every_new_job_out_is_told(ledger: Ledger) -> None:
    assert ledger.obstacle() == ""
    ledger.accept([job(str(n)) for n in range(3)])
    assert "MAX_PENDING" in ledger.obstacle()
    ledger.accept([job("other", project="2")])
    assert ledger.obstacle() == "", "the other project is served"
