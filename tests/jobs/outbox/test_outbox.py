"""The law of the outbox: whatever dies, and whenever, each task ends with one prediction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
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

from grounding.jobs.outbox.delivery import Delivery
from grounding.jobs.outbox.outbox import DeliveryResult, Outbox
from grounding.jobs.outbox.scripts import LOST_MS
from tests.faults.label_studio import Mood
from tests.jobs.outbox.rig import PROJECT, OutboxRig, prediction

BULK, PAGE = "BULK", "PAGE"
MOODS = st.sampled_from(
    [Mood.WELL, Mood.FAILS, Mood.SAVES_AND_HANGS_UP, Mood.SAVES_AND_FAILS, Mood.SAVES_LATE]
)
"""Those that come and go by themselves."""
MOMENTS = 3
"""So many times `LOST_MS` Label Studio may need to save what it was given."""


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def ends_behind(owner: type, name: str) -> Iterator[None]:
    """Make `name` of `owner` the last that the block does."""
    plain: Callable[..., Any] = getattr(owner, name)

    def last(*args: Any, **kwargs: Any) -> None:
        plain(*args, **kwargs)
        raise Killed

    setattr(owner, name, last)
    try:
        with suppress(Killed):
            yield
    finally:
        setattr(owner, name, plain)


class Deaths(RuleBasedStateMachine):
    """Label Studio asks, jobs finish, answers and pushes are made, and any step may be the last."""

    def __init__(self, rig: OutboxRig) -> None:
        super().__init__()
        self.rig = rig
        rig.redis.flushdb()
        rig.studio.stored.clear()
        rig.studio.late.clear()
        rig.studio.mood = Mood.WELL
        self.tasks: list[int] = []
        self.asked: set[int] = set()
        self.finished: set[int] = set()
        self.waiting: dict[str, tuple[float, list[int]]] = {}
        self.moments = 0
        self.saving: dict[str, set[int]] = {BULK: set(), PAGE: set()}

    @precondition(lambda self: BULK not in self.waiting)
    @rule()
    def retrieve(self) -> None:
        """Two tasks were imported, and someone clicks."""
        self.tasks += [len(self.tasks), len(self.tasks) + 1]
        self._ask(BULK, self.tasks, wait=90)

    @precondition(lambda self: PAGE not in self.waiting and self.tasks)
    @rule(last=st.integers(1, 3))
    def open_page(self, last: int) -> None:
        self._ask(PAGE, self.tasks[-last:][:1], wait=0)

    def _ask(self, kind: str, tasks: Iterable[int], wait: float) -> None:
        """Ask for what has no prediction; equal requests before it is saved are not meant."""
        lacking = sorted(set(tasks) - set(self.rig.studio.counts()) - self.saving[kind])
        if lacking:
            self.waiting[kind] = (time.monotonic(), lacking)
            self.rig.accept(*lacking, deliver_after=wait)
            self.asked.update(lacking)

    @precondition(lambda self: self.asked - self.finished)
    @rule(left=st.integers(0, 1))
    def finish(self, left: int) -> None:
        for task in sorted(self.asked - self.finished)[left:]:
            self.rig.store.finish(str(task), prediction(task), "found")
            self.finished.add(task)

    @precondition(lambda self: self.waiting and self.finished)
    @rule(
        late=st.booleans(), fate=st.sampled_from(["confirmed", "saved", "saving", "lost", "killed"])
    )
    def answer(self, late: bool, fate: str) -> None:
        """Saved and confirmed; saved; confirmed and saved later; marked and lost; or nothing."""
        kind = sorted(self.waiting)[-1 if late else 0]
        begun, tasks = self.waiting.pop(kind)
        if fate == "killed":
            return
        asked = time.monotonic() - begun
        keys = self.rig.answer([str(task) for task in tasks], asked=asked, to=kind)
        if fate == "saving":
            self.rig.studio.mood = Mood.SAVES_LATE
            self.saving[kind].update(map(int, keys))
        if fate in ("confirmed", "saved", "saving"):
            for key in keys:
                self.rig.studio.save(int(key), prediction(int(key)))
        self.rig.studio.mood = Mood.WELL
        if fate in ("confirmed", "saving"):
            self.rig.outbox.mark_delivered(keys, PROJECT, DeliveryResult.ANSWERED)

    @precondition(lambda self: self.finished)
    @rule(mood=MOODS, last=st.sampled_from([None, (Outbox, "hold"), (Delivery, "_send")]))
    def deliver(self, mood: Mood, last: tuple[type, str] | None) -> None:
        """A round, perhaps the last of its process, ending behind a step."""
        self.rig.studio.mood = mood
        self.rig.end_backoff()
        with ends_behind(*last) if last else nullcontext():
            self.rig.delivery.deliver()
        self.rig.studio.mood = Mood.WELL

    @precondition(lambda self: self.moments < MOMENTS)
    @rule()
    def a_moment_passes(self) -> None:
        """What Label Studio is saving may still be invisible."""
        self.moments += 1
        self.rig.pass_time(LOST_MS)

    @precondition(lambda self: not self.waiting)
    @rule()
    def time_passes(self) -> None:
        """More than a request may wait, and than Label Studio may need to save."""
        self.moments = 0
        self.rig.studio.commit()
        self.saving = {BULK: set(), PAGE: set()}
        self.rig.end_all_waits()

    @invariant()
    def nothing_is_double(self) -> None:
        counts = self.rig.studio.counts()
        assert set(counts.values()) <= {1}, counts

    def teardown(self) -> None:
        """In the end nobody dies, and what was asked is there."""
        self.rig.studio.commit()
        for task in self.asked:
            self.rig.store.finish(str(task), prediction(task), "found")
        for _ in range(3):
            self.rig.end_all_waits()
            self.rig.delivery.deliver()
        assert self.rig.studio.counts() == dict.fromkeys(self.asked, 1)
        assert self.rig.undelivered() == 0 if self.asked else True


def test_whoever_dies_and_whenever_each_task_ends_with_one_prediction(rig: OutboxRig) -> None:
    run_state_machine_as_test(
        lambda: Deaths(rig),
        settings=settings(
            max_examples=30,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
