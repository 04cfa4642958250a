"""JSON schema of the JSON answer format, for servers with structured output.

Off by default: the schema forces the model off the format that it was trained on (a code fence,
tabs), and scores depend on the tokens of that format.
"""

from __future__ import annotations

from typing import Any


def _place(key: str, numbers: int) -> dict[str, Any]:
    integers = {"type": "integer", "minimum": 0}
    return {
        "type": "object",
        "properties": {
            key: {"type": "array", "items": integers, "minItems": numbers, "maxItems": numbers},
            "label": {"type": "string"},
        },
        "required": [key, "label"],
        "additionalProperties": False,
    }


ANSWER_SCHEMA: dict[str, Any] = {
    "type": "array",
    "items": {"anyOf": [_place("bbox_2d", 4), _place("point_2d", 2)]},
}
"""A list of boxes and points, each with its label; empty if the model finds nothing."""
