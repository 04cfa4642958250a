"""Steps of static shape: one shape for each bucket of slots, on a GPU replayed as a CUDA graph.

On a GPU a small step takes longer to launch than to run; a graph is launched as a whole. So rows
are filled up to a bucket of slots and a fixed number of tokens, and what a row sees is its slot in
its whole length. No code is generated: that takes minutes at each start, and a graph of the same
calls already saves the launches. Where it fails, steps go on as before.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grounding.engines.local.decoding.feeds import Feed, Scored, score, unpack
from grounding.engines.local.decoding.slots import Graph, SlotCache
from grounding.engines.local.decoding.text_layers import TextLayers, weigh

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bucket:
    """The shape of a step: its slots, and the tokens that each of them feeds."""

    slots: int
    tokens: int


class StaticSteps:
    """Runs steps whose rows are in the first slots; no row may be in those that are filled up.

    `buckets` are the shapes, small ones first.
    """

    def __init__(self, layers: TextLayers, model: Any, pad: int, buckets: Sequence[Bucket]) -> None:
        """Capture nothing yet."""
        self._layers = layers
        self._model = model
        self._pad = pad
        self._buckets = buckets
        self._failed = False

    def run(self, cache: SlotCache, feeds: Sequence[Feed]) -> list[list[Scored]] | None:
        """Return each row's wanted successors; None where these feeds are no such step.

        Raises torch's error where the memory is full.
        """
        bucket = next((one for one in self._buckets if one.slots >= len(feeds)), None)
        longest = max(len(one.ids) for one in feeds)
        if self._failed or bucket is None or longest > bucket.tokens:
            return None
        kept = cache.hold(bucket.slots, max(one.start for one in feeds) + bucket.tokens)
        try:
            both = self._compute_all(cache, kept, self._pack(feeds, bucket)).cpu()
        except torch.OutOfMemoryError:
            raise
        # The driver's edge: what it refuses to capture has no common class.
        except Exception as exc:
            cause = next(iter(str(exc).splitlines()), "")
            log.warning("steps run without graphs: %s: %s", type(exc).__name__, cause)
            self._failed = True
            cache.graphs.clear()
            return None
        chosen = [both[:, i, len(f.ids) - f.wanted : len(f.ids)] for i, f in enumerate(feeds)]
        return unpack(torch.cat(chosen, dim=1), feeds)

    def _pack(self, feeds: Sequence[Feed], bucket: Bucket) -> Tensor:
        """Return all numbers of a step, for one copy to the device: rows of ids, start, offset."""
        empty = [self._pad] * bucket.tokens + [0, 0]
        rows = [
            [*one.ids, *empty[len(one.ids) : bucket.tokens], one.start, one.offset] for one in feeds
        ]
        return torch.tensor(rows + [empty] * (bucket.slots - len(feeds)))

    def _compute_all(self, cache: SlotCache, kept: list[Tensor], packed: Tensor) -> Tensor:
        if self._model.device.type != "cuda":
            return self._compute(kept, packed)
        slots = len(packed)
        if slots not in cache.graphs:
            pool = next((one.graph.pool() for one in cache.graphs.values()), None)
            cache.graphs[slots] = self._capture(kept, packed, pool)
        captured = cache.graphs[slots]
        captured.inputs.copy_(packed)
        captured.graph.replay()
        return captured.outputs

    def _capture(self, kept: list[Tensor], packed: Tensor, pool: Any) -> Graph:
        """Capture a step; raise unless its replay gives what the step gives without a graph.

        Graphs share a `pool` of memory, since each one's result is copied before the next runs.
        """
        inputs = packed.to(self._model.device)
        expected = self._compute(kept, inputs)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Another thread, which cuts pictures, may take memory meanwhile.
        with torch.cuda.graph(graph, pool, capture_error_mode="thread_local"):
            outputs = self._compute(kept, inputs)
        graph.replay()
        if not torch.allclose(outputs, expected, rtol=0, atol=1e-2):
            raise RuntimeError("a captured step differs from one that is not")
        return Graph(graph, inputs, outputs)

    def _compute(self, kept: list[Tensor], packed: Tensor) -> Tensor:
        """Return the likeliest successors and their log-probabilities, (2, slots, tokens)."""
        ids, starts, offsets = packed[:, :-2], packed[:, -2:-1], packed[:, -1:]
        slots, tokens = ids.shape
        places = starts + torch.arange(tokens, device=packed.device)
        positions = (places + offsets).expand(3, slots, tokens)
        seen = torch.arange(kept[0].shape[3], device=packed.device) <= places[:, None, :, None]
        words = self._layers.embed(ids)
        hidden = self._layers(words, positions, weigh(self._model, seen), _Kept(kept, places))
        return score(self._model.lm_head(hidden))


class _Kept:
    """The first slots of a cache, in their whole length."""

    def __init__(self, layers: list[Tensor], places: Tensor) -> None:
        self._layers = layers
        self._places = places
        self._rows = torch.arange(len(places), device=places.device)[:, None]

    def write(self, new: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Write the new keys and values to their places; return all."""
        stored = self._layers[layer][:, : len(new)]
        stored[:, self._rows, :, self._places] = new
        return stored[0], stored[1]
