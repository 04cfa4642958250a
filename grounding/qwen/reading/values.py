"""The values in an answer: numbers, strings, words and bracketed groups, each with its span."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from grounding.qwen.reading.matches import Place, merge_spans

LONGEST_NUMBER = 40
"""Characters of a number; longer digit runs come from a loop and are no number."""

PLACE_SIZES = (2, 4, 5)
"""Counts of numbers in a point, a box, and a box with a score."""

NUMBER = r"[-+−－＋]?(?:\d++(?:[.．]\d*+)?+|\.\d++)(?:[eE][-+]?\d++)?+"
_ASCII = str.maketrans("−－＋．", "--+.")


@dataclass(slots=True)
class Number:
    """A number. `value` is NaN or infinite where `text` is no usable number."""

    value: float
    text: str
    start: int
    end: int


@dataclass(slots=True)
class String:
    """A quoted text without its quotes; `start` and `end` include the quotes."""

    text: str
    start: int
    end: int


@dataclass(slots=True)
class Word:
    """Unquoted letters: a constant, a key or prose."""

    text: str
    start: int
    end: int


@dataclass(slots=True)
class Group:
    """The content of a pair of brackets: values in order, each with or without a key.

    `numbers` holds the values where all of them are numbers without a key, else nothing.
    `closed` is false where the closing bracket is missing. `keyed` means that this group or one
    inside it has keys. `name` is the function's name where the group is a call. While the group
    is being parsed, `key` is the key whose value has not been read.
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


def parse_number(text: str) -> float:
    """Return `text`, digits of any script, as a number; NaN beyond `LONGEST_NUMBER` characters."""
    if len(text) > LONGEST_NUMBER:
        return float("nan")
    return float(text.translate(_ASCII))


# Tags around numbers inside a string; <120> is a number itself.
_MARKUP = re.compile(r"<[|/a-zA-Z][^<>]*+>")
_ANGLES = re.compile(r"(?:<\s*+\d++\s*+>\s*+)++")
_BRACKETED = re.compile(r"[(\[{]([^()\[\]{}]*+)[)\]}]")
_PLAIN = re.compile(rf"\s*+{NUMBER}(?:(?:\s*+[,，;]\s*+|\s++){NUMBER})*+\s*+")
_BREAK = re.compile(r"[;；|\n]")
_LONE_NUMBER = re.compile(rf"\s*+{NUMBER}(?:\s?px)?\s*+")
_SINGLE = re.compile(NUMBER)
_BETWEEN = re.compile(r"[\s,，;；()\[\]{}]*+(?:to[\s(\[]*+)?")


def parse_lone_number(text: str) -> float | None:
    """Return the number that `text` consists of, or None."""
    if len(text) > LONGEST_NUMBER or not _LONE_NUMBER.fullmatch(text):
        return None
    return parse_number(text.strip().removesuffix("px").rstrip())


def parse_number_lists(
    text: str, *, corners: bool = True, cut: bool = False
) -> list[tuple[float, ...]] | None:
    """Return the lists of numbers that `text` consists of; None if it holds anything else.

    Reads "10 20 110 120", "(10,20),(110,120)", "[[10, 20, 110, 120]]" and "<10><20>, <30><40>".
    With `corners`, two bracketed pairs are one box. With `cut`, the text is cut off at its end,
    and lists without their closing bracket are left out.
    """
    text = _MARKUP.sub(" ", text)
    if "<" in text:
        return _parse_angle_lists(text, cut)
    if not _BRACKETED.search(text):
        return None if cut else _parse_plain_lists(text)
    lists = _parse_bracketed_lists(text, cut)
    if lists and corners and [len(numbers) for numbers in lists] == [2, 2]:
        return [lists[0] + lists[1]]
    return lists


def _parse_plain_lists(text: str) -> list[tuple[float, ...]] | None:
    """Return the boxes in "10, 20, 110, 120; 200, 20, 310, 130", or all numbers as one list."""
    parts = [part for part in _BREAK.split(text) if part.strip()]
    if not parts or not all(map(_PLAIN.fullmatch, parts)):
        return None
    lists = [find_numbers(part) for part in parts]
    several = all(len(numbers) in PLACE_SIZES[1:] for numbers in lists)
    return lists if several else [find_numbers(text)]


def _parse_angle_lists(text: str, cut: bool) -> list[tuple[float, ...]] | None:
    if cut:
        text = text[: max(text.rfind(">"), text.rfind(",")) + 1]
    if _ANGLES.sub("", text).strip(" ,;\n\t\r"):
        return None
    lists = [find_numbers(run) for run in _ANGLES.findall(text)]
    # Two numbers at the cut may be half of a box.
    return lists[:-1] if text.endswith(">") and cut and len(lists[-1]) == 2 else lists


def _parse_bracketed_lists(text: str, cut: bool) -> list[tuple[float, ...]] | None:
    if cut:
        text = text[: max(text.rfind(closer) for closer in ")]}") + 1]
    inner = _BRACKETED.findall(text)
    if not all(_PLAIN.fullmatch(part) for part in inner):
        return None
    if not all(_BETWEEN.fullmatch(gap) for gap in _BRACKETED.split(text)[::2]):
        return None
    lists = [find_numbers(part) for part in inner]
    if not all(len(numbers) in PLACE_SIZES for numbers in lists):
        return None
    return lists[:-1] if cut and len(lists) % 2 and len(lists[-1]) == 2 else lists


def find_numbers(text: str) -> tuple[float, ...]:
    """Return every number in `text`, in order."""
    return tuple(map(parse_number, _SINGLE.findall(text)))


# Escapes of a string

_CODE = r"u[0-9a-fA-F]{4}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}"
_ESCAPE = re.compile(rf"\\({_CODE}|.)", re.DOTALL)
_LEGAL = re.compile(rf"""(?:[^\\]++|\\(?:["'\\/bfnrt]|{_CODE}))*+""")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def unescape(raw: str) -> str | None:
    """Return `raw` with its escapes resolved, or None if one of them is illegal."""
    if not _LEGAL.fullmatch(raw):
        return None
    text = _ESCAPE.sub(lambda m: _resolve_escape(m[1]), raw)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _resolve_escape(code: str) -> str:
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _LETTERS.get(code, code)


def collect_numbers(group: Group) -> tuple[float, ...]:
    """Return the values of a list of numbers, quoted or not; nothing for other groups."""
    values: list[float] = []
    for key, entry in group.entries:
        value = _read_number(entry)
        if key is not None or value is None:
            return ()
        values.append(value)
    return tuple(values)


def _read_number(value: Value) -> float | None:
    if isinstance(value, Number):
        return value.value
    return parse_lone_number(value.text) if isinstance(value, String) else None


# Several values of one key, and values between tags

_QUOTE_MARKS = "\"'“”‘’`"
_JOINTS = {"to", "and", "-", "–", "—", "~", "→", "->", "到", "至"}
"""Words between the two corners of a box."""


def read_marked(text: str, start: int, end: int) -> Value:
    """Return the value between two tags: a list of numbers, or a text without its quotes."""
    lists = parse_number_lists(text) or []
    if lists and all(len(numbers) in PLACE_SIZES for numbers in lists):
        groups = [Group("(", start, end, closed=True, numbers=numbers) for numbers in lists]
        return groups[0] if len(groups) == 1 else _make_list(groups)
    text = text.strip()
    is_quoted = len(text) > 1 and text[0] in _QUOTE_MARKS and text[-1] in _QUOTE_MARKS
    return String(text[1:-1] if is_quoted else text, start, end)


def join_values(group: Group) -> bool:
    """Give each key of `group` all its values, and return whether there were such keys.

    In {"bbox_2d": (10,20),(110,120), "label": "cat"}, the second pair has no key of its own.
    """
    if all(key is not None for key, _ in group.entries):
        return False
    runs: list[tuple[Key | None, list[Value]]] = []
    for key, value in group.entries:
        if key is None and runs and runs[-1][0] is not None and _continues(runs[-1][1][-1], value):
            runs[-1][1].append(value)
        elif not (key is None and isinstance(value, Word) and value.text.lower() in _JOINTS):
            runs.append((key, [value]))
    joined = any(len(values) > 1 for _, values in runs)
    if joined:
        group.entries = [(key, _join(values)) for key, values in runs]
        if not group.closed and isinstance(last := group.entries[-1][1], Group):
            last.closed = False
    return joined


def _continues(last: Value, value: Value) -> bool:
    """Return whether `value` is of the same kind as `last`: a number, or a list of numbers."""
    if isinstance(last, Group) and isinstance(value, Group):
        return len(last.numbers) == len(value.numbers) > 1
    if isinstance(last, String) and isinstance(value, String):
        return bool(parse_number_lists(last.text) and parse_number_lists(value.text))
    return isinstance(last, Number) and isinstance(value, Number)


def _join(values: list[Value]) -> Value:
    """Return several values of one key as one: numbers as a list, two pairs as a box."""
    start, end = values[0].start, values[-1].end
    groups = [value for value in values if isinstance(value, Group)]
    numbers = tuple(n for group in groups for n in group.numbers)
    if len(values) == 1:
        return values[0]
    if isinstance(values[0], String):
        return String(",".join(v.text for v in values if isinstance(v, String)), start, end)
    if not groups:
        numbers = tuple(value.value for value in values if isinstance(value, Number))
    elif len(groups) != 2 or len(numbers) != 4:
        return _make_list(groups)
    closed = all(group.closed for group in groups)
    return Group("(", start, end, closed=closed, numbers=numbers)


def _make_list(groups: list[Group]) -> Group:
    closed = all(group.closed for group in groups)
    entries: list[tuple[Key | None, Value]] = [(None, group) for group in groups]
    return Group("[", groups[0].start, groups[-1].end, closed=closed, entries=entries)


# Places

NESTED = ("[[", "[(", "((", "([")
"""Beginnings of a list of pairs; pairs without a list around them are corners."""


def read_places(value: Value, *, corners: bool, polygon: bool = False) -> list[Place]:
    """Return the place, or the list of places, in a value.

    With `corners`, two pairs are a box. With `polygon`, vertices become the box around them.
    """
    if isinstance(value, String):
        span = value.start, value.end
        is_box = corners or not value.text.lstrip().startswith(NESTED)
        lists = parse_number_lists(value.text, corners=is_box and not polygon) or []
        places = [(numbers, span) for numbers in lists]
    elif not isinstance(value, Group) or value.keyed:
        return []
    elif (corners or polygon) and _is_nested(value):
        inner = (v for _, v in value.entries)
        return [p for v in inner for p in read_places(v, corners=corners, polygon=polygon)]
    else:
        places = _list_closed(value)
    return join_pairs(places, polygon) if corners or polygon else places


def _is_nested(group: Group) -> bool:
    """Return whether a group is a list of lists of pairs."""
    inner = [value for _, value in group.entries]
    return bool(inner) and all(isinstance(v, Group) and v.entries and not v.numbers for v in inner)


def join_pairs(places: list[Place], polygon: bool) -> list[Place]:
    """Return `places` with pairs joined to boxes: corners, or the box around vertices."""
    if len(places) > 1 and all(len(numbers) == 2 for numbers, _ in places):
        boxes = [_join_corners(a, b) for a, b in zip(places[::2], places[1::2], strict=False)]
        if len(places) == 2 or (not polygon and len(places) % 2 == 0 and all(map(_is_box, boxes))):
            return boxes
        (start, _), (_, end) = places[0][1], places[-1][1]
        return [(enclose(tuple(n for numbers, _ in places for n in numbers)), (start, end))]
    if polygon:
        return [(enclose(n) if len(n) > 5 and len(n) % 2 == 0 else n, span) for n, span in places]
    return places


def _join_corners(first: Place, second: Place) -> Place:
    return first[0] + second[0], merge_spans(first[1], second[1])


def _is_box(place: Place) -> bool:
    """Return whether the second corner lies below and to the right of the first."""
    x1, y1, x2, y2 = place[0]
    return x1 < x2 and y1 < y2


def _list_closed(group: Group) -> list[Place]:
    lists: list[Place] = []
    waiting = [group]
    while waiting:
        current = waiting.pop()
        if current.numbers and current.closed:
            lists.append((current.numbers, (current.start, current.end)))
        waiting += [v for _, v in reversed(current.entries) if isinstance(v, Group)]
    return lists


def read_keyed_places(value: Value) -> list[Place]:
    """Return the places under a key of unknown meaning; a string must begin with a bracket."""
    if isinstance(value, String) and value.text.lstrip()[:1] not in tuple("([<"):
        return []
    return read_places(value, corners=False)


def enclose(numbers: tuple[float, ...]) -> tuple[float, ...]:
    """Return the smallest box around points given as x1, y1, x2, y2, x3, ..."""
    xs, ys = numbers[::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)
