"""One call of the model for many rows: new tokens in, the likeliest successor of each out.

Rows feed as many tokens as they like: a whole prompt, the words behind a picture that is in the
cache already, or an answer's last token and a draft. Every position is given; the model would
otherwise take up those of its last call, which belong to other rows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from grounding.engines.local.decoding.feeds import Feed, Scored, score, unpack
from grounding.engines.local.decoding.slots import SlotCache
from grounding.engines.local.decoding.static_steps import Bucket, StaticSteps
from grounding.engines.local.decoding.text_layers import TextLayers, is_fit, weigh
from grounding.engines.local.decoding.vision_tower import VisionTower, has_free_cores
from grounding.engines.local.encoder import Encoder, TokenizedRequest

log = logging.getLogger(__name__)

ROWS = "grounding_rows"
"""Name of our attention function."""


class ModelRunner:
    """Calls one checkpoint's model with slots of its cache."""

    def __init__(self, model: Any, encoder: Encoder) -> None:
        self._model = model
        self._encoder = encoder
        speed_up_attention(model)
        self._layers = TextLayers(model) if is_fit(model) else None
        ahead = bool(self._layers) and model.device.type == "cpu" and has_free_cores()
        self.tower = VisionTower(model, encoder, ahead=ahead)
        self._static: StaticSteps | None = None

    @torch.inference_mode()
    def fix_shapes(self, buckets: Sequence[Bucket], cache: SlotCache) -> None:
        """Let steps have these shapes from now on, smallest first; the slots have to be free."""
        if self._layers is None:
            log.warning("steps run without graphs: the model's layers are not as we know them")
            return
        empty = Feed([self._encoder.pad], 0, 0, 1)
        self.run(cache, 0, [empty])  # gives the cache its layers
        self._static = StaticSteps(self._layers, self._model, self._encoder.pad, buckets)
        for bucket in buckets:
            self.step(cache, [empty] * bucket.slots)

    def feed_prompt(self, request: TokenizedRequest) -> Feed:
        """Return the feed of a whole prompt.

        A picture's tokens have positions by row and column, and take fewer than they are.
        """
        ids = torch.tensor([request.ids])
        positions, offsets = self._model.model.get_rope_index(
            input_ids=ids,
            mm_token_type_ids=(ids == self._encoder.image_id).int(),
            image_grid_thw=self._encoder.grids(request.pictures) if request.pictures else None,
        )
        return Feed(request.ids, 0, int(offsets[0]), 1, positions[:, 0])

    def step(self, cache: SlotCache, feeds: Sequence[Feed]) -> list[list[Scored]]:
        """Return the successors of all rows that run, which are in the first slots."""
        scored = self._static.run(cache, feeds) if self._static else None
        return self.run(cache, 0, feeds) if scored is None else scored

    def run(
        self, cache: SlotCache, first: int, feeds: Sequence[Feed], pictures: Sequence[Any] = ()
    ) -> list[list[Scored]]:
        """Return each row's wanted successors; the rows are in the slots from `first` on.

        `pictures` are those of whole prompts, in order.
        """
        tokens = max(len(one.ids) for one in feeds)
        starts = [one.start for one in feeds]
        seen = cache.select(first, starts, tokens)
        ids = [[*one.ids, *[self._encoder.pad] * (tokens - len(one.ids))] for one in feeds]
        fed = torch.tensor(ids, device=self._encoder.device)
        positions = self._positions(feeds, tokens)
        if self._layers is None:
            hidden = self._read(fed, positions, weigh(self._model, seen), cache, pictures)
        else:
            states, deeper = self._embed(self._layers, fed, pictures)
            weights = weigh(self._model, seen) if any(starts) else None
            hidden = self._layers(states, positions, weights, cache, deeper)
        return self._successors(hidden, feeds)

    def _embed(
        self, layers: TextLayers, ids: Tensor, pictures: Sequence[Any]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the tokens' states, those of pictures from the vision tower.

        Also what the first layers add to them: Qwen3-VL's tower gives more of each picture.
        """
        states = layers.embed(ids)
        if not pictures:
            return states, []
        seen = self.tower.read(pictures)
        places = ids == self._encoder.image_id
        states[places] = seen.states.to(states.dtype)
        deeper = [
            torch.zeros_like(states).index_put_((places,), one.to(states.dtype))
            for one in seen.deeper
        ]
        return states, deeper

    def _read(
        self,
        ids: Tensor,
        positions: Tensor,
        weights: Tensor,
        cache: SlotCache,
        pictures: Sequence[Any],
    ) -> Tensor:
        hidden: Tensor = self._model.model(
            input_ids=ids,
            attention_mask=weights,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            **self._encoder.encode_pictures(pictures),
        ).last_hidden_state
        return hidden

    def _positions(self, feeds: Sequence[Feed], tokens: int) -> Tensor:
        firsts = torch.tensor([[one.start + one.offset] for one in feeds])
        positions = (firsts + torch.arange(tokens)).repeat(3, 1, 1)
        for row, one in enumerate(feeds):
            if one.positions is not None:
                positions[:, row, : one.positions.shape[1]] = one.positions
        return positions.to(self._encoder.device)

    def _successors(self, hidden: Tensor, feeds: Sequence[Feed]) -> list[list[Scored]]:
        rows = [row for row, one in enumerate(feeds) for _ in range(one.wanted)]
        places = [i for one in feeds for i in range(len(one.ids) - one.wanted, len(one.ids))]
        return unpack(score(self._model.lm_head(hidden[rows, places])), feeds)


def why_unfit(model: Any) -> str:
    """Return why a model cannot be run row by row, or nothing."""
    config = model.config.get_text_config()
    layers = getattr(config, "layer_types", None) or ()
    if "sliding_attention" in layers:
        return "some of the model's layers see a window of the text only"
    if "linear_attention" in layers:
        return "some of the model's layers keep a state instead of keys and values"
    if config._attn_implementation not in ("sdpa", "flash_attention_2"):
        return f"its attention is {config._attn_implementation}"
    return ""


def speed_up_attention(model: Any) -> None:
    """Let the language model attend by the function below.

    Flash attention takes no mask, which rows need whose lengths differ, so it stays with the
    pictures.
    """
    AttentionInterface.register(ROWS, attend_in_rows)
    model.model.language_model.config._attn_implementation = ROWS


def attend_in_rows(
    module: object, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, **how: Any
) -> tuple[Tensor, None]:
    """Return what each row's tokens attend to, (rows, tokens, heads, dimensions).

    `query` is (rows, heads, tokens, dimensions); `key` and `value` have fewer heads, each for a
    group of the query's. The library copies them for every query head, in a step of few tokens
    over a long row much more work than the rest. Here a group's queries stand in one row instead.
    So `attention_mask`, which is added to the scores, has the tokens once for each head of a group:
    (rows, 1, heads per group * tokens, length).
    """
    rows, heads, tokens, size = query.shape
    groups = key.shape[1]
    seen = scaled_dot_product_attention(
        query.reshape(rows, groups, -1, size),
        key,
        value,
        attn_mask=attention_mask,
        scale=how["scaling"],
    )
    return seen.reshape(rows, heads, tokens, size).transpose(1, 2), None
