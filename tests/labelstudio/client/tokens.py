"""Tokens in Label Studio's forms, and fetches with them from a host in Label Studio's place."""

from __future__ import annotations

import base64
import json
import re

from grounding.labelstudio.client.files import LabelStudioClient
from grounding.media.fetch import Fetcher, FetchRules
from tests.media.hosts import Host, ok

LEGACY = "0123456789abcdef0123456789abcdef01234567"
FILE = "/data/upload/1/cat.jpg"


def jwt(kind: str) -> str:
    """Return a token in the form of Label Studio's that no server accepts."""
    parts = ({"alg": "HS256"}, {"token_type": kind}, {"signature": kind})
    texts = (json.dumps(part).encode() for part in parts)
    return ".".join(base64.urlsafe_b64encode(text).decode().rstrip("=") for text in texts)


PERSONAL = jwt("refresh")


def access(name: str) -> bytes:
    """Return the response to an exchange of tokens."""
    return ok(json.dumps({"access": name}).encode(), "Content-Type: application/json")


def authorization(request: str) -> str | None:
    """Return the value of a request's Authorization field, or None without one."""
    found = re.search(r"^Authorization: (.*)\r$", request, re.MULTILINE | re.IGNORECASE)
    return found and found[1]


def fetch(value: str, server: Host, token: str = LEGACY, *allowed: Host) -> bytes:
    """Fetch `value` for task 7, with `server` as Label Studio."""
    rules = FetchRules(frozenset(h.origin for h in allowed), pause_s=0.01)
    return Fetcher(rules, LabelStudioClient(server.origin, token)).fetch(value, 7)
