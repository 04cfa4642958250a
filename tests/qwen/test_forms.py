"""The values of fields in every notation: the cookbooks' answers, their siblings, any text."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import THOUSAND
from grounding.queries import Field, Fill, ValueKind, ValueType
from grounding.qwen.answers import Verdict
from grounding.qwen.queries import read_answer

from .test_answers import COOKBOOKS, RowOf

TEXT, PATH = ValueType(ValueKind.TEXT), ValueType(ValueKind.PATH)
NUMBER = ValueType(ValueKind.NUMBER)
STARS = ValueType(ValueKind.NUMBER, 1, 5, whole=True)
DAY, MOMENT = (ValueType(ValueKind.DATE, form=x) for x in ("YYYY-MM-DD", "YYYY-MM-DDTHH:MM"))
MONTH, YEAR = (ValueType(ValueKind.DATE, form=x) for x in ("YYYY-MM", "YYYY"))
CLOCK = ValueType(ValueKind.DATE, form="HH:MM")

KIE = [row for row in COOKBOOKS if "fields" in row["expected"]]
RECOGNITION = [
    row for row in COOKBOOKS if row["use"] == "recognition" and "choices" in row["given"]
]


def values_of(query: Fill, text: str, *, complete: bool = True) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for finding in read_answer(query, text, THOUSAND, complete=complete).findings:
        found.setdefault(str(finding.label), []).append(finding.value)
    return found


def texts(*names: str) -> Fill:
    return Fill(tuple(Field(name, type=TEXT) for name in names))


def as_text(value: Any) -> str:
    """Return a field's value as a text area would hold it: nested values in JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("row", KIE, ids=lambda row: row["id"])
def test_the_fields_of_the_cookbooks_are_read_exactly(row: RowOf) -> None:
    expected = {k: v for k, v in row["expected"]["fields"].items() if v is not None}
    query = texts(*row["given"]["keys"])
    answer = read_answer(query, row["text"], THOUSAND, complete=True)
    assert {f.label: f.value for f in answer.findings} == {
        k: as_text(v) for k, v in expected.items()
    }
    assert answer.verdict == row["expected"]["verdict"]


@pytest.mark.parametrize("row", RECOGNITION, ids=lambda row: row["id"])
def test_the_choices_of_the_cookbooks_are_read_exactly(row: RowOf) -> None:
    given_ = row["given"]
    field = Field("kind", tuple(given_["choices"]), given_.get("multiple", False))
    answer = read_answer(Fill((field,)), row["text"], THOUSAND, complete=True)
    assert [f.value for f in answer.findings] == row["expected"]["choices"]
    assert answer.verdict == row["expected"]["verdict"]


VEHICLE = Field("kind", ("car", "bus", "race car"))
SEVERAL = Field("kind", ("rain", "fog"), multiple=True)
TOTAL_DATE = texts("total", "date")

SIBLINGS = [
    ('{"fields": [{"name": "total", "value": "8.75"}]}', {"total": ["8.75"]}),
    ('{"total": {"value": "8.75", "unit": "RM"}}', {"total": ['{"value": "8.75", "unit": "RM"}']}),
    ("total: 8.75\ndate: 1 May", {"total": ["8.75"], "date": ["1 May"]}),
    ("**Total:** 8.75\n**Date:** 1 May 18:41", {"total": ["8.75"], "date": ["1 May 18:41"]}),
    ("1. Total: 8.75\n2. Date: n/a", {"total": ["8.75"]}),
    ("| Field | Value |\n|---|---|\n| total | 8.75 |", {"total": ["8.75"]}),
    ("Total： 8.75", {"total": ["8.75"]}),
    ('{"total": "8.75", "date": "not visible"}', {"total": ["8.75"]}),
    ('{"total": ["8.75", "8.76"]}', {"total": ["8.75\n8.76"]}),
    ('{"total": "No smoking", "date": "None"}', {"total": ["No smoking"]}),
    ('{"a": {"b": {"total": "8.75"}}}', {"total": ["8.75"]}),
    ('<answer>{"total": "8.75"}</answer>', {"total": ["8.75"]}),
    ('{"totals": "8.75"}', {}),
    ("The total is 8.75.", {}),
]


@pytest.mark.parametrize(("text", "values"), SIBLINGS)
def test_every_notation_of_fields_is_read_and_none_is_guessed(
    text: str, values: dict[str, list[str]]
) -> None:
    assert values_of(TOTAL_DATE, text) == values


def test_several_choices_in_one_text_are_each_one() -> None:
    query = Fill((SEVERAL, Field("other", type=TEXT)))
    assert values_of(query, '{"kind": "rain, fog"}') == {"kind": ["rain", "fog"]}


PEOPLE = Field("who", ("Smith, John", "Smith", "Doe, Jane", "John"), multiple=True)


@pytest.mark.parametrize(
    ("said", "chosen"),
    [
        ("Smith, John", ["Smith, John"]),
        ("smith, john, doe, jane", ["Smith, John", "Doe, Jane"]),
        ("Doe, Jane; Smith and John", ["Doe, Jane", "Smith", "John"]),
        ("Doe, Jane and Smith, John", ["Doe, Jane", "Smith, John"]),
        ("Doe, Jane, and John", ["Doe, Jane", "John"]),
        ("Doe, Jill", ["Doe, Jill"]),
        ("Smithson, John", ["Smithson, John"]),
    ],
)
def test_a_list_of_choices_with_commas_is_taken_apart_at_the_others(
    said: str, chosen: list[str]
) -> None:
    assert values_of(Fill((PEOPLE, TOTAL_DATE.fields[0])), json.dumps({"who": said})) == {
        "who": chosen
    }


@pytest.mark.parametrize("said", ["Nan", "NAN", "No Name", "Blank", "No Data", "EMPTY", "No date"])
def test_a_name_that_may_mean_nothing_is_a_text_but_no_number_and_no_date(said: str) -> None:
    fields = (TOTAL_DATE.fields[0], Field("n", type=NUMBER), Field("d", type=DAY))
    answer = json.dumps(dict.fromkeys(("total", "n", "d"), said))
    assert values_of(Fill(fields), answer) == {"total": [said]}


@pytest.mark.parametrize(
    ("name", "answer", "moment"),
    [
        ("date", {"date": "2018-06-12", "time": "18:41"}, "2018-06-12T18:41"),
        ("when", {"year": 2018, "month": 6, "day": 12}, "2018-06-12T00:00"),
        ("date", {"date": "2018-06-12", "time": None}, "2018-06-12T00:00"),
        ("year", {"year": "2018", "make": "Ford"}, "2018"),
    ],
)
def test_the_parts_of_the_one_date_may_be_the_whole_answer(
    name: str, answer: dict[str, Any], moment: str
) -> None:
    query = Fill((Field(name, type=MOMENT),))
    assert values_of(query, json.dumps(answer)) == {name: [moment]}


@pytest.mark.parametrize("said", ["(empty)", "[blank]", "(no date)", "[No data]", "<missing>"])
def test_nothing_in_brackets_is_no_text(said: str) -> None:
    assert values_of(TOTAL_DATE, json.dumps({"total": said, "date": "1 May"})) == {
        "date": ["1 May"]
    }


@pytest.mark.parametrize(
    "said", ["No smoking", "Not for sale", "Empty promises", "N. A. Smith", "24/7", "无锡", "(5)"]
)
def test_what_only_begins_like_nothing_is_a_text(said: str) -> None:
    assert values_of(TOTAL_DATE, json.dumps({"total": said})) == {"total": [said]}


def test_fields_that_differ_in_punctuation_only_are_told_apart_by_the_same_name() -> None:
    query = texts("C", "C++", "日期", "日-期")
    answer = '{"C": "1", "C++": "2", "c": "3", "日期": "4"}'
    assert values_of(query, answer) == {"C": ["1"], "C++": ["2"], "日期": ["4"]}


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (NUMBER, "8.75", "8.75"),
        (NUMBER, '"RM 1,234.50"', "1234.5"),
        (NUMBER, '"12,50 €"', "12.5"),
        (NUMBER, '"17,000"', "17000"),
        (NUMBER, '"seventeen"', "17"),
        (NUMBER, "7.0", "7"),
        (NUMBER, '"十二个"', "12"),
        (NUMBER, '"二十"', "20"),
        (NUMBER, '"三"', "3"),
        (NUMBER, '"三五"', "三五"),
        (NUMBER, '"20 to 25"', "20 to 25"),
        (NUMBER, '"R-2031"', "R-2031"),
        (NUMBER, '"1.234,56 €"', "1234.56"),
        (NUMBER, '"1 234,56"', "1234.56"),
        (NUMBER, '"1\'234.50"', "1234.5"),
        (NUMBER, '"1.234,-"', "1234"),
        (NUMBER, '"12.-"', "12"),
        (NUMBER, '"0,125"', "0.125"),
        (NUMBER, '"(1,234.50)"', "-1234.5"),
        (NUMBER, '"$(5.00)"', "-5"),
        (NUMBER, '"(3)"', "(3)"),
        (NUMBER, '"Tax (8.50)"', "8.5"),
        (NUMBER, '"-$5.00"', "-5"),
        (NUMBER, '"−5"', "-5"),
        (NUMBER, '"-USD 5"', "-5"),
        (NUMBER, '"minus five"', "-5"),
        (NUMBER, '"负5"', "-5"),
        (NUMBER, '"- 5"', "- 5"),
        (NUMBER, '"5-"', "5-"),
        (NUMBER, '"½"', "0.5"),
        (NUMBER, '"2½"', "2.5"),
        (NUMBER, '"1 1/2"', "1.5"),
        (NUMBER, '"1/2"', "1/2"),
        (NUMBER, '"two hundred and five"', "205"),
        (NUMBER, '"one thousand two hundred"', "1200"),
        (NUMBER, '"two million"', "2000000"),
        (NUMBER, '"twenty five"', "25"),
        (NUMBER, '"a dozen"', "12"),
        (NUMBER, '"five or six"', "five or six"),
        (NUMBER, '"five six"', "five six"),
        (NUMBER, '"2.5 million"', "2500000"),
        (NUMBER, '"1.5k"', "1500"),
        (NUMBER, '"12 kg"', "12"),
        (NUMBER, '"1.2万"', "12000"),
        (NUMBER, '"3 Mio."', "3000000"),
        (NUMBER, '"$1.5m"', "$1.5m"),
        (NUMBER, '"1.5 m"', "1.5"),
        (NUMBER, '"3x4"', "3x4"),
        (NUMBER, '"1_000"', "1000"),
        (NUMBER, '"RM8.75"', "8.75"),
        (NUMBER, '"1,23,456"', "1,23,456"),
        (NUMBER, "true", "true"),
        (STARS, '"4/5"', "4"),
        (STARS, '"4 out of 5 stars"', "4"),
        (STARS, '"4 of 10"', "4 of 10"),
        (STARS, '"★★★☆☆"', "3"),
        (NUMBER, '"★★★½"', "3.5"),
        (STARS, '"★★★½☆"', "3.5"),
        (NUMBER, "1e3", "1000"),
        (NUMBER, '"at least 3"', "at least 3"),
        (NUMBER, '"over 100"', "over 100"),
        (NUMBER, '"up to 5 kg"', "up to 5 kg"),
        (DAY, '"1/Jun/2018"', "2018-06-01T00:00"),
        (DAY, '"Jun-01-2018"', "2018-06-01T00:00"),
        (CLOCK, '"14:33-15:00"', "14:33-15:00"),
        (NUMBER, "1e400", "1e400"),
        (DAY, '{"year": 2018, "month": 6, "day": 1}', "2018-06-01T00:00"),
        (DAY, '{"day": "1", "month": "June", "year": "2018"}', "2018-06-01T00:00"),
        (MOMENT, '{"date": "2018-06-12", "time": "18:41"}', "2018-06-12T18:41"),
        (MOMENT, '{"date": "12 June 2018", "time": "6:41", "am/pm": "PM"}', "2018-06-12T18:41"),
        (MOMENT, '{"date": "2018-06-12", "time": null}', "2018-06-12T00:00"),
        (CLOCK, '{"date": "2018-06-12", "time": "18:41"}', "18:41"),
        (CLOCK, '{"hour": 18, "minute": 41}', "18:41"),
        (CLOCK, '{"hour": 6, "minute": 5, "second": 0, "period": "PM"}', "18:05"),
        (
            MOMENT,
            '{"year": 2018, "month": 6, "day": 12, "hour": 18, "minute": 5}',
            "2018-06-12T18:05",
        ),
        (DAY, '["2018-06-01"]', "2018-06-01T00:00"),
        (DAY, '{"value": "2018-06-01"}', "2018-06-01T00:00"),
        (DAY, '{"year": 2018, "month": "June"}', "June 2018"),
        (MONTH, '{"year": 2018, "month": "June"}', "2018-06-01T00:00"),
        (MONTH, '"May 2018"', "2018-05-01T00:00"),
        (MONTH, '"17 May 2018"', "2018-05-01T00:00"),
        (MONTH, "2018", "2018"),
        (YEAR, "2018", "2018-01-01T00:00"),
        (YEAR, '"May 2018"', "2018-01-01T00:00"),
        (YEAR, '"17.05.2018"', "2018-01-01T00:00"),
        (DAY, "2018", "2018"),
        (DAY, '"May 2018"', "May 2018"),
        (MOMENT, '"2018年5月"', "2018年5月"),
        (DAY, '"01 Jun 2018"', "2018-06-01T00:00"),
        (DAY, '"05.01.2024"', "2024-01-05T00:00"),
        (DAY, '"06/05/2024"', "06/05/2024"),
        (DAY, '"Fri, 1 June 2018"', "2018-06-01T00:00"),
        (DAY, '"June 1st, 2018"', "2018-06-01T00:00"),
        (DAY, '"Freitag, 1. Juni 2018"', "2018-06-01T00:00"),
        (DAY, '"2018-06-01 (Fri)"', "2018-06-01T00:00"),
        (DAY, '"2018年6月1日 星期五"', "2018-06-01T00:00"),
        (DAY, '"20180601"', "2018-06-01T00:00"),
        (DAY, '"06/2018"', "06/2018"),
        (MONTH, '"06/2018"', "2018-06-01T00:00"),
        (DAY, '"20181301"', "20181301"),
        (MOMENT, '"01 Jun 2018 18:41"', "2018-06-01T18:41"),
        (MOMENT, '"2018-06-01T18:41:05"', "2018-06-01T18:41"),
        (CLOCK, '"6:41 PM"', "18:41"),
        (MOMENT, '"18:41, 1 June 2018"', "2018-06-01T18:41"),
        (MOMENT, '"2018-06-01T18:41:05+02:00"', "2018-06-01T18:41"),
        (MOMENT, '"2018年6月1日 下午6:41"', "2018-06-01T18:41"),
        (MOMENT, '"1. Jänner 2018, 18 Uhr"', "2018-01-01T18:00"),
        (MOMENT, '"01 Jun 2018 25:10"', "01 Jun 2018 25:10"),
        (MOMENT, '"12.04.88"', "12.04.88"),
        (CLOCK, '"3.30 pm"', "15:30"),
        (CLOCK, '"3 p.m."', "15:00"),
        (CLOCK, '"15h30"', "15:30"),
        (CLOCK, '"18.41"', "18:41"),
        (CLOCK, '"下午3点半"', "15:30"),
        (CLOCK, '"13:30 pm"', "13:30 pm"),
        (CLOCK, '"RM 18.41"', "RM 18.41"),
        (CLOCK, '"6:41 in the evening"', "6:41 in the evening"),
        (CLOCK, '"25:00"', "25:00"),
        (CLOCK, '"18.41 Uhr"', "18:41"),
        (PATH, '["Animal", "Bird"]', "Animal / Bird"),
        (PATH, '"Animal > Bird"', "Animal > Bird"),
    ],
)
def test_a_typed_value_gets_one_spelling_and_stays_as_written_where_it_is_none(
    kind: ValueType, written: str, value: str
) -> None:
    query = Fill((Field("v", ("Animal / Bird", "Plant"), type=kind),))
    assert values_of(query, f'{{"v": {written}}}') == {"v": [value]}


@pytest.mark.parametrize(
    "parts",
    [
        *({"year": 2018, "day": 1}, {"year": 2018, "quarter": 2}, {"hour": 6}),
        *({"hour": 6, "minute": 41, "half": "PM"}, {"year": 2018, "minute": 41}),
    ],
)
def test_parts_that_are_no_date_are_none(parts: dict[str, int]) -> None:
    query = Fill((Field("v", type=DAY), TOTAL_DATE.fields[0]))
    assert values_of(query, json.dumps({"v": parts, "total": "8.75"})) == {"total": ["8.75"]}


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ('[["Animal", "Bird"], ["Plant"]]', ["Animal / Bird", "Plant"]),
        ('["Animal", "Bird"]', ["Animal / Bird"]),
        ('["Animal / Bird", "Plant"]', ["Animal / Bird", "Plant"]),
    ],
)
def test_several_paths_are_lists_of_names_or_names_with_signs(
    written: str, values: list[str]
) -> None:
    query = Fill((Field("v", ("Animal / Bird", "Plant"), multiple=True, type=PATH),))
    assert values_of(query, f'{{"v": {written}}}') == {"v": values}


@pytest.mark.parametrize(
    ("field", "text", "values"),
    [
        (VEHICLE, "(B)", ["bus"]),
        (VEHICLE, "B", ["bus"]),
        (VEHICLE, "C. race car", ["race car"]),
        (VEHICLE, "It is a race car.", ["race car"]),
        (VEHICLE, "A car or a bus.", []),
        (VEHICLE, "It is not a bus but a car.", ["car"]),
        (VEHICLE, "a carpet", []),
        (VEHICLE, '{"answer": "bus"}', ["bus"]),
        (VEHICLE, "Z.", []),
        (SEVERAL, "There is rain and fog.", ["rain", "fog"]),
        (SEVERAL, "There is rain, but no fog.", ["rain"]),
        (SEVERAL, "Rain is present. Fog is not.", ["Rain"]),
        (SEVERAL, "rain (present), fog (absent)", ["rain"]),
        (SEVERAL, "rain: yes\nfog: no", ["rain"]),
        (SEVERAL, "Fog and rain are not visible.", []),
        (SEVERAL, "rain: no, fog: yes", ["fog"]),
        (SEVERAL, "✅ rain\n❌ fog", ["rain"]),
        (Field("k", ("Type B", "Type A")), "Answer: A", ["Type A"]),
        (Field("k", ("A car", "A bus")), "B", ["A bus"]),
        (Field("d", type=DAY), "The date is 1 June 2018.", ["2018-06-01T00:00"]),
        (
            Field("d", type=DAY),
            "The dates are 1 June 2018 and 2 June 2018.",
            ["The dates are 1 June 2018 and 2 June 2018."],
        ),
        (Field("s", type=STARS), "I would rate it **4 out of 5**.", ["4"]),
        (VEHICLE, "Is it a bus? No.", []),
        (VEHICLE, "Bus? No, it's a car.", ["car"]),
        (VEHICLE, "A bus is not visible.", []),
        (VEHICLE, "The car is not red.", ["car"]),
        (VEHICLE, "There is no doubt that it is a bus.", ["bus"]),
        (Field("kind", ("是", "否")), "答案：否", ["否"]),
        (Field("v", ("Yes", "No")), "Yes, there is no problem.", ["Yes"]),
        (Field("v", ("Yes", "No")), "No: nobody says yes", ["No"]),
        (Field("t", type=TEXT), "Auntie Anne's\n1 x 17,000", ["Auntie Anne's\n1 x 17,000"]),
        (Field("t", type=TEXT), "There is no text in the image.", []),
        (Field("t", type=TEXT), "NO PARKING", ["NO PARKING"]),
        (Field("t", type=TEXT), '{"other": "x"}', []),
        (Field("t", type=TEXT), "[]", []),
        (Field("n", type=NUMBER), "There are **seventeen** (17) screws.", ["17"]),
    ],
)
def test_one_field_alone_may_be_answered_in_a_sentence(
    field: Field, text: str, values: list[str]
) -> None:
    assert values_of(Fill((field,)), text).get(field.name, []) == values


@pytest.mark.parametrize(
    "said",
    [
        "I cannot read it",
        "I can't tell if it says STOP or SHOP",
        "We are unable to find the company",
        "I'm sorry, it is not visible",
        "The company name is not visible in the image.",
        "The text is illegible",
    ],
)
def test_a_sentence_that_the_value_cannot_be_seen_is_no_value(said: str) -> None:
    query = texts("company", "total")
    assert values_of(query, json.dumps({"company": said, "total": "8"})) == {"total": ["8"]}


@pytest.mark.parametrize(
    "said",
    [
        "The door is not visible",
        "Not just bread",
        "I cannot complain",
        "I cannot tell a lie",
        "We can't see the wood for the trees",
    ],
)
def test_a_sentence_about_anything_else_is_a_text(said: str) -> None:
    assert values_of(texts("company"), json.dumps({"company": said})) == {"company": [said]}


@pytest.mark.parametrize(
    ("field", "written", "values"),
    [
        (VEHICLE, '"B"', ["bus"]),
        (VEHICLE, '"(C)"', ["race car"]),
        (VEHICLE, '"D"', ["D"]),
        (SEVERAL, '["A", "B"]', ["rain", "fog"]),
        (SEVERAL, '"rain/fog"', ["rain", "fog"]),
        (SEVERAL, '"rain | fog"', ["rain", "fog"]),
        (Field("kind", ("B", "A")), '"A"', ["A"]),
        (Field("kind", ("Type B", "Type A")), '"A"', ["Type A"]),
        (Field("kind", ("b", "a")), '"A"', ["a"]),
        (Field("kind", ("vitamin b", "vitamin a")), '"A"', ["vitamin a"]),
    ],
)
def test_letters_and_lists_in_an_object_are_choices(
    field: Field, written: str, values: list[str]
) -> None:
    query = Fill((field, TOTAL_DATE.fields[0]))
    assert values_of(query, f'{{"kind": {written}, "total": "8"}}')["kind"] == values


def test_a_second_thought_between_two_objects_replaces_the_value() -> None:
    said = '{"total": "8.75"}\n\nWait, the total is 9.75:\n{"total": "9.75"}'
    assert values_of(TOTAL_DATE, said) == {"total": ["9.75"]}


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ('{"rain": true, "fog": false}', ["rain"]),
        ('{"rain": "yes", "fog": "No"}', ["rain"]),
        ('{"rain": 0, "fog": 1}', ["fog"]),
        ('{"rain": false, "fog": null}', []),
        ('{"rain": 0.9, "fog": 0.1}', ["0.9", "0.1"]),
    ],
)
def test_choices_with_a_yes_or_no_each_are_those_with_a_yes(
    written: str, values: list[str]
) -> None:
    query = Fill((SEVERAL, TOTAL_DATE.fields[0]))
    read = values_of(query, f'{{"{SEVERAL.name}": {written}, "total": "8.75"}}')
    assert read.get(SEVERAL.name, []) == values


def test_a_line_at_the_cut_end_is_left_out() -> None:
    assert values_of(TOTAL_DATE, "total: 8.75\ndate: 1 Ma", complete=False) == {"total": ["8.75"]}


def test_a_long_answer_takes_time_in_proportion_to_its_length() -> None:
    names = [f"field {n}" for n in range(100)]
    pieces = ["- **name**: x | y\n", '{"a": [', "| a ", "name", "(A) not ", "1,", "： "]
    for piece in pieces:
        begun = time.process_time()
        values_of(texts(*names), piece * (100_000 // len(piece)))
        assert time.process_time() - begun < 5, piece


KINDS = [TEXT, NUMBER, STARS, DAY, MOMENT, CLOCK, PATH, ValueType()]


@given(st.text(), st.sampled_from(KINDS), st.booleans(), st.booleans())
def test_no_text_makes_the_reader_fail(
    text: str, kind: ValueType, multiple: bool, complete: bool
) -> None:
    query = Fill((Field("v", ("a", "b / c"), multiple, type=kind),))
    for wrapped in (text, f'{{"v": "{text}"}}', f"v: {text}"):
        answer = read_answer(query, wrapped, THOUSAND, complete=complete)
        assert bool(answer.findings) <= (answer.verdict in (Verdict.FOUND, Verdict.TRUNCATED))
        assert all(0 <= f.span[0] < f.span[1] <= len(wrapped) for f in answer.findings)
