"""Drafts: what a row guesses of its next tokens, and how many steps that saves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.engine.drafts import load_vocabulary, measure, vocabulary
from grounding.engines.local.decoding.drafts import REMEMBERED, Drafter, Memory, Text

DATA = Path(__file__).parents[3] / "data"


def drafter(answer: Sequence[int], *before: Sequence[int], template: Sequence[int] = ()) -> Drafter:
    """Return the drafter of an answer that has begun, after the answers `before` it, in order."""
    memory = Memory()
    for one in before:
        memory.keep(Text(one))
    made = Drafter(memory, template)
    for token in answer:
        made.text.push(token)
    return made


@pytest.mark.parametrize(
    ("made", "proposed"),
    [
        (drafter([1, 2, 3, 9, 1, 2]), [3, 9, 1, 2]),
        (drafter([1, 2, 3, 1, 2, 4, 1, 2]), [4, 1, 2]),
        (drafter([1, 2, 5, 2, 6, 1, 2]), [5, 2, 6, 1, 2]),
        (drafter([1, 2], [1, 2, 7, 8]), [7, 8]),
        (drafter([1, 2], [1, 2, 7], [1, 2, 8]), [8]),
        (drafter([1, 2], template=[1, 2, 9]), [9]),
        (drafter([1, 2], [3, 2, 5], template=[1, 2, 9]), [9]),
        (drafter([1, 2, 8, 1, 2], [1, 2, 7], template=[1, 2, 9]), [8, 1, 2]),
        (drafter([1, 2], [3, 4], template=[5]), []),
        (drafter([1]), []),
        (drafter([]), []),
        (drafter([], template=[5, 6]), [5, 6]),
        (drafter([], [1, 2], [3, 4], template=[5, 6]), [3, 4]),
        (drafter([1, 2], *([[1, 2, 3]] + [[5, 5]] * REMEMBERED)), []),
    ],
    ids=[
        *("itself", "newest", "longest run", "before", "newest before", "template"),
        *("longer run in the template", "itself first", "nothing", "one token"),
        *("no beginning", "the template's beginning", "the newest beginning", "forgotten"),
    ],
)
def test_the_next_tokens_are_those_that_followed_the_same_ones(
    made: Drafter, proposed: list[int]
) -> None:
    assert made.propose(8) == proposed
    assert made.propose(1) == proposed[:1]
    assert made.propose(0) == made.propose(-1) == []


def count_steps(ids: Sequence[int], made: Drafter, most: int = 8) -> int:
    """Return in how many steps a model that writes `ids` would write them, its first included."""
    steps = 0
    while (done := len(made.text.tokens)) < len(ids):
        draft = made.propose(min(most, len(ids) - done - 1))
        right = 0
        while right < len(draft) and draft[right] == ids[done + right]:
            right += 1
        for token in ids[done : done + right + 1]:
            made.text.push(token)
        steps += 1
    return steps


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 9))
def test_a_text_is_written_whole_in_no_more_steps_than_tokens(ids: list[int], most: int) -> None:
    made = drafter([])
    assert count_steps(ids, made, most) <= len(ids)
    assert made.text.tokens == ids


def test_drafts_give_the_tokens_a_step_that_real_answers_were_promised() -> None:
    """Forced, with Qwen's own vocabulary, one after the other."""
    found = measure(load_vocabulary(vocabulary()))
    assert found["lists"].tokens_a_step >= 1.9
    assert found["all"].tokens_a_step >= 1.6
    assert found["all"].answers > 40


def test_a_list_of_places_takes_fewer_steps_than_half_of_its_characters() -> None:
    """Of a printed answer of twelve places, a token for each character."""
    rows = map(json.loads, (DATA / "model_outputs.jsonl").read_text().splitlines())
    ids = [ord(c) for c in next(row["raw"] for row in rows if row["id"] == "q001")]
    assert 2.5 * count_steps(ids, drafter([])) < len(ids)
