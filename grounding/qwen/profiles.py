"""Profiles of Qwen's vision families: what their coordinates mean, and how pictures are resized.

The families write the same syntax, so the meaning of a number follows from the model and never
from the values. A new family is one line of `PROFILES`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from grounding.errors import SettingError
from grounding.geometry import THOUSAND, Frame, PixelBounds
from grounding.qwen.prompts import PromptSet

MIN_TOKENS, MAX_TOKENS = 256, 1280
"""Default bounds on a picture's image tokens, as Qwen recommends to balance cost and accuracy.

With tokens of 28×28 pixels they are 448×448 and 1001×1001 pixels. Qwen's guide calls 480×480 to
2560×2560 robust: smaller pictures are enlarged to about its lower end, and none exceeds its upper
end.
"""

PRINT_TOKENS = 2560
"""Most image tokens of a view that is read: a receipt has 1550 of them, a printed page 1980."""

Bounds = tuple[int, int]
"""Smallest and largest area of a view, in pixels of the model frame."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How one model family sees pictures and writes coordinates.

    `space` is the unit of its coordinates: "model" is absolute pixels of the model frame,
    "thousand" is 0 to 1000 of each side. The sides of the model frame are multiples of `factor`
    pixels, and one image token covers a square of that side. `min_pixels` and `max_pixels` bound
    the area of the model frame. `prompts` names the family's wordings. `max_print_pixels` is the
    largest area for views that are read, where it is more.
    """

    name: str
    space: Literal["model", "thousand"]
    factor: int
    min_pixels: int
    max_pixels: int
    prompts: PromptSet = "qwen2.5"
    max_print_pixels: int | None = None

    @property
    def bounds(self) -> PixelBounds:
        """The sizes of a view."""
        return PixelBounds(self.factor, self.min_pixels, self.max_pixels)

    def answer_frame(self, model: Frame) -> Frame:
        """Return the frame of the coordinates that the model writes about a view framed `model`."""
        return model if self.space == "model" else replace(THOUSAND, extent=model.extent)

    def bounded(
        self,
        own: Bounds | None = None,
        *,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> Profile:
        """Return this profile with the pixel bounds of one checkpoint.

        `own` are the bounds in the checkpoint's files. The result is the overlap of the default
        bounds and `own`, or `own` where they do not overlap: a model trained on small pictures
        only is shown small ones. The settings `min_pixels` and `max_pixels` take precedence. If
        only one is set and exceeds the other bound, that bound moves with it. Raises
        `SettingError` if both are set and `min_pixels` is the larger.
        """
        if min_pixels and max_pixels and min_pixels > max_pixels:
            raise SettingError(
                f"GROUNDING_MIN_PIXELS {min_pixels} exceeds GROUNDING_MAX_PIXELS {max_pixels}"
            )
        low, high = _overlap((self.min_pixels, self.max_pixels), own)
        low, high = min_pixels or low, max_pixels or high
        return replace(
            self,
            min_pixels=low if min_pixels else min(low, high),
            max_pixels=high if max_pixels else max(low, high),
            max_print_pixels=None if max_pixels else self._bounded_print(own),
        )

    def _bounded_print(self, own: Bounds | None) -> int | None:
        """Return the largest area of a view that is read, within the checkpoint's own bounds."""
        most = self.max_print_pixels
        return most if most is None or own is None else min(most, own[1])

    def for_print(self) -> Profile:
        """Return this profile for a view that is read: print needs more pixels than things do."""
        return replace(self, max_pixels=max(self.max_pixels, self.max_print_pixels or 0))

    def within(self, min_pixels: int | None, max_pixels: int | None) -> Profile:
        """Return this profile with a project's bounds, limited to the profile's own."""
        low, high = (
            min(max(wanted or own, self.min_pixels), self.max_pixels)
            for wanted, own in ((min_pixels, self.min_pixels), (max_pixels, self.max_pixels))
        )
        return replace(self, min_pixels=min(low, high), max_pixels=high)


def _overlap(default: Bounds, own: Bounds | None) -> Bounds:
    if own is None:
        return default
    low, high = max(default[0], own[0]), min(default[1], own[1])
    return (low, high) if low <= high else own


def _family(name: str, space: Literal["model", "thousand"], factor: int) -> Profile:
    low, high, read = (n * factor**2 for n in (MIN_TOKENS, MAX_TOKENS, PRINT_TOKENS))
    return Profile(name, space, factor, low, high, max_print_pixels=read)


PROFILES = {
    profile.name: profile
    for profile in (
        _family("qwen2-vl", "thousand", 28),
        _family("qwen2.5-vl", "model", 28),
        replace(_family("qwen3-vl", "thousand", 32), prompts="qwen3"),
        replace(_family("qwen3.5", "thousand", 32), prompts="qwen3"),
    )
}
"""The families.

Qwen3.5 has no "VL" in its name, since all its models see. Its vision tower is Qwen3-VL's: patches
of 16 pixels, 2 by 2 to a token (`Qwen3_5VisionConfig` of transformers 5.23). Its coordinates are
0 to 1000: Qwen says so of it and its successor (QwenLM/Qwen3.8-Flash-Next #4), and ms-swift trains
it so (`Qwen3_5Template`). Qwen publishes no wordings for it, so it is asked in Qwen3-VL's.
"""

MODEL_TYPES = {
    "qwen2_vl": "qwen2-vl",
    "qwen2_5_vl": "qwen2.5-vl",
    "qwen3_vl": "qwen3-vl",
    "qwen3_vl_moe": "qwen3-vl",
    "qwen3_5": "qwen3.5",
    "qwen3_5_moe": "qwen3.5",
}
"""Profile names by the `model_type` of a checkpoint's config.json."""

_FAMILY = re.compile(
    r"qwen-?(?:(2|2[._]5|3)[-_]?vl(?![a-z])|3[._]5(?=[-_:.]|vl|$)(?![-_]?omni))", re.IGNORECASE
)


def profile_for(model: str | Mapping[str, Any], *, name: str | None = None) -> Profile:
    """Return the profile of `model`, which is its config.json as a mapping, or its id.

    A `name` takes precedence. Otherwise the `model_type` of a mapping decides, or the family in
    an id ("Qwen/Qwen2.5-VL-7B-Instruct"). Raises `SettingError` if the family is unknown: a guess
    could put every box in the wrong place.
    """
    if name is None:
        name = _name_from_id(model) if isinstance(model, str) else _name_from_config(model)
    if name not in PROFILES:
        raise SettingError(
            f"there is no profile {name!r}", hint=f"Set GROUNDING_PROFILE to {_choices()}"
        )
    return PROFILES[name]


def _name_from_id(model: str) -> str:
    if found := _FAMILY.search(model):
        return f"qwen{found[1].replace('_', '.')}-vl" if found[1] else "qwen3.5"
    raise SettingError(
        f"the id {model!r} does not say which Qwen-VL family it is",
        hint=f"Set GROUNDING_PROFILE to one of {_choices()}, if it is one of these",
    )


def _name_from_config(config: Mapping[str, Any]) -> str:
    kind = config.get("model_type")
    if kind in MODEL_TYPES:
        return MODEL_TYPES[kind]
    raise SettingError(
        f"the checkpoint's model_type {kind!r} is no Qwen-VL family that we know",
        hint=f"Use a checkpoint of {', '.join(MODEL_TYPES)}, or set GROUNDING_PROFILE to the one "
        f"that it is like: {_choices()}",
    )


def _choices() -> str:
    return ", ".join(PROFILES)
