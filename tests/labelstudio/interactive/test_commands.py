"""A typed prompt names a thing, and may say which shape to mark it with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.labelstudio.config.interface import Label
from grounding.labelstudio.interactive.commands import (
    Command,
    choose_controls,
    is_forget,
    read_command,
)
from grounding.queries import Locate, Shape
from grounding.qwen.queries.locate import write_prompt
from tests.labelstudio.configs import BOXES, CAR_DOG, POINTS, config

POINT, BOX = Shape.POINT, Shape.BOX

COMMANDS = [
    ("the dented car on the left", "the dented car on the left", None),
    ("point to the noses", "the noses", POINT),
    ("Please point at each nose", "each nose", POINT),
    ("click on the left wheel", "the left wheel", POINT),
    ("click every wheel", "each wheel", POINT),
    ("tap all wheels", "all wheels", POINT),
    ("put a point on each eye", "each eye", POINT),
    ("set points on the eyes", "the eyes", POINT),
    ("the eyes as points", "the eyes", POINT),
    ("点出每一只猫", "每一只猫", POINT),
    ("指出左边的车", "左边的车", POINT),
    ("指向每一只猫", "每一只猫", POINT),
    ("标点所有的猫", "所有的猫", POINT),
    ("点击按钮", "按钮", POINT),
    ("点选图中的按钮", "按钮", POINT),
    ("请点所有的按钮", "所有的按钮", POINT),
    ("点左边的按钮", "左边的按钮", POINT),
    ("用点标出每一个蛋糕", "每一个蛋糕", POINT),
    ("用点每一个蛋糕", "每一个蛋糕", POINT),
    ("以点的形式定位图中所有猫", "所有猫", POINT),
    ("以点的方式猫", "猫", POINT),
    ("box the cars", "the cars", BOX),
    ("box that car", "that car", BOX),
    ("Draw a bounding box around every car", "each car", BOX),
    ("outline each cake", "each cake", BOX),
    ("frame all cakes", "all cakes", BOX),
    ("the cars as boxes", "the cars", BOX),
    ("框出每一个蛋糕", "每一个蛋糕", BOX),
    ("请框选图中所有的车", "所有的车", BOX),
    ("框图中的车", "车", BOX),
    ("框右边的车", "右边的车", BOX),
    ("画框标出左边的车", "左边的车", BOX),
    ("画框所有的车", "所有的车", BOX),
    ("用矩形框标出左边的车", "左边的车", BOX),
    ("用框的形式标出左边的车", "左边的车", BOX),
    ("find cats", "cats", None),
    ("find the X!", "the X", None),
    ("find every cat and every dog", "each cat and every dog", None),
    ("find a dog on every cat", "a dog on every cat", None),
    ("find me the cats", "the cats", None),
    ("show me the dog", "the dog", None),
    ("show me dogs", "dogs", None),
    ("show the dog", "the dog", None),
    ("show all dogs", "all dogs", None),
    ("mark the dog", "the dog", None),
    ("label a dog", "a dog", None),
    ("select both dogs", "both dogs", None),
    ("highlight my dog", "my dog", None),
    ("show me the red car in this image", "the red car", None),
    ("where is the dog?", "the dog", None),
    ("Locate the truck in the image.", "the truck", None),
    ("找出所有的狗！", "所有的狗", None),
    ("every single cake", "each cake", None),
    ("找出所有的猫", "所有的猫", None),
    ("检测汽车", "汽车", None),
    ("识别行人", "行人", None),
    ("标记所有缺陷", "所有缺陷", None),
    ("识别出行人", "行人", None),
    ("检测到所有行人", "所有行人", None),
    ("识别出口", "出口", None),
    ("检测出租车", "出租车", None),
    ("检测红色设备", "红色设备", None),
    ("请检测设备", "设备", None),
    ("帮我识别标志", "标志", None),
    ("请定位螺栓", "螺栓", None),
    ("请框选工具", "工具", BOX),
    ("检测图中的设备", "设备", None),
    ("识别每个标志", "每个标志", None),
    ("查找汽车", "汽车", None),
    ("框选汽车", "汽车", BOX),
    ("定位图中的螺栓", "螺栓", None),
    ("定位所有螺栓", "所有螺栓", None),
    ("找图中的猫", "猫", None),
    ("图中的每一个蛋糕", "每一个蛋糕", None),
]

THINGS = [
    "the box on the table",
    "box in the corner",
    "box truck",
    "box that is open",
    "box A",
    "frame without a picture",
    "frame house",
    "outline that looks torn",
    "set point on the display",
    "point of the knife",
    "point guard",
    "point to point cable",
    "point A",
    "tap on the wall",
    "tap water",
    "click beetle",
    "show dog",
    "show horse in the ring",
    "mark on the wall",
    "mark that looks like a cross",
    "label on the bottle",
    "label that says fragile",
    "label printer",
    "select committee",
    "segment display",
    "highlight marker",
    "点心",
    "点击率",
    "点选框",
    "框架",
    "框图",
    "画框里的画",
    "标点符号",
    "指向左边的箭头",
    "用点心做的蛋糕",
    "用框架搭的房子",
    "找图",
    "定位孔",
    "定位螺栓",
    "检测器",
    "识别码",
    "标记笔",
    "检测设备",
    "检测设备上的按钮",
    "检测仪器",
    "检测报告",
    "识别标志",
    "识别标志的左上角",
    "识别系统",
    "标记点",
    "标记符号",
    "标注工具",
    "标注人员",
    "查找按钮",
    "框选工具",
    "everything red",
    "...",
    "find",
    "man with boxes",
    "",
]


@pytest.mark.parametrize(("prompt", "thing", "shape"), COMMANDS)
def test_a_command_is_taken_apart(prompt: str, thing: str, shape: Shape | None) -> None:
    assert read_command(prompt) == Command(thing, shape)


@pytest.mark.parametrize("prompt", THINGS)
def test_a_prompt_whose_first_word_may_belong_to_the_thing_is_the_thing(prompt: str) -> None:
    assert read_command(prompt) == Command(prompt, None)


@pytest.mark.parametrize(
    ("prompt", "labels", "command"),
    [
        pytest.param("show dog", ["show dog"], Command("show dog"), id="the label itself"),
        pytest.param("Show dogs", ["show dog", "dog"], Command("Show dogs"), id="in the plural"),
        pytest.param(
            "show dog on the left", ["show dog"], Command("show dog on the left"), id="with more"
        ),
        pytest.param("show dog", ["dog"], Command("dog"), id="a verb before a label"),
        pytest.param("show red dogs", ["Dog"], Command("red dogs"), id="before what names one"),
        pytest.param("show dog", ["cat"], Command("show dog"), id="before no label"),
        pytest.param("find show dogs", ["show dog"], Command("show dogs"), id="behind a verb"),
        pytest.param(
            "find show dogs in this image", ["show dog"], Command("show dogs"), id="amid a command"
        ),
        pytest.param(
            "box the top box", ["box the top"], Command("box the top box"), id="odd label"
        ),
        pytest.param("find my phone", ["find my"], Command("find my phone"), id="find"),
        pytest.param("mark all", ["Mark all"], Command("mark all"), id="mark"),
        pytest.param("label the", ["Label the"], Command("label the"), id="label"),
        pytest.param("point to point", ["point to point"], Command("point to point"), id="point"),
        pytest.param("the cat in the picture", ["picture"], Command("the cat"), id="picture"),
        pytest.param(
            "cat in the picture", ["in the picture"], Command("cat"), id="a label wholly removed"
        ),
        pytest.param("cats as points", ["points"], Command("cats", POINT), id="a shape's name"),
        pytest.param("cut as points", ["as points"], Command("cut", POINT), id="removed as well"),
        pytest.param("cat as points", ["cat as"], Command("cat as points"), id="cut at the end"),
        pytest.param("box the cars", ["Car", "Box"], Command("the cars", BOX), id="the verb alone"),
        pytest.param("定位螺栓", ["定位螺栓", "螺栓"], Command("定位螺栓"), id="定位"),
        pytest.param("定位螺栓", ["螺栓"], Command("螺栓"), id="定位 before a label"),
        pytest.param("定位大螺栓", ["螺栓"], Command("大螺栓"), id="定位 before what names one"),
        pytest.param("找出定位螺栓", ["定位螺栓"], Command("定位螺栓"), id="behind 找出"),
        pytest.param("图中的定位螺栓", ["定位螺栓"], Command("定位螺栓"), id="behind 图中的"),
        pytest.param("左边的定位螺栓", ["定位螺栓"], Command("左边的定位螺栓"), id="at the end"),
        pytest.param("检测设备", ["检测设备"], Command("检测设备"), id="检测"),
        pytest.param("识别标志", ["识别标志", "标志"], Command("识别标志"), id="识别"),
        pytest.param("标记文字", ["标记文字"], Command("标记文字"), id="标记"),
        pytest.param("标注人员", ["标注人员", "人"], Command("标注人员"), id="标注"),
        pytest.param("点击按钮", ["点击按钮"], Command("点击按钮"), id="点击"),
        pytest.param("图上距离", ["图上距离"], Command("图上距离"), id="图上"),
        pytest.param("画框标志", ["画框标志"], Command("画框标志"), id="画框"),
        pytest.param("检测汽车", ["汽车"], Command("汽车"), id="still a command"),
        pytest.param("检测设备", ["设备"], Command("设备"), id="a label after 检测"),
        pytest.param("识别标志", ["标志"], Command("标志"), id="a label after 识别"),
        pytest.param("框选工具", ["工具"], Command("工具", BOX), id="a label after 框选"),
    ],
)
def test_no_command_cuts_through_a_label(prompt: str, labels: list[str], command: Command) -> None:
    assert read_command(prompt, [Label(name) for name in labels]) == command


def test_the_words_that_the_prompt_names_are_kept_whole_too() -> None:
    show = Label("Ausstellungshund", predicted_values=("show dog",))
    assert read_command("show dog", [show, Label("dog")]) == Command("show dog")


def test_a_prompt_that_is_a_label_is_for_the_controls_that_have_it() -> None:
    points = POINTS.replace('"Nose"', '"point to point"')
    controls = config(
        BOXES.replace(CAR_DOG, CAR_DOG + '<Label value="show dog"/>'), points
    ).controls
    assert [c.from_name for c in choose_controls("show dogs", controls)] == ["box"]
    assert [c.from_name for c in choose_controls("point to point", controls)] == ["kp"]
    target = config(BOXES.replace(CAR_DOG, '<Label value="Point to Goal"/>'), POINTS).controls
    assert [c.from_name for c in choose_controls("point to goals", target)] == ["box"]
    assert [c.from_name for c in choose_controls("point to the goals", target)] == ["kp"]


@pytest.mark.parametrize("prompt", ["each cake", "every cake", "每一个蛋糕", "框出每个蛋糕"])
def test_a_command_for_one_by_one_has_the_dense_prompt(prompt: str) -> None:
    written = write_prompt(Locate(BOX, phrase=read_command(prompt).thing))
    assert "describe its feature" in written or "描述其各自的特征" in written


@given(st.text(max_size=60))
def test_a_thing_is_part_of_any_prompt_but_for_the_word_each(prompt: str) -> None:
    thing = read_command(prompt).thing
    assert bool(thing.strip()) == bool(prompt.strip())
    assert thing.removeprefix("each ") in prompt


@given(
    verb=st.sampled_from(["", "show ", "find ", "point to the ", "定位", "检测", "框出"]),
    name=st.sampled_from(["dog", "show dog", "point to point", "螺栓", "定位螺栓", "检测设备"]),
    label=st.sampled_from(["dog", "show dog", "point to point", "螺栓", "定位螺栓", "检测设备"]),
)
def test_a_label_at_the_end_of_a_prompt_is_at_the_end_of_its_thing(
    verb: str, name: str, label: str
) -> None:
    thing = read_command(verb + name, [Label(name), Label(label)]).thing
    assert thing.endswith(name)


@pytest.mark.parametrize(
    ("prompt", "so"), [("-", True), ("Forget", True), ("忘记", True), ("forget-me-not", False)]
)
def test_a_prompt_is_forgotten_by_a_word(prompt: str, so: bool) -> None:
    assert is_forget(prompt) is so
