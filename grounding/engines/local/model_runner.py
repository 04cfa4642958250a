"""One call of the model for many rows: new tokens in, the likeliest successor of each out.

Rows feed as many tokens as they like: a whole prompt, the words behind a picture that is in the
cache already, or an answer's last token and a draft. Every position is given; the model would
otherwise take up those of its last call, which belong to other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grounding.engines.local.encoder import Encoder, TokenizedRequest
from grounding.engines.local.slots import SlotCache

Scored = tuple[int, float]
"""A token and its natural log-probability."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What one row feeds: `ids` behind the `start` tokens that its slot holds.

    `positions` are the model's, (3, tokens). The successors of the last `wanted` ids are asked for.
    """

    ids: Sequence[int]
    start: int
    positions: Tensor
    wanted: int


def feed_words(ids: Sequence[int], start: int, offset: int, wanted: int) -> Feed:
    """Return the feed of words, whose positions go up by one from `start + offset`."""
    first = start + offset
    return Feed(ids, start, torch.arange(first, first + len(ids)).expand(3, -1), wanted)


class ModelRunner:
    """Calls one checkpoint's model with slots of its cache."""

    def __init__(self, model: Any, encoder: Encoder) -> None:
        self._model = model
        self._encoder = encoder

    def feed_prompt(self, request: TokenizedRequest) -> tuple[Feed, int]:
        """Return the feed of a whole prompt, and the offset of the words that follow it.

        A picture's tokens have positions by row and column, and take fewer than they are.
        """
        ids = torch.tensor([request.ids])
        positions, offsets = self._model.model.get_rope_index(
            input_ids=ids,
            mm_token_type_ids=(ids == self._encoder.image_id).int(),
            image_grid_thw=self._encoder.grids(request.pictures),
        )
        return Feed(request.ids, 0, positions[:, 0], 1), int(offsets[0])

    def run(
        self, cache: SlotCache, first: int, feeds: Sequence[Feed], pictures: Sequence[Any] = ()
    ) -> list[list[Scored]]:
        """Return each row's wanted successors; the rows are in the slots from `first` on.

        `pictures` are those of whole prompts, in order.
        """
        tokens = max(len(one.ids) for one in feeds)
        _, seen = cache.select(first, [one.start for one in feeds], tokens)
        ids = [[*one.ids, *[self._encoder.pad] * (tokens - len(one.ids))] for one in feeds]
        hidden = self._model.model(
            input_ids=torch.tensor(ids, device=self._encoder.device),
            attention_mask=seen,
            position_ids=self._positions(feeds, tokens),
            past_key_values=cache,
            use_cache=True,
            **self._encoder.encode_pictures(pictures),
        ).last_hidden_state
        return self._successors(hidden, feeds)

    def _positions(self, feeds: Sequence[Feed], tokens: int) -> Tensor:
        positions = torch.zeros(3, len(feeds), tokens, dtype=torch.long)
        for row, one in enumerate(feeds):
            positions[:, row, : len(one.ids)] = one.positions
        return positions.to(self._encoder.device)

    def _successors(self, hidden: Tensor, feeds: Sequence[Feed]) -> list[list[Scored]]:
        """Return the likeliest successors; one copy from the device for all rows."""
        rows = [row for row, one in enumerate(feeds) for _ in range(one.wanted)]
        places = [i for one in feeds for i in range(len(one.ids) - one.wanted, len(one.ids))]
        # In float32, as in `generate`, whatever the model's own type.
        scores = self._model.lm_head(hidden[rows, places]).float()
        best, tokens = scores.max(-1)
        both = torch.stack((tokens.double(), (best - scores.logsumexp(-1)).double())).cpu()
        scored = iter(zip(both[0].int().tolist(), both[1].tolist(), strict=True))
        return [[next(scored) for _ in range(one.wanted)] for one in feeds]


def why_unfit(model: Any) -> str:
    """Return why a model cannot be run row by row, or nothing."""
    config = model.config.get_text_config()
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        return "some of the model's layers see a window of the text only"
    if config._attn_implementation != "sdpa":
        return f"its attention is {config._attn_implementation}"
    return ""
