"""Reads a long page in two halves that overlap, and makes one answer of the two.

A receipt or a long page is shrunk until its print cannot be read; half of it is shrunk less. What
stands at the seam is seen twice: whole in both halves, cut in one, or cut in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from grounding.geometry import PERCENT, Box, Frame
from grounding.inference.answering import join_answers
from grounding.labelstudio.data import fold
from grounding.queries import Finding
from grounding.qwen.answers import Answer

LONG = 1.8
"""Height of a long page, as a multiple of its width; A4 has 1.41."""

SHRUNK = 0.6
"""Share of its pixels below which a page has lost some of its print."""

TOP, BOTTOM = Box(0, 0, 100, 50, PERCENT), Box(0, 50, 100, 100, PERCENT)
"""The halves; the views around them overlap by their margins."""

EDGE = 0.6
"""Percent of the page's height within which a box touches the edge of its view."""

SAME = 0.5
"""Share of the smaller of two boxes that lies in the other if they are of one thing."""


def is_long(seen: Frame, image: Frame) -> bool:
    """Say whether a page that is seen in the frame `seen` is better read in halves."""
    return image.aspect >= LONG and seen.pixels_of(image) < SHRUNK


def join(top: Answer, bottom: Answer, seam: tuple[float, float]) -> Answer:
    """Return one answer of those about two halves of a page.

    `seam` is the part that both show, from the upper edge of the lower view to the lower edge of
    the upper one, in percent of the page's height.
    """
    if any(isinstance(f.place, Box) for f in (*top.findings, *bottom.findings)):
        found = _join_places(top.findings, bottom.findings, seam)
    else:
        found = _join_texts(top.findings, bottom.findings)
    return join_answers(found, (top, bottom))


def _join_places(
    top: Sequence[Finding], bottom: Sequence[Finding], seam: tuple[float, float]
) -> list[Finding]:
    """Return the findings of both, in order; of what both show, one."""
    begin, end = seam
    kept, rest = list(top), list(bottom)
    for at, upper in enumerate(top):
        upper_cut = _touches(upper, end, lower_edge=True)
        for lower in list(rest):
            lower_cut = _touches(lower, begin, lower_edge=False)
            if not _is_same(upper, lower, cut=upper_cut and lower_cut):
                continue
            rest.remove(lower)
            current = kept[at]
            if upper_cut and lower_cut:
                kept[at] = _unite(current, lower)
            elif upper_cut:
                kept[at] = lower
    return kept + rest


def _percent(finding: Finding) -> Box | None:
    return finding.place.to(PERCENT) if isinstance(finding.place, Box) else None


def _touches(finding: Finding, edge: float, *, lower_edge: bool) -> bool:
    """Say whether a box is cut by an edge of its view."""
    box = _percent(finding)
    return box is not None and abs((box.y2 if lower_edge else box.y1) - edge) <= EDGE


def _is_same(upper: Finding, lower: Finding, *, cut: bool) -> bool:
    """Say whether two findings are of one thing: one lies in the other, or both are cut."""
    a, b = _percent(upper), _percent(lower)
    if a is None or b is None or upper.label != lower.label:
        return False
    across = max(0.0, min(a.x2, b.x2) - max(a.x1, b.x1))
    down = max(0.0, min(a.y2, b.y2) - max(a.y1, b.y1))
    if across < SAME * min(a.width, b.width):
        return False
    return down > SAME * min(a.height, b.height) or (cut and down > 0)


def _unite(upper: Finding, lower: Finding) -> Finding:
    a, b = _percent(upper), _percent(lower)
    assert a is not None and b is not None  # noqa: S101, PT018  only boxes are the same
    box = Box(min(a.x1, b.x1), min(a.y1, b.y1), max(a.x2, b.x2), max(a.y2, b.y2), PERCENT)
    lines = _join_lines((upper.text or "").splitlines(), (lower.text or "").splitlines())
    return replace(upper, place=box, text="\n".join(lines) or None)


def _join_texts(top: Sequence[Finding], bottom: Sequence[Finding]) -> list[Finding]:
    """Return one whole text of two, the lines that both have once."""
    if not top or not bottom:
        return [*top, *bottom]
    texts = ((finding.text or "").splitlines() for finding in (top[0], bottom[0]))
    whole = "\n".join(_join_lines(*texts))
    scores = [one.score for one in (top[0], bottom[0]) if one.score is not None]
    score = sum(scores) / len(scores) if scores else None
    return [replace(top[0], text=whole, value=whole, score=score)]


def _join_lines(upper: Sequence[str], lower: Sequence[str]) -> list[str]:
    """Return two runs of lines as one: the longest end of the first that begins the second, once.

    The last line of the first and the first of the second may be cut, and are then left out.
    """
    ends = [fold(line) for line in upper], [fold(line) for line in lower]
    for count in range(min(len(upper), len(lower)), 0, -1):
        for last, first in ((0, 0), (1, 0), (0, 1), (1, 1)):
            tail = ends[0][: len(upper) - last][-count:]
            if len(tail) == count and any(tail) and tail == ends[1][first : first + count]:
                return [*upper[: len(upper) - last], *lower[first + count :]]
    return [*upper, *lower]
