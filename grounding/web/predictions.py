"""Tasks to jobs to predictions: the one path, whether our server or label-studio-ml calls it.

The web process validates, enters jobs in the ledger, waits and replies. It never touches
pixels or the model, so it always has time for Label Studio's short time limits.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import BoundedSemaphore, Lock
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from grounding.errors import ConfigError, DataError, QueueError, RequestError
from grounding.jobs.connection import connect, queue_errors, queue_url
from grounding.jobs.heartbeat import any_ready, readiness, worker_statuses
from grounding.jobs.outbox.delivery import Delivery
from grounding.jobs.outbox.outbox import DeliveryResult, Outbox
from grounding.jobs.payloads import parted
from grounding.jobs.projects import LatestRequests, Projects, Requester
from grounding.jobs.queues import Queues
from grounding.jobs.reconciler import Reconciler
from grounding.jobs.store import Job, JobStore, Outcome, QueueName, State, StoreLimits
from grounding.jobs.wakeups import Wakeups
from grounding.labelstudio.config.extra_params import read_params
from grounding.labelstudio.config.interface import LabelConfig
from grounding.labelstudio.config.parse import parse, text_areas
from grounding.labelstudio.interactive.existing import Page
from grounding.labelstudio.interactive.intent import Intent
from grounding.pipeline import Task
from grounding.settings import Settings
from grounding.web.entries import NO_DATA, Entry, canonical, entry_of, offering, task_id
from grounding.web.interactive import InteractiveRequest
from grounding.web.requests import PredictRequest, PredictResponse, RequestKind

log = logging.getLogger(__name__)

ACCEPT_BATCH = 1000
DUE_SECONDS = 3.0
"""How long after its deadline a request may still be writing its answer: then delivery pushes."""
ANSWER_SECONDS = 1.5
"""Longest that a request waits for one word of the queue, before it is refused."""
MAX_DOUBTS = 10_000
LATER = "Ask again in a while"
REFUSALS = {
    State.FULL: "the project has too many unfinished tasks, or the queue's memory is used up",
    State.NO_ROOM: "the pictures in unfinished tasks have MAX_BLOB_BYTES",
}
RESERVED_THREADS = 4
"""Server threads that waiting predictions never take, so that health checks are answered."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One task of an annotator's request: its id, what is on its page, and its job, if any."""

    task: int | None
    page: Page
    job: Job | None

    def asker(self, project: str) -> Requester:
        """Return who asks about what."""
        return Requester(project, self.task, self.page.user)


@dataclass(frozen=True, slots=True)
class Queue:
    """The open queue: its connection, the ledger, the lanes, and this process's threads."""

    redis: Redis
    store: JobStore
    undelivered: Outbox
    queues: Queues
    reconciler: Reconciler
    delivery: Delivery | None
    wakeups: Wakeups

    @classmethod
    def open(cls, settings: Settings) -> Queue:
        """Return the queue that the settings name; nothing is sent yet."""
        redis = connect(queue_url(settings), answer_seconds=ANSWER_SECONDS)
        store = JobStore(redis, StoreLimits.of(settings))
        wakeups = Wakeups(store)
        wakeups.start()
        reconciler = Reconciler(redis, store)
        reconciler.start()
        delivery = Delivery.of(settings, redis)
        if delivery is not None:
            delivery.start()
        return cls(redis, store, Outbox(redis), Queues(redis), reconciler, delivery, wakeups)

    def close(self) -> None:
        """End the threads and the connection."""
        self.wakeups.stop()
        self.reconciler.stop()
        if self.delivery is not None:
            self.delivery.stop()
        self.redis.close()


class Backend:
    """Answers requests through the ledger and the queue; safe to call from many threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._queue: Queue | None = None
        self._opening = Lock()
        self._doubts: set[tuple[str, str]] = set()
        places = max(1, (settings.threads - RESERVED_THREADS) // 2)  # bulk keeps nobody out
        self._waiters = {queue_name: BoundedSemaphore(places) for queue_name in QueueName}

    def setup(self, label_config: str, project: str, extra_params: object = None) -> str:
        """Return the model version for a project, and keep its `extra_params` for its tasks.

        What is doubtful in them or in the config is logged, once. Raises `ConfigError` where
        either is broken. It answers without a queue too, because Label Studio shows a backend
        that does not as disconnected; the parameters come again with each connection.
        """
        params = read_params(extra_params)
        for doubt in parse(label_config, params.text).warnings:
            self._doubt(project, doubt)
        for name in params.unused:
            self._doubt(project, f"extra_params has {name}, which is not used here")
        try:
            self._keep(project, params.text)
        except QueueError as exc:
            log.warning("the extra_params of project %s are not kept: %s", project, exc)
        return self.version(label_config, params.text)

    def version(self, label_config: str, extra_params: str = "") -> str:
        """Return the model version for a project; `ConfigError` where its config is broken."""
        parse(label_config, extra_params)
        return self.settings.model_version(label_config, extra_params)

    def extra_params(self, project: str) -> str:
        """Return the parameters that `setup` kept of a project; `QueueError` without a queue."""
        with queue_errors():
            return Projects(self.queue.redis).params(project) if project else ""

    def predict(self, request: PredictRequest) -> PredictResponse:
        """Return one entry per task, in order, by the deadline of the request's kind.

        A task that cannot be answered, or not yet, has `[]`; what is owed follows by delivery.
        Tell `sent` when the caller has the answer. Raises `ConfigError` for a broken
        labelling config, `RequestError` for too many tasks and `QueueError` without a queue.
        """
        if len(request.tasks) > self.settings.max_tasks:
            raise RequestError(
                f"the request has {len(request.tasks)} tasks",
                code="too_many_tasks",
                hint=f"Send at most {self.settings.max_tasks}",
            )
        if request.kind is RequestKind.INTERACTIVE:
            return PredictResponse(self._told(request))
        request = replace(request, extra_params=self.extra_params(request.project))
        config, version = self._understood(request)
        if not config.controls:
            return PredictResponse([[] for _ in request.tasks])
        with queue_errors():
            prompt = self._last_prompt(request.project, config)
            sought = prompt if config.seeks_last_prompt else ""
            jobs = [self._job(raw, request, version, sought) for raw in request.tasks]
            outcomes = self._outcomes([job for job in jobs if job], request)
        found = [outcomes.get(job.key) if job else None for job in jobs]
        entries = [offering(entry_of(outcome), config, prompt) for outcome in found]
        return PredictResponse(
            entries, request.project, list(outcomes) if request.undelivered else []
        )

    def _told(self, request: PredictRequest) -> list[Entry]:
        """Answer an annotator, whatever happens: the page shows none of our errors.

        Only a config that is broken and has no status area is an error, for Label Studio's log.
        """
        try:
            request = replace(request, extra_params=self.extra_params(request.project))
            return self._conversed(request)
        except (RequestError, QueueError) as exc:
            known = LabelConfig(text_areas=text_areas(request.label_config))
            if isinstance(exc, ConfigError) and known.status_area() is None:
                raise
            version = self.settings.model_version(request.label_config, request.extra_params)
            dialogue = InteractiveRequest(known, version, (), Intent(), {})
            for raw in request.tasks:
                log.warning("task %s: %s (%s)", task_id(raw), exc, exc.code)
            return [dialogue.said(str(exc)) for _ in request.tasks]

    def _conversed(self, request: PredictRequest) -> list[Entry]:
        config, version = self._understood(request)
        dialogue = InteractiveRequest.read(request.context, config, version)
        if dialogue.prompt is not None and request.project:  # a nameless one could be anyone's
            with queue_errors():
                Projects(self.queue.redis).keep_prompt(request.project, dialogue.prompt)
        if not dialogue.asks:
            return [dialogue.said(dialogue.idle()) for _ in request.tasks]
        asked = replace(request, context=dialogue.context)
        turns = [
            Turn(task_id(raw), dialogue.page(raw), self._job(raw, asked, version))
            for raw in request.tasks
        ]
        with queue_errors():
            latest = LatestRequests(self.queue.store)
            for turn in turns:
                if turn.job:
                    latest.enter(turn.asker(request.project), turn.job.key)
            outcomes = self._outcomes([turn.job for turn in turns if turn.job], asked)
            return [self._answered(request.project, dialogue, turn, outcomes) for turn in turns]

    def _answered(
        self,
        project: str,
        dialogue: InteractiveRequest,
        turn: Turn,
        outcomes: Mapping[str, Outcome],
    ) -> Entry:
        outcome = outcomes.get(turn.job.key) if turn.job else NO_DATA
        late = "" if outcome else self._late(project, turn)
        entry, word = dialogue.answer(turn.page, outcome, late)
        log.info("task %s: %s", turn.task, word)
        return entry

    def _understood(self, request: PredictRequest) -> tuple[LabelConfig, str]:
        config = parse(request.label_config, request.extra_params)
        return config, self.settings.model_version(request.label_config, request.extra_params)

    def _late(self, project: str, turn: Turn) -> str:
        """Return why an annotator has no answer by the deadline."""
        latest = LatestRequests(self.queue.store)
        if turn.job and latest.is_replaced(turn.asker(project), turn.job.key):
            return "a newer question took its place"
        reason = readiness(worker_statuses(self.queue.redis))
        ready = reason == "ready"
        return "the model did not answer in time" if ready else f"the model is not ready: {reason}"

    def _last_prompt(self, project: str, config: LabelConfig) -> str:
        """Return the prompt that is offered for the next task, empty where there is none."""
        return Projects(self.queue.redis).prompt(project) if project and config.memory() else ""

    def sent(self, answer: PredictResponse) -> None:
        """Strike the debts that `answer` pays: its last byte has been taken from us.

        Label Studio may still fail to save it; then it asks again, and is answered again.
        """
        try:
            self.queue.undelivered.mark_delivered(
                answer.undelivered, answer.project, DeliveryResult.ANSWERED
            )
        except (QueueError, RedisError) as exc:  # delivery will look for them in Label Studio
            log.warning("%d debts stay in doubt: %s", len(answer.undelivered), exc)

    @property
    def queue(self) -> Queue:
        """The queue, opened at first use: after gunicorn has forked, and threads may start.

        Raises `QueueError` where none is configured and no embedded one runs.
        """
        with self._opening:
            if self._queue is None:
                self._queue = Queue.open(self.settings)
            return self._queue

    def close(self) -> None:
        """End this process's part in the queue."""
        with self._opening:
            if self._queue is not None:
                self._queue.close()
                self._queue = None

    def _keep(self, project: str, extra_params: str) -> None:
        if project:  # what has no name could be anyone's
            with queue_errors():
                Projects(self.queue.redis).keep_params(project, extra_params)

    def _doubt(self, project: str, doubt: str) -> None:
        """Log a doubt once: Label Studio connects anew at each look at a project."""
        if (project, doubt) in self._doubts:
            return
        if len(self._doubts) >= MAX_DOUBTS:
            self._doubts.clear()
        self._doubts.add((project, doubt))
        log.warning("project %s: %s", project, doubt)

    def _job(self, raw: Any, request: PredictRequest, version: str, prompt: str = "") -> Job | None:
        try:
            task = _task(raw, request, version, prompt)
            payload = task.payload()
            identity = canonical([request.project, self.settings.label_studio_url, payload])
        except DataError as exc:
            log.warning("a task of project %s: %s (%s)", request.project, exc, exc.code)
            return None
        key = hashlib.sha256(identity).hexdigest()[:40]
        # Whether the annotator still waits is known of an interactive question only: the answers
        # to all others serve the next request.
        waits = request.kind is RequestKind.INTERACTIVE
        patience = self.settings.interactive_deadline if waits else 0
        record, blob = parted(payload)
        return Job(key, request.kind.queue, request.project, record, blob, patience)

    def _outcomes(self, jobs: Sequence[Job], request: PredictRequest) -> dict[str, Outcome]:
        deadline = self._deadline(request.kind)
        due = deadline + DUE_SECONDS if request.undelivered else None
        accepted = self._enter(jobs, due, urgent=request.kind is RequestKind.INTERACTIVE)
        with self._patience(request.kind, deadline) as seconds:
            # Reading and entering twenty thousand tasks takes of the caller's time too.
            self.queue.wakeups.wait(accepted, request.begun + seconds)
        if not request.undelivered:
            return self.queue.store.outcomes(accepted)
        asked = time.monotonic() - request.begun
        to = request.kind.name
        return self.queue.undelivered.answer(accepted, request.project, asked=asked, to=to)

    def _enter(self, jobs: Sequence[Job], due: float | None, *, urgent: bool) -> list[str]:
        """Enter and queue `jobs`; return the keys of those accepted.

        The others are counted and logged; where a person waits (`urgent`), `QueueError` tells.
        """
        store, queues = self.queue.store, self.queue.queues
        accepted: list[str] = []
        refused: Counter[State] = Counter()
        for start in range(0, len(jobs), ACCEPT_BATCH):
            batch = jobs[start : start + ACCEPT_BATCH]
            entered = store.accept(batch, wait=due)
            states: dict[str, State] = {}
            for job, state in zip(batch, entered, strict=True):
                states.setdefault(job.key, state)  # the second of two equal tasks is known already
            fresh = [key for key, state in states.items() if state in (State.NEW, State.RAISED)]
            if fresh:
                queues.put(batch[0].queue, fresh)
            refused.update(state for state in states.values() if state in REFUSALS)
            accepted += [key for key, state in states.items() if state not in REFUSALS]
        for state, count in refused.items():
            log.warning("%d of %d tasks not accepted: %s", count, len(jobs), REFUSALS[state])
            if urgent:
                raise QueueError(f"no room: {REFUSALS[state]}", code="queue_full", hint=LATER)
        return accepted

    @contextmanager
    def _patience(self, kind: RequestKind, deadline: float) -> Iterator[float]:
        """Yield how long this request may wait: not at all where too many wait already."""
        waiters = self._waiters[kind.queue]
        if not waiters.acquire(blocking=False):
            log.warning("too many requests wait: answering what is ready")
            yield 0.0
            return
        try:
            yield deadline
        finally:
            waiters.release()

    def _deadline(self, kind: RequestKind) -> float:
        if kind is RequestKind.PAGE and not any_ready(self.queue.redis):
            return 0.0  # the page would hang for nothing
        return {
            RequestKind.INTERACTIVE: self.settings.interactive_deadline,
            RequestKind.PAGE: self.settings.page_deadline,
            RequestKind.BULK: self.settings.bulk_deadline,
        }[kind]


def _task(raw: Any, request: PredictRequest, version: str, prompt: str) -> Task:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("data"), Mapping):
        raise DataError(NO_DATA.reason)
    return Task(
        id=task_id(raw),
        data=raw["data"],
        label_config=request.label_config,
        context=request.context,
        model_version=version,
        extra_params=request.extra_params,
        project=request.project,
        prompt=prompt,
    )
