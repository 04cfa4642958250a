"""Text from strangers, made fit to show, to log and to put to a model."""

from __future__ import annotations

import re

UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Controls, marks that turn the direction of writing, and halves of characters. The joiners
U+200C and U+200D stay: Persian and emoji are spelt with them."""


def clean(text: str) -> str:
    """Return `text` on one line, without what cannot be seen, its ends trimmed."""
    return " ".join(UNSEEN.sub("", text).split())


CONTROL_TOKEN = re.compile(r"<\|[^<|>\s]{1,64}\|>")
"""How Qwen's chat markup is spelt: <|im_end|>, <|vision_start|> and their like."""


def plain(text: str, most: int) -> str:
    """Return at most `most` characters of `text`, cleaned, as words that a prompt may quote.

    Chat markup becomes a space: no rest of it can then join to a new one.
    """
    return clean(CONTROL_TOKEN.sub(" ", clean(text)))[:most].rstrip()
