"""A server's JSON to a `Completion`: OpenAI's chat completion, or DashScope's own form of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from grounding.engines.base import Completion, Token
from grounding.engines.tokens import spelled
from grounding.errors import EngineError

CUT = "length"
"""The `finish_reason` of an answer that was cut at `max_tokens`."""

ENDED = ("stop", "content_filter")
"""The reasons of answers that are whole; a filtered one is what the server has to say."""


def read_reply(data: bytes, *, native: bool) -> Completion:
    """Return the reply in a response's body.

    Raises `EngineError` (code `reply_unreadable`) where the body is none: not JSON, cut off,
    without an answer, or one that the server itself broke off.
    """
    try:
        body = json.loads(data)
        if native:
            return _native(body["output"]["choices"][0], body.get("usage") or {})
        return _chat(body["choices"][0], body.get("usage") or {})
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as exc:
        raise EngineError(
            f"the server's answer is not a chat completion ({type(exc).__name__})",
            code="reply_unreadable",
            hint="Check that OPENAI_BASE_URL is the API's, such as http://host:8000/v1",
        ) from exc


def _chat(choice: Mapping[str, Any], usage: Mapping[str, Any]) -> Completion:
    return _reply(choice, choice["message"]["content"] or "", usage.get("prompt_tokens"))


def _native(choice: Mapping[str, Any], usage: Mapping[str, Any]) -> Completion:
    parts = choice["message"]["content"]
    text = parts if isinstance(parts, str) else "".join(part.get("text", "") for part in parts)
    return _reply(choice, text, usage.get("input_tokens"))


def _reply(choice: Mapping[str, Any], text: str, prompt_tokens: int | None) -> Completion:
    reason = choice["finish_reason"]
    if reason not in (CUT, *ENDED):
        raise EngineError(
            f"the server broke the answer off ({str(reason)[:40]})", code="reply_unreadable"
        )
    logprobs = (choice.get("logprobs") or {}).get("content") or ()
    return Completion(str(text), reason != CUT, _tokens(str(text), logprobs), prompt_tokens)


def _tokens(text: str, logprobs: Sequence[Mapping[str, Any]]) -> tuple[Token, ...]:
    """Return the tokens that spell `text`; none where they spell something else.

    Behind the text may stand a token that ended it. Where a server changed the text afterwards,
    ranges would point at the wrong words, and no score is better than a wrong one.
    """
    written, ranges = spelled(_bytes(token) for token in logprobs)
    if not written.startswith(text):
        return ()
    places = zip(ranges, logprobs, strict=True)
    return tuple(
        Token(start, min(end, len(text)), float(token["logprob"]))
        for (start, end), token in places
        if start < len(text)
    )


def _bytes(token: Mapping[str, Any]) -> bytes:
    raw = token.get("bytes")
    return bytes(raw) if raw is not None else str(token["token"]).encode()
