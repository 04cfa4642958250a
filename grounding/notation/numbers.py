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

_PLAIN = re.compile(r"[-+]?\d+(?:\.\d+)?[eE][-+]?\d+")
_NUMERAL = re.compile(
    r"(?:(?<![\w.,-])|(?<=\b[A-Z])|(?<=\b[A-Z]{2})|(?<=\b[A-Z]{3})|(?<=\b[A-Z]{2}[$£€]))"
    r"(?:(?:(?<![A-Z])[-+])?\d[\d.,]*+|[-+]?\.\d+)"
)
_ANY_DIGIT = re.compile(r"\d")
_SPACED = re.compile(r"(?<=\d)[ \u00a0\u202f'’_](?=\d{3}(?!\d))")
_GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}(?:([.,])\d{3})(?:\1\d{3})*")
_UNCLEAR = re.compile(
    r"\d\s*(?:-|–|—|~|to|bis|至|到|x|×|\*)\s*\d|^-\s|\d\s?-$|^\(\s*\d+\s*\)$|"
    r"[$£€¥][\d.,\s]*m\b|^[A-Z]{3}\s?[\d.,]+m\b",
    re.IGNORECASE,
)
"""Two numbers, a minus or a bullet, a number in brackets or a negative one, metres or millions."""

_WHOLE = re.compile(r"(?<=\d)[.,][-–—]{1,2}(?!\d)")
_VULGAR = re.compile(r"(?<!\d)(\d{0,9})\s?([¼-¾⅐-⅞])")
_MIXED = re.compile(r"(?<![\d/.,])(\d{1,9})\s+(\d)/([2-9]|1[06])(?![\d/.,])")
_MINUS = re.compile(r"-(?=[$£€¥]|[A-Z]{2,3}\s?\d)|(?:minus|negative)\s|负", re.IGNORECASE)
_ACCOUNT = re.compile(r"[$£€¥]?\s?\(\s?[$£€¥]?\s?\d[\d.,']*[.,]\d\d\s?[$£€¥]?\s?\)\s?[$£€¥]?")

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_LARGE = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: n for n, word in enumerate(_SMALL.split())} | {
    word: 10 * n for n, word in enumerate(_LARGE.split(), start=2)
}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_SHORT_SCALES = {"k": 10**3, "tsd": 10**3, "mio": 10**6, "bn": 10**9, "mrd": 10**9}
_SHORT_SCALES |= {"百": 100, "千": 10**3, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_SCALE = re.compile(
    rf"(k)\b|\s?(?:({'|'.join(_SCALES)})s?\b|(tsd|mio|bn|mrd)\b|([百千万萬亿億]))", re.IGNORECASE
)
_NUMBER_WORD = rf"\b(?:{'|'.join((*_WORDS, *_SCALES))})\b"
_NUMBER_WORDS = re.compile(rf"{_NUMBER_WORD}(?:(?:[\s-]+|\s+and\s+){_NUMBER_WORD})*")
_HAN = {han: n for n, han in enumerate("零一二三四五六七八九十")} | {"两": 2, "〇": 0}


_HAN_DIGIT = "[零一二三四五六七八九两〇]"
_HAN_NUMBER = re.compile(
    rf"({_HAN_DIGIT})?(十)?({_HAN_DIGIT})?[个只条张件座棵朵位名匹台把辆头颗枚]?"
)


def parse_number(text: str) -> float | None:
    """Return the one number in `text`, with or without a unit, in digits or as a word.

    A point or a comma before the last digits is a decimal sign, unless it separates a group of
    three: then a comma separates thousands, and a point does where there are several. Words may
    stand beside the number, but no second one; k, million and 万 multiply it.
    """
    text = _VULGAR.sub(_to_decimals, text[: MAX_CHARS + 1])
    text = unicodedata.normalize("NFKC", text).replace("−", "-").strip()
    text = _MIXED.sub(_to_decimals, _WHOLE.sub(",00", text))
    if len(text) > MAX_CHARS or _UNCLEAR.search(text):
        return None
    if _PLAIN.fullmatch(text):
        return float(text) if abs(float(text)) < MOST else None
    minus = _MINUS.match(text)
    text = _SPACED.sub("", text[minus.end() :] if minus else text)
    found = {_scale(one, text) for one in _NUMERAL.finditer(text)}
    found = found or (set() if _ANY_DIGIT.search(text) else _named(text))
    number = found.pop() if len(found) == 1 else None
    if number is None or abs(number) >= MOST or (minus and number < 0):
        return None
    return -number if minus or _ACCOUNT.fullmatch(text) else number


def _to_decimals(found: re.Match[str]) -> str:
    """Return ½, 2½ and 1 1/2 as 0.5, 2.5 and 1.5."""
    whole, *parts = found.groups()
    share = unicodedata.numeric(parts[0]) if len(parts) == 1 else int(parts[0]) / int(parts[1])
    return found[0] if share >= 1 else repr(int(whole or 0) + share)


def _scale(numeral: re.Match[str], text: str) -> float | None:
    number, times = _to_float(numeral[0]), _scale_after(numeral, text)
    return None if number is None else number * times


def _scale_after(numeral: re.Match[str], text: str) -> int:
    found = _SCALE.match(text, numeral.end())
    word = next(filter(None, found.groups()), "").lower() if found else ""
    return (_SCALES | _SHORT_SCALES).get(word, 1)


def _named(text: str) -> set[float | None]:
    han = _parse_han(text)
    return {float(han)} if han is not None else set(_read_words(text))


def _read_words(text: str) -> Iterator[float | None]:
    """Yield the number of each run of number words; None for a run of two numbers."""
    for run in _NUMBER_WORDS.findall(text.casefold()):
        total, part = 0, 0
        for word in re.findall(r"[a-z]+", run.replace(" and ", " ")):
            if (times := _SCALES.get(word, 0)) >= 1000:
                total, part = total + (part or 1) * times, 0
            elif times:
                part = (part or 1) * times
            elif part % 100 and (part % 100 < 20 or part % 10 or not 0 < _WORDS[word] < 10):
                total = -1
                break
            else:
                part += _WORDS[word]
        yield None if total < 0 else float(total + part)


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
    text = unicodedata.normalize("NFKC", _VULGAR.sub(_to_decimals, text)).casefold()
    for found in chain(_LOOSE.finditer(text), _IN_GROUPS.finditer(text)):
        digits = found[0].rstrip(".,'’").translate(_NO_GAPS)
        for form in {digits.replace(",", ""), digits.replace(".", "").replace(",", ".")}:
            if _PLAIN_DIGITS.fullmatch(form):
                yield from {float(form), float(form) * _scale_after(found, text)}
    yield from (number for number in _read_words(text) if number is not None)
    named = (_parse_han(run) for run in _HAN_RUN.findall(text))
    yield from (float(number) for number in named if number is not None)


_NO_GAPS = str.maketrans("", "", " '’")
