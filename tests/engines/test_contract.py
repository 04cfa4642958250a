"""The engine contract: what `Engine` promises, held by the local, remote and scripted engine."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from PIL import Image

from grounding.engines.base import Completion, Engine, ModelRequest, Priority
from grounding.engines.local.decoding import endings
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions
from grounding.errors import EngineError, ImageError
from grounding.testing import ScriptedEngine, answer_each, ask_one, make_completion, make_view
from tests.engines.openai_server import Behaviour, serving
from tests.engines.remote.connecting import connect

KINDS = ("local", "remote", "scripted")
BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE
SECONDS = 120.0
LONG = "count for ever"
"""The text of a request that runs until it is cancelled or the test ends."""
SLOTS, LABELS, CONSTANT = 72, 32, 8
"""A worker's job slots, the labels of a task, and threads that any engine may have."""


@dataclass
class Setup:
    """An engine under test; `runs` says whether it is at work on a request."""

    engine: Engine
    runs: Callable[[], bool]
    free: threading.Event = field(default_factory=threading.Event)

    def hold(self) -> Future[Completion]:
        """Return the future of a long request, once the engine works on it."""
        (future,) = self.engine.submit([request(LONG, 900)])
        until(self.runs)
        return future


def request(text: str, budget: int = 6, priority: Priority = BULK) -> ModelRequest:
    view = make_view(Image.new("RGB", (56, 56), (len(text) % 256, 90, 30)))
    return ModelRequest((view, text), budget, priority=priority)


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


def scripted(free: threading.Event, at_once: int) -> ScriptedEngine:
    """Return an engine that repeats the text, and is held by the long request until `free`."""

    def answer(asked: ModelRequest) -> Completion:
        if asked.text == LONG:
            assert free.wait(SECONDS)
        return make_completion(f"you said: {asked.text}", -0.1)

    return ScriptedEngine(answer_each(answer), max_batch=at_once)


@contextmanager
def local(tiny: Path, at_once: int) -> Iterator[Setup]:
    engine = LocalEngine.load(str(tiny), LoadOptions(device="cpu", max_batch=at_once))
    with patch.object(endings, "TIMES", 1000):  # the long answer goes in circles
        yield Setup(engine, lambda: bool(engine._scheduler._running))
    engine.close()


@contextmanager
def remote(tiny: Path, at_once: int) -> Iterator[Setup]:
    free, behaviour = threading.Event(), Behaviour()
    model = scripted(free, 64)
    with serving(model, behaviour) as server:
        engine = connect(server, max_in_flight=at_once)
        yield Setup(engine, lambda: behaviour.now > 0, free)
        engine.close()
        free.set()
    model.close()


@contextmanager
def without_model(tiny: Path, at_once: int) -> Iterator[Setup]:
    free = threading.Event()
    engine = scripted(free, at_once)
    yield Setup(engine, lambda: bool(engine._scheduler._running), free)
    free.set()
    engine.close()


BUILD: dict[str, Any] = {"local": local, "remote": remote, "scripted": without_model}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def setup(kind: str, tiny: Path) -> Iterator[Setup]:
    """An engine with room for several requests."""
    with BUILD[kind](tiny, 4) as built:
        yield built


@pytest.fixture
def narrow(kind: str, tiny: Path) -> Iterator[Setup]:
    """An engine that works on one request at a time."""
    with BUILD[kind](tiny, 1) as built:
        yield built


def finished_order(futures: dict[str, Future[Completion]]) -> list[str]:
    """Return the list in which the futures' names appear as they are done."""
    order: list[str] = []
    for name, future in futures.items():
        future.add_done_callback(lambda _, name=name: order.append(name))  # type: ignore[misc]
    return order


def test_futures_are_in_the_order_of_the_requests(setup: Setup) -> None:
    asked = [request(f"say {'x' * n}") for n in range(9)]
    alone = [ask_one(setup.engine, one).text for one in asked]
    together = [future.result(SECONDS).text for future in setup.engine.submit(asked)]
    assert together == alone
    assert len(set(alone)) > 4


def test_nothing_submitted_gives_no_futures(setup: Setup) -> None:
    assert setup.engine.submit([]) == []


def test_a_bad_request_fails_alone(setup: Setup) -> None:
    bad = ModelRequest((make_view(Image.new("RGB", (57, 56))), "x"), 6)
    first, second, third = setup.engine.submit([request("a"), bad, request("b")])
    assert isinstance(second.exception(SECONDS), ImageError)
    assert first.result(SECONDS).text == ask_one(setup.engine, request("a")).text
    assert third.result(SECONDS).text == ask_one(setup.engine, request("b")).text


def test_an_answer_ends_before_its_stop_text(setup: Setup) -> None:
    text = ask_one(setup.engine, request("hello")).text
    stop = text[3]
    cut = ask_one(setup.engine, replace(request("hello"), stop=(stop,)))
    assert (cut.text, cut.complete) == (text[: text.index(stop)], True)
    assert all(token.end <= len(cut.text) for token in cut.tokens)


def test_interactive_requests_pass_bulk_ones_and_equals_keep_their_order(narrow: Setup) -> None:
    held = narrow.hold()
    asked = [("b1", BULK), ("b2", BULK), ("i1", INTERACTIVE), ("b3", BULK), ("i2", INTERACTIVE)]
    futures = {
        name: narrow.engine.submit([request(name, priority=priority)])[0]
        for name, priority in asked
    }
    order = finished_order(futures)
    held.cancel()
    narrow.free.set()
    concurrent.futures.wait(futures.values(), SECONDS)
    assert order == ["i1", "i2", "b1", "b2", "b3"]


def test_a_waiting_request_can_be_cancelled(narrow: Setup) -> None:
    held = narrow.hold()
    futures = narrow.engine.submit([request("a"), request("b"), request("c")])
    assert futures[1].cancel()
    held.cancel()
    narrow.free.set()
    assert concurrent.futures.wait([*futures, held], SECONDS).not_done == set()
    assert [future.cancelled() for future in futures] == [False, True, False]
    assert futures[2].result().text == ask_one(narrow.engine, request("c")).text


def test_a_running_request_can_be_cancelled_and_makes_room(narrow: Setup) -> None:
    held = narrow.hold()
    assert held.cancel()
    narrow.free.set()
    assert held.cancelled()
    assert ask_one(narrow.engine, request("next")).text


def test_a_finished_request_cannot_be_cancelled(setup: Setup) -> None:
    (future,) = setup.engine.submit([request("a")])
    assert future.result(SECONDS).text
    assert not future.cancel()
    assert future.result().text


def test_a_healthy_engine_answers_while_it_drains(narrow: Setup) -> None:
    held = narrow.hold()
    futures = narrow.engine.submit([request("a"), request("b")])
    narrow.engine.drain()
    held.cancel()
    narrow.free.set()
    futures += narrow.engine.submit([request("c")])
    assert all(future.result(SECONDS).text for future in futures)


def test_closing_fails_what_runs_and_what_waits(narrow: Setup) -> None:
    futures = [narrow.hold(), *narrow.engine.submit([request("a"), request("b")])]
    closer = threading.Thread(target=narrow.engine.close)
    closer.start()
    time.sleep(0.1)
    narrow.free.set()
    closer.join(SECONDS)
    errors = [future.exception(SECONDS) for future in futures]
    assert all(isinstance(error, EngineError) for error in errors)
    assert len({id(error) for error in errors}) == len(errors)


def test_a_closed_engine_refuses_in_the_future_and_may_be_closed_again(setup: Setup) -> None:
    setup.engine.close()
    futures = setup.engine.submit([request("a"), request("b")])
    assert all(isinstance(future.exception(SECONDS), EngineError) for future in futures)
    setup.engine.close()
    setup.engine.drain()


def test_many_threads_submit_at_once_and_get_their_own_answers(setup: Setup) -> None:
    asked = [request(f"say {'x' * n}", 3) for n in range(12)]
    alone = [ask_one(setup.engine, one).text for one in asked]
    with ThreadPoolExecutor(12) as pool:
        rounds = list(pool.map(lambda _: setup.engine.submit(asked), range(12)))
    texts = [[future.result(SECONDS).text for future in futures] for futures in rounds]
    assert texts == [alone] * 12


def engine_threads() -> set[threading.Thread]:
    """Return the threads of this process without those of the test's HTTP server."""
    named = "process_request_thread"
    return {one for one in threading.enumerate() if named not in one.name}


@pytest.mark.parametrize("at_once", [4, 64])
def test_requests_wait_without_a_thread_each(kind: str, tiny: Path, at_once: int) -> None:
    """As many as a remote worker's slots can have at once: 72 jobs of 32 labels."""
    with BUILD[kind](tiny, at_once) as built:
        before = threading.active_count()
        held = built.hold()
        asked = [request(f"label {n}") for n in range(LABELS)]
        with ThreadPoolExecutor(4) as pool:
            rounds = list(pool.map(lambda _: built.engine.submit(asked), range(SLOTS)))
        assert sum(map(len, rounds)) == SLOTS * LABELS
        assert len(engine_threads()) <= before + CONSTANT
        assert not held.done()


def test_no_thread_outlives_a_closed_engine(kind: str, tiny: Path) -> None:
    before = engine_threads()
    with BUILD[kind](tiny, 4) as built:
        built.engine.submit([request(f"label {n}") for n in range(LABELS)])
        ask_one(built.engine, request("a", priority=INTERACTIVE))
    until(lambda: engine_threads() <= before)
