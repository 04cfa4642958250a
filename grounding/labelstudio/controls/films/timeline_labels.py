"""`<TimelineLabels>`: spans of a film's time, each with a label.

The page wants whole frames, counted from 1 by the config's `frameRate`; a fraction hides all that
follows it. A region has one range, and what belongs to it comes after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from grounding.geometry import Frame
from grounding.labelstudio.config.attributes import SPAN_ATTRIBUTES
from grounding.labelstudio.config.interface import Control, Label
from grounding.labelstudio.controls.base import (
    Companion,
    Companions,
    ControlTag,
    Drawn,
    Drop,
    Region,
    Results,
    Value,
    are_texts,
    complete,
    emitted_names,
    new_id,
)
from grounding.labelstudio.data import clean
from grounding.labelstudio.films import merge_spans, to_frames
from grounding.labelstudio.labels import find_queried, match
from grounding.labelstudio.locating import plan_places
from grounding.queries import Finding, FindSpans, Query, Shape

KIND = "timelinelabels"
MAX_NOTE_CHARS = 1000


def write_spans(
    control: Control,
    found: Sequence[tuple[Finding, Query]],
    image: Frame,
    companions: Companions,
) -> Results:
    """Return a region for each span, in order of time; spans of one label that touch are one."""
    results = Results()
    labelled: list[Finding] = []
    labels: dict[str | None, Label | None] = {}
    duration = 0.0
    for finding, query in found:
        if not isinstance(query, FindSpans):
            continue
        duration = max(duration, query.within[1])
        label = find_queried(query.classes, control.labels) or match(
            finding.label or "", control.labels
        )
        if drop := _flaw(control, finding, label):
            results.drop(drop, finding.label)
            continue
        name = label.emitted if label else None
        labels[name] = label
        labelled.append(replace(finding, label=name))
    rate = control.frame_rate if isinstance(control.frame_rate, float) else math.nan
    merged = merge_spans(labelled, 1 / rate)
    best = _best(merged, control.options.max_regions)
    results.dropped.update([Drop.DUPLICATE] * (len(labelled) - len(merged)))
    results.dropped.update([Drop.TOO_MANY] * (len(merged) - len(best)))
    for finding in best:
        one = _Span(control, finding, labels[finding.label], rate, duration)
        one.write(results, companions(one.label))
    return results


@dataclass(frozen=True, slots=True)
class _Span:
    control: Control
    finding: Finding
    label: Label | None
    rate: float
    duration: float

    def write(self, results: Results, companions: Sequence[Companion]) -> None:
        """Add the region and what belongs to it."""
        region = self._region(with_text=not companions)
        names = emitted_names(KIND, self.label)
        results.result.append(complete(region, self.control.from_name, KIND, names))
        for accompany in companions:
            results.result.extend(accompany(region, self.finding))
        results.drawn.append(Drawn(self.control, None, self.label, region))

    def _region(self, *, with_text: bool) -> Region:
        finding = self.finding
        first, last = to_frames(finding.time or (0.0, 0.0), self.rate, self.duration)
        text = clean(finding.text or "")[:MAX_NOTE_CHARS] if with_text else ""
        notes = [note for note in (text, *finding.warnings) if note]
        return {
            "id": new_id(),
            "to_name": self.control.to_name,
            "value": {"ranges": [{"start": first, "end": last}]},
            **({} if finding.score is None else {"score": finding.score}),
            **({"meta": {"text": notes}} if notes else {}),
        }


def _flaw(control: Control, finding: Finding, label: Label | None) -> Drop | None:
    least = control.options.score_threshold
    if finding.shape is not Shape.SPAN:
        return Drop.WRONG_SHAPE
    if not all(map(math.isfinite, (*(finding.time or ()), finding.score or 0))):
        return Drop.NOT_FINITE
    if label is None and control.labels:
        return Drop.UNKNOWN_LABEL
    low = finding.score is not None and least is not None and finding.score < least
    return Drop.LOW_SCORE if low else None


def _best(findings: Sequence[Finding], most: int) -> list[Finding]:
    """Return at most `most`, in order: those with the highest scores, or the first without any."""
    scores = [one.score for one in findings]
    order = list(range(len(findings)))
    if None not in scores:
        order.sort(key=lambda at: scores[at] or 0.0, reverse=True)
    return [findings[at] for at in sorted(order[:most])]


def are_ranges(value: Value) -> bool:
    """Say whether the page can read a value: one range of whole frames from 1, and its labels."""
    ranges: Any = value.get("ranges")
    if not isinstance(ranges, list) or len(ranges) != 1 or not isinstance(ranges[0], dict):
        return False
    start, end = ranges[0].get("start"), ranges[0].get("end")
    if type(start) is not int or type(end) is not int:
        return False
    return 1 <= start <= end and are_texts(value.get(KIND, ["-"]))


TIMELINE_LABELS = ControlTag(
    "TimelineLabels",
    SPAN_ATTRIBUTES,
    plan_places,
    write_spans,
    draws=Shape.SPAN,
    objects=frozenset({"video"}),
    required=False,
    is_sound=are_ranges,
)
