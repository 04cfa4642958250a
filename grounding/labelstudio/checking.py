"""Compares values with the print of their picture, and marks those that do not stand there.

These models write a likely value for a field that the picture does not show. One reading of the
picture tells most of them from what is printed. A mark is a note for people and drops nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, permutations
from typing import Any

from grounding.labelstudio.config.interface import Control, LabelConfig
from grounding.labelstudio.controls.base import PlannedQuery, Region, Results, ViewSpec
from grounding.queries import TextUnit, Transcribe

MARK = "Not in the picture's text as it was read: check it"

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_OTHER_MONTHS = {"mär": 3, "mai": 5, "okt": 10, "dez": 12}
_CLOCK = re.compile(r"(\d{1,2})(?:\s*[:h时点]\s*|\.)(\d{2})(?!\d)")
_DATE_PART = re.compile(r"(?P<whole>(?:19|20)\d{6})(?!\d)|\d{1,4}|[^\W\d_]{3,9}")
SHORT = 31
"""No day or month is above it, so a larger number is a year."""

_FOLDED = re.compile(r"[\W_]+")
_NUMERAL = re.compile(r"\d[\d.,'’ ]*")


def plan_checks(config: LabelConfig, results: Results) -> list[PlannedQuery]:
    """Return the queries that read the pictures whose values are to be checked: one for each."""
    present = {one.get("from_name") for one in results.result}
    drawn_on = {drawn.control.to_name for drawn in results.drawn}
    checked: dict[ViewSpec, list[Control]] = {}
    for control in config.controls:
        here = control.to_name in drawn_on if control.per_region else control.from_name in present
        if control.options.check and here and not control.on_film:
            view = ViewSpec(control.data_key, printed=True)
            checked.setdefault(view, []).append(control)
    query = Transcribe(TextUnit.WHOLE)
    return [PlannedQuery(query, view, tuple(some)) for view, some in checked.items()]


def mark_unprinted(
    result: Sequence[Region], checked: Sequence[tuple[PlannedQuery, str]]
) -> list[Region]:
    """Return the results, with a note on each value that the text of its picture lacks.

    `checked` are the queries of `plan_checks`, each with the text that was read. A picture that no
    text was read in says nothing about its values. A region has the note, where it is its value.
    """
    texts = {control.from_name: text for one, text in checked if text for control in one.controls}
    doubted = {id(one) for one in result if _is_doubted(one, texts.get(one.get("from_name", "")))}
    regions = {one["id"] for one in result if id(one) in doubted}
    noted: set[str] = set()
    marked = []
    for one in result:
        first = one.get("id") in regions and one["id"] not in noted
        marked.append(_with_note(one) if first or id(one) in doubted else one)
        noted.add(one.get("id", ""))
    return marked


def _with_note(one: Region) -> Region:
    notes = one.get("meta", {}).get("text", [])
    return {**one, "meta": {**one.get("meta", {}), "text": [*notes, MARK]}}


def _is_doubted(one: Region, text: str | None) -> bool:
    if text is None:
        return False
    value = one["value"]
    moment = value.get("datetime", "")
    return not (all(is_printed(said, text) for said in _said(value)) and is_dated(moment, text))


def _said(value: Mapping[str, Any]) -> Iterator[str | float]:
    """Yield what a value says that can be printed: texts line by line, and a number."""
    for text in value.get("text", ()):
        yield from filter(None, map(str.strip, text.splitlines()))
    if "number" in value:
        yield value["number"]


def is_printed(said: str | float, text: str) -> bool:
    """Say whether a text has these words, in any case and spacing, or this number."""
    if isinstance(said, str):
        return fold(said) in fold(text)
    return any(said in _readings(found[0]) for found in islice(_NUMERAL.finditer(text), 5000))


def fold(text: str) -> str:
    """Return the letters and digits of a text in one form."""
    return _FOLDED.sub("", unicodedata.normalize("NFKC", text).casefold())


def _readings(numeral: str) -> set[float]:
    """Return the numbers that printed digits may mean: 1,234 is one of two."""
    digits = numeral.strip(" .,'’").replace(" ", "").replace("'", "").replace("’", "")
    forms = {digits.replace(",", ""), digits.replace(".", "").replace(",", ".")}
    return {float(form) for form in forms if re.fullmatch(r"\d+(?:\.\d+)?", form)}


def is_dated(moment: str, text: str) -> bool:
    """Say whether a text has the day and the time of day of a value, in any usual spelling.

    Day, month and year stand next to each other, in any order, the month by number or name.
    """
    clock = _CLOCK.search(moment) if ":" in moment else None
    day = _date_parts(moment[: clock.start()] if clock else moment)
    parts = _date_parts(text)
    windows = (parts[at : at + len(day)] for at in range(len(parts)))
    dated = not day or any(_is_same_day(day, window) for window in windows)
    return dated and (clock is None or _is_timed(clock, text))


def _date_parts(text: str) -> list[int]:
    """Return the numbers and the names of months in a text, in order."""
    parts: list[int] = []
    for found in islice(_DATE_PART.finditer(unicodedata.normalize("NFKC", text).casefold()), 5000):
        word = found[0]
        if found["whole"]:
            parts += int(word[:4]), int(word[4:6]), int(word[6:])
        elif word.isdigit():
            parts.append(int(word))
        elif word[:3] in _OTHER_MONTHS:
            parts.append(_OTHER_MONTHS[word[:3]])
        elif word[:3] in _MONTHS:
            parts.append(_MONTHS.index(word[:3]) + 1)
    return parts


def _is_same_day(day: Sequence[int], parts: Sequence[int]) -> bool:
    """Say whether these are the same numbers in some order; a year may have two digits."""
    return any(
        all(
            one in (part, part % 100 if part > SHORT else part)
            for one, part in zip(order, day, strict=True)
        )
        for order in permutations(parts)
        if len(order) == len(day)
    )


def _is_timed(clock: re.Match[str], text: str) -> bool:
    hour, minute = int(clock[1]), int(clock[2])
    hours = {hour, hour % 12 or 12}
    found = islice(_CLOCK.finditer(text), 5000)
    return any(int(one[1]) in hours and int(one[2]) == minute for one in found)
