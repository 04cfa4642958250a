"""Many askers, one thread: company, order, failures that stay where they belong, the end."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from grounding.engines.local import batching
from grounding.engines.local.batching import Batcher
from grounding.errors import DeviceBroken, EngineError, OutOfMemory


class Model:
    """Answers a number with its double; notes its batches; fails as it is told."""

    def __init__(self, *, fits: int = 99, poison: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.free = threading.Event()
        self.free.set()
        self._fits = fits
        self._poison = poison

    def answer(self, questions: Sequence[int]) -> list[int]:
        self.batches.append(list(questions))
        self.threads.add(threading.get_ident())
        assert self.free.wait(60)
        if len(questions) > self._fits:
            raise OutOfMemory(f"{len(questions)} do not fit")
        if self._poison in questions:
            raise ValueError(f"cannot stand {self._poison}\nand more")
        return [2 * q for q in questions]


Locate = Callable[[int], "Future[int]"]


@contextmanager
def asking(model: Model, max_batch: int = 8) -> Iterator[tuple[Locate, Batcher[int, int]]]:
    """Ask a batcher from as many threads as there are questions."""
    batcher = Batcher(model.answer, max_batch=max_batch)
    with ThreadPoolExecutor(64) as pool:
        try:
            yield lambda question: pool.submit(batcher.ask, question), batcher
        finally:
            model.free.set()
            batcher.close()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def held(
    model: Model, batcher: Batcher[int, int], ask: Locate, numbers: Iterable[int]
) -> list[Future[int]]:
    """Ask all but the first of `numbers` while the model is busy with that, then let it go on."""
    model.free.clear()
    futures = []
    for place, number in enumerate(numbers):
        futures.append(ask(number))
        # In the order of asking: the first at the model, each other one in the queue.
        until(lambda: len(model.batches) == 1 and batcher._queue.qsize() == place)  # noqa: B023
    model.free.set()
    return futures


def test_all_that_wait_are_answered_together_by_one_thread_each_with_its_own() -> None:
    model = Model()
    with asking(model, max_batch=8) as (ask, batcher):
        futures = held(model, batcher, ask, range(21))
        assert [f.result(60) for f in futures] == [2 * q for q in range(21)]
    assert [len(batch) for batch in model.batches] == [1, 8, 8, 4]
    assert len(model.threads) == 1
    assert threading.get_ident() not in model.threads


def test_a_single_question_does_not_wait_for_a_full_batch() -> None:
    with asking(Model(), max_batch=8) as (ask, _):
        assert ask(7).result(60) == 14


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    model = Model(fits=2)
    with asking(model, max_batch=8) as (ask, batcher):
        futures = held(model, batcher, ask, range(9))
        assert [f.result(60) for f in futures] == [2 * q for q in range(9)]
    assert [len(b) for b in model.batches] == [1, 8, 4, 2, 2, 4, 2, 2]


def test_only_a_question_that_does_not_fit_alone_is_out_of_memory() -> None:
    class Picky(Model):
        def answer(self, questions: Sequence[int]) -> list[int]:
            answers = super().answer(questions)
            if 5 in questions:
                raise OutOfMemory("5 is too big")
            return answers

    with asking(Picky()) as (ask, _):
        futures = [ask(q) for q in range(9)]
        errors = [f.exception(60) for f in futures]
        assert isinstance(errors.pop(5), OutOfMemory)
        assert errors == [None] * 8
        assert ask(1).result(60) == 2


def test_one_bad_question_fails_alone_and_the_thread_goes_on() -> None:
    model = Model(poison=3)
    with asking(model) as (ask, batcher):
        futures = held(model, batcher, ask, [0, 1, 2, 3, 4])
        error = futures.pop(3).exception(60)
        assert str(error) == "the model failed: ValueError: cannot stand 3. See the worker's log"
        assert isinstance(error, EngineError)
        assert error.retryable
        assert [f.result(60) for f in futures] == [0, 2, 4, 8]
        assert ask(8).result(60) == 16
    assert [len(b) for b in model.batches] == [1, 4, 2, 2, 1, 1, 1]


def test_a_broken_device_fails_its_whole_batch_and_is_not_asked_again() -> None:
    class Broken(Model):
        def answer(self, questions: Sequence[int]) -> list[int]:
            answers = super().answer(questions)
            if 3 in questions:
                raise DeviceBroken("an illegal access")
            return answers

    model = Broken()
    with asking(model) as (ask, batcher):
        futures = held(model, batcher, ask, [0, 3, 4])
        assert futures[0].result(60) == 0
        errors = [f.exception(60) for f in futures[1:]]
        assert all(isinstance(e, DeviceBroken) for e in errors)
        assert errors[0] is not errors[1]
    assert [len(b) for b in model.batches] == [1, 2]


def test_a_batch_that_fails_at_the_end_is_not_asked_again() -> None:
    class Ending(Model):
        def answer(self, questions: Sequence[int]) -> list[int]:
            if 3 in questions:
                threading.Thread(target=batcher.close).start()
                until(lambda: batcher._closed)
            return super().answer(questions)

    model = Ending(poison=3)
    with asking(model) as (ask, batcher):
        futures = held(model, batcher, ask, [0, 3, 4])
        assert all(isinstance(f.exception(60), EngineError) for f in futures[1:])
    assert [len(b) for b in model.batches] == [1, 2]


def test_what_a_failed_batch_held_is_free_before_the_next_try() -> None:
    """The halves of a batch that did not fit need the memory that it took."""

    class Tensor:
        """Stands for what a model call allocates."""

    class Leaky(Model):
        held: weakref.ref[Tensor] | None = None

        def answer(self, questions: Sequence[int]) -> list[int]:
            assert self.held is None or self.held() is None
            tensor = Tensor()
            self.held = weakref.ref(tensor)
            return super().answer(questions)

    model = Leaky(fits=1)
    with asking(model) as (ask, batcher):
        futures = held(model, batcher, ask, range(5))
        assert [f.result(60) for f in futures] == [0, 2, 4, 6, 8]
    assert len(model.batches) == 8


def test_too_few_answers_are_an_error_and_no_wrong_pairing() -> None:
    batcher: Batcher[int, int] = Batcher(lambda questions: [], max_batch=4)
    with pytest.raises(EngineError, match="1 questions got 0 answers"):
        batcher.ask(1)
    batcher.close()


def test_closing_finishes_the_batch_in_hand_and_fails_what_waits() -> None:
    model = Model()
    with asking(model, max_batch=2) as (ask, batcher):
        model.free.clear()
        first = ask(0)
        until(lambda: len(model.batches) == 1)
        waiting = [ask(q) for q in range(1, 6)]
        until(lambda: batcher._queue.qsize() == 5)
        closer = threading.Thread(target=batcher.close)
        closer.start()
        until(lambda: batcher._closed)
        model.free.set()
        closer.join(60)
        assert not closer.is_alive()
        assert first.result(60) == 0
        assert all(isinstance(f.exception(60), EngineError) for f in waiting)
        with pytest.raises(EngineError, match="being unloaded"):
            batcher.ask(9)
        batcher.close()  # once more does no harm


def test_closing_while_a_batch_gathers_answers_it_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "GATHER_SECONDS", 600)
    with asking(Model()) as (ask, batcher):
        first = ask(1)
        until(lambda: batcher._queue.unfinished_tasks == 1 and batcher._queue.empty())
        batcher.close()
        assert first.result(60) == 2


def test_a_thousand_questions_from_sixteen_threads_get_their_own_answers() -> None:
    model = Model()
    batcher = Batcher(model.answer, max_batch=8)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(batcher.ask, range(1000))) == [2 * q for q in range(1000)]
    batcher.close()
    assert max(len(batch) for batch in model.batches) <= 8
    assert sum(len(batch) for batch in model.batches) == 1000


def test_urgent_questions_go_first_and_in_a_batch_of_their_own() -> None:
    model = Model()
    model.free.clear()
    with asking(model, max_batch=8) as (_, batcher), ThreadPoolExecutor(8) as pool:
        futures = []
        for place, (number, urgent) in enumerate([(0, False), (1, False), (2, True), (3, True)]):
            futures.append(pool.submit(batcher.ask, number, urgent=urgent))
            until(lambda: len(model.batches) == 1 and batcher._queue.qsize() == place)  # noqa: B023
        model.free.set()
        assert [future.result(60) for future in futures] == [0, 2, 4, 6]
    assert model.batches == [[0], [2, 3], [1]]
