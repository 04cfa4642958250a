"""Spans of a film's time: which of them are one, and the frames that the page counts for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from grounding.queries import Finding, Span


def merge_spans(findings: Sequence[Finding], gap: float) -> list[Finding]:
    """Return the findings in order of time, those with one label that touch as one.

    Spans touch where at most `gap` seconds lie between them. The first text stays, and the best
    score: what was seen in two parts of a film is no less sure.
    """
    merged: list[Finding] = []
    last: dict[str | None, int] = {}
    for one in sorted(findings, key=_time):
        at = last.get(one.label)
        if at is not None and _time(one)[0] - _time(merged[at])[1] <= gap:
            merged[at] = _unite(merged[at], one)
        else:
            last[one.label] = len(merged)
            merged.append(one)
    return merged


def _time(finding: Finding) -> Span:
    return finding.time or (0.0, 0.0)


def _unite(first: Finding, second: Finding) -> Finding:
    a, b = _time(first), _time(second)
    scores = [one.score for one in (first, second) if one.score is not None]
    return replace(
        first,
        time=(min(a[0], b[0]), max(a[1], b[1])),
        text=first.text or second.text,
        score=max(scores, default=None),
        warnings=tuple(dict.fromkeys((*first.warnings, *second.warnings))),
    )


def to_frames(time: Span, rate: float, duration: float) -> tuple[int, int]:
    """Return the first and last frame of a span as the page counts them: from 1, both included.

    The page knows a frame by `rate` frames a second, whatever the film's own rate. An end is where
    something is over, so the last frame is the one before it.
    """
    count = max(1, round(duration * rate)) if math.isfinite(duration) else math.inf
    first = min(max(1, round(time[0] * rate) + 1), count)
    last = min(max(first, round(time[1] * rate)), count)
    return int(first), int(last)
