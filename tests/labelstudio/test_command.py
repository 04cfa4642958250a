"""A typed prompt names a thing, and may say how it is to be marked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.labelstudio.interactive.commands import Command, forgets, read_command
from grounding.queries import Locate, Shape
from grounding.qwen.queries.locate import write_prompt

POINT, BOX = Shape.POINT, Shape.BOX


@pytest.mark.parametrize(
    ("prompt", "thing", "shape"),
    [
        ("the dented car on the left", "the dented car on the left", None),
        ("point to the noses", "the noses", POINT),
        ("Please point at each nose", "each nose", POINT),
        ("click on the left wheel", "the left wheel", POINT),
        ("click every wheel", "each wheel", POINT),
        ("put a point on each eye", "each eye", POINT),
        ("the eyes as points", "the eyes", POINT),
        ("点出每一只猫", "每一只猫", POINT),
        ("指出左边的车", "左边的车", POINT),
        ("请点所有的按钮", "所有的按钮", POINT),
        ("用点标出每一个蛋糕", "每一个蛋糕", POINT),
        ("以点的形式定位图中所有猫", "所有猫", POINT),
        ("box the cars", "the cars", BOX),
        ("Draw a bounding box around every car", "each car", BOX),
        ("outline each cake", "each cake", BOX),
        ("the cars as boxes", "the cars", BOX),
        ("框出每一个蛋糕", "每一个蛋糕", BOX),
        ("请框选图中所有的车", "所有的车", BOX),
        ("用矩形框标出左边的车", "左边的车", BOX),
        ("find cats", "cats", None),
        ("show me the red car in this image", "the red car", None),
        ("where is the dog?", "the dog", None),
        ("Locate the truck in the image.", "the truck", None),
        ("找出所有的狗！", "所有的狗", None),
        ("every single cake", "each cake", None),
        ("找出所有的猫", "所有的猫", None),
        ("检测汽车", "汽车", None),
        ("图中的每一个蛋糕", "每一个蛋糕", None),
    ],
)
def test_a_command_is_taken_apart(prompt: str, thing: str, shape: Shape | None) -> None:
    assert read_command(prompt) == Command(thing, shape)


@pytest.mark.parametrize(
    "prompt",
    [
        "the box on the table",
        "box in the corner",
        "point of the knife",
        "tap on the wall",
        "mark on the wall",
        "frame without a picture",
        "点心",
        "框架",
        "标点符号",
        "定位孔",
        "检测器",
        "everything red",
        "...",
        "find",
        "man with boxes",
        "",
    ],
)
def test_words_that_may_be_the_thing_itself_are_no_command(prompt: str) -> None:
    assert read_command(prompt) == Command(prompt, None)


@pytest.mark.parametrize("prompt", ["each cake", "every cake", "每一个蛋糕", "框出每个蛋糕"])
def test_asked_for_one_by_one_the_question_is_the_dense_one(prompt: str) -> None:
    asked = write_prompt(Locate(BOX, phrase=read_command(prompt).thing))
    assert "describe its feature" in asked or "描述其各自的特征" in asked


@given(st.text(max_size=60))
def test_a_thing_is_part_of_any_prompt_but_for_the_word_each(prompt: str) -> None:
    thing = read_command(prompt).thing
    assert bool(thing.strip()) == bool(prompt.strip())
    assert thing.removeprefix("each ") in prompt


@pytest.mark.parametrize(
    ("prompt", "so"), [("-", True), ("Forget", True), ("忘记", True), ("forget-me-not", False)]
)
def test_a_prompt_is_forgotten_by_a_word(prompt: str, so: bool) -> None:
    assert forgets(prompt) is so
