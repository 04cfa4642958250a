"""How sure the model was of a region: a probability from the tokens that it wrote for it.

Three things must be right, and each has tokens of its own. A score is the product of:

- *that it is there*: the tokens that open the region ('[{"' where '[]' would have said "none",
  ', {' where ']' would have ended the list), behind any prose before them. Their product.
- *what it is*: the tokens of its label. Their product.
- *where it is*: the digits of its coordinates, and what ends each. An end tells 4 from 45, so
  the product of the ends counts in full. The digits tell 44 from 45, which may not matter: see
  below. The coordinates' geometric mean, as the sides of a thing are right or wrong together.

Digits by themselves say little: between 436 and 437 the model is torn and right both times,
while for a small thing one unit is much. So the product `p` of a coordinate's digits is read as
the density at the middle of a normal distribution over units, of deviation 1 / (p √2π), and
what counts is its mass within a tolerance: an eighth of the box's side, since a box whose sides
are all that close has an IoU of at least (3/4)² = 0.56. A point may be off by a fiftieth of the
picture.

Chosen by measurement on a demo checkpoint in training: AUROC of the score against IoU ≥ 0.5,
over 270 boxes of mixed pictures and 387 of hard ones only (small, touching, look-alike; class
absent or present). `make accuracy` measures it anew; a later checkpoint, on 268 boxes that had
no part in the choice, gave 0.85.

    the least probable digit            0.53    0.47
    geometric mean of the digits        0.65    0.56
    geometric mean of all tokens        0.70    0.63
    where it is, as above               0.76    0.86
    all three, as above                 0.84    0.89
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from grounding.geometry import Box, Point
from grounding.queries import Finding

CLOSE = 1 / 8
"""Share of a box's side by which a side may be off."""

CLOSE_POINT = 1 / 50
"""Share of the picture's side by which a point may be off."""

ONE_UNIT = 1.0
"""The least tolerance: below it, even certain digits would seem to be in doubt."""

PROSE = re.compile(r"[^\W\d_]{2,}[.:!,]?\s")
"""A word with space behind it, the language of a code fence too; no key or tag looks so."""

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
"""A number that is no part of a name such as x1 or bbox_2d."""

Span = tuple[int, int]


class Token(Protocol):
    """A token: its half-open range of the answer's characters, and its log-probability."""

    @property
    def start(self) -> int:
        """The first character."""
        ...

    @property
    def end(self) -> int:
        """One behind the last character."""
        ...

    @property
    def logprob(self) -> float:
        """Natural logarithm of the probability, at most 0."""
        ...


def scored(
    detections: Iterable[Finding], text: str, tokens: Sequence[Token]
) -> tuple[Finding, ...]:
    """Return the detections of the answer `text`, each with the score of its `tokens`.

    Spans and token ranges are characters of `text`, tokens in its order. Without tokens there
    is no score: one that the model wrote in words is no probability, and gives way.
    """
    written = _Written(text, tokens, [t.start for t in tokens], [t.end for t in tokens])
    result: list[Finding] = []
    behind = 0
    for one in detections:
        result.append(replace(one, score=written.score(one, behind)))
        behind = one.span[1]
    return tuple(result)


@dataclass(frozen=True, slots=True)
class _Written:
    """An answer and its tokens; `starts` and `ends` are theirs, to find them by."""

    text: str
    tokens: Sequence[Token]
    starts: Sequence[int]
    ends: Sequence[int]

    def score(self, detection: Finding, behind: int) -> float | None:
        """Return the score of a detection that is written after the place `behind`."""
        start, end = detection.span
        if self._sum(start, end) is None:
            return None
        opening = self._sum(self._opening(min(behind, start), start), start) or 0.0
        return self._place(detection) * math.exp(min(0.0, opening + self._label(detection)))

    def _sum(self, start: int, end: int) -> float | None:
        """Return the log-probability of the tokens with a character in the range; None: none."""
        found = self.tokens[bisect_right(self.ends, start) : bisect_left(self.starts, end)]
        return sum(token.logprob for token in found) if found else None

    def _opening(self, start: int, end: int) -> int:
        """Return where, between two regions, the prose ends and this one opens."""
        words = [match.end() for match in PROSE.finditer(self.text, start, end)]
        return words[-1] if words else start

    def _label(self, detection: Finding) -> float:
        start = self.text.find(detection.label, *detection.span) if detection.label else -1
        return 0.0 if start < 0 else self._sum(start, start + len(detection.label or "")) or 0.0

    def _place(self, detection: Finding) -> float:
        """Return the chance that the coordinates are whole, and close enough."""
        if detection.place is None:
            return 1.0
        tolerances = _tolerances(detection.place)
        spans = _coordinates(self.text, detection, len(tolerances))
        logs = [self._sum(*span) for span in spans]
        sure = [
            _mass(log, tolerance)
            for log, tolerance in zip(logs, tolerances, strict=False)
            if log is not None
        ]
        ends = sum(self._sum(end, end + 1) or 0.0 for _, end in spans)
        return math.prod(sure) ** (1 / max(1, len(sure))) * math.exp(min(0.0, ends))


def _tolerances(place: Box | Point) -> tuple[float, ...]:
    """Return by how much each coordinate may be off, in units of the place's frame."""
    if isinstance(place, Point):
        return CLOSE_POINT * place.frame.width, CLOSE_POINT * place.frame.height
    return (CLOSE * place.width, CLOSE * place.height) * 2


def _mass(log: float, tolerance: float) -> float:
    """Return the mass within `tolerance` of the most likely unit, whose log-probability is `log`.

    That of a normal distribution whose density at the middle is the unit's probability.
    """
    return math.erf(math.sqrt(math.pi) * math.exp(min(0.0, log)) * max(tolerance, ONE_UNIT))


def _coordinates(text: str, detection: Finding, count: int) -> Sequence[Span]:
    """Return where the coordinates stand: the numbers with its values, else the first ones.

    A place that was clipped, or written as width and height, has other values than its text.
    """
    numbers = list(NUMBER.finditer(text, *detection.span))
    runs = [numbers[i : i + count] for i in range(max(1, len(numbers) - count + 1))]
    place = detection.place
    ends = _corners(place) if isinstance(place, Box) else (place.x, place.y) if place else ()
    own = (run for run in runs if sorted(float(number[0]) for number in run) == sorted(ends))
    return [number.span() for number in next(own, runs[0])]


def _corners(box: Box) -> tuple[float, ...]:
    return box.x1, box.y1, box.x2, box.y2
