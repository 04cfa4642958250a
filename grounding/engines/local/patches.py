"""Pixels to patches: what the vision encoder eats, in the order it wants.

The library's processor does the same, but needs torchvision for its fast form and takes twice
the time in its slow one. Here the pixels travel to the device as bytes and become numbers there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grounding.errors import SettingError
from grounding.qwen.profiles import Bounds

CONFIG_FILES = ("preprocessor_config.json", "processor_config.json")
"""Where a checkpoint keeps its image processor; the second nests it under "image_processor"."""


@dataclass(frozen=True, slots=True)
class PatchRule:
    """How one checkpoint cuts and normalises pictures.

    `patch` is the side of a patch in pixels, `merge` patches by `merge` make one image token,
    and a still picture stands `temporal` times in each patch. Channels are normalised as
    (value * `scale` - `mean`) / `std`. `bounds` are the checkpoint's own pixel bounds, if any.
    """

    patch: int
    merge: int
    temporal: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bounds: Bounds | None = None

    @classmethod
    def of_checkpoint(cls, folder: Path) -> PatchRule:
        """Return the rule in the folder's image processor config.

        Raises `SettingError` where the folder has none or it lacks a value.
        """
        config = _image_config(folder)
        try:
            return cls(
                patch=int(config["patch_size"]),
                merge=int(config["merge_size"]),
                temporal=int(config["temporal_patch_size"]),
                scale=float(config.get("rescale_factor", 1 / 255)),
                mean=tuple(config["image_mean"]),
                std=tuple(config["image_std"]),
                bounds=_bounds(config),
            )
        except KeyError as exc:
            raise SettingError(
                f"the image processor config in {folder} lacks {exc}",
                hint="Copy preprocessor_config.json from the base model",
            ) from exc

    @property
    def factor(self) -> int:
        """Side of the square that one image token covers, in pixels."""
        return self.patch * self.merge

    def tokens(self, width: int, height: int) -> int:
        """Return how many image tokens a picture of `width` by `height` pixels takes."""
        return (width // self.factor) * (height // self.factor)

    def grid(self, width: int, height: int) -> tuple[int, int, int]:
        """Return the numbers of patches in time, down and across."""
        return 1, height // self.patch, width // self.patch

    def cut(self, pixels: Tensor) -> Tensor:
        """Return the patches of one picture, one in a row, as the vision encoder orders them.

        `pixels` is (height, width, 3) bytes, the sides multiples of `factor`. The result is
        float32 (patches, 3 * temporal * patch * patch) on the same device: tokens row by row,
        in each the `merge` by `merge` patches row by row, in each channel, time, row, column.
        Equal to `Qwen2VLImageProcessorPil` to within 1e-6.
        """
        mean, std = torch.tensor([self.mean, self.std], device=pixels.device)
        values = ((pixels.float() * self.scale - mean) / std).permute(2, 0, 1)
        _, down, across = self.grid(pixels.shape[1], pixels.shape[0])
        tiles = values.reshape(
            3,
            down // self.merge,
            self.merge,
            self.patch,
            across // self.merge,
            self.merge,
            self.patch,
        ).permute(1, 4, 2, 5, 0, 3, 6)
        still = tiles.unsqueeze(5).expand(*tiles.shape[:5], self.temporal, self.patch, self.patch)
        patches: Tensor = still.reshape(down * across, -1)
        return patches


def _image_config(folder: Path) -> Mapping[str, Any]:
    for name in CONFIG_FILES:
        if (folder / name).is_file():
            config: dict[str, Any] = json.loads((folder / name).read_text("utf-8"))
            nested: dict[str, Any] = config.get("image_processor", config)
            return nested
    raise SettingError(
        f"{folder} has no preprocessor_config.json", hint="Copy it from the base model"
    )


def _bounds(config: Mapping[str, Any]) -> Bounds | None:
    """Read the bounds in any of the three forms that checkpoints of these families have."""
    size = config.get("size") or {}
    low = config.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels")
    high = config.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels")
    return (int(low), int(high)) if low and high else None
