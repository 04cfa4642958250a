"""What an annotator should look at twice: the reader's notes, on the detections they concern.

Most notes concern no region by itself (a mended bracket, a dropped duplicate); they are counted
and go no further.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from grounding.geometry import Box
from grounding.queries import Finding
from grounding.qwen.answers import Answer, Note


def with_caveats(answer: Answer) -> Answer:
    """Return the answer, each detection with the warnings that concern it."""
    told = tuple(
        replace(one, warnings=tuple(_said(one, answer, is_last=one is answer.detections[-1])))
        for one in answer.detections
    )
    return replace(answer, detections=told)


def _said(one: Finding, answer: Answer, *, is_last: bool) -> list[str]:
    concerns = [CAVEATS[note] for note in answer.warnings if note in CAVEATS]
    return [words for words, holds in concerns if holds(one, is_last)]


def _at_the_end(one: Finding, is_last: bool) -> bool:
    return is_last


def _at_the_edge(one: Finding, is_last: bool) -> bool:
    """Say whether a place reaches the picture's edge, as all do that were clipped."""
    place = one.place
    if place is None:
        return False
    frame = place.frame
    xs = (place.x1, place.x2) if isinstance(place, Box) else (place.x,)
    ys = (place.y1, place.y2) if isinstance(place, Box) else (place.y,)
    return min(*xs, *ys) <= 0 or max(xs) >= frame.width or max(ys) >= frame.height


CAVEATS: dict[Note, tuple[str, Callable[[Finding, bool], bool]]] = {
    Note.TRUNCATED: ("The model's answer ends here, unfinished: more may be missing", _at_the_end),
    Note.LOOP: ("The model repeated itself: more may be missing", _at_the_end),
    Note.WHOLE_IMAGE: ("One box around nearly everything: ask for each one", _at_the_end),
    Note.CLIPPED: ("The model drew this beyond the picture's edge", _at_the_edge),
}
"""The words for a note, and which detections of the answer it concerns.

What happened at the end is said once, with the last; a box around everything is the only one.
"""
