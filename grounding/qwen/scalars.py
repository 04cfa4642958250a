"""Reads numbers, dates and times of day as people print them; what may mean two things is none.

"RM 1,234.50"   1234.5          "12,50 €"       12.5          "20 to 25"   None
"seventeen"     17              "01 Jun 2018"   2018-06-01    "12.04.88"   None
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime, time

MAX_CHARS = 100
"""A longer text is no number and no date."""

MOST = 1e15
"""Above this a float no longer tells two whole numbers apart, and a loop wrote the digits."""

SIXTY = 60

_PLAIN = re.compile(r"[-+]?\d+(?:\.\d+)?[eE][-+]?\d{1,2}")
_NUMERAL = re.compile(
    r"(?:(?<![\w.,-])|(?<=\b[A-Z])|(?<=\b[A-Z]{2})|(?<=\b[A-Z]{3})|(?<=\b[A-Z]{2}[$£€]))"
    r"(?:(?:(?<![A-Z])[-+])?\d[\d.,]*+|[-+]?\.\d+)"
)
_ANY_DIGIT = re.compile(r"\d")
_SPACED = re.compile(r"(?<=\d)[ \u00a0\u202f'’](?=\d{3}(?!\d))")
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:([.,])\d{3})(?:\1\d{3})*")
_RANGE = re.compile(r"\d\s*(?:-|–|—|~|to|bis|至|到)\s*\d", re.IGNORECASE)
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)?")

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_LARGE = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS, _TENS = _SMALL.split(), _LARGE.split()
_WORDS = {word: n for n, word in enumerate(_UNITS)} | {
    **{word: 10 * n for n, word in enumerate(_TENS, start=2)},
    **{
        f"{ten}-{unit}": 10 * tens + units
        for tens, ten in enumerate(_TENS, start=2)
        for units, unit in enumerate(_UNITS[1:10], start=1)
    },
}
_HAN = {han: n for n, han in enumerate("零一二三四五六七八九十")} | {"两": 2, "〇": 0}


_HAN_DIGIT = "[零一二三四五六七八九两〇]"
_HAN_NUMBER = re.compile(
    rf"({_HAN_DIGIT})?(十)?({_HAN_DIGIT})?[个只条张件座棵朵位名匹台把辆头颗枚]?"
)


def parse_number(text: str) -> float | None:
    """Return the one number in `text`, with or without a unit, in digits or as a word.

    A point or a comma before the last digits is a decimal sign, unless it separates a group of
    three: then a comma separates thousands, and a point does where there are several. Words may
    stand beside the number, but no second one.
    """
    text = unicodedata.normalize("NFKC", text[: MAX_CHARS + 1]).strip()
    if len(text) > MAX_CHARS or _RANGE.search(text):
        return None
    if _PLAIN.fullmatch(text):
        return float(text)
    text = _SPACED.sub("", text.replace("−", "-"))
    found: set[float | None] = {_to_float(part) for part in _NUMERAL.findall(text)}
    found = found or (set() if _ANY_DIGIT.search(text) else _named(text))
    number = found.pop() if len(found) == 1 else None
    return number if number is not None and abs(number) < MOST else None


def _named(text: str) -> set[float | None]:
    han = _parse_han(text)
    if han is not None:
        return {float(han)}
    words = {float(_WORDS[w]) for w in _WORD.findall(text.casefold()) if w in _WORDS}
    return {*words}


def _parse_han(text: str) -> int | None:
    """Return the number below a hundred in "十二个", with or without a counting word."""
    found = _HAN_NUMBER.fullmatch(text)
    if found is None:
        return None
    tens, ten, units = found.groups()
    if not ten:
        return _HAN[tens] if tens and not units else None
    return 10 * (_HAN[tens] if tens else 1) + (_HAN[units] if units else 0)


def _to_float(part: str) -> float | None:
    part = part if part.startswith(".") else part.strip(".,")
    marks = [mark for mark in part if mark in ".,"]
    if len(set(marks)) == 2:
        return _decimal(part, marks[-1]) if marks.count(marks[-1]) == 1 else None
    if len(marks) > 1 or marks == [","]:
        grouped = _GROUPED.fullmatch(part)
        if grouped:
            return _decimal(part.replace(grouped[1], ""), "")
        return _decimal(part, ",") if marks == [","] else None
    return _decimal(part, ".")


def _decimal(part: str, sign: str) -> float | None:
    """Return the number whose decimal sign is `sign`; the other sign separates thousands."""
    other = {".": ",", ",": "."}.get(sign, "")
    plain = part.replace(other, "") if other else part
    try:
        return float(plain.replace(sign, ".") if sign else plain)
    except ValueError:
        return None


# Dates

_MONTHS = {
    name: month
    for month, names in enumerate(
        (
            "jan january januar",
            "feb february februar",
            "mar march märz",
            "apr april",
            "may mai",
            "jun june juni",
            "jul july juli",
            "aug august",
            "sep sept september",
            "oct october okt oktober",
            "nov november",
            "dec december dez dezember",
        ),
        start=1,
    )
    for name in names.split()
}
_SEPARATOR = r"\s*[-/. ]\s*"
_ISO = re.compile(
    rf"(\d{{4}})(?:{_SEPARATOR}|年)(\d{{1,2}})(?:(?:{_SEPARATOR}|月)(\d{{1,2}})日?)?月?"
)
_DAY_FIRST = re.compile(rf"(\d{{1,2}}){_SEPARATOR}(\d{{1,2}}){_SEPARATOR}(\d{{4}})")
_NAMED = re.compile(
    r"(?:(?P<day>\d{1,2})(?:st|nd|rd|th|\.)?[\s-]*(?:of )?)?(?P<month>[a-zä]{3,9})\.?,?[\s-]*"
    r"(?:(?P<day2>\d{1,2})(?:st|nd|rd|th)?,?\s+)?(?P<year>\d{4})"
)
_COMPACT = re.compile(r"((?:19|20)\d{2})(\d{2})(\d{2})")
_MONTH_YEAR = re.compile(rf"(\d{{1,2}}){_SEPARATOR}(\d{{4}})")
_WEEKDAY = re.compile(
    r"^(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*|(?:mo|di|mi|do|fr|sa|so)|"
    r"(?:montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonntag))\b[.,]*\s*",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(\d{4})年?")
_TIME = re.compile(
    r"(?:[T\s,]|^)\s*(\d{1,2})(?:[:h]|\.(?=\d{2}\s*Uhr))(\d{2})(?::\d{2}(?:\.\d+)?)?\s*([ap])?\.?m?\.?(?:Z|Uhr)?\s*$",
    re.IGNORECASE,
)


def parse_datetime(text: str) -> datetime | None:
    """Return the date in `text`, with its time of day or midnight; None where it has no date.

    A month or a year alone begins it. A day and a month in digits are told apart by a point
    between them (the day comes first) or by a day above twelve; else the date is none.
    """
    text = unicodedata.normalize("NFKC", text[: MAX_CHARS + 1]).strip()
    if len(text) > MAX_CHARS:
        return None
    clock = _TIME.search(text)
    day = _parse_date(text[: clock.start()].strip(" ,T") if clock else text)
    hour = parse_time(text) if clock else time()
    return None if day is None or hour is None else datetime.combine(day, hour)


def parse_time(text: str) -> time | None:
    """Return the time of day at the end of `text`, in hours and minutes; None without one."""
    found = _TIME.search(text[: MAX_CHARS + 1])
    if found is None:
        return None
    hour, minute, half = int(found[1]), int(found[2]), (found[3] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    return time(hour, minute) if hour < 24 and minute < 60 else None


def _parse_date(text: str) -> date | None:
    text = _WEEKDAY.sub("", text.strip(" .,"))
    if found := _COMPACT.fullmatch(text) or _ISO.fullmatch(text):
        return _date(int(found[1]), int(found[2]), int(found[3] or 1))
    if found := _DAY_FIRST.fullmatch(text):
        return _day_and_month(int(found[1]), int(found[2]), int(found[3]), pointed="." in text)
    if found := _MONTH_YEAR.fullmatch(text):
        return _date(int(found[2]), int(found[1]), 1)
    if found := _NAMED.fullmatch(text.casefold()):
        month = _MONTHS.get(found["month"])
        day = int(found["day"] or found["day2"] or 1)
        return _date(int(found["year"]), month, day) if month else None
    found = _YEAR.fullmatch(text)
    return _date(int(found[1]), 1, 1) if found else None


def _day_and_month(first: int, second: int, year: int, *, pointed: bool) -> date | None:
    if pointed or first > 12 or first == second:
        return _date(year, second, first)
    return _date(year, first, second) if second > 12 else None


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


_CLOCK = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:[.,]\d+)?)")
_UNITS_OF_TIME = re.compile(
    r"(?:(\d+(?:\.\d+)?)\s*(?:hours?|hrs?|h|小时|时))?\s*"
    r"(?:(\d+(?:\.\d+)?)\s*(?:minutes?|mins?|m|分钟|分))?\s*"
    r"(?:(\d+(?:\.\d+)?)\s*(?:seconds?|secs?|s|秒钟|秒)?)?",
    re.IGNORECASE,
)
_END_OF_TIME = re.compile(r"\s*(?:seconds?|secs?|s|秒)$", re.IGNORECASE)
_AROUND_TIME = " <>[]()\"'`“”"


def parse_seconds(text: str) -> float | None:
    """Return the time of a film that `text` is, in seconds.

    "64.0", "64 s", "01:04.00" (minutes, seconds and hundredths), "00:01:04" and "1m 4s" are one.
    """
    text = unicodedata.normalize("NFKC", text[: MAX_CHARS + 1]).strip(_AROUND_TIME)
    if not text or len(text) > MAX_CHARS:
        return None
    if ":" in text:
        clock = _CLOCK.fullmatch(_END_OF_TIME.sub("", text))
        return _add_up(clock.groups(), whole=True) if clock else None
    units = _UNITS_OF_TIME.fullmatch(text)
    return _add_up(units.groups(), whole=False) if units else None


def _add_up(parts: tuple[str | None, ...], *, whole: bool) -> float | None:
    """Return hours, minutes and seconds as seconds; on a clock, an hour has sixty minutes."""
    hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in parts)
    crossed = whole and (seconds >= SIXTY or (parts[0] is not None and minutes >= SIXTY))
    total = (hours * SIXTY + minutes) * SIXTY + seconds
    return None if crossed or total > MOST else total
