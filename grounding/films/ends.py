"""A finer look at the ends of spans: where to look, and what an answer says of an end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from grounding.labelstudio.films import merge_spans
from grounding.queries import Finding, Span
from grounding.qwen.answers import Answer

STEPS = 2
"""Steps of the coarse look that a finer one reaches to each side of an end."""

MOST = 200
"""Ends of one film that are looked at again: more spans are a sign of a loop."""


@dataclass(slots=True)
class SpanEnd:
    """One end of a span: of the answer `query`, finding `finding`.

    `at` is when, in seconds of the film, and moves with a finer look at `window`.
    """

    query: int
    finding: int
    is_start: bool
    at: float
    window: Span
    label: str | None


def find_ends(answers: Sequence[Answer], whole: Span, fps: float) -> Iterator[SpanEnd]:
    """Yield the ends that a finer look may move: those that are not the film's own.

    `fps` is the rate of the look before.
    """
    reach, left = STEPS / fps, MOST
    for number, answer in enumerate(answers):
        for index, finding in enumerate(answer.findings):
            for is_start, time in zip((True, False), finding.time or (), strict=False):
                inside = whole[0] + 1 / fps < time < whole[1] - 1 / fps
                if not inside or not left:
                    continue
                left -= 1
                window = max(whole[0], time - reach), min(whole[1], time + reach)
                yield SpanEnd(number, index, is_start, time, window, finding.label)


def move(end: SpanEnd, answer: Answer, step: float) -> None:
    """Move an end to where an answer about its window has it, in a look at each `step` seconds.

    Of a span that reaches the window's own edge nobody knows whether it ends there, and an answer
    without one says nothing of the end: it then stays.
    """
    low, high = end.window
    seen = [one.time for one in _named(answer, end.label) if one.time]
    times = [time[0] if end.is_start else time[1] for time in seen]
    inside = [time for time in times if low + step < time < high - step]
    if inside:
        end.at = min(inside, key=lambda time: abs(time - end.at))


def _named(answer: Answer, label: str | None) -> Sequence[Finding]:
    """Return the findings of a label, or all where the answer was for one."""
    return [one for one in answer.findings if label is None or one.label in (None, label)]


def settle(answers: Sequence[Answer], ends: Sequence[SpanEnd], gap: float) -> list[Answer]:
    """Return the answers with their spans' ends where they were moved to; spans that touch are one.

    They touch where at most `gap` seconds lie between them.
    """
    at = {(end.query, end.finding, end.is_start): end.at for end in ends}
    settled: list[Answer] = []
    for number, answer in enumerate(answers):
        placed = [
            _placed(one, at.get((number, index, True)), at.get((number, index, False)))
            for index, one in enumerate(answer.findings)
        ]
        settled.append(replace(answer, findings=tuple(merge_spans(placed, gap))))
    return settled


def _placed(finding: Finding, start: float | None, end: float | None) -> Finding:
    """Return a finding with new ends, unless they would cross."""
    if finding.time is None:
        return finding
    time = (
        finding.time[0] if start is None else start,
        finding.time[1] if end is None else end,
    )
    return replace(finding, time=time) if time[0] < time[1] else finding
