"""A real worker process with the scripted model: `python -m tests.faults.worker CALLS SECONDS`.

FORGET is the number of seconds after which RQ drops the job of a killed worker; its default is
seven minutes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from grounding.factory import fetcher
from grounding.jobs.connection import queue_url
from grounding.jobs.slots import Slot
from grounding.jobs.worker import Worker
from grounding.logs import set_up_logging
from grounding.pipeline import WorkerContext
from grounding.settings import Settings
from tests.faults import scripted as model
from tests.faults.clock import shift_by
from tests.faults.crash import arm


def scripted(settings: Settings, tell: Callable[..., None]) -> WorkerContext:
    """Return the worker's context with the scripted model."""
    calls, seconds = sys.argv[1], float(sys.argv[2])
    engine = model.engine(calls, seconds=seconds, job_timeout=settings.job_timeout)
    return WorkerContext(
        engine,
        fetcher(settings),
        settings.max_new_tokens,
        settings.max_image_pixels,
        settings.labels_per_query,
    )


if __name__ == "__main__":
    if point := os.environ.get("CRASH"):
        arm(point, Path(sys.argv[1] + ".crashed"))
    if clock := os.environ.get("CLOCK"):
        shift_by(Path(clock))
    if seconds := os.environ.get("FORGET"):
        Slot.get_heartbeat_ttl = lambda *_: int(seconds)  # type: ignore[method-assign]
    chosen = Settings.load()
    set_up_logging(chosen.log_level)
    sys.exit(Worker(chosen, queue_url(chosen), scripted).run())
