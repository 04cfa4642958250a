"""One clear number is read, never a wrong one; what may be printed is found, in linear time."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.notation.numbers import MOST, find_numbers, parse_number

READ = [
    *[("(1,234.50)", -1234.5), ("$(1,234)", -1234), ("($1,234)", -1234), ("($5)", -5)],
    *[("(1,234.50) €", -1234.5), ("Tax (8.50)", 8.5), ("seventeen (17)", 17)],
    *[("–12 °C", -12), ("\u201012", -12), ("\u201112", -12), ("—5", -5), ("-five", -5)],
    *[("5 m²", 5), ("15 m2", 15), ("3 cm³", 3), ("2½ cups", 2.5), ("1 1/2 cups", 1.5)],
    *[("3千万", 3e7), ("3百万", 3e6), ("1.5万亿", 1.5e12), ("5千人", 5000), ("1.2万", 12000)],
    *[("2 hundred thousand", 2e5), ("1.5 Millionen", 1.5e6), ("3 Milliarden", 3e9)],
    *[("5 Tausend", 5000), ("2 trillion", 2e12), ("5 lakh", 5e5), ("2 crores", 2e7)],
    *[("two hundred and five", 205), ("twelve hundred", 1200), ("a million", 1e6)],
    *[("1.5k", 1500), ("4 T-shirts", 4)],
    ("one million two hundred thousand and five", 1_200_005),
    *[("12.50 T", 12.5), ("$4.99 T", 4.99), ("12.50T", 12.5), ("4.99 €T", 4.99), ("1,99 B", 1.99)],
    *[("(RM) 12.50", 12.5), ("($) 12.50", 12.5), ("(USD) 12.50", 12.5), ("(a) 12.50", 12.5)],
    *[("$10K", 10000), ("(kg) 5", 5), ("(12.00)", -12), ("(RM) -12", -12), ("SpO2: 98%", 98)],
    *[("SpO2 98", 98), ("HbA1c: 5.6%", 5.6), ("One-time fee $5.00", 5), ("One way: 12.00", 12)],
    *[("one-way", 1), ("12.00 for one", 12), ("5k", 5000), ("10K €", 10000), ("USD 10K", 10000)],
    *[("RM10K", 10000), ("001,234.56", 1234.56), ("1234,567.89", 1234567.89)],
    ("₹1,25,000", 125000),
    *[("一千二百元", 1200), ("二百零五", 205), ("三点五", 3.5), ("一万零五百", 10500), ("〇", 0)],
    *[("一亿零三百万", 1.03e8), ("三千零五", 3005), ("两千零二十", 2020), ("一百十二", 112)],
    *[("Rs.1,25,000.50", 125000.5), ("Rs 12,34,567", 1234567), ("Rs.500", 500), ("Rs500", 500)],
    *[("-Rs500", -500), ("-₹500", -500), ("x2", 2), ("2x", 2), ("Rp 15.000", 15)],
    *[("10,20,500.50", 1020500.5), ("1,234.50", 1234.5), ("1.234,50", 1234.5)],
    *[("1 234 567,50", 1234567.5), ("1'234", 1234), ("1e3", 1000), ("007", 7), ("12.-", 12)],
]  # fmt: skip


@pytest.mark.parametrize(("text", "number"), READ)
def test_one_clear_number_is_read(text: str, number: float) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("(1,234)", "(1'234)", "(12.5)", "(12%)", "(12)", "(five)", "RM (5.00)", "-(5.00)"),
        *("– 5", "- 5", "— five", "5 –", "(RM 5)", "10–12", "10\u201112",),
        *("minus -5", "$ - 5", "RM - 5.00"),
        *("€ 3,99²", "8.75¹", "5²", "10³", "10⁻³", "²5", "5₂", "5①", "5²³⁴", "¹/₂"),
        *("5千克", "5千米", "5千瓦时", "3千5百", "3百五", "1万5", "5百半", "20多个", "3个半"),
        *("4 thousand five hundred", "4 thousand 500", "2 Mill.", "1.5M", "1.5 B", "two lakh"),
        *("two thousand million", "one hundred hundred", "half a million", "half a dozen"),
        *("two thousand three million", "two million three million"),
        *("a third", "two thirds", "two and a half", "point five", "3 thousandths"),
        *("five point two", "a few hundred", "several thousand", "a couple of dozen"),
        *("1米75", "1m75", "5ft11", "5'11\"", "12元5角", "1h30", "2lb3oz", "12 ,50", "CO2 5"),
        *("5 lb 5 oz", "5 ft 5 in", "5+5", "٣٫٣", "<5", "≥ 5", "±5", "+/-5", "√5", "10^3"),
        *("1e5 km", "1.5e3 kg", "1e400", "1e15", "0.5,1", "12.5,3", "10,20.5", "1,2.5", "0,123.5"),
        *("5 5", "12,50 250", "2018 100", "030 123 456", "5/5", "12:12", "12. 12", "12.04.2018"),
        *("1.25 B", "$1.5M", "5 M", "5 T", "$2.75T", "18K", "22K gold", "300K", "4K", "0,123.5 T"),
        *("(5)", "(RM 12.50)", "(5 items)", "(USD) (12.00)", "(minus) 5", "(-) 5", "(five) 5"),
        *("(RM) - 12", "(RM) -$5", "(RM) (five)", "₹ - 500", "-x2", "1x5", "1,25,000", "SpO2"),
        *("二百五", "一万二", "三千五十", "零五", "三五", "两三个", "三百米", "十点", "5+"),
        *("one or 2", "one of 5", "2 for one", "one dog and 2 cats", "one time or 5 times"),
        *("at least 3", "at most 5", "over 100", "more than 8.75", "up to 5 kg", "5 or more"),
        *("five six", "five five", "one hundred " + "hundred " * 9, "five or 6"),
    ],
)  # fmt: skip
def test_what_is_not_one_clear_number_is_none(text: str) -> None:
    assert parse_number(text) is None


WORDS = (
    "5 12 1,234 12.5 .5 ½ 1/2 ² ¹ ' , . - – ( ) $ € RM k M m e3 千 万 百 半 二 十 个 "
    "hundred thousand million dozen five twenty and half point third Mio. m2 km : / x to 1e3 % 0 00"
)
PIECES = WORDS.split()
texts = st.lists(st.sampled_from([*PIECES, " ", " ", "\n"]), max_size=12).map("".join)


@given(texts | st.text(max_size=20))
def test_what_is_read_in_a_text_is_found_in_it(text: str) -> None:
    number = parse_number(text)
    assert number is None or (abs(number) < MOST and abs(number) in find_numbers(text))


@given(st.integers(-999_999, 999_999), st.sampled_from(["", " kg", " €", " pieces", "%"]))
def test_a_whole_number_is_read_with_its_sign_and_unit(number: int, unit: str) -> None:
    for text in (f"{number}{unit}", f"{number:,}{unit}", f"{number}{unit}".replace("-", "–")):
        assert parse_number(text) == number


def write_han(number: int) -> str:
    """Return a number below ten thousand as Chinese write it."""
    written, gap = "", False
    for scale, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // scale % 10
        if digit:
            written += ("零" if gap and written else "") + "零一二三四五六七八九"[digit] + name
        gap = not digit
    return written


@given(st.integers(1, 9999), st.integers(0, 9999))
def test_a_chinese_number_is_read_as_it_is_written(number: int, more: int) -> None:
    assert parse_number(write_han(number)) == number
    low = ("零" if more < 1000 else "") + write_han(more) if more else ""
    assert parse_number(f"{write_han(number)}万{low}") == number * 10_000 + more


DASHES = "-\u2010\u2011\u2012–—―−﹣－"
SIGNED = ["{}5", "{} 5", "{}$5", "${}5", "$ {} 5", "{}RM 5", "RM {}5", "{}5.00 €", "{}(5)", "({}5)"]


@given(st.sampled_from(DASHES), st.sampled_from([*SIGNED, "5{}", "5 {}", "{}five", "{} five"]))
def test_a_number_with_a_minus_is_not_read_without_it(dash: str, form: str) -> None:
    assert parse_number(form.format(dash)) in (None, -5)


@given(st.floats(-1e6, 1e6).map(lambda one: round(one, 2)))
def test_a_sum_is_read_in_both_notations_and_in_brackets(amount: float) -> None:
    english = f"{abs(amount):,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    assert parse_number(f"${english}") == parse_number(f"{german} €") == abs(amount)
    assert parse_number(f"({english})") == parse_number(f"(${english})") == -abs(amount)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *[(1.5, "1 1/2 cups"), (1.5e6, "1 1/2 million"), (1000, "1e3"), (3.99, "€ 3,99¹")],
        *[(2018, "12.04.2018"), (2018, "2018.06.01"), (5, "SEATS 5,7,9"), (7, "SEATS 5,7,9")],
        *[(5, "5'11\""), (11, "5'11\""), (5, "Total five\nseven items"), (7, "five seven")],
        *[(3e7, "3千万"), (5e5, "5 lakh"), (1020500, "10,20,500"), (123456, "1,23,456")],
    ],
)
def test_a_number_is_found_in_what_is_not_clear(number: float, text: str) -> None:
    assert number in find_numbers(text)


@pytest.mark.parametrize(("number", "text"), [(39.91, "€ 3,99¹"), (3991, "3.99¹"), (1, "1,234.50")])
def test_a_number_that_nobody_means_is_not_found(number: float, text: str) -> None:
    assert number not in find_numbers(text)


PARTS = [
    "hundred ",
    "one hundred ",
    "5 hundred ",
    "1 ",
    "five ",
    "1,",
    "1'",
    "1e",
    "²",
    "½",
    "-",
    "1",
]


@pytest.mark.parametrize("part", [*PARTS, "1 1/2", "千", "5千", " "])
def test_a_looping_text_takes_time_in_proportion_to_its_length(part: str) -> None:
    text = part * (60_000 // len(part))
    begun = process_time()
    assert all(number >= 0 for number in find_numbers(f"one hundred 5 {text}.1.1"))
    parse_number(text)
    assert process_time() - begun < 4
