"""The vision tower: pictures in, the states of their tokens out.

On a GPU it reads all pictures of a call together. On a CPU with cores to spare it reads the
pictures that come next one by one, in a thread of their own, while the rows that run go on: their
steps are so small that most of their time goes into calling, and the tower's products are large.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grounding.engines.local.decoding.vision_layers import speed_up
from grounding.engines.local.encoder import Encoder
from grounding.engines.local.preparation import Preparation

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class PictureStates:
    """The states of pictures' tokens, (tokens, dimensions), and what layers add to them.

    Qwen3-VL's tower gives more of each picture to each of the first layers: `deeper` has a tensor
    of the same shape for each of them.
    """

    states: Tensor
    deeper: Sequence[Tensor] = ()

    @classmethod
    def join(cls, parts: Sequence[PictureStates]) -> PictureStates:
        """Return those of several pictures, in order."""
        deeper = zip(*(one.deeper for one in parts), strict=True)
        return cls(torch.cat([one.states for one in parts]), [torch.cat(one) for one in deeper])


class VisionTower:
    """Reads pictures with one checkpoint's tower; the model's thread calls all methods."""

    def __init__(self, model: Any, encoder: Encoder, *, ahead: bool) -> None:
        """With `ahead` pictures are read in a thread of their own."""
        speed_up(model.model.visual)
        self._model = model
        self._encoder = encoder
        self._ahead = Preparation(self._read_one, encoder.count_bytes) if ahead else None

    def expect(self, pictures: Sequence[Image]) -> None:
        """Begin with the pictures that are read next, in order, and with no others."""
        (self._ahead or self._encoder).expect(pictures)

    def is_busy_with(self, picture: Image) -> bool:
        """Say whether the other thread will have read a picture soon."""
        return self._ahead is not None and self._ahead.is_busy_with(picture)

    def read(self, pictures: Sequence[Image]) -> PictureStates:
        """Return the states of all tokens of `pictures`, of which there is at least one."""
        if self._ahead is None:
            return self._read(self._encoder.encode_pictures(pictures))
        return PictureStates.join(self._ahead.take_all(pictures))

    def close(self) -> None:
        """End the threads that prepare pictures."""
        self._encoder.close()
        if self._ahead:
            self._ahead.close()

    @torch.inference_mode()
    def _read_one(self, picture: Image) -> PictureStates:
        return self._read(self._encoder.encode_picture(picture))

    def _read(self, inputs: dict[str, Tensor]) -> PictureStates:
        found = self._model.model.get_image_features(**inputs, return_dict=True)
        deeper = getattr(found, "deepstack_features", None) or ()
        return PictureStates(torch.cat(found.pooler_output), [torch.cat(one) for one in deeper])


def has_free_cores() -> bool:
    """Say whether this process may use twice as many cores as one of torch's calls does."""
    # Only some systems tell which cores a process may use.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) >= 2 * torch.get_num_threads()
