"""How sure the figures are: intervals, and two versions told apart."""

from __future__ import annotations

import random

import pytest

from grounding.evaluation.matching import Outcome
from grounding.evaluation.resampling import differences, intervals, mean_interval
from tests.evaluation.making import Result, guess, scene
from tests.evaluation.test_matching import outcomes

TASKS = 100


def versions(seed: int, *misses: float) -> list[list[Outcome]]:
    """Return versions over the same tasks; each misses this share of the objects."""
    chance = random.Random(seed)
    truths = [scene(chance) for _ in range(TASKS)]
    cases: list[list[tuple[list[Result], list[Result]]]] = [
        [(truth, guess(truth, chance, miss=miss, jitter=0.1)) for truth in truths]
        for miss in misses
    ]
    return [outcomes(*one) for one in cases]


@pytest.fixture(scope="module")
def drawn() -> list[list[list[Outcome]]]:
    """Return a hundred draws of a good version, one as good, and one that misses more."""
    return [versions(seed, 0.1, 0.1, 0.225) for seed in range(100)]


def test_a_worse_prompt_gets_the_right_sign(drawn: list[list[list[Outcome]]]) -> None:
    """In at least 95 of 100 draws: it misses one object in eight more."""
    right = 0
    for good, _, worse in drawn:
        f1 = next(d for d in differences(worse, good) if d.measure == "f1")
        right += f1.interval.value < 0 and f1.better < 0.5
    assert right >= 95


def test_equal_prompts_differ_clearly_in_few_draws(drawn: list[list[list[Outcome]]]) -> None:
    """95 % intervals are wrong in about 5 of 100 draws."""
    clear = 0
    for some, others, _ in drawn:
        clear += any(d.is_clear for d in differences(some, others) if d.measure == "f1")
    assert clear <= 12


def test_a_version_does_not_differ_from_itself() -> None:
    (some,) = versions(1, 0.1)
    for one in differences(some, some):
        assert (one.interval.value, one.interval.low, one.interval.high) == (0, 0, 0)
        assert not one.is_clear


def test_the_interval_holds_the_figure_and_is_the_same_each_time() -> None:
    (some,) = versions(2, 0.2)
    first, second = intervals(some), intervals(some)
    assert first == second
    for one in first.values():
        assert one is not None
        assert one.low < one.value < one.high


def test_intervals_hold_the_truth_in_about_95_of_100_draws() -> None:
    """Of objects, four in five are found: the interval of recall should hold 0.8."""
    held = 0
    for seed in range(100):
        (some,) = versions(seed, 0.2)
        recall = intervals(some)["recall"]
        assert recall is not None
        held += recall.low <= 0.8 <= recall.high
    assert held >= 88


def test_nothing_to_draw_from_is_unknown() -> None:
    assert intervals([]) == {"precision": None, "recall": None, "f1": None}
    assert differences([], []) == []
    assert mean_interval([]) is None


def test_the_mean_of_one_value_is_that_value() -> None:
    found = mean_interval([0.25])
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
