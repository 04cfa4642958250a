"""What is asked about each region once it stands, and the results that join it.

A per-region control asks about a view of each region that others draw on its image. All that one
region is asked is one query.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from grounding.geometry import PERCENT, Box, Frame
from grounding.labelstudio.config.interface import Control, LabelConfig, ModelTask
from grounding.labelstudio.controls import CONTROLS
from grounding.labelstudio.controls.base import (
    Drawn,
    Drop,
    PlannedQuery,
    PromptDefaults,
    Region,
    Results,
    complete,
)
from grounding.labelstudio.controls.fields import of_control, plan_values
from grounding.queries import Count, Finding

MAX_ASKED = 200
"""Regions of one task that are asked about: more are a sign of a loop, and take minutes."""

ANYWHERE = Box(0, 0, 100, 100, PERCENT)
"""Stands for the place of a region that is not drawn yet."""


@dataclass(frozen=True, slots=True)
class RegionQuery:
    """One query about a region; the controls of `planned` take its findings."""

    drawn: Drawn
    planned: PlannedQuery


def plan_regions(
    config: LabelConfig, results: Results, defaults: PromptDefaults, *, asked: bool
) -> list[RegionQuery]:
    """Return the queries about the regions of `results`, in their order.

    `asked` is whether an annotator asks: controls that answer only then are left out otherwise. A
    text that came with a place is not asked for again. What is left out because there are too many
    regions is counted.
    """
    written = {(one.get("id"), one.get("from_name")) for one in results.result}
    queries = [
        RegionQuery(drawn, planned)
        for drawn in results.drawn
        if drawn.place is not None
        for planned in plan_values(
            _companions(config, drawn, written, asked=asked), defaults, drawn.place
        )
    ]
    results.dropped.update([Drop.NOT_ASKED] * max(0, len(queries) - MAX_ASKED))
    return queries[:MAX_ASKED]


def plan_any_region(
    config: LabelConfig, control: Control, defaults: PromptDefaults
) -> list[PlannedQuery]:
    """Return what pre-labelling asks about a region that `control` draws, whatever its label."""
    asking = [
        one
        for one in config.companions(control)
        if one.asks_of_regions and not one.options.only_asked and one.follows(control)
    ]
    return [] if control.options.only_asked else list(plan_values(asking, defaults, ANYWHERE))


def _companions(
    config: LabelConfig, drawn: Drawn, written: Collection[tuple[Any, Any]], *, asked: bool
) -> list[Control]:
    """Return the controls that ask about a region, but for those `written` for its id already."""
    return [
        control
        for control in config.companions(drawn.control)
        if control.asks_of_regions and (asked or not control.options.only_asked)
        if (drawn.region["id"], control.from_name) not in written
        if control.is_about(drawn.control, drawn.label)
    ]


def join_values(
    results: Results, answered: Sequence[tuple[RegionQuery, Sequence[Finding]]]
) -> Results:
    """Return the results with what was found about their regions.

    Each is written after its region, with its id and its whole geometry. What cannot be a value is
    counted.
    """
    joined = replace(results, result=[])
    values: dict[str, list[Region]] = {}
    for query, findings in answered:
        for control in query.planned.controls:
            mine = of_control(control, [(one, query.planned.query) for one in findings])
            made = _write(control, query.drawn, mine, joined)
            values.setdefault(query.drawn.region["id"], []).extend(made)
    last = {region["id"]: at for at, region in enumerate(results.result)}
    for at, region in enumerate(results.result):
        joined.result.append(region)
        if last[region["id"]] == at:
            joined.result.extend(values.get(region["id"], ()))
    return joined


def count(config: LabelConfig, results: Results, image: Frame, unsure: Collection[str]) -> Results:
    """Return the numbers of regions, for the controls that count them.

    Where a query about an image was not answered to its end, as for those named in `unsure`, or
    only annotators ask about it, nobody knows how many there are.
    """
    counted = Results()
    for control in config.controls:
        counts = control.counts_regions and config.has_to_count(control)
        if counts and not control.options.only_asked and control.to_name not in unsure:
            here = [one for one in results.drawn if one.control.to_name == control.to_name]
            found = Finding(label=control.from_name, value=str(len(here)))
            query = Count("regions")
            counted.add(CONTROLS[control.tag].write(control, [(found, query)], image, lambda _: ()))
    return counted


def link(config: LabelConfig, results: Results) -> list[Region]:
    """Return the relations between regions: of a page, each part to the next in reading order."""
    if config.reading_order is None:
        return results.links
    parts = [one for one in results.drawn if one.control.task is ModelTask.DOCUMENT]
    return results.links + [
        {
            "type": "relation",
            "from_id": before.region["id"],
            "to_id": after.region["id"],
            "direction": "right",
            "labels": [config.reading_order],
        }
        for before, after in pairwise(parts)
        if before.control == after.control
    ]


def _write(
    control: Control, drawn: Drawn, findings: Sequence[Finding], results: Results
) -> Iterator[Region]:
    write_value = CONTROLS[control.tag].write_value
    made = write_value and write_value(control, findings, results)
    if made:
        value, score = made
        shared = {key: part for key, part in drawn.region.items() if key not in ("score", "meta")}
        whole = complete(shared, control.from_name, control.tag.lower(), value)
        yield whole if score is None else {**whole, "score": score}
