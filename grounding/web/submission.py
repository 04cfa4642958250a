"""Turns tasks into jobs, queues them, and returns what is done by the deadline.

The web process never touches pixels or the model, so it always has time for Label Studio's short
time limits.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grounding.errors import DataError, QueueError, fault_of
from grounding.jobs.payloads import split
from grounding.jobs.store import FULL, UNUSABLE, Job, Outcome, State
from grounding.settings import Settings
from grounding.tasks import Task
from grounding.web.bodies import PredictRequest, RequestKind
from grounding.web.parsing.strict import data_unwritable, write, write_data
from grounding.web.services import OpenQueue, Services, deadline

log = logging.getLogger(__name__)

ACCEPT_BATCH = 1000
ACCEPT_BYTES = 4 * 2**20
"""Bytes of task data that are entered at once, but for a job that has more by itself."""
PROGRESS_SECONDS = 5.0
"""Time between two lines about a running bulk request."""
OUTBOX_SECONDS = 3.0
"""How long after its deadline a request may still be writing its answer; then delivery pushes."""
REFUSALS = {
    State.FULL: "the project has too many unfinished tasks, or the queue's memory is used up",
    State.NO_ROOM: "the pictures in unfinished tasks have GROUNDING_MAX_BLOB_BYTES",
}
MAX_ID = 2**63 - 1
"""The largest id of Label Studio's database."""


@dataclass(frozen=True, slots=True)
class JobFactory:
    """Makes the jobs of one request: holds what all its tasks share.

    `context` is what an annotator asks, `prompt` what pre-labelling looks for by itself.
    """

    request: PredictRequest
    settings: Settings
    version: str
    extra_params: str
    context: Mapping[str, Any] | None = None
    prompt: str = ""

    def job(self, raw: object, asker: str = "") -> Job | Outcome:
        """Return the job of a raw task, or why it has none, with a line in the log; never raises.

        `asker` is a digest of the annotator who asks, empty for an unknown one.
        """
        try:
            return self._job(raw, asker)
        except DataError as error:
            name = f"task {task_id(raw)} of project {self.request.project}"
            log.warning("%s: %s (%s)", name, error, error.code)
            return Outcome(code=error.code, reason=str(error))
        except Exception as exc:  # one task's edge: what it raises costs it alone
            return fault(raw, exc)

    def _job(self, raw: object, asker: str) -> Job:
        project, kind = self.request.project, self.request.kind
        written = write_data(raw)
        written.check()
        payload = self._task(raw).payload()
        key = self._identify(payload, written.text)
        # A job that nobody waits for any more is dropped. All answers but an annotator's serve the
        # next request.
        interactive = kind is RequestKind.INTERACTIVE
        timeout = self.settings.interactive_deadline if interactive else 0
        parts = split(payload, written.text)
        return Job(key, kind.queue, project, parts.record, parts.data, timeout, parts.config, asker)

    def _task(self, raw: object) -> Task:
        """Return a raw task without its data, which is written apart."""
        return Task(
            id=task_id(raw),
            data={},
            label_config=self.request.label_config,
            context=self.context,
            model_version=self.version,
            extra_params=self.extra_params,
            project=self.request.project,
            prompt=self.prompt,
        )

    def _identify(self, payload: Mapping[str, Any], data: bytes) -> str:
        """Return the key of a payload with this data: a digest of what its answer depends on."""
        try:
            texts = {name: write(value).encode() for name, value in payload.items()}
            texts["data"] = data  # megabytes are digested without holding Python's lock
            project, url = write(self.request.project), write(self.settings.label_studio_url)
            found = hashlib.sha256(f"[{project}, {url}, {{".encode())
        except (ValueError, RecursionError) as exc:  # a lone surrogate, or nested too deep
            raise data_unwritable() from exc
        for number, (name, text) in enumerate(sorted(texts.items())):
            found.update(f'{", " if number else ""}"{name}": '.encode())
            found.update(text)
        found.update(b"}]")
        return found.hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Answers:
    """What came of a request's jobs, by key; with `full` the request found no place to wait."""

    outcomes: Mapping[str, Outcome]
    full: bool = False


class Progress:
    """Tells the log every few seconds how far a request is: one line, whatever its tasks do."""

    def __init__(
        self, project: str, total: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._project = project
        self._total = total
        self._clock = clock
        self._begun = self._logged = clock()
        self._first: int | None = None

    def report(self, unfinished: int) -> None:
        """Log how many tasks are done, and about how long the others take at this pace."""
        now, done = self._clock(), self._total - unfinished
        self._first = done if self._first is None else self._first
        if now - self._logged < PROGRESS_SECONDS:
            return
        self._logged = now
        fresh = done - self._first
        left = f", about {unfinished * (now - self._begun) / fresh:.0f} s left" if fresh else ""
        log.info("project %s: %d of %d tasks done%s", self._project, done, self._total, left)

    def ignore(self, unfinished: int) -> None:
        """Log nothing: a request that is over in a moment needs no progress."""


def run_jobs(services: Services, jobs: list[Job], request: PredictRequest) -> Answers:
    """Queue `jobs`, wait for them at most until the request's deadline, and return what is done.

    The list is empty once they are queued, since they may have megabytes and the wait is long.

    Raises `QueueError` if an annotator's job is not accepted, and lets Redis's own errors through.
    """
    queue, kind = services.queue, request.kind
    if sum(len(job.blob) for job in jobs) > ACCEPT_BYTES:
        queue = queue.with_patience()
    seconds = deadline(kind, services.settings, queue.redis)
    due = seconds + OUTBOX_SECONDS if request.uses_outbox else None
    accepted = accept(queue, jobs, due, urgent=kind is RequestKind.INTERACTIVE)
    jobs.clear()
    with services.places.take(kind) as placed:
        if placed:
            # Reading and accepting twenty thousand tasks takes some of the caller's time, too.
            progress = Progress(request.project, len(accepted))
            report = progress.report if kind is RequestKind.BULK else progress.ignore
            until = request.begun + seconds
            queue.wakeups.wait(accepted, until, report, lambda: request.is_abandoned)
    outcomes = _outcomes(queue, accepted, request)
    full = not placed and len(outcomes) < len(accepted)
    if full:
        _note_full(services, request)
    return Answers(outcomes, full)


def count_unusable(services: Services, outcomes: Sequence[Job | Outcome]) -> None:
    """Count the tasks of a request that have no job, by the code of the reason."""
    codes = Counter(one.code for one in outcomes if isinstance(one, Outcome))
    for code, number in codes.items():
        services.queue.store.count(UNUSABLE + code, number)


def fault(raw: object, error: Exception) -> Outcome:
    """Return the outcome of a raw task at which this program failed, and log the details."""
    log.error("task %s: a fault of this program", task_id(raw), exc_info=error)
    told = fault_of(error)
    return Outcome(code=told.code, reason=str(told))


def task_id(raw: object) -> int | None:
    """Return a raw task's id; None if it has none that is a number."""
    found = raw.get("id") if isinstance(raw, Mapping) else None
    if not isinstance(found, int) or isinstance(found, bool):
        return None
    return found if abs(found) <= MAX_ID else None


def accept(queue: OpenQueue, jobs: Sequence[Job], due: float | None, *, urgent: bool) -> list[str]:
    """Enter and queue `jobs`; return the keys of those accepted.

    Refused ones are counted and logged; if an annotator waits (`urgent`), `QueueError` says why.
    """
    accepted: list[str] = []
    refused: Counter[State] = Counter()
    for batch in _batches(jobs):
        states = _accept_batch(queue, batch, due)
        refused.update(state for state in states.values() if state in REFUSALS)
        accepted += [key for key, state in states.items() if state not in REFUSALS]
    for state, count in refused.items():
        what, why = (jobs[0].project, count, len(jobs)), REFUSALS[state]
        log.warning("project %s: %d of %d tasks not accepted: %s", *what, why)
        if urgent:
            raise QueueError(
                f"no room: {REFUSALS[state]}", code="queue_full", hint="Ask again in a while"
            )
    return accepted


def _batches(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Yield the jobs, a few at a time: Redis serves nobody else while it takes in a batch."""
    batch: list[Job] = []
    size = 0
    for job in jobs:
        if batch and (len(batch) == ACCEPT_BATCH or size + len(job.blob) > ACCEPT_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(job)
        size += len(job.blob)
    if batch:
        yield batch


def _accept_batch(queue: OpenQueue, batch: Sequence[Job], due: float | None) -> dict[str, State]:
    states: dict[str, State] = {}
    for job, state in zip(batch, queue.store.accept(batch, deliver_after=due), strict=True):
        states.setdefault(job.key, state)  # the second of two equal tasks is known already
    fresh = [key for key, state in states.items() if state in (State.NEW, State.RAISED)]
    if fresh:
        queue.queues.put(batch[0].queue, fresh)
    return states


def _outcomes(
    queue: OpenQueue, accepted: Sequence[str], request: PredictRequest
) -> Mapping[str, Outcome]:
    if not request.uses_outbox:
        return queue.store.outcomes(accepted)
    asked = time.monotonic() - request.begun
    return queue.outbox.answer(accepted, request.project, asked=asked, to=request.kind.name)


def _note_full(services: Services, request: PredictRequest) -> None:
    kind = request.kind.value
    full = f"full: {services.places.bounds[request.kind]} {kind} requests wait already"
    log.warning("project %s: %s; this one is not waited for", request.project, full)
    services.queue.store.count(FULL + kind, 1)
