"""Plots as SVG elements for a page: they need no script and no other host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from grounding.evaluation.calibration import Reliability, Step
from grounding.evaluation.matching import Outcome
from grounding.evaluation.records import Labelling, Region
from grounding.geometry import Box, Frame, Point, image_frame

SIDE = 260
MARGIN = 44
PLOT = Frame("image", SIDE, SIDE)
UNIT = image_frame(1, 1)
"""Shares from 0 to 1 on both axes; y grows downwards, so a share is drawn at 1 minus it."""

NO_SIZE = image_frame(640, 480)
"""The frame of a picture whose size no region tells."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How the places of one sort are drawn: the class of their style, and the places."""

    style: str
    regions: Sequence[Region]


def reliability_plot(reliability: Reliability) -> Markup:
    """Return the reliability diagram: share that is right over score, a dot for each bin.

    A dot's area grows with its count. On the diagonal, scores are what they say.
    """
    most = max(one.count for one in reliability.bins)
    dots = Markup("").join(
        _dot(one.mean, one.right, 3 + 9 * (one.count / most) ** 0.5, one.count)
        for one in reliability.bins
    )
    diagonal = _line([(0, 0), (1, 1)], "faint")
    return _axes("score", "share that is right", diagonal + dots)


def precision_plot(curve: Sequence[Step], wanted: float) -> Markup:
    """Return precision and recall over the threshold, and the wanted precision as a line."""
    level = _line([(0, wanted), (1, wanted)], "faint")
    precision = _line([(one.threshold, one.precision) for one in curve], "precision")
    recall = _line([(one.threshold, one.recall) for one in curve], "recall")
    return _axes("threshold", "precision (blue), recall (orange)", level + precision + recall)


def _axes(across: str, up: str, inside: Markup) -> Markup:
    ticks = Markup("").join(_tick(n / 4) for n in range(5))
    size = SIDE + 2 * MARGIN
    return Markup(
        '<svg class="plot" viewBox="{} {} {} {}" role="img" aria-label="{} over {}">'
        '<rect width="{}" height="{}" class="frame"/>{}{}'
        '<text x="{}" y="{}" class="name">{}</text>'
        '<text transform="translate({} {}) rotate(-90)" class="name">{}</text></svg>'
    ).format(
        *(-MARGIN, -MARGIN / 2, size, size, up, across, SIDE, SIDE, ticks, inside),
        *(SIDE / 2, SIDE + 36, across, -32, SIDE / 2, up),
    )


def _tick(share: float) -> Markup:
    x, y = _at(share, share)
    return Markup(
        '<path d="M{x:.1f} 0V{s} M0 {y:.1f}H{s}" class="grid"/>'
        '<text x="{x:.1f}" y="{below}" class="tick">{share:.2f}</text>'
        '<text x="-6" y="{y:.1f}" class="tick left">{share:.2f}</text>'
    ).format(x=x, y=y, s=SIDE, below=SIDE + 15, share=share)


def _at(across: float, up: float) -> tuple[float, float]:
    """Return where a point with shares on both axes is drawn."""
    point = Point(across, 1 - up, UNIT).to(PLOT)
    return point.x, point.y


def _dot(across: float, up: float, radius: float, count: int) -> Markup:
    x, y = _at(across, up)
    text = Markup(
        '<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" class="dot"><title>{:,}</title></circle>'
    )
    return text.format(x, y, radius, count)


def _line(points: Sequence[tuple[float, float]], style: str) -> Markup:
    path = " ".join("{:.1f},{:.1f}".format(*_at(x, y)) for x, y in points)
    return Markup('<polyline points="{}" class="{}"/>').format(path, style)


def picture(prediction: Labelling, outcome: Outcome, file: str = "") -> Markup:
    """Return a task's picture with the places on it, right and wrong ones told apart.

    `file` is the picture as a data URI; without it only the places are drawn.
    """
    frame = _frame((*prediction.regions, *outcome.wanted))
    missed = {id(one) for one in outcome.missed}
    marks = (
        Mark("wanted", [one for one in outcome.wanted if id(one) not in missed]),
        Mark("missed", list(outcome.missed)),
        Mark("right", [one.region for one in outcome.guesses if one.right]),
        Mark("wrong", [one.region for one in outcome.guesses if not one.right]),
    )
    return draw(frame, marks, file)


def _frame(regions: Sequence[Region]) -> Frame:
    return next((one.image for one in regions if one.image.name == "image"), NO_SIZE)


def draw(frame: Frame, marks: Sequence[Mark], file: str = "") -> Markup:
    """Return a picture of this frame with marks on it."""
    drawn = Markup("").join(
        _place(region, mark.style, frame) for mark in marks for region in mark.regions
    )
    image = (
        Markup('<image href="{}" width="{}" height="{}" preserveAspectRatio="none"/>')
        if file
        else Markup("")
    )
    return Markup(
        '<svg class="picture" viewBox="0 0 {w} {h}" role="img">'
        '<rect width="{w}" height="{h}" class="frame"/>{image}{drawn}</svg>'
    ).format(
        w=frame.width,
        h=frame.height,
        image=image.format(file, frame.width, frame.height),
        drawn=drawn,
    )


def _place(region: Region, style: str, frame: Frame) -> Markup:
    place, size = region.place, frame.margin(0.035)[0]
    if isinstance(place, Box):
        box = place.to(frame)
        shape = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            box.x1, box.y1, box.width, box.height
        )
        x, y = box.x1, box.y1 + size
    elif isinstance(place, Point):
        spot = place.to(frame)
        shape = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}"/>').format(
            spot.x, spot.y, size / 2
        )
        x, y = spot.x + size / 2, spot.y
    else:
        return Markup("")
    score = "" if region.score is None else f" {region.score:.2f}"
    return Markup(
        '<g class="{}">{}<text x="{:.1f}" y="{:.1f}" font-size="{:.1f}">{}</text></g>'
    ).format(style, shape, x, y, size, region.label + score)
