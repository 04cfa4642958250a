"""The clock of a `<Video>`: how many frames the page counts in a second of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from grounding.errors import DataError
from grounding.labelstudio.config.interface import Control, LabelConfig
from grounding.labelstudio.config.xml import VARIABLE, Element, quote
from grounding.labelstudio.data import find_field

USUAL_RATE = 24.0
"""What the page counts where a config does not say."""

MOST_RATE = 1000.0


def read_frame_rate(video: Element) -> float | str:
    """Return the frames a second of a `<Video>`, or the key of the task's data that has them."""
    text = (video.get("frameRate") or "").strip()
    variable = VARIABLE.fullmatch(text)
    return variable[1] if variable else to_rate(text) or USUAL_RATE


def to_rate(value: object) -> float | None:
    """Return what a config or a task has as a frame rate, None where it is none.

    Below one it is the seconds of a frame, as the page reads it.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        rate = float(value)
    except (ValueError, OverflowError):
        return None
    rate = 1 / rate if 0 < rate < 1 else rate
    return rate if 0 < rate <= MOST_RATE else None


def with_rates(config: LabelConfig, data: Mapping[str, Any]) -> LabelConfig:
    """Return a config whose films have the frame rates of this task's data.

    Raises `DataError` where the data lacks one that places in time are written by: every frame
    would be another.
    """
    if not config.on_films:
        return config
    return replace(config, controls=tuple(_with_rate(one, data) for one in config.controls))


def _with_rate(control: Control, data: Mapping[str, Any]) -> Control:
    if control.shape is None or not isinstance(control.frame_rate, str):
        return control
    rate = to_rate(find_field(data, control.frame_rate))
    if rate is None:
        raise DataError(
            f'the task\'s data has no frame rate under "{quote(control.frame_rate)}"',
            code="frame_rate_missing",
            hint="Import the task with the frames a second there, or write a number into frameRate",
        )
    return replace(control, frame_rate=rate)
