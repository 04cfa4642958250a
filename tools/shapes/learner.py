"""The model with its training-only helper head, and the loss of one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tools.shapes.batches import BINS, NOTHING, Batch
from tools.shapes.model import HIDDEN, config

HELPED_LAYER = 2
"""The text layer, counted from 0, after which image tokens must know what they show."""

CELLS = 16
PARTS = (NOTHING + 1, CELLS, CELLS, *[BINS] * 4)
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
    """Mean losses of a batch, in nats: of the answers, and of the helper's names and edges."""

    answer: Tensor
    names: Tensor
    edges: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.answer + HELP_WEIGHT * (self.names + self.edges)


class Learner(nn.Module):
    """A Qwen2.5-VL and a linear head on its image tokens after `HELPED_LAYER`.

    The head tells row, column, name and enclosing box of what each image token shows. Without
    it the coordinates hardly improve in the same time; it is not part of the checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = Qwen2_5_VLForConditionalGeneration(config())
        self.head = nn.Linear(HIDDEN, sum(PARTS))
        self._seen = torch.empty(0)
        text = self.model.model.language_model
        self.model.set_attn_implementation("shapes_plain")
        text.layers[HELPED_LAYER].register_forward_hook(self._keep)

    def forward(self, batch: Batch) -> Losses:
        """Return the losses of `batch`."""
        image = batch.ids == self.model.config.image_token_id
        hidden = self._hidden(batch, image)
        told = batch.weights[:, 1:] > 0
        scores = self.model.lm_head(hidden[:, :-1][told])
        each = cross_entropy(scores.float(), batch.ids[:, 1:][told], reduction="none")
        weights = batch.weights[:, 1:][told]
        answer = (each * weights).sum() / weights.sum()
        return Losses(answer, *self._help(self._seen[image], batch))

    def _hidden(self, batch: Batch, image: Tensor) -> Tensor:
        """Return the (B, L, HIDDEN) last states, each segment blind to the others."""
        core = self.model.model
        embedded = core.language_model.embed_tokens(batch.ids)
        pictures = core.visual(batch.patches, grid_thw=batch.grids).pooler_output
        filled = embedded.masked_scatter(image[..., None], pictures.to(embedded.dtype))
        hidden_from = torch.zeros(batch.mask.shape, dtype=filled.dtype)
        hidden_from = hidden_from.masked_fill(~batch.mask, UNSEEN)
        out = core.language_model(
            inputs_embeds=filled,
            position_ids=batch.places,
            attention_mask={"full_attention": hidden_from},
            use_cache=False,
        )
        states: Tensor = out.last_hidden_state
        return states

    def _help(self, seen: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        name, row, column, *edges = self.head(seen).float().split(PARTS, dim=-1)
        names = cross_entropy(name, batch.names)
        names = names + cross_entropy(row, batch.rows) + cross_entropy(column, batch.columns)
        some = batch.names != NOTHING
        truths = batch.edges[some].unbind(-1)
        off = [cross_entropy(e[some], t) for e, t in zip(edges, truths, strict=True)]
        return names, torch.stack(off).mean()

    def _keep(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        self._seen = output if isinstance(output, Tensor) else output[0]
