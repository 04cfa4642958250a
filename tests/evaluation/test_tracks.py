"""Boxes that move are compared frame by frame, as the page shows them."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.evaluation.edits import Edit, find_edits
from grounding.evaluation.matching import closeness
from grounding.evaluation.measures import nearness
from grounding.evaluation.records import Kind, Labelling, Region, read_regions, read_tasks
from grounding.evaluation.report import Wanted, evaluate
from grounding.evaluation.tracks import MAX_FRAMES, Track
from grounding.geometry import PERCENT, Box, KeyFrame, seen_at
from tests.evaluation.making import judged

Key = tuple[int, float] | tuple[int, float, bool]


def track(*keys: Key, label: str = "cat", count: int = 100, **more: Any) -> dict[str, Any]:
    """Return a region of a box of 10 by 10 percent: its left side at some frames."""
    sequence = [
        {"frame": frame, "x": x, "y": 0, "width": 10, "height": 10, "rotation": 0,
         "enabled": not off or off[0], "time": frame / 25}
        for frame, x, *off in keys
    ]  # fmt: skip
    value = {"framesCount": count, "duration": count / 25, "sequence": sequence}
    names = {"from_name": "box", "to_name": "video", "type": "videorectangle"}
    return {"id": "t", **names, "value": {**value, "labels": [label]}, **more}


def region(*keys: Key, **more: Any) -> Region:
    (one,) = read_regions([track(*keys, **more)], Counter())
    return one


def close(some: Region, other: Region) -> float:
    assert closeness(some, other) == closeness(other, some)
    return closeness(some, other)


def test_a_track_is_a_region_with_its_labels_and_its_text() -> None:
    named = track((1, 0), (10, 9, False))
    value = {key: named["value"][key] for key in ("framesCount", "duration", "sequence")}
    words = {**named, "type": "labels", "from_name": "what"}
    said = {**named, "type": "textarea", "from_name": "note"}
    result = [
        {**named, "value": value},
        {**words, "value": {**value, "labels": ["dog"]}},
        {**said, "value": {**value, "text": ["runs"]}},
    ]
    (one,) = read_regions(result, Counter())
    assert (one.kind, one.label, one.beside) == (Kind.TRACK, "dog", {"note": "runs"})
    assert region((1, 0), (10, 9, False)).label == "cat"


def test_between_key_frames_the_box_moves_evenly() -> None:
    """One of them has a key frame where the other has none."""
    few = region((1, 0), (11, 20, False))
    many = region((1, 0), (4, 6), (6, 10), (11, 20, False))
    assert close(few, many) == pytest.approx(1)


def test_a_frame_in_which_only_one_is_seen_counts_nothing() -> None:
    long, short = region((1, 0), (10, 0, False)), region((1, 0), (5, 0, False))
    assert close(long, short) == pytest.approx(0.5)
    assert close(region((1, 0), (5, 0, False)), region((6, 0), (9, 0, False))) == 0


def test_what_is_not_enabled_ends_there_and_what_is_goes_on_to_the_end_of_the_film() -> None:
    gap = region((1, 0), (4, 0, False), (9, 0), (10, 0, False))
    assert close(gap, region((1, 0), (10, 0, False))) == pytest.approx(0.6)
    assert close(gap, region((1, 0), (4, 0, False))) == pytest.approx(4 / 6)
    endless = region((1, 0), count=20)
    assert close(endless, region((1, 0), (5, 0, False), count=20)) == pytest.approx(0.25)
    unloaded = region((1, 0), count=1)  # as the page has it until the film has loaded
    assert close(endless, unloaded) == pytest.approx(1)


def test_half_beside_each_other_is_a_third() -> None:
    assert close(region((1, 0), (9, 0, False)), region((1, 5), (9, 5, False))) == pytest.approx(
        1 / 3
    )


KEYS = st.lists(
    st.tuples(st.integers(1, 30), st.floats(0, 90), st.booleans()),
    min_size=1,
    max_size=6,
    unique_by=lambda key: key[0],
)


@given(KEYS, KEYS)
def test_the_mean_is_over_every_frame_in_which_either_is_seen(
    some: list[Key], others: list[Key]
) -> None:
    a, b = region(*some, count=33), region(*others, count=33)
    assert isinstance(a.place, Track)
    assert isinstance(b.place, Track)
    ious = []
    for frame in range(1, 34):
        boxes = [seen_at(one.keys, frame) for one in (a.place, b.place)]
        if any(boxes):
            ious.append(boxes[0].iou(boxes[1]) if boxes[0] and boxes[1] else 0.0)
    assert close(a, b) == pytest.approx(fmean(ious))
    assert close(a, a) == pytest.approx(1)


BROKEN = {
    "no key frame": [],
    "a frame that is none": [{"frame": 0, "x": 1, "y": 1, "width": 1, "height": 1}],
    "a frame beyond all films": [{"frame": 10**400, "x": 1, "y": 1, "width": 1, "height": 1}],
    "no place": [{"frame": 3}],
}


@pytest.mark.parametrize("sequence", BROKEN.values(), ids=BROKEN)
def test_a_track_that_is_none_is_counted_and_hides_no_other(sequence: list[Any]) -> None:
    unmeasured: Counter[str] = Counter()
    broken = track((1, 0), id="b")
    broken["value"]["sequence"] = sequence
    assert len(read_regions([broken, track((1, 0))], unmeasured)) == 1
    assert unmeasured == {"videorectangle": 1}


def test_a_film_of_endless_frames_is_compared_up_to_a_bound() -> None:
    place = region((1, 0), count=10**15).place
    assert isinstance(place, Track)
    assert place.count == MAX_FRAMES


def test_key_frames_in_any_order_are_one_track() -> None:
    assert region((9, 9, False), (1, 0)) == region((1, 0), (9, 9, False))


def edits(before: dict[str, Any], after: dict[str, Any]) -> list[Edit]:
    old, new = (Labelling(tuple(read_regions([one], Counter()))) for one in (before, after))
    return [edit for edit, _ in find_edits(old, new)]


def test_what_an_annotator_did_to_a_track() -> None:
    begun = track((1, 0), (50, 40), (99, 40, False))
    assert edits(begun, track((1, 0), (25, 24 * 40 / 49), (50, 40), (99, 40, False))) == [Edit.KEPT]
    assert edits(begun, track((1, 0), (50, 41), (99, 40, False))) == [Edit.MOVED]
    assert edits(begun, track((1, 0), (50, 40), (70, 40, False))) == [Edit.MOVED]
    assert edits(begun, track((1, 0), (50, 40), (99, 40, False), label="dog")) == [Edit.RELABELLED]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([(1, 0), (10, 0, False), (20, 0)], [(1, 0), (10, 0), (20, 0)]),
        ([(1, 0), (10, 0, False)], [(1, 0), (10, 0)]),
        ([(1, 0), (10, 0, False), (11, 5)], [(1, 0), (10, 0, False), (12, 5)]),
    ],
)
def test_a_gap_that_was_edited_is_a_move(before: list[Key], after: list[Key]) -> None:
    assert edits(track(*before), track(*after)) == [Edit.MOVED]
    assert edits(track(*after), track(*before)) == [Edit.MOVED]


def test_what_is_only_said_otherwise_at_the_film_s_end_is_kept() -> None:
    assert edits(track((1, 0), (100, 0)), track((1, 0), (100, 0, False))) == [Edit.KEPT]


@given(KEYS, KEYS)
def test_what_is_kept_is_in_one_place_in_every_frame(some: list[Key], others: list[Key]) -> None:
    a, b = region(*some, count=33).place, region(*others, count=33).place
    assert isinstance(a, Track)
    assert isinstance(b, Track)
    boxes = [[seen_at(one.keys, frame) for one in (a, b)] for frame in range(1, 34)]
    apart = [math.inf if one is None or two is None else abs(one.x1 - two.x1)
             for one, two in boxes if one or two]  # fmt: skip
    assert a.is_at(b, 5) is (max(apart) <= 5)


def test_a_report_has_tracks_by_label() -> None:
    truth = [track((1, 0), (50, 40, False)), track((1, 60), (50, 60, False), label="dog", id="u")]
    guess = [track((1, 1), (50, 41, False), id="x"), track((1, 9), (50, 9, False), id="y")]
    report = evaluate(read_tasks([judged(1, truth, guess)]), Wanted())
    found = {label: tally.at() for (kind, _, label), tally in report.tallies.items()}
    assert {kind for kind, *_ in report.tallies} == {Kind.TRACK}
    assert (found["cat"].right, found["cat"].guessed, found["cat"].wanted) == (1, 2, 1)
    assert (found["dog"].right, found["dog"].guessed, found["dog"].wanted) == (0, 0, 1)
    assert report.unmeasured == {}
    assert report.places.mean_iou == pytest.approx(9 / 11)


def test_nearness_counts_tracks_as_boxes() -> None:
    pair = region((1, 0), (9, 0, False)), region((1, 5), (9, 5, False))
    assert nearness([pair]).mean_iou == pytest.approx(1 / 3)


def test_the_page_s_way_between_key_frames() -> None:
    keys = [KeyFrame(1, Box(0, 0, 10, 10, PERCENT)), KeyFrame(3, Box(10, 0, 20, 10, PERCENT))]
    assert seen_at(keys, 2) == Box(5, 0, 15, 10, PERCENT)
    assert seen_at(keys, 0) is None
    assert seen_at(keys, 99) == keys[1].box, "it is enabled"


def walk(chance: random.Random, frames: int, keys: int) -> Track:
    """Return a track of so many key frames over a film, in a part of the picture of its own."""
    left, some = chance.uniform(0, 70), sorted(chance.sample(range(1, frames), keys))
    places = [(at, left + chance.uniform(0, 20), chance.random() > 0.05) for at in some]
    place = region(*places, count=frames).place
    assert isinstance(place, Track)
    return place


def test_films_of_ten_minutes_are_compared_fast() -> None:
    """Ten tracks with ten others took 90 s: each frame of each pair by itself."""
    chance = random.Random(5)
    tracks = [walk(chance, 18_000, 30) for _ in range(20)]
    begun = time.process_time()
    ious = [one.iou(other) for one in tracks[:10] for other in tracks[10:]]
    assert time.process_time() - begun < 5
    assert 0 < max(ious) < 1
