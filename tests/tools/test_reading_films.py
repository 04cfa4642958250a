"""The reading checkpoint's films and screens: right answers, and that the product asks the same."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.accuracy.reading import (
    SCREEN,
    SPANS,
    Read,
    film_task,
    score_button,
    score_spans,
    screen_task,
)
from grounding.engines.base import Completion, ModelRequest
from grounding.media.fetch import Fetcher, FetchRules
from grounding.media.films.reader import FilmReader
from grounding.media.views import View
from grounding.pipeline import WorkerContext, predict
from grounding.qwen.profiles import PROFILES
from grounding.tasks import Task
from grounding.testing import ScriptedEngine, answer_each, make_completion
from tools.reading.batches import Stream
from tools.reading.films import film, standing
from tools.reading.learner import Learner
from tools.reading.model import FACTOR, MAX_PIXELS, MIN_PIXELS
from tools.reading.pages import BUTTONS, page
from tools.reading.questions import Case, pose, pressed, stood
from tools.reading.rows import UNSAID, Row, encode, film_row, page_row, seen_at
from tools.reading.tokens import tokenizer
from tools.shapes.batches import still_patches
from tools.shapes.model import PATCH
from tools.shapes.scenes import SHAPES
from tools.shapes.tokens import IMAGE, TURN_END, TURN_START, VISION_END, VISION_START

each = pytest.mark.parametrize("seed", range(12))

Results = list[dict[str, Any]]


class Answering:
    """A model with the right answers, and all that it was asked."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.answers = {case.prompt: case.answer for case in cases}
        self.asked: list[ModelRequest] = []

    def answer(self, request: ModelRequest) -> Completion:
        self.asked.append(request)
        return make_completion(self.answers[str(request.parts[-1])], -0.1)

    def predict(self, task: dict[str, Any], config: str) -> Results:
        """Return the product's results for a task."""
        profile = PROFILES["qwen2.5-vl"].bounded((MIN_PIXELS, MAX_PIXELS))
        engine, fetcher = ScriptedEngine(answer_each(self.answer), profile), Fetcher(FetchRules())
        worker = WorkerContext(engine, fetcher, 200, 10**7, films=FilmReader(fetcher))
        try:
            answered = predict(Task(1, task["data"], config, None, "v"), worker)
        finally:
            engine.close()
        return list(answered.prediction["result"])


def before(request: ModelRequest) -> Iterator[str]:
    """Yield what a model of the checkpoint's template reads before the question."""
    if request.system:
        yield f"{TURN_START}system\n{request.system}{TURN_END}\n"
    yield f"{TURN_START}user\n"
    for part in request.parts[:-1]:
        tokens = int(part.frame.width * part.frame.height) // FACTOR**2 if is_view(part) else 0
        yield VISION_START + IMAGE * tokens + VISION_END if tokens else str(part)


def is_view(part: View | str) -> bool:
    return not isinstance(part, str)


def off(row: Row, request: ModelRequest) -> float:
    """Return how much the pixels of a row and a request differ, in standard deviations."""
    patches = [still_patches(view.pixels).reshape(-1, 3 * PATCH**2) for view in request.views]
    return float(np.abs(row.patches - np.concatenate(patches)).mean())


def told(row: Row, segment: int) -> str:
    """Return the text of a part of a row."""
    return str(tokenizer().decode(row.ids[row.segments == segment]))


@each
def test_each_shape_of_a_film_moves_and_none_hides_another(seed: int) -> None:
    drawn = film(seed)
    assert drawn == film(seed)
    for number in range(drawn.frames):
        columns: set[int] = set()
        for thing in drawn.scene(number).things:
            x1, y1, x2, y2 = thing.box
            assert number in standing(drawn, thing.shape)
            assert (x1, y1) >= (0, 0)
            assert (x2, y2) <= drawn.size
            assert columns.isdisjoint(range(x1, x2))
            columns |= set(range(x1, x2))


@each
def test_a_film_is_asked_about_as_in_training_and_right_answers_are_its_spans(seed: int) -> None:
    drawn, row, read = film(seed), film_row(film(seed)), Read()
    answering = Answering([stood(drawn, shape) for shape in SHAPES])
    score_spans(drawn, answering.predict(film_task(drawn, 1), SPANS), read)
    assert read.spans == [1.0] * len(drawn.ways)
    assert read.away == [True] * (len(SHAPES) - len(drawn.ways))
    for request in answering.asked:
        assert "".join(before(request)) == told(row, 0)
        assert off(row, request) < 0.05  # what the film's coding loses


@each
def test_a_screen_is_asked_about_as_in_training_and_a_right_answer_is_inside(seed: int) -> None:
    drawn, read = page(seed, "screen"), Read()
    answering = Answering(pose(drawn, seen_at(drawn.width, drawn.height), random.Random(seed)))
    score_button(drawn, answering.predict(screen_task(drawn, 1), SCREEN), read)
    assert read.buttons == [True]
    (request,) = answering.asked
    row = page_row(drawn, random.Random(seed))
    assert "".join(before(request)) == told(row, 0)
    assert off(row, request) < 0.01


@each
def test_a_button_that_is_not_there_has_no_point(seed: int) -> None:
    drawn = page(seed, "screen")
    absent = next(name for name in BUTTONS if name not in [one.name for one in drawn.buttons])
    case = pressed(drawn, absent, seen_at(drawn.width, drawn.height))
    asked = {"data": screen_task(drawn, 1)["data"] | {"instruction": f"Press {absent}"}}
    assert Answering([case]).predict(asked, SCREEN) == []


@each
def test_each_piece_of_a_question_and_an_answer_is_one_token(seed: int) -> None:
    drawn = page(seed, "screen")
    cases = pose(drawn, seen_at(drawn.width, drawn.height), random.Random(seed))
    for case in [*cases, *(stood(film(seed), shape) for shape in SHAPES)]:
        ids = encode(case.answer)
        assert [tokenizer().decode([i]) for i in ids] == [piece for piece, *_ in case.pieces]
        assert len(encode(case.prompt)) < 20
        assert len(encode(case.system or "")) < 20


def test_a_row_has_the_model_s_own_positions() -> None:
    """Frames of a film come one after the other, and a question after the last."""
    core = Learner().model.model
    for row in (film_row(film(0)), page_row(page(0, "screen"), random.Random(0))):
        ids = torch.tensor(row.ids[row.segments <= 1])[None]
        kinds = (ids == core.config.image_token_id).int()
        own, _ = core.get_rope_index(ids, kinds, torch.tensor(row.grids))
        assert (own[:, 0].T.numpy() == row.places[row.segments <= 1]).all()


@each
def test_the_helpers_are_told_in_which_frames_a_shape_is(seed: int) -> None:
    drawn, row = film(seed), film_row(film(seed))
    frames = sorted(number for shape in SHAPES for number in standing(drawn, shape))
    assert sorted(row.facts[row.facts[:, 3] != UNSAID, 3]) == frames


def test_one_batch_in_five_is_of_films() -> None:
    batches = iter(Stream(0, 6, {"screen": 1.0}, films=2))
    sizes = [len(next(batches).ids) for _ in range(6)]
    assert sizes == [2, 6, 6, 6, 6, 2]
