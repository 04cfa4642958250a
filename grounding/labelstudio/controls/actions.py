"""The results of an agent's answer: points for what is done somewhere, values for the rest.

A swipe or a drag is two points and a relation from the first to the second. An action without a
place is a choice, and what it says a text of the whole screen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from grounding.geometry import Frame
from grounding.labelstudio.config.actions import match_action
from grounding.labelstudio.config.interface import Control
from grounding.labelstudio.controls.base import Companions, Drawn, Drop, Region, Results
from grounding.labelstudio.controls.places import Candidate
from grounding.queries import Act, Finding, Query, ValueKind


def write_actions(
    control: Control,
    found: Sequence[tuple[Finding, Query]],
    image: Frame,
    companions: Companions,
) -> Results:
    """Return the points of what is done somewhere, in order, each with its companions."""
    results = Results()
    for finding, query in found:
        if not isinstance(query, Act):
            continue
        drop = _write(control, finding, query, image, companions, results)
        if drop is not None:
            results.drop(drop, finding.label)
    return results


def _write(
    control: Control,
    finding: Finding,
    query: Act,
    image: Frame,
    companions: Companions,
    results: Results,
) -> Drop | None:
    """Add what a finding becomes to `results`, or return why it becomes nothing."""
    if finding.place is None:
        return Drop.NO_PLACE if match_action(finding.label or "", control.labels) else None
    ends = [finding]
    if finding.end is not None:
        ends.append(replace(finding, place=finding.end, text=None, warnings=()))
    candidates = [Candidate.of(control, one, query, image) for one in ends]
    if drop := next((drop for one in candidates if (drop := one.flaw())), None):
        return drop
    if len(results.drawn) + len(candidates) > control.options.max_regions:
        return Drop.TOO_MANY
    beside = [companions(one.label) for one in candidates]
    regions = [one.region(with_text=not mine) for one, mine in zip(candidates, beside, strict=True)]
    for candidate, region, mine in zip(candidates, regions, beside, strict=True):
        results.result.extend(candidate.results(region, mine))
        results.drawn.append(Drawn(control, candidate.place, candidate.label, region))
    if len(regions) > 1:
        results.links.append(_lead(*regions))
    return None


def _lead(start: Region, end: Region) -> Region:
    """Return the relation from where a gesture begins to where it ends."""
    return {
        "type": "relation",
        "from_id": start["id"],
        "to_id": end["id"],
        "direction": "right",
        "labels": [],
    }


def list_values(control: Control, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the actions that are a value for a control of the whole screen.

    Choices take the actions that they list; a text takes what an action without a place says,
    and the action's name too where no choice could.
    """
    for finding in findings:
        if finding.value is None or not finding.label:
            continue
        if control.value_type.kind is ValueKind.TEXT:
            if finding.place is None:
                yield replace(finding, value=_tell(finding) if control.named else finding.text)
        elif label := match_action(finding.label, control.labels):
            yield replace(finding, value=label.value)


def _tell(finding: Finding) -> str:
    """Return an action without a place as JSON, its name first."""
    said = json.loads(finding.value or "{}")
    return json.dumps({"action": finding.label, **said}, ensure_ascii=False)
