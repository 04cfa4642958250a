"""Token ids to text, and where in the text each token stands.

Asking the library to decode ever longer beginnings would give the same places in quadratic
time; here each token's bytes pass a decoder once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from grounding.engines.tokens import Range, spelled


class Detokenizer:
    """Writes out the tokens of one byte-level tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._literal: dict[int, str] = {
            i: token.content for i, token in tokenizer.added_tokens_decoder.items()
        }

    def spell(self, ids: Sequence[int]) -> tuple[str, list[Range]]:
        """Return the text of `ids`, control tokens included, and each token's characters."""
        return spelled(self._bytes(token) for token in ids)

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
