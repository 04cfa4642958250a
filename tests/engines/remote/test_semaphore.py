"""The priority semaphore: how many tasks at once, and which goes first."""

from __future__ import annotations

import asyncio

import pytest

from grounding.engines.base import Priority
from grounding.engines.remote.engine import PrioritySemaphore

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


class Visits:
    """Tasks that enter a semaphore and stay until they are let out."""

    def __init__(self, places: int) -> None:
        self.semaphore = PrioritySemaphore(places)
        self.entered: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._doors: dict[str, asyncio.Event] = {}

    async def come(self, name: str, priority: Priority = BULK) -> None:
        self._doors[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._visit(name, priority))
        await settle()

    async def leave(self, name: str) -> None:
        self._doors[name].set()
        await settle()

    async def _visit(self, name: str, priority: Priority) -> None:
        async with self.semaphore.enter(priority):
            self.entered.append(name)
            await self._doors[name].wait()


def test_interactive_tasks_pass_bulk_ones_and_equals_keep_their_order() -> None:
    async def visit() -> list[str]:
        visits = Visits(1)
        for name, priority in [
            ("first", BULK),
            ("bulk-1", BULK),
            ("bulk-2", BULK),
            ("a", INTERACTIVE),
            ("b", INTERACTIVE),
        ]:
            await visits.come(name, priority)
        for turn in range(5):
            await visits.leave(visits.entered[turn])
        return visits.entered

    assert asyncio.run(visit()) == ["first", "a", "b", "bulk-1", "bulk-2"]


def test_no_more_enter_than_there_are_places() -> None:
    async def visit() -> None:
        visits = Visits(2)
        for name in "abcd":
            await visits.come(name)
        assert visits.entered == ["a", "b"]
        await visits.leave("b")
        assert visits.entered == ["a", "b", "c"]
        for name in "acd":
            await visits.leave(name)
        assert visits.entered == ["a", "b", "c", "d"]

    asyncio.run(visit())


def test_a_failure_inside_gives_the_place_back() -> None:
    async def fail() -> None:
        semaphore = PrioritySemaphore(1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with semaphore.enter(BULK):
                    raise ZeroDivisionError

    asyncio.run(asyncio.wait_for(fail(), 10))


@pytest.mark.parametrize("cancelled", ["a", "b", "both"])
def test_a_cancelled_task_keeps_no_place_whether_it_waits_or_was_just_let_in(
    cancelled: str,
) -> None:
    async def visit() -> list[str]:
        visits = Visits(1)
        for name in ("first", "a", "b", "c"):
            await visits.come(name)
        if cancelled == "b":
            visits.tasks["b"].cancel()
            await settle()
        visits._doors["first"].set()
        await asyncio.sleep(0)  # "first" leaves, and lets "a" in, which has not run yet
        for name in {"a": "a", "b": "", "both": "ab"}[cancelled]:
            visits.tasks[name].cancel()
        await settle()
        for name in "abc":
            await visits.leave(name)
        return visits.entered

    left = {"a": ["first", "b", "c"], "b": ["first", "a", "c"], "both": ["first", "c"]}
    assert asyncio.run(visit()) == left[cancelled]
