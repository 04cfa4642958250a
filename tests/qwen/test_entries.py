"""Names and values in lines, tables, elements and objects, and choices by letter or in a sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import THOUSAND
from grounding.queries import Field, Fill, ValueKind, ValueType
from grounding.qwen.answers import Verdict
from grounding.qwen.queries import read_answer
from grounding.qwen.reading.fields import fold
from tests.timing import cpu_seconds

TEXT, NUMBER = ValueType(ValueKind.TEXT), ValueType(ValueKind.NUMBER)
BOTH = {"name": "Anna", "date": "1 May"}


def fill(text: str, *names: str, kind: ValueType = TEXT) -> dict[str | None, str | None]:
    query = Fill(tuple(Field(name, type=kind) for name in names))
    answer = read_answer(query, text, THOUSAND, complete=True)
    return {finding.label: finding.value for finding in answer.findings}


NOTATIONS = [
    *("Name: Anna, Date: 1 May", "Name: Anna; Date: 1 May", "**Name:** Anna, **Date:** 1 May"),
    *(
        "Name: Anna | Date: 1 May",
        "Name = Anna, Date = 1 May",
        "“name”：“Anna”，“date”：“1 May”",
    ),
    *('name = "Anna"\ndate = "1 May"', "1. name - Anna\n2. date - 1 May"),
    *('"name": "Anna",\n"date": "1 May"', "<name>Anna</name>\n<date>1 May</date>"),
    *("| name | date |\n|---|---|\n| Anna | 1 May |", "| name | Anna |\n| date | 1 May |"),
    *("{name: Anna, date: 1 May}", '[["name", "Anna"], ["date", "1 May"]]'),
    '[{"field_name": "name", "field_value": "Anna"}, '
    '{"field_name": "date", "field_value": "1 May"}]',
    '{"name": {"value": "Anna", "confidence": 0.9}, "date": {"text": "1 May", "bbox": [1, 2]}}',
    '{"name": {"value": "Anna", "reason": "top left"}, "date": {"value": "1 May", "page": 1}}',
    '{"name": "Anna", "date": "1 May"}\nNote: prices were updated.\n{"tax": 1}',
]

CORRECTED = [
    '{"name": "Bob", "date": "1 May"}\n\nCorrected:\n{"name": "Anna", "date": "1 May"}',
    '{"name": "Bob", "date": "1 May"}\n\nThe corrected name:\n{"name": "Anna"}',
]


@pytest.mark.parametrize("text", [*NOTATIONS, *CORRECTED])
def test_two_fields_are_read_in_every_notation(text: str) -> None:
    assert fill(text, "name", "date") == BOTH


@pytest.mark.parametrize("text", NOTATIONS)
def test_no_cut_makes_a_value_of_its_own(text: str) -> None:
    query = Fill(tuple(Field(name, type=TEXT) for name in BOTH))
    for end in range(len(text)):
        answer = read_answer(query, text[:end], THOUSAND, complete=False)
        assert {(one.label, one.value) for one in answer.findings} <= BOTH.items()


@pytest.mark.parametrize(
    ("text", "names", "values"),
    [
        ("name: Smith, Anna\ndate: 1 May", ("name", "date"), {**BOTH, "name": "Smith, Anna"}),
        ("Ship - to: X", ("Ship - to",), {"Ship - to": "X"}),
        (
            '{"name": {"first": "A", "last": "B"}}',
            ("name",),
            {"name": '{"first": "A", "last": "B"}'},
        ),
        (
            '{"name": {"value": "5", "unit": "kg"}}',
            ("name",),
            {"name": '{"value": "5", "unit": "kg"}'},
        ),
        ('{"missing": ["name", "date"]}', ("name", "date"), {}),
        ("The name is Anna and the date is 1 May.", ("name", "date"), {}),
        ("name\nAnna\ndate\n1 May", ("name", "date"), {}),
        ('{"name": "Anna", "date": "—"}', ("name", "date"), {"name": "Anna"}),
        ('{"formula": "\\\\boxed{5}"}', ("formula",), {"formula": "\\boxed{5}"}),
    ],
)
def test_what_is_part_of_a_value_or_of_a_sentence_stays_so(
    text: str, names: tuple[str, ...], values: dict[str, str]
) -> None:
    assert fill(text, *names) == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"total": {"value": 12.5, "confidence": 0.9}}', "12.5"),
        ('{"total": {"amount": 12.5, "currency": "EUR"}}', "12.5"),
        ('{"total": {"net": 10, "gross": 12.5}}', None),
        ('{"total": {"value": null, "confidence": 0.1}}', None),
        ('{"total": {"confidence": 0.9, "note": "not visible"}}', None),
        ('{"total": {"amount": 12.5, "page": 2}}', "12.5"),
        (r"\boxed{12.5}", "12.5"),
    ],
)
def test_a_number_is_the_only_one_of_its_object(text: str, value: str | None) -> None:
    assert fill(text, "total", kind=NUMBER).get("total") == value


def test_a_null_with_its_confidence_is_nothing() -> None:
    query = Fill((Field("total", type=TEXT), Field("date", type=TEXT)))
    text = '{"total": {"value": null, "confidence": 0.1}, "date": null}'
    assert read_answer(query, text, THOUSAND, complete=True).verdict is Verdict.NOTHING


words = st.text("abc XYZ'", min_size=1, max_size=8).map(lambda one: f"v{one}".strip(" '"))


@given(words, words)
def test_what_is_written_as_lines_is_read_back(one: str, two: str) -> None:
    for form in ("name: {}\ndate: {}", "- **name**: {}\n- **date**: {}", "name: {}, date: {}"):
        assert fill(form.format(one, two), "name", "date") == {"name": one, "date": two}


@pytest.mark.parametrize(
    "said",
    [
        *("N/A", "n.a.", "None.", "(none)", "[null]", "<null>", "NaN", "—", "–", "/", "???", "…"),
        *("Not Available.", "not visible in the image", "Not clearly legible", "not mentioned"),
        *(
            "None found",
            "unable to read",
            "unclear",
            "N/A（不可见）",
            "n/a (cut off)",
            "无。",
            "不详",
        ),
        *(
            "图中未显示",
            "未注明",
            "看不清楚",
            "non visible",
            "no disponible",
            "não disponível",
            "なし",
        ),
        *("no text", "unreadable", "Cannot be determined", "can't be read"),
        *(
            "不可见",
            "未提及",
            "看不清",
            "无法辨认",
            "空白",
            "keine Angabe",
            "nicht lesbar",
            "k. A.",
        ),
    ],
)
def test_nothing_there_in_any_words_is_no_text(said: str) -> None:
    answer = json.dumps({"total": said, "date": "1 May"}, ensure_ascii=False)
    assert fill(answer, "total", "date") == {"date": "1 May"}


# Choices


ANIMALS = ("cat", "dog", "bird")


def choose(text: str, *choices: str, multiple: bool = False) -> list[str | None]:
    query = Fill((Field("kind", choices or ANIMALS, multiple),))
    answer = read_answer(query, text, THOUSAND, complete=True)
    assert all(0 <= f.span[0] < f.span[1] <= len(text) for f in answer.findings)
    return [finding.value for finding in answer.findings]


@pytest.mark.parametrize(
    "text",
    [
        *("B", "b", "B.", "(B)", "**B**", "$B$", "B: dog", "Option B: dog", "Answer: (B)"),
        *("The answer is B.", "The correct option is (B).", "The correct answer is option B."),
        *("I would choose option B", "答案是B", "答案为(B)", "正确选项是 B。", "故选：B。", "选B"),
        *(r"\boxed{B}", r"$\boxed{\text{B}}$", r"So \boxed{dog}.", "<answer>B</answer>"),
        *(
            "dog\n\nExplanation: it is larger than a cat.",
            "这是一只dog。",
            "It is no cat\nbut a dog",
        ),
        *("It is a dog - not a cat.", "dog: no cat is to be seen", "Not option A, but option B."),
    ],
)
def test_a_choice_is_read_by_its_letter_and_by_its_name(text: str) -> None:
    assert choose(text) == ["dog"]


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        *[("D", ()), ("Answer: D", ()), ("The answer is A or B.", ()), ("A. cat\nB. dog", ())],
        *[("wolf", ()), ("hotdog", ()), ("Not a cat.", ()), ("The answer is A cat-like thing", ())],
        *[("不正常", ("正常", "异常")), ("不太正常", ("正常", "异常")), ("没有", ("有", "无"))],
        *[("non-cat", ()), ("It doesn't look like a cat", ()), ("free of cat hair", ())],
        *[('{"c', ()), ("<a", ())],
        *[("未通过", ("通过", "失败")), ("cat: no", ()), ("- [ ] cat", ()), ("A, C", ())],
        *[("It is not option B.", ()), ("Don't choose the option B.", ()), ("不选B", ())],
        *[("不应选B", ()), ("cat: not visible", ()), ("cat - no.", ())],
    ],
)
def test_what_is_denied_or_names_several_or_none_is_no_choice(
    text: str, choices: tuple[str, ...]
) -> None:
    assert choose(text, *choices) == []


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        *[("A, C", ["cat", "bird"]), ("AC", ["cat", "bird"]), ("(A), (C)", ["cat", "bird"])],
        *[("A and C", ["cat", "bird"]), ("Answer: A, C", ["cat", "bird"]), ("B", ["dog"])],
        *[("答案：AC", ["cat", "bird"]), ("A、C", ["cat", "bird"]), ("CA", []), ("AD", [])],
        ("- [x] cat\n- [ ] dog\n- [x] bird", ["cat", "bird"]),
        ("☑ cat\n☐ dog\n☑ bird", ["cat", "bird"]),
        ("cat: yes\ndog: no\nbird: yes", ["cat", "bird"]),
        ("| cat | yes |\n| dog | no |", ["cat"]),
        ("cat: 0.95\ndog: 0\nbird: 0.0", ["cat"]),
        ("cat and dog, but no bird", ["cat", "dog"]),
    ],
)
def test_several_choices_are_read_by_their_letters_and_ticks(text: str, chosen: list[str]) -> None:
    assert choose(text, multiple=True) == chosen


@given(
    st.text() | st.lists(st.sampled_from([*"ABCD,、。()[]", "cat", "not ", "answer "])).map("".join)
)
def test_only_choices_are_chosen_whatever_the_text(text: str) -> None:
    for multiple in (True, False):
        assert {fold(str(one)) for one in choose(text, multiple=multiple)} <= {*ANIMALS}


# Speed


PIECES = [
    "name: a, ",
    "a = b\n",
    "<a>",
    "| a ",
    "| name | date |\n",
    "a - b\n",
    '[["a", "b"],',
    "“",
]
PIECES += ["A, ", "answer A ", "不", "[ ] ", "cat ", "选A", "not ", " "]


@pytest.mark.parametrize("piece", PIECES)
def test_a_long_answer_takes_time_in_proportion_to_its_length(piece: str) -> None:
    def read(text: str) -> None:
        fill(text, "name", "date")
        choose(text, multiple=True)

    def cost(chars: int) -> float:
        return cpu_seconds(lambda: read(piece * (chars // len(piece))))

    assert cost(64_000) < 40 * max(cost(8_000), 0.01)
