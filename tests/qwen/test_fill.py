"""The prompt for fields to fill in, and how its answers are read and scored."""

from __future__ import annotations

import json
import math
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from grounding.engines.base import Token
from grounding.geometry import Frame
from grounding.queries import Field, Fill, PromptStyle, ValueKind, ValueType
from grounding.qwen.answers import Verdict
from grounding.qwen.queries import read_answer, sketch_answer, write_prompt

SEEN = Frame("model", 560, 420)
WEATHER = Field("weather", ("sunny", "rainy"))
DEFECTS = Field("defects", ("dent", "scratch"), multiple=True)
ONE, BOTH = Fill((WEATHER,)), Fill((WEATHER, DEFECTS))

TYPED = (
    Field("total", type=ValueType(ValueKind.TEXT)),
    Field("amount", type=ValueType(ValueKind.NUMBER, 0)),
    Field("stars", type=ValueType(ValueKind.NUMBER, 1, 5, whole=True)),
    Field("day", type=ValueType(ValueKind.DATE, form="YYYY-MM-DD")),
    WEATHER,
)

PROMPTS = [
    pytest.param(
        BOTH,
        'Look at this image and answer with one JSON object: {"weather": "", "defects": []}. '
        '"weather" is one of "sunny", "rainy". "defects" is a list of any of "dent", "scratch". '
        "Write the values exactly as given, and null where the image does not show it.",
        id="one choice and several",
    ),
    pytest.param(
        Fill((Field("w", ("yes", "no"), prompt="Does it rain?"),)),
        'Look at this image and answer with one JSON object: {"w": ""}. "w": Does it rain? '
        '"w" is one of "yes", "no". '
        "Write the values exactly as given, and null where the image does not show it.",
        id="a prompt of the author's",
    ),
    pytest.param(
        Fill((Field("天气", ("晴", "雨")),)),
        '观察这张图片，用一个JSON对象回答：{"天气": ""}。"天气"是以下之一："晴"、"雨"。'
        "取值与引号中的文字完全一致；图中看不出的填null。",
        id="Chinese where the choices are",
    ),
    pytest.param(
        Fill((Field("w", ('5" pipe',)),), PromptStyle("en")),
        'Look at this image and answer with one JSON object: {"w": ""}. "w" is one of '
        '"5\\" pipe". '
        "Write the values exactly as given, and null where the image does not show it.",
        id="a quotation mark within a choice",
    ),
    pytest.param(
        Fill(TYPED),
        "Look at this image and answer with one JSON object: "
        '{"total": "", "amount": "", "stars": "", "day": "", "weather": ""}. '
        '"amount" is a number of at least 0, in digits and without a unit. '
        '"stars" is a whole number from 1 to 5. "day" is written as YYYY-MM-DD. '
        '"weather" is one of "sunny", "rainy". '
        "Write printed text exactly as it stands, choices exactly as given, "
        "and null for what the image does not show.",
        id="texts, numbers, dates and choices",
    ),
    pytest.param(
        Fill(
            (
                Field("g", type=ValueType(ValueKind.NUMBER, 0.25, 12_345_678)),
                Field("n", type=ValueType(ValueKind.NUMBER, -10_000_000, whole=True)),
            )
        ),
        'Look at this image and answer with one JSON object: {"g": "", "n": ""}. '
        '"g" is a number from 0.25 to 12345678, in digits and without a unit. '
        '"n" is a whole number of at least -10000000. '
        "Write printed text exactly as it stands, choices exactly as given, "
        "and null for what the image does not show.",
        id="bounds in all their digits",
    ),
    pytest.param(
        Fill(
            (
                Field("shop", prompt="The name of the shop", type=ValueType(ValueKind.TEXT)),
                Field("why", prompt="Why?", type=ValueType(ValueKind.TEXT)),
            )
        ),
        'Look at this image and answer with one JSON object: {"shop": "", "why": ""}. '
        '"shop": The name of the shop. "why": Why? '
        "Write printed text exactly as it stands, choices exactly as given, "
        "and null for what the image does not show.",
        id="words of the author end with a stop",
    ),
    pytest.param(
        Fill(TYPED[1:4], PromptStyle("zh")),
        '观察这张图片，用一个JSON对象回答：{"amount": "", "stars": "", "day": ""}。'
        '"amount"是一个不小于0的数字，不带单位。"stars"是一个从1到5的整数。'
        '"day"的格式为YYYY-MM-DD。'
        "印刷文字照原样填写，选项与引号中的文字完全一致；图中看不出的填null。",
        id="the same in Chinese",
    ),
    pytest.param(
        Fill((Field("发票代码", type=ValueType(ValueKind.TEXT)),)),
        '观察这张图片，用一个JSON对象回答：{"发票代码": ""}。'
        "印刷文字照原样填写，选项与引号中的文字完全一致；图中看不出的填null。",
        id="Chinese where the names are and nothing else is said",
    ),
]


@pytest.mark.parametrize(("query", "prompt"), PROMPTS)
def test_the_prompt_shows_the_object_and_what_each_field_may_hold(query: Fill, prompt: str) -> None:
    assert write_prompt(query, SEEN, "qwen2.5") == prompt


def test_the_second_prompt_demands_the_bare_object() -> None:
    strict = write_prompt(ONE, SEEN, "qwen2.5", strict=True)
    assert strict.endswith("Output the JSON object only, without any other word.")
    assert write_prompt(Fill((Field("a", ("晴",)),)), SEEN, "qwen3", strict=True).endswith(
        "只输出JSON对象，不要输出其他文字。"
    )


ANSWERS = [
    pytest.param('{"weather": "sunny"}', [("weather", "sunny")], id="an object"),
    pytest.param('```json\n{"weather": "sunny",}\n```', [("weather", "sunny")], id="in a fence"),
    pytest.param("{'weather': 'sunny'}", [("weather", "sunny")], id="a Python literal"),
    pytest.param('{"Weather": "Sunny"}', [("weather", "Sunny")], id="another case"),
    pytest.param('Here it is: {"weather": "sunny"}. Bye', [("weather", "sunny")], id="in prose"),
    pytest.param('{"answer": {"weather": "sunny"}}', [("weather", "sunny")], id="within an object"),
    pytest.param('[{"weather": "sunny"}]', [("weather", "sunny")], id="within a list"),
    pytest.param('{"weather": ["sunny"]}', [("weather", "sunny")], id="a list of one"),
    pytest.param('{"weather": 3}', [("weather", "3")], id="a number"),
    pytest.param('{"weather": true}', [("weather", "true")], id="a constant that may be a choice"),
    pytest.param(
        '{"weather": "rainy", "defects": ["dent", "scratch"]}',
        [("weather", "rainy"), ("defects", "dent"), ("defects", "scratch")],
        id="several values",
    ),
    pytest.param(
        '{"defects": "dent", "weather": null}', [("defects", "dent")], id="a null beside a value"
    ),
    pytest.param('{"weather": "sunny", "mood": "good"}', [("weather", "sunny")], id="a stray key"),
]


@pytest.mark.parametrize(("text", "values"), ANSWERS)
def test_the_values_of_the_fields_are_found_as_written(
    text: str, values: list[tuple[str, str]]
) -> None:
    answer = read_answer(BOTH, text, SEEN, complete=True)
    assert answer.verdict is Verdict.FOUND
    assert [(f.label, f.value) for f in answer.findings] == values
    assert all(text[slice(*f.span)].strip("\"'") == f.value for f in answer.findings)


ALIKE = Fill(tuple(Field(name, ("red", "blue")) for name in ("color1", "color_1", "size")))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"color1": "red", "color_1": "blue"}', {"color1": "red", "color_1": "blue"}),
        ('{"color_1": "blue", "color1": "red"}', {"color1": "red", "color_1": "blue"}),
        ('{"color_1": "blue"}', {"color_1": "blue"}),
        ('{"color_1": "blue", "more": {"color1": "red"}}', {"color1": "red", "color_1": "blue"}),
        ('{"Color1": "red", "Size": "blue"}', {"size": "blue"}),
        ('{"si_ze": "red", "size": "blue"}', {"size": "blue"}),
        ('{"color1": null, "color_1": "blue"}', {"color_1": "blue"}),
    ],
)
def test_names_that_differ_in_punctuation_only_are_kept_apart(
    text: str, values: dict[str, str]
) -> None:
    answer = read_answer(ALIKE, text, SEEN, complete=True)
    assert {finding.label: finding.value for finding in answer.findings} == values


@given(st.dictionaries(st.text("aA1_-.", min_size=1), st.sampled_from(["red", "blue"])))
def test_every_field_gets_the_value_under_its_very_name(values: dict[str, str]) -> None:
    query = Fill(tuple(Field(name, ("red", "blue")) for name in values))
    answer = read_answer(query, json.dumps(values), SEEN, complete=True)
    assert {finding.label: finding.value for finding in answer.findings} == values


@pytest.mark.parametrize("text", ["sunny", '"Sunny".', "```\nsunny\n```", "**sunny**"])
def test_a_single_field_may_be_answered_with_the_bare_value(text: str) -> None:
    (finding,) = read_answer(ONE, text, SEEN, complete=True).findings
    assert (finding.label, str(finding.value).casefold()) == ("weather", "sunny")


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"weather": null}', Verdict.NOTHING),
        ('{"weather": ""}', Verdict.NOTHING),
        ('{"weather": []}', Verdict.NOTHING),
        ("There is no weather in this image.", Verdict.NOTHING),
        ("I'm sorry, but I can't help with that.", Verdict.REFUSED),
        ("The sky is a deep blue.", Verdict.UNREADABLE),
        ('{"mood": "good"}', Verdict.UNREADABLE),
        ("", Verdict.UNREADABLE),
    ],
)
def test_an_answer_without_a_value_says_why(text: str, verdict: Verdict) -> None:
    answer = read_answer(ONE, text, SEEN, complete=True)
    assert (answer.verdict, answer.findings) == (verdict, ())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"weather": "sun', []),
        ('{"weather": "sunny"', []),
        ('{"weather": "sunny", "defects": ["dent", "scr', ["sunny"]),
        ('{"weather": "sunny", "def', ["sunny"]),
    ],
)
def test_what_the_end_may_have_cut_is_left_out(text: str, values: list[str]) -> None:
    answer = read_answer(BOTH, text, SEEN, complete=False)
    assert answer.verdict is Verdict.TRUNCATED
    assert [finding.value for finding in answer.findings] == values


def test_a_value_s_score_is_the_product_of_its_tokens_probabilities() -> None:
    text = '{"weather": "rainy"}'
    tokens = [Token(*m.span(), -0.1) for m in re.finditer(r"\w+|[^\w\s]+|\s+", text)]
    (finding,) = read_answer(ONE, text, SEEN, complete=True, tokens=tokens).findings
    assert finding.score == pytest.approx(math.exp(-0.3)), "the quotation marks are two of three"
    assert read_answer(ONE, text, SEEN, complete=True).findings[0].score is None


@given(st.text(), st.booleans())
def test_no_text_makes_the_reader_fail(text: str, complete: bool) -> None:
    read_answer(BOTH, text, SEEN, complete=complete)


@given(st.text(min_size=1).filter(lambda t: t.strip() and t.isprintable()))
@example("A car")
@example("a")
def test_any_printed_value_but_a_choice_s_letter_comes_back(value: str) -> None:
    assume(not re.fullmatch(r"\(?[A-Z][).:]?", value.strip()))
    text = json.dumps({"weather": value}, ensure_ascii=False)
    answer = read_answer(ONE, text, SEEN, complete=True)
    assert [f.value for f in answer.findings] == [value.strip()]


def test_the_sketch_of_an_answer_is_read_as_the_first_choice_of_each_field() -> None:
    query = Fill((WEATHER, DEFECTS))
    answer = read_answer(query, sketch_answer(query, "qwen2.5"), SEEN, complete=True)
    assert [(f.label, f.value) for f in answer.findings] == [
        ("weather", "sunny"),
        ("defects", "dent"),
    ]
