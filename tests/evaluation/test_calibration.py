"""Reliability and thresholds against cases counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.evaluation.calibration import advise, reliability, steps, wilson

SCORED = [(0.95, True)] * 18 + [(0.85, True)] * 8 + [(0.85, False)] * 2 + [(0.3, False)] * 12


def test_bins_and_calibration_error_by_hand() -> None:
    found = reliability([(0.95, True), (0.95, False), (0.25, True), (1.0, True), (0.0, False)])
    assert found is not None
    bins = [(b.low, b.count, round(b.mean, 4), round(b.right, 4)) for b in found.bins]
    assert bins == [(0.0, 1, 0.0, 0.0), (0.2, 1, 0.25, 1.0), (0.9, 3, 0.9667, 0.6667)]
    assert found.error == pytest.approx((0 + 0.75 + 3 * 0.3) / 5)


def test_without_scores_there_is_no_reliability() -> None:
    assert reliability([]) is None


def test_precision_and_recall_over_thresholds_by_hand() -> None:
    found = [(s.threshold, s.precision, s.recall, s.kept) for s in steps(SCORED, 50)]
    assert found == [
        (0.3, 26 / 40, 26 / 50, 40),
        (0.85, 26 / 28, 26 / 50, 28),
        (0.95, 1.0, 18 / 50, 18),
    ]


ADVICE = {
    "the lowest that reaches it": (0.9, 0.85, 28),
    "none is needed": (0.6, 0.0, 40),
}


@pytest.mark.parametrize(("wanted", "threshold", "kept"), ADVICE.values(), ids=ADVICE)
def test_the_threshold_for_a_wanted_precision(wanted: float, threshold: float, kept: int) -> None:
    found = advise("box", SCORED, 50, wanted)
    assert found is not None
    assert (found.threshold, found.kept) == (threshold, kept)


def test_no_threshold_is_advised_on_fewer_than_twenty() -> None:
    """All 18 above 0.95 are right, which says little of the next."""
    assert advise("box", SCORED, 50, 0.99) is None


def test_a_threshold_keeps_the_very_score_that_it_was_read_from() -> None:
    pairs = [(0.8567, True)] * 30 + [(0.1, False)] * 30
    found = advise("box", pairs, 30, 0.9)
    assert found is not None
    assert found.threshold == 0.856
    assert sum(score >= found.threshold for score, _ in pairs) == found.kept == 30


scores = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=20, max_size=200)


@given(scores, st.floats(0.1, 1))
def test_an_advised_threshold_gives_the_precision_that_it_promises(
    pairs: list[tuple[float, bool]], wanted: float
) -> None:
    found = advise("box", pairs, len(pairs), wanted)
    if found is not None:
        kept = [right for score, right in pairs if score >= found.threshold]
        assert len(kept) == found.kept >= 20
        assert sum(kept) / len(kept) == pytest.approx(found.precision)
        assert found.precision >= wanted


def test_wilsons_bounds_by_the_published_example() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 20)[0] == 0
    assert wilson(20, 20)[1] == 1
