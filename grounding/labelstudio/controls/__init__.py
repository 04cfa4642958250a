"""The control tags that we serve.

A new tag is a new file here and one line in `CONTROLS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from grounding.geometry import Frame
from grounding.labelstudio.config.areas import find_taker
from grounding.labelstudio.config.interface import Control, Label, ModelTask
from grounding.labelstudio.controls.actions import write_actions
from grounding.labelstudio.controls.base import Companion, Results
from grounding.labelstudio.controls.choices import CHOICES
from grounding.labelstudio.controls.date_time import DATE_TIME
from grounding.labelstudio.controls.films.timeline_labels import TIMELINE_LABELS
from grounding.labelstudio.controls.films.video_rectangle import VIDEO_RECTANGLE
from grounding.labelstudio.controls.number import NUMBER
from grounding.labelstudio.controls.rating import RATING
from grounding.labelstudio.controls.shapes import (
    KEY_POINT,
    KEY_POINT_LABELS,
    RECTANGLE,
    RECTANGLE_LABELS,
)
from grounding.labelstudio.controls.taxonomy import TAXONOMY
from grounding.labelstudio.controls.text_area import TEXT_AREA
from grounding.queries import Finding, Query

CONTROLS = {
    kind.tag: kind
    for kind in (
        RECTANGLE_LABELS,
        KEY_POINT_LABELS,
        RECTANGLE,
        KEY_POINT,
        TIMELINE_LABELS,
        VIDEO_RECTANGLE,
        CHOICES,
        TEXT_AREA,
        NUMBER,
        DATE_TIME,
        RATING,
        TAXONOMY,
    )
}


def write_results(
    control: Control,
    found: Sequence[tuple[Finding, Query]],
    image: Frame,
    companions: Sequence[Control] = (),
) -> Results:
    """Return the results of a control for what was found, each finding with its query.

    `companions` are the per-region controls of its image. `image` is the frame of the upright
    original. Places are in percent of it and inside it, and
    each label is one that the config has. A finding that cannot be a result here is counted.
    """

    def accompany(label: Label | None) -> list[Companion]:
        taker = find_taker(companions, control, label)
        add = CONTROLS[taker.tag].accompany if taker else None
        return [partial(add, taker)] if taker and add else []

    acts = control.shape is not None and control.task is ModelTask.GUI
    write = write_actions if acts else CONTROLS[control.tag].write
    return write(control, found, image, accompany)
