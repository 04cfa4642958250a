"""Reads dates as people print them; what may mean two days is none, unless it is looked for.

"01 Jun 2018"   2018-06-01      "2018年6月1日"   2018-06-01      "06/05/2024"   None
"12.04.2018"    2018-04-12      "06/2018"       None, and 2018-06-01 where a month is asked for
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from itertools import islice, pairwise

from grounding.notation.numbers import MAX_CHARS, normalize, parse_number
from grounding.notation.times import MOST_FOUND, cut_times, split_time

MONTHS = {
    name: month
    for month, names in enumerate(
        (
            "jan january januar jänner januari janvier janv enero ene gennaio janeiro",
            "feb february februar februari février févr fevrier febrero febbraio fevereiro fev",
            "mar march mär mrz märz mars marzo março maart mrt",
            "apr april avril avr abril abr aprile",
            "may mai mayo maggio maio mei",
            "jun june juni juin junio giugno giu junho",
            "jul july juli juillet juil julio luglio lug julho",
            "aug august août aout agosto ago augustus",
            "sep sept september septembre septiembre setiembre settembre setembro",
            "oct october okt oktober octobre octubre ottobre ott outubro",
            "nov november novembre noviembre novembro",
            "dec december dez dezember décembre déc decembre diciembre dic dicembre dezembro",
        ),
        start=1,
    )
    for name in names.split()
}
"""Months by their names and abbreviations, in lower case.

In English, German, French, Spanish, Italian, Portuguese and Dutch; without those that are common
words of another language, such as "set" and "out".
"""

_MARK = r"\s*(?P<mark>[-/. ])\s*"
_ISO = re.compile(
    rf"(?P<year>\d{{4}}){_MARK}(?P<month>\d{{1,2}})(?:\s*(?P=mark)\s*(?P<day>\d{{1,2}}))?"
)
_HAN = re.compile(
    r"(?P<year>\d{4})\s*年\s*(?P<month>\d{1,2})\s*(?:月\s*(?:(?P<day>\d{1,2})\s*[日号]?)?)?"
)
_DAY_FIRST = re.compile(rf"(\d{{1,2}}){_MARK}(\d{{1,2}})(?:\s*(?P=mark)\s*|\s+)(\d{{4}})")
_MONTH = r"(?P<month>[a-zà-ÿ]{3,10})"
_ORDINAL = r"(?:st|nd|rd|th|er|o|º|°)"
_NAMED = re.compile(
    rf"(?:(?P<day>\d{{1,2}})(?:{_ORDINAL}(?!\w)|\.)?[\s/-]*(?:(?:of|de) )?)?{_MONTH}\.?,?[\s/-]*"
    r"(?:del? )?(?:(?P<day2>\d{1,2})(?:st|nd|rd|th)?(?:\s*[,/-]\s*|\s+))?(?P<year>\d{4})"
)
_NAMED_BEHIND = re.compile(
    rf"(?P<year>\d{{4}})[\s,./-]*{_MONTH}\.?[\s-]*(?P<day>\d{{1,2}})(?:st|nd|rd|th)?"
)
_COMPACT = re.compile(r"(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})")
_MONTH_YEAR = re.compile(r"(?P<month>\d\d|\d(?=\s*[-/.]))\s*[-/. ]\s*(?P<year>\d{4})")
_WEEKDAY_NAME = (
    "(?:mon(?:day)?|tue(?:s(?:day)?)?|wed(?:s|nesday)?|thu(?:rs?(?:day)?)?|fri(?:day)?|"
    r"sat(?:urday)?|sun(?:day)?)\b"
)
_WEEKDAYS = (
    "montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonntag|lundi|mardi|mercredi|jeudi|"
    "vendredi|samedi|dimanche|lunes|martes|miércoles|jueves|viernes|sábado|domingo|lunedì|martedì|"
    "mercoledì|giovedì|venerdì|sabato|domenica|maandag|dinsdag|woensdag|donderdag|vrijdag|zaterdag|"
    "zondag|(?:segunda|terça|quarta|quinta|sexta)-feira"
)
_WEEKDAY = re.compile(
    rf"^(?:{_WEEKDAY_NAME}|(?:mo|di|mi|do|fr|sa|so)\b|"
    rf"(?:{_WEEKDAYS})\b)[.,]*\s*|"
    rf"\s*\(?(?:\b{_WEEKDAY_NAME}|(?:星期|周)[一二三四五六日天])\)?$",
    re.IGNORECASE,
)
_LINK = re.compile(r"^(?:(?:on|am|den)\s|[-|·@]\s)\s*|(?:\s(?:at|um)|\s[-|·@])$", re.IGNORECASE)
"""What stands between a day and a time."""

_YEAR = re.compile(r"(\d{4})年?")


def parse_datetime(text: str, form: str = "YYYY-MM-DD") -> datetime | None:
    """Return the date in `text`, with its time of day or midnight; None where it has no date.

    `form` shows the parts that are asked for. Where no day is, the date is the first of its month
    or, for a year alone, of its year; a text that lacks a part that is asked for is none. A day and
    a month in digits are told apart by a point between them (the day comes first) or by a day above
    twelve; else the date is none.
    """
    text = _write_digits(normalize(text[: MAX_CHARS + 1])).strip()
    if len(text) > MAX_CHARS:
        return None
    if (day := _parse_date(text) or _parse_begun(text, form)) is not None:
        return datetime.combine(_begin(day, form), time())
    clock = split_time(text)
    day = _parse_date(_LINK.sub("", clock[1] or clock[2])) if clock else None
    return datetime.combine(_begin(day, form), clock[0]) if clock and day is not None else None


def _begin(day: date, form: str) -> date:
    """Return the first day of what is asked for: of the month, or of the year."""
    if "D" in form:
        return day
    return day.replace(day=1) if "YYYY-MM" in form else day.replace(month=1, day=1)


_HAN_DATE = re.compile(
    r"([〇零○一二三四五六七八九]{4})年([一二三四五六七八九十]{1,2})月(?:([一二三四五六七八九十]{1,3})[日号])?"
)


def _write_digits(text: str) -> str:
    """Return a text with its dates in Chinese numerals in digits: 二〇二四年三月五日."""
    return _HAN_DATE.sub(_to_digits, text)


def _to_digits(found: re.Match[str]) -> str:
    year = "".join(str("〇一二三四五六七八九".find(digit)) for digit in _ZERO.sub("〇", found[1]))
    month, day = (parse_number(part) if part else None for part in found.group(2, 3))
    if month is None or (found[3] and day is None):
        return found[0]
    return f"{year}年{month:g}月" + (f"{day:g}日" if day else "")


_ZERO = re.compile("[零○]")


def _parse_date(text: str) -> date | None:
    """Return the date in day, month and year, with or without its day of the week."""
    text = _WEEKDAY.sub("", text.strip(" .,")).casefold()
    if found := _DAY_FIRST.fullmatch(text):
        return _day_and_month(int(found[1]), int(found[3]), int(found[4]), pointed="." in text)
    if found := _COMPACT.fullmatch(text) or _ISO.fullmatch(text) or _HAN.fullmatch(text):
        day = found["day"]
        return _date(int(found["year"]), int(found["month"]), int(day)) if day else None
    found = _NAMED_BEHIND.fullmatch(text) or _NAMED.fullmatch(text)
    parts = found.groupdict() if found else {}
    days = [part for name, part in parts.items() if part and name.startswith("day")]
    if len(days) != 1:
        return None
    return _date(int(parts["year"]), MONTHS.get(parts["month"], 0), int(days[0]))


def _parse_begun(text: str, form: str) -> date | None:
    """Return the first day of the month or the year that a text is, where `form` asks for these."""
    if "D" in form:
        return None
    text = text.strip(" .,").casefold()
    found = _ISO.fullmatch(text) or _HAN.fullmatch(text) or _MONTH_YEAR.fullmatch(text)
    parts = found.groupdict() if found else {}
    if found and not parts.get("day") and (parts.get("mark") != " " or len(parts["month"]) == 2):
        return _date(int(found["year"]), int(found["month"]), 1)
    if (found := _NAMED.fullmatch(text)) and not (found["day"] or found["day2"]):
        return _date(int(found["year"]), MONTHS.get(found["month"], 0), 1)
    found = None if "YYYY-MM" in form else _YEAR.fullmatch(text)
    return _date(int(found[1]), 1, 1) if found else None


def _day_and_month(first: int, second: int, year: int, *, pointed: bool) -> date | None:
    if pointed or first > 12 or first == second:
        return _date(year, second, first)
    return _date(year, first, second) if second > 12 else None


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day) if year >= 1000 else None
    except ValueError:
        return None


# A date in parts

_DAY_PARTS, _CLOCK_PARTS = ("year", "month", "day"), ("hour", "minute")
_NAMES = ("date", *_DAY_PARTS, "time", *_CLOCK_PARTS)
_HALVES = ("ampm", "period", "meridiem")
_PARTS = re.compile(r"(?:date|year(?: month(?: day)?)?)?(?:(?:^| )(?:time|hour minute))?")
"""Which parts make a moment: none is left out before a smaller one."""

_LEFT_OUT = {"second", "seconds", "timezone", "weekday", "dayofweek"}


def join_moment(named: Mapping[str, str]) -> str:
    """Return the named parts of a date, a time or both as one text.

    It is empty where a part is missing or unknown. Names are in lower case and without spaces.
    """
    parts = {name: named[name] for name in _NAMES if name in named}
    if not (_PARTS.fullmatch(" ".join(parts)) and {*_NAMES, *_HALVES, *_LEFT_OUT} >= named.keys()):
        return ""
    day = [parts[name] for name in _DAY_PARTS if name in parts]
    decimal = all(map(str.isdecimal, day))
    whole = parts.get("date") or ("-".join(day) if decimal else " ".join(day[::-1]))
    digits = (parts[name].zfill(2) for name in _CLOCK_PARTS if name in parts)
    half = (named[name] for name in _HALVES if name in named)
    return " ".join(filter(None, (whole, parts.get("time") or ":".join(digits), *half)))


# Dates in a text


@dataclass(frozen=True, slots=True)
class Day:
    """A date that a text may mean, None for what it does not say; a year may have two digits."""

    year: int | None = None
    month: int | None = None
    day: int | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """A number or, without digits, a month's name; `mark` separates it from the part before.

    It is None where that is no neighbour.
    """

    value: int
    digits: int
    mark: str | None


_RUN = re.compile(r"\d+|[^\W\d_]+")
_GAP = re.compile(r"[\s.,/|:'’_·–—-]{0,4}")
_LINKS = dict.fromkeys(("st", "nd", "rd", "th", "er", "o", "of", "the", "de", "del"), "")
_LINKS |= dict.fromkeys("年月日号", "年")
_ORDERS = {3: ("dmy", "mdy", "ymd", "ydm"), 2: ("my", "ym", "dm", "md"), 1: ("y", "m")}
"""Which parts stand together, by their number: day, month and year."""


def find_days(text: str) -> Iterator[Day]:
    """Yield each date that a text may mean: 06/05/18 is one of three.

    The parts of a date stand next to each other. What is a part of a longer date is none of its
    own.
    """
    parts = list(islice(_parts(_write_digits(normalize(text)).casefold()), MOST_FOUND))
    taken: set[int] = set()
    for size, orders in _ORDERS.items():
        longer = frozenset(taken)
        for at in range(len(parts) - size + 1):
            days = list(_read(parts[at : at + size], orders))
            if days and longer.isdisjoint(range(at, at + size)):
                taken.update(range(at, at + size))
                yield from days


def _parts(text: str) -> Iterator[_Part]:
    text, end = " ".join(cut_times(text).split()), 0
    mark: str | None = None
    for run in _RUN.finditer(text):
        between, end = text[end : run.start()], run.end()
        near = mark is not None and _GAP.fullmatch(between)
        mark = f"{mark}{between}".replace(" ", "").strip("'’") if near else None
        word = run[0]
        if word in _LINKS:
            mark = None if mark is None else mark + _LINKS[word]
        elif word in MONTHS:
            yield _Part(MONTHS[word], 0, mark)
            mark = ""
        else:
            yield from _numbers(word, mark)
            mark = "" if len(word) in (1, 2, 4) and word.isdecimal() else None


def _numbers(word: str, mark: str | None) -> Iterator[_Part]:
    """Yield a number of a date, or the three of 20180601, 01062018 and 010618."""
    if not word.isdecimal():
        return
    if len(word) in (1, 2, 4):
        yield _Part(int(word), len(word), mark)
    elif len(word) in (6, 8):
        first = 4 if len(word) == 8 and word[:2] in ("19", "20") else 2
        ends = (0, first, first + 2, len(word))
        for start, stop in pairwise(ends):
            yield _Part(int(word[start:stop]), stop - start, "-" if start else None)


def _read(window: Sequence[_Part], orders: Sequence[str]) -> Iterator[Day]:
    """Yield what these parts mean as one date, in each order of its parts."""
    ends = window[1:-1] if _ends_apart(window) else window[1:]
    marks = {part.mark for part in ends}
    named = any(not part.digits for part in window)
    if None in marks or not (named or len(marks) < 2) or (marks == {""} and not _is_set(window)):
        return
    for order in orders:
        told = dict(zip(order, window, strict=True))
        if (named or order != "ydm") and all(_fits(*one, len(order)) for one in told.items()):
            yield Day(*(told[one].value if one in told else None for one in "ymd"))


def _ends_apart(window: Sequence[_Part]) -> bool:
    """Say whether a year in full stands behind a day and a month as in 25/12 2018."""
    return len(window) == 3 and window[-1].mark == "" and window[-1].digits == 4


def _is_set(window: Sequence[_Part]) -> bool:
    """Say whether numbers without a mark are a date: named, or in full as in 01 06 2018."""
    digits = sorted(part.digits for part in window)
    return 0 in digits or digits in ([2, 2, 4], [2, 4])


def _fits(role: str, part: _Part, size: int) -> bool:
    if role == "y":
        return part.digits == 4 or (part.digits == 2 and size > 1)
    if role == "m" and not part.digits:
        return True
    return 1 <= part.value <= (31 if role == "d" else 12) and part.digits in (1, 2) and size > 1
