"""Compares values with the print of their picture, and marks those that do not stand there.

These models write a likely value for a field that the picture does not show. One reading of the
picture tells most of them from what is printed. A mark is a note for people and drops nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, time
from typing import Any

from grounding.labelstudio.config.interface import Control, LabelConfig
from grounding.labelstudio.controls.base import PlannedQuery, Region, Results, ViewSpec
from grounding.labelstudio.data import fold
from grounding.notation.dates import Day, find_days
from grounding.notation.numbers import find_numbers
from grounding.notation.times import find_times
from grounding.queries import TextUnit, Transcribe

MARK = "Not in the picture's text as it was read: check it"

CENTURY = 100


def plan_checks(config: LabelConfig, results: Results) -> list[PlannedQuery]:
    """Return the queries that read the pictures whose values are to be checked: one for each.

    What an area describes by its name is not printed, and not checked.
    """
    present = {one.get("from_name") for one in results.result}
    drawn_on = {drawn.control.to_name for drawn in results.drawn}
    checked: dict[ViewSpec, list[Control]] = {}
    for control in config.controls:
        if control.describes_by_name:
            continue
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
    texts = {c.from_name: (c, text) for one, text in checked if text for c in one.controls}
    named = [(one, texts.get(one.get("from_name", ""))) for one in result]
    doubted = {id(one) for one, known in named if known and _is_doubted(one, *known)}
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


def _is_doubted(one: Region, control: Control, text: str) -> bool:
    value = one["value"]
    if "datetime" in value:
        return not is_dated(value["datetime"], control.value_format, text, control.value_type.form)
    return not all(is_printed(said, text) for said in _said(value))


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
    return abs(said) in find_numbers(text)


def is_dated(moment: str, value_format: str, text: str, form: str = "YYYY-MM-DDTHH:MM") -> bool:
    """Say whether a text has the day and the time of a value, in any usual spelling.

    `value_format` is that of the value, as for strftime, and `form` shows which parts were asked
    for. Only what both have is compared, and no seconds. Midnight is also what a date without a
    time becomes, and is looked for where it stands alone.
    """
    said = _read_moment(moment, value_format)
    letters = set(_DIRECTIVE.findall(value_format))
    dated = [part for part, of in _DAY_PARTS.items() if letters & of and _FORMS[part] in form]
    timed = [part for part, of in _TIME_PARTS.items() if letters & of and _FORMS[part] in form]
    if said is None or not (dated or timed):
        return is_printed(moment, text)
    if dated and not any(_is_day(said, day, dated, letters) for day in find_days(text)):
        return False
    if not timed or (dated and said.time() == time()):
        return True
    halves = letters.isdisjoint("Hp")
    return any(_is_time(said, one, timed, halves=halves) for one in find_times(text))


_DIRECTIVE = re.compile(r"%[-_0]?(.)")
_DAY_PARTS = {"year": set("Yy"), "month": set("mbBj"), "day": set("dej")}
_TIME_PARTS = {"hour": set("HI"), "minute": set("M")}
_FORMS = {"year": "YYYY", "month": "YYYY-MM", "day": "DD", "hour": "HH", "minute": "HH:MM"}
"""The directives that write each part of a value, and how the form that was asked for shows it."""


def _read_moment(moment: str, value_format: str) -> datetime | None:
    """Return the date and time that a value says; None where its format cannot be read back."""
    plain = _DIRECTIVE.sub(lambda found: "%" + found[1].replace("e", "d"), value_format)
    try:
        return datetime.strptime(moment, plain)
    except (ValueError, re.error):
        return None


def _is_day(said: datetime, day: Day, parts: Sequence[str], letters: Collection[str]) -> bool:
    """Say whether a printed date has these parts of a value; a year may have two digits."""
    for part in parts:
        one, other = getattr(said, part), getattr(day, part)
        short = part == "year" and other is not None and ("Y" not in letters or other < CENTURY)
        if (one % CENTURY != other % CENTURY) if short else one != other:
            return False
    return True


def _is_time(said: datetime, other: time, parts: Sequence[str], *, halves: bool) -> bool:
    """Say whether a printed time has these parts; with `halves`, nobody knows which half it is."""
    for part in parts:
        one, two = getattr(said, part), getattr(other, part)
        if (one % 12 != two % 12) if halves and part == "hour" else one != two:
            return False
    return True
