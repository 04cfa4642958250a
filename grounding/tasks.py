"""What the web process and the worker must agree on: a task, and its model version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from grounding.labelstudio.config.parse import parse
from grounding.settings import Settings


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


def model_version(settings: Settings, label_config: str, extra_params: str) -> str:
    """Return the version of the predictions for a project; `ConfigError` for a broken config."""
    config = parse(label_config, extra_params)
    return settings.model_version(label_config, extra_params, config.later_tags)
