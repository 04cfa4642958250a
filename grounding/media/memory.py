"""How much memory this process may use and uses, and its part for pixels, shared by threads."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grounding.waiting import Check, no_check, step

ROOT = Path("/")

SHARE = 4
"""By default a quarter of the memory is for decoding; the rest is for the model and the views."""

URGENT_SHARE = 4
"""A quarter of the budget is never taken by bulk, so that annotators wait for no bulk picture."""

HELD_SHARE = 4
"""A quarter of the budget is the most that films hold, so that few pictures wait for a film.

Only one of more than three quarters of what its kind may take does, with those behind it.
"""


def memory_limit(root: Path = ROOT) -> int:
    """Return how much memory this process may use: its container's limit, or the machine's.

    Reads the limits of control groups, version 2 or 1, as /proc and /sys below `root` show them.
    A limit of any group above this process's own holds too.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            tree = root / "sys/fs/cgroup" / controllers
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            group = tree / path.strip("/")
            # In a container, the path may be the host's, while the tree begins at the container.
            folders = (folder for folder in (group, *group.parents) if folder.is_relative_to(tree))
            limits += [int(text) for f in folders if (text := _read(f / name).strip()).isdigit()]
    return min(limits)


def resident_bytes() -> int:
    """Return the resident memory of this process; 0 where the system does not report it."""
    pages = _read(ROOT / "proc/self/statm").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


class DecodeBudget:
    """Memory for decoding, in bytes, shared by threads in the order in which they ask.

    Urgent reservations go before all others. Those of a kind are served in order, so that no
    stream of small pictures holds up a large one for ever. What exceeds the whole budget of its
    kind waits until that is free, and then runs alone.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._bulk_total = total - total // URGENT_SHARE
        self._used = self._bulk_used = 0
        self._changed = threading.Condition()
        self._urgent: deque[object] = deque()
        self._bulk: deque[object] = deque()

    @contextmanager
    def reserve(
        self, size: int, *, urgent: bool = False, check: Check = no_check
    ) -> Iterator[None]:
        """Wait until `size` bytes are free, and hold them for the length of the block.

        What `check` raises ends the wait; it is called about every second.
        """
        size = min(size, self._total if urgent else self._bulk_total)
        self._acquire(size, urgent, check)
        try:
            yield
        finally:
            self._change(-size, urgent)

    @property
    def total(self) -> int:
        """How much there is."""
        return self._total

    @property
    def bulk_total(self) -> int:
        """How much there is for bulk."""
        return self._bulk_total

    @property
    def is_idle(self) -> bool:
        """Whether nothing is reserved."""
        return self._used == 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._urgent) + len(self._bulk)

    def _acquire(self, size: int, urgent: bool, check: Check) -> None:
        queue, ticket = self._urgent if urgent else self._bulk, object()
        with self._changed:
            queue.append(ticket)
        try:
            while not self._take(size, urgent, ticket):
                check()  # without the lock: it may take long
        finally:
            with self._changed:
                queue.remove(ticket)
                self._changed.notify_all()

    def _take(self, size: int, urgent: bool, ticket: object) -> bool:
        """Take `size` bytes when it is the ticket's turn; say whether that came soon."""
        queue = self._urgent if urgent else self._bulk
        with self._changed:
            mine = self._changed.wait_for(
                lambda: queue[0] is ticket and self._fits(size, urgent), step()
            )
            if mine:
                self._change(size, urgent)
            return mine

    def _fits(self, size: int, urgent: bool) -> bool:
        if self._used + size > self._total:
            return False
        return urgent or (not self._urgent and self._bulk_used + size <= self._bulk_total)

    def _change(self, size: int, urgent: bool) -> None:
        with self._changed:
            self._used += size
            self._bulk_used += 0 if urgent else size
            self._changed.notify_all()


class HeldBudget:
    """A quarter of a budget, for pixels that are held until the model has answered about them.

    What is held counts in the whole budget too, where pictures take the rest: they are held for
    moments, and nothing that holds one waits for this. A picture that needs more than the rest
    waits until the films in its way are answered about, and those behind it wait with it.
    """

    def __init__(self, whole: DecodeBudget) -> None:
        self._whole = whole
        self._own = DecodeBudget(whole.total // HELD_SHARE)

    @property
    def most(self) -> int:
        """The most bytes that bulk holds."""
        return self._own.bulk_total

    @property
    def waiting(self) -> int:
        """How many wait for what others hold of it."""
        return self._own.waiting

    @contextmanager
    def hold(self, size: int, *, urgent: bool = False, check: Check = no_check) -> Iterator[None]:
        """Wait until `size` bytes are free, and hold them for the length of the block.

        What `check` raises ends the wait; it is called about every second. What exceeds
        all that may be held runs when nothing else is held, and counts as that much. Hold nothing
        else in a thread that enters.
        """
        size = min(size, self._own.total if urgent else self._own.bulk_total)
        with (
            self._own.reserve(size, urgent=urgent, check=check),
            self._whole.reserve(size, urgent=urgent, check=check),
        ):
            yield


def own_budget() -> DecodeBudget:
    """Return a budget of the usual part of this process's memory."""
    return DecodeBudget(memory_limit() // SHARE)
