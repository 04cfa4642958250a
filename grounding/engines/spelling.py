"""Token ids to text, and where in the text each token stands.

Qwen's tokenizers are byte-level: a token is a run of UTF-8 bytes, and a Chinese character may be
spread over three of them. Asking the library to decode ever longer beginnings would give the
same places in quadratic time; here the bytes pass a decoder once.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from functools import cache

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

Range = tuple[int, int]
"""Half-open range of characters."""


class Speller:
    """Writes out the tokens of one byte-level tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._literal: dict[int, str] = {
            i: token.content for i, token in tokenizer.added_tokens_decoder.items()
        }

    def spell(self, ids: Sequence[int]) -> tuple[str, list[Range]]:
        """Return the text of `ids`, control tokens included, and each token's characters.

        A token that holds only some bytes of a character has that whole character in its range,
        so the ranges of neighbours may overlap by one. Bytes that are no UTF-8 become U+FFFD.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        text, ranges = "", []
        for token in ids:
            start = len(text)
            text += decoder.decode(self._bytes(token))
            unfinished = bool(decoder.getstate()[0])
            ranges.append((start, len(text) + unfinished))
        return text + decoder.decode(b"", final=True), ranges

    def _bytes(self, token: int) -> bytes:
        if token in self._literal:
            return self._literal[token].encode()
        alphabet = _alphabet()
        # None for an id that the model has but the tokenizer has not: models pad their vocabulary.
        piece: str | None = self._tokenizer.convert_ids_to_tokens(token)
        return bytes(alphabet[c] for c in piece or "")


@cache
def _alphabet() -> dict[str, int]:
    """Invert the printable stand-ins that byte-level vocabularies use for the 256 bytes."""
    return {character: byte for byte, character in bytes_to_unicode().items()}
