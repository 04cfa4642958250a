"""What we say to an annotator: Label Studio's page shows none of our errors."""

from __future__ import annotations

from grounding.labelstudio.controls.base import Region, new_id
from grounding.labelstudio.interface import LabelConfig
from grounding.labelstudio.text import clean

MAX_CHARS = 500


def status(config: LabelConfig, text: str) -> list[Region]:
    """Return the result that puts `text` into the config's status area, or [] without one.

    The page takes it without a click, in place of what the area said before.
    """
    area = config.status_area()
    if area is None:
        return []
    return [
        {
            "id": new_id(),
            "from_name": area.name,
            "to_name": area.to_name,
            "type": "textarea",
            "value": {"text": [clean(text)[:MAX_CHARS]]},
        }
    ]
