"""Compares values with the print of their picture, and marks those that do not stand there.

These models write a likely value for a field that the picture does not show. One reading of the
picture tells most of them from what is printed. A mark is a note for people and drops nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from grounding.labelstudio.config.interface import Control, LabelConfig
from grounding.labelstudio.controls.base import PlannedQuery, Region, Results, ViewSpec
from grounding.queries import TextUnit, Transcribe

MARK = "Not in the picture's text as it was read: check it"

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
    return text is not None and not all(is_printed(said, text) for said in _said(one["value"]))


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
