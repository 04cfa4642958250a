"""Finds the answer in a text: removes thinking, and keeps only the content of <answer>."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_TEXT = 1 << 17
"""Characters of an answer that are read; about 32,000 tokens of boxes."""

_WRAPPER = re.compile(
    r"<\s*+(/?)\s*+(think|thinking|thought|reasoning|reflection|answer)\s*+>", re.I
)
_ESCAPED_KEY = re.compile(r'[\[{]\s*+\\"')
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Extracted(NamedTuple):
    """The answer, with blanks for the text before it (offsets stay); `cut`: a tag is unclosed."""

    text: str
    cut: bool


def extract_answer(text: str) -> Extracted:
    """Return the part of `text` that is the answer.

    Thinking without its opening tag begins at the start of the text. Thinking without its
    closing tag ends at the end of the text, and there is no answer.
    """
    text = _UNSTORABLE.sub("\ufffd", text[:MAX_TEXT])
    start, end, cut = _find_bounds(text)
    text = " " * start + text[start:end]
    return Extracted(_unescape_quotes(text), cut)


def _find_bounds(text: str) -> tuple[int, int, bool]:
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


def _unescape_quotes(text: str) -> str:
    """Remove one level of escaping, keeping offsets, where the answer is one JSON string."""
    if _ESCAPED_KEY.search(text) and text.count('"') - text.count('\\"') <= 2:
        return text.replace('\\"', ' "').replace("\\n", "  ")
    return text
