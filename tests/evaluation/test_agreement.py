"""The model as one more annotator, and how long people take."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.evaluation.agreement import agree, agreement, times
from grounding.evaluation.records import Labelling, read_tasks
from tests.evaluation.making import Result, annotation, box, guess, prediction, scene, task

ONE, TWO, FAR = box(0, 0, 20, 20), box(50, 50, 20, 20), box(80, 0, 10, 10)


def labelling(result: list[Result]) -> Labelling:
    return read_tasks([task(1, [annotation(result)])]).tasks[0].annotations[0]


AGREED = {
    "the same": ([ONE, TWO], [TWO, ONE], 1.0),
    "half": ([ONE, TWO], [ONE, FAR], 0.5),
    "one more": ([ONE], [ONE, TWO], 2 / 3),
    "nothing": ([ONE], [TWO], 0.0),
    "both empty": ([], [], 1.0),
    "one empty": ([ONE], [], 0.0),
}


@pytest.mark.parametrize(("some", "others", "share"), AGREED.values(), ids=AGREED)
def test_agreement_by_hand(some: list[Result], others: list[Result], share: float) -> None:
    assert agree(labelling(some), labelling(others)) == pytest.approx(share)


@given(st.integers(0, 2**32))
def test_agreement_is_symmetric(seed: int) -> None:
    chance = random.Random(seed)
    truth = scene(chance)
    some, others = labelling(truth), labelling(guess(truth, chance, miss=0.3, jitter=0.4))
    assert agree(some, others) == agree(others, some)


def test_only_tasks_that_several_annotated_count() -> None:
    """People agree by a half, the model with one wholly and with the other by a half."""
    several = task(1, [annotation([ONE, TWO]), annotation([ONE, FAR])], [prediction([ONE, TWO])])
    alone = task(2, [annotation([ONE])], [prediction([])])
    tasks = read_tasks([several, alone]).tasks
    found = agreement((one, one.predictions[0]) for one in tasks)
    assert found.tasks == 1
    assert found.people is not None
    assert found.model is not None
    assert (found.people.value, found.model.value) == (0.5, 0.75)


def timed(seconds: list[float], **more: Any) -> list[dict[str, Any]]:
    return [task(n, [annotation([], lead_time=s, **more)]) for n, s in enumerate(seconds)]


def test_times_with_and_without_prelabels_are_medians() -> None:
    began = timed([10, 10, 12, 14, 900], parent_prediction=3)
    scratch = timed([30, 31, 32, 33, 34])
    found = times(read_tasks([*began, *scratch]).tasks)
    assert found is not None
    assert (found.prelabelled, found.scratch) == (12, 32)
    assert (found.prelabelled_count, found.scratch_count) == (5, 5)


def test_times_of_few_are_not_compared() -> None:
    assert (
        times(read_tasks(timed([10.0] * 9) + timed([5.0] * 4, parent_prediction=1)).tasks) is None
    )
