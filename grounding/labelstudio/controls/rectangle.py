"""`<RectangleLabels>`: boxes with labels of their own; `<Rectangle>`: with a `<Labels>` beside."""

from __future__ import annotations

from grounding.labelstudio.config.attributes import BOX_ATTRIBUTES
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
