"""Values that the picture's text lacks are marked, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grounding.labelstudio.checking import MARK, is_dated, is_printed
from tests.labelstudio.configs import BOXES, area, config, having
from tests.test_pipeline import CAR, InlineEngine, grounded

SHOP = area("shop", 'model_task="fill" model_check="true"')
SUM = '<Number name="sum" toName="image" model_check="true"/>'
PLATE = area("plate", 'perRegion="true" model_prompt="The plate" model_check="true"')
PRINTED = "UNIHAKKA\nInternational Sdn Bhd\nTotal RM 1,234.50"


def engine(printed: str = PRINTED, **values: Any) -> InlineEngine:
    """Return an engine that says these values, and reads this text."""

    def say(text: str) -> str:
        if text.startswith("Read"):
            return printed
        if "JSON object" in text:
            return json.dumps(values)
        return CAR if "'Car'" in text else "[]"

    return InlineEngine(say)


def notes(result: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {one["from_name"]: one.get("meta", {}).get("text", []) for one in result}


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ("Unihakka International", True),
        ("UNIHAKKA  INTERNATIONAL, SDN. BHD.", True),
        ("Bhd Sdn", False),
        (1234.5, True),
        (1234, False),
        (1, False),
    ],
)
def test_words_are_compared_without_case_and_spaces_and_numbers_by_their_value(
    said: str | float, printed: bool
) -> None:
    assert is_printed(said, PRINTED) is printed


def test_a_number_that_may_be_read_two_ways_is_there_in_both() -> None:
    assert is_printed(17000, "17,000")
    assert is_printed(12.5, "12,50 €")


@pytest.mark.parametrize(
    ("moment", "text", "dated"),
    [
        ("2018-06-01", "Date: 01 Jun 2018", True),
        ("2018-06-01", "01/06/18  Invoice 7", True),
        ("2018-06-01", "06.01.2018", True),
        ("2018-06-01", "20180601", True),
        ("2018-06-01", "2018年6月1日", True),
        ("2018-06-01", "June 1st, 2018", True),
        ("2018-03-01", "1. März 2018", True),
        ("01.06.2018", "2018-06-01", True),
        ("2018-06-01", "01 Jul 2018", False),
        ("2018-06-01", "01/06/19", False),
        ("2018-06-01", "no date", False),
        ("2018-06", "06/2018", True),
        ("2018", "(c) 2018", True),
        ("2018", "(c) 2019", False),
        ("2018-06-01T18:41", "01 Jun 2018 6:41 PM", True),
        ("2018-06-01T18:41", "01 Jun 2018 6:42 PM", False),
        ("18:41", "18.41 Uhr", True),
        ("18:41", "8:41", False),
        ("00:05", "12:05 am", True),
    ],
)
def test_a_date_is_there_in_any_usual_spelling(moment: str, text: str, dated: bool) -> None:
    assert is_dated(moment, text) is dated


def test_a_date_that_is_not_printed_is_marked() -> None:
    day = '<DateTime name="day" toName="image" only="date" model_check="true"/>'
    for printed, note in (("On 01 Jun 2018", []), ("On 02 Jun 2018", [MARK])):
        result = grounded(engine(printed, day="2018-06-01"), day).prediction["result"]
        assert notes(result) == {"day": note}


def test_a_value_that_is_not_printed_is_marked_and_stays() -> None:
    asked = engine(shop="Tesco", sum=1234.5)
    result = grounded(asked, SHOP, SUM).prediction["result"]
    assert notes(result) == {"shop": [MARK], "sum": []}
    assert [one["value"] for one in result] == [{"text": ["Tesco"]}, {"number": 1234.5}]
    assert sum(one.text.startswith("Read") for one in asked.requests) == 1, "one reading for both"


def test_a_region_has_the_note_on_its_value() -> None:
    result = grounded(engine(plate="AB 12"), BOXES, PLATE).prediction["result"]
    assert notes(result) == {"box": [MARK], "plate": [MARK]}
    right = grounded(engine(plate="rm 1,234.50"), BOXES, PLATE).prediction["result"]
    assert notes(right) == {"box": [], "plate": []}


@pytest.mark.parametrize("printed", ["None", "", "I'm sorry, but I can't read this."])
def test_a_picture_in_which_nothing_was_read_says_nothing(printed: str) -> None:
    result = grounded(engine(printed, shop="Tesco"), SHOP).prediction["result"]
    assert notes(result) == {"shop": []}


def test_without_the_attribute_or_a_value_nothing_is_read() -> None:
    plain = engine(shop="Tesco")
    grounded(plain, area("shop", 'model_task="fill"'))
    assert len(plain.requests) == 1
    empty = engine(shop=None)
    grounded(empty, SHOP)
    assert not [one for one in empty.requests if one.text.startswith("Read")]


def test_only_what_can_be_printed_takes_the_attribute() -> None:
    assert config(SHOP).controls[0].options.check
    with pytest.raises(Exception, match="model_check"):
        config(having(BOXES, 'model_check="true"'))
