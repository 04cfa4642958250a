"""The plan of a task: every query to put to the model, and the controls that take its findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from grounding.labelstudio.acting import plan_actions
from grounding.labelstudio.config.interface import Control, LabelConfig, ModelTask
from grounding.labelstudio.controls import CONTROLS
from grounding.labelstudio.controls.base import (
    NO_DEFAULTS,
    PlannedQuery,
    Planner,
    PromptDefaults,
    ViewSpec,
)
from grounding.labelstudio.interactive.context import Intent
from grounding.queries import Query

__all__ = ["NO_DEFAULTS", "PlannedQuery", "PromptDefaults", "ViewSpec", "plan"]


def plan(
    config: LabelConfig, intent: Intent | None = None, defaults: PromptDefaults = NO_DEFAULTS
) -> list[PlannedQuery]:
    """Return the queries for one task, in the order of the controls; equal ones are put once.

    An annotator's `intent` says what to find and for which controls. Without one, the first of
    these that says something decides: the task's own prompt, the control's `model_prompt`, the
    project's stored prompt, the labels. Raises `DataError` where a prompt names a field that the
    task's data lacks.
    """
    controls = [
        control
        for control in config.controls
        if not control.per_region
        and (not control.options.only_asked if intent is None else control in intent.controls)
    ]
    planned = [
        one for planner, some in _by_planner(controls) for one in planner(some, intent, defaults)
    ]
    return _joined(planned)


def _by_planner(controls: Sequence[Control]) -> Iterable[tuple[Planner, list[Control]]]:
    groups: dict[Planner, list[Control]] = {}
    for control in controls:
        acts = control.task is ModelTask.GUI
        planner = plan_actions if acts else CONTROLS[control.tag].plan
        groups.setdefault(planner, []).append(control)
    return groups.items()


def _joined(planned: Iterable[PlannedQuery]) -> list[PlannedQuery]:
    """Return the queries with equal ones on one view made one, for the controls of all."""
    joined: dict[tuple[Query, ViewSpec], PlannedQuery] = {}
    for one in planned:
        first = joined.get((one.query, one.view))
        controls = one.controls if first is None else (*first.controls, *one.controls)
        joined[one.query, one.view] = replace(one, controls=controls)
    return list(joined.values())
