"""CPU time of a call, whatever the tests before it left in memory and in other threads."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def cpu_seconds(act: Callable[[], object]) -> float:
    """Return the CPU seconds that `act` takes in this thread, collecting no garbage."""
    gc.disable()
    try:
        begun = time.thread_time()
        act()
        return time.thread_time() - begun
    finally:
        gc.enable()
