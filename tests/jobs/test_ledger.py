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
