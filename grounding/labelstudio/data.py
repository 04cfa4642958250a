"""Finds what a config names in a task's data, and brings foreign words into a form of ours."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from grounding.errors import DataError
from grounding.labelstudio.config.xml import quote

MAX_KEYS_SHOWN = 20

UNDEFINED_KEY = "$undefined$"
"""Label Studio's key for data that was imported before a config named a key."""

PATH_STEP = re.compile(r"[^.\[\]]+")
INDEX = re.compile("[0-9]{1,9}")


def find_image_address(data: Mapping[str, Any], key: str) -> str:
    """Return the address of one picture that a task's data has for `value="$key"` of an image.

    Raises `DataError`: its text names the key, and the keys present if nothing is there, but
    never a value.
    """
    found = find_field(data, key)
    if found is None:
        found = data.get(UNDEFINED_KEY)
    if found is None:
        raise DataError(describe_missing(data, key), code="image_key_missing")
    if isinstance(found, list):
        raise DataError(
            f'the task\'s data has a list under "{quote(key)}", where one picture belongs',
            code="multi_image_unsupported",
            hint="Import one picture per task",
        )
    if not isinstance(found, str) or not found:
        raise DataError(f'the task\'s data has no address of a picture under "{quote(key)}"')
    return found


def find_field(data: Mapping[str, Any], key: str) -> object:
    """Return the value of `key`, a plain key or a path such as a.b or a[0]; None without one."""
    plain = data.get(key)
    return _at_path(data, key) if plain is None else plain


def describe_missing(data: Mapping[str, Any], key: str) -> str:
    """Return the message for a key that a task's data lacks; it lists the keys present."""
    present = ", ".join(sorted(quote(str(name)) for name in data)[:MAX_KEYS_SHOWN]) or "none"
    return f'the task\'s data has nothing under "{quote(key)}"; its keys: {present}'


def _at_path(data: Mapping[str, Any], key: str) -> Any:
    found: Any = data
    for step in PATH_STEP.findall(key):
        found = _step(found, step)
    return found


def _step(found: Any, step: str) -> Any:
    if isinstance(found, Mapping):
        return found.get(step)
    if isinstance(found, Sequence) and not isinstance(found, str) and INDEX.fullmatch(step):
        return found[int(step)] if int(step) < len(found) else None
    return None


UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters, marks that change the direction of writing, and lone surrogates. The joiners
U+200C and U+200D stay, because Persian and emoji need them."""


def clean(text: str) -> str:
    """Return `text` on one line, trimmed and without invisible characters."""
    return " ".join(UNSEEN.sub("", text).split())


_SEPARATORS = re.compile(r"[\W_]+")


def fold(text: str) -> str:
    """Return the letters and digits of a text in one form: without case, spaces and punctuation."""
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", text).casefold())


CONTROL_TOKEN = re.compile(r"<\|[^<|>\s]{1,64}\|>")
"""Qwen's chat markup, such as <|im_end|> and <|vision_start|>."""


def strip_markup(text: str, max_chars: int) -> str:
    """Return at most `max_chars` characters of `text`, cleaned and without chat markup.

    Markup becomes a space, so that the text around it cannot join to new markup.
    """
    return clean(CONTROL_TOKEN.sub(" ", clean(text)))[:max_chars].rstrip()
