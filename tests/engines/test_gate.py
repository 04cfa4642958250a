"""The gate: how many at once, and who goes first."""

from __future__ import annotations

import threading
import time

import pytest

from grounding.engines.remote.semaphore import PrioritySemaphore


class Visitor:
    """Somebody who goes through a gate and stays until let out."""

    def __init__(
        self, gate: PrioritySemaphore, name: str, order: list[str], *, urgent: bool = False
    ) -> None:
        self._out = threading.Event()
        self._thread = threading.Thread(target=self._visit, args=(gate, name, order, urgent))
        self._thread.start()

    def _visit(self, gate: PrioritySemaphore, name: str, order: list[str], urgent: bool) -> None:
        with gate.enter(urgent=urgent):
            order.append(name)
            self._out.wait(30)

    def leave(self) -> None:
        self._out.set()
        self._thread.join()


def come(gate: PrioritySemaphore, name: str, order: list[str], *, urgent: bool = False) -> Visitor:
    """Return a visitor who has either entered or queued."""
    before = len(order) + len(gate._queue)
    visitor = Visitor(gate, name, order, urgent=urgent)
    until = time.monotonic() + 30
    while len(order) + len(gate._queue) == before and time.monotonic() < until:
        time.sleep(0.005)
    return visitor


def test_the_urgent_go_past_the_others_and_each_kind_keeps_its_order() -> None:
    gate, order = PrioritySemaphore(1), list[str]()
    names = [("first", False), ("bulk-1", False), ("bulk-2", False), ("a", True), ("b", True)]
    visitors = {name: come(gate, name, order, urgent=urgent) for name, urgent in names}
    for turn in range(len(names)):
        until = time.monotonic() + 30
        while len(order) <= turn and time.monotonic() < until:
            time.sleep(0.005)
        visitors[order[turn]].leave()
    assert order == ["first", "a", "b", "bulk-1", "bulk-2"]


def test_no_more_enter_than_there_is_room_for() -> None:
    gate, order = PrioritySemaphore(2), list[str]()
    visitors = [come(gate, str(n), order) for n in range(4)]
    assert order == ["0", "1"]
    for visitor in visitors:
        visitor.leave()
    assert order == ["0", "1", "2", "3"]


def test_a_failure_inside_gives_its_place_back() -> None:
    gate = PrioritySemaphore(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate.enter(urgent=False):
            raise ZeroDivisionError
    assert gate._room == 1
