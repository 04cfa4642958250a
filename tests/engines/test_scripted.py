"""The scripted engine calls its function with requests only."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from PIL import Image

from grounding.engines.base import Completion, ModelRequest
from grounding.testing import ScriptedEngine, ask_one, make_completion, make_view

SECONDS = 60


def request(text: str) -> ModelRequest:
    return ModelRequest((make_view(Image.new("RGB", (56, 56))), text), 6)


def test_the_function_gets_no_empty_batch_after_a_waiting_request_is_cancelled() -> None:
    free, runs = threading.Event(), threading.Event()
    sizes: list[int] = []

    def answer(batch: Sequence[ModelRequest]) -> list[Completion]:
        sizes.append(len(batch))
        runs.set()
        assert free.wait(SECONDS)
        return [make_completion(one.text) for one in batch]

    engine = ScriptedEngine(answer, max_batch=1)
    first = engine.submit([request("a")])[0]
    assert runs.wait(SECONDS)
    assert engine.submit([request("b")])[0].cancel()
    free.set()
    assert first.result(SECONDS).text == "a"
    assert ask_one(engine, request("c")).text == "c"
    engine.close()
    assert sizes == [1, 1]
    assert [one.text for one in engine.requests] == ["a", "c"]


def test_a_request_that_is_submitted_twice_is_answered_twice() -> None:
    engine = ScriptedEngine(lambda batch: [make_completion(one.text) for one in batch])
    same = request("a")
    futures = engine.submit([same, same])
    assert [future.result(SECONDS).text for future in futures] == ["a", "a"]
    engine.close()
