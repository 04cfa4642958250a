"""Cleans untrusted text before it is shown, logged or put into a prompt."""

from __future__ import annotations

import re

UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters, marks that change the direction of writing, and lone surrogates. The joiners
U+200C and U+200D stay, because Persian and emoji need them."""


def clean(text: str) -> str:
    """Return `text` on one line, trimmed and without invisible characters."""
    return " ".join(UNSEEN.sub("", text).split())


CONTROL_TOKEN = re.compile(r"<\|[^<|>\s]{1,64}\|>")
"""Qwen's chat markup, such as <|im_end|> and <|vision_start|>."""


def strip_markup(text: str, max_chars: int) -> str:
    """Return at most `max_chars` characters of `text`, cleaned and without chat markup.

    Markup becomes a space, so that the text around it cannot join to new markup.
    """
    return clean(CONTROL_TOKEN.sub(" ", clean(text)))[:max_chars].rstrip()
