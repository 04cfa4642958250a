"""What a call of the model takes of each row, and gives for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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

    @property
    def offset(self) -> int:
        """What is added to a word's place for its position."""
        return int(self.positions[0, -1]) - self.start - len(self.ids) + 1

    def then(self, words: Sequence[int], offset: int) -> Feed:
        """Return the feed of these ids and some words more, whose successors are wanted too."""
        more = feed_words(words, self.start + len(self.ids), offset, len(words))
        positions = torch.cat([self.positions, more.positions], dim=1)
        return Feed([*self.ids, *words], self.start, positions, self.wanted + len(words))


def feed_words(ids: Sequence[int], start: int, offset: int, wanted: int) -> Feed:
    """Return the feed of words, whose positions go up by one from `start + offset`."""
    first = start + offset
    return Feed(ids, start, torch.arange(first, first + len(ids)).expand(3, -1), wanted)


def score(scores: Tensor) -> Tensor:
    """Return the likeliest token of each place and its log-probability, in one tensor.

    `scores` has a vocabulary for each place. In float32, as in `generate`, whatever the model's
    own type; the ids are exact in the float64 of the result.
    """
    scores = scores.float()
    best, tokens = scores.max(-1)
    return torch.stack((tokens.double(), (best - scores.logsumexp(-1)).double()))


def unpack(scored: Tensor, feeds: Sequence[Feed]) -> list[list[Scored]]:
    """Return each row's successors from those of all, (2, successors); one copy from the device."""
    tokens, logprobs = scored.cpu()
    rest = iter(zip(tokens.int().tolist(), logprobs.tolist(), strict=True))
    return [[next(rest) for _ in range(one.wanted)] for one in feeds]
