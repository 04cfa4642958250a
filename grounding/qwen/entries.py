"""Finds the names and values in an answer that fills in a form, whatever its notation.

{"total": "8.75"}                       an object, within others or in a list
[{"key": "total", "value": "8.75"}]     records with a name and a value, or pairs
- **Total**: 8.75                       lines with a name and a value
| total | date |                        a table of two columns, or with a column each
<total>8.75</total>                     an element
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence, Set
from typing import NamedTuple

from grounding.queries import Field
from grounding.qwen.reading.fields import Role, classify_key, fold
from grounding.qwen.reading.values import Group, String, Value

NAMES = {"key", "field", "fieldname", "attribute", "property", "键", "字段", "字段名"}
"""Keys of a record whose value is the name of a field, beside those of labels."""


class Entry(NamedTuple):
    """A name in the answer, and the value that it has there."""

    name: str
    value: Value


def list_entries(groups: Sequence[Group]) -> Iterator[tuple[Entry, bool]]:
    """Yield the entries of all groups, outer ones first, and whether each is a key of its own."""
    waiting = deque(groups)
    while waiting:
        group = waiting.popleft()
        # A key without a value shows that the entry before it is whole.
        entries = group.entries if group.closed or group.key else group.entries[:-1]
        for key, value in entries:
            if key is not None:
                yield Entry(key.text, value), True
        if (record := _read_record(group)) is not None:
            yield record, False
        yield from ((pair, False) for pair in _read_pairs(group))
        waiting.extend(value for _, value in entries if isinstance(value, Group))


def _read_record(group: Group) -> Entry | None:
    """Return the entry that {"key": "total", "value": "8.75"} makes; None for any other group."""
    if not group.closed:
        return None
    named = {classify_key(key.text): value for key, value in group.entries if key is not None}
    names = [v for k, v in named.items() if k.role is Role.LABEL or k.folded in NAMES]
    values = [v for k, v in named.items() if k.role is Role.TEXT or k.folded == "fieldvalue"]
    if not names or not values or isinstance(names[0], Group):
        return None
    return Entry(names[0].text, values[0])


def _read_pairs(group: Group) -> Iterator[Entry]:
    """Yield the entries of a list of pairs: [["total", "8.75"], ["date", "1 May"]]."""
    inner = [value for key, value in group.entries if key is None and isinstance(value, Group)]
    pairs = [[v for k, v in one.entries if k is None] for one in inner if one.closed]
    named = [(pair[0], pair[1]) for pair in pairs if len(pair) == 2 and isinstance(pair[0], String)]
    if len(named) == len(group.entries) > 1:
        yield from (Entry(name.text, value) for name, value in named)


def list_line_entries(fields: Sequence[Field], content: str, *, complete: bool) -> list[Entry]:
    """Return the entries of lines such as "- **Total**: 8.75" and "| Total | 8.75 |".

    Several fields may share a line ("Total: 8.75, Date: 1 May") or have elements of their own
    (<total>8.75</total>). Without `complete`, the last line may be cut and is left out.
    """
    names = "|".join(re.escape(field.name.strip()) for field in fields if field.name.strip())
    further = re.compile(rf"{_NEXT}(?P<name>{names or '(?!)'})[ \t*_\"'”]*[:：=]", re.IGNORECASE)
    entries: list[Entry] = []
    for pattern in (_LINE, _LOOSE_LINE):
        lines = [*pattern.finditer(content)]
        for line in lines if complete else lines[:-1]:
            entries += _split_line(line, further)
    heads = {fold(field.name) for field in fields}
    entries = [entry for entry in entries if not _is_head(entry, heads)]
    entries += (Entry(one["name"], _cell(one, "value")) for one in _ELEMENT.finditer(content))
    return [*_read_columns(fields, content)] or entries


def _is_head(entry: Entry, names: Set[str]) -> bool:
    """Say whether a value is the name of a field itself, as in the head of a table."""
    return not isinstance(entry.value, Group) and fold(entry.value.text) in names


_NEXT = r"[,，;；|][ \t*_\"'“]*"
_BEGIN = r"^[ \t>*•|#-]*+(?:\d{1,3}[.)][ \t]++)?+"
_LINE = re.compile(
    rf"{_BEGIN}(?P<name>[^:：|\n]{{1,250}}?)[ \t]*[:：|](?P<value>[^\n]*+)", re.MULTILINE
)
_LOOSE_LINE = re.compile(
    rf"{_BEGIN}(?P<name>[^:：|=\n]{{1,250}}?)[ \t]*"
    r"(?:=|(?<=[ \t])[-–—](?=[ \t]))(?P<value>[^\n]*+)",
    re.MULTILINE,
)
_ROW = re.compile(r"^[ \t]*\|(?P<cells>[^\n]*)\|[ \t]*$", re.MULTILINE)
_RULE = re.compile(r"[\s|:-]*")


def _read_columns(fields: Sequence[Field], content: str) -> Iterator[Entry]:
    """Yield the entries of a table with the fields as its columns and one row below them."""
    rows = [row for row in _ROW.finditer(content) if not _RULE.fullmatch(row["cells"])]
    names = [fold(name) for name in rows[0]["cells"].split("|")] if len(rows) == 2 else []
    if len({fold(field.name) for field in fields}.intersection(names)) < 2:
        return
    start = rows[1].start("cells")
    for name, cell in zip(names, rows[1]["cells"].split("|"), strict=False):
        yield Entry(name, _trim(content, start, start + len(cell)))
        start += len(cell) + 1


_ELEMENT = re.compile(r"<(?P<name>[^\W\d][\w .-]*)>(?P<value>[^<>]*)</(?P=name)>")


def _split_line(line: re.Match[str], further: re.Pattern[str]) -> Iterator[Entry]:
    """Yield the name and the value of a line, and of each further field that is named in it."""
    name, (start, end) = _cell(line, "name").text, line.span("value")
    for found in further.finditer(line.string, start, end):
        yield from _make_entry(name, _trim(line.string, start, found.start()))
        name, start = found["name"], found.end()
    yield from _make_entry(name, _trim(line.string, start, end))


def _make_entry(name: str, value: String) -> Iterator[Entry]:
    if name and value.text:
        yield Entry(name, value)


_MARKS = " \t*_`|\"'"


def _cell(line: re.Match[str], group: str) -> String:
    """Return a part of a line without its Markdown, with its span."""
    return _trim(line.string, *line.span(group))


def _trim(content: str, start: int, end: int) -> String:
    text = content[start:end]
    inner = text.strip(_MARKS)
    if inner.endswith(_QUOTED) and text.lstrip(" \t*_")[0] in "\"'“":
        inner = inner[:-2]
    if inner[:1] + inner[-1:] in ("“”", "‘’", "「」"):
        inner = inner[1:-1]
    start += text.find(inner) if inner else 0
    return String(inner, start, start + len(inner))


_QUOTED = ('",', "',", "”,", "”，")
"""How a text of an object ends, where its line stands alone."""
