"""Which part of a text is the answer: thinking goes, and what stands in <answer> stays."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_TEXT = 1 << 17
"""Characters of an answer that are read: what fits into 32,000 tokens of boxes."""

_WRAPPER = re.compile(
    r"<\s*+(/?)\s*+(think|thinking|thought|reasoning|reflection|answer)\s*+>", re.I
)
_ESCAPED_KEY = re.compile(r'[\[{]\s*+\\"')
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Body(NamedTuple):
    """The text with all but the answer blanked, so that offsets stay; `cut` in the wrapper."""

    text: str
    cut: bool


def body(text: str) -> Body:
    """Return the part of `text` that is the answer.

    Thinking without its opening tag reaches back to the start; without its closing tag it
    reaches to the end, and the answer was never begun.
    """
    text = _UNSTORABLE.sub("\ufffd", text[:MAX_TEXT])
    start, end, cut = _bounds(text)
    text = " " * start + text[start:end]
    return Body(_without_escaped_quotes(text), cut)


def _bounds(text: str) -> tuple[int, int, bool]:
    start, end = 0, len(text)
    thinking = -1
    answering = False
    for match in _WRAPPER.finditer(text):
        closes, is_answer = match[1] == "/", match[2].lower() == "answer"
        if is_answer and not closes:
            start, end, thinking, answering = match.end(), len(text), -1, True
        elif is_answer and start <= match.start():
            end, answering = min(end, match.start()), False
        elif closes and match.end() <= end:
            start, thinking = match.end(), -1
        elif not closes and thinking < 0:
            thinking = match.start()
    if thinking >= 0 and thinking < end:
        return start, max(start, thinking), True
    return start, end, answering


def _without_escaped_quotes(text: str) -> str:
    """Undo one level of escaping, in place, where a whole answer was written as a string."""
    if _ESCAPED_KEY.search(text) and text.count('"') - text.count('\\"') <= 2:
        return text.replace('\\"', ' "').replace("\\n", "  ")
    return text
