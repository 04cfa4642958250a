"""Reads spans of time from words, as models say when something happens in a film.

    00:05 - 00:09: opens the fridge         a line, with what happens then
    | 00:05 | 00:09 | opens the fridge |    a row of a table
    from 3 to 5 seconds, 3秒到5秒            a sentence
    starts at 0:03 and ends at 0:05         a start and an end with words of their own

A range of bare numbers that something is counted with ("3 to 5 people") is none of time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from grounding.notation.times import parse_seconds
from grounding.queries import Span


@dataclass(frozen=True, slots=True)
class Event:
    """A span as it is written: its times, its words, and where it stands."""

    start: float
    end: float
    label: str | None
    text: str | None
    span: tuple[int, int]


_TIME = (
    r"(?:\d{1,3}:)?\d{1,3}:\d{2}(?:[.,]\d+)?s?"
    r"|(?:\d+\s*(?:hours?|hrs?|h|小时)\s*)?\d+(?:\.\d+)?\s*(?:minutes?|mins?|min|m|分钟|分)"
    r"(?:\s*\d+(?:\.\d+)?\s*(?:seconds?|secs?|s|秒)?)?(?![a-z])"
    r"|\d+(?:\.\d+)?(?:\s*(?:seconds?|secs?|s|秒)(?![a-z]))?"
)
_BEFORE = r"(?<![\d.:])"
_RANGE = re.compile(
    rf"{_BEFORE}[<\[(]?(?P<start>{_TIME})(?:\s*>)?\s*(?:-+>|-|–|—|~|〜|→|to|until|and|至|到)\s*[<第]?"
    rf"(?P<end>{_TIME})(?!\d|:\d)",
    re.IGNORECASE,
)
_PAIR = re.compile(
    rf"[\[(（]\s*(?P<start>{_TIME})\s*[,，]\s*(?P<end>{_TIME})\s*[\])）]", re.IGNORECASE
)
"""Two times in brackets, such as [00:12, 00:18]; of bare numbers these may be anything."""
_NAMED = re.compile(
    r"(?:\b(?:start|begin)\w{0,5}\b|开始|起始)(?:时间)?(?:[\s_\W]|\b(?:time|timestamp|at|on|is|the|"
    rf"second)\b){{1,12}}?{_BEFORE}(?P<start>{_TIME})(?!\d|:\d)[^\d\n]{{0,20}}\n?[^\d\n]{{0,20}}?"
    r"(?:\b(?:end|finish|stop)\w{0,5}\b|结束)(?:时间)?(?:[\s_\W]|\b(?:time|timestamp|at|on|is|the|"
    rf"second)\b){{1,12}}?{_BEFORE}(?P<end>{_TIME})(?!\d|:\d)"
    rf"|{_BEFORE}(?P<start_zh>{_TIME})\s*(?:开始|起)[，,]?[^\d\n]{{0,12}}{_BEFORE}(?P<end_zh>{_TIME})"
    r"[^\d\n]{0,4}(?:结束|为止|停止)",
    re.IGNORECASE,
)
"""A start and an end, each with a word of its own: "starts at 3 seconds and ends at 5"."""

_HEAD = re.compile(r"\s*(?:[-*•]|\d+[.)])?\s*[*_`\"']*\s*")
_TAIL = re.compile(r"[>\])*_`\"'\s]*(?:seconds?|秒)?\s*[:：,-]\s*(?P<text>\S.*)")
_BEHIND = re.compile(
    r"[>\])*_`\"']*\s+(?!(?:in|of|on|at|when|while|where|and|or|as|during|with|is|are|for|to|this|"
    r"seconds?|secs?|s|minutes?|mins?|am|pm)\b)(?P<text>[^\W\d_].*)",
    re.IGNORECASE,
)
"""Words behind times that begin a line, without a mark between."""
_NEXT = re.compile(rf"(?:and\s+|和)?[\[(<]?{_RANGE.pattern}", re.IGNORECASE)
_BARE = re.compile(r"[\d.]+")
_COUNTED = re.compile(
    r"\s*(?!(?:in|of|on|at|when|while|where|and|or|as|during|with|the|is|are|this|seconds?|secs?|s)\b"
    r"|[秒时在处内里间中])[^\W\d_]",
    re.IGNORECASE,
)
"""What stands behind a range that counts something else: "3 to 5 people", 3-5人."""
_LONG_UNIT = re.compile(
    r"\d\s*(?P<unit>hours?|hrs?|h|小时|minutes?|mins?|min|m|分钟|分)$", re.IGNORECASE
)


_GOES_ON = re.compile(r"\s?(?:[:.,]|[^\W\d_]{1,9})?\s*")
"""What may stand behind a time at a cut that goes on: nothing, a colon, a part of a unit."""


def two(times: Sequence[float | None]) -> Span | None:
    """Return two times, None where there are more or fewer, or one cannot be read."""
    known = [one for one in times if one is not None and 0 <= one < math.inf]
    return (known[0], known[1]) if len(known) == len(times) == len(("start", "end")) else None


def read_range(text: str) -> Span | None:
    """Return the two times that a text consists of."""
    found = _RANGE.fullmatch(text.strip(" <>[]()"))
    return _read_times(found["start"], found["end"]) if found else None


def _read_times(start: str, end: str) -> Span | None:
    """Return two times in seconds; a unit behind the second one is that of both."""
    if (unit := _LONG_UNIT.search(end)) and _BARE.fullmatch(start):
        start += unit["unit"]
    return two([parse_seconds(start), parse_seconds(end)])


def read_lines(
    text: str, *, label: str | None = None, at: int = 0, complete: bool = True
) -> Iterator[Event]:
    """Yield the spans in prose; words after one that begins its line are what happens then.

    A time at the very end of an incomplete text may go on. `at` is the offset of `text`.
    """
    place, any_found = at, False
    bare = bool(_ENDS.search(text))
    for line in text.splitlines(keepends=True):
        events = [_read_row(line, label, place, bare)] if line.lstrip().startswith("|") else []
        for event in filter(None, events or _read_line(line, label, place)):
            if complete or not _GOES_ON.fullmatch(text, event.span[1] - at):
                any_found = True
                yield event
        place += len(line)
    if not any_found:
        yield from _read_named(text, label, at, complete=complete)


def _read_line(line: str, label: str | None, place: int) -> Iterator[Event]:
    for found in chain(_RANGE.finditer(line), _PAIR.finditer(line)):
        times = _read_times(found["start"], found["end"])
        if times is None or _counts(line, found):
            continue
        head = _HEAD.match(line)
        first = head is not None and head.end() >= found.start()
        tail = _TAIL.match(line, found.end()) if first else None
        if first and not tail and not _are_bare(found):
            tail = _BEHIND.match(line, found.end())
        tail = None if tail and _NEXT.match(tail["text"]) else tail
        words = tail["text"].strip(" *_`\"'") if tail else None
        span = place + found.start(), place + (len(line.rstrip()) if tail else found.end())
        yield Event(*times, label, words or None, span)


def _counts(line: str, found: re.Match[str]) -> bool:
    """Say whether a range of bare numbers is one of things that the next word names."""
    if not _are_bare(found):
        return False
    return found.re is _PAIR or bool(_COUNTED.match(line, found.end()))


def _are_bare(found: re.Match[str]) -> bool:
    """Say whether both times are numbers without a unit or a colon."""
    return all(map(_BARE.fullmatch, found.group("start", "end")))


_ENDS = re.compile(r"^\s*\|[^\n]*(?:\b(?:end|to|until|finish|stop)\w{0,5}\b|结束)", re.I | re.M)
"""The head of a table with a column for the ends: without one, 1 and 12 may be a row's number and
the second at which it begins."""


def _read_row(line: str, label: str | None, place: int, bare: bool) -> Event | None:
    """Return the span in a row of a table: two cells that are times, or one that is a range.

    `bare` is whether two numbers without a unit or a colon are times too.
    """
    cells = [cell.strip(" \t*_`<>") for cell in line.strip().strip("|").split("|")]
    ranges = [times for cell in cells if (times := read_range(cell))]
    stamps = [cell for cell in cells if parse_seconds(cell) is not None]
    clear = [cell for cell in stamps if not _BARE.fullmatch(cell)]
    chosen = clear or (stamps if bare else [])
    if not ranges and len(chosen) == len(("start", "end")):
        ranges = [times] if (times := _read_times(*chosen)) else []
    if len(ranges) != 1:
        return None
    words = [cell for cell in cells if cell and not (cell in stamps or read_range(cell))]
    text = words[-1] if words else None
    return Event(*ranges[0], label, text, (place, place + len(line.rstrip())))


def _read_named(text: str, label: str | None, at: int, *, complete: bool) -> Iterator[Event]:
    """Yield the spans whose start and end have words of their own."""
    for found in _NAMED.finditer(text):
        times = _read_times(*(one for one in found.group(1, 2, 3, 4) if one))
        if times and (complete or not _GOES_ON.fullmatch(text, found.end())):
            yield Event(*times, label, None, (at + found.start(), at + found.end()))
