"""What stands in brackets: numbers, strings, words and groups, each with its place in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LONGEST_NUMBER = 40
"""Characters beyond which digits are a runaway and no number."""

PLACE_SIZES = (2, 4, 5)
"""How many numbers make a point, a box, a box with its score."""

NUMBER = r"[-+−－＋]?(?:\d++(?:[.．]\d*+)?+|\.\d++)(?:[eE][-+]?\d++)?+"
_ASCII = str.maketrans("−－＋．", "--+.")


@dataclass(slots=True)
class Number:
    """A number; its value is not finite where `text`, as written, is no usable one."""

    value: float
    text: str
    start: int
    end: int


@dataclass(slots=True)
class String:
    """A quoted text without its quotes; `start` and `end` enclose the quotes."""

    text: str
    start: int
    end: int


@dataclass(slots=True)
class Word:
    """Bare letters: a constant, an unquoted key or prose."""

    text: str
    start: int
    end: int


@dataclass(slots=True)
class Group:
    """What stands between two brackets, as entries with or without a key.

    `numbers` are the entries' values where all of them are bare numbers, else empty. A group
    that is not `closed` has lost its closing bracket. `keyed` says that it or a group within has
    keys. `name` is the function's where the group is a call, and `key` the one that waits for
    its value.
    """

    opener: str
    start: int
    end: int = -1
    closed: bool = False
    entries: list[tuple[Key | None, Value]] = field(default_factory=list)
    numbers: tuple[float, ...] = ()
    keyed: bool = False
    name: str | None = None
    key: Key | None = None
    repaired: bool = False


Key = String | Word | Number
Value = Key | Group


def number(text: str) -> float:
    """Return the number that `text` writes, in any script's digits; NaN for a runaway."""
    if len(text) > LONGEST_NUMBER:
        return float("nan")
    return float(text.translate(_ASCII))


# The tags that may stand round numbers inside a string; <120> is itself a number.
_MARKUP = re.compile(r"<[|/a-zA-Z][^<>]*+>")
_ANGLES = re.compile(r"(?:<\s*+\d++\s*+>\s*+)++")
_BRACKETED = re.compile(r"[(\[{]([^()\[\]{}]*+)[)\]}]")
_PLAIN = re.compile(rf"\s*+{NUMBER}(?:(?:\s*+[,，;]\s*+|\s++){NUMBER})*+\s*+")
_LONE_NUMBER = re.compile(rf"\s*+{NUMBER}(?:\s?px)?\s*+")
_SINGLE = re.compile(NUMBER)
_BETWEEN = re.compile(r"[\s,，;；()\[\]{}]*+(?:to[\s(\[]*+)?")


def lone_number(text: str) -> float | None:
    """Return the number that is all of `text`, or None."""
    if len(text) > LONGEST_NUMBER or not _LONE_NUMBER.fullmatch(text):
        return None
    return number(text.strip().removesuffix("px").rstrip())


def number_lists(
    text: str, *, corners: bool = True, cut: bool = False
) -> list[tuple[float, ...]] | None:
    """Return the lists of numbers that are all of `text`, or None where it holds anything else.

    Reads "10 20 110 120", "(10,20),(110,120)", "[[10, 20, 110, 120]]" and "<10><20>, <30><40>".
    With `corners`, two bracketed pairs are one box. With `cut`, the text was cut off at its end,
    and only lists that were closed count.
    """
    text = _MARKUP.sub(" ", text)
    if "<" in text:
        return _angle_lists(text, cut)
    if not _BRACKETED.search(text):
        return [numbers_in(text)] if not cut and _PLAIN.fullmatch(text) else None
    lists = _bracketed_lists(text, cut)
    if lists and corners and [len(numbers) for numbers in lists] == [2, 2]:
        return [lists[0] + lists[1]]
    return lists


def _angle_lists(text: str, cut: bool) -> list[tuple[float, ...]] | None:
    if cut:
        text = text[: max(text.rfind(">"), text.rfind(",")) + 1]
    if _ANGLES.sub("", text).strip(" ,;\n\t\r"):
        return None
    lists = [numbers_in(run) for run in _ANGLES.findall(text)]
    # Two numbers at the cut may be half a box.
    return lists[:-1] if text.endswith(">") and cut and len(lists[-1]) == 2 else lists


def _bracketed_lists(text: str, cut: bool) -> list[tuple[float, ...]] | None:
    if cut:
        text = text[: max(text.rfind(closer) for closer in ")]}") + 1]
    inner = _BRACKETED.findall(text)
    if not all(_PLAIN.fullmatch(part) for part in inner):
        return None
    if not all(_BETWEEN.fullmatch(gap) for gap in _BRACKETED.split(text)[::2]):
        return None
    lists = [numbers_in(part) for part in inner]
    if not all(len(numbers) in PLACE_SIZES for numbers in lists):
        return None
    return lists[:-1] if cut and len(lists) % 2 and len(lists[-1]) == 2 else lists


def numbers_in(text: str) -> tuple[float, ...]:
    """Return every number in `text`, in order."""
    return tuple(map(number, _SINGLE.findall(text)))
