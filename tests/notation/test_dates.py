"""One clear date is read, in any usual spelling; another text is none."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.notation.dates import find_days, parse_datetime


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Dec 25,2018", "2018-12-25"),
        ("2018-Jun-01", "2018-06-01"),
        ("2018 June 1st", "2018-06-01"),
        ("2018–06–01", "2018-06-01"),
        ("Thurs, 7 June 2018", "2018-06-07"),
        ("June 13, 2018 at 6:41 PM", "2018-06-13T18:41"),
        ("13.06.2018 um 18:41 Uhr", "2018-06-13T18:41"),
        ("2018-06-01 at 12:30", "2018-06-01T12:30"),
        ("13.06.2018 - 18:41", "2018-06-13T18:41"),
        ("Weds 13 June 2018", "2018-06-13"),
        ("25/12 2017", "2017-12-25"),
        ("5 mars 2024", "2024-03-05"),
        ("1er janvier 2024", "2024-01-01"),
        ("lundi 5 août 2024", "2024-08-05"),
        ("5 de marzo de 2024", "2024-03-05"),
        ("martes, 5 de marzo del 2024", "2024-03-05"),
        ("5 DE SEPTIEMBRE DE 2024", "2024-09-05"),
        ("1º de março de 2024", "2024-03-01"),
        ("1° gennaio 2024", "2024-01-01"),
        ("5 maart 2024", "2024-03-05"),
        ("2 ago 2024", "2024-08-02"),
        ("20 déc. 2024 18:41", "2024-12-20T18:41"),
        ("二〇二四年三月五日", "2024-03-05"),
        ("二〇二四年十二月三十一日", "2024-12-31"),
        ("12/24/2020 06:41P", "2020-12-24T18:41"),
        ("2018-06-12 18:41.", "2018-06-12T18:41"),
        ("25/12/2017\n18:41", "2017-12-25T18:41"),
        ("18:41\n25/12/2017", "2017-12-25T18:41"),
        ("18:41 on 13 June 2018", "2018-06-13T18:41"),
        ("2018-06-01 PM 6:41", "2018-06-01T18:41"),
        ("2018-06-01T18:41:05-05:00", "2018-06-01T18:41"),
        ("2018-06-01 18:41+0200", "2018-06-01T18:41"),
    ],
)
def test_one_clear_date_is_read(text: str, moment: str) -> None:
    assert parse_datetime(text) == datetime.fromisoformat(moment)


@pytest.mark.parametrize(
    ("text", "month"),
    [
        *(("2018-06", 6), ("06 2018", 6), ("2018 06", 6), ("二零二四年十月", 10), ("May 2024", 5)),
        *(("2024年10月", 10), ("5 March 2024", 3), ("05.03.2024", 3), ("2024-03-05 18:41", 3)),
    ],
)
def test_a_month_is_read_where_no_day_is_asked_for(text: str, month: int) -> None:
    read = parse_datetime(text, "YYYY-MM")
    assert read
    assert (read.month, read.day) == (month, 1)
    year = parse_datetime(text, "YYYY")
    assert year
    assert (year.year, year.month, year.day) == (read.year, 1, 1)


def test_a_year_alone_is_read_where_no_month_is_asked_for() -> None:
    assert (
        parse_datetime("2018", "YYYY") == parse_datetime("2018年", "YYYY") == datetime(2018, 1, 1)
    )


@pytest.mark.parametrize("text", ["2018", "2018年", "May 2018", "2018-05", "05/2018", "2018年5月"])
def test_what_lacks_a_part_that_is_asked_for_is_no_date(text: str) -> None:
    assert parse_datetime(text) is None
    assert parse_datetime(text, "YYYY-MM-DDTHH:MM") is None
    assert (parse_datetime(text, "YYYY-MM") is None) == (len(text) < 6)


@pytest.mark.parametrize(
    "text",
    [
        *("Month 5 2018", "Fri 5 2018", "Fri 2018", "Sun June 2018", "Monthly 2018", "Sunny 2018"),
        *("Sunny 1 June 2018", "1 June 2018 monthly", "Monument, 2018-06-01"),
        *("13-06/2018", "13 06/2018", "2018-06/01", "5 2018", "2018 5", "6 June 1 2018"),
        *("06/05 2018", "13/2018", "2018 13", "2018 06 18:41", "25/12 17"),
        *("5 set 2024", "5 out 2024", "martes 2024", "5 de 2024", "二〇二四年十三月五日"),
        *("2018 6:41", "06/2018 18:41", "June 2018, 6 PM", "0612", "0612-06-01", "06/0601"),
        *("2018-06-01 10:00-11:00", "2018-06-31", "01.06.2018¹", "1² June 2018", "1 June"),
    ],
)
def test_what_is_no_clear_date_is_none(text: str) -> None:
    assert parse_datetime(text) is None


SPELLINGS = ["%Y-%m-%d", "%d.%m.%Y", "%B %d, %Y", "%b %d,%Y", "%Y-%b-%d", "%A, %d %B %Y", "%d%b%Y"]
BETWEEN = [" ", ", ", " at ", " um ", " - ", " – ", " | ", " @ "]
CLOCKS = ["%H:%M", "%I:%M %p", "%p %I:%M", "%Hh%M", "%H:%M Uhr", "%H:%M:%S UTC"]
moments = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31))


@given(moments, st.sampled_from(SPELLINGS), st.sampled_from(BETWEEN), st.sampled_from(CLOCKS))
def test_a_date_and_a_time_are_read_however_they_are_joined(
    moment: datetime, spelling: str, between: str, clock: str
) -> None:
    day, whole = moment.strftime(spelling), moment.replace(second=0, microsecond=0)
    assert parse_datetime(day + between + moment.strftime(clock)) == whole
    assert parse_datetime(day) == whole.replace(hour=0, minute=0)


WORDS = (
    "1 5 13 06 18 2018 2018-06-01 13.06.2018 06/2018 . / - , 年 月 日 June Jun 1st of Fri 6:41 PM "
    "mars de del 1er 1º août sept 二〇二四年 三月 五日 十"
)
PIECES = WORDS.split()


FORMS = st.sampled_from(["YYYY-MM-DD", "YYYY-MM", "YYYY"])


@given(st.lists(st.sampled_from([*PIECES, " ", " "]), max_size=7).map("".join), FORMS)
def test_what_is_read_in_a_text_is_found_in_it(text: str, form: str) -> None:
    moment = parse_datetime(text, form)
    parts = form.count("-")
    found = [
        (day.year, (day.month or 1) if parts else 1, (day.day or 1) if parts > 1 else 1)
        for day in find_days(text)
    ]
    assert moment is None or (moment.year, moment.month, moment.day) in found
