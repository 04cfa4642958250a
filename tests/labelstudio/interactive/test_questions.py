"""Typed questions: answered in the one text area that the config names for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grounding.labelstudio.interactive.commands import is_question
from grounding.labelstudio.interactive.context import read_context
from grounding.labelstudio.plan import plan
from grounding.queries import Field, Fill, Locate, ValueKind, ValueType
from tests.labelstudio.configs import BOXES, PROMPT, area, config
from tests.pipeline.test_pipeline import InlineEngine, grounded

ANSWER = area("answer", 'smart="false" model_task="fill" model_answer="asked"')
TEXT = ValueType(ValueKind.TEXT)


def typed(text: str) -> dict[str, Any]:
    """Return the context of a prompt that an annotator typed."""
    return {"result": [{"type": "textarea", "from_name": "prompt", "value": {"text": [text]}}]}


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("what is the total?", True),
        ("What is the total", True),
        ("the total?", True),
        ("how many cars are there", True),
        ("is it raining", True),
        ("describe the scene", True),
        ("总金额是多少", True),
        ("这是什么？", True),
        ("the total", False),
        ("every car", False),
        ("where is the car?", False),
        ("show me the car?", False),
        ("isolated trees", False),
        ("doors", False),
        ("车在哪里？", False),
        ("红色的车", False),
    ],
)
def test_a_question_is_told_from_a_prompt_for_places(text: str, question: bool) -> None:
    assert is_question(text) is question


@pytest.mark.parametrize(
    ("parts", "text", "names"),
    [
        ((PROMPT, BOXES, ANSWER), "what is the total?", ["answer"]),
        ((PROMPT, BOXES, ANSWER), "every car", ["box"]),
        ((PROMPT, BOXES), "what is the total?", ["box"]),
        ((PROMPT, ANSWER), "the total", ["answer"]),
        ((PROMPT, ANSWER, ANSWER.replace('"answer"', '"other"')), "the total?", []),
        ((PROMPT, BOXES, area("note", 'model_task="fill"')), "what is it?", ["box"]),
    ],
)
def test_the_config_names_the_area_for_answers(
    parts: tuple[str, ...], text: str, names: list[str]
) -> None:
    intent = read_context(typed(text), config(*parts))
    assert intent is not None
    assert [control.from_name for control in intent.controls] == names


def test_the_question_is_asked_in_its_own_words() -> None:
    parsed = config(PROMPT, BOXES, ANSWER)
    (planned,) = plan(parsed, read_context(typed("what is the total?"), parsed))
    assert planned.query == Fill((Field("answer", prompt="what is the total?", type=TEXT),))
    assert all(isinstance(one.query, Locate) for one in plan(parsed)), "nobody asks it before"


@pytest.mark.parametrize("said", [json.dumps({"answer": "RM 8.75"}), "RM 8.75"])
def test_the_answer_stands_in_the_area(said: str) -> None:
    engine = InlineEngine(lambda text: said)
    done = grounded(engine, PROMPT, BOXES, ANSWER, context=typed("what is the total?"))
    (result,) = done.prediction["result"]
    assert (result["from_name"], result["value"]) == ("answer", {"text": ["RM 8.75"]})


def test_what_the_picture_does_not_say_is_no_answer() -> None:
    engine = InlineEngine(lambda text: '{"answer": null}')
    done = grounded(engine, PROMPT, BOXES, ANSWER, context=typed("what is the total?"))
    assert done.prediction["result"] == []
