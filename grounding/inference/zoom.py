"""Looks again, closer, at where an agent points: small targets are missed by a few pixels.

The second question is the same about a part of the screen around the point, which the model then
sees larger. It says where; what is done stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from grounding.geometry import Point
from grounding.labelstudio.plan import PlannedQuery
from grounding.queries import Act, Finding
from grounding.qwen.answers import Answer

SHARE = 0.3
"""Share of the screen's sides around the point; the view adds its margin on each side."""

MAX_LOOKS = 20
"""Points of one task that are looked at again: more are a sign of a loop."""

Ask = Callable[[Sequence[PlannedQuery]], Sequence[Answer]]
"""Answers queries, in order."""


@dataclass(frozen=True, slots=True)
class CloserLook:
    """A second query, about the finding `at` of the answer `of`."""

    of: int
    at: int
    planned: PlannedQuery


def look_closer(
    planned: Sequence[PlannedQuery], answers: Sequence[Answer], ask: Ask
) -> list[Answer]:
    """Return the answers with the points of a closer look where a config asks for one.

    A look that finds nothing leaves the point where it was.
    """
    looks = [
        look
        for of, (one, answer) in enumerate(zip(planned, answers, strict=True))
        if isinstance(one.query, Act) and any(control.options.zoom for control in one.controls)
        for look in _looks(of, one, one.query, answer)
    ][:MAX_LOOKS]
    settled = list(answers)
    seen = ask([look.planned for look in looks]) if looks else ()
    for look, closer in zip(looks, seen, strict=True):
        findings = list(settled[look.of].findings)
        findings[look.at] = _settle(findings[look.at], closer)
        settled[look.of] = replace(settled[look.of], findings=tuple(findings))
    return settled


def _looks(of: int, planned: PlannedQuery, query: Act, answer: Answer) -> Iterator[CloserLook]:
    if planned.view.around is not None:
        return  # a click has brought the model as close already
    for at, finding in enumerate(answer.findings):
        # Where a gesture begins and ends is no small target.
        if isinstance(finding.place, Point) and finding.end is None:
            around = finding.place.window(SHARE)
            again = replace(query, classes=_only(finding, query), around=around)
            yield CloserLook(
                of, at, replace(planned, query=again, view=replace(planned.view, around=around))
            )


def _only(finding: Finding, query: Act) -> tuple[str, ...]:
    """Return the action of a finding alone, where the query has it under its name."""
    return (finding.label,) if finding.label in query.classes else query.classes


def _settle(finding: Finding, closer: Answer) -> Finding:
    """Return a finding at the point of a closer look, with the lower of the two scores."""
    found = next((one for one in closer.findings if isinstance(one.place, Point)), None)
    if found is None:
        return finding
    scores = [one.score for one in (finding, found) if one.score is not None]
    return replace(finding, place=found.place, score=min(scores) if len(scores) > 1 else None)
