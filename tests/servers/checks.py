"""What holds of every real server with the shapes checkpoint."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from benchmarks.accuracy.shapes import FIRST_SEED, Scores, config, measure, rows
from benchmarks.accuracy.trials import answers, trial
from grounding.demo.backend import local_backend
from grounding.engines.base import Completion, Engine
from grounding.engines.local.engine import LocalEngine
from grounding.factory import examine, load_engine
from grounding.queries import Locate, Shape
from grounding.qwen.queries import read_answer
from grounding.settings import Settings
from tests.engines.remote.connecting import make_request
from tests.servers.running import RealServer
from tools.shapes.scenes import NAMES, scene

PICTURES, TASKS, TRIALS = 60, 200, 100


def check_self_test(real: RealServer, **changes: Any) -> str:
    """Return the self-test's fault, "" where there is none."""
    settings = Settings.load(**real.settings | changes)
    engine = load_engine(settings, lambda **_: None)
    try:
        return examine(engine, settings).fault
    finally:
        engine.close()


def ask_all(engine: Engine) -> list[Completion]:
    """Return the engine's completions about all pictures."""
    futures = engine.submit([make_request(seed, engine) for seed in range(PICTURES)])
    return [future.result() for future in futures]


def check_equality(
    real: RealServer, local: LocalEngine, *, within: float | None, least: int = PICTURES
) -> None:
    """At least so many texts are the local engine's, and their scores are as near.

    `within` is None for a server that gives no scores.
    """
    engine = load_engine(Settings.load(**real.settings), lambda **_: None)
    try:
        theirs, ours = ask_all(engine), ask_all(local)
    finally:
        engine.close()
    equal = [seed for seed in range(PICTURES) if theirs[seed].text == ours[seed].text]
    assert len(equal) >= least
    found, expected = _score_all(theirs, local, equal), _score_all(ours, local, equal)
    assert len(expected) >= PICTURES // 2
    none = [None] * len(expected)
    assert found == (none if within is None else pytest.approx(expected, abs=within))


def _score_all(
    completions: list[Completion], engine: Engine, seeds: list[int]
) -> list[float | None]:
    scores: list[float | None] = []
    for seed in seeds:
        one = completions[seed]
        view = make_request(seed, engine).views[0]
        query = Locate(Shape.BOX, classes=(scene(seed).things[0].name,))
        frame = engine.profile.answer_frame(view.frame)
        answer = read_answer(query, one.text, frame, complete=one.complete, tokens=one.tokens)
        scores += [finding.score for finding in answer.findings]
    return scores


def check_kill(real: RealServer) -> None:
    """A server that is killed under 200 tasks and comes back loses none of them."""
    trials = [trial(FIRST_SEED + n) for n in range(TASKS)]
    with local_backend(**real.settings, log_level="warning") as backend:
        backend.wait_ready(lambda _: None)
        backend.setup(config(NAMES[0]))
        killer = threading.Thread(target=_kill_and_start, args=(real,))
        killer.start()
        entries = answers(backend, [one.task for one in trials], config(NAMES[0]))
        killer.join()
    assert len(entries) == TASKS
    assert [entry for entry in entries if not entry] == []


def _kill_and_start(real: RealServer) -> None:
    time.sleep(3)
    real.kill()
    real.start()


def check_accuracy(real: RealServer) -> None:
    """Through /predict, the accuracy on 100 new pictures reaches the goals of `make accuracy`."""
    scores, trials = Scores(), [trial(FIRST_SEED + n) for n in range(TRIALS)]
    with local_backend(**real.settings, log_level="warning") as backend:
        backend.wait_ready(lambda _: None)
        for name in NAMES:
            measure(backend, name, trials, scores)
    measured = rows(scores)[:4]
    figures = (f"{name} {value:.3f} of {count}" for name, value, _, count in measured)
    print(f"{real.name}: {', '.join(figures)}")
    assert [name for name, value, goal, _ in measured if value < goal] == []
