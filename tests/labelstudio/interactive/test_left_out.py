"""What was left out travels in few bytes, and nothing that a record holds is an error."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from grounding.labelstudio.interactive.status import LeftOut

COUNTS = st.dictionaries(st.sampled_from(["unknown_label", "low_score", "x"]), st.integers(1, 999))


@example(counts={}, words=[f"{'x' * 39} of two words"])
@given(counts=COUNTS, words=st.lists(st.text(max_size=50), max_size=6))
def test_what_is_stored_is_what_is_read(counts: dict[str, int], words: list[str]) -> None:
    left_out = LeftOut.of(counts, words)
    assert LeftOut.read(json.loads(json.dumps(left_out.stored()))) == left_out


@given(words=st.lists(st.text(), max_size=9))
def test_its_size_is_bounded_whatever_a_model_writes(words: list[str]) -> None:
    counts = {f"reason {n}": n for n in range(99)}
    stored = LeftOut.of(counts, [*words, *(f"{n}" * 5000 for n in range(99))]).stored()
    assert len(json.dumps(stored)) < 2000


@given(counts=COUNTS, more=COUNTS)
def test_what_the_page_leaves_out_adds_up_with_what_the_worker_did(
    counts: dict[str, int], more: dict[str, int]
) -> None:
    both = LeftOut.of(counts, ["zebra"]).plus(more)
    assert both.counts == dict(Counter(counts) + Counter(more))
    assert both.words == ("zebra",)


def test_where_nothing_is_left_out_nothing_is_stored() -> None:
    assert LeftOut.of({"low_score": 0}, ["", "\x00"]).stored() == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)


@given(stored=JSON | st.dictionaries(st.sampled_from(["words", "low_score"]), JSON))
def test_any_record_can_be_read(stored: object) -> None:
    left_out = LeftOut.read(stored)
    assert all(type(n) is int and n > 0 for n in left_out.counts.values())
    assert all(type(word) is str and word for word in left_out.words)
