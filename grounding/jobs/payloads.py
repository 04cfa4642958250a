"""What a task carries in itself, kept apart from its record: pictures as `data:` addresses.

A record holds a reference; the bulk lies beside it until the job is finished. All of it together
is bounded, so that pictures of megabytes cannot fill the queue's memory for everyone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from grounding.errors import DataError

INLINE_CHARACTERS = 1024
"""Task data up to this length stays in the record: an ordinary address and a little more."""


def parted(payload: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return `payload` for the record and what lies beside it; empty where nothing must."""
    text = json.dumps(payload["data"], ensure_ascii=False, separators=(",", ":"))
    if len(text) <= INLINE_CHARACTERS:
        return payload, ""
    return {**payload, "data": None}, text


def whole(payload: Mapping[str, Any], blob: bytes | None) -> Mapping[str, Any]:
    """Return what `parted` was given; `DataError` where what lay beside it has expired."""
    if payload["data"] is not None:
        return payload
    if blob is None:
        raise DataError(
            "the task waited so long that its picture is no longer kept",
            code="data_expired",
            hint="Ask again, once a worker is running",
        )
    return {**payload, "data": json.loads(blob)}
