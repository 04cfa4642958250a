"""The operator's page: plain HTML from this server, complete without its script."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from flask import Response, render_template, request

from grounding.errors import QueueError
from grounding.evaluation.plots import Mark, draw
from grounding.evaluation.records import read_regions
from grounding.geometry import image_frame
from grounding.jobs.connection import queue_errors
from grounding.jobs.operating.answers import KEPT_SECONDS, LastAnswer, LastAnswers
from grounding.settings import Settings
from grounding.web.operator import status
from grounding.web.operator.actions import form_token
from grounding.web.operator.listing import SHOWN_PROJECTS, Listing
from grounding.web.services import Services

T = TypeVar("T")

FOLDER = Path(__file__).parent
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a browser may load for the page: its script and its pictures, nothing from elsewhere."""
UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
GIB = 2**30
NO_FAILURES = ("cancelled", "nobody_waits")
"""Codes of tasks that ended without an answer since nobody wanted one."""
REFRESH_SECONDS = 5
"""How often the page is loaded anew by its script; without, half as often."""


def page(services: Services) -> Response:
    """Return the page; it also answers while there is no worker, or no queue."""
    shown = Response(_render(services), mimetype="text/html")
    shown.headers["Content-Security-Policy"] = POLICY
    shown.headers["Cache-Control"] = "no-store"
    shown.headers["Referrer-Policy"] = "same-origin"
    return shown


def script() -> Response:
    """Return the page's script."""
    return Response((FOLDER / "page.js").read_text(), mimetype="text/javascript")


def thumbnail(services: Services, key: str) -> Response | None:
    """Return the small picture of an answer; None where it is kept no more."""
    with queue_errors():
        found = _answers(services).picture(key)
    if found is None:
        return None
    shown = Response(found, mimetype="image/jpeg")
    shown.headers["Cache-Control"] = f"private, max-age={KEPT_SECONDS}"
    return shown


def _answers(services: Services) -> LastAnswers:
    return LastAnswers(services.queue.redis, services.settings.shown_answers)


def _render(services: Services) -> str:
    settings, faults = services.settings, list[str]()
    nothing: dict[str, Any] = {"projects": [], "failed": []}
    listing = _part(lambda: Listing.of(services.queue.store, request.args), Listing(), faults)
    overview = _part(lambda: status.read_overview(services, listing.names), nothing, faults)
    answers = _part(lambda: _answers(services).read(), list[LastAnswer](), faults)
    token = _part(lambda: form_token(services.queue.redis), "", faults)
    state = status.read_readiness(services)
    projects = [_project(one, settings) for one in overview["projects"]]
    asked = token and request.args.get("cancel", "")
    return render_template(
        "operator/page.html",
        state=state,
        faults=[one for one in dict.fromkeys(faults) if one != state["reason"]],
        projects=projects,
        listing=listing,
        shown=SHOWN_PROJECTS,
        failed=[_failure(one, settings) for one in overview["failed"]],
        answers=[_answer(one, settings) for one in answers],
        hours=KEPT_SECONDS // 3600,
        cancelling=next((one for one in projects if asked and one["project"] == asked), None),
        did=request.args,
        number="".join(filter(str.isdecimal, request.args.get("project", "").split(".")[0])),
        token=token,
        seconds=REFRESH_SECONDS,
        gib=lambda size: f"{size / GIB:.1f}",
    )


def _part(read: Callable[[], T], none: T, faults: list[str]) -> T:
    """Return what one part of the page shows; `none`, and why, where it cannot be read."""
    try:
        with queue_errors():
            return read()
    except QueueError as exc:
        faults.append(str(exc))
        return none


def _project(facts: dict[str, Any], settings: Settings) -> dict[str, Any]:
    left, reasons = facts["seconds_left"], facts["reasons"]
    return {
        **facts,
        "failed": facts["failed"] - sum(reasons.get(code, 0) for code in NO_FAILURES),
        "number": facts["project"].split(".")[0],
        "link": _link(settings, facts["project"]),
        "pace": _pace(facts["rate"]),
        "left": "" if left is None else f"about {_duration(left)}",
        "codes": ", ".join(f"{code} {n:,}" for code, n in sorted(reasons.items())),
    }


def _failure(facts: dict[str, Any], settings: Settings) -> dict[str, Any]:
    return {
        **facts,
        "number": facts["project"].split(".")[0],
        "link": _link(settings, facts["project"], facts["task"]),
        "ago": _duration(time.time() - facts["at"]),
    }


def _answer(one: LastAnswer, settings: Settings) -> dict[str, Any]:
    regions = read_regions(list(one.result), Counter())
    drawing = draw(image_frame(*one.size), [Mark("place", regions)], f"thumbnails/{one.key}")
    return {
        "drawing": drawing,
        "task": one.task,
        "number": one.project.split(".")[0],
        "link": _link(settings, one.project, one.task),
        "found": _names([region.label or region.text for region in regions]),
        "ago": _duration(time.time() - one.at),
    }


def _names(labels: Sequence[str]) -> str:
    """Return what was found and how often, such as "car ×3, dog"."""
    counts = Counter(label for label in labels if label).most_common(4)
    return ", ".join(f"{label} ×{n}" if n > 1 else label for label, n in counts) or "nothing found"


def _link(settings: Settings, project: str, task: object = None) -> str:
    """Return the address of a project or a task in Label Studio; empty where it is unknown."""
    home, number = settings.label_studio_host or settings.label_studio_url, project.split(".")[0]
    if not home or not number:
        return ""
    return f"{home}/projects/{number}/data{f'?task={task}' if task else ''}"


def _pace(rate: float | None) -> str:
    """Return a rate in the unit in which it is a number to read."""
    if rate is None:
        return ""
    size, unit = next((one for one in reversed(UNITS[1:]) if rate * one[0] >= 1), UNITS[1])
    return f"{rate * size:,.1f}/{unit}"


def _duration(seconds: float) -> str:
    """Return a time in its two largest units, such as "2 h 5 min"."""
    whole = max(1, round(seconds))
    for (size, unit), (less, lesser) in pairwise(UNITS):
        if whole >= size:
            count, rest = divmod(whole, size)
            return f"{count} {unit} {rest // less} {lesser}".removesuffix(f" 0 {lesser}")
    return f"{whole} s"
