"""The real web server and worker, with a stopwatch at each step of a request.

`app` is for gunicorn; `python -m benchmarks.probes` is a worker. Each step is appended to the
file that PROBES names, as its name and the seconds when it began and ended on the clock that all
processes of one machine share.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from grounding import pipeline
from grounding.jobs.metrics import MeteredEngine
from grounding.jobs.queues import Queues
from grounding.jobs.store import JobStore
from grounding.jobs.worker import Worker
from grounding.media.fetch import Fetcher
from grounding.web import predictions
from grounding.web.app import create_app

STEPS: tuple[tuple[str, Any, str], ...] = (
    ("request", predictions, "predict"),
    ("queued", Queues, "put"),
    ("noticed", JobStore, "outcomes"),
    ("job", Worker, "_work"),
    ("claim", JobStore, "claim"),
    ("fetch", Fetcher, "fetch"),
    ("prepare", pipeline, "prepare"),
    ("model", MeteredEngine, "ask"),
    ("write", JobStore, "finish"),
)


def arm() -> None:
    """Put a stopwatch around each step."""
    file = os.open(os.environ["PROBES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for name, owner, attribute in STEPS:
        setattr(owner, attribute, _timed(name, getattr(owner, attribute), file))


def _timed(name: str, step: Callable[..., Any], file: int) -> Callable[..., Any]:
    @functools.wraps(step)
    def timed(*args: Any, **kwargs: Any) -> Any:
        begun = time.monotonic()
        try:
            return step(*args, **kwargs)
        finally:
            os.write(file, f"{name} {begun} {time.monotonic()}\n".encode())

    return timed


if "PROBES" in os.environ:
    arm()
    app = create_app()

if __name__ == "__main__":
    from grounding.cli.serve import worker

    sys.argv = ["worker"]
    worker()
