"""What operators see of the queue: every project's jobs, one job, and the counters."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from grounding.jobs.metrics import FETCH, MODEL, NS, OUT_OF_MEMORY, histogram, outcomes
from grounding.jobs.outbox.backoff import DeliveryBackoff
from grounding.jobs.queues import Queues
from grounding.jobs.store import (
    DELIVERIES,
    DROPPED,
    FAILED,
    LEASED,
    NOTED,
    OWED,
    PENDING,
    PROJECTS,
    TOTALS,
    JobStore,
    job_key,
)

Sample = tuple[Mapping[str, str], float]


def overview(store: JobStore) -> dict[str, Any]:
    """Return every project's counts with the reasons of its failures, and the last 100 of these."""
    rows: Any = store.redis.hgetall(PROJECTS)
    unfinished = {name.decode(): int(count) for name, count in rows.items()}
    running = _running(store)
    projects = [_project(store, name, unfinished[name], running[name]) for name in unfinished]
    return {"projects": projects, "failed": _failed(store)}


def one(store: JobStore, key: str) -> dict[str, Any] | None:
    """Return where the job `key` stands and what came of it; None where it is not known."""
    fields = _record(store, key)
    if not fields:
        return None
    outcome = json.loads(fields.get("outcome", "{}"))
    return {
        "job": key,
        "state": fields["state"],
        "project": fields["project"],
        "task": json.loads(fields["task"]),
        "lane": fields["lane"],
        "accepted": float(fields["accepted"]),
        "deaths": int(fields.get("deaths", 0)),
        "code": outcome.get("code", ""),
        "reason": outcome.get("reason", ""),
        "owed": store.redis.zscore(OWED + fields["project"], key) is not None,
        "prediction": outcome.get("prediction"),
    }


def metrics(store: JobStore) -> str:
    """Return all counters in Prometheus' text format; times in seconds."""
    counted, unfinished = store.books()
    families = "".join(
        f"# HELP {name} {text}\n# TYPE {name} {kind}\n" + "".join(_lines(name, samples))
        for name, kind, text, samples in _families(store, counted, unfinished)
    )
    return families + "".join(_durations(counted))


def _durations(counted: Mapping[str, int]) -> Iterator[str]:
    yield "# HELP model_seconds From question to answer, waiting for a batch included\n"
    yield "# TYPE model_seconds histogram\n"
    yield from _histogram("model_seconds", {}, counted, MODEL)
    yield "# HELP fetch_seconds From a task's address to its picture's bytes, by what came of it\n"
    yield "# TYPE fetch_seconds histogram\n"
    for outcome in outcomes(counted):
        labels = {"outcome": outcome}
        yield from _histogram("fetch_seconds", labels, counted, f"{FETCH}{outcome}:")


def _histogram(
    name: str, labels: Mapping[str, str], counted: Mapping[str, int], prefix: str
) -> Iterator[str]:
    buckets = list(histogram(counted, prefix))
    yield from _lines(f"{name}_bucket", [({**labels, "le": bound}, n) for bound, n in buckets])
    yield from _lines(f"{name}_sum", [(labels, counted.get(prefix + "ns", 0) * NS)])
    yield from _lines(f"{name}_count", [(labels, buckets[-1][1])])


def _families(
    store: JobStore, counted: Mapping[str, int], unfinished: int
) -> Iterator[tuple[str, str, str, list[Sample]]]:
    for name, prefix, label, text in (
        ("tasks_done_total", "done:", "verdict", "Tasks answered"),
        ("tasks_failed_total", "dead:", "code", "Tasks that cannot be answered"),
        ("attempts_total", "attempts:", "reason", "Times that a worker took a task"),
        ("deliveries_total", DELIVERIES, "outcome", "What became of tasks owed to Label Studio"),
        ("detections_dropped_total", DROPPED, "reason", "Detections that became no region"),
        ("answers_noted_total", NOTED, "note", "Answers that were cut, clipped, repaired, …"),
    ):
        yield name, "counter", text, _by(counted, prefix, label)
    for name, field, text in (
        ("tasks_accepted_total", "accepted", "Tasks entered"),
        ("tasks_refused_total", "refused", "Tasks over a bound, of their project or of memory"),
        ("leases_lapsed_total", "lapsed", "Tasks whose worker died"),
        ("reconciled_total", "reconciled", "Tasks put back into the queue"),
        ("oom_total", OUT_OF_MEMORY, "Questions that had no room on the device, even alone"),
    ):
        yield name, "counter", text, [({}, counted.get(field, 0))]
    yield "tasks_pending", "gauge", "Tasks not finished", [({}, unfinished)]
    yield from _gauges(store)


def _gauges(store: JobStore) -> Iterator[tuple[str, str, str, list[Sample]]]:
    depths = Queues(store.redis).depths()
    queues: list[Sample] = [({"lane": queue.value}, count) for queue, count in depths.items()]
    workers: list[Sample] = [
        ({"worker": worker.worker}, worker.phase == "ready") for worker in worker_statuses(store.redis)
    ]
    oldest: Any = store.redis.zrange(PENDING, 0, 0, withscores=True)
    age = max(0.0, time.time() - oldest[0][1]) if oldest else 0.0
    yield "queue_depth", "gauge", "Entries that wait in the queue", queues
    projects: Any = store.redis.hkeys(PROJECTS)
    undelivered: float = sum(_owed(store, name.decode()) for name in projects)
    yield "tasks_owed", "gauge", "Tasks finished that Label Studio lacks", [({}, undelivered)]
    yield "oldest_pending_seconds", "gauge", "Age of the oldest of them", [({}, age)]
    yield "leases_active", "gauge", "Tasks in workers' hands", [({}, store.redis.scard(LEASED))]
    yield "worker_up", "gauge", "1 for a worker with its model loaded", workers


def _by(counted: Mapping[str, int], prefix: str, label: str) -> list[Sample]:
    return [
        ({label: name.removeprefix(prefix)}, count)
        for name, count in sorted(counted.items())
        if name.startswith(prefix)
    ]


def _lines(name: str, samples: list[Sample]) -> Iterator[str]:
    for labels, value in samples:
        # JSON quotes as the format does: backslash, quote and line break.
        inside = ",".join(f"{key}={json.dumps(text)}" for key, text in labels.items())
        shown = f"{name}{{{inside}}}" if inside else name
        yield f"{shown} {value:.15g}\n"  # a float's own digits: six would round counters


def _project(store: JobStore, name: str, unfinished: int, running: int) -> dict[str, Any]:
    rows: Any = store.redis.hgetall(TOTALS + name)
    totals = {field.decode(): int(count) for field, count in rows.items()}
    counts = {state: totals.get(state, 0) for state in ("done", "dead", "refused")}
    undelivered = _owed(store, name)
    return {
        "project": name,
        "pending": max(0, unfinished - running),
        "running": running,
        **counts,
        "reasons": _after(totals, "dead:"),
        "owed": undelivered,
        "owed_reason": DeliveryBackoff(store.redis).reason(name) if undelivered else "",
        "deliveries": _after(totals, DELIVERIES),
    }


def _owed(store: JobStore, project: str) -> int:
    """Return how many finished jobs Label Studio lacks; without what Redis has forgotten."""
    oldest = (time.time() - store.terms.result_ttl) * 1000
    return int(store.redis.zcount(OWED + project, oldest, "(+inf"))


def _after(totals: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {f.removeprefix(prefix): n for f, n in totals.items() if f.startswith(prefix)}


def _running(store: JobStore) -> Counter[str]:
    pipe = store.redis.pipeline(transaction=False)
    for key in store.leased():
        pipe.hget(job_key(key), "project")
    return Counter(project.decode() for project in pipe.execute() if project is not None)


def _failed(store: JobStore) -> list[dict[str, Any]]:
    keys: Any = store.redis.lrange(FAILED, 0, -1)
    jobs = [job for key in keys if (job := one(store, key.decode())) and job["state"] == "dead"]
    told = ("job", "project", "task", "code", "reason")
    return [{name: job[name] for name in told} for job in jobs]


def _record(store: JobStore, key: str) -> dict[str, str]:
    rows: Any = store.redis.hgetall(job_key(key))
    return {name.decode(): value.decode() for name, value in rows.items()}
