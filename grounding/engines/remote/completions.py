"""A server's JSON to a `Completion`: OpenAI's chat completion, or DashScope's own form of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from grounding.engines.base import Completion, Token
from grounding.engines.detokenizer import clip, locate
from grounding.errors import EngineError

CUT = "length"
"""The `finish_reason` of an answer that was cut at `max_tokens`."""

ENDED = ("stop", "content_filter")
"""The reasons of answers that are whole; a filtered one is all that the server will say."""


def read_completion(data: bytes, *, native: bool) -> Completion:
    """Return the completion in a response's body, in DashScope's own form if `native`.

    Raises `EngineError` (code `completion_unreadable`) where there is none: no JSON, a body cut
    short, no answer in it, or an answer that the server itself broke off.
    """
    try:
        body = json.loads(data)
        if native:
            return _read_native(body["output"]["choices"][0], body.get("usage") or {})
        return _read_chat(body["choices"][0], body.get("usage") or {})
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as exc:
        raise EngineError(
            f"the server's answer is not a chat completion ({type(exc).__name__})",
            code="completion_unreadable",
            hint="Check that OPENAI_BASE_URL is the API's, such as http://host:8000/v1",
        ) from exc


def _read_chat(choice: Mapping[str, Any], usage: Mapping[str, Any]) -> Completion:
    return _read(choice, choice["message"]["content"] or "", usage.get("prompt_tokens"))


def _read_native(choice: Mapping[str, Any], usage: Mapping[str, Any]) -> Completion:
    parts = choice["message"]["content"]
    text = parts if isinstance(parts, str) else "".join(part.get("text", "") for part in parts)
    return _read(choice, text, usage.get("input_tokens"))


def _read(choice: Mapping[str, Any], text: str, prompt_tokens: int | None) -> Completion:
    reason = choice["finish_reason"]
    if reason not in (CUT, *ENDED):
        raise EngineError(
            f"the server broke the answer off ({str(reason)[:40]})", code="completion_unreadable"
        )
    logprobs = (choice.get("logprobs") or {}).get("content") or ()
    return Completion(str(text), reason != CUT, _read_tokens(str(text), logprobs), prompt_tokens)


def _read_tokens(text: str, logprobs: Sequence[Mapping[str, Any]]) -> tuple[Token, ...]:
    """Return the tokens of `text`; none where their bytes are another text.

    Behind the text may stand the token that ended it. Where a server changed the text afterwards,
    ranges would point at the wrong words, and no score is better than a wrong one.
    """
    written, ranges = locate(_read_bytes(token) for token in logprobs)
    if not written.startswith(text):
        return ()
    tokens = (
        Token(start, end, float(token["logprob"]))
        for (start, end), token in zip(ranges, logprobs, strict=True)
    )
    return clip(tokens, len(text))


def _read_bytes(token: Mapping[str, Any]) -> bytes:
    raw = token.get("bytes")
    return bytes(raw) if raw is not None else str(token["token"]).encode()
