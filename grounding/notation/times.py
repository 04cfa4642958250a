"""Reads times of day as people print them, and the times of a film.

"6:41 PM"   18:41       "18.41 Uhr"   18:41       "下午6点41分"   18:41
"15h30"     15:30       "3 p.m."      15:00       "01:04.00"     64 s of a film
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import time
from itertools import islice

from grounding.notation.numbers import MAX_CHARS, MOST, normalize

SIXTY = 60

MOST_FOUND = 5000
"""Numbers, times or dates of one text that are looked at."""

_CLOCK = re.compile(
    r"(?:(?:(?P<early>上午|早上|凌晨|오전|午前|(?-i:\bA\.?M\b\.?))|"
    r"(?P<late>下午|晚上|傍晚|오후|午後|\bp\.?m\b\.?))\s*)?"
    r"(?<!\d)(?<!\d[:.])(?P<hour>\d{1,2})"
    r"(?:(?::|\s+:\s+|\s*[h时時点點]\s*)(?P<minute>\d{2}(?!\d)|\d(?=分))(?::\d{2}(?:[.,]\d+)?)?分?(?![:\d]|[./-]\d{1,2}[./-]\d)"
    r"|\.(?P<dotted>\d{2})(?![\d.,])"
    r"|(?P<joined>\d{2})(?=\s*(?:hrs?|h|uhr)\b)"
    r"|\s*[时時点點](?P<half>半)"
    r"|\s*(?:[时時点點]|h\b|(?=uhr\b)|(?=[ap]\.?\s?m\b(?!\.?\s*\d{1,2}:\d))))"
    r"(?P<sign>\s*(?:(?P<noon>[ap])(?:\.?\s?m\b\.?|$)|(?:uhr|hrs?|h)\b))?",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"(?:^|[\s,日]|(?<=\d)T)$", re.IGNORECASE)
_RANGE = re.compile(
    r"(?:(?<![\d./:-])\d{1,2}\s*(?:-|~|to|bis|till|until|and|und|至|到)|"
    r"\b(?:half|past|to|halb|viertel|vor|nach))\s*$",
    re.IGNORECASE,
)
"""What says, before a time, that it is the end of a range or that another one is meant."""

_HALF = re.compile(r"noon|night|evening|mittag|abend|nacht|[中晚夜午]", re.IGNORECASE)
"""Words for a part of the day: which half 6:41 is in needs more than to see them."""

_ZONE = re.compile(r"(?<=\d)\s?(?:Z|UTC|GMT|\+\d\d:?\d\d)$", re.IGNORECASE)
_WEST = re.compile(r"(?<=\dT)(\d\d:\d\d[\d:.]*)-\d\d:?\d\d$", re.IGNORECASE)
"""A zone behind a time; one with a minus is told from a range by the T before."""

_JOINT = re.compile(r"(?:(?<=\d)T|[\s,]+)$", re.IGNORECASE)


def parse_time(text: str) -> time | None:
    """Return the time of day at the end of `text`; None without one.

    A time without am or pm is of 24 hours. Seconds are left out.
    """
    parts = split_time(text)
    return parts[0] if parts and not parts[2] else None


def split_time(text: str) -> tuple[time, str, str] | None:
    """Return the time of day at either end of `text`, and what stands before and after it.

    Only the first one counts, so that a range has none.
    """
    text = normalize(text[: MAX_CHARS + 1]).strip().rstrip(" .")
    text = _WEST.sub(r"\1", _ZONE.sub("", text))
    found = next(filter(_is_whole, _CLOCK.finditer(text)), None)
    if found is None:
        return None
    before, after = text[: found.start()], text[found.end() :]
    last = _BEFORE.search(before) and not after and not _RANGE.search(before)
    first = not before and after[:1] in (" ", ",", "\n")
    said = _read(found) if last or first else None
    if said and said.hour <= 12 and not _names_half(found) and _HALF.search(before + after):
        return None
    return None if said is None else (said, _JOINT.sub("", before), after.strip(" ,\n"))


def _is_whole(found: re.Match[str]) -> bool:
    """Say whether this is a time of day and no 18.41 that may be a date or a sum."""
    return not found["dotted"] or bool(found["sign"]) or found[0] == found.string


def _names_half(found: re.Match[str]) -> bool:
    return bool(found["noon"] or found["early"] or found["late"])


def _read(found: re.Match[str]) -> time | None:
    hour, minute = int(found["hour"]), _minute(found)
    half = found["early"] or found["late"] or found["noon"] or ""
    noon = (found["noon"] or "").lower()
    if noon and not (1 <= hour <= 12 and not found["late" if noon == "a" else "early"]):
        return None
    if hour == 12 and (half in _FROM_MIDNIGHT or half[:1].lower() == "a"):
        hour = 0
    elif hour < 12 and (found["late"] or half.lower() == "p") and (half != "晚上" or hour > 4):
        hour += 12
    return time(hour, minute) if hour < 24 and minute < SIXTY else None


_FROM_MIDNIGHT = ("凌晨", "晚上", "오전", "午前")
"""What twelve o'clock is midnight with; 晚上 goes on until the early hours."""


def _minute(found: re.Match[str]) -> int:
    if found["half"]:
        return 30
    return int(found["minute"] or found["dotted"] or found["joined"] or 0)


def find_times(text: str) -> Iterator[time]:
    """Yield each time of day that a text may mean; 6:41 without am or pm is of either half."""
    text = normalize(text)
    for found in islice(_CLOCK.finditer(text), MOST_FOUND):
        said = _read(found)
        if said is not None:
            yield said
            if 1 <= said.hour <= 12 and not _names_half(found):
                yield said.replace(hour=(said.hour + 12) % 24)


def cut_times(text: str) -> str:
    """Return a text without its times of day, so that what stands around one stands together.

    18.41 and 18 : 41 stay, since they may be a part of a date and a number before one.
    """
    return _CLOCK.sub(lambda one: one[0] if one["dotted"] or " :" in one[0] else " ", text)


# Times of a film

_RUNNING = re.compile(r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:[.,]\d+)?)")
_UNITS = re.compile(
    r"(?:(\d+(?:\.\d+)?)\s*(?:hours?|hrs?|h|小时|时))?\s*"
    r"(?:(\d+(?:\.\d+)?)\s*(?:minutes?|mins?|m|分钟|分))?\s*"
    r"(?:(\d+(?:\.\d+)?)\s*(?:seconds?|secs?|s|秒钟|秒)?)?",
    re.IGNORECASE,
)
_END = re.compile(r"\s*(?:seconds?|secs?|s|秒)$", re.IGNORECASE)
_AROUND = " <>[]()\"'`“”"


def parse_seconds(text: str) -> float | None:
    """Return the time of a film that `text` is, in seconds.

    "64.0", "64 s", "01:04.00" (minutes, seconds and hundredths), "00:01:04" and "1m 4s" are one.
    """
    text = normalize(text[: MAX_CHARS + 1]).strip(_AROUND)
    if not text or len(text) > MAX_CHARS:
        return None
    if ":" in text:
        clock = _RUNNING.fullmatch(_END.sub("", text))
        return _add_up(clock.groups(), whole=True) if clock else None
    units = _UNITS.fullmatch(text)
    return _add_up(units.groups(), whole=False) if units else None


def _add_up(parts: tuple[str | None, ...], *, whole: bool) -> float | None:
    """Return hours, minutes and seconds as seconds; on a clock, an hour has sixty minutes."""
    hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in parts)
    crossed = whole and (seconds >= SIXTY or (parts[0] is not None and minutes >= SIXTY))
    total = (hours * SIXTY + minutes) * SIXTY + seconds
    return None if crossed or total > MOST else total
