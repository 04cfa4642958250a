"""Reads numbers as people print them; what may mean two is none, unless it is looked for.

"RM 1,234.50"   1234.5      "12,50 €"   12.5      "20 to 25"   None
"seventeen"     17          "十二个"     12
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import chain

MAX_CHARS = 100
"""A longer text is no number, no date and no time of day."""

MOST = 1e15
"""Above this a float no longer tells two whole numbers apart, and a loop wrote the digits."""

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


# Numbers in a text

_LOOSE = re.compile(r"(?<!\d)[.,]\d+|\d[\d.,'’]*")
_IN_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)(?:[.,]\d+)?")
_HAN_RUN = re.compile(f"(?:{_HAN_DIGIT}|十)+")
_PLAIN_DIGITS = re.compile(r"\d*\.?\d+")


def find_numbers(text: str) -> Iterator[float]:
    """Yield each number that a text may mean, without its sign: 1,234 is one of two.

    Numbers that stand side by side, as in a table, are each one, and 17 000 is one more.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    for found in chain(_LOOSE.finditer(text), _IN_GROUPS.finditer(text)):
        digits = found[0].rstrip(".,'’").translate(_NO_GAPS)
        for form in {digits.replace(",", ""), digits.replace(".", "").replace(",", ".")}:
            if _PLAIN_DIGITS.fullmatch(form):
                yield float(form)
    yield from (float(_WORDS[word]) for word in _WORD.findall(text) if word in _WORDS)
    named = (_parse_han(run) for run in _HAN_RUN.findall(text))
    yield from (float(number) for number in named if number is not None)


_NO_GAPS = str.maketrans("", "", " '’")
