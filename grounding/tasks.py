"""One task of one request: what the web process writes and a worker reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """One task of one request, as plain JSON: everything that the answer depends on.

    `context` is what an annotator does in the page, None where nobody waits. `extra_params` and
    `prompt` are what the project keeps beside its requests.
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
        """Return the task as the job store keeps it; `Task(**payload)` is its reverse."""
        return asdict(self)
