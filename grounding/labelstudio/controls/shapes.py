"""The tags that draw places: each differs from the next in its shape and where its labels stand."""

from __future__ import annotations

from grounding.labelstudio.config.attributes import BOX_ATTRIBUTES, POINT_ATTRIBUTES
from grounding.labelstudio.controls.base import ControlTag
from grounding.labelstudio.controls.places import write_places
from grounding.labelstudio.locating import plan_places
from grounding.queries import Shape

RECTANGLE_LABELS = ControlTag(
    "RectangleLabels", BOX_ATTRIBUTES, plan_places, write_places, draws=Shape.BOX
)
RECTANGLE = ControlTag(
    "Rectangle", BOX_ATTRIBUTES, plan_places, write_places, draws=Shape.BOX, labels="beside"
)


KEY_POINT_LABELS = ControlTag(
    "KeyPointLabels", POINT_ATTRIBUTES, plan_places, write_places, draws=Shape.POINT
)
KEY_POINT = ControlTag(
    "KeyPoint", POINT_ATTRIBUTES, plan_places, write_places, draws=Shape.POINT, labels="beside"
)
