"""`<Number>` tags on the page limit an answer."""

from __future__ import annotations

from typing import Any

import pytest

from grounding.labelstudio.interactive.limits import Limits, apply_limits, read_limits


def number(name: str, value: object) -> dict[str, Any]:
    return {"type": "number", "from_name": name, "to_name": "image", "value": {"number": value}}


def region(name: str, score: float | None = None) -> dict[str, Any]:
    return {"id": name, "type": "rectangle"} | ({} if score is None else {"score": score})


@pytest.mark.parametrize(
    ("results", "limits"),
    [
        ([], Limits()),
        ([number("score_threshold", 0.4), number("max_regions", 3)], Limits(0.4, 3)),
        ([number("Score_Threshold_boxes", 40)], Limits(0.4)),
        ([number("score_threshold", 0.4), number("score_threshold", 0.9)], Limits(0.4)),
        ([number("score_threshold", -1), number("max_regions", 0)], Limits()),
        ([number("score_threshold", 101), number("max_regions", -3)], Limits()),
        ([number("score_threshold", "0.4"), number("max_regions", None)], Limits()),
        ([number("max_regions", 10**400), number("score_threshold", 10**400)], Limits(None, 1000)),
        ([number("weight", 5), {"type": "number", "value": 3}, {"type": "number"}], Limits()),
    ],
)
def test_limits_are_read_from_tags_by_name(results: list[dict[str, Any]], limits: Limits) -> None:
    assert read_limits(results) == limits


ANSWER = [region("a", 0.3), region("b", 0.9), region("c"), region("d", 0.6)]


@pytest.mark.parametrize(
    ("limits", "kept", "too_low", "too_many"),
    [
        (Limits(), "abcd", 0, 0),
        (Limits(0.5), "bcd", 1, 0),
        (Limits(1.0), "c", 3, 0),
        (Limits(None, 2), "bd", 0, 2),
        (Limits(0.5, 1), "b", 1, 2),
        (Limits(None, 9), "abcd", 0, 0),
    ],
)
def test_the_regions_with_the_best_scores_stay_in_order(
    limits: Limits, kept: str, too_low: int, too_many: int
) -> None:
    within = apply_limits(ANSWER, limits)
    assert "".join(r["id"] for r in within.result) == kept
    assert (within.too_low, within.too_many) == (too_low, too_many)


def test_a_shape_and_its_label_count_as_one_region() -> None:
    shape, label = region("a", 0.5), region("a", 0.5) | {"type": "labels"}
    within = apply_limits([shape, label, region("b", 0.4)], Limits(None, 1))
    assert within.result == [shape, label]
    assert within.too_many == 1
