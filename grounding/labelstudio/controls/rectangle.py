"""`<Rectangle>`: boxes whose label is a second result, of the `<Labels>` beside it."""

from __future__ import annotations

from grounding.ask import Shape
from grounding.labelstudio.controls.base import ControlTag, labels_beside

RECTANGLE = ControlTag("Rectangle", Shape.BOX, labels_beside, labels_beside=True)
