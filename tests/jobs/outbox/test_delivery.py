"""Delivery's promises, against a real Valkey and a loopback Label Studio that keeps the rules."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from redis import Redis

from grounding.errors import ImageMissing
from grounding.jobs.operating.overview import describe_job, describe_queue
from grounding.jobs.outbox.delivery import LOCK, LOCK_SECONDS, Delivery, DeliveryBackoff
from grounding.jobs.outbox.outbox import DeliveryResult, Outbox
from grounding.jobs.outbox.scripts import ANSWERED_MS, HOLD_MS, LOST_MS, PUSHED_MS
from grounding.jobs.store import UNDELIVERED, Job, QueueName, job_key
from grounding.labelstudio.client.api import Api, Importer
from tests.faults.label_studio import TOKEN, Mood
from tests.jobs.outbox.rig import NUMBER, PROJECT, OutboxRig, prediction


def test_what_is_late_is_pushed_once_as_it_was_answered(rig: OutboxRig) -> None:
    rig.finish(1, 2)
    assert rig.delivery.deliver() == 2
    assert rig.delivery.deliver() == 0
    assert sorted(rig.studio.stored, key=lambda pair: pair[0]) == [
        (1, prediction(1)),
        (2, prediction(2)),
    ]
    assert rig.results() == {"pushed": 2}


def test_what_was_left_out_is_not_pushed(rig: OutboxRig) -> None:
    (key,) = rig.accept(1)
    rig.store.finish(key, prediction(1), "found", {"unknown_label": 1, "words": ["star"]})
    rig.delivery.deliver()
    assert rig.studio.stored == [(1, prediction(1))]
    assert rig.store.outcomes([key])[key].left_out["words"] == ["star"]


def test_nothing_found_is_pushed_too(rig: OutboxRig) -> None:
    rig.finish(1, result=[])
    rig.delivery.deliver()
    assert rig.studio.stored[0][1]["result"] == []


def test_what_a_request_may_still_answer_is_not_pushed(rig: OutboxRig) -> None:
    (key,) = rig.accept(1, deliver_after=30)
    rig.store.finish(key, prediction(1), "found")
    rig.accept(2, deliver_after=0)
    assert rig.delivery.deliver() == 0
    assert rig.answer([key]) == [key]


def test_what_was_answered_is_not_pushed(rig: OutboxRig) -> None:
    keys = rig.finish(1, 2)
    rig.outbox.mark_delivered(rig.answer(keys), PROJECT, DeliveryResult.ANSWERED)
    rig.end_all_waits()
    assert rig.delivery.deliver() == 0
    assert rig.results() == {"answered": 2}


@pytest.mark.parametrize(
    ("project", "task", "wait"), [(PROJECT, 1, None), (PROJECT, None, 0.0), ("", 1, 0.0)]
)
def test_what_cannot_be_stored_is_not_undelivered(
    rig: OutboxRig, project: str, task: int | None, wait: float | None
) -> None:
    rig.store.accept([Job("a", QueueName.INTERACTIVE, project, {"id": task})], deliver_after=wait)
    rig.store.finish("a", prediction(1), "found")
    assert rig.delivery.deliver() == 0
    assert rig.redis.keys(UNDELIVERED + "*") == []


def test_a_failed_job_has_nothing_to_deliver(rig: OutboxRig) -> None:
    (key,) = rig.accept(1)
    rig.store.fail(key, ImageMissing("gone"))
    assert rig.redis.zcard(UNDELIVERED + PROJECT) == 0
    rig.accept(1)
    assert rig.redis.zcard(UNDELIVERED + PROJECT) == 0


def test_a_failure_drops_no_entry_of_the_projects_other_jobs(rig: OutboxRig) -> None:
    (old,) = rig.finish(1)
    kept = rig.store.limits.failed_ttl * 1000
    rig.redis.zincrby(UNDELIVERED + PROJECT, -2 * kept, old)
    (failed,) = rig.accept(2)
    rig.store.fail(failed, ImageMissing("gone"))
    assert rig.redis.zscore(UNDELIVERED + PROJECT, old) is not None


def test_a_deleted_task_among_a_hundred_costs_only_itself(rig: OutboxRig) -> None:
    rig.finish(*range(100))
    rig.studio.tasks[NUMBER].discard(61)
    rig.delivery.deliver()
    assert rig.studio.counts() == {n: 1 for n in range(100) if n != 61}
    assert rig.results() == {"pushed": 99, "refused": 1}
    assert len(rig.studio.imports) <= 15, "it is searched for by halves"


def test_what_is_dropped_under_a_201_is_counted_and_costs_no_other(rig: OutboxRig) -> None:
    rig.finish(1, 2, 3)
    rig.finish(4, **prediction(4, "no such control"))
    rig.delivery.deliver()
    assert rig.studio.counts() == {1: 1, 2: 1, 3: 1}
    assert rig.results() == {"found": 3, "refused": 1}
    assert rig.delivery.deliver() == 0


@pytest.mark.parametrize("mood", [Mood.SAVES_AND_HANGS_UP, Mood.SAVES_AND_FAILS])
def test_an_unclear_push_that_was_saved_is_not_repeated(rig: OutboxRig, mood: Mood) -> None:
    rig.finish(1, 2)
    rig.studio.mood = mood
    assert rig.delivery.deliver() == 0
    rig.studio.mood = Mood.WELL
    assert rig.delivery.deliver() == 0, "it gives Label Studio a while to save"
    rig.end_all_waits()
    rig.delivery.deliver()
    assert rig.studio.counts() == {1: 1, 2: 1}
    assert rig.results() == {"found": 2}


def test_an_unclear_push_that_was_not_saved_is_repeated(rig: OutboxRig) -> None:
    rig.finish(1, 2)
    rig.studio.mood = Mood.FAILS
    rig.delivery.deliver()
    assert "503" in rig.reason()
    rig.studio.mood = Mood.WELL
    rig.end_all_waits()
    rig.delivery.deliver()
    assert rig.studio.counts() == {1: 1, 2: 1}
    assert rig.reason() == ""


def test_predictions_that_label_studio_fails_at_are_soon_alone_and_keep_no_other_waiting(
    rig: OutboxRig,
) -> None:
    rig.finish(*range(200))
    rig.studio.chokes = {61, 117}
    for _ in range(30):
        rig.delivery.deliver()
        rig.pass_time(LOST_MS)
    assert rig.studio.counts() == {n: 1 for n in range(200) if n not in (61, 117)}
    assert rig.undelivered() == 2
    rig.studio.chokes = set()
    for _ in range(2):
        rig.delivery.deliver()
        rig.pass_time(LOST_MS)
    assert set(rig.studio.counts().values()) == {1}
    assert rig.results() == {"pushed": 200}


def test_a_push_that_may_still_be_on_its_way_is_not_repeated(rig: OutboxRig) -> None:
    """A proxy gave up waiting for Label Studio, which did not give up saving."""
    rig.finish(1, 2)
    rig.studio.mood = Mood.SAVES_LATE
    rig.delivery.deliver()
    rig.studio.mood = Mood.WELL
    for _ in range(3):
        rig.pass_time(LOST_MS)
        assert rig.delivery.deliver() == 0
    rig.studio.commit()
    rig.pass_time(HOLD_MS)
    rig.delivery.deliver()
    assert rig.studio.counts() == {1: 1, 2: 1}


def test_a_task_whose_predictions_cannot_be_listed_keeps_no_other_waiting(rig: OutboxRig) -> None:
    rig.finish(*range(5))
    rig.studio.mood = Mood.FAILS
    rig.delivery.deliver()
    rig.studio.mood, rig.studio.unlisted = Mood.WELL, {0}
    for _ in range(10):
        rig.pass_time(LOST_MS)
        rig.delivery.deliver()
    assert rig.studio.counts() == {n: 1 for n in range(1, 5)}
    rig.studio.unlisted = set()
    rig.pass_time(LOST_MS)
    rig.delivery.deliver()
    assert rig.studio.counts() == {n: 1 for n in range(5)}


def test_a_stale_lock_holds_no_delivery_up(rig: OutboxRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """F12, F24: its holder is gone, or Redis's clock was set back."""
    monkeypatch.setattr("grounding.jobs.outbox.delivery.LOCK_SECONDS", 1.0)
    rig.redis.set(LOCK, "a process that died", px=899_000)
    rig.finish(1)
    rig.delivery.start()
    limit = time.monotonic() + LOCK_SECONDS + 5
    while not rig.studio.counts() and time.monotonic() < limit:
        time.sleep(0.1)
    rig.delivery.stop()
    assert rig.studio.counts() == {1: 1}


def test_a_result_that_expired_since_it_was_seen_stays_gone(rig: OutboxRig) -> None:
    (key,) = rig.finish(1)
    due = rig.outbox.due(PROJECT, 10)
    rig.redis.delete(job_key(key))
    assert rig.outbox.hold(due) == []
    assert not rig.redis.exists(job_key(key))


@pytest.mark.parametrize(("to", "answered"), [("BULK", True), ("PAGE", False)])
def test_what_label_studio_may_still_be_saving_is_not_answered_to_another_request(
    rig: OutboxRig, to: str, answered: bool
) -> None:
    """It saves a run's answer as a whole, and a page that is opened meanwhile sees nothing of it.

    What the page asked stays undelivered all the same, until it was looked for.
    """
    keys = rig.finish(1)
    rig.outbox.mark_delivered(rig.answer(keys), PROJECT, DeliveryResult.ANSWERED)
    rig.accept(1)
    assert bool(rig.answer(keys, to=to)) is answered
    rig.pass_time(ANSWERED_MS // 2)
    assert rig.delivery.deliver() == 0
    rig.end_all_waits()
    rig.delivery.deliver()
    assert rig.studio.counts() == {1: 1}


def test_a_hold_from_before_redis_clock_was_set_back_holds_nothing(
    rig: OutboxRig,
) -> None:
    (key,) = rig.finish(1)
    rig.delivery.deliver()
    rig.studio.forget(1)
    rig.redis.hset(job_key(key), "held_until", int(time.time() * 1000) + 3_600_000)
    rig.accept(1)
    assert rig.undelivered() == 1


def test_a_process_that_dies_after_its_push_leaves_no_double(
    rig: OutboxRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = rig.finish(1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "mark_delivered", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            rig.delivery.deliver()
    assert rig.delivery.deliver() == 0, "held for the one that may still push"
    assert rig.answer(keys) == []
    rig.end_all_waits()
    rig.delivery.deliver()
    assert rig.studio.counts() == {1: 1, 2: 1}


def test_a_process_that_dies_before_the_push_loses_nothing(
    rig: OutboxRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.finish(1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(Importer, "send", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            rig.delivery.deliver()
    rig.end_all_waits()
    rig.delivery.deliver()
    assert rig.studio.counts() == {1: 1, 2: 1}


@pytest.mark.parametrize("arrived", [True, False])
def test_an_answer_that_may_have_been_lost_is_looked_for(rig: OutboxRig, arrived: bool) -> None:
    (key,) = rig.finish(1)
    assert rig.answer([key]) == [key]
    assert rig.delivery.deliver() == 0, "Label Studio takes its time to save"
    if arrived:
        rig.studio.save(1, prediction(1))
    rig.end_all_waits()
    rig.delivery.deliver()
    assert rig.studio.counts() == {1: 1}
    assert rig.results() == {"found" if arrived else "pushed": 1}


def test_what_was_just_pushed_is_not_answered_too(rig: OutboxRig) -> None:
    keys = rig.finish(1)
    rig.delivery.deliver()
    rig.accept(1)
    assert rig.answer(keys) == []
    assert rig.delivery.deliver() == 0, "asking crossed the push: there is no new entry"


def test_what_was_pushed_while_its_request_waited_is_not_answered_too(
    rig: OutboxRig, redis: Redis
) -> None:
    """Label Studio asked before the push, however long ago that is by now."""
    (key,) = rig.finish(1)
    rig.delivery.deliver()
    redis.hincrby(job_key(key), "held_until", -PUSHED_MS - 1000)
    assert rig.answer([key], asked=60) == []
    assert rig.answer([key], asked=0.5) == [key]


def test_what_label_studio_lacks_again_is_answered_and_undelivered_again(rig: OutboxRig) -> None:
    """Someone deleted the prediction."""
    keys = rig.finish(1)
    rig.delivery.deliver()
    rig.end_all_waits()
    rig.studio.forget(1)
    rig.accept(1)
    assert rig.undelivered() == 1
    assert rig.answer(keys) == keys


def test_what_was_answered_since_it_was_seen_is_not_pushed(
    rig: OutboxRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = rig.finish(1, 2)

    def asked_meanwhile(entries: Outbox, project: str, limit: int) -> list[Any]:
        seen = plain(entries, project, limit)
        assert rig.answer(keys[:1]) == keys[:1]
        return seen

    plain = Outbox.due
    monkeypatch.setattr(Outbox, "due", asked_meanwhile)
    rig.delivery.deliver()
    assert rig.studio.counts() == {2: 1}


def test_equal_requests_at_once_get_equal_answers(rig: OutboxRig) -> None:
    """A double click; Label Studio itself does not compare what it saves."""
    keys = rig.finish(1, 2)
    assert rig.answer(keys) == rig.answer(keys) == keys


def test_a_page_opened_during_a_bulk_run_is_answered_and_the_run_is_not(rig: OutboxRig) -> None:
    keys = rig.finish(1, 2)
    rig.outbox.mark_delivered(
        rig.answer(keys[:1], asked=0.5, to="PAGE"), PROJECT, DeliveryResult.ANSWERED
    )
    assert rig.answer(keys, asked=20, to="BULK") == keys[1:]
    rig.end_all_waits()
    assert rig.answer(keys, asked=0, to="BULK") == keys, "asked afterwards, it lacks both"


REASONS = {
    Mood.FORBIDS: "LABEL_STUDIO_API_KEY",
    Mood.STRANGER: "LABEL_STUDIO_URL",
}


@pytest.mark.parametrize("mood", REASONS)
def test_trouble_with_label_studio_drops_nothing_and_is_told_with_its_cure(
    rig: OutboxRig, mood: Mood
) -> None:
    keys = rig.finish(*range(5))
    rig.studio.mood = mood
    rig.delivery.deliver()
    assert rig.undelivered() == 5
    assert REASONS[mood] in rig.reason()
    assert rig.answer(keys) == keys, "nothing was pushed, so who asks is answered"


def test_a_refused_token_and_a_deleted_project_keep_their_entries(
    rig: OutboxRig, redis: Redis
) -> None:
    rig.finish(1)
    OutboxRig(redis, rig.studio, token="wrong").delivery.deliver()
    assert "LABEL_STUDIO_API_KEY" in rig.reason()
    rig.end_all_waits()
    tasks = rig.studio.tasks.pop(NUMBER)
    rig.delivery.deliver()
    assert "404" in rig.reason()
    rig.studio.tasks[NUMBER] = tasks
    rig.end_all_waits()
    rig.delivery.deliver()
    assert rig.studio.counts() == {1: 1}
    assert rig.studio.looks == 0, "nothing was unconfirmed"


def test_an_absent_label_studio_is_tried_less_and_less_often(rig: OutboxRig) -> None:
    rig.finish(1)
    gone = Delivery(rig.redis, Importer(Api("http://127.0.0.1:1", TOKEN)))
    gone.deliver()
    assert "cannot be reached" in rig.reason()
    assert rig.delivery.deliver() == 0, "all processes wait together"
    rig.end_all_waits()
    rig.delivery.deliver()
    assert rig.studio.counts() == {1: 1}


def test_a_process_whose_clock_is_ahead_waits_like_the_others(
    rig: OutboxRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.finish(1)
    rig.studio.mood = Mood.FAILS
    rig.delivery.deliver()
    ahead = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: ahead)
    assert DeliveryBackoff(rig.redis).is_waiting(PROJECT)


def test_one_projects_trouble_is_not_anothers(rig: OutboxRig) -> None:
    rig.store.accept([Job("x", QueueName.BULK, "99.1", {"id": 5})], deliver_after=0)
    rig.store.finish("x", prediction(5), "found")
    rig.finish(1)
    rig.delivery.deliver()
    assert rig.studio.counts() == {1: 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task", '"no number"'), ("task", b"\xff"), ("outcome", "no JSON"), ("outcome", b"\xff"),
        ("outcome", "[1]"), ("outcome", "7"), ("outcome", "{}"), ("lost", "many"),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_read_is_dropped_once_and_costs_no_other(
    rig: OutboxRig, field: str, value: bytes | str, caplog: pytest.LogCaptureFixture
) -> None:
    (odd, _) = rig.finish(1, 2)
    rig.redis.hset(job_key(odd), field, value)
    for _ in range(3):
        rig.delivery.deliver()
    readable = field == "lost"
    assert rig.studio.counts() == ({1: 1, 2: 1} if readable else {2: 1})
    assert rig.results() == ({"pushed": 2} if readable else {"pushed": 1, "refused": 1})
    assert len([one for one in caplog.records if "cannot be read" in one.message]) == (not readable)


def test_an_expired_result_leaves_the_outbox(rig: OutboxRig, redis: Redis) -> None:
    (key, _) = rig.finish(1, 2)
    redis.delete(job_key(key))
    rig.delivery.deliver()
    assert rig.studio.counts() == {2: 1}
    assert rig.results() == {"expired": 1, "pushed": 1}


def test_what_is_undelivered_is_counted_by_redis_clock_alone(
    rig: OutboxRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.finish(1)
    ours = time.time() + 2 * rig.store.limits.result_ttl
    monkeypatch.setattr(time, "time", lambda: ours)
    assert rig.undelivered() == 1


def test_without_a_way_to_deliver_jobs_shows_what_is_undelivered_and_why(rig: OutboxRig) -> None:
    (key,) = rig.finish(1)
    assert rig.undelivered() == 1
    assert "Set LABEL_STUDIO_URL" in rig.reason()
    job = describe_job(rig.store, key)
    assert job is not None
    assert job["undelivered"]
    (shown,) = describe_queue(rig.store)["projects"]
    assert (shown["undelivered"], shown["undelivered_reason"]) == (1, rig.reason())
    rig.delivery.deliver()
    assert rig.undelivered() == 0
    (shown,) = describe_queue(rig.store)["projects"]
    assert shown["deliveries"] == rig.results() == {"pushed": 1}


def test_two_deliveries_at_once_push_each_entry_once(rig: OutboxRig, redis: Redis) -> None:
    """The lock may expire during a long push."""
    rig.finish(*range(50))
    other = OutboxRig(redis, rig.studio)
    seen = other.outbox.due(PROJECT, 100)
    rig.delivery.deliver()
    other.delivery._push(seen)
    assert set(rig.studio.counts().values()) == {1}
