"""The measures of the reading checkpoint in `make accuracy`."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.accuracy.reading import (
    Read,
    rows,
    score_button,
    score_choice,
    score_count,
    score_fields,
    score_lines,
    score_spans,
)
from tools.reading.films import film
from tools.reading.pages import Button, Page, page

PAGE = next(one for seed in range(99) if len((one := page(seed, "lines")).prints) == 2)


def line(drawn: Page, number: int, text: str | None = None, by: float = 0) -> list[dict[str, Any]]:
    """Return the regions of a printed line: moved down `by` a share of its height."""
    one = drawn.prints[number]
    x1, y1, x2, y2 = one.box
    place = {
        "x": 100 * x1 / drawn.width,
        "y": 100 * (y1 + by * (y2 - y1)) / drawn.height,
        "width": 100 * (x2 - x1) / drawn.width,
        "height": 100 * (y2 - y1) / drawn.height,
    }
    words = [one.text if text is None else text]
    return [
        {"id": str(number), "type": "rectanglelabels", "value": place},
        {"id": str(number), "type": "textarea", "value": {**place, "text": words}},
    ]


@pytest.mark.parametrize(
    ("regions", "lines", "extra"),
    [
        ([*line(PAGE, 0), *line(PAGE, 1)], [True, True], [True, True]),
        ([*line(PAGE, 1)], [False, True], [True]),
        ([*line(PAGE, 0, "X"), *line(PAGE, 1)], [False, True], [False, True]),
        ([*line(PAGE, 0, by=0.2), *line(PAGE, 1, by=0.5)], [True, False], [True, False]),
        (line(PAGE, 0)[:1], [False, False], [False]),
        ([], [False, False], []),
    ],
    ids=["right", "one left out", "misread", "moved", "without text", "nothing"],
)
def test_a_line_is_right_with_its_text_in_its_place(
    regions: list[dict[str, Any]], lines: list[bool], extra: list[bool]
) -> None:
    read = Read()
    score_lines(PAGE, regions, read)
    assert (read.lines, read.extra) == (lines, extra)


def value(name: str, **given: Any) -> dict[str, Any]:
    """Return a result of a whole image."""
    return {"id": name, "from_name": name, "value": given}


def test_fields_are_right_as_printed_and_absent_ones_where_they_stay_empty() -> None:
    drawn = Page("receipt", 9, 9, (9, 9, 9), values={"shop": "ABC", "date": None, "total": None})
    read = Read()
    score_fields(drawn, [value("shop", text=["ABC"]), value("date", text=["01-01"])], read)
    score_fields(drawn, [value("shop", text=["ABD"])], read)
    assert (read.fields, read.absent) == ([True, False], [False, True, True, True])


def test_a_choice_is_right_or_absent() -> None:
    read = Read()
    for there, given in (("star", "star"), ("star", "circle"), (None, "star"), (None, None)):
        drawn = Page("single", 9, 9, (9, 9, 9), values={"shape": there})
        regions = [] if given is None else [value("shape", choices=[given])]
        score_choice("shape")(drawn, regions, read)
    assert (read.choices, read.absent) == ([True, False], [False, True])


def test_a_count_is_the_difference_and_none_is_zero() -> None:
    drawn = next(one for seed in range(99) if len((one := page(seed, "count")).figures) > 3)
    shape = drawn.figures[0].shape
    true = sum(one.shape == shape for one in drawn.figures)
    read = Read()
    score_count(shape)(drawn, [value("count", number=true)], read)
    score_count(shape)(drawn, [value("count", number=true + 2)], read)
    score_count(shape)(drawn, [], read)
    assert read.counts == [0, 2, -true]


def span(shape: str, start: int, end: int) -> dict[str, Any]:
    """Return a region of a film: frames from 1, both included."""
    return {"value": {"timelinelabels": [shape], "ranges": [{"start": start, "end": end}]}}


def test_a_span_is_as_right_as_the_frames_that_it_shares() -> None:
    drawn = next(one for seed in range(99) if len((one := film(seed)).ways) == 1)
    ((way),) = drawn.ways
    ((first, last),) = way.spans
    other = "star" if way.shape != "star" else "circle"
    read = Read()
    score_spans(drawn, [span(way.shape, first + 1, last)], read)
    score_spans(drawn, [span(way.shape, first + 1, first + 1), span(other, 1, 2)], read)
    score_spans(drawn, [], read)
    assert read.spans == [1, 1 / (last - first), 0]
    assert sum(read.away) == 8
    assert len(read.away) == 9


@pytest.mark.parametrize(
    ("points", "right"),
    [
        ([(30, 30)], True),
        ([(10, 30)], False),
        ([(30, 70)], False),
        ([(30, 30)] * 2, False),
        ([], False),
    ],
    ids=["inside", "beside", "below", "two", "none"],
)
def test_a_button_is_right_where_the_only_point_is_inside(
    points: list[tuple[int, int]], right: bool
) -> None:
    button = Button("SAVE", (40, 20, 80, 40), (0, 0, 0))
    drawn = Page("screen", 200, 100, (9, 9, 9), buttons=(button,))
    regions = [{"type": "keypointlabels", "value": {"x": x, "y": y}} for x, y in points]
    read = Read()
    score_button(drawn, regions, read)
    assert read.buttons == [right]


def test_each_goal_is_judged_by_its_own_figures() -> None:
    read = Read([True], [True], [True, False], [True], [False], [0, 0, 1, -2])
    read.spans, read.away, read.buttons = [1.0, 0.5], [True, False], [True, True, False, False]
    measured = {name: value for name, value, _, _ in rows(read)}
    assert list(measured.values()) == [0.75, 1, 1, 0.5, 0, 0.5, 0.75, 0.5, 0.5, 1]
