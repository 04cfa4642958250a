"""A task of Label Studio as it travels from the web process to a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """One task of one request, as plain JSON: all that its answer depends on.

    `context` is what an annotator does; None if none waits. `extra_params` and `prompt` are kept
    for the project from earlier requests.
    """

    id: int | None
    data: Mapping[str, Any]
    label_config: str
    context: Mapping[str, Any] | None
    model_version: str
    project: str = ""
    extra_params: str = ""
    prompt: str = ""

    def payload(self) -> dict[str, Any]:
        """Return the task as the job store keeps it; `Task(**payload)` is its reverse.

        Nothing is copied, so that deeply nested data costs no recursion here.
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}
