"""An answer that goes in circles ends there; one that only repeats a little does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from grounding.engines.base import Completion
from grounding.engines.local.decoding.endings import Repetition
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions, load_checkpoint
from tests.engines.questions import ask_all, questions

CPU = LoadOptions(device="cpu")
RECORD = list(range(100, 135))
"""As long as a box with its label."""


def end(tokens: Sequence[int]) -> int | None:
    """Return after how many tokens an answer ends, None where it does not."""
    watch = Repetition()
    return next((i for i, token in enumerate(tokens, 1) if watch.push(token)), None)


@pytest.mark.parametrize(
    ("tokens", "ends"),
    [
        (RECORD * 9, 4 * 35),
        ([1, 2, 3, *RECORD * 9], 3 + 4 * 35),
        (RECORD * 3 + [1, *RECORD[1:]] * 3, None),
        ([*RECORD, 1, *RECORD, 2, *RECORD, 3, *RECORD, 4], None),
        ([7] * 200, 64),
        ([7] * 63, None),
        ([7, 8] * 100, 64),
        (list(range(16)) * 4, 64),
        (list(range(64)) * 4, 256),
        (list(range(65)) * 9, None),
        ([*range(35), *range(35), *RECORD * 4], 70 + 4 * 35),
    ],
    ids=[
        *("records", "after words", "three times", "numbered", "one token", "almost"),
        *("two tokens", "shortest", "longest", "too long", "another before"),
    ],
)
def test_a_passage_four_times_on_end_ends_the_answer(tokens: list[int], ends: int | None) -> None:
    assert end(tokens) == ends


@pytest.mark.parametrize("in_flight", [True, False])
def test_an_answer_in_circles_is_cut_and_not_complete(tiny: Path, in_flight: bool) -> None:
    """The bias makes one token the likeliest at each step; the padding is an end token."""
    options = replace(CPU, in_flight=in_flight)
    checkpoint = load_checkpoint(str(tiny), options, lambda _: None)
    head: Any = checkpoint.model.lm_head
    head.bias = torch.nn.Parameter(torch.zeros(head.out_features))
    head.bias.data[5] = 1e4
    engine = LocalEngine(checkpoint, options)
    long, short = (
        replace(one, max_new_tokens=n) for one, n in zip(questions(), (500, 9), strict=False)
    )
    replies = ask_all(engine, [long, short])
    engine.close()
    for reply, tokens in zip(replies, (64, 9), strict=True):
        assert isinstance(reply, Completion)
        assert (len(reply.tokens), reply.complete) == (tokens, False)
