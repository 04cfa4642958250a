"""Kills the process at one named step of its work, once in the life of a deployment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grounding.jobs.outbox.outbox import Outbox
from grounding.jobs.queues import Queues
from grounding.jobs.slots import Slot
from grounding.jobs.store import JobStore
from grounding.labelstudio.client.importing import Importer
from grounding.media.fetch import Fetcher
from grounding.testing import ScriptedEngine

POINTS: dict[str, tuple[type, str, bool]] = {
    "before the key is taken to work": (Slot, "execute_job", False),
    "before the lease": (JobStore, "claim", False),
    "after the lease": (JobStore, "claim", True),
    "after the fetch": (Fetcher, "fetch", True),
    "before the model": (ScriptedEngine, "submit", False),
    "after the model": (ScriptedEngine, "compute", True),
    "before the result is written": (JobStore, "finish", False),
    "after the result is written": (JobStore, "finish", True),
    "before RQ hears that it is done": (Slot, "handle_job_success", False),
    "after the job is accepted": (JobStore, "accept", True),
    "after the job is queued": (Queues, "put", True),
    "after the answer is marked": (Outbox, "answer", True),
    "after the answer is sent": (Outbox, "mark_delivered", False),
    "after the answer is paid": (Outbox, "mark_delivered", True),
    "before the push": (Importer, "send", False),
    "after the push": (Importer, "send", True),
    "after the push is paid": (Outbox, "mark_delivered", True),
}
"""A step's name to the method that is it, and whether the end comes behind it."""


def arm(point: str, spent: Path) -> None:
    """Make this process die at `point`, unless the file `spent` tells that one has already."""
    owner, name, behind = POINTS[point]
    step: Callable[..., Any] = getattr(owner, name)

    def crash() -> None:
        try:
            spent.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def armed(*args: Any, **kwargs: Any) -> Any:
        if not behind:
            crash()
        result = step(*args, **kwargs)
        if behind:
            crash()
        return result

    setattr(owner, name, armed)
