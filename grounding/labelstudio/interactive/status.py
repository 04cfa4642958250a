"""Writes messages for annotators: Label Studio's page shows none of our errors."""

from __future__ import annotations

from collections.abc import Mapping

from grounding.labelstudio.config.interface import LabelConfig, TextArea
from grounding.labelstudio.controls.base import Region, new_id
from grounding.labelstudio.text import clean

MAX_CHARS = 500


def write_status(config: LabelConfig, text: str) -> list[Region]:
    """Return the result that puts `text` into the config's status area, or [] without one.

    The page accepts it without a click and replaces the area's previous text.
    """
    area = config.status_area()
    if area is None:
        return []
    return [text_result(area, clean(text)[:MAX_CHARS])]


def text_result(area: TextArea, text: str) -> Region:
    """Return the result that puts `text` into a text area."""
    return {
        "id": new_id(),
        "from_name": area.name,
        "to_name": area.to_name,
        "type": "textarea",
        "value": {"text": [text]},
    }


def summarize(found: int, left_out: Mapping[str, int]) -> str:
    """Return how many regions an answer has, and how many are left out for which reason."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count)
    if not reasons:
        return f"{found} found" if found else "nothing found"
    return f"{found} found ({reasons})" if found else f"nothing new found ({reasons})"


def explain_failure(code: str, reason: str) -> str:
    """Return why there is no answer, from an error's code and its text."""
    about_image = code.startswith(("image_", "url_"))
    return f"image not readable: {reason}" if about_image else reason
