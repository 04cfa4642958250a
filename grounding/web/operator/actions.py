"""What an operator does from the page: drops what waits of a project, asks failed tasks again.

Browsers send the password with every request, whichever site has made them send it. So a form
carries a token that only this page tells, and what is no form must be JSON, which no other site can
send without leave.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from flask import request
from redis import Redis

from grounding.errors import RequestError
from grounding.jobs.connection import queue_errors
from grounding.jobs.keys import text
from grounding.jobs.operating.control import FailedTask, ProjectControl
from grounding.jobs.operating.scripts import FORM_TOKEN
from grounding.jobs.store import Job
from grounding.tasks import model_version
from grounding.web.bodies import PredictRequest, read_json
from grounding.web.projects import kept_params
from grounding.web.services import Services
from grounding.web.submission import JobFactory, accept

TOKEN_SECONDS = 86_400
TOKEN_FIELD = "token"  # noqa: S105 - a field's name
OWN_SITE = (None, "same-origin", "none")
"""What `Sec-Fetch-Site` says of a request of our own page; older browsers say nothing."""


def form_token(redis: Redis) -> str:
    """Return what a form must carry; the same for every web server, and for a day at least."""
    tell = FORM_TOKEN.bind(redis)
    token: bytes = tell(fresh=secrets.token_urlsafe(24), seconds=TOKEN_SECONDS)
    return text(token)


def check_origin(redis: Redis) -> None:
    """Raise `RequestError` unless the present request is of our page, or of a program."""
    if request.headers.get("Sec-Fetch-Site") not in OWN_SITE:
        raise _foreign()
    if request.is_json:
        read_json()
        return
    sent = request.form.get(TOKEN_FIELD, "").encode(errors="replace")
    if not hmac.compare_digest(sent, form_token(redis).encode()):
        raise _foreign()


def _foreign() -> RequestError:
    return RequestError(
        "the request is not of this page, or of one that was opened long ago",
        code="cross_site",
        hint="Open the page again; programs send JSON, such as {}",
        status=403,
    )


def cancel(services: Services, project: str) -> dict[str, int]:
    """Drop the project's tasks that wait for a worker; `count` is how many."""
    with queue_errors():
        return {"count": ProjectControl(services.queue.redis, project).drop_pending()}


def retry(services: Services, project: str) -> dict[str, int]:
    """Ask the project's failed tasks again, under the present settings; `count` is how many.

    `not_kept` are those of which too little is kept, and which the next Retrieve asks; `refused`
    those for which there is no room now. Label Studio gets the predictions that it wanted by
    delivery, since no request waits for them.
    """
    params = kept_params(services, project)
    with queue_errors():
        control = ProjectControl(services.queue.redis, project)
        failed = control.failed()
        whole = [one for one in failed if one.is_whole]
        jobs = _jobs(services, project, params, whole)
        control.reopen([*(one.key for one in failed), *(job.key for job in jobs.values())])
        taken = _enter(services, whole, jobs)
        gone = [one.task for one in failed if not one.is_whole]
        control.forget([*taken, *gone])
    return {"count": len(taken), "not_kept": len(gone), "refused": len(whole) - len(taken)}


ACTIONS: Mapping[str, Callable[[Services, str], dict[str, int]]] = {
    "cancel": cancel,
    "retry": retry,
}
"""What may be done to a project, by the last part of its address; each returns what came of it."""


def _enter(services: Services, failed: Sequence[FailedTask], jobs: dict[str, Job]) -> list[str]:
    """Accept and queue the jobs of `failed`, and return the tasks of those that were accepted."""
    accepted: set[str] = set()
    for delivers in (True, False):
        some = [jobs[one.task] for one in failed if one.delivers is delivers and one.task in jobs]
        accepted.update(accept(services.queue, some, 0.0 if delivers else None, urgent=False))
    return [one.task for one in failed if one.task in jobs and jobs[one.task].key in accepted]


def _jobs(
    services: Services, project: str, params: str, failed: Iterable[FailedTask]
) -> dict[str, Job]:
    """Return the job of each task, by the task, as a bulk request would make it now."""
    found: dict[str, Job] = {}
    for (config, prompt), some in groupby(sorted(failed, key=_asked), key=_asked):
        asked = PredictRequest((), project, config, None, time.monotonic())
        version = model_version(services.settings, config, params)
        factory = JobFactory(asked, services.settings, version, params, prompt=prompt)
        for one in some:
            job = factory.job(one.payload)
            if isinstance(job, Job):
                found[one.task] = replace(job, queue=asked.kind.queue)
    return found


def _asked(failed: FailedTask) -> tuple[str, Any]:
    """Return what the jobs of one request have in common."""
    return failed.config or "", str((failed.payload or {}).get("prompt") or "")
