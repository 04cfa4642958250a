"""What Label Studio sends and gets for each task: raw tasks in, entries out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from grounding.errors import DataError
from grounding.jobs.store import Outcome
from grounding.labelstudio.config.interface import LabelConfig
from grounding.labelstudio.interactive.status import text_result

Entry = dict[str, Any] | list[Any]
"""One task's place in the answer: a prediction, or `[]` for none yet."""

NO_DATA = Outcome(code="data_missing", reason="a task has no data")


def task_id(raw: object) -> int | None:
    """Return a raw task's id, or None where it has none that is a number."""
    found = raw.get("id") if isinstance(raw, Mapping) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def canonical(value: Any) -> bytes:
    """Return `value` as JSON in UTF-8, always the same; `DataError` where it cannot be written."""
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True).encode()
    except (ValueError, RecursionError) as exc:  # a lone surrogate, or nested too deep
        raise DataError("a task's data cannot be written as JSON", code="data_invalid") from exc


def entry_of(outcome: Outcome | None) -> Entry:
    """Return what came of a task as an entry."""
    if outcome is None or outcome.prediction is None:
        return []
    return dict(outcome.prediction)


def offering(entry: Entry, config: LabelConfig, prompt: str) -> Entry:
    """Return an entry that also puts the last prompt into the prompt area, if it is stored."""
    area = config.memory()
    if not isinstance(entry, dict) or not (area and prompt):
        return entry
    return {**entry, "result": [*entry["result"], text_result(area, prompt)]}
