"""Token ids to text: the library's text, and each token's characters in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.engines.local.detokenizer import Detokenizer
from tests.engines.checkpoints import tokenizer

TOK = tokenizer()
SPELLER = Detokenizer(TOK)


@given(st.text())
def test_a_text_comes_back_and_its_ranges_cover_it_in_order(text: str) -> None:
    ids = TOK.encode(text)
    spelled, ranges = SPELLER.spell(ids)
    assert spelled == text
    assert len(ranges) == len(ids)
    ends = [0, *(end for _, end in ranges)]
    for (start, end), before in zip(ranges, ends, strict=False):
        # Neighbours touch, or share the one character that is split between them.
        assert before - 1 <= start <= before
        assert start < end
    assert ends[-1] == len(text)


@settings(max_examples=300)
@given(st.lists(st.integers(0, len(TOK) - 1)))
def test_any_ids_spell_what_the_library_decodes(ids: list[int]) -> None:
    assert SPELLER.spell(ids)[0] == TOK.decode(ids, skip_special_tokens=False)


def test_the_three_tokens_of_a_chinese_character_each_have_it_in_range() -> None:
    ids = TOK.encode('{"label": "红框box"}')
    text, ranges = SPELLER.spell(ids)
    where = text.index("红")
    assert ranges.count((where, where + 1)) == 3
    assert ranges.count((where + 1, where + 2)) == 3
    assert ranges.count((where + 2, where + 5)) == 1  # "box" is one token


def test_an_emoji_beyond_the_basic_plane_is_one_character() -> None:
    assert SPELLER.spell(TOK.encode("a🎂b")) == (
        "a🎂b",
        [(0, 1), (1, 2), (1, 2), (1, 2), (1, 2), (2, 3)],
    )


def test_a_character_cut_off_at_the_end_becomes_one_replacement() -> None:
    ids = TOK.encode("中")[:2]
    assert SPELLER.spell(ids) == ("\ufffd", [(0, 1), (0, 1)])


def test_control_tokens_are_spelled_out() -> None:
    ids = TOK.encode("<|box_start|>(1,2)<|box_end|>")
    text, ranges = SPELLER.spell(ids)
    assert text == "<|box_start|>(1,2)<|box_end|>"
    assert text[slice(*ranges[0])] == "<|box_start|>"
    assert text[slice(*ranges[-1])] == "<|box_end|>"


@pytest.mark.parametrize("unused", [len(TOK), len(TOK) + 6])
def test_an_id_that_only_the_model_has_spells_nothing(unused: int) -> None:
    (a,) = TOK.encode("a")
    assert SPELLER.spell([a, unused, a]) == ("aa", [(0, 1), (1, 1), (1, 2)])
