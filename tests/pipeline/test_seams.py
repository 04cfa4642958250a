"""A long page is read in two halves that overlap; what stands at the seam is said once."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import PERCENT, Box, PixelBounds, image_frame, model_frame
from grounding.inference.seams import is_long, join
from grounding.queries import Finding
from grounding.qwen.answers import Answer, Verdict
from tests.labelstudio.configs import area, config
from tests.pipeline.test_pipeline import InlineEngine, OnePicture, grounded

SEAM = (42.5, 57.5)
LINE = area("text", 'perRegion="true"')
PRINT = '<RectangleLabels name="box" toName="image"><Label value="Text"/></RectangleLabels>'


def found(*places: tuple[float, float, str]) -> Answer:
    """Return an answer with a line of the whole width from y1 to y2 for each text."""
    lines = tuple(Finding(Box(10, a, 90, b, PERCENT), text=text) for a, b, text in places)
    return Answer(lines, Verdict.FOUND if lines else Verdict.NOTHING)


def lines_of(answer: Answer) -> list[tuple[float, float, str | None]]:
    boxes = [(f.place, f.text) for f in answer.findings]
    return [(box.y1, box.y2, text) for box, text in boxes if isinstance(box, Box)]


@pytest.mark.parametrize(
    ("top", "bottom", "whole"),
    [
        ([(1, 3, "A")], [(90, 93, "B")], [(1, 3, "A"), (90, 93, "B")]),
        ([(45, 48, "A")], [(45.1, 48, "A")], [(45, 48, "A")]),
        ([(45, 48, "A"), (48, 51, "B")], [(48, 51, "B"), (51, 54, "C")],
         [(45, 48, "A"), (48, 51, "B"), (51, 54, "C")]),
        # Cut by the lower edge of the upper view, whole in the lower one.
        ([(56, 57.4, "Tot")], [(56, 59, "Total")], [(56, 59, "Total")]),
        # Cut by the upper edge of the lower view, whole in the upper one.
        ([(41, 44, "Total")], [(42.6, 44, "tal")], [(41, 44, "Total")]),
        # Cut by both: a paragraph over the whole seam.
        ([(30, 57.5, "a\nb\nc")], [(42.5, 80, "b\nc\nd")], [(30, 80, "a\nb\nc\nd")]),
        ([], [(60, 63, "A")], [(60, 63, "A")]),
    ],
)  # fmt: skip
def test_what_both_halves_show_is_one_thing(
    top: list[tuple[float, float, str]],
    bottom: list[tuple[float, float, str]],
    whole: list[tuple[float, float, str]],
) -> None:
    assert lines_of(join(found(*top), found(*bottom), SEAM)) == whole


def test_lines_side_by_side_and_of_other_labels_are_two_things() -> None:
    left = Finding(Box(10, 45, 40, 48, PERCENT), text="A")
    right = Finding(Box(60, 45, 90, 48, PERCENT), text="B")
    both = [Answer((one,), Verdict.FOUND) for one in (left, right)]
    assert [f.text for f in join(both[0], both[1], SEAM).findings] == ["A", "B"]
    named = Answer((Finding(left.place, label="table", text="A"),), Verdict.FOUND)
    assert len(join(both[0], named, SEAM).findings) == 2


@pytest.mark.parametrize(
    ("top", "bottom", "whole"),
    [
        ("a\nb\nc", "b\nc\nd", "a\nb\nc\nd"),
        ("a\nb\nc", "B,\nC\nd", "a\nb\nc\nd"),
        ("a\nb\nc\nhal", "b\nc\nhalf\nd", "a\nb\nc\nhalf\nd"),
        ("a\nb\nc", "lf\nb\nc\nd", "a\nb\nc\nd"),
        ("a\nb", "c\nd", "a\nb\nc\nd"),
        ("a\na", "a\na", "a\na"),
    ],
)
def test_the_lines_of_a_whole_text_that_both_have_are_said_once(
    top: str, bottom: str, whole: str
) -> None:
    halves = [
        Answer((Finding(text=t, value=t, span=(0, 1)),), Verdict.FOUND) for t in (top, bottom)
    ]
    (finding,) = join(halves[0], halves[1], SEAM).findings
    assert finding.text == finding.value == whole


@pytest.mark.parametrize(
    ("top", "bottom", "verdict"),
    [
        (Verdict.FOUND, Verdict.NOTHING, Verdict.FOUND),
        (Verdict.NOTHING, Verdict.NOTHING, Verdict.NOTHING),
        (Verdict.FOUND, Verdict.TRUNCATED, Verdict.TRUNCATED),
        (Verdict.NOTHING, Verdict.UNREADABLE, Verdict.UNREADABLE),
        (Verdict.REFUSED, Verdict.FOUND, Verdict.FOUND),
    ],
)
def test_the_verdict_is_that_of_the_half_that_matters_more(
    top: Verdict, bottom: Verdict, verdict: Verdict
) -> None:
    assert join(Answer((), top), Answer((), bottom), SEAM).verdict is verdict


@pytest.mark.parametrize(
    ("size", "long"),
    [((1000, 3000), True), ((2480, 3508), False), ((200, 600), False), ((3000, 1000), False)],
)
def test_only_a_long_page_that_would_be_shrunk_is_read_in_halves(
    size: tuple[int, int], long: bool
) -> None:
    image = image_frame(*size)
    assert is_long(model_frame(image, PixelBounds(28, 256 * 784, 1280 * 784)), image) is long


HALF = json.dumps([{"bbox_2d": [28, 28, 280, 56], "text_content": "A"}])


def test_each_half_is_looked_at_in_all_the_pixels_there_are() -> None:
    engine = InlineEngine(lambda text: HALF)
    done = grounded(engine, PRINT, LINE, pictures=OnePicture(1500, 4500))
    top, bottom = (one.views[0] for one in engine.requests)
    assert top.frame.extent.top == 0
    assert bottom.frame.extent.top + bottom.frame.extent.height == 1
    overlap = top.frame.extent.height - bottom.frame.extent.top
    assert overlap == pytest.approx(0.15, abs=0.01)
    places = [one["value"]["y"] for one in done.prediction["result"] if "text" in one["value"]]
    assert places[0] < 2
    assert places[1] == pytest.approx(100 * bottom.frame.extent.top + places[0], abs=0.1)


def test_things_are_looked_for_in_the_whole_page() -> None:
    engine = InlineEngine(lambda text: "[]")
    boxes = PRINT.replace("Text", "Car")
    assert config(boxes).controls[0].task is None
    grounded(engine, boxes, pictures=OnePicture(1500, 4500))
    assert len(engine.requests) == 1


SPANS = st.tuples(st.floats(0, 56), st.floats(0.5, 6)).map(lambda s: (s[0], min(s[0] + s[1], 57.5)))


@given(st.lists(SPANS, max_size=6), st.lists(SPANS, max_size=6))
def test_nothing_is_lost_but_what_lies_in_what_stays(
    above: list[tuple[float, float]], below: list[tuple[float, float]]
) -> None:
    top = found(*((a, b, "x") for a, b in above))
    bottom = found(*((100 - b, 100 - a, "x") for a, b in below))
    kept = lines_of(join(top, bottom, SEAM))
    assert len(kept) <= len(above) + len(below)
    for a, b, _ in (*lines_of(top), *lines_of(bottom)):
        assert any(min(b, d) - max(a, c) > 0.4 * min(b - a, d - c) for c, d, _ in kept)


def test_what_was_not_asked_or_repeated_in_either_half_is_counted() -> None:
    halves = [replace(found((1, 3, "A")), repeats=n, not_asked=2 * n) for n in (1, 2)]
    whole = join(*halves, SEAM)
    assert (whole.repeats, whole.not_asked) == (3, 6)
