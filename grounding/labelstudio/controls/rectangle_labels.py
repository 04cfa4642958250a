"""`<RectangleLabels>`: boxes that carry their own label."""

from __future__ import annotations

from grounding.labelstudio.controls.base import ControlTag, own_labels
from grounding.queries import Shape

RECTANGLE_LABELS = ControlTag("RectangleLabels", Shape.BOX, own_labels)
