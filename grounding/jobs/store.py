"""The job store: what was asked, who holds it, what came of it. It is in Redis, and is the truth.

A job is one task of one request, and its key is a digest of all that its answer depends on: the
same job asked twice is one record. Its life:

    accept ──► pending ──claim──► leased ──finish──► done    kept for `result_ttl`
                │ ▲                 │  └────fail───► failed  kept for `failed_ttl`, with its reason,
                │ └─expire/release/─┘                        or 10 s where an annotator waited
                │   postpone
                └──cancel──► counted as failed, and forgotten: an interactive job without an asker

Every change of state is one script of `scripts`, which Redis runs whole or not at all. RQ only
carries keys. A pending job that is in no queue of RQ is listed as unqueued, and the reconciler
queues it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from redis import Redis

from grounding.errors import GroundingError
from grounding.jobs import scripts
from grounding.jobs.keys import FOR_EVER, GONE, PREFIX, number, redis_key, text
from grounding.jobs.payloads import (
    FORMAT,
    OLDEST_FORMAT,
    Claim,
    Job,
    Outcome,
    QueueName,
    State,
    digest,
    unreadable,
)
from grounding.settings import Settings

__all__ = [
    "PREFIX",
    "Claim",
    "Job",
    "JobStore",
    "Outcome",
    "QueueName",
    "State",
    "StoreLimits",
]

log = logging.getLogger(__name__)

PENDING = redis_key("pending")
UNQUEUED = redis_key("unqueued")
LEASED = redis_key("leased")
DEADLINES = redis_key("deadlines")
COUNTERS = redis_key("counters")
PROJECTS = redis_key("projects")
UNFINISHED = redis_key("unfinished")
CONFIGS = redis_key("configs")
TOTALS = PREFIX + "totals:"
UNDELIVERED = PREFIX + "undelivered:"
"""Before a project: its outbox entries, each with the millisecond from which it may be pushed."""
DROPPED, NOTED = "dropped:", "noted:"
"""Before the counters of findings that became no region, and of the reader's notes."""
FULL = "full:"
"""Before the counters of predict requests that found no free place to wait, by their kind."""
UNUSABLE = "unusable:"
"""Before the counters of tasks that came in a request and could not be queued, by their code."""
DELIVERIES = "delivery:"
"""Before the counters of what became of outbox entries."""

ROOM = 0.8
"""Part of Redis's memory that new jobs may fill; the rest is for finishing what is there."""

SEEN_SECONDS = 10
"""How long a failed job of an annotator is kept: its request looks every two seconds."""

MAX_DEATHS = 3
"""Processes that may die of a job that runs alone, before it fails."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """How long things are kept, in seconds, and how much may be unfinished.

    `max_pending` counts the jobs of one project, `max_blob_bytes` what all jobs carry beside
    their records.
    """

    lease_ttl: int = 6
    result_ttl: int = 86_400
    failed_ttl: int = 600
    max_pending: int = 10_000
    max_blob_bytes: int = 256 * 2**20

    @classmethod
    def of(cls, settings: Settings) -> StoreLimits:
        """Return the limits that `settings` give."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})


def job_key(key: str) -> str:
    """Return the Redis key of a job's record."""
    return redis_key("job", key=key)


def milliseconds(redis: Redis) -> int:
    """Return the time of Redis's own clock."""
    seconds, micros = redis.time()
    return int(seconds * 1000 + micros // 1000)


def lease_key(key: str) -> str:
    """Return the Redis key of a job's lease."""
    return redis_key("lease", key=key)


class JobStore:
    """All jobs, over one Redis connection pool; safe to share between threads."""

    def __init__(self, redis: Redis, limits: StoreLimits | None = None) -> None:
        self.redis = redis
        self.limits = limits or StoreLimits()
        self._accept = scripts.ACCEPT.bind(redis)
        self._watch = scripts.WATCH.bind(redis)
        self._cancel = scripts.CANCEL.bind(redis)
        self._claim = scripts.CLAIM.bind(redis)
        self._renew = scripts.RENEW.bind(redis)
        self._finish = scripts.FINISH.bind(redis)
        self._fail = scripts.FAIL.bind(redis)
        self._start_alone = scripts.START_ALONE.bind(redis)
        self._release = scripts.RELEASE.bind(redis)
        self._postpone = scripts.POSTPONE.bind(redis)
        self._expire = scripts.EXPIRE.bind(redis)
        self._foreign_formats: set[str] = set()

    def accept(self, jobs: Sequence[Job], *, deliver_after: float | None = None) -> list[State]:
        """Enter `jobs`, and return the state of each: `NEW` and `RAISED` ones must be queued.

        With `deliver_after` each job that names a task and a project is undelivered from now on:
        Label Studio gets its prediction in an answer, or by a push after so many seconds.

        A known job, in whatever state, is not entered again; one that a person waits for is
        raised from the bulk to the interactive queue. Two states mean that a job was not accepted.
        `FULL`: the project has `max_pending` unfinished jobs (twice as many for the interactive
        queue), or Redis's memory is nearly used up. `NO_ROOM`: all blobs together would exceed
        `max_blob_bytes`.
        """
        max_pending = 0 if self.is_short_of_memory(jobs) else self.limits.max_pending
        digests = {job.config: digest(job.config) for job in jobs if job.config}
        pipe = self.redis.pipeline(transaction=False)
        for config, name in digests.items() if max_pending else ():
            pipe.set(redis_key("config", digest=name), config, ex=self.limits.result_ttl)
        for job in jobs:
            self._accept(
                pipe,
                **self._facts(job, deliver_after),
                digest=digests.get(job.config, ""),
                max_pending=max_pending,
            )
        answers = pipe.execute()[-len(jobs) :] if jobs else []
        return [State.of(answer.decode()) for answer in answers]

    def _facts(self, job: Job, deliver_after: float | None) -> dict[str, str | int | bytes]:
        task = job.payload.get("id")
        delivers = deliver_after is not None and job.project and task is not None
        return {
            "key": job.key,
            "queue": job.queue.value,
            "project": job.project,
            "task": json.dumps(task),
            "format": FORMAT,
            "payload": _compact(job.payload, allow_nan=True),
            "data": job.blob,
            "max_blob_bytes": self.limits.max_blob_bytes,
            "result_ttl": self.limits.result_ttl,
            "timeout_ms": int(job.timeout * 1000),
            "asker": job.asker,
            "deliver_ms": int((deliver_after or 0) * 1000) if delivers else "",
        }

    def is_short_of_memory(self, jobs: Sequence[Job] = ()) -> bool:
        """Say whether `jobs` would take Redis's memory beyond the part that is for new jobs."""
        memory: Any = self.redis.info("memory")
        limit: float = ROOM * memory.get("maxmemory", 0)
        configs = sum(map(len, {job.config for job in jobs}))
        used: int = memory["used_memory"] + configs + sum(len(job.blob) for job in jobs)
        return 0 < limit < used

    def obstacle(self) -> str:
        """Return why no new job would be accepted now; empty where at least some would be.

        A project with `max_pending` unfinished jobs is no obstacle while the queue serves others.
        """
        if self.is_short_of_memory():
            return "the queue's memory is nearly full. Raise maxmemory of Redis"
        busy = self.unfinished_by_project().values()
        if busy and min(busy) >= self.limits.max_pending:
            return "every project in the queue has GROUNDING_MAX_PENDING unfinished tasks"
        return ""

    def watch(self, keys: Sequence[str], inbox: str) -> list[str]:
        """Return those of `keys` that have ended or are unknown; `inbox` gets the others' keys.

        Each key is pushed to the Redis list `inbox` once, when its job ends. The list expires
        after two minutes without a push, and keeps the last ten thousand keys.
        """
        pipe = self.redis.pipeline(transaction=False)
        for key in keys:
            self._watch(pipe, key=key, inbox=inbox, result_ttl=self.limits.result_ttl)
        return [key for key, waits in zip(keys, pipe.execute(), strict=True) if not waits]

    def cancel(self, keys: Iterable[str], asker: str = "", *, one: bool = False) -> int:
        """Withdraw `asker`, or `one` of their requests, and drop what nobody asks for any more.

        Returns how many were dropped, of interactive jobs alone. Each counts as failed with the
        code `nobody_waits`. Its record is gone: it may be asked again, and its worker ends it.
        """
        when = "left" if one else "now"
        return sum(int(self._cancel(key=key, when=when, asker=asker)) for key in keys)

    def cancel_unwaited(self) -> int:
        """Drop the jobs whose askers' time is over, as `cancel` does; return how many."""
        late: Any = self.redis.zrangebyscore(DEADLINES, "-inf", milliseconds(self.redis))
        return sum(int(self._cancel(key=text(key), when="due", asker="")) for key in late)

    def unfinished(self, keys: Sequence[str]) -> list[str]:
        """Return those of `keys` that are pending or leased."""
        if not keys:
            return []
        scores = self.redis.zmscore(PENDING, list(keys))
        return [key for key, score in zip(keys, scores, strict=True) if score is not None]

    def unfinished_by_project(self) -> dict[str, int]:
        """Return how many jobs of each project are pending or leased; of those that have some."""
        rows: Any = self.redis.hgetall(UNFINISHED)
        return {text(project): number(count) for project, count in rows.items()}

    def projects(self) -> list[str]:
        """Return the projects that were used in the last 90 days, the latest last."""
        names: Any = self.redis.zrange(PROJECTS, 0, -1)
        return [text(name) for name in names]

    def outcomes(self, keys: Iterable[str]) -> dict[str, Outcome]:
        """Return what came of those of `keys` that have ended."""
        wanted = list(dict.fromkeys(keys))
        pipe = self.redis.pipeline(transaction=False)
        for key in wanted:
            pipe.hget(job_key(key), "outcome")
        found = zip(wanted, pipe.execute(), strict=True)
        return {key: Outcome.read(text) for key, text in found if text is not None}

    def claim(self, key: str, owner: str) -> Claim | None:
        """Lease a pending job to `owner`; None where it has ended, is unknown or another's.

        None also where its record has a format of another release, which is left to a process
        that reads it, and where it is unreadable: then the job fails.
        """
        answer = self._claim(
            key=key,
            owner=owner,
            lease_ms=self.limits.lease_ttl * 1000,
            oldest=OLDEST_FORMAT,
            newest=FORMAT,
        )
        if answer is None:
            return None
        verdict, version, *rest = answer
        if verdict == b"left":
            self._log_left(text(version))
            return None
        return self._read_claim(key, version, *rest)

    def _log_left(self, number: str) -> None:
        if number not in self._foreign_formats:
            self._foreign_formats.add(number)
            log.warning("jobs of format %s wait for a worker of another release", number)

    def _read_claim(
        self, key: str, version: bytes | None, record: bytes | None, *rest: Any
    ) -> Claim | None:
        queue, alone, left, blob, config = rest
        try:
            payload = json.loads(record or b"")
        except (ValueError, RecursionError):
            payload = None
        if version is None or not isinstance(payload, dict):
            log.error("job %s: %s", key, unreadable())
            self.fail(key, unreadable())
            return None
        name = QueueName.of((queue or b"").decode(errors="replace"))
        deadline = None if left is None else time.monotonic() + left / 1000
        return Claim(key, payload, alone is not None, name, deadline, blob, config)

    def is_known(self, key: str) -> bool:
        """Say whether there is a record of the job: of one that was cancelled there is none."""
        return bool(self.redis.exists(job_key(key)))

    def start_alone(self, key: str, owner: str) -> bool:
        """Note that `owner` runs the job now, none beside it; False where its lease was lost."""
        return bool(self._start_alone(key=key, owner=owner))

    def renew(self, keys: Iterable[str], owner: str) -> None:
        """Prolong the leases that `owner` holds on `keys`."""
        pipe = self.redis.pipeline(transaction=False)
        for key in keys:
            self._renew(pipe, key=key, owner=owner, lease_ms=self.limits.lease_ttl * 1000)
        pipe.execute()

    def finish(
        self,
        key: str,
        prediction: Mapping[str, Any],
        verdict: str,
        left_out: Mapping[str, Any] | None = None,
        dropped: Mapping[str, int] | None = None,
    ) -> bool:
        """Write a job's prediction, and beside it what it left out; False where it has ended.

        `dropped` are the findings that became no region, by reason: they are counted.
        """
        extra = {"left_out": left_out} if left_out else {}
        outcome = _compact({"prediction": prediction, **extra})
        ttl, counts = self.limits.result_ttl, _compact(dict(dropped or {}))
        return bool(
            self._finish(key=key, outcome=outcome, verdict=verdict, ttl=ttl, dropped=counts)
        )

    def fail(self, key: str, error: GroundingError) -> bool:
        """Write that a job has failed for good and why; False where it has ended already.

        Known for `failed_ttl`, and listed for `result_ttl`; where an annotator waits, only known
        until the answer has the reason: people who ask again want another try.
        """
        outcome = _compact({"code": error.code, "reason": str(error)})
        return bool(
            self._fail(
                key=key,
                outcome=outcome,
                code=error.code,
                ttl=self.limits.failed_ttl,
                seen=SEEN_SECONDS,
                kept=self.limits.result_ttl,
            )
        )

    def release(self, keys: Iterable[str], owner: str) -> None:
        """Give back at once the jobs that `owner` holds, as a stopping process does."""
        for key in keys:
            self._release(key=key, owner=owner)

    def postpone(self, key: str, owner: str, *, suspect: bool) -> int:
        """Give a job back to the bulk; return how often it was `suspect` of an outage so far."""
        return int(self._postpone(key=key, owner=owner, suspect=int(suspect)))

    def expire(self, key: str) -> int:
        """Put a leased job whose lease ran out back to pending; return its deaths so far."""
        return int(self._expire(key=key))

    def leased(self) -> dict[str, bool]:
        """Return the jobs that workers hold, and whether each lease still runs.

        A lease that has longer to run than any is given for, or for ever, was given before Redis's
        clock was set back, or by others: it is shortened, and its holder prolongs it if it lives.
        """
        members: Any = self.redis.smembers(LEASED)
        keys = [text(key) for key in members]
        term = self.limits.lease_ttl * 1000
        pipe = self.redis.pipeline(transaction=False)
        for key in keys:
            pipe.pttl(lease_key(key))
        left = dict(zip(keys, pipe.execute(), strict=True))
        for key in (key for key, ms in left.items() if ms > term or ms == FOR_EVER):
            self.redis.pexpire(lease_key(key), term)
        return {key: ms != GONE for key, ms in left.items()}

    def count(self, name: str, by: int) -> None:
        """Add to one of the running totals."""
        self.redis.hincrby(COUNTERS, name, by)

    def read_totals(self) -> tuple[dict[str, int], int]:
        """Return the running totals and how many jobs are unfinished, both of one moment.

        At any moment, accepted = done + failed + unfinished. `done:` comes before a verdict,
        `failed:` before the code of a failure.
        """
        pipe = self.redis.pipeline()
        pipe.hgetall(COUNTERS)
        pipe.zcard(PENDING)
        rows, unfinished = pipe.execute()
        return {text(name): number(n) for name, n in rows.items()}, unfinished


def _compact(value: Mapping[str, Any], *, allow_nan: bool = False) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=allow_nan, separators=(",", ":"))
