"""`<KeyPoint>`: points whose label is a second result, of the `<Labels>` beside it."""

from __future__ import annotations

from grounding.labelstudio.controls.base import ControlTag, labels_beside
from grounding.queries import Shape

KEY_POINT = ControlTag("KeyPoint", Shape.POINT, labels_beside, labels_beside=True)
