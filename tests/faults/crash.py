"""Kills the process at one named step of its work, once per deployment."""

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
from grounding.labelstudio.client.api import Importer
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
    "before RQ notes that it is done": (Slot, "handle_job_success", False),
    "after the job is accepted": (JobStore, "accept", True),
    "after the job is queued": (Queues, "put", True),
    "after the answer is reserved": (Outbox, "answer", True),
    "after the answer is sent": (Outbox, "mark_delivered", False),
    "after the answer is recorded": (Outbox, "mark_delivered", True),
    "before the push": (Importer, "send", False),
    "after the push": (Importer, "send", True),
    "after the push is recorded": (Outbox, "mark_delivered", True),
}
"""Each step: its name, its method, and whether the process dies after it instead of before."""


def arm(point: str, marker: Path) -> None:
    """Make this process die at `point`, unless the file `marker` shows that one already has."""
    owner, name, is_after = POINTS[point]
    step: Callable[..., Any] = getattr(owner, name)

    def crash() -> None:
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def armed(*args: Any, **kwargs: Any) -> Any:
        if not is_after:
            crash()
        result = step(*args, **kwargs)
        if is_after:
            crash()
        return result

    setattr(owner, name, armed)
