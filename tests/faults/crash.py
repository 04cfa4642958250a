"""Kills the process at one named step of its work, once in the life of a deployment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grounding.images.fetch import Fetcher
from grounding.jobs.debts import Debts
from grounding.jobs.lanes import Lanes
from grounding.jobs.ledger import Ledger
from grounding.jobs.slots import Slot
from grounding.labelstudio.importing import Importer
from tests.faults.scripted import ScriptedEngine

POINTS: dict[str, tuple[type, str, bool]] = {
    "before the key is taken to work": (Slot, "execute_job", False),
    "before the lease": (Ledger, "claim", False),
    "after the lease": (Ledger, "claim", True),
    "after the fetch": (Fetcher, "fetch", True),
    "before the model": (ScriptedEngine, "ask", False),
    "after the model": (ScriptedEngine, "ask", True),
    "before the result is written": (Ledger, "finish", False),
    "after the result is written": (Ledger, "finish", True),
    "before RQ hears that it is done": (Slot, "handle_job_success", False),
    "after the job is accepted": (Ledger, "accept", True),
    "after the job is queued": (Lanes, "put", True),
    "after the answer is marked": (Debts, "answer", True),
    "after the answer is sent": (Debts, "pay", False),
    "after the answer is paid": (Debts, "pay", True),
    "before the push": (Importer, "send", False),
    "after the push": (Importer, "send", True),
    "after the push is paid": (Debts, "pay", True),
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
