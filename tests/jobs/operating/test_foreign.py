"""What others write under the queue's keys costs at most one task, one line, and a moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from grounding.jobs import reconciler as module
from grounding.jobs.keys import KEYS, PREFIX, SWEPT, TYPES, redis_key
from grounding.jobs.operating import foreign
from grounding.jobs.operating.foreign import ForeignKeys
from grounding.jobs.outbox.outbox import Outbox
from grounding.jobs.payloads import digest
from grounding.jobs.queues import Queues, rq_name
from grounding.jobs.reconciler import Reconciler
from grounding.jobs.store import Job, JobStore, QueueName, State, StoreLimits, job_key
from tests.jobs.contents import pending_keys
from tests.serving import CONFIG, Start, predict, typed

PREDICTION = {"result": [], "model_version": "v"}
CONTENTS: dict[str, Callable[[Redis, str], Any]] = {
    "string": lambda redis, key: redis.set(key, b"\xff[1]"),
    "hash": lambda redis, key: redis.hset(key, mapping={b"\xff": b"\xfe", "x": "[1]"}),  # type: ignore[dict-item]
    "list": lambda redis, key: redis.rpush(key, b"\xff", "x"),
}
ROUNDS = 80
BULK = f"rq:queue:{rq_name(QueueName.BULK)}"


@pytest.fixture
def store(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> JobStore:
    monkeypatch.setattr(module, "SWEEP_MS", 100)
    return JobStore(redis, StoreLimits(lease_ttl=1))


def enter(store: JobStore) -> None:
    """Accept "bad" of project 7 and "good" of project 8, as a Retrieve does."""
    for key, project in (("bad", "7"), ("good", "8")):
        one = Job(key, QueueName.BULK, project, {"id": 1, "data": {}}, config=CONFIG)
        store.accept([one], deliver_after=0)
        Queues(store.redis).put(QueueName.BULK, [key])


def work(store: JobStore) -> None:
    """Let worker and reconciler run until nothing is unfinished, as long as Redis refuses them."""
    reconciler = Reconciler(store.redis, store)
    held: set[str] = set()
    for _ in range(ROUNDS):
        for key in ("bad", "good"):
            with suppress(ResponseError):
                if store.claim(key, "w") is not None:
                    held.add(key)
        for key in held:
            with suppress(ResponseError):
                store.finish(key, PREDICTION, "nothing")
        with suppress(ResponseError):
            reconciler.reconcile()
            store.redis.delete(BULK)  # slots take them
            if not store.redis.zcard(redis_key("pending")) and store.outcomes(["good"]):
                return
        time.sleep(0.05)


NAMES = {"key": "bad", "project": "7", "task": "1", "digest": digest(CONFIG)}


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("family", KEYS)
def test_a_key_of_another_type_stops_nobody(
    store: JobStore, start: Start, caplog: pytest.LogCaptureFixture, family: str, kind: str
) -> None:
    redis = store.redis
    Reconciler(redis, store).reconcile()
    enter(store)
    name = redis_key(family, **{k: v for k, v in NAMES.items() if f"{{{k}}}" in KEYS[family]})
    redis.delete(name)
    CONTENTS[kind](redis, name)
    work(store)
    assert pending_keys(store) == set()
    assert store.outcomes(["good"])["good"].prediction == PREDICTION
    client = start()
    for path in ("/jobs", "/"):  # Redis refuses what these read, and so counts it
        client.get(path, headers={"Accept": "text/html"})
    Reconciler(redis, store).reconcile()
    Reconciler(redis, store).reconcile()
    removed = [one for one in caplog.records if "of another program" in one.message]
    assert len(removed) <= (kind != TYPES[family])
    for path in ("/jobs", "/jobs/bad", "/jobs/good", "/metrics"):
        assert client.get(path).status_code in (200, 404), path
    assert client.get("/ready").json["reason"].startswith("no worker")  # type: ignore[index]
    assert "refuses to work" not in client.get("/", headers={"Accept": "text/html"}).text
    assert store.accept([Job("new", QueueName.BULK, "7", {"id": 2})]) == [State.NEW]
    Outbox(redis).due("7", 10)
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR and one.exc_info]


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("job", {"deaths": "many", "askers": b"\xff", "blob": "x", "due": "soon"}),
        ("totals", {"done": "x", "accepted": b"\xff", "failed": "1.5"}),
        ("unfinished", {"7": "x", "8": "9" * 30}),
        ("counters", {"done": "x", "done:nothing": "", "failed": "[1]"}),
    ],
)
def test_a_count_that_is_no_number_stops_nobody(
    store: JobStore, family: str, fields: dict[str, Any]
) -> None:
    enter(store)
    name = redis_key(family, **{k: v for k, v in NAMES.items() if f"{{{k}}}" in KEYS[family]})
    store.redis.hset(name, mapping=fields)
    work(store)
    assert pending_keys(store) == set()
    assert set(store.outcomes(["bad", "good"])) == {"bad", "good"}


def test_a_job_that_lost_its_record_fails_once_with_one_line(
    store: JobStore, caplog: pytest.LogCaptureFixture
) -> None:
    enter(store)
    store.redis.delete(job_key("bad"))
    store.redis.set(job_key("bad"), "[1]")
    work(store)
    for _ in range(3):
        store.redis.delete(SWEPT)
        Reconciler(store.redis, store).reconcile()
    assert store.read_totals()[0]["failed:record_lost"] == 1
    assert len([one for one in caplog.records if "gone or not ours" in one.message]) == 1


def test_a_round_looks_at_a_part_and_whoever_has_the_next_goes_on(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "BATCH", 100)
    pipe = redis.pipeline()
    for number in range(1000):
        pipe.hset(job_key(str(number)), "deaths", 1)
    pipe.set(job_key("junk"), "1")
    pipe.execute()
    with suppress(ResponseError):
        redis.hget(job_key("junk"), "x")
    processes = [ForeignKeys(redis) for _ in range(3)]
    redis.hmget(job_key("0"), "deaths")
    read = [redis.info("commandstats")["cmdstat_hmget"]["calls"]]
    for turn in range(30):
        processes[turn % 3].remove()
        read.append(redis.info("commandstats")["cmdstat_hmget"]["calls"])
        if redis.get(redis_key("look")).endswith(b" 0"):  # type: ignore[union-attr]
            break
    assert not redis.exists(job_key("junk"))
    assert max(later - earlier for earlier, later in pairwise(read)) < 200
    assert 1000 <= read[-1] - read[0] < 1100


@pytest.mark.parametrize("junk", CONTENTS)
def test_where_a_look_is_may_be_junk_too(redis: Redis, junk: str) -> None:
    CONTENTS[junk](redis, redis_key("look"))
    redis.rpush(PREFIX + "counters", "x")
    ForeignKeys(redis).remove()
    assert not redis.exists(PREFIX + "counters")


def test_names_of_no_job_stay_nowhere(store: JobStore) -> None:
    """Each of them would cost every later round a script or two."""
    redis = store.redis
    for junk in (b"\xff", b"unknown"):
        redis.sadd(redis_key("leased"), junk)
        for family in ("pending", "unqueued", "deadlines"):
            redis.zadd(redis_key(family), {junk: 1})
    for _ in range(5):
        redis.delete(SWEPT)
        Reconciler(redis, store).reconcile()
        redis.delete(BULK)
    assert redis.smembers(redis_key("leased")) == set()
    for family in ("pending", "unqueued", "deadlines"):
        assert redis.zrange(redis_key(family), 0, -1) == [], family


def test_every_key_that_is_ours_has_its_type(redis: Redis, start: Start, worker: list[int]) -> None:
    """Whoever adds a kind of key names its type, or the next mishap in Redis removes it."""
    client = start()
    predict(client, 1, 3, project="7.1")
    predict(client, 3, params=typed("cat"))
    client.post("/setup", json={"project": "7.1", "schema": CONFIG, "extra_params": "{}"})
    client.get("/", headers={"Accept": "text/html"})
    Reconciler(redis, JobStore(redis)).reconcile()
    found = {
        (name.decode().removeprefix(PREFIX).partition(":")[0], kind)
        for name in redis.scan_iter(f"{PREFIX}*")
        if (kind := redis.type(name).decode()) != "none"  # it has expired meanwhile
    }
    assert len(found) > 10
    assert found <= set(TYPES.items())
    assert {family.partition(":")[0] for family in KEYS.values()} <= set(TYPES)
