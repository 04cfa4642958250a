"""The outbox: finished predictions that Label Studio may still lack, and who may deliver them.

A job that Label Studio asked for in order to store the answer gets an entry with its acceptance,
in the same script: a transactional outbox. Two may deliver it, and never both: the request that
still waits for the answer, and `Delivery`, which pushes.

    answering   marks the entry, writes the answer, then marks it as delivered; refused while held
    pushing     holds the entry, pushes, then marks it as delivered; refused once it has changed

A process that dies in between leaves an unconfirmed entry. It falls due again later, and delivery
looks for the prediction in Label Studio before it pushes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from redis import Redis

from grounding.jobs.keys import number, text
from grounding.jobs.outbox import scripts
from grounding.jobs.store import DELIVERIES, UNDELIVERED, Outcome, milliseconds

log = logging.getLogger(__name__)


class DeliveryResult(StrEnum):
    """What became of an outbox entry."""

    ANSWERED = "answered"
    """Label Studio got it as the answer to a request."""
    PUSHED = "pushed"
    """Delivery pushed it, and Label Studio confirmed it."""
    FOUND = "found"
    """It was unconfirmed, and Label Studio has it."""
    REFUSED = "refused"
    """Label Studio does not take it, above all since its task is gone."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A finished job that Label Studio lacks, as it was when it was read.

    With `unconfirmed`, Label Studio may have it. `version` changes with each change of the entry;
    `due` is the version with which it was due. `lost` counts the pushes and looks for it that had
    no answer.
    """

    key: str
    project: str
    task: int
    prediction: Mapping[str, Any]
    unconfirmed: bool
    lost: int
    due: str
    version: str


class Outbox:
    """All entries, over one Redis connection pool; safe to share between threads."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._answer = scripts.ANSWER.bind(redis)
        self._due = scripts.DUE.bind(redis)
        self._hold = scripts.HOLD.bind(redis)
        self._mark_delivered = scripts.MARK_DELIVERED.bind(redis)
        self._put_back = scripts.PUT_BACK.bind(redis)
        self._mark_unconfirmed = scripts.MARK_UNCONFIRMED.bind(redis)
        self._projects = scripts.PROJECTS.bind(redis)

    def answer(
        self, keys: Iterable[str], project: str, *, asked: float, to: str
    ) -> dict[str, Outcome]:
        """Return what came of those of `keys` that may be answered now, and mark their entries.

        `asked` is how many seconds ago Label Studio asked, `to` the kind of its request. Left out
        is what was pushed since, or shortly before, or was just answered to a request of another
        kind: Label Studio has it or is about to. Equal requests get equal answers.
        """
        wanted = list(dict.fromkeys(keys))
        pipe = self._redis.pipeline(transaction=False)
        for key in wanted:
            self._answer(pipe, key=key, project=project, asked_ms=int(asked * 1000), to=to)
        found = zip(wanted, pipe.execute(), strict=True)
        return {key: Outcome.read(text) for key, text in found if text is not None}

    def mark_delivered(self, keys: Iterable[str], project: str, result: DeliveryResult) -> None:
        """Drop the entries of `keys`, and count `result` for each that was there."""
        pushed = result in (DeliveryResult.PUSHED, DeliveryResult.FOUND)
        pipe = self._redis.pipeline(transaction=False)
        for key in keys:
            self._mark_delivered(
                pipe,
                key=key,
                project=project,
                result=DELIVERIES + result,
                hold_ms=scripts.PUSHED_MS if pushed else "",
            )
        pipe.execute()

    def due(self, project: str, limit: int) -> list[OutboxEntry]:
        """Return the entries of `project` that are due, the oldest first, at most `limit`.

        One whose prediction cannot be read is dropped: it could never be delivered.
        """
        rows = self._due(project=project, limit=limit)
        found = [(text(row[0]), _entry(project, *row)) for row in rows]
        for key in (key for key, entry in found if entry is None):
            log.error("job %s: its prediction cannot be read, and is not delivered", key)
            self.mark_delivered([key], project, DeliveryResult.REFUSED)
        return [entry for _, entry in found if entry is not None]

    def hold(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
        """Hold `entries` for a push, and return those that still are as they were seen."""
        pipe = self._redis.pipeline(transaction=False)
        for entry in entries:
            self._hold(pipe, **_identity(entry))
        versions = zip(entries, pipe.execute(), strict=True)
        return [replace(entry, version=word.decode()) for entry, word in versions if word]

    def put_back(self, entries: Iterable[OutboxEntry]) -> None:
        """Give up the hold on `entries`, which were not pushed: they are due as before."""
        pipe = self._redis.pipeline(transaction=False)
        for entry in entries:
            self._put_back(pipe, **_identity(entry), due=entry.due)
        pipe.execute()

    def mark_unconfirmed(self, entries: Iterable[OutboxEntry], *, ended: bool) -> None:
        """Note that nobody knows whether a push stored `entries`; they fall due again later.

        Where the push has `ended`, they are due ten seconds later, else after the longest push.
        Delivery then looks for them in Label Studio, which must have stored them by then.
        """
        wait_ms = scripts.LOST_MS if ended else scripts.HOLD_MS
        pipe = self._redis.pipeline(transaction=False)
        for entry in entries:
            self._mark_unconfirmed(pipe, **_identity(entry), wait_ms=wait_ms)
        pipe.execute()

    def projects(self) -> list[str]:
        """Return the projects that have an entry of a finished job."""
        return [text(name) for name in self._projects()]

    def undelivered(
        self, result_ttl: float, projects: Sequence[str] | None = None
    ) -> dict[str, int]:
        """Return how many finished predictions Label Studio lacks, by project: of all or of some.

        Without those whose result was kept for `result_ttl` seconds and has expired.
        """
        oldest = milliseconds(self._redis) - result_ttl * 1000
        projects = self.projects() if projects is None else projects
        pipe = self._redis.pipeline(transaction=False)
        for project in projects:
            pipe.zcount(UNDELIVERED + project, oldest, "(+inf")
        return dict(zip(projects, pipe.execute(), strict=True))


def _identity(entry: OutboxEntry) -> dict[str, str]:
    return {"key": entry.key, "project": entry.project, "version": entry.version}


def _entry(
    project: str, key: bytes, version: bytes, task: bytes | None, outcome: bytes, *state: bytes
) -> OutboxEntry | None:
    unconfirmed, lost = (number(word) for word in state)
    prediction, due = Outcome.read(outcome).prediction, text(version)
    if prediction is None or task is None or not task.isdigit():
        return None
    return OutboxEntry(text(key), project, int(task), prediction, bool(unconfirmed), lost, due, due)
