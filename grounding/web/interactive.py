"""An annotator's requests: what they ask, and regions and a message back.

The page shows none of our errors. So every request that can be read is answered with HTTP 200,
with the reason of a failure in the config's status area. There is one exception: a broken config
without a status area is refused with 400, because Label Studio then logs the reason. Regions that
exist on the page already, and the page's own limits, are applied here and not in the job, so that
the same intent has the same answer and runs once.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grounding.errors import ConfigError, GroundingError
from grounding.jobs.connection import queue_errors
from grounding.jobs.heartbeat import readiness, worker_statuses
from grounding.jobs.store import Job, Outcome
from grounding.labelstudio.config.interface import LabelConfig
from grounding.labelstudio.config.parse import text_areas
from grounding.labelstudio.controls.base import Drop, Region
from grounding.labelstudio.interactive.commands import is_forget
from grounding.labelstudio.interactive.context import Intent, read_request
from grounding.labelstudio.interactive.existing import (
    Page,
    drop_existing,
    group_regions,
    read_page,
    with_new_ids,
)
from grounding.labelstudio.interactive.limits import apply_limits, read_limits
from grounding.labelstudio.interactive.status import (
    EXISTING,
    LeftOut,
    explain_failure,
    summarize,
    write_status,
)
from grounding.labelstudio.places import Result
from grounding.tasks import model_version
from grounding.web.bodies import PredictRequest, RequestKind
from grounding.web.projects import LatestRequests, Projects, Requester, kept_params, read_config
from grounding.web.services import Services
from grounding.web.submission import (
    Answers,
    JobFactory,
    count_unusable,
    fault,
    run_jobs,
    task_id,
)

log = logging.getLogger(__name__)

Entry = dict[str, Any]
"""One task's place in the answer: regions and a message, both possibly none."""

FORGOTTEN = "the prompt is forgotten"
ONLY_EXCLUDED = "click on what you want first; a click with Alt says what you do not want"
REPLACED = "a newer request took its place"
TIMED_OUT = "the model did not answer in time"
NAMED_TASKS = 10
"""Tasks of one request that a line of the log names."""


@dataclass(frozen=True, slots=True)
class InteractiveRequest:
    """What an annotator asks under a config, for the model version `version`.

    `sent` are all results of the context. `context` is the smallest one that asks the same; the
    job has that one.
    """

    config: LabelConfig
    version: str
    sent: Sequence[Result] = ()
    intent: Intent = field(default_factory=Intent)
    context: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, context: object, config: LabelConfig, version: str) -> InteractiveRequest:
        """Return what `context` asks; `RequestError` `context_invalid` if it cannot be read."""
        request = read_request(context, config)
        return cls(config, version, request.results, request.intent, request.reduced)

    @property
    def forgets(self) -> bool:
        """Whether it only asks to forget the last prompt."""
        return self.intent.typed and is_forget(self.intent.phrase or "")

    @property
    def needs_model(self) -> bool:
        """Whether there is anything to ask the model."""
        return bool(self.intent.controls) and not self.forgets

    @property
    def prompt(self) -> str | None:
        """The prompt to keep for the next task, empty to forget it; None if none was typed."""
        area = self.config.memory()
        if area is None or not self.intent.typed or self.intent.from_name != area.name:
            return None
        if any(not control.shape for control in self.intent.controls):
            return None  # a question, which pre-labelling has no place for
        return "" if self.forgets else self.intent.phrase or ""

    def message(self, text: str) -> Entry:
        """Return an entry without a region, whose status area reads `text`; unchanged if empty."""
        shown = write_status(self.config, text) if text else []
        return {"result": shown, "model_version": self.version}

    def idle_message(self) -> Entry:
        """Return the entry for a request that asks the model nothing, as most contexts do."""
        if self.forgets:
            return self.message(FORGOTTEN)
        excluded = any(result.get("is_positive") is False for result in self.sent)
        return self.message(ONLY_EXCLUDED if excluded else "")

    def page(self, task: object) -> Page:
        """Return what is on the page of the annotator who asks about `task`."""
        return read_page(task if isinstance(task, Mapping) else {}, self.sent, self.version)

    def answer(self, page: Page, outcome: Outcome) -> tuple[Entry, str]:
        """Return the entry for a finished job, and the message in it."""
        if outcome.prediction is None:
            text = explain_failure(outcome.code, outcome.reason)
            return self.message(text), text
        result, text = self._fit(outcome.prediction["result"], page, outcome.left_out)
        shown = {"result": result + write_status(self.config, text), "model_version": self.version}
        return {**outcome.prediction, **shown}, text

    def _fit(
        self, result: Sequence[Region], page: Page, left_out: object
    ) -> tuple[list[Region], str]:
        """Return the part of `result` that is new and within the page's limits, and the message.

        `left_out` is what the worker left out before.
        """
        named = with_new_ids(result)
        fresh = drop_existing(named, page, self.config)
        within = apply_limits(fresh, read_limits(page.results))
        here = {
            EXISTING: len(group_regions(named)) - len(group_regions(fresh)),
            Drop.LOW_SCORE: within.too_low,
            Drop.TOO_MANY: within.too_many,
        }
        every = LeftOut.read(left_out).plus(here)
        return within.result, summarize(len(group_regions(within.result)), every)


@dataclass(frozen=True, slots=True)
class Turn:
    """One task of a request: who asks about it, what is on its page, and its job.

    Instead of the job, why there is none.
    """

    requester: Requester
    page: Page
    job: Job | Outcome

    @classmethod
    def of(cls, raw: object, asked: InteractiveRequest, factory: JobFactory) -> Turn:
        """Return the turn of a raw task; never raises."""
        project = factory.request.project
        try:
            page = asked.page(raw)
        except Exception as exc:  # one task's edge: what it raises costs it alone
            return cls(Requester(project, task_id(raw), ""), Page(), fault(raw, exc))
        requester = Requester(project, task_id(raw), page.user)
        return cls(requester, page, factory.job(raw, requester.digest))


def predict(services: Services, request: PredictRequest) -> list[Entry]:
    """Return one entry per task, whatever happens: the edge of annotators' requests.

    Raises `ConfigError` only for a broken config without a status area.
    """
    params = ""
    try:
        request.check_size(services.settings.max_tasks)
        params = kept_params(services, request.project)
        return _predict(services, request, params)
    except GroundingError as exc:
        broken = LabelConfig(text_areas=text_areas(request.label_config))
        if isinstance(exc, ConfigError) and broken.status_area() is None:
            raise
        reason = str(exc)
        log.warning("tasks %s: %s (%s)", _name_tasks(request), exc, exc.code)
    except Exception:  # the edge: the page shows no error, not even that of a fault of ours
        error_id = secrets.token_hex(4)
        reason = f"a fault of this program; its log tells more under {error_id}"
        log.exception("tasks %s: fault %s", _name_tasks(request), error_id)
    return _explain(services, request, params, reason)


def _name_tasks(request: PredictRequest) -> str:
    more = ["…"] if len(request.tasks) > NAMED_TASKS else []
    return ", ".join([str(task_id(raw)) for raw in request.tasks[:NAMED_TASKS]] + more)


def _explain(services: Services, request: PredictRequest, params: str, reason: str) -> list[Entry]:
    """Return entries with `reason` in the status area, even of a config that is broken."""
    config = LabelConfig(text_areas=text_areas(request.label_config))
    version = services.settings.model_version(request.label_config, params)
    failed = InteractiveRequest(config, version)
    return [failed.message(reason) for _ in request.tasks]


def _predict(services: Services, request: PredictRequest, params: str) -> list[Entry]:
    config = read_config(services, request.project, request.label_config, params)
    version = model_version(services.settings, request.label_config, params)
    asked = InteractiveRequest.read(request.context, config, version)
    _keep_prompt(services, request.project, asked.prompt)
    if not asked.needs_model:
        return [asked.idle_message() for _ in request.tasks]
    factory = JobFactory(request, services.settings, version, params, context=asked.context)
    turns = [Turn.of(raw, asked, factory) for raw in request.tasks]
    with queue_errors():
        _replace_earlier(services, turns)
        count_unusable(services, [turn.job for turn in turns])
        queued = [turn.job for turn in turns if isinstance(turn.job, Job)]
        answers = run_jobs(services, queued, request)
        if request.is_abandoned:
            _withdraw(services, turns, answers)
        return [
            _entry(services, asked, turn, raw, answers)
            for turn, raw in zip(turns, request.tasks, strict=True)
        ]


def _keep_prompt(services: Services, project: str, prompt: str | None) -> None:
    if prompt is not None and project:  # a prompt without a project's name could be anyone's
        with queue_errors():
            Projects(services.queue.redis).keep_prompt(project, prompt)


def _replace_earlier(services: Services, turns: Sequence[Turn]) -> None:
    """Note these requests as their users' latest, so that earlier ones are dropped."""
    latest = LatestRequests(services.queue.store)
    for turn in turns:
        if isinstance(turn.job, Job):
            latest.enter(turn.requester, turn.job.key)


def _withdraw(services: Services, turns: Sequence[Turn], answers: Answers) -> None:
    """Withdraw the jobs that are not finished: whoever asked for them has hung up."""
    for turn in turns:
        if isinstance(turn.job, Job) and turn.job.key not in answers.outcomes:
            asker = turn.requester.digest
            dropped = services.queue.store.cancel([turn.job.key], asker, one=True)
            goes_on = "is dropped" if dropped else "goes on for others"
            log.info("task %s: the caller has hung up; its job %s", turn.requester.task, goes_on)


def _entry(
    services: Services, asked: InteractiveRequest, turn: Turn, raw: object, answers: Answers
) -> Entry:
    outcome = answers.outcomes.get(turn.job.key) if isinstance(turn.job, Job) else turn.job
    if outcome is None:
        text = _late_message(services, turn, full=answers.full)
        entry = asked.message(text)
    else:
        entry, text = _answer(asked, turn, raw, outcome)
    log.info("task %s: %s", turn.requester.task, text)
    return entry


def _answer(
    asked: InteractiveRequest, turn: Turn, raw: object, outcome: Outcome
) -> tuple[Entry, str]:
    try:
        return asked.answer(turn.page, outcome)
    except Exception as exc:  # one task's edge: what it raises costs it alone
        return asked.answer(turn.page, fault(raw, exc))


def _late_message(services: Services, turn: Turn, *, full: bool) -> str:
    """Return why an annotator's job is not finished."""
    latest = LatestRequests(services.queue.store)
    if isinstance(turn.job, Job) and latest.is_replaced(turn.requester, turn.job.key):
        return REPLACED
    if full:
        bound = services.places.bounds[RequestKind.INTERACTIVE]
        return f"the server is full: {bound} requests of annotators wait. Ask again in a moment"
    reason = readiness(worker_statuses(services.queue.redis))
    return TIMED_OUT if reason == "ready" else f"the model is not ready: {reason}"
