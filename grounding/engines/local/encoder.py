"""Requests to the model's inputs: token rows, and views cut into the vision encoder's patches.

The library's processor cuts patches too, but its fast form needs torchvision and its slow form
takes ten times as long. Here the pixels go to the device as bytes and become numbers there.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from grounding.engines.base import Priority
from grounding.engines.local.preparation import Preparation
from grounding.errors import SettingError
from grounding.qwen.profiles import Bounds

if TYPE_CHECKING:
    from PIL.Image import Image

CONFIG_FILES = ("preprocessor_config.json", "processor_config.json")
"""Where a checkpoint keeps its image processor; the second nests it under "image_processor"."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedRequest:
    """A request ready for the model; two are equal only if they are the same object.

    `ids` are the whole prompt's tokens with a placeholder for each image token, `pictures` the
    views' RGB pixels in order, and `budget` the most tokens of the answer, which ends before the
    first of the `stop` texts. Requests whose first `shared` tokens and their pictures are the same
    have the same `prefix`; it is empty where there is no picture. The answer is expected to look
    like `template`. `on_tokens` hears the answer's ids so far, each time there are more. At
    `deadline`, seconds of `time.monotonic`, nobody waits for the answer any more.
    """

    ids: list[int]
    pictures: tuple[Image, ...]
    budget: int
    priority: Priority = Priority.BULK
    stop: tuple[str, ...] = ()
    prefix: bytes = b""
    shared: int = 0
    template: tuple[int, ...] = ()
    on_tokens: Callable[[Sequence[int]], None] | None = None
    deadline: float = math.inf

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline <= time.monotonic()


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
        config = _read_image_config(folder)
        try:
            return cls(
                patch=int(config["patch_size"]),
                merge=int(config["merge_size"]),
                temporal=int(config["temporal_patch_size"]),
                scale=float(config.get("rescale_factor", 1 / 255)),
                mean=tuple(config["image_mean"]),
                std=tuple(config["image_std"]),
                bounds=_read_bounds(config),
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

    def count_tokens(self, width: int, height: int) -> int:
        """Return how many image tokens a picture of `width` by `height` pixels takes."""
        return (width // self.factor) * (height // self.factor)

    def grid(self, width: int, height: int) -> tuple[int, int, int]:
        """Return the numbers of patches in time, down and across."""
        return 1, height // self.patch, width // self.patch

    def count_bytes(self, width: int, height: int) -> int:
        """Return the size of a picture's patches."""
        return width * height * 3 * self.temporal * torch.float32.itemsize

    def cut(self, pixels: Tensor) -> Tensor:
        """Return the patches of one picture, one in a row, as the vision encoder orders them.

        `pixels` is (height, width, 3) bytes, the sides multiples of `factor`. The result is
        float32 (patches, 3 * temporal * patch * patch) on the same device: tokens row by row,
        in each the `merge` by `merge` patches row by row, in each channel, time, row, column.
        Equal to `Qwen2VLImageProcessorPil` bit for bit, on every device.
        """
        _, down, across = self.grid(pixels.shape[1], pixels.shape[0])
        tiles = pixels.reshape(
            down // self.merge,
            self.merge,
            self.patch,
            across // self.merge,
            self.merge,
            self.patch,
            3,
        ).permute(0, 3, 1, 4, 6, 2, 5)
        levels = _levels(self, pixels.device)
        # Three channels of 256 values each lie one behind the other.
        channels = torch.arange(0, levels.numel(), 256, dtype=torch.int32, device=pixels.device)
        places = (tiles.int() + channels[:, None, None]).reshape(-1)
        values = levels.index_select(0, places).view(tiles.shape)
        still = values.unsqueeze(5).expand(*tiles.shape[:5], self.temporal, self.patch, self.patch)
        patches: Tensor = still.reshape(down * across, -1)
        return patches


@lru_cache(maxsize=8)
def _levels(rule: PatchRule, device: torch.device) -> Tensor:
    """Return the number that stands for each of the 256 values of a byte, channel by channel.

    They are worked out in the library's own steps, in float64 and then float32. Worked out on a
    device for each pixel, they would differ from it in the last bit, and take more time.
    """
    scaled = torch.arange(256, dtype=torch.float64).mul(rule.scale).float()
    channels = [
        (scaled - torch.tensor(mean)) / torch.tensor(std)
        for mean, std in zip(rule.mean, rule.std, strict=True)
    ]
    return torch.cat(channels).to(device)


class Encoder:
    """Makes the inputs of one checkpoint's model, on its device."""

    def __init__(self, patches: PatchRule, image_id: int, pad: int, device: torch.device) -> None:
        """Use `image_id` as the placeholder of an image token, and `pad` to fill short rows."""
        self.patches = patches
        self.image_id = image_id
        self.pad = pad
        self.device = device
        self._ahead = Preparation(self._cut, self.count_bytes)

    def count_bytes(self, picture: Image) -> int:
        """Return the size of a picture's patches."""
        return self.patches.count_bytes(*picture.size)

    def expect(self, pictures: Sequence[Image]) -> None:
        """Begin to cut the pictures that the model reads next, in order, and no others."""
        self._ahead.expect(pictures)

    def close(self) -> None:
        """End the thread that cuts ahead."""
        self._ahead.close()

    def encode(self, batch: Sequence[TokenizedRequest]) -> dict[str, Tensor]:
        """Return what `generate` takes: rows padded on the left, all patches in one tensor.

        A picture that several requests show is cut once.
        """
        longest = max(len(request.ids) for request in batch)
        gaps = [longest - len(request.ids) for request in batch]
        rows = [[self.pad] * gap + one.ids for gap, one in zip(gaps, batch, strict=True)]
        ids = torch.tensor(rows, device=self.device)
        starts = torch.tensor(gaps, device=self.device)[:, None]
        return {
            "input_ids": ids,
            "attention_mask": (torch.arange(longest, device=self.device) >= starts).long(),
            # Without these, generate gives image tokens the positions of words, and no error.
            "mm_token_type_ids": (ids == self.image_id).int(),
            **self.encode_pictures([picture for request in batch for picture in request.pictures]),
        }

    def grids(self, pictures: Sequence[Image]) -> Tensor:
        """Return the pictures' numbers of patches, (pictures, 3), on the CPU."""
        return torch.tensor([self.patches.grid(*one.size) for one in pictures])

    def encode_pictures(self, pictures: Sequence[Image]) -> dict[str, Tensor]:
        """Return what the model takes for pictures: all patches in one tensor, and the grids."""
        return self._join(pictures, self._ahead.take_all(pictures)) if pictures else {}

    def encode_picture(self, picture: Image) -> dict[str, Tensor]:
        """Return the same for one picture, which is cut here and now; any thread may call it."""
        return self._join([picture], [self._cut(picture)])

    def _join(self, pictures: Sequence[Image], cut: list[Tensor]) -> dict[str, Tensor]:
        grids = self.grids(pictures)
        return {"pixel_values": torch.cat(cut), "image_grid_thw": grids.to(self.device)}

    def _cut(self, picture: Image) -> Tensor:
        return self.patches.cut(torch.from_numpy(np.array(picture)).to(self.device))


class PictureDigests:
    """Digests of pictures' sizes and pixels; one object is read once."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Image, bytes]] = {}

    def of(self, picture: Image) -> bytes:
        """Return the digest of a picture."""
        # By identity, and with the picture, so that no other object takes its place in memory.
        if id(picture) not in self._found:
            digest = hashlib.blake2b(repr(picture.size).encode(), digest_size=16)
            digest.update(picture.tobytes())
            self._found[id(picture)] = picture, digest.digest()
        return self._found[id(picture)][1]


def find_prefix(ids: Sequence[int], image_id: int, digests: Sequence[bytes]) -> tuple[bytes, int]:
    """Return the key and the length of a prompt's beginning, up to its last image token.

    `digests` are those of the pictures, in order; without any there is nothing to share.
    """
    if not digests:
        return b"", 0
    shared = len(ids) - list(reversed(ids)).index(image_id)
    key = hashlib.blake2b(array("q", ids[:shared]).tobytes(), digest_size=16)
    for digest in digests:
        key.update(digest)
    return key.digest(), shared


def _read_image_config(folder: Path) -> Mapping[str, Any]:
    for name in CONFIG_FILES:
        if (folder / name).is_file():
            config: dict[str, Any] = json.loads((folder / name).read_text("utf-8"))
            nested: dict[str, Any] = config.get("image_processor", config)
            return nested
    raise SettingError(
        f"{folder} has no preprocessor_config.json", hint="Copy it from the base model"
    )


def _read_bounds(config: Mapping[str, Any]) -> Bounds | None:
    """Read the bounds in any of the three forms that checkpoints of these families have."""
    size = config.get("size") or {}
    low = config.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels")
    high = config.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels")
    return (int(low), int(high)) if low and high else None
