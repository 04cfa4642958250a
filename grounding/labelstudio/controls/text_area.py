"""`<TextArea perRegion="true">`: the text that the model gave with a place, beside its region."""

from __future__ import annotations

from grounding.labelstudio.config.attributes import COMPANION_ATTRIBUTES
from grounding.labelstudio.config.interface import Control
from grounding.labelstudio.config.xml import Element
from grounding.labelstudio.controls.base import ControlTag, Region, complete
from grounding.labelstudio.data import UNSEEN
from grounding.queries import Finding


def is_per_region(element: Element) -> bool:
    """Say whether a control belongs to single regions instead of the whole image."""
    return (element.get("perRegion") or "").lower() == "true"


def write_text(control: Control, region: Region, finding: Finding) -> list[Region]:
    """Return the result with a finding's text, under the region's id and geometry; [] for none."""
    text = UNSEEN.sub("", finding.text or "").strip()
    return [complete(region, control.from_name, "textarea", {"text": [text]})] if text else []


TEXT_AREA = ControlTag(
    "TextArea",
    COMPANION_ATTRIBUTES,
    accompany=write_text,
    labels="none",
    serves=is_per_region,
    required=False,
)
