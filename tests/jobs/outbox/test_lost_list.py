"""An outbox whose list another program overwrote: what Label Studio lacks is delivered."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
from redis import Redis
from redis.exceptions import RedisError

from grounding.jobs.keys import redis_key
from grounding.jobs.operating import foreign
from grounding.jobs.operating.foreign import ForeignKeys
from grounding.jobs.outbox.outbox import DeliveryResult
from grounding.jobs.store import UNDELIVERED
from tests.jobs.operating.test_foreign_met import spoil
from tests.jobs.outbox.rig import PROJECT, OutboxRig


def overwrite_list(rig: OutboxRig) -> None:
    """Put another program's value in the list's place, and let delivery meet it."""
    spoil(rig.redis, redis_key("undelivered", project=PROJECT), "zset")
    with suppress(RedisError):
        rig.delivery.deliver()


def mend(rig: OutboxRig) -> None:
    """Let the reconciler look at all keys, in as many rounds as it takes."""
    for _ in range(40):
        ForeignKeys(rig.redis).remove()


def test_finished_predictions_are_pushed_though_their_list_was_lost(
    rig: OutboxRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever part of the keys is looked at first."""
    monkeypatch.setattr(foreign, "BATCH", 5)
    rig.finish(*range(30))
    overwrite_list(rig)
    mend(rig)
    assert rig.undelivered() == 30
    rig.delivery.deliver()
    assert rig.studio.counts() == Counter(range(30))
    assert rig.undelivered() == 0


def test_a_prediction_that_finishes_while_its_list_is_anothers_is_pushed(rig: OutboxRig) -> None:
    """Redis ends the job's script in its middle: its state is changed, its entry is not."""
    (key,) = rig.accept(3)
    overwrite_list(rig)
    with suppress(RedisError):
        rig.store.finish(key, {"result": [], "model_version": "v"}, "nothing")
    mend(rig)
    rig.delivery.deliver()
    assert rig.studio.counts()[3] == 1


@pytest.mark.parametrize("result", [DeliveryResult.ANSWERED, DeliveryResult.PUSHED])
def test_what_was_delivered_is_not_listed_again(rig: OutboxRig, result: DeliveryResult) -> None:
    """Whether that was noted before the list was lost, or after it."""
    before, after, *_ = rig.finish(1, 2, 3)
    rig.outbox.mark_delivered([before], PROJECT, result)
    overwrite_list(rig)
    rig.redis.delete(UNDELIVERED + PROJECT)
    rig.outbox.mark_delivered([after], PROJECT, result)
    mend(rig)
    assert [entry.key for entry in rig.outbox.due(PROJECT, 10)] == ["3"]


def test_what_label_studio_may_have_got_meanwhile_is_looked_for_first(rig: OutboxRig) -> None:
    rig.finish(4)
    rig.delivery.deliver()
    rig.redis.hset("grounding:2:job:4", "undelivered", 1)  # as of a process killed after its push
    overwrite_list(rig)
    mend(rig)
    rig.end_all_waits()
    rig.delivery.deliver()
    assert (rig.studio.counts()[4], rig.undelivered()) == (1, 0)
    assert rig.results() == {"pushed": 1, "found": 1}


def test_what_is_being_answered_waits_until_label_studio_must_have_saved_it(rig: OutboxRig) -> None:
    keys = rig.finish(5)
    rig.answer(keys)
    overwrite_list(rig)
    mend(rig)
    assert rig.undelivered() == 1
    assert rig.outbox.due(PROJECT, 10) == []


def test_the_records_of_a_release_before_are_left_as_they_are(rig: OutboxRig, redis: Redis) -> None:
    """They do not tell what was delivered: Label Studio would be asked about all of a day's."""
    rig.finish(6)
    redis.hdel("grounding:2:job:6", "undelivered")
    overwrite_list(rig)
    mend(rig)
    assert rig.undelivered() == 0
