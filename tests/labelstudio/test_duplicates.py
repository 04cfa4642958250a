"""What a model finds twice becomes one region, and different things stay apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import PERCENT, Box, Frame, Point, image_frame
from grounding.labelstudio.config.interface import Control
from grounding.labelstudio.controls import write_results
from grounding.labelstudio.controls.base import Results
from grounding.queries import Finding, Locate, Shape
from tests.labelstudio.configs import BOXES, CAR_DOG, POINTS, PROMPT, RECTANGLE, config, control

IMAGE = image_frame(800, 600)
MODEL = Frame("model", 400, 300)
BOX = control(BOXES)
POINT = control(POINTS.replace('<Label value="Nose"/>', CAR_DOG))
NAMELESS = config(RECTANGLE, PROMPT).controls[0]
CARS, DOGS = (Locate(Shape.BOX, (name,)) for name in ("Car", "Dog"))
EITHER = Locate(Shape.BOX, ("Car", "Dog"))
PHRASE = Locate(Shape.BOX, phrase="red things")

Said = tuple[Box | Point, str | None, float | None, Locate]
"""One finding: its place, word and score, and the query that it answers."""


def drawn(on: Control, *said: Said) -> Results:
    """Return what becomes of findings."""
    found = [(Finding(place, word, score=score), ask) for place, word, score, ask in said]
    return write_results(on, found, IMAGE)


def starts(results: Results) -> list[float]:
    """Return the left side of each region, in the model's pixels."""
    return [round(region["value"]["x"] * 4, 6) for region in results.result]


def at(x: float, width: float = 100) -> Box:
    return Box(x, 30, x + width, 150, MODEL)


def dot(x: float, y: float = 50) -> Point:
    return Point(x, y, MODEL)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        pytest.param((at(40), "car"), (at(45), "cars"), [40], id="a few pixels off"),
        pytest.param((at(40), "car"), (at(51), "car"), [40], id="IoU of 0.802"),
        pytest.param((at(40), "car"), (at(52), "car"), [40, 52], id="IoU of 0.786"),
        pytest.param((at(40), "car"), (at(40, 50), "car"), [40, 40], id="a part of it"),
    ],
)
def test_boxes_of_one_label_that_nearly_coincide_are_one(
    first: tuple[Box, str], second: tuple[Box, str], kept: list[float]
) -> None:
    results = drawn(BOX, (*first, None, CARS), (*second, None, CARS))
    assert starts(results) == kept
    assert results.dropped.total() == results.dropped["duplicate"] == 2 - len(kept)


@pytest.mark.parametrize(
    ("x", "y", "kept"),
    [(47.9, 50, [40]), (48.1, 50, [40, 48.1]), (40, 57.9, [40]), (40, 58.1, [40, 40])],
    ids=["2 % to the right", "further", "2 % of the longer side below", "further below"],
)
def test_points_of_one_label_within_2_percent_of_the_longer_side_are_one(
    x: float, y: float, kept: list[float]
) -> None:
    results = drawn(POINT, (dot(40), "car", None, CARS), (dot(x, y), "car", None, CARS))
    assert starts(results) == kept


@pytest.mark.parametrize(
    ("asks", "kept"),
    [
        pytest.param((CARS, DOGS), ["Car", "d"], id="a query for each label"),
        pytest.param((EITHER, EITHER), ["Car"], id="one query for both"),
        pytest.param((PHRASE, PHRASE), ["Car"], id="a phrase"),
        pytest.param((CARS, CARS), ["Car"], id="a query for one, answered with another"),
    ],
)
def test_two_labels_at_one_place_are_one_where_one_query_named_both(
    asks: tuple[Locate, Locate], kept: list[str]
) -> None:
    results = drawn(BOX, (at(40), "car", None, asks[0]), (at(42), "dog", None, asks[1]))
    assert [r["value"]["rectanglelabels"][0] for r in results.result] == kept


def test_without_labels_one_place_is_one_thing() -> None:
    said = [(at(40), word, None, PHRASE) for word in ("cup", "mug")]
    assert starts(drawn(NAMELESS, *said)) == [40]


@pytest.mark.parametrize(
    ("scores", "kept"),
    [((0.4, 0.8), [42]), ((0.8, 0.4), [40]), ((0.5, 0.5), [40]), ((None, 0.9), [40])],
)
def test_of_duplicates_the_best_score_stays_and_else_the_first(
    scores: tuple[float | None, float | None], kept: list[float]
) -> None:
    first, second = scores
    results = drawn(BOX, (at(40), "car", first, EITHER), (at(42), "dog", second, EITHER))
    assert starts(results) == kept


def test_what_is_near_a_duplicate_but_not_near_what_stays_is_another_thing() -> None:
    said = [(at(x), "car", score, CARS) for x, score in ((40, 0.9), (48, 0.8), (56, 0.7))]
    assert starts(drawn(BOX, *said)) == [40, 56]


SCORES = st.none() | st.sampled_from([0.2, 0.5, 0.9])
WORDS = st.sampled_from(["car", "dog"])
ASKS = st.sampled_from([CARS, DOGS, EITHER, PHRASE])
SPOTS = st.sampled_from([0.0, 8.0, 40.0, 47.0, 51.0, 52.0]) | st.floats(0, 120)
BOXES_SAID = st.builds(at, SPOTS, st.sampled_from([50.0, 90.0, 100.0]) | st.floats(5, 120))
POINTS_SAID = st.builds(dot, SPOTS, SPOTS)


def same_thing(one: Said, two: Said) -> bool:
    """Say whether two findings mark one thing, by comparing the two."""
    a, b = one[0].to(PERCENT), two[0].to(PERCENT)
    if one[1] != two[1] and one[3] != two[3]:
        return False
    if isinstance(a, Box) and isinstance(b, Box):
        return a.iou(b) >= 0.8
    assert isinstance(a, Point)
    assert isinstance(b, Point)
    return a.apart(b, IMAGE) <= 0.02


def expected(said: list[Said]) -> list[Said]:
    """Return what stays, found by comparing each finding with every one that is better."""
    ranked = list(enumerate(said))
    if all(score is not None for _, _, score, _ in said):
        ranked.sort(key=lambda pair: -(pair[1][2] or 0))
    kept: list[tuple[int, Said]] = []
    for n, one in ranked:
        if not any(same_thing(one, other) for _, other in kept):
            kept.append((n, one))
    return [one for _, one in sorted(kept, key=lambda pair: pair[0])]


@given(data=st.data(), on=st.sampled_from([BOX, POINT]))
def test_what_stays_is_what_a_comparison_with_each_better_finding_leaves(
    data: st.DataObject, on: Control
) -> None:
    places: Any = BOXES_SAID if on is BOX else POINTS_SAID
    said = data.draw(st.lists(st.tuples(places, WORDS, SCORES, ASKS), max_size=12))
    results, kept = drawn(on, *said), expected(said)
    assert starts(results) == [round(max(0, place_x(one)), 6) for one in kept]
    assert results.dropped["duplicate"] == len(said) - len(kept)


def place_x(said: Said) -> float:
    place = said[0]
    return place.x1 if isinstance(place, Box) else place.x


@pytest.mark.parametrize("crowded", [False, True])
def test_a_long_answer_is_compared_with_its_neighbours_only(
    monkeypatch: pytest.MonkeyPatch, crowded: bool
) -> None:
    compared = 0
    iou = Box.iou

    def counted(self: Box, other: Box) -> float:
        nonlocal compared
        compared += 1
        return iou(self, other)

    monkeypatch.setattr(Box, "iou", counted)
    apart = [Box(x, y, x + 3, y + 3, MODEL) for x in range(0, 396, 4) for y in range(0, 200, 4)]
    places = [Box(0, 0, 300 + n / 100, 200, MODEL) for n in range(5000)] if crowded else apart
    drawn(BOX, *((place, "car", None, CARS) for place in places))
    assert compared < 20 * len(places)
