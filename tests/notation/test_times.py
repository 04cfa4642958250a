"""One clear time of day is read; a range is none, and a time in words."""

from __future__ import annotations

from datetime import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.notation.times import cut_times, find_times, parse_time


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        *[("晚上12点", "00:00"), ("晚上12:30", "00:30"), ("凌晨12:30", "00:30")],
        *[("晚上8点", "20:00"), ("晚上1点", "01:00"), ("下午12点", "12:00")],
        *[("上午12点", "12:00"), ("下午6点41分", "18:41"), ("PM 6:41", "18:41")],
        *[("오후 6:41", "18:41"), ("午後6:41", "18:41"), ("AM 12:30", "00:30")],
        *[("오전 6:41", "06:41"), ("am 18:41", "18:41"), ("12 am", "00:00")],
        *[("12:30 PM", "12:30")],
        *[
            ("pm 6:41", "18:41"),
            ("the evening of 18:41", "18:41"),
            ("this afternoon, 3 pm", "15:00"),
        ],
        *[("6:41P", "18:41"), ("06:41 P", "18:41"), ("12:05A", "00:05"), ("6:41 p.m.", "18:41")],
        *[("18:41.", "18:41"), ("It is 10:30.", "10:30"), ("8:30 a. m.", "08:30")],
        *[("18:41+02:00", "18:41"), ("18:41 UTC", "18:41")],
        ("2018-06-01T18:41:05-05:00", "18:41"),
    ],
)
def test_one_clear_time_is_read_and_found(text: str, clock: str) -> None:
    assert parse_time(text) == time.fromisoformat(clock)
    assert time.fromisoformat(clock) in find_times(text)


@pytest.mark.parametrize(
    "text",
    [
        *("18:41-19:00", "18:41 - 19:00", "18:41–19:00", "2018-06-12 10:00-11:00", "9 - 5 pm"),
        *("open 10:00 - 11:00", "between 10:00 and 11:00", "from 9 to 5 pm", "18 bis 19 Uhr"),
        *("half past 6 pm", "quarter to 6 pm", "halb 7 Uhr", "viertel nach 6 Uhr", "half 6 pm"),
        *(
            "in the evening at 6:41",
            "nachmittags 3 Uhr",
            "midnight 12:00",
            "晚餐 6:41",
            "夜里 1:30",
        ),
        *("AM 6:41 PM", "下午6:41 AM", "17:00 17:00"),
        *("18:41 A", "18:41P", "6:41 PA", "17:00\n18:00", "9:30 to 10", "18:41¹", "18:4²"),
    ],
)
def test_a_range_and_a_time_in_words_are_no_time(text: str) -> None:
    assert parse_time(text) is None


@given(st.times(), st.times(), st.sampled_from(["-", " - ", "–", " to ", " bis ", "~", "/", ", "]))
def test_no_two_times_are_one(first: time, second: time, between: str) -> None:
    assert parse_time(f"{first:%H:%M}{between}{second:%H:%M}") is None


@pytest.mark.parametrize("number", ["3: ", "3 : ", "3:", "10:", "1 : "])
@pytest.mark.parametrize("day", ["12.06.2018", "12/06/2018", "12-06-18"])
def test_a_number_before_a_date_is_no_time(number: str, day: str) -> None:
    assert day in cut_times(f"Kasse {number}{day}")


@pytest.mark.parametrize("number", ["3: ", "3 : "])
def test_a_number_apart_from_a_day_is_no_time(number: str) -> None:
    assert "12 June 2018" in cut_times(f"Kasse {number}12 June 2018")


WORDS = "5 12 6:41 18:41 18.41 3 . - – , / AM PM pm Uhr h 点 半 分 下午 晚上 to at Z 1st June"
PIECES = WORDS.split()


@given(st.lists(st.sampled_from([*PIECES, " ", " "]), max_size=7).map("".join))
def test_what_is_read_in_a_text_is_found_in_it(text: str) -> None:
    clock = parse_time(text)
    assert clock is None or clock in find_times(text)
