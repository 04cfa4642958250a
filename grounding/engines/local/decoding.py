"""How an answer is decoded: greedily, with every parameter said here, and its probabilities kept.

The checkpoints' own generation_config.json asks for sampling and a repetition penalty. A
coordinate's digits repeat, so a penalty moves boxes; nothing is taken from that file but the
ids that end an answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    PreTrainedTokenizerBase,
    StoppingCriteria,
)

from grounding.errors import SettingError


@dataclass(frozen=True, slots=True)
class Ends:
    """The ids that end an answer, and the one that fills the room behind it."""

    eos: frozenset[int]
    pad: int

    @classmethod
    def of(cls, config: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> Ends:
        """Return the ends that the checkpoint's generation config and tokenizer name."""
        named = config.eos_token_id
        eos = set(named) if isinstance(named, list) else {named}
        eos = {i for i in (*eos, tokenizer.eos_token_id) if i is not None}
        if not eos:
            raise SettingError("the checkpoint names no token that ends an answer")
        pads = (tokenizer.pad_token_id, config.pad_token_id, min(eos))
        return cls(frozenset(eos), next(i for i in pads if i is not None))

    def cut(self, row: Sequence[int], budget: int) -> tuple[list[int], bool]:
        """Return the ids before the first end, at most `budget`, and whether an end was met."""
        for place, token in enumerate(row[:budget]):
            if token in self.eos:
                return list(row[:place]), True
        return list(row[:budget]), False


def greedy(ends: Ends, *, max_new_tokens: int, repetition_penalty: float) -> GenerationConfig:
    """Return the whole decoding of one batch: the likeliest token at each step, nothing else."""
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        num_return_sequences=1,
        max_new_tokens=max_new_tokens,
        repetition_penalty=repetition_penalty,
        eos_token_id=sorted(ends.eos),
        pad_token_id=ends.pad,
        use_cache=True,
    )


class Recorder(LogitsProcessor):  # type: ignore[misc]
    """Keeps the log-probability of each step's likeliest token: 4 bytes instead of a vocabulary.

    Kept whole, the scores of 32 answers of 512 tokens would take 10 GB. `on_step` is called at
    each step.
    """

    def __init__(self, on_step: Callable[[], None] = lambda: None) -> None:
        self._steps: list[Tensor] = []
        self._on_step = on_step

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Note one step of all rows, from `scores` of shape (rows, vocabulary); change nothing."""
        self._on_step()
        self._steps.append(scores.amax(-1) - scores.logsumexp(-1))
        return scores

    def rows(self) -> list[list[float]]:
        """Return the natural log-probabilities, a row of steps for each answer."""
        steps: list[list[float]] = torch.stack(self._steps, dim=1).tolist()
        return steps


class Budgets(StoppingCriteria):  # type: ignore[misc]
    """Ends each row at its own budget of new tokens, and all rows once `stop` is set."""

    def __init__(self, prompt: int, budgets: Tensor, stop: threading.Event) -> None:
        self._prompt = prompt
        self._budgets = budgets
        self._stop = stop

    def __call__(self, input_ids: Tensor, scores: object, **_: object) -> Tensor:
        """Say for each row whether it is done, as (rows,) booleans."""
        written = input_ids.shape[1] - self._prompt
        return (self._budgets <= written) | self._stop.is_set()
