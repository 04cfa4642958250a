"""The real web server and worker with a timer around each step of a request.

`app` is for gunicorn; `python -m benchmarks.overhead.probes` runs a worker. Each step adds a line
to the file named by PROBES: its name, and its start and end in seconds of the monotonic clock,
which all processes of a machine share. With FREE_MODEL, the worker's model answers at once.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from grounding import factory, pipeline
from grounding.jobs.queues import Queues
from grounding.jobs.store import JobStore
from grounding.jobs.worker import Worker
from grounding.media.fetch import Fetcher
from grounding.qwen.profiles import PROFILES
from grounding.testing import ScriptedEngine, answer_each, make_completion
from grounding.web import predictions
from grounding.web.app import create_app

STEPS: tuple[tuple[str, Any, str], ...] = (
    ("request", predictions, "predict"),
    ("queued", Queues, "put"),
    ("noticed", JobStore, "outcomes"),
    ("job", Worker, "_work"),
    ("claim", JobStore, "claim"),
    ("fetch", Fetcher, "fetch"),
    ("view", pipeline._Pictures, "views"),
    ("model", pipeline, "ask_model"),
    ("write", JobStore, "finish"),
)


def install_timers() -> None:
    """Put a timer around each step."""
    file = os.open(os.environ["PROBES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for name, owner, attribute in STEPS:
        setattr(owner, attribute, _time(name, getattr(owner, attribute), file))


def _time(name: str, step: Callable[..., Any], file: int) -> Callable[..., Any]:
    @functools.wraps(step)
    def timed(*args: Any, **kwargs: Any) -> Any:
        begun = time.monotonic()
        try:
            return step(*args, **kwargs)
        finally:
            os.write(file, f"{name} {begun} {time.monotonic()}\n".encode())

    return timed


def free_engine(*_: object) -> ScriptedEngine:
    """Return an engine that finds a cat in every picture, and costs nothing."""
    found = make_completion('[{"bbox_2d": [10, 10, 90, 90], "label": "cat"}]', -0.1)
    bounded = PROFILES["qwen2.5-vl"].bounded(min_pixels=280**2, max_pixels=280**2)
    return ScriptedEngine(answer_each(lambda _: found), bounded)


if "PROBES" in os.environ:
    install_timers()
    app = create_app()

if __name__ == "__main__":
    from grounding.cli.main import worker

    if "FREE_MODEL" in os.environ:
        factory.load_engine = free_engine
    sys.argv = ["worker"]
    worker()
