"""Delivery's promises, against a real Valkey and a loopback Label Studio that keeps the rules."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from redis import Redis

from grounding.errors import ImageMissing
from grounding.jobs.metrics import describe_job, describe_queue, render_metrics
from grounding.jobs.outbox.delivery import LOCK, LOCK_SECONDS, Delivery
from grounding.jobs.outbox.outbox import LOST_MS, PUSHED_MS, DeliveryResult, Outbox
from grounding.jobs.scripts import ANSWERED_MS, HOLD_MS
from grounding.jobs.store import OWED, Job, QueueName, job_key
from grounding.labelstudio.client.api import Api
from grounding.labelstudio.client.importing import Importer
from tests.faults.label_studio import TOKEN, Mood
from tests.jobs.house import NUMBER, PROJECT, House, prediction


def test_what_is_late_is_pushed_once_as_it_was_answered(house: House) -> None:
    house.owe(1, 2)
    assert house.delivery.deliver() == 2
    assert house.delivery.deliver() == 0
    assert sorted(house.studio.stored, key=lambda pair: pair[0]) == [
        (1, prediction(1)),
        (2, prediction(2)),
    ]
    assert house.outcomes() == {"pushed": 2}


def test_nothing_found_is_pushed_too(house: House) -> None:
    house.owe(1, result=[])
    house.delivery.deliver()
    assert house.studio.stored[0][1]["result"] == []


def test_what_a_request_may_still_answer_is_not_pushed(house: House) -> None:
    (key,) = house.accept(1, wait=30)
    house.store.finish(key, prediction(1), "found")
    house.accept(2, wait=0)
    assert house.delivery.deliver() == 0
    assert house.answered([key]) == [key]


def test_what_was_answered_is_not_pushed(house: House) -> None:
    keys = house.owe(1, 2)
    house.entries.mark_delivered(house.answered(keys), PROJECT, DeliveryResult.ANSWERED)
    house.later()
    assert house.delivery.deliver() == 0
    assert house.outcomes() == {"answered": 2}


@pytest.mark.parametrize(
    ("project", "task", "wait"), [(PROJECT, 1, None), (PROJECT, None, 0.0), ("", 1, 0.0)]
)
def test_what_cannot_be_stored_is_not_owed(
    house: House, project: str, task: int | None, wait: float | None
) -> None:
    house.store.accept([Job("a", QueueName.INTERACTIVE, project, {"id": task})], wait=wait)
    house.store.finish("a", prediction(1), "found")
    assert house.delivery.deliver() == 0
    assert house.redis.keys(OWED + "*") == []


def test_the_dead_owe_nothing(house: House) -> None:
    (key,) = house.accept(1)
    house.store.fail(key, ImageMissing("gone"))
    assert house.redis.zcard(OWED + PROJECT) == 0
    house.accept(1)
    assert house.redis.zcard(OWED + PROJECT) == 0


def test_a_death_forgives_no_debt_of_the_projects_other_jobs(house: House) -> None:
    (old,) = house.owe(1)
    kept = house.store.terms.failed_ttl * 1000
    house.redis.zincrby(OWED + PROJECT, -2 * kept, old)
    (dead,) = house.accept(2)
    house.store.fail(dead, ImageMissing("gone"))
    assert house.redis.zscore(OWED + PROJECT, old) is not None


def test_a_deleted_task_among_a_hundred_costs_only_itself(house: House) -> None:
    house.owe(*range(100))
    house.studio.tasks[NUMBER].discard(61)
    house.delivery.deliver()
    assert house.studio.counts() == {n: 1 for n in range(100) if n != 61}
    assert house.outcomes() == {"pushed": 99, "refused": 1}
    assert len(house.studio.imports) <= 15, "it is searched for by halves"


def test_what_is_dropped_under_a_201_is_counted_and_costs_no_other(house: House) -> None:
    house.owe(1, 2, 3)
    house.owe(4, **prediction(4, "no such control"))
    house.delivery.deliver()
    assert house.studio.counts() == {1: 1, 2: 1, 3: 1}
    assert house.outcomes() == {"found": 3, "refused": 1}
    assert house.delivery.deliver() == 0


@pytest.mark.parametrize("mood", [Mood.SAVES_AND_HANGS_UP, Mood.SAVES_AND_FAILS])
def test_an_unclear_push_that_was_saved_is_not_repeated(house: House, mood: Mood) -> None:
    house.owe(1, 2)
    house.studio.mood = mood
    assert house.delivery.deliver() == 0
    house.studio.mood = Mood.WELL
    assert house.delivery.deliver() == 0, "it gives Label Studio a while to save"
    house.later()
    house.delivery.deliver()
    assert house.studio.counts() == {1: 1, 2: 1}
    assert house.outcomes() == {"found": 2}


def test_an_unclear_push_that_was_not_saved_is_repeated(house: House) -> None:
    house.owe(1, 2)
    house.studio.mood = Mood.FAILS
    house.delivery.deliver()
    assert "503" in house.project()["undelivered_reason"]
    house.studio.mood = Mood.WELL
    house.later()
    house.delivery.deliver()
    assert house.studio.counts() == {1: 1, 2: 1}
    assert house.project()["undelivered_reason"] == ""


def test_predictions_that_label_studio_fails_at_are_soon_alone_and_keep_no_other_waiting(
    house: House,
) -> None:
    house.owe(*range(200))
    house.studio.chokes = {61, 117}
    for _ in range(30):
        house.delivery.deliver()
        house.pass_time(LOST_MS)
    assert house.studio.counts() == {n: 1 for n in range(200) if n not in (61, 117)}
    assert house.project()["undelivered"] == 2
    house.studio.chokes = set()
    for _ in range(2):
        house.delivery.deliver()
        house.pass_time(LOST_MS)
    assert set(house.studio.counts().values()) == {1}
    assert house.outcomes() == {"pushed": 200}


def test_a_push_that_may_still_be_on_its_way_is_not_repeated(house: House) -> None:
    """A proxy gave up waiting for Label Studio, which did not give up saving."""
    house.owe(1, 2)
    house.studio.mood = Mood.SAVES_LATE
    house.delivery.deliver()
    house.studio.mood = Mood.WELL
    for _ in range(3):
        house.pass_time(LOST_MS)
        assert house.delivery.deliver() == 0
    house.studio.commit()
    house.pass_time(HOLD_MS)
    house.delivery.deliver()
    assert house.studio.counts() == {1: 1, 2: 1}


def test_a_task_whose_predictions_cannot_be_listed_keeps_no_other_waiting(house: House) -> None:
    house.owe(*range(5))
    house.studio.mood = Mood.FAILS
    house.delivery.deliver()
    house.studio.mood, house.studio.unlisted = Mood.WELL, {0}
    for _ in range(10):
        house.pass_time(LOST_MS)
        house.delivery.deliver()
    assert house.studio.counts() == {n: 1 for n in range(1, 5)}
    house.studio.unlisted = set()
    house.pass_time(LOST_MS)
    house.delivery.deliver()
    assert house.studio.counts() == {n: 1 for n in range(5)}


def test_a_stale_lock_holds_no_delivery_up(house: House) -> None:
    """F12, F24: its holder is gone, or Redis's clock was set back."""
    house.redis.set(LOCK, "a process that died", px=899_000)
    house.owe(1)
    house.delivery.start()
    limit = time.monotonic() + LOCK_SECONDS + 5
    while not house.studio.counts() and time.monotonic() < limit:
        time.sleep(0.1)
    house.delivery.stop()
    assert house.studio.counts() == {1: 1}


def test_what_redis_forgot_since_it_was_seen_stays_forgotten(house: House) -> None:
    (key,) = house.owe(1)
    due = house.entries.due(PROJECT, 10)
    house.redis.delete(job_key(key))
    assert house.entries.hold(due) == []
    assert not house.redis.exists(job_key(key))


@pytest.mark.parametrize(("to", "answered"), [("BULK", True), ("PAGE", False)])
def test_what_label_studio_may_still_be_saving_is_not_answered_to_another_request(
    house: House, to: str, answered: bool
) -> None:
    """It saves a run's answer as a whole, and a page that is opened meanwhile sees nothing of it.

    The page's question is owed all the same, until it was looked for.
    """
    keys = house.owe(1)
    house.entries.mark_delivered(house.answered(keys), PROJECT, DeliveryResult.ANSWERED)
    house.accept(1)
    assert bool(house.answered(keys, to=to)) is answered
    house.pass_time(ANSWERED_MS // 2)
    assert house.delivery.deliver() == 0
    house.later()
    house.delivery.deliver()
    assert house.studio.counts() == {1: 1}


def test_a_hold_from_before_redis_clock_was_set_back_closes_nothing_to_be_owed(
    house: House,
) -> None:
    (key,) = house.owe(1)
    house.delivery.deliver()
    house.studio.forget(1)
    house.redis.hset(job_key(key), "closed", int(time.time() * 1000) + 3_600_000)
    house.accept(1)
    assert house.project()["undelivered"] == 1


def test_a_process_that_dies_between_push_and_paying_leaves_no_double(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = house.owe(1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "mark_delivered", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            house.delivery.deliver()
    assert house.delivery.deliver() == 0, "held for the one that may still push"
    assert house.answered(keys) == []
    house.later()
    house.delivery.deliver()
    assert house.studio.counts() == {1: 1, 2: 1}


def test_a_process_that_dies_before_the_push_loses_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.owe(1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(Importer, "send", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            house.delivery.deliver()
    house.later()
    house.delivery.deliver()
    assert house.studio.counts() == {1: 1, 2: 1}


@pytest.mark.parametrize("arrived", [True, False])
def test_an_answer_that_may_have_been_lost_is_looked_for(house: House, arrived: bool) -> None:
    (key,) = house.owe(1)
    assert house.answered([key]) == [key]
    assert house.delivery.deliver() == 0, "Label Studio takes its time to save"
    if arrived:
        house.studio.save(1, prediction(1))
    house.later()
    house.delivery.deliver()
    assert house.studio.counts() == {1: 1}
    assert house.outcomes() == {"found" if arrived else "pushed": 1}


def test_what_was_just_pushed_is_not_answered_too(house: House) -> None:
    keys = house.owe(1)
    house.delivery.deliver()
    house.accept(1)
    assert house.answered(keys) == []
    assert house.delivery.deliver() == 0, "asking crossed the push: it is not owed again"


def test_what_was_pushed_while_its_request_waited_is_not_answered_too(
    house: House, redis: Redis
) -> None:
    """Label Studio asked before the push, however long ago that is by now."""
    (key,) = house.owe(1)
    house.delivery.deliver()
    redis.hincrby(job_key(key), "closed", -PUSHED_MS - 1000)
    assert house.answered([key], asked=60) == []
    assert house.answered([key], asked=0.5) == [key]


def test_what_label_studio_lacks_again_is_answered_and_owed_again(house: House) -> None:
    """Someone deleted the prediction."""
    keys = house.owe(1)
    house.delivery.deliver()
    house.later()
    house.studio.forget(1)
    house.accept(1)
    assert house.project()["undelivered"] == 1
    assert house.answered(keys) == keys


def test_what_was_answered_since_it_was_seen_is_not_pushed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = house.owe(1, 2)

    def asked_meanwhile(entries: Outbox, project: str, limit: int) -> list[Any]:
        seen = plain(entries, project, limit)
        assert house.answered(keys[:1]) == keys[:1]
        return seen

    plain = Outbox.due
    monkeypatch.setattr(Outbox, "due", asked_meanwhile)
    house.delivery.deliver()
    assert house.studio.counts() == {2: 1}


def test_equal_questions_at_once_get_equal_answers(house: House) -> None:
    """A double click; Label Studio itself does not compare what it saves."""
    keys = house.owe(1, 2)
    assert house.answered(keys) == house.answered(keys) == keys


def test_a_page_opened_during_a_bulk_run_is_answered_and_the_run_is_not(house: House) -> None:
    keys = house.owe(1, 2)
    house.entries.mark_delivered(
        house.answered(keys[:1], asked=0.5, to="PAGE"), PROJECT, DeliveryResult.ANSWERED
    )
    assert house.answered(keys, asked=20, to="BULK") == keys[1:]
    house.later()
    assert house.answered(keys, asked=0, to="BULK") == keys, "asked afterwards, it lacks both"


REASONS = {
    Mood.FORBIDS: "LABEL_STUDIO_API_KEY",
    Mood.STRANGER: "LABEL_STUDIO_URL",
}


@pytest.mark.parametrize("mood", REASONS)
def test_trouble_with_label_studio_drops_nothing_and_is_told_with_its_cure(
    house: House, mood: Mood
) -> None:
    keys = house.owe(*range(5))
    house.studio.mood = mood
    house.delivery.deliver()
    assert house.project()["undelivered"] == 5
    assert REASONS[mood] in house.project()["undelivered_reason"]
    assert house.answered(keys) == keys, "nothing was pushed, so who asks is answered"


def test_a_refused_token_and_a_deleted_project_keep_their_debts(house: House, redis: Redis) -> None:
    house.owe(1)
    House(redis, house.studio, token="wrong").delivery.deliver()
    assert "LABEL_STUDIO_API_KEY" in house.project()["undelivered_reason"]
    house.later()
    tasks = house.studio.tasks.pop(NUMBER)
    house.delivery.deliver()
    assert "404" in house.project()["undelivered_reason"]
    house.studio.tasks[NUMBER] = tasks
    house.later()
    house.delivery.deliver()
    assert house.studio.counts() == {1: 1}
    assert house.studio.looks == 0, "nothing was in doubt"


def test_an_absent_label_studio_is_tried_less_and_less_often(house: House) -> None:
    house.owe(1)
    gone = Delivery(house.redis, Importer(Api("http://127.0.0.1:1", TOKEN)))
    gone.deliver()
    assert "cannot be reached" in house.project()["undelivered_reason"]
    assert house.delivery.deliver() == 0, "all processes wait together"
    house.later()
    house.delivery.deliver()
    assert house.studio.counts() == {1: 1}


def test_one_projects_trouble_is_not_anothers(house: House) -> None:
    house.store.accept([Job("x", QueueName.BULK, "99.1", {"id": 5})], wait=0)
    house.store.finish("x", prediction(5), "found")
    house.owe(1)
    house.delivery.deliver()
    assert house.studio.counts() == {1: 1}


def test_a_fault_in_one_projects_debts_costs_no_other_project(house: House) -> None:
    house.store.accept([Job("odd", QueueName.BULK, "6", {"id": "no number"})], wait=0)
    house.store.finish("odd", prediction(1), "found")
    house.owe(1)
    house.delivery.deliver()
    assert house.studio.counts() == {1: 1}
    odd, _ = sorted(describe_queue(house.store)["projects"], key=lambda one: str(one["project"]))
    assert (odd["undelivered"], odd["undelivered_reason"][:23]) == (1, "a fault of this program")


def test_what_redis_has_forgotten_is_owed_no_more(house: House, redis: Redis) -> None:
    (key, _) = house.owe(1, 2)
    redis.delete(job_key(key))
    house.delivery.deliver()
    assert house.studio.counts() == {2: 1}
    assert house.outcomes() == {"forgotten": 1, "pushed": 1}


def test_without_a_way_to_deliver_jobs_tells_what_is_owed_and_why(house: House) -> None:
    (key,) = house.owe(1)
    assert house.project()["undelivered"] == 1
    assert "Set LABEL_STUDIO_URL" in house.project()["undelivered_reason"]
    job = describe_job(house.store, key)
    assert job is not None
    assert job["undelivered"]
    assert b"grounding_tasks_undelivered 1.0\n" in render_metrics(house.store)
    house.delivery.deliver()
    assert house.project()["undelivered"] == 0
    assert b'grounding_deliveries_total{outcome="pushed"} 1.0\n' in render_metrics(house.store)
    assert house.project()["deliveries"] == {"pushed": 1}


def test_two_deliveries_at_once_push_each_debt_once(house: House, redis: Redis) -> None:
    """The lock may lapse during a long push."""
    house.owe(*range(50))
    other = House(redis, house.studio)
    seen = other.entries.due(PROJECT, 100)
    house.delivery.deliver()
    other.delivery._push(seen)
    assert set(house.studio.counts().values()) == {1}
