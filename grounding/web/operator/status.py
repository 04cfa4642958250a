"""What operators ask as JSON: whether a model is ready, every project's jobs, and the counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from grounding.errors import QueueError, SettingError
from grounding.jobs.connection import check_keeping, queue_errors
from grounding.jobs.heartbeat import WorkerStatus, readiness, worker_statuses
from grounding.jobs.metrics import render_metrics
from grounding.jobs.operating.overview import describe_job, describe_queue
from grounding.labelstudio.client.api import BOTH_NEEDED, KEY_NEEDED
from grounding.settings import Settings
from grounding.web.services import Services


def read_readiness(services: Services) -> dict[str, Any]:
    """Return `ready`, why or why not, warnings for the operator, and what each worker reports.

    `queue_warnings` are about the server of the queue, `warnings` about all else.
    """
    settings, notes = services.settings, list[str]()
    try:
        with queue_errors():
            notes = check_keeping(services.queue.redis, settings)
            state = _read_workers(services)
    except (QueueError, SettingError) as exc:
        state = {"ready": False, "reason": str(exc), "workers": []}
    said = {"warnings": warnings(settings), "queue_warnings": notes}
    return {**state, **said, "revision": settings.revision or None}


def warnings(settings: Settings) -> list[str]:
    """Return what will fail under these settings, though everything starts."""
    if settings.label_studio_api_key:
        return []
    return [KEY_NEEDED if settings.label_studio_url else BOTH_NEEDED]


def _read_workers(services: Services) -> dict[str, Any]:
    workers = worker_statuses(services.queue.redis)
    obstacle = services.queue.store.obstacle()
    ready = not obstacle and any(worker.is_ready for worker in workers)
    reason = obstacle or readiness(workers)
    return {"ready": ready, "reason": reason, "workers": [_worker(worker) for worker in workers]}


def read_overview(services: Services, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return projects' counts and the last failures; `QueueError` without a queue."""
    with queue_errors():
        return describe_queue(services.queue.store, names)


def read_job(services: Services, key: str) -> dict[str, Any] | None:
    """Return the state of one job; None if there is no such job (any more)."""
    with queue_errors():
        return describe_job(services.queue.store, key)


def read_metrics(services: Services) -> bytes:
    """Return all counters in Prometheus' text format."""
    with queue_errors():
        return render_metrics(services.queue.store)


def _worker(status: WorkerStatus) -> dict[str, Any]:
    return {name: value for name, value in asdict(status).items() if name != "obstacle"}
