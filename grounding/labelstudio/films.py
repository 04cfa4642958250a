"""A film's time as the page has it: spans in its frames, and the key frames of what moves.

Between two key frames the page moves each side of a box evenly from frame to frame. A key frame
that this would give anyway is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from grounding.geometry import KeyFrame, between
from grounding.queries import Finding, Span

LOSS = 0.02
"""How far below 1 the IoU of a box with the page's own may be where its key frame is left out."""


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


def thin(keys: Sequence[KeyFrame], loss: float = LOSS) -> list[KeyFrame]:
    """Return the key frames, in order, that show every one of `keys` with an IoU of 1 - `loss`.

    The first and the last stay, and so does each at which the track ends or begins again. Of the
    others, that which the page would miss by most stays, then the same on each side of it. So what
    is thinned once stays as it is.
    """
    return [key for run in _runs(keys) for key in _thin(run, loss)]


def _runs(keys: Sequence[KeyFrame]) -> Iterator[Sequence[KeyFrame]]:
    """Yield the key frames in runs, each up to where the track is seen no more."""
    start = 0
    for at, key in enumerate(keys):
        if not key.enabled or at == len(keys) - 1:
            yield keys[start : at + 1]
            start = at + 1


def _thin(keys: Sequence[KeyFrame], loss: float) -> list[KeyFrame]:
    kept = {0, len(keys) - 1}
    waiting = [(0, len(keys) - 1)]
    while waiting:
        first, last = waiting.pop()
        ends = keys[first], keys[last]
        missed = [(*_miss(*ends, keys[at]), -at) for at in range(first + 1, last)]
        worst, _, at = max(missed, default=(0.0, 0.0, 0))
        if worst > loss:
            kept.add(-at)
            waiting += [(first, -at), (-at, last)]
    return [keys[at] for at in sorted(kept)]


def _miss(first: KeyFrame, last: KeyFrame, key: KeyFrame) -> tuple[float, float]:
    """Return by how much the page would miss a key frame: in IoU, then in distance."""
    box = between(first, last, key.frame)
    return 1 - box.iou(key.box), box.center.apart(key.box.center, key.box.frame)
