"""Warnings for annotators: the reader's notes, attached to the findings that they concern.

Most notes concern no single finding (a repaired bracket, a dropped duplicate). They are counted
and attached to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from grounding.geometry import Box
from grounding.queries import Finding
from grounding.qwen.answers import Answer, Note


def add_caveats(answer: Answer) -> Answer:
    """Return the answer, each finding with the warnings that concern it."""
    last = len(answer.findings) - 1
    findings = tuple(
        replace(finding, warnings=_warnings(finding, answer.warnings, is_last=at == last))
        for at, finding in enumerate(answer.findings)
    )
    return replace(answer, findings=findings)


def _warnings(finding: Finding, notes: tuple[Note, ...], *, is_last: bool) -> tuple[str, ...]:
    caveats = [CAVEATS[note] for note in notes if note in CAVEATS]
    return tuple(text for text, concerns in caveats if concerns(finding, is_last))


def _ends_the_answer(finding: Finding, is_last: bool) -> bool:
    return is_last


def _touches_the_edge(finding: Finding, is_last: bool) -> bool:
    """Say whether the place reaches an edge of its frame, as every clipped place does."""
    place = finding.place
    if place is None:
        return False
    frame = place.frame
    xs = (place.x1, place.x2) if isinstance(place, Box) else (place.x,)
    ys = (place.y1, place.y2) if isinstance(place, Box) else (place.y,)
    return min(*xs, *ys) <= 0 or max(xs) >= frame.width or max(ys) >= frame.height


CAVEATS: dict[Note, tuple[str, Callable[[Finding, bool], bool]]] = {
    Note.TRUNCATED: (
        "The model's answer ends here, unfinished: more may be missing",
        _ends_the_answer,
    ),
    Note.LOOP: ("The model repeated itself: more may be missing", _ends_the_answer),
    Note.WHOLE_IMAGE: ("One box around nearly everything: ask for each one", _ends_the_answer),
    Note.CLIPPED: ("The model drew this beyond the picture's edge", _touches_the_edge),
}
"""The warning for each note, and which findings of the answer it concerns.

What happened at the end of the answer is attached to the last finding. A box around everything
is the only finding.
"""
