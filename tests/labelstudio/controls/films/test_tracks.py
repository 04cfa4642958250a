"""Key frames: the laws of leaving out those that the page makes by itself."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.geometry import PERCENT, Box, KeyFrame, seen_at
from grounding.labelstudio.films import LOSS, thin

sides = st.floats(0, 60)
sizes = st.floats(1, 40)
boxes = st.builds(lambda x, y, w, h: Box(x, y, x + w, y + h, PERCENT), sides, sides, sizes, sizes)


@st.composite
def tracks(draw: st.DrawFn) -> list[KeyFrame]:
    """Return key frames of a track, in order, with gaps; the last one ends it."""
    steps = draw(st.lists(st.integers(1, 30), min_size=1, max_size=12))
    frames = [sum(steps[: n + 1]) for n in range(len(steps))]
    keys = [KeyFrame(frame, draw(boxes), draw(st.integers(0, 5)) > 0) for frame in frames]
    return [*keys[:-1], KeyFrame(keys[-1].frame, keys[-1].box, False)]


def moving(count: int, *, by: float = 1.0) -> list[KeyFrame]:
    """Return a box that moves evenly to the right."""
    return [
        KeyFrame(1 + 10 * n, Box(by * n, 10, by * n + 20, 30, PERCENT), n < count - 1)
        for n in range(count)
    ]


@settings(max_examples=300)
@given(tracks())
def test_every_box_is_shown_within_the_loss(keys: list[KeyFrame]) -> None:
    thinned = thin(keys)
    for key in keys:
        box = seen_at(thinned, key.frame)
        assert box is not None
        assert box.iou(key.box) >= 1 - LOSS - 1e-9


@settings(max_examples=300)
@given(tracks())
def test_what_is_thinned_once_stays_as_it_is(keys: list[KeyFrame]) -> None:
    once = thin(keys)
    assert thin(once) == once


@given(tracks())
def test_ends_and_gaps_stay_and_nothing_is_added_or_moved(keys: list[KeyFrame]) -> None:
    thinned = thin(keys)
    assert [key for key in keys if key in thinned] == thinned
    assert thinned[0] == keys[0]
    again = [b for a, b in pairwise(keys) if not a.enabled]
    assert all(key in thinned for key in keys if not key.enabled)
    assert all(key in thinned for key in again)


@given(tracks(), st.integers(0, 400))
def test_what_is_not_seen_is_not_seen_at(keys: list[KeyFrame], frame: int) -> None:
    gaps = [(a.frame, b.frame) for a, b in pairwise(keys) if not a.enabled]
    unseen = frame < keys[0].frame or frame > keys[-1].frame
    if unseen or any(first < frame < last for first, last in gaps):
        assert seen_at(thin(keys), frame) is None
    else:
        assert seen_at(thin(keys), frame) is not None


def test_a_box_that_moves_evenly_needs_its_two_ends_alone() -> None:
    assert [key.frame for key in thin(moving(20))] == [1, 191]


def test_a_turn_stays() -> None:
    xs = [0, 8, 16, 24, 32, 24, 16, 8, 0]
    path = [KeyFrame(1 + 10 * n, Box(x, 10, x + 20, 30, PERCENT)) for n, x in enumerate(xs)]
    assert [key.frame for key in thin(path)] == [1, 41, 81]
