"""Tokens as runs of UTF-8 bytes, and where in the text each of them stands.

Qwen's tokenizers are byte-level: a Chinese character may be spread over three tokens. Both
engines get tokens, one as ids and one as bytes over HTTP, and both want the same places.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable

Range = tuple[int, int]
"""Half-open range of characters."""


def spelled(pieces: Iterable[bytes]) -> tuple[str, list[Range]]:
    """Return the text of the tokens' bytes, and each token's characters.

    A token that holds only some bytes of a character has that whole character in its range,
    so the ranges of neighbours may overlap by one. Bytes that are no UTF-8 become U+FFFD.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text, ranges = "", []
    for piece in pieces:
        start = len(text)
        text += decoder.decode(piece)
        unfinished = bool(decoder.getstate()[0])
        ranges.append((start, len(text) + unfinished))
    return text + decoder.decode(b"", final=True), ranges
