"""`<KeyPointLabels>`: points with labels of their own; `<KeyPoint>`: with a `<Labels>` beside."""

from __future__ import annotations

from grounding.labelstudio.config.attributes import POINT_ATTRIBUTES
from grounding.labelstudio.controls.base import ControlTag
from grounding.labelstudio.controls.places import write_places
from grounding.labelstudio.locating import plan_places
from grounding.queries import Shape

KEY_POINT_LABELS = ControlTag(
    "KeyPointLabels", POINT_ATTRIBUTES, plan_places, write_places, draws=Shape.POINT
)
KEY_POINT = ControlTag(
    "KeyPoint", POINT_ATTRIBUTES, plan_places, write_places, draws=Shape.POINT, labels="beside"
)
