"""The scheduler: order, batches, failures that concern one request alone, cancelling, the end."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from grounding.engines.base import Priority
from grounding.engines.local import scheduler as module
from grounding.engines.local.scheduler import Pending, Scheduler
from grounding.errors import DeadlinePassed, DeviceBroken, EngineError, OutOfMemory

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE


class Number:
    """A request; equal numbers are different requests."""

    def __init__(self, value: int) -> None:
        self.value = value


class Doubling:
    """A decode loop that answers a number with its double; notes its batches; fails on demand.

    Each step is a whole batch of at most `max_batch`, and waits until `free` is set.
    """

    def __init__(self, *, max_batch: int = 8, fits: int = 99, poison: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.evicted: list[int] = []
        self.closed = False
        self.expected: list[int] = []
        self.free = threading.Event()
        self.free.set()
        self._max_batch = max_batch
        self._fits = fits
        self._poison = poison
        self._batch: list[Number] = []

    @property
    def joins(self) -> bool:
        return False

    @property
    def room(self) -> int:
        return 0 if self._batch else self._max_batch

    def admit(self, requests: Sequence[Number]) -> int:
        self._batch = list(requests[: self.room])
        return len(self._batch)

    def expect(self, requests: Sequence[Number]) -> None:
        self.expected = [one.value for one in requests]

    def step(self) -> list[tuple[Number, int]]:
        batch, numbers = self._batch, [one.value for one in self._batch]
        try:
            self.batches.append(numbers)
            self.threads.add(threading.get_ident())
            assert self.free.wait(60)
            self.fail(numbers)
            done = [one for one in batch if one.value not in self.evicted]
            return [(one, 2 * one.value) for one in done]
        finally:
            self._batch = []

    def close(self) -> None:
        self.closed = True

    def fail(self, numbers: Sequence[int]) -> None:
        if len(numbers) > self._fits:
            raise OutOfMemory(f"{len(numbers)} do not fit")
        if self._poison in numbers:
            raise ValueError(f"cannot stand {self._poison}\nand more")

    def evict(self, request: Number) -> None:
        self.evicted.append(request.value)


Queue = Scheduler[Number, int]


@contextmanager
def scheduling(loop: Doubling) -> Iterator[Queue]:
    """Run a scheduler around the block."""
    scheduler = Scheduler(loop)
    try:
        yield scheduler
    finally:
        loop.free.set()
        scheduler.close()


def submit(
    scheduler: Queue, numbers: Iterable[int], priority: Priority = BULK
) -> list[Future[int]]:
    pending = [Pending[Number, int](Number(value), priority) for value in numbers]
    scheduler.submit(pending)
    return [one.future for one in pending]


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def hold(loop: Doubling, scheduler: Queue, first: int = 0) -> Future[int]:
    """Submit one number, and return once it runs; it runs on until `loop.free` is set."""
    loop.free.clear()
    (future,) = submit(scheduler, [first])
    until(lambda: loop.batches)
    return future


def test_waiting_requests_are_answered_in_full_batches_by_one_thread() -> None:
    loop = Doubling()
    with scheduling(loop) as scheduler:
        futures = [hold(loop, scheduler), *submit(scheduler, range(1, 21))]
        loop.free.set()
        assert [future.result(60) for future in futures] == [2 * n for n in range(21)]
    assert [len(batch) for batch in loop.batches] == [1, 8, 8, 4]
    assert len(loop.threads) == 1
    assert threading.get_ident() not in loop.threads


def test_requests_that_are_submitted_together_share_the_first_batch() -> None:
    loop = Doubling()
    with scheduling(loop) as scheduler:
        assert [future.result(60) for future in submit(scheduler, range(8))][-1] == 14
    assert loop.batches == [list(range(8))]


def test_a_single_request_does_not_wait_for_a_full_batch() -> None:
    with scheduling(Doubling()) as scheduler:
        (future,) = submit(scheduler, [7])
        assert future.result(60) == 14


def test_an_idle_loop_waits_a_moment_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 600)
    loop = Doubling(max_batch=3)
    with scheduling(loop) as scheduler:
        futures = [submit(scheduler, [n])[0] for n in range(3)]
        assert [future.result(60) for future in futures] == [0, 2, 4]
    assert loop.batches == [[0, 1, 2]]


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    loop = Doubling(fits=2)
    with scheduling(loop) as scheduler:
        futures = submit(scheduler, range(8))
        assert [future.result(60) for future in futures] == [2 * n for n in range(8)]
    assert [len(batch) for batch in loop.batches] == [8, 4, 2, 2, 4, 2, 2]


def test_only_a_request_that_does_not_fit_alone_is_out_of_memory() -> None:
    class Picky(Doubling):
        def fail(self, numbers: Sequence[int]) -> None:
            if 5 in numbers:
                raise OutOfMemory("5 is too big")

    with scheduling(Picky()) as scheduler:
        errors = [future.exception(60) for future in submit(scheduler, range(9))]
        assert isinstance(errors.pop(5), OutOfMemory)
        assert errors == [None] * 8
        assert submit(scheduler, [1])[0].result(60) == 2


def test_one_bad_request_fails_alone_and_the_thread_goes_on() -> None:
    loop = Doubling(poison=3)
    with scheduling(loop) as scheduler:
        futures = submit(scheduler, range(1, 5))
        error = futures.pop(2).exception(60)
        assert str(error) == "the model failed: ValueError: cannot stand 3. See the worker's log"
        assert isinstance(error, EngineError)
        assert error.retryable
        assert [future.result(60) for future in futures] == [2, 4, 8]
        assert submit(scheduler, [8])[0].result(60) == 16
    assert [len(batch) for batch in loop.batches] == [4, 2, 2, 1, 1, 1]


def test_a_broken_device_fails_its_whole_batch_and_is_not_asked_again() -> None:
    class Broken(Doubling):
        def fail(self, numbers: Sequence[int]) -> None:
            if 3 in numbers:
                raise DeviceBroken("an illegal access")

    loop = Broken()
    with scheduling(loop) as scheduler:
        errors = [future.exception(60) for future in submit(scheduler, [3, 4])]
        assert all(isinstance(error, DeviceBroken) for error in errors)
        assert errors[0] is not errors[1]
    assert [len(batch) for batch in loop.batches] == [2]


def test_a_batch_that_fails_at_the_end_is_not_asked_again() -> None:
    loop = Doubling(poison=3)
    with scheduling(loop) as scheduler:
        hold(loop, scheduler, 3)
        futures = submit(scheduler, [4, 5])
        closer = threading.Thread(target=scheduler.close)
        closer.start()
        until(lambda: scheduler._closed)
        loop.free.set()
        closer.join(60)
        assert all(isinstance(future.exception(60), EngineError) for future in futures)
    assert loop.batches == [[3]]


def test_a_failed_batchs_memory_is_free_before_the_next_try() -> None:
    """The halves of a batch that did not fit need the memory that it took."""

    class Tensor:
        """Stands for what a model call allocates."""

    class Leaky(Doubling):
        held: weakref.ref[Tensor] | None = None

        def fail(self, numbers: Sequence[int]) -> None:
            assert self.held is None or self.held() is None
            tensor = Tensor()
            self.held = weakref.ref(tensor)
            super().fail(numbers)

    loop = Leaky(fits=1)
    with scheduling(loop) as scheduler:
        futures = submit(scheduler, range(4))
        assert [future.result(60) for future in futures] == [0, 2, 4, 6]
    assert len(loop.batches) == 7


def test_interactive_requests_go_first() -> None:
    loop = Doubling(max_batch=2)
    with scheduling(loop) as scheduler:
        futures = [hold(loop, scheduler), *submit(scheduler, [1, 2])]
        futures += submit(scheduler, [3, 4], INTERACTIVE)
        loop.free.set()
        assert [future.result(60) for future in futures] == [0, 2, 4, 6, 8]
    assert loop.batches == [[0], [3, 4], [1, 2]]


def test_a_request_that_the_loop_does_not_admit_keeps_its_turn() -> None:
    class Single(Doubling):
        def admit(self, requests: Sequence[Number]) -> int:
            return super().admit(requests[:1])

    loop = Single()
    with scheduling(loop) as scheduler:
        futures = submit(scheduler, [0, 1, 2])
        assert [future.result(60) for future in futures] == [0, 2, 4]
    assert loop.batches == [[0], [1], [2]]


def test_the_loop_hears_which_requests_come_next_people_s_first() -> None:
    loop = Doubling(max_batch=1)
    with scheduling(loop) as scheduler:
        loop.free.clear()
        futures = submit(scheduler, range(12))
        until(lambda: loop.batches)
        assert loop.expected == list(range(1, 1 + module.AHEAD))
        futures[2].cancel()
        futures += submit(scheduler, [99, 98], INTERACTIVE)
        loop.free.set()
        until(lambda: futures[-2].done())
        concurrent.futures.wait(futures, timeout=60)
    assert loop.batches[:3] == [[0], [99], [98]]
    assert loop.expected == []


def test_a_cancelled_request_that_waits_never_reaches_the_loop() -> None:
    loop = Doubling()
    with scheduling(loop) as scheduler:
        hold(loop, scheduler)
        futures = submit(scheduler, [1, 2, 3])
        assert futures[1].cancel()
        loop.free.set()
        assert [futures[0].result(60), futures[2].result(60)] == [2, 6]
    assert loop.batches == [[0], [1, 3]]
    assert loop.evicted == []


def test_a_cancelled_request_that_runs_is_evicted_and_the_others_go_on() -> None:
    loop = Doubling()
    with scheduling(loop) as scheduler:
        loop.free.clear()
        first, second = submit(scheduler, [1, 2])
        until(lambda: loop.batches)
        assert first.cancel()
        assert loop.evicted == [1]
        loop.free.set()
        assert second.result(60) == 4
        assert first.cancelled()


def test_a_cancelled_future_counts_as_done_for_those_that_wait_for_it() -> None:
    loop = Doubling()
    with scheduling(loop) as scheduler:
        running = hold(loop, scheduler)
        (waiting,) = submit(scheduler, [1])
        running.cancel()
        waiting.cancel()
        assert concurrent.futures.wait([running, waiting], timeout=60).not_done == set()


def test_what_nobody_waits_for_any_more_is_ended_whether_it_runs_or_waits() -> None:
    class Long(Doubling):
        """Answers nothing but 7 until `free` is set."""

        def step(self) -> list[tuple[Number, int]]:
            batch = self._batch
            done = super().step() if self.free.is_set() else []
            self._batch = batch if not done else []
            return [(one, answer) for one, answer in done if one in batch]

        @property
        def joins(self) -> bool:
            return True

    loop = Long(max_batch=2)
    with scheduling(loop) as scheduler:
        loop.free.clear()
        soon, late = time.monotonic() + 0.2, time.monotonic() + 600
        pending = [Pending[Number, int](Number(n), BULK, deadline=soon) for n in (1, 2, 3)]
        pending.insert(1, Pending(Number(7), BULK, deadline=late))
        scheduler.submit(pending)
        for one in (pending[0], *pending[2:]):
            assert isinstance(one.future.exception(60), DeadlinePassed)
        assert time.monotonic() >= soon
        assert not pending[1].future.done()
        assert loop.evicted == [1]
        loop.free.set()
        assert pending[1].future.result(60) == 14
    assert loop.batches == [[1, 7]]


def test_what_nobody_waits_for_any_more_is_ended_before_it_is_tried_once_more() -> None:
    class Narrow(Doubling):
        """Has room for one, which runs on until `free` is set."""

        def step(self) -> list[tuple[Number, int]]:
            if len(self._batch) > 1:
                self._batch = []
                raise OutOfMemory("one at a time")
            return super().step() if self.free.is_set() else []

    loop = Narrow()
    with scheduling(loop) as scheduler:
        loop.free.clear()
        soon, late = time.monotonic() + 0.3, time.monotonic() + 600
        pending = [
            Pending[Number, int](Number(n), BULK, deadline=deadline)
            for n, deadline in enumerate((late, late, soon, late, soon))
        ]
        scheduler.submit(pending)
        for number in (2, 4):
            assert isinstance(pending[number].future.exception(60), DeadlinePassed)
        assert not pending[0].future.done()
        loop.free.set()
        assert [pending[number].future.result(60) for number in (0, 1, 3)] == [0, 2, 6]
    assert loop.batches == [[0], [1], [3]]


def test_an_idle_loop_hears_that_nothing_comes_next() -> None:
    loop = Doubling(max_batch=1)
    with scheduling(loop) as scheduler:
        hold(loop, scheduler)
        soon = time.monotonic()
        pending = [Pending[Number, int](Number(n), BULK, deadline=soon) for n in (1, 2, 3)]
        scheduler.submit(pending)
        loop.free.set()
        for one in pending:
            assert isinstance(one.future.exception(60), DeadlinePassed)
        until(lambda: loop.expected == [])


@pytest.mark.parametrize("name", ["admit", "expect", "room"])
def test_a_fault_outside_the_step_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The worker then ends, and is started again."""

    def fail(*_: object) -> int:
        raise RuntimeError("cannot start a thread")

    monkeypatch.setattr(Doubling, name, property(fail) if name == "room" else fail)
    with scheduling(Doubling()) as scheduler:
        first, second = submit(scheduler, [1, 2])
        assert isinstance(first.exception(60), DeviceBroken)
        assert isinstance(second.exception(60), DeviceBroken)
        (later,) = submit(scheduler, [3])
        assert isinstance(later.exception(60), DeviceBroken)


def test_a_request_that_comes_too_late_is_refused() -> None:
    loop = Doubling()
    with scheduling(loop) as scheduler:
        late = Pending[Number, int](Number(1), BULK, deadline=time.monotonic())
        scheduler.submit([late])
        assert isinstance(late.future.exception(60), DeadlinePassed)
        assert submit(scheduler, [2])[0].result(60) == 4


def test_closing_evicts_what_runs_and_fails_all_that_is_unfinished() -> None:
    loop = Doubling(max_batch=2)
    with scheduling(loop) as scheduler:
        futures = [hold(loop, scheduler), *submit(scheduler, range(1, 6))]
        closer = threading.Thread(target=scheduler.close)
        closer.start()
        until(lambda: loop.evicted)
        loop.free.set()
        closer.join(60)
        assert not closer.is_alive()
        assert all(isinstance(future.exception(60), EngineError) for future in futures)
        (late,) = submit(scheduler, [9])
        with pytest.raises(EngineError, match="being unloaded"):
            late.result(60)
        scheduler.close()  # once more does no harm
    assert loop.batches == [[0]]
    assert loop.closed


def test_closing_ends_the_wait_for_more_and_starts_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GATHER_SECONDS", 600)
    loop = Doubling()
    with scheduling(loop) as scheduler:
        (first,) = submit(scheduler, [1])
        scheduler.close()
        assert isinstance(first.exception(0), EngineError)
    assert loop.batches == []


def test_a_thousand_requests_from_sixteen_threads_get_their_own_answers() -> None:
    loop = Doubling()
    with scheduling(loop) as scheduler, ThreadPoolExecutor(16) as pool:
        ask = lambda n: submit(scheduler, [n])[0].result(60)  # noqa: E731
        assert list(pool.map(ask, range(1000))) == [2 * n for n in range(1000)]
    assert max(len(batch) for batch in loop.batches) <= 8
    assert sum(len(batch) for batch in loop.batches) == 1000
