"""What is read from a server's JSON."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.engines.base import Token
from grounding.engines.remote.client import read_completion
from grounding.errors import EngineError


def body(text: str, pieces: list[bytes] | None, reason: str = "stop") -> bytes:
    content = [{"token": "", "bytes": list(p), "logprob": -0.5} for p in pieces or []]
    choice = {
        "message": {"content": text},
        "finish_reason": reason,
        "logprobs": {"content": content} if pieces is not None else None,
    }
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7}}).encode()


def ranges(data: bytes) -> list[tuple[int, int]]:
    return [(t.start, t.end) for t in read_completion(data, native=False).tokens]


@pytest.mark.parametrize(
    ("text", "pieces", "places"),
    [
        ("ab", [b"a", b"b"], [(0, 1), (1, 2)]),
        ("猫", ["猫".encode()[:1], "猫".encode()[1:]], [(0, 1), (0, 1)]),
        ("ab", [b"a", b"b", b"<|im_end|>"], [(0, 1), (1, 2)]),
        ("ab", [b"a", b"bc"], [(0, 1), (1, 2)]),
        ("ab", [b" a", b"b"], []),
        ("ab", [b"a"], []),
        ("ab", None, []),
        ("", [b"<|im_end|>"], []),
    ],
    ids=["plain", "split", "with its end", "beyond", "changed", "too few", "none", "empty"],
)
def test_tokens_stand_where_they_are_in_the_text(
    text: str, pieces: list[bytes] | None, places: list[tuple[int, int]]
) -> None:
    assert ranges(body(text, pieces)) == places


@given(st.text(max_size=40), st.data())
def test_however_a_text_is_cut_into_tokens_they_cover_it(text: str, data: st.DataObject) -> None:
    whole = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(whole) - 1)))))
    edges = [0, *[c for c in cuts if c < len(whole)], len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(edges)]
    covered = {c for start, end in ranges(body(text, pieces)) for c in range(start, end)}
    assert covered == set(range(len(text)))


def test_a_token_without_bytes_is_its_text() -> None:
    token = {"token": "[]", "bytes": None, "logprob": -1.5}
    choice = {"message": {"content": "[]"}, "finish_reason": "stop"}
    data = {"choices": [choice | {"logprobs": {"content": [token]}}]}
    reply = read_completion(json.dumps(data).encode(), native=False)
    assert reply.tokens == (Token(0, 2, -1.5),)
    assert reply.prompt_tokens is None


@pytest.mark.parametrize(
    ("reason", "complete"), [("stop", True), ("length", False), ("repetition", False)]
)
def test_an_answer_cut_at_its_length_or_in_a_loop_is_not_complete(
    reason: str, complete: bool
) -> None:
    assert read_completion(body("[]", None, reason), native=False).complete is complete


@pytest.mark.parametrize("content", ["[]", [{"text": "["}, {"text": "]"}]])
def test_dashscopes_own_form_is_text_or_parts(content: Any) -> None:
    choice = {"message": {"content": content}, "finish_reason": "stop"}
    data = {"output": {"choices": [choice]}, "usage": {"input_tokens": 9}}
    reply = read_completion(json.dumps(data).encode(), native=True)
    assert (reply.text, reply.prompt_tokens) == ("[]", 9)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"\xff\xfe",
        b'{"choices": [{"message": {"content": "["}, "finish_reason": null}]}',
        b'{"choices": [{"message": null, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "logprobs": 3}]}',
        b"[" * 100_000,
    ],
    ids=["empty", "null", "no utf-8", "unfinished", "no message", "odd", "deep"],
)
@pytest.mark.parametrize("native", [True, False])
def test_a_body_without_an_answer_is_an_engine_error(data: bytes, native: bool) -> None:
    with pytest.raises(EngineError) as caught:
        read_completion(data, native=native)
    assert caught.value.code == "completion_unreadable"
