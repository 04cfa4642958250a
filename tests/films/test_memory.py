"""Frames that wait for the model take a bounded part of the memory for pixels, and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest
from PIL import Image

from grounding.engines.base import Completion, ModelRequest
from grounding.media.fetch import Fetcher, FetchRules
from grounding.media.films.reader import FilmReader
from grounding.media.films.sampling import Sampling
from grounding.media.images import Decoder
from grounding.media.memory import DecodeBudget, HeldBudget
from grounding.pipeline import TaskResult, WorkerContext, predict
from grounding.tasks import Task
from grounding.testing import ScriptedEngine, answer_each
from tests.films.test_predicting import SPANS, VIDEO
from tests.films.watching import scene, uri, watch
from tests.media.pictures import saved

WAIT_S = 20.0
FILM = uri(scene({"red": [(2, 11)], "blue": [(4, 5), (8, 13.5)]}, 16, fps=10))


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def running(work: Callable[[], object]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield thread
    thread.join(WAIT_S)
    assert not thread.is_alive()


def ask(engine: ScriptedEngine, budget: DecodeBudget) -> TaskResult:
    fetcher = Fetcher(FetchRules())
    films = FilmReader(fetcher, sampling=Sampling(max_frames=16), budget=HeldBudget(budget))
    worker = WorkerContext(engine, fetcher, 512, 10**7, films=films)
    return predict(Task(1, {"video": FILM}, f"<View>{VIDEO}{SPANS}</View>", None, "v"), worker)


def ends(result: TaskResult) -> list[tuple[int, int]]:
    found = [one["value"]["ranges"][0] for one in result.prediction["result"]]
    return [(one["start"], one["end"]) for one in found]


def test_a_film_is_answered_however_little_memory_there_is() -> None:
    """Its own frames always fit alone, and its second looks come one by one then."""
    found = []
    for total in (1, 10**9):
        engine = ScriptedEngine(answer_each(watch))
        found.append(ends(ask(engine, DecodeBudget(total))))
        engine.close()
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_while_frames_wait_for_the_model_pictures_are_decoded() -> None:
    """A person's take all that films may not, and bulk pictures go on, too."""
    turns, asked = threading.Semaphore(0), threading.Event()

    def answer(request: ModelRequest) -> Completion:
        asked.set()
        assert turns.acquire(timeout=WAIT_S)
        return watch(request)

    engine, decoder = ScriptedEngine(answer_each(answer), max_batch=1), Decoder(400_000)
    with running(lambda: ask(engine, decoder.budget)):
        assert asked.wait(WAIT_S)
        assert not decoder.budget.is_idle, "they are held"
        for urgent in (True, False):
            picture = saved(Image.new("RGB", (200, 150)), "PNG")
            with decoder.decode(picture, 10**6, urgent=urgent) as shown:
                assert shown.size == (200, 150)
        with decoder.budget.reserve(300_000, urgent=True):
            pass
        turns.release(1000)
    engine.close()
    assert decoder.budget.is_idle, "all is given back"


def test_two_films_hold_no_more_than_one_share() -> None:
    budget = HeldBudget(DecodeBudget(400))
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with budget.hold(70):
            entered.set()
            assert leave.wait(WAIT_S)

    with budget.hold(70):
        waiting = threading.Thread(target=hold, daemon=True)
        waiting.start()
        assert not entered.wait(0.2)
    assert entered.wait(WAIT_S)
    with budget.hold(20, urgent=True):
        pass  # a quarter of the share is for people
    leave.set()
    waiting.join(WAIT_S)


@pytest.fixture
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let who waits look often whether it is still wanted."""
    monkeypatch.setattr("grounding.waiting.WAKE_SECONDS", 0.1)


class Unwanted(Exception):
    """What nobody wants any more."""


@pytest.mark.usefixtures("short_looks")
@pytest.mark.parametrize("in_whole", [False, True], ids=["for films", "for pictures"])
def test_who_is_not_wanted_waits_no_longer_and_lets_the_next_one_go(in_whole: bool) -> None:
    """Another film's memory is in the way, or that of pictures."""
    whole = DecodeBudget(400)
    budget, waits, wanted = HeldBudget(whole), threading.Event(), threading.Event()

    def check() -> None:
        waits.set()
        for one in (whole, budget._own):  # a Condition has it, without a type
            assert not one._changed._is_owned(), "others go on"  # type: ignore[attr-defined]
        if not wanted.is_set():
            raise Unwanted

    def wait() -> None:
        with pytest.raises(Unwanted), budget.hold(70, check=check):
            pass

    wanted.set()
    with whole.reserve(300) if in_whole else budget.hold(70):
        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        assert waits.wait(WAIT_S)
        wanted.clear()
        waiting.join(5)
        assert not waiting.is_alive()
    with budget.hold(70):
        pass
    assert whole.is_idle


@pytest.mark.parametrize(("urgent", "most"), [(False, 900), (True, 1200)])
def test_a_picture_of_three_quarters_of_its_kind_waits_for_no_film(urgent: bool, most: int) -> None:
    """A larger one does, so that both are never in memory together."""
    whole = DecodeBudget(1600)
    budget, entered = HeldBudget(whole), threading.Event()

    def enter() -> None:
        with whole.reserve(most + 1, urgent=urgent):
            entered.set()

    with budget.hold(10**6, urgent=urgent):
        with whole.reserve(most, urgent=urgent):
            pass
        larger = threading.Thread(target=enter, daemon=True)
        larger.start()
        assert not entered.wait(0.2)
    assert entered.wait(WAIT_S)


@pytest.mark.parametrize("seed", range(3))
def test_films_and_pictures_of_any_size_all_get_their_turn(seed: int) -> None:
    """None waits for ever, and all together never exceed the budget."""
    whole = DecodeBudget(200)
    held, used, most, lock = HeldBudget(whole), 0, 0, threading.Lock()

    def work(is_film: bool, size: int, urgent: bool) -> None:
        nonlocal used, most
        size = min(size, 50 if is_film else 200) if urgent else min(size, 37 if is_film else 150)
        with held.hold(size, urgent=urgent) if is_film else whole.reserve(size, urgent=urgent):
            with lock:
                used += size
                most = max(most, used)
            time.sleep(0.002)
            with lock:
                used -= size

    chance = Random(seed)
    threads = [
        threading.Thread(
            target=work, args=(chance.random() < 0.5, chance.randint(0, 300), chance.random() < 0.3)
        )
        for _ in range(60)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert 0 < most <= 200
    assert whole.is_idle
