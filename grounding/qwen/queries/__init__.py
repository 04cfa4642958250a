"""The kinds of query: for each one its prompt, its reader and its score.

A new kind is a class in `grounding.queries`, a file here with the four functions, and one line of
`KINDS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from grounding.geometry import Frame
from grounding.queries import (
    Act,
    Count,
    Fill,
    FindSpans,
    Locate,
    ParseDocument,
    Query,
    Transcribe,
)
from grounding.qwen.answers import Answer
from grounding.qwen.prompts import PromptSet
from grounding.qwen.queries import act, count, document, fill, locate, spans, transcribe
from grounding.qwen.scores import Token

KINDS: dict[type[Query], ModuleType] = {
    Locate: locate,
    Fill: fill,
    Transcribe: transcribe,
    ParseDocument: document,
    Count: count,
    Act: act,
    FindSpans: spans,
}


def write_prompt(query: Query, frame: Frame, prompts: PromptSet, *, strict: bool = False) -> str:
    """Return the text that asks the model for `query`; it belongs after the view.

    `frame` is that of the numbers that the model writes about the view. The `strict` prompt is
    the second try, after an answer that could not be read.
    """
    prompt: str = KINDS[type(query)].write_prompt(query, frame, prompts, strict=strict)
    return prompt


def write_system(query: Query, frame: Frame) -> str | None:
    """Return the system text that `query` needs, None where the chat template's own serves."""
    return act.write_system(query, frame) if isinstance(query, Act) else None


def lists_places(query: Query, prompts: PromptSet) -> bool:
    """Say whether the prompt of `query` asks for nothing but a JSON list of places."""
    return isinstance(query, Locate) and locate.lists_places(query, prompts)


def sketch_answer(query: Query, prompts: PromptSet) -> str:
    """Return a text in the form of an answer to `query`, with made-up places and values."""
    sketch: str = KINDS[type(query)].sketch_answer(query, prompts)
    return sketch


def read_answer(
    query: Query, text: str, frame: Frame, *, complete: bool, tokens: Sequence[Token] = ()
) -> Answer:
    """Return what `text` answers to `query`, with scores where `tokens` tell them; never raises.

    `complete` is whether the model ended the text by itself.
    """
    kind = KINDS[type(query)]
    answer: Answer = kind.read_answer(query, text, frame, complete=complete)
    scored: Answer = kind.score_answer(answer, text, tokens)
    return scored
