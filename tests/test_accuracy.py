"""The measure of how well scores rank."""

from __future__ import annotations

import math

import pytest

from benchmarks.accuracy import auroc
from benchmarks.trials import trial


@pytest.mark.parametrize(
    ("ranked", "area"),
    [
        ([(0.9, True), (0.1, False)], 1.0),
        ([(0.1, True), (0.9, False)], 0.0),
        ([(0.5, True), (0.5, False)], 0.5),
        ([(0.9, True), (0.4, True), (0.5, False), (0.1, False)], 0.75),
    ],
)
def test_auroc_is_the_chance_that_right_scores_higher(
    ranked: list[tuple[float, bool]], area: float
) -> None:
    assert auroc(ranked) == area


def test_auroc_of_one_kind_only_is_unknown() -> None:
    assert math.isnan(auroc([(0.5, True)]))


@pytest.mark.parametrize("seed", range(9))
def test_what_a_hard_picture_lacks_is_like_what_it_has(seed: int) -> None:
    one = trial(seed, hard=True)
    names = {thing.name for thing in one.picture.things}
    assert one.absent not in names
    assert any(set(name.split()) & set(one.absent.split()) for name in names)
