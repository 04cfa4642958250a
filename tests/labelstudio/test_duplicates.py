"""What a model finds twice becomes one region, and different things stay apart."""

from __future__ import annotations

import statistics
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
from tests.labelstudio.conftest import CountCalls

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


def crowd(space: float, columns: int, rows: int = 1) -> list[Point]:
    """Return points that are `space` percent of the longer side (400 pixels) apart."""
    step = space * 4
    return [dot(20 + step * x, 20 + step * y) for x in range(columns) for y in range(rows)]


def shaken(points: list[Point], share: float) -> list[Point]:
    """Return the points, each moved by a share of a percent of the longer side."""
    return [dot(p.x + 4 * share, p.y) for p in points]


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        pytest.param(crowd(1.5, 10, 10), 100, id="a hundred cells"),
        pytest.param(crowd(0.5, 12, 12), 144, id="tiny cells"),
        pytest.param(crowd(1.9, 3), 3, id="three in a row"),
        pytest.param([*crowd(1.2, 5), dot(300, 200)], 6, id="a row, and one far away"),
        pytest.param(crowd(1.5, 6, 6) * 2, 36, id="cells written twice"),
        pytest.param(crowd(1.5, 6) + shaken(crowd(1.5, 6), 0.3), 6, id="written twice, a bit off"),
        pytest.param(crowd(0.6, 3), 1, id="three within 2 %"),
        pytest.param(crowd(0.9, 2, 2), 1, id="four within 2 %"),
        pytest.param(crowd(5, 8) + shaken(crowd(5, 8), 1.5), 8, id="far things, each twice"),
        pytest.param(crowd(1.5, 2), 1, id="two"),
    ],
)
def test_points_of_a_crowd_are_of_different_things(points: list[Point], kept: int) -> None:
    results = drawn(POINT, *((point, "car", None, CARS) for point in points))
    assert len(results.result) == kept
    assert results.dropped["duplicate"] == len(points) - kept


def test_a_crowd_of_two_labels_in_one_answer_is_of_different_things() -> None:
    points = crowd(1.5, 6, 6)
    said = [(p, ("car", "dog")[n % 2], None, EITHER) for n, p in enumerate(points)]
    assert len(drawn(POINT, *said).result) == len(points)


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
SPOTS = st.sampled_from([0.0, 8.0, 40.0, 44.0, 47.0, 51.0, 52.0]) | st.floats(0, 120)
NEAR_SPOTS = st.integers(0, 12).map(float) | st.floats(0, 20)
BOXES_SAID = st.builds(at, SPOTS, st.sampled_from([50.0, 90.0, 100.0]) | st.floats(5, 120))
POINTS_SAID = st.builds(dot, SPOTS, SPOTS) | st.builds(dot, NEAR_SPOTS, NEAR_SPOTS)


def same_thing(one: Said, two: Said, said: list[Said]) -> bool:
    """Say whether two of the findings `said` mark one thing, by comparing the two."""
    a, b = one[0].to(PERCENT), two[0].to(PERCENT)
    if one[1] != two[1] and one[3] != two[3]:
        return False
    if isinstance(a, Box) and isinstance(b, Box):
        return a.iou(b) >= 0.8
    assert isinstance(a, Point)
    assert isinstance(b, Point)
    both = [
        [other for other in said if other[key] == one[key]]
        for key in (1, 3)
        if one[key] == two[key]
    ]
    return any(a.apart(b, IMAGE) <= reach(a, places(group)) for group in both)


def places(said: list[Said]) -> list[Point]:
    """Return the different points of findings, clipped as regions are."""
    found = (place for one in said if isinstance(place := one[0].to(PERCENT), Point))
    return list(dict.fromkeys(place.clip() for place in found))


def reach(point: Point, points: list[Point]) -> float:
    """Return how far from `point` another one marks the same thing, by comparing all points."""
    point = point.clip()
    row = {point}
    while more := {p for p in points if any(p.apart(q, IMAGE) <= 0.02 for q in row)} - row:
        row |= more
    pixels = [p.to(IMAGE) for p in row]
    across = [max(v) - min(v) for v in ([p.x for p in pixels], [p.y for p in pixels])]
    if max(across) / 800 <= 0.02:
        return 0.02
    spaces = [sorted(p.apart(q, IMAGE) for q in row if q != p) for p in row]
    seconds = [space[1] if len(space) > 1 and space[1] <= 0.02 else 0.02 for space in spaces]
    return max(statistics.median(seconds) / 2, 1e-6)


def expected(said: list[Said]) -> list[Said]:
    """Return what stays, found by comparing each finding with every one that is better."""
    ranked = list(enumerate(said))
    if all(score is not None for _, _, score, _ in said):
        ranked.sort(key=lambda pair: -(pair[1][2] or 0))
    kept: list[tuple[int, Said]] = []
    for n, one in ranked:
        if not any(same_thing(one, other, said) for _, other in kept):
            kept.append((n, one))
    return [one for _, one in sorted(kept, key=lambda pair: pair[0])]


@given(data=st.data(), on=st.sampled_from([BOX, POINT]))
def test_what_stays_is_what_a_comparison_with_each_better_finding_leaves(
    data: st.DataObject, on: Control
) -> None:
    spots: Any = BOXES_SAID if on is BOX else POINTS_SAID
    said = data.draw(st.lists(st.tuples(spots, WORDS, SCORES, ASKS), max_size=12))
    results, kept = drawn(on, *said), expected(said)
    assert starts(results) == [round(max(0, place_x(one)), 6) for one in kept]
    assert results.dropped["duplicate"] == len(said) - len(kept)


def place_x(said: Said) -> float:
    place = said[0]
    return place.x1 if isinstance(place, Box) else place.x


def test_points_of_a_long_answer_are_compared_with_their_neighbours_only(
    count_calls: CountCalls,
) -> None:
    compared = count_calls(Point, "apart")
    points = [dot(10 + n / 1000, 10) for n in range(2000)]
    drawn(POINT, *((point, "car", None, CARS) for point in points))
    assert compared.count < 100 * len(points)


@pytest.mark.parametrize("crowded", [False, True])
def test_a_long_answer_is_compared_with_its_neighbours_only(
    count_calls: CountCalls, crowded: bool
) -> None:
    compared = count_calls(Box, "iou")
    apart = [Box(x, y, x + 3, y + 3, MODEL) for x in range(0, 396, 4) for y in range(0, 200, 4)]
    places = [Box(0, 0, 300 + n / 100, 200, MODEL) for n in range(5000)] if crowded else apart
    drawn(BOX, *((place, "car", None, CARS) for place in places))
    assert compared.count < 20 * len(places)
