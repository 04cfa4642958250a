"""Numbers that count: the regions of their image, or what their prompt says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grounding.labelstudio.config.interface import ModelTask
from grounding.labelstudio.plan import PromptDefaults, plan
from grounding.queries import Count, Fill
from tests.labelstudio.configs import BOXES, CHOICES, POINTS, config, having, refused, view
from tests.pipeline.test_pipeline import InlineEngine, grounded

COUNT = '<Number name="count" toName="image" model_task="count"/>'
EGGS = having(COUNT, 'model_prompt="every egg in {place}"')
CARS = json.dumps([{"bbox_2d": [n, 48, n + 40, 96], "label": "Car"} for n in (0, 100, 200)])
DOG = json.dumps([{"bbox_2d": [10, 200, 60, 260], "label": "Dog"}])


def say(text: str) -> str:
    return CARS if "'Car'" in text else DOG if "'Dog'" in text else "[]"


def numbers(result: list[dict[str, Any]]) -> list[Any]:
    return [one["value"]["number"] for one in result if one["type"] == "number"]


def test_the_number_is_that_of_the_regions_beside_it_and_asks_nothing() -> None:
    engine = InlineEngine(say)
    result = grounded(engine, COUNT, BOXES, POINTS).prediction["result"]
    assert numbers(result) == [4]
    assert result[-1]["type"] == "number", "after the regions"
    assert len(engine.requests) == 3, "a car, a dog and a nose"
    assert type(result[-1]["value"]["number"]) is int


def test_it_counts_what_the_prediction_holds_and_not_what_was_left_out() -> None:
    few = having(BOXES, 'model_max_regions="2"')
    assert numbers(grounded(InlineEngine(say), few, COUNT).prediction["result"]) == [2]


def test_none_found_is_zero() -> None:
    result = grounded(InlineEngine(lambda text: "[]"), BOXES, COUNT).prediction["result"]
    assert [one["type"] for one in result] == ["number"]
    assert numbers(result) == [0]


def test_what_only_annotators_ask_for_is_not_counted_before() -> None:
    asked = having(BOXES, 'model_answer="asked"')
    assert not config(asked, COUNT).prelabels
    choices = CHOICES.replace("</Choices>", '<Choice value="y"/></Choices>')
    engine = InlineEngine(lambda text: '{"c": "y"}')
    result = grounded(engine, asked, COUNT, choices).prediction["result"]
    assert [one["type"] for one in result] == ["choices"], "nobody has looked for a car"
    both = grounded(InlineEngine(say), asked, COUNT, BOXES.replace("box", "other")).prediction
    assert numbers(both["result"]) == [4], "those that were looked for"


@pytest.mark.parametrize("dogs", ["Well, well.", DOG[:-1] + ', {"bbox_2d": [1, 2'])
def test_where_an_answer_may_lack_something_nobody_counts(dogs: str) -> None:
    result = grounded(
        InlineEngine(lambda text: CARS if "'Car'" in text else dogs), BOXES, COUNT
    ).prediction["result"]
    assert numbers(result) == []
    assert any(one["type"] == "rectanglelabels" for one in result)


def test_a_number_beyond_its_bounds_is_left_out() -> None:
    done = grounded(InlineEngine(say), BOXES, having(COUNT, 'max="3"'))
    assert numbers(done.prediction["result"]) == []
    assert done.dropped["unusable_value"] == 1


def test_with_a_prompt_it_is_asked_by_itself() -> None:
    (planned,) = plan(config(EGGS), None, PromptDefaults({"place": "the box"}))
    assert planned.query == Count("every egg in the box")
    engine = InlineEngine(lambda text: '[{"point_2d": [40, 52]}, {"point_2d": [88, 54]}]\n\n2')
    plain = having(COUNT, 'model_prompt="every egg"')
    assert numbers(grounded(engine, plain).prediction["result"]) == [2]


def test_each_region_can_be_counted_in() -> None:
    seats = having(COUNT, 'perRegion="true" model_prompt="every seat"')
    engine = InlineEngine(lambda text: "5" if "seat" in text else say(text))
    result = grounded(engine, BOXES, seats).prediction["result"]
    assert numbers(result) == [5] * 4
    assert len({one["id"] for one in result}) == 4


@pytest.mark.parametrize("part", [COUNT, having(COUNT, 'perRegion="true"')])
def test_without_anything_to_count_its_name_is_the_question(part: str) -> None:
    on = next(one for one in config(BOXES, part).controls if one.tag == "Number")
    assert (on.task is ModelTask.COUNT) == (not on.per_region)
    alone = config(COUNT)
    assert alone.controls[0].task is ModelTask.FILL
    assert isinstance(plan(alone)[0].query, Fill)


def test_an_annotator_s_request_brings_no_number() -> None:
    context = {
        "result": [{"type": "textarea", "from_name": "prompt", "value": {"text": ["every Car"]}}]
    }
    prompt = '<TextArea name="prompt" toName="image"/>'
    result = grounded(InlineEngine(say), prompt, BOXES, COUNT, context=context).prediction["result"]
    assert numbers(result) == []


def test_a_wrong_task_is_refused_with_those_there_are() -> None:
    error = refused(view(COUNT.replace('"count"/>', '"sum"/>')))
    assert "fill or count" in error.hint
