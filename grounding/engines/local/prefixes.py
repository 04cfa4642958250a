"""Pictures that the model has read: kept, so that the next question reads only its own words."""

from __future__ import annotations

import os
from collections import OrderedDict

import torch

from grounding.engines.local.slots import Prefix

SHARE = 4
"""The part of a GPU's free memory for pictures, once the model is loaded; slots need the rest."""

CPU_SHARE, CPU_MOST = 16, 2**30
"""The same of a CPU's memory, which other programs need too, and the most of it."""


def default_limit(device: torch.device) -> int:
    """Return how many bytes of a device's free memory the kept pictures may take."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) // SHARE
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(free // CPU_SHARE, CPU_MOST)


class PrefixStore:
    """The prompts' beginnings, system text and pictures, least recently used first to go.

    `limit` bounds their bytes on the device; 0 keeps none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[bytes, Prefix] = OrderedDict()

    def __contains__(self, key: bytes | None) -> bool:
        return key in self._kept

    def find(self, key: bytes | None) -> Prefix | None:
        """Return what is kept under `key`, and keep it longest."""
        if key is None or key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def keep(self, key: bytes, prefix: Prefix) -> None:
        """Keep a prefix, and let go of others until all are within the limit."""
        if prefix.size > self._limit or key in self._kept:
            return
        self._kept[key] = prefix
        self._size += prefix.size
        while self._size > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._size -= oldest.size

    def clear(self) -> None:
        """Give all memory back."""
        self._kept.clear()
        self._size = 0
