"""The model with its training-only helper head, and the loss of one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tools.shapes.batches import BINS, GONE, NOTHING, UNSAID, Batch
from tools.shapes.model import HIDDEN, config
from tools.shapes.scenes import MAX_THINGS

SEE_LAYER, SEEK_LAYER, FIND_LAYER, TELL_LAYER = 2, 3, 4, 5
"""Text layers, counted from 0, after which helper heads predict. SEE: what image tokens show, and
what names and answers ask for. SEEK: what is at names and places of the question. FIND: the same on
answer tokens. TELL: which of several things an answer token belongs to."""

CELLS = 16
SEEN = (NOTHING + 1, CELLS, CELLS, *[BINS] * 4)
FOUND = (2, *[BINS] * 4)
TOLD = (NOTHING + 1, *[BINS] * 4)
RANKS = MAX_THINGS + 2
HELP_WEIGHT = 0.3

UNSEEN = -1e4
"""Added to the attention scores of masked tokens."""


class Inputs(Protocol):
    """What the model reads of a batch of B rows of L tokens."""

    ids: Tensor
    places: Tensor  # (3, B, L)
    mask: Tensor  # (B, 1, L, L)
    patches: Tensor
    grids: Tensor


def read_batch(
    model: Qwen2_5_VLForConditionalGeneration,
    batch: Inputs,
    image: Tensor,
    scores: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Return the (B, L, HIDDEN) last states, and the vision tower's (N, HIDDEN) tokens.

    No segment attends to another. `image` says which tokens are a picture's, `scores` is the type
    of the attention scores.
    """
    core = model.model
    embedded = core.language_model.embed_tokens(batch.ids)
    pictures = core.visual(batch.patches, grid_thw=batch.grids).pooler_output
    filled = embedded.masked_scatter(image[..., None], pictures.to(embedded.dtype))
    unseen = torch.zeros(batch.mask.shape, dtype=scores)
    out = core.language_model(
        inputs_embeds=filled,
        position_ids=batch.places,
        attention_mask={"full_attention": unseen.masked_fill(~batch.mask, UNSEEN)},
        use_cache=False,
    )
    return out.last_hidden_state, pictures


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


# On a CPU at these lengths, the backward pass of fused attention takes 40 % of a step; this 10 %.
ALL_ATTENTION_FUNCTIONS.register("shapes_plain", _attend)


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean losses of a batch in nats: of the answers, and of the helper heads."""

    answer: Tensor
    names: Tensor  # of image tokens, with their rows and columns
    edges: Tensor  # of image tokens
    asked: Tensor  # of names in questions, and of answer tokens
    placed: Tensor  # of places in questions: their bins
    sought: Tensor  # of names and places in questions: whether it is there, and its edges
    found: Tensor  # of answer tokens: the same
    told: Tensor  # of answer tokens: the name of the thing written, and its edges
    ranked: Tensor  # of names in questions and of answer tokens: rank in the answer

    def total(self, helped: bool = True) -> Tensor:
        """Return the loss to minimise: that of the answers, and of the heads where they help."""
        return self.answer + (HELP_WEIGHT * self._each()[1:].sum() if helped else 0)

    def stacked(self) -> Tensor:
        """Return all losses as one tensor without a gradient, in the order of the fields."""
        return self._each().detach()

    def _each(self) -> Tensor:
        return torch.stack([getattr(self, name) for name in self.__slots__])


class Learner(nn.Module):
    """A Qwen2.5-VL and linear helper heads, which are not part of the checkpoint.

    One head predicts the row, column, name and box of the thing at each image token; without it,
    coordinates hardly improve in the same time. The others predict, at names and places of the
    question and on answer tokens, what is asked for and where it is. They connect the words of
    the question with the right image tokens.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = Qwen2_5_VLForConditionalGeneration(config())
        self.head = nn.Linear(HIDDEN, sum(SEEN))
        self.asked_head = nn.Linear(HIDDEN, NOTHING)
        self.placed_head = nn.Linear(HIDDEN, 4 * BINS)
        self.sought_head = nn.Linear(HIDDEN, sum(FOUND))
        self.found_head = nn.Linear(HIDDEN, sum(FOUND))
        self.told_head = nn.Linear(HIDDEN, sum(TOLD))
        self.ranked_head = nn.Linear(HIDDEN, RANKS)
        self._states: dict[int, Tensor] = {}
        self.model.set_attn_implementation("shapes_plain")
        for layer in (SEE_LAYER, SEEK_LAYER, FIND_LAYER, TELL_LAYER):
            self.model.model.language_model.layers[layer].register_forward_hook(self._keep(layer))

    def forward(self, batch: Batch) -> Losses:
        """Return the losses of `batch`."""
        image = batch.ids == self.model.config.image_token_id
        hidden, _ = read_batch(self.model, batch, image)
        told = batch.weights[:, 1:] > 0
        scores = self.model.lm_head(hidden[:, :-1][told])
        each = cross_entropy(scores.float(), batch.ids[:, 1:][told], reduction="none")
        weights = batch.weights[:, 1:][told]
        answer = (each * weights).sum() / weights.sum()
        return Losses(answer, *self._see(batch, image), *self._find(batch), *self._tell(batch))

    def _see(self, batch: Batch, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses of image tokens: names with positions, and edges."""
        states = self._states[SEE_LAYER][image]
        name, row, column, *edges = self.head(states).float().split(SEEN, dim=-1)
        names = cross_entropy(name, batch.names)
        names = names + cross_entropy(row, batch.rows) + cross_entropy(column, batch.columns)
        some = batch.names != NOTHING
        return names, _edge_loss([e[some] for e in edges], batch.edges[some])

    def _find(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the losses of the name asked for, of the place, and of presence (two layers)."""
        asked, goals, spots = batch.asked[:, 1:], batch.goals[:, 1:], batch.spots[:, 1:]
        early = self._states[SEE_LAYER][:, :-1]
        named, placed = asked >= 0, spots[..., 0] != UNSAID
        bins = self.placed_head(early[placed]).float().split(BINS, dim=-1)
        meant, told = goals[..., 0] != UNSAID, batch.weights[:, 1:] > 0
        return (
            _mean_loss(self.asked_head(early[named]).float(), asked[named]),
            _edge_loss(bins, spots[placed]),
            self._where(self.sought_head, SEEK_LAYER, meant & ~told, goals),
            self._where(self.found_head, FIND_LAYER, meant & told, goals),
        )

    def _tell(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the losses of the thing that answer tokens belong to, and of ranks.

        One head predicts the rank of a name in the question and of an item in the answer, so
        that both have the same representation.
        """
        told, ranks = batch.items[:, 1:] != UNSAID, batch.ranks[:, 1:]
        states = self._states[TELL_LAYER][:, :-1][told]
        item, *edges = self.told_head(states).float().split(TOLD, dim=-1)
        items, extents = batch.items[:, 1:][told], batch.extents[:, 1:][told]
        some, counted = items != NOTHING, ranks != UNSAID
        where = _edge_loss([e[some] for e in edges], extents[some])
        counts = self.ranked_head(self._states[FIND_LAYER][:, :-1][counted]).float()
        return _mean_loss(item, items) + where, _mean_loss(counts, ranks[counted])

    def _where(self, head: nn.Module, layer: int, meant: Tensor, goals: Tensor) -> Tensor:
        """Return the loss of presence and edges of the thing after `layer`, where `meant`."""
        states, goals = self._states[layer][:, :-1][meant], goals[meant]
        there, *edges = head(states).float().split(FOUND, dim=-1)
        some = goals[:, 0] != GONE
        return _mean_loss(there, some.long()) + _edge_loss([e[some] for e in edges], goals[some])

    def _keep(self, layer: int) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self._states[layer] = output if isinstance(output, Tensor) else output[0]

        return keep


def _edge_loss(scores: Sequence[Tensor], truths: Tensor) -> Tensor:
    """Return the mean loss over the four edges; `truths` is (N, 4) bins."""
    off = [_mean_loss(s, t) for s, t in zip(scores, truths.unbind(-1), strict=True)]
    return torch.stack(off).mean()


def _mean_loss(scores: Tensor, truths: Tensor) -> Tensor:
    """Return the mean cross entropy; 0 for no truths."""
    return cross_entropy(scores, truths, reduction="sum") / max(1, len(truths))
