"""What a call of the model takes of each row, and gives for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Scored = tuple[int, float]
"""A token and its natural log-probability."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What one row feeds: `ids` behind the `start` tokens that its slot holds.

    The position of a word is its place in the row and `offset`; those of a prompt's tokens are
    `positions`, (3, tokens). The successors of the last `wanted` ids are asked for.
    """

    ids: Sequence[int]
    start: int
    offset: int
    wanted: int
    positions: Tensor | None = None

    def then(self, words: Sequence[int]) -> Feed:
        """Return the feed of these ids and some words more, whose successors are wanted too."""
        return replace(self, ids=[*self.ids, *words], wanted=self.wanted + len(words))


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
