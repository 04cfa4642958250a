"""Ends the process when the model hangs: nothing else gets a GPU out of a call that never returns.

The clock runs in a thread of C that needs no interpreter lock, so it rings even while native
code holds that lock, where no Python timer, signal handler or exception could. Whoever started
the process starts it again; its leases lapse, and what it held is taken up by others.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2


class Watchdog:
    """Ends this process with status 1, all stacks on stderr, `seconds` after the last step.

    It watches only inside `watching`. With 0 seconds it never does. A process has one such
    clock, so only one thread may use it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Expect the block, or each step in it, to end within the time."""
        self.step()
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    def step(self) -> None:
        """Say that the work goes on: the time starts anew."""
        if self._seconds:
            # By its number, since what stands for stderr may have none.
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=STDERR)
