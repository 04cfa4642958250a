"""Tokens to text, and where in the text each of them stands.

Qwen's tokenizers are byte-level: a Chinese character may take three tokens. The local engine has
tokens as ids, a server sends them as bytes; both need the same character ranges. Here each
token's bytes pass a decoder once; asking a library to decode ever longer prefixes would give the
same ranges in quadratic time.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from grounding.engines.base import Completion, Token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Range = tuple[int, int]
"""Half-open range of characters."""


def locate(tokens: Iterable[bytes]) -> tuple[str, list[Range]]:
    """Return the text of the tokens' bytes, and each token's characters.

    A token that holds only some bytes of a character has that whole character in its range,
    so the ranges of neighbours may overlap by one. Bytes that are no UTF-8 become U+FFFD.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text, ranges = "", []
    for token in tokens:
        start = len(text)
        text += decoder.decode(token)
        unfinished = bool(decoder.getstate()[0])
        ranges.append((start, len(text) + unfinished))
    return text + decoder.decode(b"", final=True), ranges


def find_stop(text: str, stop: Iterable[str]) -> int | None:
    """Return where the first of the `stop` texts begins in `text`; None where none occurs."""
    found = [place for one in stop if (place := text.find(one)) >= 0]
    return min(found, default=None)


def clip(tokens: Iterable[Token], length: int) -> tuple[Token, ...]:
    """Return the tokens of the first `length` characters, with no range beyond them."""
    return tuple(
        Token(token.start, min(token.end, length), token.logprob)
        for token in tokens
        if token.start < length
    )


def cut(completion: Completion, stop: Sequence[str]) -> Completion:
    """Return the completion up to the first of the `stop` texts, complete where one occurs."""
    end = find_stop(completion.text, stop)
    if end is None:
        return completion
    tokens = clip(completion.tokens, end)
    return Completion(completion.text[:end], True, tokens, completion.prompt_tokens)


class Detokenizer:
    """Writes out the ids of one byte-level tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._literal: dict[int, str] = {
            i: token.content for i, token in tokenizer.added_tokens_decoder.items()
        }

    def decode(self, ids: Sequence[int]) -> tuple[str, list[Range]]:
        """Return the text of `ids`, control tokens included, and each token's characters."""
        return locate(self.bytes_of(token) for token in ids)

    def bytes_of(self, token: int) -> bytes:
        """Return the UTF-8 bytes of one id; none for an id that only the model has."""
        if token in self._literal:
            return self._literal[token].encode()
        alphabet = _alphabet()
        # Models pad their vocabulary beyond the tokenizer's; such an id has no text.
        written: str | None = self._tokenizer.convert_ids_to_tokens(token)
        return bytes(alphabet[c] for c in written or "")


@cache
def _alphabet() -> dict[str, int]:
    """Invert the printable characters that byte-level vocabularies write for the 256 bytes."""
    # Imported here, because a worker of a remote engine has no transformers.
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {character: byte for byte, character in bytes_to_unicode().items()}
