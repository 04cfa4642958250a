"""The ledger: what was asked, who holds it, what came of it. Redis holds it, and it is the truth.

A job is one task of one request, and its key is a digest of all that its answer depends on: the
same job asked twice is one record. Its life:

    accept ──► pending ──claim──► leased ──finish──► done   kept for `result_ttl`
                │ ▲                 │  └────bury───► dead   kept for `failed_ttl`, with its reason,
                │ └lapse/release/   ┘                        or 10 s where a person was told it
                │   postpone
                └──cancel──► dead, and forgotten: an annotator's question that nobody waits for

Every change of state is one script of `changes`, which Redis runs whole or not at all. RQ only
carries keys: losing its queues loses nothing, because the reconciler puts back what is pending,
unleased and not queued.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from redis import Redis

from grounding.errors import GroundingError
from grounding.jobs import scripts as changes
from grounding.settings import Settings

PREFIX = "g:"
PENDING = PREFIX + "pending"
LEASED = PREFIX + "leased"
COUNTERS = PREFIX + "counters"
DROPPED, NOTED = "dropped:", "noted:"
"""Before the counters of detections that became no region, and of what the parser remarked."""
PROJECTS = PREFIX + "projects"
TOTALS = PREFIX + "totals:"
FAILED = PREFIX + "failed"
OWED = PREFIX + "owed:"
"""Before a project: its debts, each with the time in milliseconds from which it may be pushed."""
DELIVERIES = "delivery:"
"""Before the counters of what became of debts."""
FORGOTTEN = DELIVERIES + "forgotten"
"""Counts the debts that Redis kept for `result_ttl`, and no longer."""
WAITED = PREFIX + "waited"
"""Until when someone waits for each interactive job, in milliseconds of Redis's own clock."""
BLOB_BYTES = PREFIX + "blob_bytes"

ROOM = 0.8
"""Part of Redis's memory that new jobs may fill; the rest is for finishing what is there."""

TOLD_SECONDS = 10
"""How long a failed question of a person is kept: the request that waits looks far more often."""

MAX_DEATHS = 3
"""Processes that a job may take down, running alone, before it is dead itself."""


class QueueName(StrEnum):
    """The two RQ queues: people who wait go past the bulk."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class State(StrEnum):
    """Where a job stands, as `accept` finds it."""

    NEW = "new"
    RAISED = "raised"
    PENDING = "pending"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"
    FULL = "full"
    NO_ROOM = "no_room"


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be answered: a `payload` of plain JSON under its `key`.

    `blob` is what the payload refers to and lies beside it. After `patience` seconds nobody
    waits for the answer any more; 0 means that it is wanted whenever it comes.
    """

    key: str
    queue: QueueName
    project: str
    payload: Mapping[str, Any]
    blob: str = ""
    patience: float = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this process holds; with `alone`, since its last holder died, beside no other.

    `waited` is whether a person waits for the answer. `blob` is what was kept beside the payload,
    None where nothing was or it has expired.
    """

    key: str
    payload: Mapping[str, Any]
    alone: bool
    queue: QueueName = QueueName.BULK
    waited: bool = False
    blob: bytes | None = None

    @property
    def urgent(self) -> bool:
        """Whether it goes before the bulk."""
        return self.queue is QueueName.INTERACTIVE


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a finished job: a prediction, or the code and reason of its death."""

    prediction: Mapping[str, Any] | None = None
    code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """How long things are kept, in seconds, and how much may be unfinished.

    `max_pending` counts the jobs of one project, `max_blob_bytes` what all jobs carry beside
    their payloads.
    """

    lease_ttl: int = 6
    result_ttl: int = 86_400
    failed_ttl: int = 600
    max_pending: int = 10_000
    max_blob_bytes: int = 256 * 2**20

    @classmethod
    def of(cls, settings: Settings) -> StoreLimits:
        """Return the terms that `settings` give."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})


def job_key(key: str) -> str:
    """Return the Redis key of a job's record."""
    return f"{PREFIX}job:{key}"


def lease_key(key: str) -> str:
    """Return the Redis key of a job's lease."""
    return f"{PREFIX}lease:{key}"


def blob_key(key: str) -> str:
    """Return the Redis key of what a job carries beside its payload."""
    return f"{PREFIX}blob:{key}"


class JobStore:
    """The ledger over one Redis connection pool; safe to share between threads."""

    def __init__(self, redis: Redis, terms: StoreLimits | None = None) -> None:
        self.redis = redis
        self.terms = terms or StoreLimits()
        self._accept = redis.register_script(changes.ACCEPT)
        self._cancel = redis.register_script(changes.CANCEL)
        self._claim = redis.register_script(changes.CLAIM)
        self._renew = redis.register_script(changes.RENEW)
        self._settle = redis.register_script(changes.SETTLE)
        self._start_alone = redis.register_script(changes.START_ALONE)
        self._release = redis.register_script(changes.RELEASE)
        self._postpone = redis.register_script(changes.POSTPONE)
        self._lapse = redis.register_script(changes.EXPIRE)

    def accept(self, jobs: Sequence[Job], *, wait: float | None = None) -> list[State]:
        """Enter `jobs`, and return for each how it stood: `NEW` and `RAISED` want queueing.

        With `wait` each is owed to Label Studio from now on, where it names a task and a
        project: answered within so many seconds, or delivered after them.

        A job that is known already, in whatever state, is not entered again; one that a person
        waits for is raised to the front lane. Two states mean that this one was not accepted.
        `FULL`: the project has `max_pending` unfinished jobs (for the front lane twice as many),
        or Redis's memory is nearly used up. `NO_ROOM`: all blobs together would exceed
        `max_blob_bytes`.
        """
        terms = self.terms
        limit = 0 if self.is_short_of_memory(jobs) else terms.max_pending
        pipe = self.redis.pipeline(transaction=False)
        for job in jobs:
            keys = [job_key(job.key), PENDING, PROJECTS, COUNTERS, TOTALS + job.project]
            keys += [blob_key(job.key), BLOB_BYTES, WAITED]
            payload = json.dumps(job.payload, ensure_ascii=False, separators=(",", ":"))
            args = [time.time(), job.queue.value, job.project, payload, limit, job.key]
            task = json.dumps(job.payload.get("id"))
            args += [task, job.blob, terms.max_blob_bytes, terms.result_ttl]
            undelivered = wait is not None and job.project and job.payload.get("id") is not None
            keys.append(OWED + job.project)
            args += [
                int(job.patience * 1000),
                int(wait * 1000) if wait is not None and undelivered else "",
            ]
            self._accept(keys=keys, args=args, client=pipe)
        return [State(answer.decode()) for answer in pipe.execute()]

    def is_short_of_memory(self, jobs: Sequence[Job] = ()) -> bool:
        """Say whether `jobs` would take Redis's memory beyond the part that is for new jobs."""
        memory: Any = self.redis.info("memory")
        limit: float = ROOM * memory.get("maxmemory", 0)
        used: int = memory["used_memory"] + sum(len(job.blob) for job in jobs)
        return 0 < limit < used

    def obstacle(self) -> str:
        """Return why no new job would be accepted now; empty where at least some would be.

        A project with `max_pending` unfinished jobs is none: the queue serves the others.
        """
        if self.is_short_of_memory():
            return "the queue's memory is nearly full. Raise maxmemory of Redis"
        unfinished: Any = self.redis.hvals(PROJECTS)
        busy = [int(count) for count in unfinished if int(count)]
        if busy and min(busy) >= self.terms.max_pending:
            return "every project in the queue has MAX_PENDING unfinished tasks"
        return ""

    def cancel(self, keys: Iterable[str]) -> int:
        """Drop those of `keys` that people no longer ask for; return how many were dropped.

        Only an interactive job that nobody holds yet is dropped, and only when each who asked it
        has withdrawn: it is counted as dead with the code `nobody_waits`, and its record is gone,
        so that it may be asked again at once.
        """
        return sum(self._cancelled(key, "now") for key in keys)

    def cancel_unwaited(self) -> int:
        """Drop the jobs whose askers' time is over, as `cancel` does; return how many."""
        waited: Any = self.redis.zrange(WAITED, 0, -1)
        return sum(self._cancelled(key.decode(), "due") for key in waited)

    def _cancelled(self, key: str, when: str) -> int:
        keys = [job_key(key), PENDING, PROJECTS, COUNTERS, WAITED, blob_key(key), BLOB_BYTES]
        return int(self._cancel(keys=keys, args=[key, when, TOTALS]))

    def unfinished(self, keys: Sequence[str]) -> list[str]:
        """Return those of `keys` that are neither done nor dead yet."""
        if not keys:
            return []
        scores = self.redis.zmscore(PENDING, list(keys))
        return [key for key, score in zip(keys, scores, strict=True) if score is not None]

    def watch(self, keys: Sequence[str], inbox: str) -> None:
        """Have the keys of those of `keys` that finish from now on added to the list `inbox`."""
        pipe = self.redis.pipeline(transaction=False)
        for key in keys:
            pipe.sadd(f"{PREFIX}watchers:{key}", inbox)
            pipe.expire(f"{PREFIX}watchers:{key}", 300)
        pipe.execute()

    def outcomes(self, keys: Iterable[str]) -> dict[str, Outcome]:
        """Return what came of those of `keys` that are finished."""
        wanted = list(dict.fromkeys(keys))
        pipe = self.redis.pipeline(transaction=False)
        for key in wanted:
            pipe.hget(job_key(key), "outcome")
        found = zip(wanted, pipe.execute(), strict=True)
        return {key: Outcome(**json.loads(raw)) for key, raw in found if raw is not None}

    def claim(self, key: str, owner: str) -> Claim | None:
        """Lease a pending job to `owner`; None where it is finished, unknown or someone else's."""
        keys = [job_key(key), lease_key(key), LEASED, COUNTERS]
        keys += [PENDING, PROJECTS, WAITED, blob_key(key), BLOB_BYTES]
        answer = self._claim(keys=keys, args=[owner, self.terms.lease_ttl * 1000, key, TOTALS])
        if answer is None:
            return None
        payload, alone, queue, waited, blob = answer
        queue = QueueName(queue.decode())
        return Claim(key, json.loads(payload), alone == b"1", queue, waited == b"1", blob)

    def start_alone(self, key: str, owner: str) -> bool:
        """Note that `owner` runs the job now, none beside it; False where its lease was lost."""
        return bool(self._start_alone(keys=[job_key(key), lease_key(key)], args=[owner]))

    def renew(self, keys: Iterable[str], owner: str) -> None:
        """Prolong the leases that `owner` holds on `keys`."""
        pipe = self.redis.pipeline(transaction=False)
        for key in keys:
            ttl = self.terms.lease_ttl * 1000
            self._renew(keys=[lease_key(key)], args=[owner, ttl], client=pipe)
        pipe.execute()

    def finish(self, key: str, prediction: Mapping[str, Any], verdict: str) -> bool:
        """Write a job's prediction; False where an earlier result stands."""
        outcome = {"prediction": prediction}
        return self._settled(key, State.DONE, outcome, verdict, self.terms.result_ttl)

    def fail(self, key: str, error: GroundingError, *, waited: bool = False) -> bool:
        """Write that a job has failed for good and why; False where an earlier result stands.

        Kept for `failed_ttl`, or where a person `waited` until that one has been told: people who
        ask again want another try.
        """
        outcome = {"code": error.code, "reason": str(error)}
        kept = TOLD_SECONDS if waited else self.terms.failed_ttl
        return self._settled(key, State.FAILED, outcome, error.code, kept, listed=not waited)

    def release(self, keys: Iterable[str], owner: str) -> None:
        """Give back at once the jobs that `owner` holds, as a stopping process does."""
        for key in keys:
            self._release(keys=[job_key(key), lease_key(key), LEASED], args=[owner, key])

    def postpone(self, key: str, owner: str, *, suspect: bool) -> int:
        """Give a job back to the bulk; return how often it was `suspect` of what befell it."""
        keys = [job_key(key), lease_key(key), LEASED]
        return int(self._postpone(keys=keys, args=[owner, key, int(suspect)]))

    def expire(self, key: str) -> int:
        """Put a leased job whose lease ran out back to pending; return its deaths so far."""
        keys = [job_key(key), lease_key(key), COUNTERS, LEASED]
        return int(self._lapse(keys=keys, args=[key]))

    def pending(self) -> dict[str, float]:
        """Return the unfinished jobs and when each was accepted (Unix seconds), oldest first."""
        rows: Any = self.redis.zrange(PENDING, 0, -1, withscores=True)
        return {key.decode(): accepted for key, accepted in rows}

    def leased(self) -> dict[str, bool]:
        """Return the jobs in workers' hands, and whether each one's holder still lives.

        A lease that has longer to run than any is given for was given before Redis's clock was
        set back: it is shortened, and its holder prolongs it if it lives.
        """
        members: Any = self.redis.smembers(LEASED)
        keys = [key.decode() for key in members]
        term = self.terms.lease_ttl * 1000
        pipe = self.redis.pipeline(transaction=False)
        for key in keys:
            pipe.pttl(lease_key(key))
        left = dict(zip(keys, pipe.execute(), strict=True))
        for key in (key for key, ms in left.items() if ms > term):
            self.redis.pexpire(lease_key(key), term)
        return {key: ms > 0 for key, ms in left.items()}

    def queues(self, keys: Sequence[str]) -> dict[str, QueueName]:
        """Return the lane of each job among `keys` that is unfinished."""
        pipe = self.redis.pipeline(transaction=False)
        for key in keys:
            pipe.hget(job_key(key), "queue")
        found = zip(keys, pipe.execute(), strict=True)
        return {key: QueueName(queue.decode()) for key, queue in found if queue is not None}

    def count(self, name: str, by: int) -> None:
        """Add to one of the running totals."""
        self.redis.hincrby(COUNTERS, name, by)

    def counters(self) -> dict[str, int]:
        """Return the totals by name; verdicts stand after `done:`, codes after `failed:`."""
        return self.books()[0]

    def books(self) -> tuple[dict[str, int], int]:
        """Return the running totals and how many jobs are unfinished, both of one moment.

        At any moment, accepted = done + failed + unfinished.
        """
        pipe = self.redis.pipeline()
        pipe.hgetall(COUNTERS)
        pipe.zcard(PENDING)
        rows, unfinished = pipe.execute()
        return {name.decode(): int(n) for name, n in rows.items()}, unfinished

    def _settled(
        self,
        key: str,
        state: State,
        outcome: Mapping[str, Any],
        verdict: str,
        kept: int,
        *,
        listed: bool = False,
    ) -> bool:
        text = json.dumps(outcome, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        keys = [job_key(key), lease_key(key), PENDING, PROJECTS, COUNTERS, LEASED, FAILED]
        keys += [blob_key(key), BLOB_BYTES, WAITED]
        args: list[str | int] = [state.value, text, kept, key, verdict, TOTALS, OWED, FORGOTTEN]
        args.append(int(listed))
        return bool(self._settle(keys=keys, args=args))
