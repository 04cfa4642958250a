"""`<KeyPointLabels>`: points that carry their own label."""

from __future__ import annotations

from grounding.labelstudio.controls.base import ControlTag, own_labels
from grounding.queries import Shape

KEY_POINT_LABELS = ControlTag("KeyPointLabels", Shape.POINT, own_labels)
