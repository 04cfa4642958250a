"""Reads records without brackets: indented lines such as YAML and TOML have, and names over places.

    - label: cat                      cat
      bbox_2d: [10, 20, 110, 120]     [10, 20, 110, 120]

    cat 10,20,110,120

Indentation and list marks take the place of brackets; the reader of bracketed groups does the
rest. Numbers under names are read where each place has a name, and several names are there: one
line above places is as often a title.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import NamedTuple

from grounding.qwen.reading.fields import Role, classify_key
from grounding.qwen.reading.lenient_json import OPENERS, Parser
from grounding.qwen.reading.lines import (
    LONGEST_NAME,
    WITH_DIGIT,
    find_name_before,
    is_empty_word,
    strip_bullet,
    strip_name,
    unquote,
)
from grounding.qwen.reading.matches import Match, Matches
from grounding.qwen.reading.records import DIGITS, read_group
from grounding.qwen.reading.values import (
    PLACE_SIZES,
    Group,
    Number,
    String,
    Value,
    Word,
    find_numbers,
    parse_lone_number,
    parse_number_lists,
)

MAX_DEPTH = 64
"""Limit of nested lines; a text with more is no answer."""

_MARK = re.compile(r"[-*•][ \t]++|\d{1,3}[.)][ \t]++|\[\[?[\w. ]{1,40}\]\]?[ \t]*+$")
_KEY = re.compile(
    r"[\"'`*]*+(?P<key>[^\W\d][^\n:：=\"'`*\[\](){}<>,，]{0,60}+)[\"'`*]*+[ \t]*+"
    r"(?:[=：]|:(?=[\s\"'*\d\[({]|\Z))[* \t]*+"
)
_LINE = re.compile(r"^[^\S\n]*+\S[^\n]*+", re.MULTILINE)
_ENDS_A_LINE = re.compile(r"[ \t]*+[,;]?[ \t\r]*+(?:\n|\Z)")
_NAMES = re.compile(r"\s*(?:[,，、;；]|\band\b|和)\s*")
_FENCE = ("```", "~~~", "---")


def read_blocks(text: str, *, complete: bool) -> Matches:
    """Return the places of lines that are records; if the text is not `complete`, its last one
    is left out."""
    found = Matches()
    blocks = _Blocks(text)
    blocks.read(complete=complete)
    read_group(blocks.root, found)
    if found.items and all(map(_has_name, found.items)):
        return found
    return _read_headed(text, complete=complete)


def _has_name(match: Match) -> bool:
    """Return whether a label is no heading such as "The position of the target"."""
    return match.label is not None and find_name_before(f"{match.label}:") is not None


@dataclass(slots=True)
class _Level:
    """An open group, and the column in which its entries begin."""

    column: int
    group: Group


@dataclass(slots=True)
class _Blocks:
    """Puts lines into groups by their columns."""

    text: str
    root: Group = field(init=False)
    levels: list[_Level] = field(init=False)

    def __post_init__(self) -> None:
        self.root = Group("[", 0)
        self.levels = [_Level(-1, self.root)]

    def read(self, *, complete: bool) -> None:
        """Read all lines; the groups of the last one stay open where the text is cut."""
        behind = 0
        for line in _LINE.finditer(self.text):
            if line.start() < behind or line[0].lstrip().startswith(_FENCE):
                continue
            behind = self._read_line(line)
        while self.levels:
            self._pop(closed=complete)

    def _read_line(self, line: re.Match[str]) -> int:
        """Add a line's values, and return where they end."""
        at = line.end() - len(line[0].lstrip())
        listed = False
        while mark := _MARK.match(self.text, at, line.end()):
            self._descend(at - line.start(), "[", at)
            at, listed = mark.end(), True
        key = _KEY.match(self.text, at, line.end())
        if key:
            self._descend(at - line.start(), "{", at)
            self.levels[-1].group.key = Word(key["key"].strip(), *key.span())
            at = key.end()
        elif not listed:
            self._climb(at - line.start())
        return self._add(at, line.end())

    def _add(self, at: int, end: int) -> int:
        """Give the value at `at` to the key or list that waits for it; return where it ends."""
        value = _read_value(self.text, at, end)
        if value is None:
            return end
        group = self.levels[-1].group
        group.entries.append((group.key, value))
        group.key = None
        return max(end, value.end)

    def _climb(self, column: int) -> None:
        """End the groups that a line at `column`, without a mark or a key, is not in."""
        while len(self.levels) > 1 and self.levels[-1].column > column:
            self._pop(closed=True)

    def _descend(self, column: int, opener: str, at: int) -> None:
        """Make the group that a line at `column` belongs to the innermost one."""
        while len(self.levels) > 1 and self._is_over(self.levels[-1], column, opener):
            self._pop(closed=True)
        top = self.levels[-1]
        if (top.column, top.group.opener) != (column, opener) and len(self.levels) < MAX_DEPTH:
            self.levels.append(_Level(column, Group(opener, at, at)))

    def _is_over(self, level: _Level, column: int, opener: str) -> bool:
        """Return whether a line at `column` ends a group.

        A list may begin in the column of its own key, which waits for it.
        """
        if level.column != column:
            return level.column > column
        return level.group.opener != opener and not (opener == "[" and level.group.key)

    def _pop(self, *, closed: bool) -> None:
        """End the innermost group, and give it to the key or list around it."""
        group = self.levels.pop().group
        values = [value for _, value in group.entries]
        group.end = max([group.start, *(value.end for value in values)])
        group.closed = closed
        numbers = tuple(value.value for value in values if isinstance(value, Number))
        if len(numbers) == len(values) and group.opener == "[":
            group.numbers = numbers
        inner = any(isinstance(value, Group) and value.keyed for value in values)
        group.keyed = inner or any(key for key, _ in group.entries)
        if self.levels:
            parent = self.levels[-1].group
            parent.entries.append((parent.key, group))
            parent.key = None


def _read_value(text: str, start: int, end: int) -> Value | None:
    """Return the value in a line's rest: a bracketed group, a number or a text."""
    if start < end and text[start] in OPENERS:
        group = Parser(text, start).parse()
        if not group.closed or _ENDS_A_LINE.match(text, group.end):
            group.end = group.end if group.closed else len(text)
            return group
    words = text[start:end].strip().rstrip(",;").strip()
    number = parse_lone_number(words)
    if number is not None:
        return Number(number, words, start, end)
    return String(unquote(words), start, end) if words else None


# Names over places


class _Run(NamedTuple):
    """Names in lines of their own, and the places under them, each with its span."""

    names: list[str]
    places: list[tuple[tuple[float, ...], tuple[int, int]]]


def _read_headed(text: str, *, complete: bool) -> Matches:
    """Return the places under names; none unless all lines are names or places."""
    found = Matches()
    for run in _split_runs(text, complete=complete):
        names = _pair(run)
        if names is None:
            return Matches()
        for (numbers, span), name in zip(run.places, names, strict=True):
            found.add(numbers, span, label=name)
    several = len({match.label for match in found.items}) > 1
    return found if several else Matches()


def _split_runs(text: str, *, complete: bool) -> Iterator[_Run]:
    """Yield the names and places of a text; a run without one of them for any other line."""
    run = _Run([], [])
    for line in _LINE.finditer(text):
        words = _drop_key(strip_bullet(line[0]))
        if line[0].strip().startswith(_FENCE):
            continue
        lists = parse_number_lists(words.rstrip(" \t\r,;"))
        if lists and len(lists) == 1 and len(lists[0]) in PLACE_SIZES:
            # Bare numbers at a cut may go on.
            if complete or line.end() < len(text) or words.endswith(("]", ")")):
                run.places.append((lists[0], line.span()))
            continue
        if run.places:
            yield run
            run = _Run([], [])
        run.names.append(words.strip())
    yield run


def _drop_key(words: str) -> str:
    """Return what follows a key such as "Coordinates:" or "Object 1:"."""
    key = _KEY.match(words)
    role = classify_key(key["key"].rstrip(DIGITS)).role if key else Role.OTHER
    return words[key.end() :] if key and role in (Role.PLACE, Role.LABEL) else words


def _pair(run: _Run) -> list[str] | None:
    """Return a name for each place of a run; None where they do not go together."""
    count = len(run.places)
    listed = run.names
    if len(listed) == 1 < count:
        parts = _NAMES.split(listed[0])
        listed = parts if len(parts) == count else listed * count
    names = [find_name_before(words) for words in listed]
    if not count or len(names) != count or None in names:
        return None
    return [name for name in names if name]


# Lines that are a name and four numbers


_APART = r"(?:[ \t]*+[,，;；|][ \t]*+|[ \t]++(?:(?:to|[-–→])[ \t]++)?)"
_PLAIN = r"\d++(?:\.\d++)?+"
_NAMED_FOUR = re.compile(
    rf"(?P<name>[^\W\d_][^\d\n]{{0,{LONGEST_NAME}}}?|[*_`\"'][^\d\n]{{0,{LONGEST_NAME}}}?)"
    rf"(?P<joint>[:：=]|->?|[→–])?[ \t,，;|*_`\"']*(?<![\w.])"
    rf"(?P<numbers>{_PLAIN}(?:{_APART}{_PLAIN}){{3}})(?![\w%]|\.\d)"
    r"(?:[ \t]*+[,，]?[ \t]*+\(?(?P<score>0?\.\d++)\)?)?+"
    r"[ \t.]*+(?:\r?\Z|[;；,，|][ \t\r]*+(?:and )?+|and )"
)
SMALLEST = 5
"""Units of the sides of a box that nothing but a name marks: 1, 2, 3, 4 are rather a list."""


def read_named_rows(text: str, *, complete: bool) -> Matches:
    """Return the boxes of an answer that begins with lines of a name and four numbers each.

    The first line with a digit that is anything else, or whose numbers may be no box, ends them; a
    title with a colon does not.
    """
    found, lines = Matches(), list(WITH_DIGIT.finditer(text))
    if not complete and lines and not text[lines[-1].end() :].strip():
        lines.pop()
        found.cut = True
    told = (_cut(line) for line in lines if not line[0].rstrip().endswith((":", "：")))
    rows = [row for one in takewhile(bool, told) for row in one]
    if len(rows) == 1 and _may_be_a_list(rows[0]):
        return Matches()
    for row in rows:
        name = find_name_before(_lead(row))
        found.add(find_numbers(f"{row['numbers']} {row['score'] or ''}"), row.span(), label=name)
    return found


def _cut(line: re.Match[str]) -> list[re.Match[str]]:
    """Return the names with four numbers that a line consists of; none of any other line."""
    rows, at = [], line.end() - len(strip_bullet(line[0]))
    while at < line.end():
        row = _NAMED_FOUR.match(line.string, at, line.end())
        if row is None or not _is_marked(row):
            return []
        rows.append(row)
        at = row.end()
    return rows


_LAST_KEY = re.compile(
    r".*\b(?=(?:label|name|class|category|标签|类别)[\"']?\s*[:=：])", re.I | re.S
)
_COUNTED = re.compile(
    r"(?:numbers?|values?|digits?|sizes?|dimensions?|prices?|scores?|years?|ages?|pages?|rows?|"
    r"columns?|steps?|tel|phone|fax|dates?|times?|totals?|号码|电话|数字)\W*",
    re.IGNORECASE,
)
"""What numbers behind it are rather than a box, as a word or the last one of a name."""


def _lead(row: re.Match[str]) -> str:
    """Return what stands in front of the numbers: from the last key of a label on, if any."""
    return _LAST_KEY.sub("", row["name"]) + (row["joint"] or "")


def _is_marked(row: re.Match[str]) -> bool:
    """Say whether a name is one and its numbers are a box: no list, phone number or sentence."""
    x1, y1, x2, y2 = find_numbers(row["numbers"])
    lead, padded = _lead(row), re.search(r"(?<![\d.])0\d", row["numbers"])
    if padded or min(x2 - x1, y2 - y1) < SMALLEST:
        return False
    name = find_name_before(lead)
    if name is None:
        return classify_key(strip_name(lead)).role is Role.PLACE
    last = name.split()[-1]
    return not (set(name) & {*":=：,，"} or _COUNTED.fullmatch(last) or is_empty_word(last))


def _may_be_a_list(row: re.Match[str]) -> bool:
    """Say whether a row alone has only blanks round its numbers, or numbers in equal steps."""
    steps = {right - left for left, right in pairwise(find_numbers(row["numbers"]))}
    return len(steps) == 1 or not (row["joint"] or set(row["numbers"]) & {*",，|"})
