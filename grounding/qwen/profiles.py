"""What differs between Qwen's vision families: the meaning of their numbers and the resize.

The families write the same syntax, so what a number means follows from the model, never from
the values. A new family is one line of `PROFILES`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from grounding.errors import SettingError
from grounding.geometry import THOUSAND, Frame
from grounding.qwen.prompts import PromptSet

MIN_TOKENS, MAX_TOKENS = 256, 1280
"""Image tokens of a picture by default: what Qwen recommends for a balance of cost and accuracy.

At 28 pixels a side that is 448×448 to 1001×1001. Qwen's guide calls 480×480 to 2560×2560 robust:
smaller pictures are enlarged to its lower end or little below, and none exceeds its upper end.
"""

Bounds = tuple[int, int]
"""Smallest and largest area of a picture, in pixels of the model frame."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How one model family sees and writes places.

    `space` says what its numbers are: "model" is absolute pixels of the model frame, "thousand"
    is 0 to 1000 of each side. Sides of the model frame are multiples of `factor` pixels, and one
    image token covers a square of that side. `min_pixels` and `max_pixels` bound its area.
    `prompts` names its wordings.
    """

    name: str
    space: Literal["model", "thousand"]
    factor: int
    min_pixels: int
    max_pixels: int
    prompts: PromptSet = "qwen2.5"

    def answer_frame(self, model: Frame) -> Frame:
        """Return the frame of the numbers that the model writes about a picture seen as `model`."""
        return model if self.space == "model" else replace(THOUSAND, extent=model.extent)

    def bounded(
        self,
        own: Bounds | None = None,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> Profile:
        """Return this profile with the pixel bounds to use for one checkpoint.

        They are the default bounds where these meet `own`, the checkpoint's, and `own` where
        they do not: a model that only ever saw small pictures is shown small ones. `min_pixels`
        and `max_pixels` are settings and win; where only one is set, the other gives way.
        Raises `SettingError` where both are set and cross.
        """
        if min_pixels and max_pixels and min_pixels > max_pixels:
            raise SettingError(
                f"GROUNDING_MIN_PIXELS {min_pixels} exceeds GROUNDING_MAX_PIXELS {max_pixels}"
            )
        low, high = _meet((self.min_pixels, self.max_pixels), own)
        low, high = min_pixels or low, max_pixels or high
        return replace(
            self,
            min_pixels=low if min_pixels else min(low, high),
            max_pixels=high if max_pixels else max(low, high),
        )

    def within(self, min_pixels: int | None, max_pixels: int | None) -> Profile:
        """Return this profile with the bounds that one project asks for, kept within its own."""
        low, high = (
            min(max(wanted or own, self.min_pixels), self.max_pixels)
            for wanted, own in ((min_pixels, self.min_pixels), (max_pixels, self.max_pixels))
        )
        return replace(self, min_pixels=min(low, high), max_pixels=high)


def _meet(default: Bounds, own: Bounds | None) -> Bounds:
    if own is None:
        return default
    low, high = max(default[0], own[0]), min(default[1], own[1])
    return (low, high) if low <= high else own


def _family(name: str, space: Literal["model", "thousand"], factor: int) -> Profile:
    return Profile(name, space, factor, MIN_TOKENS * factor**2, MAX_TOKENS * factor**2)


PROFILES = {
    profile.name: profile
    for profile in (
        _family("qwen2-vl", "thousand", 28),
        _family("qwen2.5-vl", "model", 28),
        replace(_family("qwen3-vl", "thousand", 32), prompts="qwen3"),
    )
}

MODEL_TYPES = {"qwen2_vl": "qwen2-vl", "qwen2_5_vl": "qwen2.5-vl", "qwen3_vl": "qwen3-vl"}
"""`model_type` of a checkpoint's config.json → the profile's name."""

_FAMILY = re.compile(r"qwen-?(2|2[._]5|3)[-_]?vl(?![a-z])", re.IGNORECASE)


def profile_for(model: str | Mapping[str, Any], *, name: str | None = None) -> Profile:
    """Return the profile of `model`: its config.json as a mapping, or its id.

    A `name` decides alone. Without one, a mapping is known by its `model_type`, an id by the
    family written in it ("Qwen/Qwen2.5-VL-7B-Instruct"). Raises `SettingError` where neither
    tells, because a wrong guess would put every box in the wrong place.
    """
    if name is None:
        name = _named_by_id(model) if isinstance(model, str) else _named_by_config(model)
    if name not in PROFILES:
        raise SettingError(f"there is no profile {name!r}", hint=f"Use one of {_choices()}")
    return PROFILES[name]


def _named_by_id(model: str) -> str:
    if found := _FAMILY.search(model):
        return f"qwen{found[1].replace('_', '.')}-vl"
    raise SettingError(
        f"the id {model!r} does not say which Qwen-VL family it is",
        hint=f"Name the profile: one of {_choices()}",
    )


def _named_by_config(config: Mapping[str, Any]) -> str:
    kind = config.get("model_type")
    if kind in MODEL_TYPES:
        return MODEL_TYPES[kind]
    raise SettingError(
        f"the checkpoint's model_type {kind!r} is no Qwen-VL family that we know",
        hint=f"Use a checkpoint of {', '.join(MODEL_TYPES)}, or name the profile: {_choices()}",
    )


def _choices() -> str:
    return ", ".join(PROFILES)
