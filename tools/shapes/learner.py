"""The model with its training-only helper head, and the loss of one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tools.shapes.batches import BINS, NOTHING, Batch
from tools.shapes.model import HIDDEN, config

SEE_LAYER, FIND_LAYER = 2, 4
"""Text layers, counted from 0: after the first, image tokens must know what they show and answer
tokens what is asked; after the second, answer tokens must know where that is."""

CELLS = 16
SEEN = (NOTHING + 1, CELLS, CELLS, *[BINS] * 4)
FOUND = (2, *[BINS] * 4)
HELP_WEIGHT = 0.3


UNSEEN = -1e4
"""What is added to the scores of tokens out of sight."""


def _attend(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    scores = torch.matmul(query * scaling, key.transpose(2, 3))
    if attention_mask is not None:
        scores = scores + attention_mask
    share = scores.softmax(-1).to(value.dtype)
    return torch.matmul(share, value).transpose(1, 2).contiguous(), None


# On a CPU, the fused attention's backward pass takes 40 % of a step at these lengths; this a tenth.
ALL_ATTENTION_FUNCTIONS.register("shapes_plain", _attend)


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean losses of a batch, in nats: of the answers, and of what the helper heads tell."""

    answer: Tensor
    names: Tensor  # of image tokens, with their rows and columns
    edges: Tensor  # of image tokens
    asked: Tensor  # of answer tokens
    found: Tensor  # of answer tokens: whether it is there, and its edges

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.answer + HELP_WEIGHT * (self.names + self.edges + self.asked + self.found)

    def stacked(self) -> Tensor:
        """Return the five as one tensor without a gradient."""
        return torch.stack([self.answer, self.names, self.edges, self.asked, self.found]).detach()


class Learner(nn.Module):
    """A Qwen2.5-VL and linear helper heads, which are not part of the checkpoint.

    One tells row, column, name and enclosing box of what each image token shows: without it the
    coordinates hardly improve in the same time. Two tell, on answer tokens, what is asked for
    and where it is: they show the way from the question's words to the right image tokens.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = Qwen2_5_VLForConditionalGeneration(config())
        self.head = nn.Linear(HIDDEN, sum(SEEN))
        self.asked_head = nn.Linear(HIDDEN, NOTHING)
        self.found_head = nn.Linear(HIDDEN, sum(FOUND))
        self._states: dict[int, Tensor] = {}
        self.model.set_attn_implementation("shapes_plain")
        for layer in (SEE_LAYER, FIND_LAYER):
            self.model.model.language_model.layers[layer].register_forward_hook(self._keep(layer))

    def forward(self, batch: Batch) -> Losses:
        """Return the losses of `batch`."""
        image = batch.ids == self.model.config.image_token_id
        hidden = self._hidden(batch, image)
        told = batch.weights[:, 1:] > 0
        scores = self.model.lm_head(hidden[:, :-1][told])
        each = cross_entropy(scores.float(), batch.ids[:, 1:][told], reduction="none")
        weights = batch.weights[:, 1:][told]
        answer = (each * weights).sum() / weights.sum()
        return Losses(answer, *self._see(batch, image), *self._find(batch))

    def _hidden(self, batch: Batch, image: Tensor) -> Tensor:
        """Return the (B, L, HIDDEN) last states, each segment blind to the others."""
        core = self.model.model
        embedded = core.language_model.embed_tokens(batch.ids)
        pictures = core.visual(batch.patches, grid_thw=batch.grids).pooler_output
        filled = embedded.masked_scatter(image[..., None], pictures.to(embedded.dtype))
        unseen = torch.zeros(batch.mask.shape, dtype=filled.dtype)
        out = core.language_model(
            inputs_embeds=filled,
            position_ids=batch.places,
            attention_mask={"full_attention": unseen.masked_fill(~batch.mask, UNSEEN)},
            use_cache=False,
        )
        states: Tensor = out.last_hidden_state
        return states

    def _see(self, batch: Batch, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses of what image tokens show: names with places, and edges."""
        states = self._states[SEE_LAYER][image]
        name, row, column, *edges = self.head(states).float().split(SEEN, dim=-1)
        names = cross_entropy(name, batch.names)
        names = names + cross_entropy(row, batch.rows) + cross_entropy(column, batch.columns)
        some = batch.names != NOTHING
        return names, _edge_loss([e[some] for e in edges], batch.edges[some])

    def _find(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the losses of what is asked for, and of whether and where it is."""
        single = batch.asked[:, 1:] >= 0
        early, late = (self._states[k][:, :-1][single] for k in (SEE_LAYER, FIND_LAYER))
        asked = cross_entropy(self.asked_head(early).float(), batch.asked[:, 1:][single])
        there, *edges = self.found_head(late).float().split(FOUND, dim=-1)
        goals = batch.goals[:, 1:][single]
        some = goals[:, 0] >= 0
        found = cross_entropy(there, some.long())
        return asked, found + _edge_loss([e[some] for e in edges], goals[some])

    def _keep(self, layer: int) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._states[layer] = output if isinstance(output, Tensor) else output[0]

        return keep


def _edge_loss(scores: list[Tensor], truths: Tensor) -> Tensor:
    """Return the mean loss over the four edges; `truths` is (N, 4) bins."""
    off = [cross_entropy(s, t) for s, t in zip(scores, truths.unbind(-1), strict=True)]
    return torch.stack(off).mean()
