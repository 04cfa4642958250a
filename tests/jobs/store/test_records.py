"""Records that another release wrote, and labelling configs, which many records share."""

from __future__ import annotations

import pytest
from redis import Redis

from grounding.errors import ImageMissing
from grounding.jobs.keys import SWEPT, redis_key
from grounding.jobs.payloads import FORMAT, digest
from grounding.jobs.queues import Queues
from grounding.jobs.reconciler import KEPT, Reconciler
from grounding.jobs.store import (
    CONFIGS,
    UNQUEUED,
    Job,
    JobStore,
    QueueName,
    State,
    StoreLimits,
    job_key,
)
from tests.jobs.contents import pending_keys

PREDICTION = {"result": [], "model_version": "v"}


def job(key: str = "a", *, project: str = "1") -> Job:
    return Job(key, QueueName.BULK, project, {"id": key})


def alter(redis: Redis, key: str, **fields: str | bytes) -> None:
    redis.hset(job_key(key), mapping=fields)  # type: ignore[arg-type]


def test_a_record_of_a_newer_format_is_left_to_others_and_not_blamed(
    redis: Redis, store: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.accept([job("new"), job("newer")])
    for key in ("new", "newer"):
        alter(redis, key, format=str(FORMAT + 1), payload="\x00")
        Queues(redis).put(QueueName.BULK, [key])
        assert [store.claim(key, "me") for _ in range(3)] == [None] * 3
    assert store.leased() == {}
    assert pending_keys(store) == {"new", "newer"}
    assert redis.hget(job_key("new"), "deaths") is None
    assert redis.zscore(UNQUEUED, "new") is not None, "the reconciler offers it again"
    assert len([one for one in caplog.records if "another release" in one.message]) == 1
    alter(redis, "new", format=str(FORMAT), payload="{}")
    assert store.claim("new", "you") is not None


@pytest.mark.parametrize(
    "fields",
    [{"payload": "no JSON"}, {"payload": "[1]"}, {"payload": b"\xff"}, {"format": "of another"}],
    ids=lambda fields: str(*fields.values()),
)
def test_an_unreadable_record_fails_once_with_one_line(
    redis: Redis, store: JobStore, caplog: pytest.LogCaptureFixture, fields: dict[str, str]
) -> None:
    store.accept([job()])
    alter(redis, "a", **fields)
    assert [store.claim("a", "me") for _ in range(3)] == [None] * 3
    assert store.outcomes(["a"])["a"].code == "record_unreadable"
    assert (store.leased(), pending_keys(store)) == ({}, set())
    assert store.read_totals()[0]["failed"] == 1
    assert len(caplog.records) == 1


def test_unknown_words_and_fields_of_a_newer_release_stop_nothing(
    redis: Redis, store: JobStore
) -> None:
    store.accept([job(), job("b")])
    alter(redis, "a", queue="express", colour="red", payload='{"id": 1, "colour": "red"}')
    alter(redis, "b", state="paused")
    claim = store.claim("a", "me")
    assert claim is not None
    assert claim.queue is QueueName.BULK
    assert store.accept([job("b")]) == [State.PENDING]
    assert store.claim("b", "me") is None


# Labelling configs, stored once


CONFIG = "<View>" + "x" * 30_000 + "</View>"
CONFIG_KEY = redis_key("config", digest=digest(CONFIG))


def with_config(key: str) -> Job:
    return Job(key, QueueName.BULK, "1", {"id": key}, config=CONFIG)


def test_a_config_is_stored_once_for_all_jobs_and_comes_with_each_claim(redis: Redis) -> None:
    store = JobStore(redis)
    before = redis.info("memory")["used_memory"]
    store.accept([with_config(str(n)) for n in range(1000)])
    assert redis.info("memory")["used_memory"] - before < 1000 * 3000
    assert all(b"x" * 100 not in value for value in redis.hvals(job_key("1")))
    claim = store.claim("1", "me")
    assert claim is not None
    assert claim.config == CONFIG.encode()


def test_a_config_stays_while_jobs_need_it_and_expires_after_the_last(
    redis: Redis, store: JobStore
) -> None:
    store.accept([with_config("a"), with_config("b")])
    redis.expire(CONFIG_KEY, 5)
    store.accept([with_config("a")])
    assert redis.ttl(CONFIG_KEY) > 5, "each acceptance prolongs it"
    redis.expire(CONFIG_KEY, 5)
    store.finish("a", PREDICTION, "nothing")
    Reconciler(redis, store).reconcile()
    assert redis.ttl(CONFIG_KEY) > 5, "one job is left"
    store.fail("b", ImageMissing("gone"))
    redis.expire(CONFIG_KEY, 5)
    redis.delete(KEPT)
    Reconciler(redis, store).reconcile()
    assert redis.ttl(CONFIG_KEY) <= 5
    assert redis.hgetall(CONFIGS) == {}


def test_a_config_in_use_is_prolonged_though_no_sweep_is_due(redis: Redis) -> None:
    """After a sweep of ten seconds the next one comes later than the shortest time of a config."""
    store = JobStore(redis, StoreLimits(result_ttl=200))
    store.accept([with_config("a")])
    redis.set(SWEPT, 1, ex=500)
    reconciler = Reconciler(redis, store)
    reconciler.reconcile()
    assert 0 < redis.ttl(KEPT) <= 100, "it has a second chance before the config expires"
    redis.delete(KEPT)
    redis.expire(CONFIG_KEY, 5)
    reconciler.reconcile()
    assert redis.ttl(CONFIG_KEY) > 5
    redis.expire(KEPT, 9000)
    reconciler.reconcile()
    assert redis.ttl(KEPT) <= 100, "the clock was set back"


def test_an_expired_config_is_missing_in_the_claim(redis: Redis) -> None:
    store = JobStore(redis)
    store.accept([with_config("a")])
    redis.delete(CONFIG_KEY)
    claim = store.claim("a", "me")
    assert claim is not None
    assert claim.config is None
