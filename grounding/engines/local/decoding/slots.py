"""Keys and values: of the rows that run together, and of pictures kept for the next query.

A slot is a row's place in the cache's tensors. Rows lie side by side in the first slots, so that
each call of the model sees a slice and no copy. What lies in a slot behind its row's length is
never looked at, and is written over: padding and refused drafts need no clearing.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK = 256
"""Slots grow by this many tokens, so that a long answer seldom moves the whole cache."""

FIXED_BLOCK = 2048
"""The same where steps have static shapes: a picture and its answer fit into the first."""

SHARE = 4
"""The part of a GPU's free memory for pictures, once the model is loaded; slots need the rest."""

CPU_SHARE, CPU_MOST = 16, 2**30
"""The same of a CPU's memory, which other programs need too, and the most of it."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The keys and values of a prompt's first `length` tokens, a tensor for each layer.

    `offset` is what the model's position of a word behind them adds to its index: pictures take
    fewer positions than tokens.
    """

    layers: Sequence[Tensor]
    length: int
    offset: int

    @property
    def size(self) -> int:
        """Bytes of the device's memory."""
        return sum(layer.nbytes for layer in self.layers)


@dataclass(frozen=True, slots=True)
class Graph:
    """A captured step: where it reads its numbers and leaves its result, until the next replay."""

    graph: Any
    inputs: Tensor
    outputs: Tensor


class SlotCache:
    """A key-value cache whose rows come, go and grow by themselves.

    The model's attention layers call `update`, each with its own number. A layer's tensor is
    (2, slots, heads, tokens, dimensions), keys before values.
    """

    def __init__(self, device: torch.device, most: int, *, fixed: bool = False) -> None:
        """Take no memory yet; there are at most `most` slots, `fixed` for static shapes."""
        self._fixed = fixed
        self.graphs: dict[int, Graph] = {}
        """Steps captured on this cache's tensors, by their slots."""
        self._device = device
        self._most = most
        self._layers: list[Tensor] = []
        self._capacity = (0, 0)
        self._slots = slice(0, 0)
        self._rows = self._places = torch.empty(0, dtype=torch.long)
        self._length = 0

    def select(self, first: int, starts: Sequence[int], tokens: int) -> Tensor:
        """Choose what the model's next call writes: `tokens` behind each row's start.

        Rows begin at slot `first`. Returns what each new token sees, (rows, 1, tokens, length)
        booleans: its row up to itself.
        """
        rows = len(starts)
        self._length = max(starts) + tokens
        self._slots = slice(first, first + rows)
        self._reserve(first + rows, self._length)
        self._rows = torch.arange(rows, device=self._device)[:, None]
        new = torch.arange(tokens, device=self._device)
        self._places = torch.tensor(starts, device=self._device)[:, None] + new
        seen = torch.arange(self._length, device=self._device)
        return seen <= self._places[:, None, :, None]

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Write one layer's new (rows, heads, tokens, dimensions); return all that rows hold."""
        return self.write(torch.stack((keys, values)).permute(1, 3, 0, 2, 4), layer)

    def write(self, new: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Write one layer's new (rows, tokens, 2, heads, dimensions), keys before values.

        Returns all keys and all values that the rows hold, (rows, heads, length, dimensions) each.
        """
        stored = self._layer(layer, new, new.shape[3])[:, self._slots]
        stored[:, self._rows, :, self._places] = new
        seen = stored[..., : self._length, :]
        return seen[0], seen[1]

    def hold(self, slots: int, length: int) -> list[Tensor]:
        """Return all layers' tensors, with room for so many slots of that length."""
        self._reserve(slots, length)
        return [self._layer(number, one, one.shape[2]) for number, one in enumerate(self._layers)]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of a slot into another."""
        self._reserve(target + 1, length)
        for number, like in enumerate(self._layers):
            layer = self._layer(number, like, like.shape[2])
            layer[:, target, :, :length] = layer[:, source, :, :length]

    def save(self, slot: int, length: int, offset: int) -> Prefix:
        """Return a copy of the first `length` tokens of a slot."""
        layers = [layer[:, slot, :, :length].clone() for layer in self._layers]
        return Prefix(layers, length, offset)

    def load(self, slot: int, prefix: Prefix) -> None:
        """Begin a slot with the tokens of `prefix`."""
        self._reserve(slot + 1, prefix.length)
        for number, kept in enumerate(prefix.layers):
            self._layer(number, kept, kept.shape[1])[:, slot, :, : prefix.length] = kept

    def _reserve(self, slots: int, length: int) -> None:
        have_slots, have_length = self._capacity
        doubled = min(1 << (slots - 1).bit_length(), self._most)
        block = FIXED_BLOCK if self._fixed else BLOCK
        blocks = -(-length // block) * block
        self._capacity = max(doubled, have_slots), max(blocks, have_length)

    def _layer(self, number: int, like: Tensor, heads: int) -> Tensor:
        """Return a layer's tensor at its full size; what it held stays."""
        if number == len(self._layers):
            self._layers.append(like.new_empty(2, 0, heads, 0, like.shape[-1]))
        old = self._layers[number]
        slots, length = self._capacity
        if (old.shape[1], old.shape[3]) != (slots, length):
            # Zeros: a weight of zero times what an uninitialised place may hold is no number.
            new = old.new_zeros(2, slots, old.shape[2], length, old.shape[4])
            new[:, : old.shape[1], :, : old.shape[3]] = old
            self._layers[number] = new
            self.graphs.clear()
        return self._layers[number]


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
