"""The questions that the shapes checkpoint learns, and their answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.geometry import Box, Frame, Point
from grounding.queries import Shape
from grounding.qwen.answers import Verdict, read
from grounding.qwen.queries.locate import wording
from tools.shapes import questions
from tools.shapes.batches import seen_at
from tools.shapes.names import Tongue, said
from tools.shapes.places import box_of, ground_point, inner_point, jittered
from tools.shapes.questions import Case, answer, click, mixed, pose, rough, several, typed, wide
from tools.shapes.scenes import NAMES, Scene, scene

Maker = Callable[[Scene, Tongue, random.Random], Case]

seeds = st.integers(min_value=0, max_value=2**62)
tongues = st.sampled_from(("en", "zh"))
pictures = st.builds(scene, seeds)
dice = st.builds(random.Random, seeds)


def frame_of(drawn: Scene) -> Frame:
    return seen_at(drawn.width, drawn.height)


@given(pictures, dice)
@settings(max_examples=200, deadline=None)
def test_the_product_reads_from_each_answer_just_the_right_things(
    drawn: Scene, rng: random.Random
) -> None:
    frame = frame_of(drawn)
    case = pose(drawn, frame, rng)
    answered = read(answer(case, drawn, frame), frame, complete=True)
    assert answered.verdict is (Verdict.FOUND if case.things else Verdict.NOTHING)
    assert [found.label for found in answered.findings] == [
        said(thing.name, case.tongue) for thing in case.things
    ]
    for found, thing in zip(answered.findings, case.things, strict=True):
        assert found.shape is case.ask.shape
        if isinstance(found.place, Box):
            assert found.place.iou(box_of(thing, drawn).to(frame)) > 0.85


@given(pictures, tongues, dice)
@settings(deadline=None)
def test_a_list_is_answered_with_all_of_it_that_is_there_in_its_order(
    drawn: Scene, tongue: Tongue, rng: random.Random
) -> None:
    case = several(drawn, tongue, rng)
    here = {thing.name for thing in drawn.things}
    assert len(set(case.names)) == len(case.names) >= 2
    assert [thing.name for thing in case.things] == [n for n in case.names if n in here]
    assert case.ask.classes == tuple(said(name, tongue) for name in case.names)


@given(pictures, tongues, dice)
@settings(deadline=None)
def test_what_is_only_described_is_told_from_left_to_right(
    drawn: Scene, tongue: Tongue, rng: random.Random
) -> None:
    case = wide(drawn, tongue, rng)
    lefts = [thing.box[0] for thing in case.things]
    assert lefts == sorted(lefts)


@given(pictures, tongues, dice)
@settings(deadline=None)
def test_a_phrase_beside_a_list_of_names_is_answered_in_the_language_of_the_list(
    drawn: Scene, tongue: Tongue, rng: random.Random
) -> None:
    case = typed(drawn, tongue, rng)
    assert said(case.sought, tongue) in str(case.ask.phrase)
    assert case.ask.classes == tuple(said(name, case.tongue) for name in case.names)
    thing = drawn.named(case.sought)
    assert case.things == ((thing,) if thing else ())


@given(pictures, tongues, dice)
@settings(deadline=None)
def test_a_click_is_answered_with_what_it_hits(
    drawn: Scene, tongue: Tongue, rng: random.Random
) -> None:
    case = click(drawn, tongue, rng)
    spot = case.ask.around
    assert isinstance(spot, Point)
    hit = [thing for thing in drawn.things if thing.covers(spot.x, spot.y)]
    assert list(case.things) == hit


@pytest.mark.parametrize("make", [click, rough])
@given(drawn=pictures, tongue=tongues, rng=dice)
@settings(deadline=None)
def test_what_is_there_may_carry_one_of_the_names_in_the_question(
    make: Maker, drawn: Scene, tongue: Tongue, rng: random.Random
) -> None:
    case = make(drawn, tongue, rng)
    assert not case.names or {thing.name for thing in case.things} <= set(case.names)


@given(pictures, dice)
@settings(deadline=None)
def test_a_question_without_a_name_is_answered_in_its_own_language(
    drawn: Scene, rng: random.Random
) -> None:
    case = pose(drawn, frame_of(drawn), rng)
    if case.names or case.ask.phrase:
        return
    assert (case.tongue == "zh") == ("图" in case.prompt)


@given(pictures, dice, st.floats(0.01, 0.3))
@settings(deadline=None)
def test_a_rough_box_is_off_by_no_more_than_its_share_and_inside(
    drawn: Scene, rng: random.Random, share: float
) -> None:
    thing = rng.choice(drawn.things)
    truth, drawn_box = box_of(thing, drawn), jittered(thing, drawn, share, rng)
    off = share * truth.width + 1e-9
    for name in ("x1", "y1", "x2", "y2"):
        assert abs(getattr(drawn_box, name) - getattr(truth, name)) <= off
    assert drawn_box == drawn_box.clip()


@given(pictures, dice)
@settings(deadline=None)
def test_points_are_inside_a_thing_or_clear_of_all(drawn: Scene, rng: random.Random) -> None:
    for thing in drawn.things:
        inner = inner_point(thing, drawn, rng)
        assert thing.covers(inner.x, inner.y)
    if ground := ground_point(drawn, rng):
        assert not any(
            x1 <= ground.x <= x2 and y1 <= ground.y <= y2
            for x1, y1, x2, y2 in (thing.box for thing in drawn.things)
        )


@given(pictures, st.integers(2, 6), dice)
@settings(deadline=None)
def test_mixed_names_are_as_many_as_asked_for(drawn: Scene, count: int, rng: random.Random) -> None:
    assert len(set(mixed(drawn, count, rng))) == count


def test_every_name_is_said_in_one_way_of_its_own() -> None:
    words = [said(name, tongue) for name in NAMES for tongue in ("en", "zh")]
    assert len(set(words)) == 2 * len(NAMES)


def test_all_that_the_product_asks_is_asked_often() -> None:
    rng = random.Random(0)
    cases = [pose(drawn, frame_of(drawn), rng) for drawn in (scene(n) for n in range(600))]
    counted = {
        "lists": sum(len(case.ask.classes) > 1 and not case.ask.around for case in cases),
        "clicks": sum(isinstance(case.ask.around, Point) for case in cases),
        "rough boxes": sum(isinstance(case.ask.around, Box) for case in cases),
        "Chinese": sum(wording(replace(case.ask)).gap == "" for case in cases),
        "dense": sum("each " in case.prompt or "每一个" in case.prompt for case in cases),
        "strict": sum(
            "without any other word" in c.prompt or "其他文字" in c.prompt for c in cases
        ),
        "points": sum(case.ask.shape is Shape.POINT for case in cases),
        "absent": sum(not case.things for case in cases),
    }
    assert min(counted.values()) >= 25, counted
    assert sum(share for _, share in questions.QUESTIONS) == pytest.approx(1)
