"""The measures of `make accuracy`: the AUROC of scores, and requests like those of the page."""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.accuracy.page import KINDS, Kind
from benchmarks.accuracy.scores import Judged, auroc, bands, share
from benchmarks.accuracy.shapes import Scores, report, rows
from benchmarks.accuracy.trials import trial
from grounding.geometry import Box, Point
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.interactive.context import read_context
from grounding.labelstudio.plan import plan
from grounding.queries import Locate, Shape
from tools.shapes.names import said
from tools.shapes.places import box_of


@pytest.mark.parametrize(
    ("ranked", "area"),
    [
        ([(0.9, 0.8), (0.1, 0.7)], 1.0),
        ([(0.1, 0.9), (0.9, 0.0)], 0.0),
        ([(0.5, 1.0), (0.5, 0.5)], 0.5),
        ([(0.9, 0.8), (0.4, 0.8), (0.5, 0.7), (0.1, 0.7)], 0.75),
    ],
)
def test_auroc_is_the_probability_that_a_right_box_scores_higher(
    ranked: list[tuple[float, float]], area: float
) -> None:
    assert auroc([Judged(*one) for one in ranked], 0.8) == area


def test_auroc_without_a_wrong_box_is_unknown() -> None:
    assert math.isnan(auroc([Judged(0.5, 0.7)], 0.5))


def test_each_box_is_in_one_band_of_scores_and_counts_as_right_from_the_limit_on() -> None:
    judged = [Judged(score, 0.6) for score in (0.0, 0.5, 0.85, 0.98, 1.0)] + [Judged(1.0, 0.9)]
    assert [(low, len(band)) for low, _, band in bands(judged)] == [
        (0.0, 1),
        (0.5, 1),
        (0.8, 1),
        (0.98, 3),
    ]
    assert share(judged, 0.6) == 1
    assert share(judged, 0.8) == 1 / 6


@pytest.mark.parametrize("seed", range(9))
def test_the_absent_object_of_a_hard_picture_resembles_a_present_one(seed: int) -> None:
    one = trial(seed, hard=True)
    names = {thing.name for thing in one.picture.things}
    assert one.absent not in names
    assert any(set(name.split()) & set(one.absent.split()) for name in names)


def query_of(kind: Kind, seed: int) -> Locate:
    """Return the one query that the product puts to the model."""
    put = kind.ask(trial(seed), random.Random(seed))
    config = parse(put.label_config)
    wish = read_context(put.context, config)
    (one,) = plan(config, wish)
    assert isinstance(one.query, Locate)
    return one.query


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_is_asked_in_the_page_is_one_query_about_the_right_thing(
    kind: Kind, seed: int
) -> None:
    one, ask = trial(seed), query_of(kind, seed)
    thing = one.present
    assert ask.shape is Shape.BOX
    if isinstance(ask.around, Point):
        spot = ask.around.to(box_of(thing, one.picture).frame)
        assert thing.covers(spot.x, spot.y)
        assert thing.name in ask.classes
    elif isinstance(ask.around, Box):
        truth = box_of(thing, one.picture)
        assert 0.5 < ask.around.to(truth.frame).iou(truth) < 1
        assert ask.classes == (thing.name,)
    else:
        name = one.absent if "absent" in kind.name else thing.name
        assert said(name, "zh" if "hinese" in kind.name or "每" in kind.name else "en") in str(
            ask.phrase
        )


@pytest.mark.parametrize(
    ("right", "wrong", "ranked"), [(30, 0, False), (30, 4, False), (4, 30, False), (30, 5, True)]
)
def test_a_ranking_is_judged_only_with_enough_right_and_wrong_boxes(
    right: int, wrong: int, ranked: bool
) -> None:
    hard = [Judged(0.9, 0.9)] * right + [Judged(0.5, 0.1)] * wrong
    measured = {name: value for name, value, _, _ in rows(Scores([1], [True], [True], [], hard))}
    assert measured.get("hard pictures: AUROC of the score") == (1.0 if ranked else None)
    assert measured["hard pictures: boxes of IoU ≥ 0.5"] == right / (right + wrong)


def test_without_a_right_box_on_hard_pictures_a_goal_is_missed() -> None:
    for hard in ([], [Judged(0.5, 0.1)]):
        assert not report(rows(Scores([1], [True], [True], [], hard)))[1]


def test_the_report_passes_only_if_every_goal_is_reached() -> None:
    good, bad = ("a", 0.9, 0.8, 10), ("b", 0.7, 0.8, 10)
    assert report([good, good])[1]
    assert not report([good, bad])[1]
