"""The law of debts: whatever dies, and whenever, each task ends with one prediction."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from grounding.jobs.debts import Debts, Paid
from grounding.jobs.delivery import Delivery
from tests.faults.label_studio import Mood
from tests.jobs.house import PROJECT, House, prediction

TASKS = range(6)
KINDS = st.sampled_from(["BULK", "PAGE"])
MOODS = st.sampled_from([Mood.WELL, Mood.SAVES_AND_HANGS_UP, Mood.SAVES_AND_FAILS, Mood.FAILS])


class Killed(BaseException):
    """The process ends here."""


class Deaths(RuleBasedStateMachine):
    """Label Studio asks, jobs finish, answers and pushes are made, and any step may be the last."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self.house = house
        house.redis.flushdb()
        house.studio.stored.clear()
        house.studio.mood = Mood.WELL
        self.asked: set[int] = set()
        self.finished: set[int] = set()
        self.waiting: dict[str, tuple[float, list[int]]] = {}

    @rule(kind=KINDS, tasks=st.sets(st.sampled_from(TASKS), min_size=1))
    def ask(self, kind: str, tasks: set[int]) -> None:
        """Label Studio leaves out what has a prediction; equal requests at once are not meant."""
        lacking = sorted(tasks - set(self.house.studio.counts()))
        if kind not in self.waiting and lacking:
            self.waiting[kind] = (time.monotonic(), lacking)
            self.house.accept(*lacking)
            self.asked.update(lacking)

    @rule(task=st.sampled_from(TASKS))
    def finish(self, task: int) -> None:
        if task in self.asked:
            self.house.ledger.finish(str(task), prediction(task), "found")
            self.finished.add(task)

    @precondition(lambda self: self.waiting)
    @rule(kind=KINDS, fate=st.sampled_from(["paid", "saved", "lost", "killed"]))
    def answer(self, kind: str, fate: str) -> None:
        """Saved and paid; saved only; marked, but the caller is gone; or never come to that."""
        if kind not in self.waiting:
            return
        begun, tasks = self.waiting.pop(kind)
        if fate == "killed":
            return
        asked = time.monotonic() - begun
        keys = self.house.answered([str(task) for task in tasks], asked=asked, to=kind)
        if fate in ("paid", "saved"):
            for key in keys:
                self.house.studio.save(int(key), prediction(int(key)))
        if fate == "paid":
            self.house.debts.pay(keys, PROJECT, Paid.ANSWERED)

    @rule(mood=MOODS)
    def deliver(self, mood: Mood) -> None:
        self.house.studio.mood = mood
        self.house.delivery.deliver()
        self.house.studio.mood = Mood.WELL

    @rule(step=st.sampled_from([(Debts, "hold"), (Delivery, "_send"), (Debts, "pay")]))
    def die_delivering(self, step: tuple[type, str]) -> None:
        owner, name = step
        plain: Callable[..., Any] = getattr(owner, name)

        def last(*args: Any, **kwargs: Any) -> None:
            plain(*args, **kwargs)
            raise Killed

        setattr(owner, name, last)
        try:
            self.house.delivery.deliver()
        except Killed:
            pass
        finally:
            setattr(owner, name, plain)

    @precondition(lambda self: not self.waiting)
    @rule()
    def time_passes(self) -> None:
        """More than a request may wait."""
        self.house.later()

    @invariant()
    def nothing_is_double(self) -> None:
        counts = self.house.studio.counts()
        assert set(counts.values()) <= {1}, counts

    def teardown(self) -> None:
        """In the end nobody dies, and what was asked is there."""
        for task in self.asked:
            self.house.ledger.finish(str(task), prediction(task), "found")
        for _ in range(3):
            self.house.later()
            self.house.delivery.deliver()
        assert self.house.studio.counts() == dict.fromkeys(self.asked, 1)
        assert self.house.project()["owed"] == 0 if self.asked else True


def test_whoever_dies_and_whenever_each_task_ends_with_one_prediction(house: House) -> None:
    run_state_machine_as_test(
        lambda: Deaths(house),
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
