"""Pictures read beside the rows that run: nobody waits for them, and each is read once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest
import torch
from PIL import Image

from grounding.engines.base import Completion, Priority
from grounding.engines.local.decoding import model_runner
from grounding.engines.local.decoding.vision_tower import (
    PictureStates,
    VisionTower,
    has_free_cores,
)
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions
from tests.engines.questions import ask_all, request

CPU = LoadOptions(device="cpu", max_batch=2)
SLOW = 8 * 28
"""The width of pictures that the other thread reads when `free` is set."""


@dataclass
class Reads:
    """The widths of pictures that towers read, each with its thread."""

    seen: list[tuple[int, str]] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    @property
    def slow(self) -> list[str]:
        return [thread for width, thread in self.seen if width == SLOW]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    reads = Reads()
    read_one = VisionTower._read_one

    def note(tower: VisionTower, picture: Image.Image) -> PictureStates:
        thread = threading.current_thread().name.partition("_")[0]
        reads.seen.append((picture.width, thread))
        if picture.width == SLOW and thread == "pictures":
            reads.begun.set()
            assert reads.free.wait(60)
        return read_one(tower, picture)

    monkeypatch.setattr(model_runner, "has_free_cores", lambda: True)
    monkeypatch.setattr(VisionTower, "_read_one", note)
    yield reads
    reads.free.set()


@pytest.fixture
def engine(reads: Reads, tiny: Path) -> Iterator[LocalEngine]:
    engine = LocalEngine.load(str(tiny), CPU)
    yield engine
    reads.free.set()
    engine.close()


def test_a_row_goes_on_to_its_end_while_another_s_picture_is_read(
    engine: LocalEngine, reads: Reads
) -> None:
    runs, waits = engine.submit([request(2, 2, "say", 200), request(8, 2, "find", 9)])
    assert runs.result(60).text
    assert reads.begun.wait(60)
    assert not waits.done()
    reads.free.set()
    assert waits.result(60).text
    assert reads.slow == ["pictures"]


def test_what_was_read_beside_gives_the_answers_of_what_was_not(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [request(3 + n % 3, 2, f"say {n}", 20, seed=n) for n in range(12)]
    found = []
    for ahead in (True, False):
        monkeypatch.setattr(model_runner, "has_free_cores", lambda ahead=ahead: ahead)
        engine = LocalEngine.load(str(tiny), CPU)
        replies = [one for one in ask_all(engine, asked) if isinstance(one, Completion)]
        found.append([one.text for one in replies])
        engine.close()
    assert len(found[0]) == len(asked)
    assert found[0] == found[1]


def test_pictures_that_cannot_be_read_beside_are_read_by_the_model_s_thread(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests have two pictures each, of which the other thread has memory for every other one."""
    alone = [request(3 + n % 3, 2, f"say {n}", 20, seed=n) for n in range(9)]
    asked = [
        replace(one, parts=(more.parts[0], *one.parts))
        for one, more in zip(alone[1:], alone[:-1], strict=True)
    ]
    read_one, turns = VisionTower._read_one, count()

    def fail(tower: VisionTower, picture: Image.Image) -> PictureStates:
        if threading.current_thread().name.startswith("pictures") and next(turns) % 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return read_one(tower, picture)

    monkeypatch.setattr(VisionTower, "_read_one", fail)
    found = []
    for ahead in (True, False):
        monkeypatch.setattr(model_runner, "has_free_cores", lambda ahead=ahead: ahead)
        engine = LocalEngine.load(str(tiny), CPU)
        found.append([getattr(one, "text", str(one)) for one in ask_all(engine, asked)])
        engine.close()
    assert next(turns) > 2
    assert found[0] == found[1]


def test_an_annotator_s_picture_waits_for_none_of_bulk(engine: LocalEngine, reads: Reads) -> None:
    running, bulk = engine.submit([request(2, 2, "say", 400), request(8, 2, "find", 9)])
    assert reads.begun.wait(60)
    person = replace(request(4, 2, "where", 9, seed=1), priority=Priority.INTERACTIVE)
    (answer,) = engine.submit([person])
    assert answer.result(60).text
    assert not bulk.done()
    reads.free.set()
    assert bulk.result(60).text
    assert running.result(60).text


def test_a_picture_that_two_ask_about_is_read_once(engine: LocalEngine, reads: Reads) -> None:
    """Though each of them sent it anew."""
    asked = [request(2, 2, "say", 300), *(request(8, 2, text, 9) for text in ("find", "count"))]
    first, *others = engine.submit(asked)
    assert reads.begun.wait(60)
    assert first.result(60).text
    reads.free.set()
    assert all(one.result(60).text for one in others)
    assert reads.slow == ["pictures"]


def test_closing_the_engine_ends_the_thread(engine: LocalEngine, reads: Reads) -> None:
    before = {one for one in threading.enumerate() if one.name.startswith("pictures")}
    reads.free.set()
    ask_all(engine, [request(8, 2, f"find {n}", 3, seed=n) for n in range(4)])
    assert {one for one in threading.enumerate() if one.name.startswith("pictures")} - before
    engine.close()
    assert not {one for one in threading.enumerate() if one.name.startswith("pictures")} - before


@pytest.mark.parametrize(
    ("cores", "threads", "free"), [(1, 1, False), (2, 1, True), (2, 2, False), (8, 4, True)]
)
def test_cores_are_free_if_torch_uses_half_of_them_at_most(
    cores: int, threads: int, free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert has_free_cores() == free
