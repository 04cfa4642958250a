"""The one path of all predict requests: those of our server and those of label-studio-ml's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from grounding.errors import QueueError
from grounding.jobs.connection import queue_errors
from grounding.jobs.outbox.outbox import DeliveryResult
from grounding.jobs.store import Job, Outcome
from grounding.labelstudio.config.interface import LabelConfig
from grounding.tasks import model_version
from grounding.web import interactive
from grounding.web.bodies import PredictRequest, RequestKind
from grounding.web.projects import Projects, kept_params, read_config
from grounding.web.services import Services
from grounding.web.submission import JobFactory, count_unusable, run_jobs

log = logging.getLogger(__name__)

Entry = dict[str, Any] | list[Any]
"""One task's place in the answer: a prediction, or `[]` for none yet."""


@dataclass(frozen=True, slots=True)
class PredictResponse:
    """One entry per task, and the jobs of `project` that are delivered once the caller has them."""

    entries: Sequence[Entry]
    project: str = ""
    undelivered: Sequence[str] = ()


def predict(services: Services, request: PredictRequest) -> PredictResponse:
    """Return one entry per task, in order, by the deadline of the request's kind.

    A task that cannot be answered, or not yet, has `[]`; late predictions follow by delivery. Call
    `mark_delivered` when the caller has the answer. Raises `ConfigError` for a broken labelling
    config, `RequestError` for too many tasks and `QueueError` without a queue; what an annotator
    asks has the reason in its entries instead, as `interactive` says.
    """
    if request.kind is RequestKind.INTERACTIVE:
        return PredictResponse(interactive.predict(services, request))
    return _prelabel(services, request)


def mark_delivered(services: Services, response: PredictResponse) -> None:
    """Note that the caller has taken the last byte of `response`.

    Label Studio may still fail to save it; then it asks again, and is answered again.
    """
    if not response.undelivered:
        return
    try:
        services.queue.outbox.mark_delivered(
            response.undelivered, response.project, DeliveryResult.ANSWERED
        )
    except (QueueError, RedisError) as exc:  # delivery will look for them in Label Studio
        count = len(response.undelivered)
        log.warning("project %s: %d predictions stay unconfirmed: %s", response.project, count, exc)


def _prelabel(services: Services, request: PredictRequest) -> PredictResponse:
    request.check_size(services.settings.max_tasks)
    params = kept_params(services, request.project)
    config = read_config(services, request.project, request.label_config, params)
    if not config.prelabels:
        return PredictResponse([[] for _ in request.tasks])
    version = model_version(services.settings, request.label_config, params)
    with queue_errors():
        prompt = _last_prompt(services, request.project, config)
        factory = JobFactory(request, services.settings, version, params, prompt=prompt)
        made = [factory.job(raw) for raw in request.tasks]
        count_unusable(services, made)
        keys = [job.key if isinstance(job, Job) else job for job in made]
        jobs = [job for job in made if isinstance(job, Job)]
        del made
        answers = run_jobs(services, jobs, request)
    found = [answers.outcomes.get(key) if isinstance(key, str) else key for key in keys]
    undelivered = list(answers.outcomes) if request.uses_outbox else []
    return PredictResponse([_entry(outcome) for outcome in found], request.project, undelivered)


def _last_prompt(services: Services, project: str, config: LabelConfig) -> str:
    """Return the prompt that pre-labelling looks for, typed last; empty if there is none."""
    kept = project and config.memory()
    return Projects(services.queue.redis).prompt(project) if kept else ""


def _entry(outcome: Outcome | None) -> Entry:
    if outcome is None or outcome.prediction is None:
        return []
    return dict(outcome.prediction)
