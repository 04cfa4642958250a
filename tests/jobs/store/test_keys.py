"""Keys of projects expire, and scripts take their keys and arguments by name."""

from __future__ import annotations

import re

import pytest
from redis import Redis

from grounding.jobs import migration
from grounding.jobs import scripts as jobs_scripts
from grounding.jobs.keys import PROJECT_SECONDS, SWEPT, Script, redis_key
from grounding.jobs.migration import MIGRATED
from grounding.jobs.outbox import scripts as outbox_scripts
from grounding.jobs.reconciler import KEPT, Reconciler
from grounding.jobs.store import PROJECTS, Job, JobStore, QueueName, job_key

PREDICTION = {"result": [], "model_version": "v"}


def job(key: str = "a", *, project: str = "1") -> Job:
    return Job(key, QueueName.BULK, project, {"id": key})


def age_projects(redis: Redis) -> None:
    """Let the last use of every project lie 91 days back."""
    for name in redis.zrange(PROJECTS, 0, -1):
        redis.zincrby(PROJECTS, -91 * 86_400_000, name)
    redis.delete(SWEPT)


def test_an_unused_project_leaves_nothing_behind(redis: Redis) -> None:
    store = JobStore(redis)
    for n in range(300):
        store.accept([job(str(n), project=f"p{n}")], deliver_after=0)
        store.finish(str(n), PREDICTION, "nothing")
        redis.delete(job_key(str(n)))
    assert len(store.projects()) == 300
    for kind in ("totals", "undelivered"):
        keys = list(redis.scan_iter(redis_key(kind, project="*")))
        assert len(keys) == 300
        assert all(0 < redis.ttl(key) <= PROJECT_SECONDS for key in keys)
    age_projects(redis)
    Reconciler(redis, store).reconcile()
    left = {key.decode() for key in redis.scan_iter()} - {SWEPT, KEPT, redis_key("look")}
    assert left == {redis_key("counters"), redis_key("blob_bytes"), MIGRATED}


def test_a_project_with_unfinished_jobs_is_used(redis: Redis) -> None:
    store = JobStore(redis)
    store.accept([job()])
    age_projects(redis)
    Reconciler(redis, store).reconcile()
    assert store.projects() == ["1"]


# Scripts


SCRIPTS = [
    script
    for module in (jobs_scripts, outbox_scripts, migration)
    for script in vars(module).values()
    if isinstance(script, Script)
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_takes_its_own_names_and_no_others(redis: Redis, script: Script) -> None:
    redis.script_load(script.text)
    names = dict.fromkeys(script.parameters, "x")
    script.resolve(names)
    with pytest.raises(TypeError, match="'stray'"):
        script.resolve({**names, "stray": "x"})
    for name in names:
        with pytest.raises(TypeError, match=f"'{name}'"):
            script.resolve({one: "x" for one in names if one != name})


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_uses_every_name_that_it_declares(script: Script) -> None:
    body = script.text.split("KEYS[1]" if script.keys else "ARGV[1]", 1)[1].split("\n", 1)[1]
    for name in {*script.keys, *script.args}:
        assert re.search(rf"\b{name}\b", body), name
