"""Values that the picture's text lacks are marked, and nothing else is."""

from __future__ import annotations

import json
from datetime import datetime
from time import process_time
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grounding.labelstudio.checking import MARK, is_dated, is_printed
from tests.labelstudio.configs import BOXES, area, config, having
from tests.pipeline.test_pipeline import CAR, InlineEngine, grounded

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
    ("said", "text"),
    [
        (7.0, "Coffee 2 3.50 7.00"),
        (2, "Coffee 2 3.50 7.00"),
        (-5, "-5 °C"),
        (-1234.5, "(1,234.50)"),
        (0.5, ".50"),
        (0.125, "0,125 l"),
        (17000, "17 000 Kč"),
        (1234567.5, "1'234'567.50"),
        (17, "seventeen screws"),
        (205, "two hundred and five"),
        (2500000, "2.5 million"),
        (2.5, "2.5 million"),
        (2.5, "2½ cups"),
        (12, "十二个"),
    ],
)
def test_a_number_is_there_in_any_usual_spelling(said: float, text: str) -> None:
    assert is_printed(said, text)
    assert not is_printed(said + 1, text)


DAY, CLOCK = "%Y-%m-%d", "%H:%M"
MOMENT = f"{DAY}T{CLOCK}"
BEHIND, HALVES = "%H:%M %d/%m/%Y", "%I:%M %p"


@pytest.mark.parametrize(
    ("moment", "value_format", "text", "dated"),
    [
        ("2018-06-01", DAY, "Date: 01 Jun 2018", True),
        ("2018-06-01", DAY, "01/06/18  Invoice 7", True),
        ("2018-06-01", DAY, "Invoice 7 01/06/18 5 2.50", True),
        ("2018-06-01", DAY, "06.01.2018", True),
        ("2018-06-01", DAY, "20180601", True),
        ("2018-06-01", DAY, "01062018", True),
        ("2018-06-01", DAY, "BEST BEFORE 010618", True),
        ("2018-06-01", DAY, "01JUN2018", True),
        ("2018-06-01", DAY, "01 06 2018", True),
        ("2018-06-01", DAY, "1. 6. 2018", True),
        ("2018-06-01", DAY, "1 / 6 / '18", True),
        ("2018-06-01", DAY, "2018:06:01 18:41:00", True),
        ("2018-06-01", DAY, "Fri Jun  1 18:41:00 2018", True),
        ("2018-06-01", DAY, "2018年6月1日", True),
        ("2018-06-01", DAY, "日期：2018 年 06 月 01 日", True),
        ("2018-06-01", DAY, "June 1st, 2018", True),
        ("2018-06-01", DAY, "the 1st of June 2018", True),
        ("2018-06-01", DAY, "1. Juni 2018", True),
        ("2018-03-01", DAY, "1. März 2018", True),
        ("2018-03-01", DAY, "1. Ma\u0308rz 2018", True),
        ("01.06.2018", "%d.%m.%Y", "2018-06-01", True),
        ("1 June 2018", "%-d %B %Y", "06/01/18", True),
        ("Friday, Jun  1 18", "%A, %b %e %y", "01.06.2018", True),
        ("152/2018", "%j/%Y", "01.06.2018", True),
        ("2018-06-01", DAY, "01 Jul 2018", False),
        ("2018-06-01", DAY, "01/06/19", False),
        ("2018-06-01", DAY, "1 06 18", False),
        ("2018-06-01", DAY, "2018-01-06", False),
        ("2018-06-01", DAY, "June 1", False),
        ("2018-06-01", DAY, "Room 1, 6 people, 2018", False),
        ("2018-06-01", DAY, "no date", False),
        ("2005-03-05", DAY, "Marvellous 5 2005", False),
        ("2005-10-05", DAY, "5 Octopus 2005", False),
        ("2005-05-05", DAY, "5 Mayor 2005", False),
        ("2018-06-01T18:41", MOMENT, "01 Jun 2018 6:41 PM", True),
        ("2018-06-01T18:41", MOMENT, "01 Jun 2018 6:42 PM", False),
        ("2018-06-01T18:41", MOMENT, "6:41 PM 02 Jun 2018", False),
        ("2018-06-01T00:00", MOMENT, "01 Jun 2018", True),
        ("18:41 01/06/2018", BEHIND, "2018-06-01 18:41", True),
        ("18:41 01/06/2018", BEHIND, "2018-07-01 18:41", False),
        ("18:41 01/06/2018", BEHIND, "2018-06-01 18:42", False),
        ("01/06/2018 06:41 PM", "%d/%m/%Y %I:%M %p", "18:41 01/06/18", True),
        ("03:30 PM", HALVES, "at 15:30", True),
        ("03:30 PM", HALVES, "at 3:30", True),
        ("03:30 PM", HALVES, "at 3:30 AM", False),
        ("03:30 AM", HALVES, "at 15:30", False),
        ("12:05 AM", HALVES, "00:05", True),
        ("12:05 PM", HALVES, "00:05", False),
        ("03:30", "%I:%M", "15:30", True),
        ("15:30", CLOCK, "3.30 pm", True),
        ("15:30", CLOCK, "03:30 P.M.", True),
        ("15:30", CLOCK, "3:30PM", True),
        ("15:30", CLOCK, "15h30", True),
        ("15:30", CLOCK, "15 h 30", True),
        ("15:30", CLOCK, "15:30:00", True),
        ("15:30", CLOCK, "2018-06-01T15:30:00.000Z", True),
        ("15:30", CLOCK, "15.30 Uhr", True),
        ("15:30", CLOCK, "1530 hrs", True),
        ("15:30", CLOCK, "下午3点半", True),
        ("15:30", CLOCK, "15时30分", True),
        ("15:05", CLOCK, "15时5分", True),
        ("15:00", CLOCK, "3 pm", True),
        ("15:00", CLOCK, "15 Uhr", True),
        ("15:00:00", "%H:%M:%S", "15:00:45", True),
        ("15:30", CLOCK, "15:31", False),
        ("15:30", CLOCK, "115:30", False),
        ("15:30", CLOCK, "15:300", False),
        ("15:30", CLOCK, "RM 115.30", False),
        ("15:30", CLOCK, "1530", False),
        ("03:30", CLOCK, "下午3:30", False),
        ("18:41", CLOCK, "8:41", False),
        ("06:41", CLOCK, "18:41", False),
        ("25", "%d%d", "the 25th", True),
    ],
)
def test_a_date_is_there_in_any_usual_spelling(
    moment: str, value_format: str, text: str, dated: bool
) -> None:
    assert is_dated(moment, value_format, text) is dated


@pytest.mark.parametrize(
    ("moment", "value_format", "form", "text", "dated"),
    [
        ("2018-06-01", DAY, "YYYY-MM", "06/2018", True),
        ("2018-06-01", DAY, "YYYY-MM", "15/06/18", True),
        ("2018-06-01", DAY, "YYYY-MM", "15/07/18", False),
        ("2018-06-01", DAY, "YYYY-MM", "07/06/2018, 06/2017", True),
        ("2018-06-01", DAY, "YYYY-MM", "12/06/17", False),
        ("2018", "%Y", "YYYY", "(c) 2018", True),
        ("2018", "%Y", "YYYY", "15/07/18", True),
        ("2018", "%Y", "YYYY", "(c) 2019", False),
        ("2018", "%Y", "YYYY", "Room 18", False),
        ("June", "%B", "YYYY-MM", "in June", True),
        ("June", "%B", "YYYY-MM", "6", False),
        ("2018-06-01T18:41", MOMENT, "YYYY-MM-DD", "01/06/18", True),
        ("2018-06-01", DAY, "YYYY-MM-DDTHH:MM", "01/06/18", True),
    ],
)
def test_only_the_parts_that_were_asked_for_and_written_are_compared(
    moment: str, value_format: str, form: str, text: str, dated: bool
) -> None:
    assert is_dated(moment, value_format, text, form) is dated


FORMATS = [DAY, "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%B %d, %Y", "%-d %b %Y", "%Y%m%d", "%e %B %Y"]
TIME_FORMATS = [CLOCK, HALVES, "%H:%M:%S", "%I.%M %p", "%-I:%M%p"]
CLEAR = [DAY, "%d %B %Y", "%B %d, %Y", "%d-%b-%Y", "%Y/%m/%d", "%Y年%-m月%-d日", "%Y.%m.%d"]
UNCLEAR = [*CLEAR, "%d/%m/%y", "%m/%d/%Y", "%d.%m.%Y", "%Y%m%d", "%d%b%Y"]
TIMES = ["%H:%M", "%I:%M %p", "%-I.%M %p", "%Hh%M", "%H:%M:%S", "%-H时%M分"]
moments = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2067, 12, 31))


@given(moments, st.sampled_from(FORMATS), st.sampled_from(UNCLEAR), st.text("ab5.:,- \n"))
def test_a_date_in_any_format_is_found_in_any_spelling(
    moment: datetime, value_format: str, spelling: str, around: str
) -> None:
    text = f"{around} x {moment.strftime(spelling)} x {around}"
    assert is_dated(moment.strftime(value_format), value_format, text)


@given(moments, moments, st.sampled_from(FORMATS), st.sampled_from(CLEAR))
def test_another_date_is_not_found(
    moment: datetime, other: datetime, value_format: str, spelling: str
) -> None:
    assume(moment.date() != other.date())
    text = f"On {other.strftime(spelling)}, in all"
    assert not is_dated(moment.strftime(value_format), value_format, text)


@given(moments, moments, st.sampled_from(TIME_FORMATS), st.sampled_from(TIMES))
def test_a_time_in_any_format_is_found_in_any_spelling_and_no_other(
    moment: datetime, other: datetime, value_format: str, spelling: str
) -> None:
    said = moment.strftime(value_format)
    assert is_dated(said, value_format, f"at {moment.strftime(spelling)}.", "HH:MM")
    differs = (moment.hour % 12, moment.minute) != (other.hour % 12, other.minute)
    assume(differs)
    assert not is_dated(said, value_format, f"at {other.strftime(spelling)}.", "HH:MM")


@pytest.mark.parametrize(
    "piece", ["1/2/", "jun ", "3:30 ", "1 ", "9", "1.", "年", " ", "下午", "1,"]
)
def test_a_long_text_or_format_takes_time_in_proportion_to_its_length(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    many = " ".join([DAY] * 9)
    begun = process_time()
    for value_format in (BEHIND, many):
        is_dated(datetime(2018, 6, 1).strftime(value_format), value_format, text)
    is_printed(7, text)
    assert process_time() - begun < 3


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
