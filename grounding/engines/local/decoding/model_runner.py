"""One call of the model for many rows: new tokens in, the likeliest successor of each out.

Rows feed as many tokens as they like: a whole prompt, the words behind a picture that is in the
cache already, or an answer's last token and a draft. Every position is given; the model would
otherwise take up those of its last call, which belong to other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from grounding.engines.local.decoding.slots import SlotCache
from grounding.engines.local.decoding.text_layers import TextLayers, is_fit
from grounding.engines.local.encoder import Encoder, TokenizedRequest

ROWS = "grounding_rows"
WINDOWS = "grounding_flash_windows"
"""Names of our attention functions. Because of the word "flash" the library hands over all windows
of all pictures in one call; to others it would hand them one by one."""

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

    def then(self, words: Sequence[int], offset: int) -> Feed:
        """Return the feed of these ids and some words more, whose successors are wanted too."""
        more = feed_words(words, self.start + len(self.ids), offset, len(words))
        positions = torch.cat([self.positions, more.positions], dim=1)
        return Feed([*self.ids, *words], self.start, positions, self.wanted + len(words))


def feed_words(ids: Sequence[int], start: int, offset: int, wanted: int) -> Feed:
    """Return the feed of words, whose positions go up by one from `start + offset`."""
    first = start + offset
    return Feed(ids, start, torch.arange(first, first + len(ids)).expand(3, -1), wanted)


class ModelRunner:
    """Calls one checkpoint's model with slots of its cache."""

    def __init__(self, model: Any, encoder: Encoder) -> None:
        self._model = model
        self._encoder = encoder
        text = model.config.get_text_config()
        self._heads_per_group = text.num_attention_heads // text.num_key_value_heads
        speed_up_attention(model)
        self._layers = TextLayers(model) if is_fit(model) else None

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
        seen = cache.select(first, [one.start for one in feeds], tokens)
        ids = [[*one.ids, *[self._encoder.pad] * (tokens - len(one.ids))] for one in feeds]
        fed = torch.tensor(ids, device=self._encoder.device)
        positions = self._positions(feeds, tokens)
        if pictures or self._layers is None:
            hidden = self._read(fed, positions, self._weigh(seen), cache, pictures)
        else:
            hidden = self._layers(fed, positions, self._weigh(seen), cache)
        return self._successors(hidden, feeds)

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

    def _weigh(self, seen: Tensor) -> Tensor:
        """Return what attention adds for each token that is seen, nothing, or not: -inf.

        Of booleans, every layer would make these numbers anew. Query heads of one group stand in
        one row, so each token's row comes once for each of them.
        """
        hidden = torch.zeros_like(seen, dtype=self._model.dtype).masked_fill_(~seen, -torch.inf)
        return hidden.repeat(1, 1, self._heads_per_group, 1)

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
    layers = getattr(config, "layer_types", None) or ()
    if "sliding_attention" in layers:
        return "some of the model's layers see a window of the text only"
    if "linear_attention" in layers:
        return "some of the model's layers keep a state instead of keys and values"
    if config._attn_implementation not in ("sdpa", "flash_attention_2"):
        return f"its attention is {config._attn_implementation}"
    return ""


def speed_up_attention(model: Any) -> None:
    """Let the vision tower and the language model attend by the functions below.

    Flash attention takes all windows at once by itself. It takes no mask, which rows need whose
    lengths differ, so it stays with the pictures.
    """
    AttentionInterface.register(WINDOWS, attend_in_windows)
    AttentionInterface.register(ROWS, attend_in_rows)
    if model.model.visual.config._attn_implementation == "sdpa":
        model.model.visual.config._attn_implementation = WINDOWS
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


def attend_in_windows(
    module: object,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    **how: Any,
) -> tuple[Tensor, None]:
    """Return the attention within each window, (1, tokens, heads, dimensions).

    All windows of one length are one call; the library's default takes them one by one, 2,468
    calls for a picture of 1148×840.

    `query`, `key` and `value` are (1, heads, tokens, dimensions), and the windows lie in them one
    behind the other, with the bounds `cu_seq_lens_q`.
    """
    out = torch.empty_like(query)
    for length, tokens in _group(how["cu_seq_lens_q"]):
        queries, keys, values = (
            part[0, :, tokens].reshape(part.shape[1], -1, length, part.shape[3]).transpose(0, 1)
            for part in (query, key, value)
        )
        seen = scaled_dot_product_attention(queries, keys, values, scale=how["scaling"])
        out[0, :, tokens] = seen.transpose(0, 1).flatten(1, 2)
    return out.transpose(1, 2), None


def _group(bounds: Tensor) -> list[tuple[int, Tensor | slice]]:
    """Return the lengths of windows, each with the tokens of all windows of that length.

    They are kept with the bounds: every layer asks, and each look at them waits for the device.
    Where all are of one length, no token needs to be copied.
    """
    kept: list[tuple[int, Tensor | slice]] | None = getattr(bounds, "groups", None)
    if kept is None:
        ends = bounds.tolist()
        windows = [torch.arange(a, b) for a, b in pairwise(ends) if a < b]
        lengths = dict.fromkeys(len(one) for one in windows)
        groups = ((n, torch.cat([one for one in windows if len(one) == n])) for n in lengths)
        kept = [(n, tokens.to(bounds.device)) for n, tokens in groups]
        if len(kept) == 1:
            kept = [(kept[0][0], slice(None))]
        bounds.groups = kept  # type: ignore[attr-defined]
    return kept
