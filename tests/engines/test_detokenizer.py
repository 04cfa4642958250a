"""Token ids to text: the library's text, and each token's characters in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.engines.base import Completion, Token
from grounding.engines.detokenizer import Detokenizer, cut
from tests.engines.checkpoints import tokenizer

TOK = tokenizer()
DETOKENIZER = Detokenizer(TOK)


@given(st.text())
def test_a_text_comes_back_and_its_ranges_cover_it_in_order(text: str) -> None:
    ids = TOK.encode(text)
    decoded, ranges = DETOKENIZER.decode(ids)
    assert decoded == text
    assert len(ranges) == len(ids)
    ends = [0, *(end for _, end in ranges)]
    for (start, end), before in zip(ranges, ends, strict=False):
        # Neighbours touch, or share the one character that is split between them.
        assert before - 1 <= start <= before
        assert start < end
    assert ends[-1] == len(text)


@settings(max_examples=300)
@given(st.lists(st.integers(0, len(TOK) - 1)))
def test_any_ids_decode_to_the_librarys_text(ids: list[int]) -> None:
    assert DETOKENIZER.decode(ids)[0] == TOK.decode(ids, skip_special_tokens=False)


def test_the_three_tokens_of_a_chinese_character_each_have_it_in_range() -> None:
    ids = TOK.encode('{"label": "红框box"}')
    text, ranges = DETOKENIZER.decode(ids)
    where = text.index("红")
    assert ranges.count((where, where + 1)) == 3
    assert ranges.count((where + 1, where + 2)) == 3
    assert ranges.count((where + 2, where + 5)) == 1  # "box" is one token


def test_an_emoji_beyond_the_basic_plane_is_one_character() -> None:
    assert DETOKENIZER.decode(TOK.encode("a🎂b")) == (
        "a🎂b",
        [(0, 1), (1, 2), (1, 2), (1, 2), (1, 2), (2, 3)],
    )


def test_a_character_cut_off_at_the_end_becomes_one_replacement() -> None:
    ids = TOK.encode("中")[:2]
    assert DETOKENIZER.decode(ids) == ("\ufffd", [(0, 1), (0, 1)])


def test_control_tokens_are_written_out() -> None:
    ids = TOK.encode("<|box_start|>(1,2)<|box_end|>")
    text, ranges = DETOKENIZER.decode(ids)
    assert text == "<|box_start|>(1,2)<|box_end|>"
    assert text[slice(*ranges[0])] == "<|box_start|>"
    assert text[slice(*ranges[-1])] == "<|box_end|>"


@pytest.mark.parametrize("unused", [len(TOK), len(TOK) + 6])
def test_an_id_that_only_the_model_has_is_no_text(unused: int) -> None:
    (a,) = TOK.encode("a")
    assert DETOKENIZER.decode([a, unused, a]) == ("aa", [(0, 1), (1, 1), (1, 2)])


@pytest.mark.parametrize(
    ("stop", "text", "spans", "complete"),
    [
        (("]",), "ab", [(0, 1), (1, 2)], True),
        (("c", "]"), "ab", [(0, 1), (1, 2)], True),
        (("b]",), "a", [(0, 1)], True),
        (("x",), "ab]c", [(0, 1), (1, 3), (3, 4)], False),
        ((), "ab]c", [(0, 1), (1, 3), (3, 4)], False),
    ],
)
def test_a_completion_ends_before_its_first_stop_text(
    stop: tuple[str, ...], text: str, spans: list[tuple[int, int]], complete: bool
) -> None:
    """A token that holds the end keeps the part of its range before it."""
    tokens = (Token(0, 1, -0.1), Token(1, 3, -0.2), Token(3, 4, -0.3))
    done = cut(Completion("ab]c", False, tokens, 7), stop)
    assert (done.text, done.complete, done.prompt_tokens) == (text, complete, 7)
    assert [(token.start, token.end) for token in done.tokens] == spans
