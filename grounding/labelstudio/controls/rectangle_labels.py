"""`<RectangleLabels>`: boxes that carry their own label."""

from __future__ import annotations

from grounding.ask import Shape
from grounding.labelstudio.controls.base import ControlTag, own_labels

RECTANGLE_LABELS = ControlTag("RectangleLabels", Shape.BOX, own_labels)
