"""The whole report: what it says, as JSON and as a page."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from grounding.errors import InputError
from grounding.evaluation.page import to_html
from grounding.evaluation.records import read_tasks
from grounding.evaluation.report import Report, Wanted, evaluate
from grounding.evaluation.summary import sentences, to_json
from tests.evaluation.making import (
    annotation,
    box,
    choice,
    guess,
    judged,
    point,
    prediction,
    scene,
    task,
    text,
)

CAT, DOG = box(0, 0, 20, 20, "cat", number="c"), box(50, 50, 20, 20, "dog", number="d")
MOVED = box(52, 50, 20, 20, "dog", number="d", origin="prediction-changed")
ADDED = box(70, 0, 10, 10, "dog")


def report(*tasks: dict[str, Any], **wanted: Any) -> Report:
    return evaluate(read_tasks(list(tasks)), Wanted(**wanted))


def test_the_first_sentence_counts_what_became_of_the_regions() -> None:
    corrected = [CAT | {"origin": "prediction"}, MOVED, ADDED]
    found = report(judged(1, corrected, [CAT, DOG, box(0, 70, 9, 9)]))
    first, second, *others = sentences(found)
    assert first == (
        "Of 3 pre-labelled regions in 1 task annotators kept 33%, moved 33%, deleted 33%; "
        "they added 1 that were missed."
    )
    assert second == "33% of the 3 final regions needed no hand."
    assert any("1 of 1 annotation began as a prediction" in one for one in others)


def test_a_task_without_a_prediction_does_not_count_and_is_told() -> None:
    found = report(judged(1, [CAT], [CAT]), task(2, [annotation([DOG])]))
    assert (found.tasks, found.annotated) == (1, 2)
    assert found.counts.recall == 1
    assert any("1 annotated task without a prediction" in one for one in sentences(found))


def test_an_empty_prediction_counts_as_one() -> None:
    found = report(judged(1, [CAT], [CAT]), judged(2, [DOG], []))
    assert (found.tasks, found.counts.recall) == (2, 0.5)


def test_controls_that_are_never_predicted_do_not_count_and_are_told() -> None:
    found = report(judged(1, [CAT, choice("sun")], [CAT]))
    assert found.counts.recall == 1
    assert "Not predicted, so not counted: weather (1)." in sentences(found)


def test_controls_that_are_named_count_even_if_never_predicted() -> None:
    controls = frozenset({"box", "weather"})
    assert report(judged(1, [CAT, choice("sun")], [CAT]), controls=controls).counts.recall == 0.5


def test_predictions_without_any_region_have_found_nothing() -> None:
    assert report(judged(1, [CAT], [])).counts.recall == 0


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([prediction([], "v2")], "In 1 task of both, v2 or this version has nothing to compare."),
        ([], "No task was predicted by v2 too."),
    ],
)
def test_a_version_that_cannot_be_compared_is_told_why(others: list[Any], said: str) -> None:
    """Where nothing is wanted, a prediction without regions has no F1."""
    mine = prediction([box(1, 1, 9, 9)])
    found = report(
        task(1, [annotation([])], [mine, *others]),
        task(2, [], [prediction([box(1, 1, 9, 9)], "v2")]),
        version="v1",
        against="v2",
    )
    assert said in sentences(found)


def test_the_newest_version_is_looked_at_unless_another_is_named() -> None:
    predictions = [
        prediction([], "old", created_at="2026-01-01"),
        prediction([CAT], "new", created_at="2026-01-02"),
    ]
    one = task(1, [annotation([CAT])], predictions)
    assert (report(one).version, report(one).counts.recall) == ("new", 1)
    assert report(one, version="old").counts.recall == 0


NOTHING: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "no predictions": (task(1, [annotation([CAT])]), {}, "no predictions"),
    "no annotation": (task(1, [], [prediction([CAT])]), {}, "both an annotation and"),
    "no such version": (judged(1, [CAT], [CAT]), {"version": "x"}, "no prediction of x"),
    "no such other": (judged(1, [CAT], [CAT]), {"against": "x"}, "There are v1"),
}


@pytest.mark.parametrize(("one", "wanted", "said"), NOTHING.values(), ids=NOTHING)
def test_nothing_to_compare_is_refused_with_the_cure(
    one: dict[str, Any], wanted: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as error:
        report(one, **wanted)
    assert said in str(error.value)


def many(tasks: int, seed: int = 5) -> list[dict[str, Any]]:
    """Return tasks with two annotators, two versions, a point, a choice and a text each."""
    chance = random.Random(seed)
    found = []
    for number in range(1, tasks + 1):
        truth = [*scene(chance), point(30, 30), choice("sun"), text("a red car")]
        good = guess(truth[:-3], chance, miss=0.1, jitter=0.15)
        worse = guess(truth[:-3], chance, miss=0.4, jitter=0.15)
        values = [point(31, 31, score=0.9), choice(chance.choice(["sun", "rain"]), score=0.6)]
        found.append(
            task(
                number,
                [annotation(truth, completed_by=n, id=n, lead_time=20 + n) for n in (1, 2)],
                [
                    prediction([*good, *values, text("a red cat")], "good"),
                    prediction([*worse, *values], "worse"),
                ],
            )
        )
    return found


@pytest.fixture(scope="module")
def whole() -> Report:
    return report(*many(60), version="good", against="worse")


def test_the_json_holds_every_part(whole: Report) -> None:
    found = json.loads(json.dumps(to_json(whole), allow_nan=False))
    assert found["tasks"] == 60
    assert found["against"]["differences"]["f1"]["clear"]
    assert found["against"]["differences"]["f1"]["value"] > 0
    assert found["agreement"]["people"]["value"] == 1
    assert set(found["kinds"]) == {"box", "point", "choice", "text"}
    assert found["texts"][0]["error_rate"] == pytest.approx(1 / 9)
    assert len(found["worst"]) == 20
    assert found["worst"][0]["errors"] >= found["worst"][-1]["errors"] > 0
    assert 0 <= found["reliability"]["error"] <= 1
    assert 0 < found["average_precision"]["mean"] < found["average_precision"]["at_half"] < 1


def test_the_page_shows_every_part_and_calls_no_host(whole: Report) -> None:
    page = to_html(whole, title="cats", links={1: "http://studio/1"})
    for heading in (
        "Did the pre-labels help?",
        "What annotators did",
        "How right they are",
        "Texts",
        "Scores",
        "Against worse",
        "As one more annotator",
        "Where it was most wrong",
    ):
        assert heading in page
    assert re.findall(r"(?:src|href)=[\"']?(?!http://studio|#)", page) == []
    assert "<script" not in page
    assert page.count('class="picture"') == 20


def test_labels_are_shown_as_text_whatever_they_hold() -> None:
    evil = "<script>alert(1)</script>"
    one = box(0, 0, 20, 20, evil, number="x")
    page = to_html(report(judged(1, [one], [one | {"id": "y"}, DOG])), title=evil)
    assert evil not in page
    assert "&lt;script&gt;" in page


def test_a_report_of_almost_nothing_has_a_page() -> None:
    page = to_html(report(judged(1, [], []) | {"id": None}))
    assert "Did the pre-labels help?" in page
