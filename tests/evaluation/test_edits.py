"""What annotators did to each pre-labelled region."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from grounding.evaluation.edits import Edit, find_edits
from grounding.evaluation.records import read_tasks
from tests.evaluation.making import box, choice, judged, point, text

OLD = box(10, 10, 20, 20, number="a")


def edits(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Counter[tuple[Edit, str]]:
    (task,) = read_tasks([judged(1, after, before)]).tasks
    assert task.reference
    return Counter(find_edits(task.predictions[0], task.reference))


def moved(**sides: float) -> dict[str, Any]:
    return OLD | {"value": OLD["value"] | sides}


def named(label: str, number: str = "a") -> dict[str, Any]:
    return box(10, 10, 20, 20, label, number=number)


AFTER = {
    "kept": ([OLD], {(Edit.KEPT, "cat"): 1}),
    "kept to a rounding": ([moved(x=10.0004)], {(Edit.KEPT, "cat"): 1}),
    "moved a little": ([moved(x=10.5)], {(Edit.MOVED, "cat"): 1}),
    "moved far": ([moved(x=70)], {(Edit.MOVED, "cat"): 1}),
    "resized": ([moved(width=30)], {(Edit.MOVED, "cat"): 1}),
    "relabelled": ([named("dog")], {(Edit.RELABELLED, "cat"): 1}),
    "relabelled and moved": (
        [box(50, 50, 20, 20, "dog", number="a")],
        {(Edit.RELABELLED, "cat"): 1},
    ),
    "deleted": ([], {(Edit.DELETED, "cat"): 1}),
    "deleted, another added": (
        [box(60, 60, 20, 20, "dog")],
        {(Edit.DELETED, "cat"): 1, (Edit.MISSED, "dog"): 1},
    ),
    "one added": (
        [OLD, box(60, 60, 20, 20, "dog")],
        {(Edit.KEPT, "cat"): 1, (Edit.MISSED, "dog"): 1},
    ),
    "drawn anew at the same place": ([named("cat", "b")], {(Edit.KEPT, "cat"): 1}),
    "drawn anew nearby": ([box(12, 12, 20, 20, number="b")], {(Edit.MOVED, "cat"): 1}),
    "drawn anew with another label": ([named("dog", "b")], {(Edit.RELABELLED, "cat"): 1}),
    "drawn anew elsewhere": (
        [box(60, 60, 20, 20, number="b")],
        {(Edit.DELETED, "cat"): 1, (Edit.MISSED, "cat"): 1},
    ),
}


@pytest.mark.parametrize(("after", "expected"), AFTER.values(), ids=AFTER)
def test_what_became_of_a_box(after: list[dict[str, Any]], expected: dict[Any, int]) -> None:
    assert edits([OLD], after) == expected


def test_an_id_goes_before_a_place() -> None:
    """The annotator moved the box onto where another was drawn anew."""
    before = [OLD, box(60, 10, 20, 20, number="b")]
    after = [box(60, 10, 20, 20, number="a"), box(10, 10, 20, 20, number="b")]
    assert edits(before, after) == {(Edit.MOVED, "cat"): 2}


def test_the_same_label_goes_before_a_better_place() -> None:
    before = [box(10, 10, 20, 20, "dog", number="a")]
    after = [box(10, 10, 20, 20, "cat"), box(12, 10, 20, 20, "dog")]
    assert edits(before, after) == {(Edit.MOVED, "dog"): 1, (Edit.MISSED, "cat"): 1}


POINTS = {
    "kept": (point(10, 10, number="p"), Edit.KEPT),
    "moved": (point(11, 10, number="p"), Edit.MOVED),
    "drawn anew at the place": (point(10.2, 10, number="q"), Edit.KEPT),
    "drawn anew near": (point(13, 10, number="q"), Edit.MOVED),
}


@pytest.mark.parametrize(("after", "edit"), POINTS.values(), ids=POINTS)
def test_what_became_of_a_point(after: dict[str, Any], edit: Edit) -> None:
    assert edits([point(10, 10, number="p")], [after]) == {(edit, "nose"): 1}


VALUES = {
    "choice kept": ([choice("sun")], [choice("sun")], {(Edit.KEPT, "sun"): 1}),
    "choice changed": ([choice("sun")], [choice("rain")], {(Edit.RELABELLED, "sun"): 1}),
    "choice removed": ([choice("sun")], [], {(Edit.DELETED, "sun"): 1}),
    "choice added": ([], [choice("rain")], {(Edit.MISSED, "rain"): 1}),
    "another control": (
        [choice("sun")],
        [choice("sun", control="light")],
        {(Edit.DELETED, "sun"): 1, (Edit.MISSED, "sun"): 1},
    ),
    "text kept but for spaces": ([text("a  b ")], [text("a b")], {(Edit.KEPT, "caption"): 1}),
    "text rewritten": ([text("a b")], [text("a c")], {(Edit.REWRITTEN, "caption"): 1}),
}


@pytest.mark.parametrize(("before", "after", "expected"), VALUES.values(), ids=VALUES)
def test_what_became_of_a_value(
    before: list[dict[str, Any]], after: list[dict[str, Any]], expected: dict[Any, int]
) -> None:
    assert edits(before, after) == expected


def test_a_regions_text_that_was_changed_is_rewritten() -> None:
    said = OLD | {"type": "textarea", "from_name": "note", "value": {"text": ["B-1"]}}
    corrected = said | {"value": {"text": ["B-7"]}}
    assert edits([OLD, said], [OLD, corrected]) == {(Edit.REWRITTEN, "cat"): 1}
