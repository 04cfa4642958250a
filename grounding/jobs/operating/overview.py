"""What operators see of projects and tasks: `/jobs` as JSON, and the page at `/`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from grounding.jobs.keys import json_object, number, redis_key, text
from grounding.jobs.metrics import below
from grounding.jobs.operating.progress import read_progress
from grounding.jobs.outbox.delivery import DeliveryBackoff
from grounding.jobs.outbox.outbox import Outbox
from grounding.jobs.store import (
    DELIVERIES,
    DROPPED,
    TOTALS,
    UNDELIVERED,
    JobStore,
    State,
    job_key,
    milliseconds,
)

SHOWN_FAILURES = 100


def rank_projects(store: JobStore) -> list[str]:
    """Return all projects: those at work, those that Label Studio lacks something of, the others.

    Of each kind the latest first.
    """
    at_work, lacking = store.unfinished_by_project(), set(Outbox(store.redis).projects())
    latest = reversed(store.projects())
    return sorted(latest, key=lambda name: 0 if name in at_work else 1 if name in lacking else 2)


def describe_queue(store: JobStore, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return each project's counts, pace and codes of failures, and the last 100 failures.

    Of `names` alone, in their order, where these are given; otherwise of all, the latest last.
    `rate` is in tasks a second, None where fewer than two have ended lately; `seconds_left` follows
    from it. `run` counts the tasks since the project had none: so many have ended, of so many.
    """
    undelivered = Outbox(store.redis).undelivered(store.limits.result_ttl, names)
    names = store.projects() if names is None else names
    facts, failures = _read_projects(store, names)
    leased = list(store.leased())
    unfinished, running = store.unfinished_by_project(), _running(store, leased)
    reasons = DeliveryBackoff(store.redis).reasons([name for name, n in undelivered.items() if n])
    projects = [
        {
            "project": name,
            **_progress(facts[name], unfinished.get(name, 0), running[name]),
            "undelivered": undelivered.get(name, 0),
            "undelivered_reason": reasons.get(name, ""),
        }
        for name in names
    ]
    return {
        "projects": projects,
        "failed": _describe_failures(store, failures),
        "progress": read_progress(store.redis, leased),
    }


def _read_projects(
    store: JobStore, names: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], list[tuple[float, str, str]]]:
    """Return what is kept of each project, and its last failures: when, project and task."""
    pipe = store.redis.pipeline(transaction=False)
    for name in names:
        failures = redis_key("failures", project=name)
        pipe.hgetall(TOTALS + name)
        pipe.get(redis_key("config_error", project=name))
        pipe.lrange(redis_key("finishes", project=name), 0, -1)
        pipe.zcard(failures)
        pipe.zrevrange(failures, 0, SHOWN_FAILURES - 1, withscores=True)
    now, rows = milliseconds(store.redis), iter(pipe.execute())
    facts: dict[str, dict[str, Any]] = {}
    failed: list[tuple[float, str, str]] = []
    for name in names:
        totals, config_error, finishes, count, last = islice(rows, 5)
        facts[name] = {
            **_totals(totals),
            "rate": _rate([number(one) for one in finishes], now),
            "retriable": count,
            "config_error": _text(config_error),
        }
        failed += [(when, name, text(task)) for task, when in last]
    return facts, sorted(failed, reverse=True)[:SHOWN_FAILURES]


def _totals(rows: Mapping[bytes, bytes]) -> dict[str, Any]:
    totals = {text(field): number(count) for field, count in rows.items()}
    return {
        "done": totals.get(State.DONE, 0),
        "failed": totals.get(State.FAILED, 0),
        "refused": totals.get("refused", 0),
        "reasons": below(totals, f"{State.FAILED}:"),
        "left_out": below(totals, DROPPED),
        "deliveries": below(totals, DELIVERIES),
        "before_run": totals.get("before_run", 0),
    }


def _rate(finishes: Sequence[int], now: int) -> float | None:
    """Return how many jobs end a second: those since the oldest kept, until now."""
    if len(finishes) < 2:
        return None
    return (len(finishes) - 1) * 1000 / max(1, now - finishes[-1])


def _progress(facts: dict[str, Any], unfinished: int, running: int) -> dict[str, Any]:
    """Return the facts of one project with what is left of it."""
    shown = {name: value for name, value in facts.items() if name != "before_run"}
    ended = max(0, facts["done"] + facts["failed"] - facts["before_run"])
    rate = facts["rate"] if unfinished else None
    return {
        "pending": max(0, unfinished - running),
        "running": running,
        **shown,
        "rate": rate,
        "seconds_left": unfinished / rate if rate else None,
        "run": {"ended": ended, "of": ended + unfinished},
    }


def _running(store: JobStore, leased: Sequence[str]) -> Counter[str]:
    """Return how many of the jobs that workers hold are of each project."""
    pipe = store.redis.pipeline(transaction=False)
    for key in leased:
        pipe.hget(job_key(key), "project")
    return Counter(text(project) for project in pipe.execute() if project is not None)


def _describe_failures(
    store: JobStore, failures: Sequence[tuple[float, str, str]]
) -> list[dict[str, Any]]:
    pipe = store.redis.pipeline(transaction=False)
    for _, project, task in failures:
        pipe.hmget(redis_key("failure", project=project, task=task), "key", "outcome")
    found = zip(failures, pipe.execute(), strict=True)
    return [
        {
            "job": text(key),
            "project": project,
            "task": _json(task),
            "at": when / 1000,
            **_why(json_object(outcome)),
        }
        for (when, project, task), (key, outcome) in found
        if key is not None
    ]


def _why(outcome: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": outcome.get("code", ""), "reason": outcome.get("reason", "")}


def describe_job(store: JobStore, key: str) -> dict[str, Any] | None:
    """Return the state and outcome of the job `key`; None if it is unknown."""
    rows: Any = store.redis.hgetall(job_key(key))
    if not rows:
        return None
    fields = {text(name): text(value) for name, value in rows.items()}
    outcome = json_object(rows.get(b"outcome"))
    project = fields.get("project", "")
    running = [key] if fields.get("state") == State.LEASED else []
    return {
        "job": key,
        "state": fields.get("state", ""),
        "progress": read_progress(store.redis, running).get(key, ""),
        "project": project,
        "task": _json(fields.get("task")),
        "queue": fields.get("queue", ""),
        "accepted": _json(fields.get("accepted")),
        "deaths": _json(fields.get("deaths", "0")),
        **_why(outcome),
        "prediction": outcome.get("prediction"),
        "left_out": outcome.get("left_out", {}),
        "undelivered": store.redis.zscore(UNDELIVERED + project, key) is not None,
    }


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def _json(text: str | None) -> Any:
    """Return the value of a field of a job's record; None if it is missing or no JSON."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None
