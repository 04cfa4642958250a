"""The prompts: every wording by table, and what holds for any phrase."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import PERCENT, THOUSAND, Box, Frame, Point
from grounding.queries import (
    AnswerFormat,
    Fill,
    Finding,
    Locate,
    Meaning,
    PromptStyle,
    Query,
    Shape,
)
from grounding.qwen.answers import Verdict, read
from grounding.qwen.profiles import PROFILES
from grounding.qwen.prompts import PromptSet
from grounding.qwen.queries import lists_places
from grounding.qwen.queries.locate import (
    CHINESE,
    ENGLISH,
    Wording,
    one_by_one,
    sketch_answer,
    wording,
    write_prompt,
)

BOX, POINT = Shape.BOX, Shape.POINT
PLAIN, XML = PromptStyle(answer_format="plain"), PromptStyle(answer_format="xml")
SEEN = Frame("model", 1000, 500)
CLICK = Point(50, 50, PERCENT)
ROUGH = Box(10, 20, 50, 60, PERCENT)
MEANT = (Meaning(("Car", "auto"), "passenger cars, no vans."), Meaning(("Dog",), "any dog"))

# The demo checkpoint was trained on these, and on all others that ask for JSON: they change
# with it only.
PINNED = [
    (
        Locate(BOX, ("red circle",)),
        "Locate every instance that belongs to the following categories: 'red circle'. "
        "Report bbox coordinates in JSON format. If there is none, output [].",
    ),
    (
        Locate(BOX, ("cat", "dog")),
        "Locate every instance that belongs to the following categories: 'cat', 'dog'. "
        "Report bbox coordinates in JSON format. If there is none, output [].",
    ),
    (
        Locate(POINT, ("red circle",)),
        "Point to every instance that belongs to the following categories: 'red circle'. "
        "Report point_2d coordinates in JSON format. If there is none, output [].",
    ),
    (
        Locate(BOX, phrase="the red circle"),
        "Locate the red circle in this image and output the bbox coordinates in JSON format. "
        "If there is none, output [].",
    ),
    (
        Locate(BOX, ("red circle",), "every red circle"),
        "Locate every red circle in this image and output the bbox coordinates in JSON format. "
        "If there is none, output [].",
    ),
    (
        Locate(POINT, phrase="The red circle."),
        "Point to The red circle. in this image and output the point_2d coordinates "
        "in JSON format. If there is none, output [].",
    ),
]

PROMPTS = [
    (
        Locate(BOX, ("cat",), style=PLAIN),
        "Locate every instance that belongs to the following categories: 'cat'. Report bbox "
        "coordinates in plain text format, one line for each: x1,y1,x2,y2 name. "
        "If there is none, output None.",
    ),
    (
        Locate(POINT, phrase="the cat", style=XML),
        "Point to the cat in this image and output the coordinates in XML format "
        "<points x y>object</points>. If there is none, output None.",
    ),
    (
        Locate(BOX, ("Car", "men's"), "red things"),
        "Locate red things in this image and output the bbox coordinates in JSON format. Label "
        "each with one of these names, exactly as written: 'Car', \"men's\". "
        "If there is none, output [].",
    ),
    (
        Locate(BOX, phrase="each car and its colour"),
        "Locate each car in this image and describe its colour, and output the bbox coordinates "
        "in JSON format. If there is none, output [].",
    ),
    (
        Locate(POINT, phrase="Each car"),
        "Point to each car in this image and describe its feature, and output the point_2d "
        "coordinates in JSON format. If there is none, output [].",
    ),
    (
        Locate(BOX, ("Car",), around=CLICK),
        "Locate the 'Car' at the point [500, 250] in this image and output the bbox coordinates "
        "in JSON format. If there is none, output [].",
    ),
    (
        Locate(BOX, ("Car", "Dog"), around=ROUGH),
        "Locate the object in the box [100, 100, 500, 300] in this image and output the bbox "
        "coordinates in JSON format. Label each with one of these names, exactly as written: "
        "'Car', 'Dog'. If there is none, output [].",
    ),
    (
        Locate(POINT, ("Car",), "the wheel", ROUGH),
        "Point to the wheel in the box [100, 100, 500, 300] in this image and output the "
        "point_2d coordinates in JSON format. If there is none, output [].",
    ),
    (
        Locate(BOX, ("猫", "狗")),
        "检测图中所有'猫'、'狗'，以JSON格式输出其bbox的坐标，名称与引号中的文字完全一致。"
        "如果没有，输出[]。",
    ),
    (
        Locate(POINT, ("猫",)),
        "以点的形式定位图中所有'猫'，以JSON格式输出其point坐标，名称与引号中的文字完全一致。"
        "如果没有，输出[]。",
    ),
    (
        Locate(BOX, phrase="红色的猫", style=PLAIN),
        "定位图中红色的猫，以纯文本格式输出其bbox的坐标，每个一行：x1,y1,x2,y2 名称。"
        "如果没有，输出：无。",
    ),
    (
        Locate(POINT, ("猫", "狗"), "动物", style=XML),
        "以点的形式定位图中动物，以XML格式输出其point坐标：<points x y>名称</points>。"
        "名称只能是以下之一，与引号中的文字完全一致：'猫'、'狗'。如果没有，输出：无。",
    ),
    (
        Locate(BOX, phrase="图中每一个蛋糕并描述其各自的颜色"),
        "定位图中每一个蛋糕并描述其各自的颜色，以JSON格式输出其bbox的坐标。如果没有，输出[]。",
    ),
    (
        Locate(POINT, phrase="每辆车"),
        "以点的形式定位图中每一个车并描述各自的特征，以JSON格式输出其point坐标。如果没有，输出[]。",
    ),
    (
        Locate(BOX, ("猫",), around=CLICK),
        "定位图中位于点[500, 250]处的'猫'，以JSON格式输出其bbox的坐标。如果没有，输出[]。",
    ),
    (
        Locate(BOX, ("猫", "狗"), around=ROUGH),
        "定位图中位于框[100, 100, 500, 300]内的物体，以JSON格式输出其bbox的坐标。"
        "名称只能是以下之一，与引号中的文字完全一致：'猫'、'狗'。如果没有，输出[]。",
    ),
    (
        Locate(BOX, ("Car", "auto"), meanings=MEANT),
        "Locate every instance that belongs to the following categories: 'Car', 'auto'. Report "
        "bbox coordinates in JSON format. 'Car', 'auto' means: passenger cars, no vans. "
        "If there is none, output [].",
    ),
    (
        Locate(BOX, ("Car", "Dog"), "red things", meanings=MEANT),
        "Locate red things in this image and output the bbox coordinates in JSON format. Label "
        "each with one of these names, exactly as written: 'Car', 'Dog'. "
        "'Car', 'auto' means: passenger cars, no vans. 'Dog' means: any dog. "
        "If there is none, output [].",
    ),
    (
        Locate(BOX, ("Dog",), "every dog", meanings=MEANT[1:]),
        "Locate every dog in this image and output the bbox coordinates in JSON format. "
        "'Dog' means: any dog. If there is none, output [].",
    ),
    (
        Locate(BOX, ("Car",), "red things", meanings=MEANT[:1]),
        "Locate red things in this image and output the bbox coordinates in JSON format. "
        "If there is none, output [].",
    ),
    (
        Locate(BOX, ("猫",), meanings=(Meaning(("猫",), "家猫，不含幼猫。"),)),
        "检测图中所有'猫'，以JSON格式输出其bbox的坐标，名称与引号中的文字完全一致。"
        "'猫'的含义：家猫，不含幼猫。如果没有，输出[]。",
    ),
]


@pytest.mark.parametrize(("query", "text"), PINNED + PROMPTS)
def test_a_query_has_this_prompt(query: Locate, text: str) -> None:
    assert write_prompt(query, SEEN) == text


@pytest.mark.parametrize(
    ("query", "clause"),
    [
        (Locate(BOX, ("cat",)), " Output the JSON list only, without any other word."),
        (
            Locate(BOX, ("cat",), style=PLAIN),
            " Output these lines only, without any other word.",
        ),
        (Locate(POINT, ("cat",), style=XML), " Output the XML only, without any other word."),
        (Locate(BOX, ("猫",)), "只输出JSON列表，不要输出其他文字。"),
        (Locate(BOX, ("猫",), style=PLAIN), "只输出这些行，不要输出其他文字。"),
        (Locate(POINT, ("猫",), style=XML), "只输出XML，不要输出其他文字。"),
    ],
)
def test_the_strict_prompt_is_the_first_one_and_a_clause(query: Locate, clause: str) -> None:
    assert write_prompt(query, SEEN, strict=True) == write_prompt(query, SEEN) + clause


def test_a_raw_phrase_is_the_whole_prompt_and_the_strict_one_still_differs() -> None:
    query = Locate(BOX, ("Car",), "Give me {every} car\n as JSON", CLICK, PromptStyle(raw=True))
    assert write_prompt(query, SEEN) == query.phrase
    assert write_prompt(query, SEEN, strict=True).startswith(f"{query.phrase} Output the JSON")
    assert write_prompt(Locate(BOX, ("Car",), style=PromptStyle(raw=True))) == write_prompt(
        Locate(BOX, ("Car",))
    )


@pytest.mark.parametrize(
    ("profile", "shape", "wanted", "same_as"),
    [
        ("qwen2.5-vl", POINT, "xml", "xml"),
        ("qwen2-vl", POINT, "xml", "xml"),
        ("qwen3-vl", POINT, "xml", "json"),
        ("qwen3-vl", BOX, "plain", "plain"),
        ("qwen2.5-vl", BOX, "xml", "json"),
        ("qwen2.5-vl", POINT, "plain", "json"),
    ],
)
def test_a_format_that_a_family_does_not_write_becomes_json(
    profile: str, shape: Shape, wanted: str, same_as: str
) -> None:
    prompts = PROFILES[profile].prompts
    query = Locate(shape, ("cat",), style=PromptStyle(answer_format=wanted))  # type: ignore[arg-type]
    other = Locate(shape, ("cat",), style=PromptStyle(answer_format=same_as))  # type: ignore[arg-type]
    assert write_prompt(query, SEEN, prompts) == write_prompt(other)


def test_a_place_is_written_in_the_numbers_that_the_model_writes() -> None:
    assert "[250, 500]" in write_prompt(
        Locate(BOX, ("a",), around=Point(25, 50, PERCENT)), THOUSAND
    )
    assert write_prompt(Locate(BOX, ("a",), around=CLICK)) == write_prompt(Locate(BOX, ("a",)))


@pytest.mark.parametrize(
    ("phrase", "classes", "words"),
    [
        ("the cat", (), ENGLISH),
        ("", ("猫",), CHINESE),
        ("红色的车", ("Car",), CHINESE),
        ("red cars", ("车",), ENGLISH),
        ("T恤", (), CHINESE),
        ("", ("person", "car", "猫"), ENGLISH),
        ("猫のしっぽ", (), ENGLISH),
        ("고양이 猫", (), ENGLISH),
        ("кошка", (), ENGLISH),
        ("123", (), ENGLISH),
    ],
)
def test_the_language_is_that_of_the_phrase_or_the_names(
    phrase: str, classes: tuple[str, ...], words: Wording
) -> None:
    assert wording(Locate(BOX, classes, phrase or None)) is words


def test_a_control_s_language_wins() -> None:
    assert wording(Locate(BOX, ("cat",), style=PromptStyle("zh"))) is CHINESE
    assert wording(Locate(BOX, ("猫",), style=PromptStyle("en"))) is ENGLISH


@pytest.mark.parametrize(
    ("phrase", "parts"),
    [
        ("each car", ("car", None)),
        ("Each red car.", ("red car", None)),
        ("each car and its colour", ("car", "colour")),
        ("each car, and describe their colour and make", ("car", "colour and make")),
        ("every cake with its flavour", ("cake", "flavour")),
        ("every single cake and its flavour", ("cake", "flavour")),
        ("每一个蛋糕", ("蛋糕", None)),
        ("每个人和自行车", ("人和自行车", None)),
        ("每辆车及其颜色", ("车", "颜色")),
        ("图中的每一个蛋糕，并描述其各自的特征。", ("蛋糕", "特征")),
        ("各个瓶子", ("瓶子", None)),
        ("every car", None),
        ("all cars", None),
        ("the car beside each tree", None),
        ("eachother", None),
        ("", None),
    ],
)
def test_a_phrase_asks_for_one_by_one(phrase: str, parts: tuple[str, str | None] | None) -> None:
    assert one_by_one(phrase) == parts


@pytest.mark.parametrize("shape", [BOX, POINT])
@pytest.mark.parametrize("words", [ENGLISH, CHINESE], ids=["en", "zh"])
@pytest.mark.parametrize("answer_format", ["json", "plain", "xml"])
def test_the_answer_that_a_prompt_names_for_none_is_read_as_none(
    shape: Shape, words: Wording, answer_format: str
) -> None:
    clause = words.none[answer_format]  # type: ignore[index]
    answer = clause.rpartition("output " if words is ENGLISH else "输出")[2].strip("：.。")
    assert answer in ("[]", "None", "无")
    assert read(answer, SEEN).verdict is Verdict.NOTHING


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("10,20,110,120 Fire truck", Box(10, 20, 110, 120, SEEN)),
        ('<points x1="10" y1="20" alt="Fire truck">Fire truck</points>', Point(10, 20, SEEN)),
        ('<points x="10" y="20">Fire truck</points>', Point(10, 20, SEEN)),
    ],
)
def test_what_the_formats_ask_for_is_read(text: str, place: Box | Point) -> None:
    (found,) = read(text, SEEN).findings
    assert isinstance(found, Finding)
    assert (found.place, found.label) == (place, "Fire truck")


@given(
    phrase=st.text(min_size=1, max_size=40),
    shape=st.sampled_from([BOX, POINT]),
    classes=st.lists(st.text(min_size=1, max_size=9), max_size=3).map(tuple),
    style=st.builds(
        PromptStyle,
        st.sampled_from(["auto", "en", "zh"]),
        st.sampled_from(["json", "plain", "xml"]),
        st.booleans(),
    ),
    around=st.sampled_from([None, CLICK, ROUGH]),
)
def test_any_phrase_and_any_name_stands_in_the_prompt_as_it_was_typed(
    phrase: str,
    shape: Shape,
    classes: tuple[str, ...],
    style: PromptStyle,
    around: Point | Box | None,
) -> None:
    query = Locate(shape, classes, phrase, around, style)
    text = write_prompt(query, SEEN)
    if one_by_one(phrase) is None:
        assert phrase in text
    if not style.raw and len(classes) > 1:
        assert all(name in text for name in classes)
    assert write_prompt(query, SEEN, strict=True).startswith(text)
    assert len(write_prompt(query, SEEN, strict=True)) > len(text)


@pytest.mark.parametrize(
    ("query", "prompts", "expected"),
    [
        (Locate(BOX, ("Car",)), "qwen2.5", True),
        (Locate(POINT, ("Car",)), "qwen3", True),
        (Locate(BOX, ("Car",), style=PromptStyle(answer_format="plain")), "qwen2.5", False),
        (Locate(POINT, ("Car",), style=PromptStyle(answer_format="xml")), "qwen2.5", False),
        (Locate(POINT, ("Car",), style=PromptStyle(answer_format="xml")), "qwen3", True),
        (Locate(BOX, ("Car",), "the red one"), "qwen2.5", True),
        (Locate(BOX, ("Car",), "Say hi", style=PromptStyle(raw=True)), "qwen2.5", False),
        (Locate(BOX, ("Car",), style=PromptStyle(raw=True)), "qwen2.5", True),
        (Fill(()), "qwen2.5", False),
    ],
)
def test_an_answer_lists_places_where_its_prompt_asks_for_json(
    query: Query, prompts: PromptSet, expected: bool
) -> None:
    assert lists_places(query, prompts) is expected


@pytest.mark.parametrize("prompts", ["qwen2.5", "qwen3"])
@pytest.mark.parametrize("written", ["json", "plain", "xml"])
@pytest.mark.parametrize("shape", [BOX, POINT])
def test_the_sketch_of_an_answer_is_read_as_two_places_of_the_name(
    shape: Shape, written: AnswerFormat, prompts: PromptSet
) -> None:
    query = Locate(shape, ("red car",), style=PromptStyle(answer_format=written))
    answer = read(sketch_answer(query, prompts), SEEN, True)
    assert [(f.label, type(f.place)) for f in answer.findings] == [
        ("red car", Box if shape is Shape.BOX else Point)
    ] * 2
