"""Scores rise and fall with the tokens that matter, and with no others."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import Box, Frame, Point
from grounding.queries import Finding
from grounding.qwen.answers import read
from grounding.qwen.scores import scored

FRAME = Frame("model", 1000, 1000)
TOKEN = re.compile(r"\d|[^\W\d_]+|\s+|.", re.DOTALL)
CAT = '{"bbox_2d": [100, 200, 300, 400], "label": "cat"}'
DOG = '{"bbox_2d": [500, 600, 700, 800], "label": "big dog"}'
TWO = f"Here they are:\n```json\n[{CAT}, {DOG}]\n```"


@dataclass(frozen=True)
class Written:
    """A token as an engine gives it."""

    start: int
    end: int
    logprob: float


def tokens(text: str, doubts: Mapping[int, float] = {}) -> list[Written]:
    """Return the tokens of `text`, each certain but for those that begin at the places given."""
    spans = [match.span() for match in TOKEN.finditer(text)]
    return [Written(a, b, math.log(doubts.get(a, 1.0))) for a, b in spans]


def scores(text: str, doubts: Mapping[int, float] = {}) -> list[float]:
    """Return the scores of what `text` says."""
    found = scored(read(text, FRAME).detections, text, tokens(text, doubts))
    assert all(one.score is not None for one in found)
    return [one.score or 0.0 for one in found]


def at(word: str, offset: int = 0) -> int:
    """Return where a word of `TWO` stands."""
    return TWO.index(word) + offset


def test_without_a_doubt_the_score_is_one() -> None:
    assert scores(TWO) == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (at("[{"), [0.5, 1]),  # "[]" was the other choice
        (at("cat"), [0.5, 1]),
        (at(", {"), [1, 0.5]),  # "]" was the other choice
        (at("big"), [1, 0.5]),
        (at("dog"), [1, 0.5]),
        (at(", 200"), [0.5, 1]),  # the end of "100": it could have been 1000
        (at("], ", 0), [0.5, 1]),
        (at("Here"), [1, 1]),  # prose
        (at("are"), [1, 1]),
        (at("json"), [1, 1]),
        (len(TWO) - 3, [1, 1]),  # behind the last region
    ],
)
def test_a_token_that_decides_a_region_counts_in_full(where: int, expected: list[float]) -> None:
    assert scores(TWO, {where: 0.5}) == pytest.approx(expected)


def test_a_doubt_among_neighbours_does_not_matter_for_a_large_thing_and_does_for_a_small() -> None:
    small = '[{"bbox_2d": [100, 200, 108, 208], "label": "cat"}]'
    large = '[{"bbox_2d": [100, 200, 500, 600], "label": "cat"}]'
    doubt = {small.index("100") + 2: 0.3}
    assert scores(large, doubt) == pytest.approx([1])
    mass = [math.erf(math.sqrt(math.pi) * p) for p in (0.3, 1, 1, 1)]
    assert scores(small, doubt) == pytest.approx([math.prod(mass) ** 0.25])


def test_a_point_may_be_off_by_a_fiftieth_of_the_picture() -> None:
    text = '[{"point_2d": [100, 200], "label": "cat"}]'
    (score,) = scores(text, {text.index("100"): 0.02})
    assert score == pytest.approx(math.erf(math.sqrt(math.pi) * 0.02 * 20) ** 0.5)


@pytest.mark.parametrize(
    "text",
    [
        "100,200,300,400 cat 9",
        "cat 9: 100,200,300,400",
        '[{"label": "cat 9", "bbox_2d": [100, 200, 300, 400]}]',
        '[{"bbox_2d": {"x1": 100, "y1": 200, "x2": 300, "y2": 400}, "label": "cat 9"}]',
        '[{"x": 100, "y": 200, "width": 200, "height": 200, "label": "cat 9"}]',
        "<|object_ref_start|>cat 9<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>",
        '<points x1="100" y1="200" alt="cat 9">cat 9</points>',
    ],
)
def test_in_every_spelling_the_coordinates_and_only_they_are_read_as_numbers(text: str) -> None:
    (sure,) = scores(text)
    assert sure == pytest.approx(1)
    (unsure,) = scores(text, {text.index("100"): 1e-3})
    assert unsure < 0.7
    (named,) = scores(text, {text.index("9"): 0.5})
    assert named in (pytest.approx(0.5), pytest.approx(1))


def test_without_tokens_there_is_no_score_not_even_one_that_the_model_wrote() -> None:
    text = '[{"bbox_2d": [1, 2, 30, 40], "label": "cat", "score": 0.9}]'
    answer = read(text, FRAME)
    assert [one.score for one in scored(answer.detections, text, ())] == [None]
    assert [one.score for one in scored(answer.detections, text, tokens(text))] == [
        pytest.approx(1)
    ]


def test_tokens_that_end_before_a_region_leave_it_without_a_score() -> None:
    found = scored(read(TWO, FRAME).detections, TWO, tokens(TWO)[:30])
    assert [one.score is None for one in found] == [False, True]


LOGS = st.floats(-50, 0, allow_nan=False) | st.just(-math.inf)
SPANS = st.tuples(st.integers(0, 130), st.integers(0, 130)).map(lambda ab: (min(ab), max(ab)))
PLACES = st.builds(
    Box.spanning, *[st.tuples(st.floats(0, 1000), st.floats(0, 1000))] * 2, st.just(FRAME)
) | st.builds(Point, st.floats(0, 1000), st.floats(0, 1000), st.just(FRAME))


@given(
    logs=st.lists(LOGS, min_size=1, max_size=200),
    found=st.lists(
        st.builds(Finding, PLACES, st.none() | st.text(max_size=3), span=SPANS), max_size=5
    ),
    text=st.just(TWO) | st.text(max_size=140),
)
def test_a_score_is_a_probability_whatever_the_tokens_and_spans(
    logs: list[float], found: list[Finding], text: str
) -> None:
    pieces = [Written(i, i + 1, log) for i, log in enumerate(logs)]
    for one in scored(found, text, pieces):
        assert one.score is None or 0 <= one.score <= 1


@given(where=st.integers(0, len(TWO)), p=st.floats(0, 1), q=st.floats(0, 1))
def test_a_score_never_rises_with_a_doubt(where: int, p: float, q: float) -> None:
    low, high = (max(x, 1e-9) for x in sorted((p, q)))
    pairs = zip(scores(TWO, {where: low}), scores(TWO, {where: high}), strict=True)
    assert all(a <= b + 1e-12 for a, b in pairs)
