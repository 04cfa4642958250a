"""The probability of each finding, from the log-probabilities of the tokens that state it.

A finding is right if it exists, has the right label and lies in the right place. Each of the
three has its own tokens, and the score is the product of:

- *existence*: the tokens that open the finding (`[{"` instead of `[]` for "none", `, {` instead
  of `]` for the end of the list), without the prose before them. Their product.
- *label*: the tokens of the label. Their product.
- *place*: the digits of the coordinates and the token after each. The token after a number
  tells 4 from 45, so the product of these counts in full. The digits tell 44 from 45, which may
  not matter (see below). The coordinates contribute their geometric mean, because the sides of
  an object tend to be right or wrong together.

Raw digit probabilities say little: a model split between 436 and 437 is right either way, while
one unit matters for a small object. So the product `p` of a coordinate's digits is taken as the
density at the middle of a normal distribution over units, with deviation 1 / (p √2π). The
coordinate counts with the mass of that distribution within a tolerance. For a box the tolerance
is an eighth of its side: if all sides are that close, the IoU is at least (3/4)² = 0.56. For a
point it is a fiftieth of the picture's side.

The formula was chosen by measurement on a demo checkpoint in training: AUROC of the score
against IoU ≥ 0.5, over 270 boxes of mixed pictures and 387 boxes of hard ones (small, touching,
look-alike; class absent or present). `make accuracy` measures it again. A later checkpoint gave
0.85 on 268 boxes that had no part in the choice.

    the least probable digit            0.53    0.47
    geometric mean of the digits        0.65    0.56
    geometric mean of all tokens        0.70    0.63
    the place, as above                 0.76    0.86
    all three, as above                 0.84    0.89
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Protocol

from grounding.geometry import Box, Point
from grounding.queries import Finding

CLOSE = 1 / 8
"""Tolerance of a box's coordinate, as a share of the box's side."""

CLOSE_POINT = 1 / 50
"""Tolerance of a point's coordinate, as a share of the picture's side."""

ONE_UNIT = 1.0
"""Smallest tolerance: with less, even certain digits would look uncertain."""

PROSE = re.compile(r"[^\W\d_]{2,}[.:!,]?\s")
"""A word followed by white space, or the language of a code fence; no key or tag matches."""

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
"""A number that is not part of a name such as x1 or bbox_2d."""

Span = tuple[int, int]


class Token(Protocol):
    """A token: its half-open range of the answer's characters, and its log-probability."""

    @property
    def start(self) -> int:
        """Index of the first character."""
        ...

    @property
    def end(self) -> int:
        """Index after the last character."""
        ...

    @property
    def logprob(self) -> float:
        """Natural logarithm of the probability, at most 0."""
        ...


def score_findings(
    findings: Iterable[Finding], text: str, tokens: Sequence[Token]
) -> tuple[Finding, ...]:
    """Return the findings of the answer `text`, each with the score of its `tokens`.

    Spans and token ranges index the characters of `text`; tokens are in its order. A finding
    without tokens gets no score. A score that the model wrote in words is dropped, because it is
    no probability. Takes time in proportion to the length of `text` and the number of findings,
    even where many findings share a span.
    """
    scorer = _Scorer(text, tokens)
    result: list[Finding] = []
    previous_end = 0
    for finding in findings:
        result.append(replace(finding, score=scorer.score(finding, previous_end)))
        previous_end = finding.span[1]
    return tuple(result)


class _Scorer:
    """Scores the findings of one answer."""

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._starts = [token.start for token in tokens]
        self._ends = [token.end for token in tokens]
        self._labels: dict[tuple[str, Span], float] = {}

    @cached_property
    def _numbers(self) -> _Numbers:
        return _Numbers(self._text)

    def score(self, finding: Finding, previous_end: int) -> float | None:
        """Return the score of a finding whose predecessor's span ends at `previous_end`."""
        start, end = finding.span
        first, behind = self._range(start, end)
        if first >= behind:
            return None
        opening = self._sum(self._opening(min(previous_end, start), start), start)
        return self._place(finding) * math.exp(min(0.0, opening + self._label(finding)))

    def _range(self, start: int, end: int) -> Span:
        """Return the half-open range of the tokens that have a character in `start` to `end`."""
        return bisect_right(self._ends, start), bisect_left(self._starts, end)

    def _sum(self, start: int, end: int) -> float:
        """Return the log-probability of the tokens that have a character in the range."""
        first, behind = self._range(start, end)
        return sum(token.logprob for token in self._tokens[first:behind])

    def _opening(self, start: int, end: int) -> int:
        """Return where the prose between two findings ends and the second one opens."""
        words = [match.end() for match in PROSE.finditer(self._text, start, end)]
        return words[-1] if words else start

    def _label(self, finding: Finding) -> float:
        """Return the log-probability of the label where it is written first in the span."""
        if not finding.label:
            return 0.0
        key = finding.label, finding.span
        if key not in self._labels:
            start = self._text.find(finding.label, *finding.span)
            self._labels[key] = 0.0 if start < 0 else self._sum(start, start + len(finding.label))
        return self._labels[key]

    def _place(self, finding: Finding) -> float:
        """Return the probability that the coordinates are complete, and close enough."""
        place = finding.place
        if place is None:
            return 1.0
        tolerances = _tolerances(place)
        spans = self._numbers.coordinates(finding.span, _values(place))
        masses = [
            _mass(self._sum(*span), tolerance)
            for span, tolerance in zip(spans, tolerances, strict=False)
            if self._has_tokens(span)
        ]
        ends = sum(self._sum(end, end + 1) for _, end in spans)
        return math.prod(masses) ** (1 / max(1, len(masses))) * math.exp(min(0.0, ends))

    def _has_tokens(self, span: Span) -> bool:
        first, behind = self._range(*span)
        return first < behind


class _Numbers:
    """The numbers of a text, found by their values or by where they stand."""

    def __init__(self, text: str) -> None:
        matches = list(NUMBER.finditer(text))
        self._spans = [match.span() for match in matches]
        self._starts = [start for start, _ in self._spans]
        self._ends = [end for _, end in self._spans]
        self._values = [float(match[0]) for match in matches]
        self._runs: dict[int, Mapping[tuple[float, ...], Sequence[int]]] = {}

    def coordinates(self, span: Span, values: tuple[float, ...]) -> Sequence[Span]:
        """Return where in `span` the coordinates `values` are written.

        They are the first consecutive numbers with these values in any order. Where there are
        none, because the place was clipped or written as width and height, they are the first
        numbers of the span.
        """
        first, behind = bisect_left(self._starts, span[0]), bisect_right(self._ends, span[1])
        runs = self._runs_of(len(values)).get(tuple(sorted(values)), ())
        at = bisect_left(runs, first)
        if at < len(runs) and runs[at] + len(values) <= behind:
            first = runs[at]
        return self._spans[first : min(first + len(values), behind)]

    def _runs_of(self, count: int) -> Mapping[tuple[float, ...], Sequence[int]]:
        """Return where `count` consecutive numbers begin, in order, by their sorted values."""
        if count not in self._runs:
            runs: dict[tuple[float, ...], list[int]] = defaultdict(list)
            for at in range(len(self._values)):  # the last are shorter, and match no place
                runs[tuple(sorted(self._values[at : at + count]))].append(at)
            self._runs[count] = runs
        return self._runs[count]


def _values(place: Box | Point) -> tuple[float, ...]:
    return (
        (place.x, place.y) if isinstance(place, Point) else (place.x1, place.y1, place.x2, place.y2)
    )


def _tolerances(place: Box | Point) -> tuple[float, ...]:
    """Return the tolerance of each coordinate, in units of the place's frame."""
    if isinstance(place, Point):
        return place.frame.margin(CLOSE_POINT)
    across, down = place.margin(CLOSE)
    return across, down, across, down


def _mass(log: float, tolerance: float) -> float:
    """Return the mass within `tolerance` units of the middle of a normal distribution.

    `log` is the logarithm of the density at the middle: of the probability of the written unit.
    """
    return math.erf(math.sqrt(math.pi) * math.exp(min(0.0, log)) * max(tolerance, ONE_UNIT))
