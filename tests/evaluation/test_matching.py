"""Precision, recall and F1 against cases counted by hand, and against faster-coco-eval."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.evaluation.matching import IOU_STEPS, Outcome, judge
from grounding.evaluation.measures import average_precision, compare_texts, nearness, tally, total
from grounding.evaluation.records import Kind, read_tasks
from tests.evaluation.making import Result, box, choice, guess, judged, point, scene, text

ONE = box(0, 0, 20, 20)


def outcomes(*cases: tuple[Iterable[Result], Iterable[Result]]) -> list[Outcome]:
    """Judge tasks, each given as what is true and what was predicted."""
    tasks = read_tasks([judged(n, *case) for n, case in enumerate(cases, 1)]).tasks
    return [judge(t, t.predictions[0], t.reference) for t in tasks if t.reference]


def counted(truth: Iterable[Result], guessed: Iterable[Result]) -> tuple[int, int, int]:
    counts = total(tally(outcomes((truth, guessed)))).at()
    return counts.right, counts.guessed, counts.wanted


# Of boxes 20 wide, one moved by 5 to the right has an IoU of 15 / 25 = 0.6; by 10, of 10 / 30.
COUNTED = {
    "the same": ([ONE], [ONE], (1, 1, 1)),
    "IoU 0.6": ([ONE], [box(5, 0, 20, 20)], (1, 1, 1)),
    "IoU 0.33": ([ONE], [box(10, 0, 20, 20)], (0, 1, 1)),
    "IoU exactly 0.5": ([ONE], [box(0, 0, 20, 10)], (1, 1, 1)),
    "another label": ([ONE], [box(0, 0, 20, 20, "dog")], (0, 1, 1)),
    "another control": ([ONE], [ONE | {"from_name": "other"}], (0, 1, 1)),
    "nothing predicted": ([ONE], [], (0, 0, 1)),
    "nothing there": ([], [ONE], (0, 1, 0)),
    "nothing at all": ([], [], (0, 0, 0)),
    "found twice": ([ONE], [box(1, 0, 20, 20), box(0, 1, 20, 20)], (1, 2, 1)),
    "two of one": ([ONE, box(50, 50, 20, 20)], [ONE], (1, 1, 2)),
    # Points: the image is 200 by 100, so 5 % of its longer side are 5 % across and 10 % down.
    "point near": ([point(50, 50)], [point(50, 59)], (1, 1, 1)),
    "point too far across": ([point(50, 50)], [point(56, 50)], (0, 1, 1)),
    "point too far down": ([point(50, 50)], [point(50, 61)], (0, 1, 1)),
    "choice": ([choice("sun")], [choice("sun")], (1, 1, 1)),
    "wrong choice": ([choice("sun")], [choice("rain")], (0, 1, 1)),
    "one choice of two": ([choice("sun", "wind")], [choice("wind")], (1, 1, 2)),
    "text": ([text("a  b")], [text("a b")], (1, 1, 1)),
    "wrong text": ([text("a")], [text("b")], (0, 1, 1)),
}


@pytest.mark.parametrize(("truth", "guessed", "expected"), COUNTED.values(), ids=COUNTED)
def test_what_is_right(
    truth: list[Result], guessed: list[Result], expected: tuple[int, int, int]
) -> None:
    assert counted(truth, guessed) == expected


def test_precision_recall_and_f1_by_hand() -> None:
    """Three predicted, two of them right; four wanted."""
    truth = [box(x, 0, 10, 10) for x in (0, 20, 40, 60)]
    guessed = [box(0, 0, 10, 10), box(20, 0, 10, 10), box(80, 80, 10, 10)]
    counts = total(tally(outcomes((truth, guessed)))).at()
    assert (counts.precision, counts.recall) == (2 / 3, 2 / 4)
    assert counts.f1 == pytest.approx(2 * (2 / 3) * (1 / 2) / (2 / 3 + 1 / 2))


def test_what_is_unknown_is_no_number() -> None:
    counts = total(tally(outcomes(([], [])))).at()
    assert (counts.precision, counts.recall, counts.f1) == (None, None, None)


@pytest.mark.parametrize(("shift", "steps"), [(0, 10), (1, 9), (2, 7), (5, 3), (6, 1), (10, 0)])
def test_the_mean_f1_is_over_ten_thresholds(shift: float, steps: int) -> None:
    """IoU by hand: 19/21 = 0.905, 18/22 = 0.818, 15/25 = 0.6, 14/26 = 0.538, 10/30 = 0.333."""
    found = total(tally(outcomes(([ONE], [box(shift, 0, 20, 20)]))), Kind.BOX)
    assert found.mean_f1 == pytest.approx(steps / 10)


def test_the_better_score_takes_the_box() -> None:
    """COCO's rule: the best score chooses first, even where another is closer."""
    sure, near = box(2, 0, 20, 20, score=0.9), box(0, 0, 20, 20, score=0.5)
    (outcome,) = outcomes(([ONE], [near, sure]))
    assert [guess.right for guess in outcome.guesses] == [False, True]


def test_a_missed_unit_is_one_that_nothing_took() -> None:
    (outcome,) = outcomes(([ONE, box(50, 50, 20, 20)], [ONE, box(80, 0, 20, 20)]))
    assert [one.place for one in outcome.missed] == [outcome.wanted[1].place]
    assert outcome.errors == 2


seeds = st.integers(0, 2**32)


@given(seeds)
def test_what_equals_the_truth_is_wholly_right(seed: int) -> None:
    truth = scene(random.Random(seed))
    counts = total(tally(outcomes((truth, truth)))).at()
    assert (counts.precision, counts.recall, counts.f1) == (1, 1, 1)


@given(seeds)
def test_the_order_of_regions_does_not_matter(seed: int) -> None:
    chance = random.Random(seed)
    truth = scene(chance)
    guessed = guess(truth, chance, miss=0.2, jitter=0.4)
    shuffled = chance.sample(guessed, len(guessed))
    assert counted(truth, guessed) == counted(chance.sample(truth, len(truth)), shuffled)


@given(seeds)
def test_a_higher_threshold_never_finds_more(seed: int) -> None:
    chance = random.Random(seed)
    truth = scene(chance)
    found = total(tally(outcomes((truth, guess(truth, chance, miss=0.1, jitter=0.5)))))
    assert found.right == sorted(found.right, reverse=True)


@given(seeds)
def test_faster_coco_eval_finds_as_many(seed: int) -> None:
    """Its recall of each label at each threshold is ours."""
    from faster_coco_eval import COCO, COCOeval_faster

    from grounding.evaluation.matching import class_of
    from grounding.evaluation.measures import _coco

    chance = random.Random(seed)
    cases = [(t, guess(t, chance, miss=0.2, jitter=0.4)) for t in (scene(chance) for _ in range(5))]
    ours = outcomes(*cases)
    tallies = {key: one for key, one in tally(ours).items() if one.wanted}
    classes = {class_of(r): n for o in ours for r in o.wanted for n in [hash(class_of(r)) % 10**6]}
    truth, found = _coco(ours, classes)
    if not found:
        return
    coco = COCO(truth)
    run = COCOeval_faster(coco, coco.loadRes(found), iouType="bbox", print_function=len)
    run.params.maxDets, run.params.areaRng, run.params.areaRngLbl = [100], [[0, 1e10]], ["all"]
    run.evaluate()
    run.accumulate()
    for (kind, control, label), mine in tallies.items():
        column = run.params.catIds.index(classes[control, kind, label])
        theirs = [max(0.0, float(r)) for r in run.eval["recall"][:, column, 0, 0]]
        assert theirs == pytest.approx([n / mine.wanted for n in mine.right])


def ap(*cases: tuple[Iterable[Result], Iterable[Result]]) -> Any:
    return average_precision(outcomes(*cases))


def test_average_precision_by_hand() -> None:
    """Best to worst: right, wrong, right, of two: COCO's 101 recall steps give 51 × 1 + 50 × ⅔."""
    truth = [box(0, 0, 20, 20), box(50, 50, 20, 20)]
    guessed = [
        box(0, 0, 20, 20, score=0.9),
        box(80, 0, 10, 10, score=0.8),
        box(50, 50, 20, 20, score=0.7),
    ]
    found = ap((truth, guessed))
    assert found.mean == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-3)
    assert found.labels == {"cat": found.mean}


def test_average_precision_over_thresholds_by_hand() -> None:
    """An IoU of 0.6 is right at 0.5, 0.55 and 0.6: three of ten."""
    found = ap(([ONE], [box(5, 0, 20, 20, score=0.9)]))
    assert (found.at_half, found.mean) == (pytest.approx(1, abs=1e-3), pytest.approx(0.3, abs=1e-3))


def test_average_precision_is_0_where_all_is_missed() -> None:
    assert ap(([ONE], [])).mean == 0


@pytest.mark.parametrize(
    ("truth", "guessed"),
    [([ONE], [ONE]), ([], [box(0, 0, 5, 5, score=1)])],
    ids=["without scores", "nothing wanted"],
)
def test_average_precision_is_unknown(truth: list[Result], guessed: list[Result]) -> None:
    assert ap((truth, guessed)) is None


assert IOU_STEPS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def test_nearness_by_hand() -> None:
    (outcome,) = outcomes(([ONE, point(50, 50)], [box(5, 0, 20, 20), point(50, 54)]))
    both = list(zip((g.region for g in outcome.guesses), outcome.wanted, strict=True))
    found = nearness(both)
    assert (found.boxes, found.mean_iou) == (1, pytest.approx(0.6))
    assert (found.points, found.median_distance) == (1, pytest.approx(4 / 200))


TEXTS = {
    "equal": ("abc", "abc", 1, 0.0),
    "one of four wrong": ("abxd", "abcd", 0, 0.25),
    "missing": (None, "abcd", 0, 1.0),
    "spaces": (" a   b ", "a b", 1, 0.0),
}


@pytest.mark.parametrize(("said", "wanted", "equal", "rate"), TEXTS.values(), ids=TEXTS)
def test_texts_by_edit_distance(said: str | None, wanted: str, equal: int, rate: float) -> None:
    (task,) = read_tasks([judged(1, [text(wanted)], [text(said)] if said else [])]).tasks
    assert task.reference
    (found,) = compare_texts([(task.predictions[0], task.reference)])
    assert (found.pairs, found.equal, found.error_rate) == (1, equal, rate)


def test_the_texts_of_paired_regions_are_compared() -> None:
    old = box(0, 0, 20, 20, number="a")
    near = box(1, 0, 20, 20, number="b")
    note = {"type": "textarea", "from_name": "note"}
    truth = [old, old | note | {"value": {"text": ["B-17"]}}]
    guessed = [near, near | note | {"value": {"text": ["B-11"]}}]
    (task,) = read_tasks([judged(1, truth, guessed)]).tasks
    assert task.reference
    (found,) = compare_texts([(task.predictions[0], task.reference)])
    assert (found.control, found.error_rate) == ("note", 0.25)
