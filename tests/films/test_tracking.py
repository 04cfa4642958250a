"""Linking: which of the boxes in single frames are of one thing."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.films import tracking
from grounding.films.tracking import MISSES, Line, link
from grounding.geometry import PERCENT, Box
from grounding.queries import Finding
from grounding.waiting import Unwanted


def seen(x: float, y: float = 10, label: str = "car", size: float = 10) -> Finding:
    return Finding(Box(x, y, x + size, y + size, PERCENT), label)


def paths(lines: list[Line]) -> list[list[tuple[int, float]]]:
    return [[(one.at, one.box.x1) for one in line.sightings] for line in lines]


def test_a_thing_that_moves_is_one_line() -> None:
    frames = [[seen(4 * n)] for n in range(5)]
    assert paths(link(frames)) == [[(n, 4 * n) for n in range(5)]]


def test_a_thing_that_moves_by_more_than_itself_is_one_line() -> None:
    frames = [[seen(15 * n)] for n in range(6)]
    assert len(link(frames)) == 1


def test_two_that_cross_keep_their_ways() -> None:
    frames = [[seen(8 * n, 10), seen(72 - 8 * n, 16)] for n in range(10)]
    there, back = link(frames)
    assert [one.box.y1 for one in there.sightings] == [10] * 10
    assert [one.box.y1 for one in back.sightings] == [16] * 10


def test_labels_are_never_mixed() -> None:
    frames = [[seen(10)], [seen(10, label="bus")], [seen(10)]]
    assert [line.label for line in link(frames)] == ["car", "bus"]
    assert paths(link(frames))[0] == [(0, 10), (2, 10)]


def test_one_that_is_hidden_for_a_while_stays_one_and_later_is_another() -> None:
    hidden: list[list[Finding]] = [[]]
    frames = [[seen(10)], [seen(14)], *hidden * MISSES, [seen(14 + 4 * (MISSES + 1))]]
    assert len(link(frames)) == 1
    frames = [[seen(10)], [seen(14)], *hidden * (MISSES + 1), [seen(14 + 4 * (MISSES + 2))]]
    assert len(link(frames)) == 2


def test_one_far_away_or_of_another_size_is_another() -> None:
    assert len(link([[seen(10)], [seen(70)]])) == 2
    assert len(link([[seen(30, size=5)], [seen(36, size=30)]])) == 2


findings = st.builds(seen, st.floats(0, 90), st.floats(0, 90), st.sampled_from(["car", "bus"]))


@given(st.lists(st.lists(findings, max_size=4), max_size=8))
def test_every_finding_is_in_one_line_of_its_label_in_order(frames: list[list[Finding]]) -> None:
    lines = link(frames)
    found = [(one.at, id(one.finding)) for line in lines for one in line.sightings]
    assert sorted(found) == sorted((at, id(f)) for at, some in enumerate(frames) for f in some)
    for line in lines:
        ats = [one.at for one in line.sightings]
        assert ats == sorted(set(ats))
        assert {one.finding.label for one in line.sightings} == {line.label}


SIDES = st.floats(0, 40)
SPOTS = st.floats(0, 100)
BOXES = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h, PERCENT), SPOTS, SPOTS, SIDES, SIDES)


@given(BOXES, BOXES)
def test_boxes_that_are_told_apart_by_comparisons_are_not_alike(a: Box, b: Box) -> None:
    """In a crowd nearly all pairs are: 160 boxes with 160 others in 20 frames took 7 s before."""
    if not tracking._may_meet(a, b):
        assert (tracking._overlap(a, b), tracking._nearness(a, b)) == (0, 0)
    assert tracking._may_meet(a, a)


def test_boxes_of_a_crowd_are_looked_at_only_where_they_are_near(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0

    def overlap(a: Box, b: Box) -> float:
        nonlocal compared
        compared += 1
        return a.iou(b)

    monkeypatch.setattr(tracking, "_overlap", overlap)
    crowd = [seen(x * 5.0, y * 10.0, size=2) for x in range(20) for y in range(8)]
    lines = link([crowd, crowd, crowd])
    assert len(lines) == 160
    assert compared < 2 * 160 * 10, "not with 160 others"


def test_boxes_that_nobody_wants_any_more_are_linked_no_further() -> None:
    frames, looks = [[seen(n, 10)] for n in range(9)], count()

    def check() -> None:
        if next(looks) == 3:
            raise Unwanted

    with pytest.raises(Unwanted):
        link(frames, check)
    assert next(looks) == 4
