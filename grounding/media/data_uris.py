"""Pictures inside a task itself: what a data: URI holds."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from grounding.errors import ImageTooLarge, ImageUnreadable


def is_inline(value: str) -> bool:
    """Say whether `value` is a data: URI."""
    return value[:5].lower() == "data:"


def inline(uri: str, max_bytes: int) -> bytes:
    """Return the bytes that a data: URI holds (RFC 2397), at most `max_bytes`.

    Raises `ImageTooLarge` where there are more and `ImageUnreadable` where it cannot be decoded.
    """
    head, comma, tail = uri.partition(",")
    if not comma or not uri.isascii():
        raise ImageUnreadable("the data: address cannot be read")
    # Three characters a byte is the longest form, %41; so this bounds what is decoded at all.
    body = unquote_to_bytes(tail) if len(tail) <= 3 * max_bytes else b""
    if head.lower().replace(" ", "").endswith(";base64"):
        body = _base64(body)
    if len(body) > max_bytes or len(tail) > 3 * max_bytes:
        raise ImageTooLarge(f"the data: address holds more than {max_bytes} bytes")
    return body


def _base64(text: bytes) -> bytes:
    """Decode as browsers do: white space and padding do not matter, anything else does."""
    packed = b"".join(text.split()).rstrip(b"=")
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except binascii.Error as exc:
        raise ImageUnreadable("the data: address holds no valid base64") from exc
