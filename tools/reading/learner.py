"""The model with its training-only helper heads, and the losses of one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tools.reading.batches import Batch
from tools.reading.model import config
from tools.reading.rows import (
    BINS,
    BLANK,
    MOST_INDEX,
    MOST_RANK,
    NO_KIND,
    PARTS,
    SLOTS,
    UNSAID,
)
from tools.shapes.learner import read_batch
from tools.shapes.model import HIDDEN

SEE_LAYER, POINT_LAYER = 2, 3
"""Text layers, counted from 0, after which image tokens and answer tokens know where they are."""

SHOWN = (*[BLANK + 1] * SLOTS, NO_KIND + 1)
PLACED = (MOST_RANK, PARTS, MOST_INDEX)
HELP_WEIGHT = 0.3


def _attend(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend in bfloat16 throughout: half the time of a softmax in float32, on a CPU."""
    with torch.autocast("cpu", enabled=False):
        query, key, value = query.bfloat16(), key.bfloat16(), value.bfloat16()
        scores = torch.matmul(query * scaling, key.transpose(2, 3))
        if attention_mask is not None:
            scores = scores + attention_mask
        return torch.matmul(scores.softmax(-1), value).transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register("reading_plain", _attend)


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean losses of a batch in nats: of the answers, and of the helper heads."""

    answer: Tensor
    chars: Tensor  # of image tokens: the characters there
    kinds: Tensor  # of image tokens: the figure there
    placed: Tensor  # of image tokens: rank, part and index
    extents: Tensor  # of image tokens: the box of the line, or the middle of the figure
    told: Tensor  # of answer tokens: rank, part and index of what is written

    def total(self) -> Tensor:
        """Return the loss to minimise: what is seen, and its ranks, count like the answers."""
        shown = self.chars + self.kinds + 2 * self.placed
        return self.answer + shown + HELP_WEIGHT * (self.extents + self.told)

    def stacked(self) -> Tensor:
        """Return all losses as one tensor without a gradient, in the order of the fields."""
        return self._each().detach()

    def _each(self) -> Tensor:
        return torch.stack([getattr(self, name) for name in self.__slots__])


class Learner(nn.Module):
    """A Qwen2.5-VL and linear helper heads, which are not part of the checkpoint.

    One head names the characters and figures of the vision tower's image tokens. One head tells
    rank, part and index of image tokens and of answer tokens alike: both have the same
    representation of a place in the print, so that an answer finds its next character there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = Qwen2_5_VLForConditionalGeneration(config())
        self.shown_head = nn.Linear(HIDDEN, sum(SHOWN))
        self.placed_head = nn.Linear(HIDDEN, sum(PLACED))
        self.extent_head = nn.Linear(HIDDEN, 4 * BINS)
        self._states: dict[int, Tensor] = {}
        self.model.set_attn_implementation("reading_plain")
        # Both frames of a still are equal, and a convolution over its patches is one product.
        self.model.model.visual.patch_embed.forward = self._embed
        for layer in (SEE_LAYER, POINT_LAYER):
            self.model.model.language_model.layers[layer].register_forward_hook(self._keep(layer))

    def forward(self, batch: Batch) -> Losses:
        """Return the losses of `batch`."""
        image = batch.ids == self.model.config.image_token_id
        hidden, shown = self.hidden(batch, image)
        given = batch.weights[:, 1:] > 0
        scores = self.model.lm_head(hidden[:, :-1][given]).float()
        each = cross_entropy(scores, batch.ids[:, 1:][given], reduction="none")
        weights = batch.weights[:, 1:][given]
        return Losses((each * weights).sum() / weights.sum(), *self._help(batch, image, shown))

    def look(self, batch: Batch) -> Losses:
        """Return the losses of the vision tower's own tokens alone; the others are zero."""
        shown = self.model.model.visual(batch.patches, grid_thw=batch.grids).pooler_output
        none = shown.new_zeros(())
        return Losses(none, *self._shown(batch, shown), none, none, none)

    def hidden(self, batch: Batch, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (B, L, HIDDEN) last states, and the vision tower's (N, HIDDEN) tokens."""
        return read_batch(self.model, batch, image, torch.bfloat16)

    def _embed(self, patches: Tensor) -> Tensor:
        weights = self.model.model.visual.patch_embed.proj.weight.sum(2)
        return linear(patches, weights.flatten(1))

    def _help(self, batch: Batch, image: Tensor, shown: Tensor) -> tuple[Tensor, ...]:
        there = self._states[SEE_LAYER][image]
        extents = self.extent_head(there).float().split(BINS, dim=-1)
        at = self.placed_head(self._states[POINT_LAYER][:, :-1]).float()
        return (
            *self._shown(batch, shown),
            _mean(self.placed_head(there).float().split(PLACED, dim=-1), batch.facts[:, 1:]),
            _mean(extents, batch.extents),
            _mean(at.flatten(0, 1).split(PLACED, dim=-1), batch.told[:, 1:].flatten(0, 1)),
        )

    def _shown(self, batch: Batch, shown: Tensor) -> tuple[Tensor, Tensor]:
        *chars, kind = self.shown_head(shown).float().split(SHOWN, dim=-1)
        return (
            _telling(chars, batch.chars, BLANK),
            _telling([kind], batch.facts[:, :1], NO_KIND),
        )

    def _keep(self, layer: int) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._states[layer] = output if isinstance(output, Tensor) else output[0]

        return keep


def _telling(scores: Any, truths: Tensor, nothing: int) -> Tensor:
    """Return the mean loss over all tokens, and that over those which show something.

    Most show nothing, and would drown the others.
    """
    return _mean(scores, truths) + _mean(scores, truths.masked_fill(truths == nothing, UNSAID))


def _mean(scores: Any, truths: Tensor) -> Tensor:
    """Return the mean cross entropy over the columns of `truths`; UNSAID ones do not count."""
    losses = [
        cross_entropy(s, t, ignore_index=UNSAID, reduction="sum") / max(1, int((t != UNSAID).sum()))
        for s, t in zip(scores, truths.unbind(-1), strict=True)
    ]
    return torch.stack(losses).mean()
