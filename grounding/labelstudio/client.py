"""The configured Label Studio: where its files are, and the token that opens them.

Label Studio writes the same file in many ways: `/data/upload/1/cat.jpg`, with the sub-path it
is served under, or as the absolute address that its own settings or a browser know. All of them
become one address below LABEL_STUDIO_URL, the only place that the token is ever sent to.
"""

from __future__ import annotations

import re
import threading
from urllib.parse import quote, urlsplit

import httpx

from grounding.errors import SettingError, UrlRefused

ACCESS_S = 300
"""Seconds that Label Studio 1.23's access tokens live."""

MARGIN_S = 30
"""An access token is renewed this many seconds early: longer than one fetch may take."""

TIMEOUT = httpx.Timeout(10, connect=3)

CLOUD = ("s3", "gs", "azure-blob")

_MEDIA = re.compile(
    r"/(data/upload/|data/local-files/|storage-data/uploaded/"
    r"|(tasks|projects)/\d+/(resolve|presign)/)"
)
_BARE_UPLOAD = re.compile(r"(data/)?upload/")
_SAFE = "/%:@!$&'()*+,;=-._~?#[]"


class LabelStudioClient:
    """One Label Studio and one user's token there; safe to share between threads.

    `url` is LABEL_STUDIO_URL, its sub-path included. `token` is a personal access token (a
    refresh token in JWT form, exchanged for short-lived access tokens), a legacy token, or
    empty. Raises `SettingError` for a URL that is none.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self._base = url.rstrip("/")
        self._parts = urlsplit(self._base)
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise SettingError("LABEL_STUDIO_URL is no http(s) address")
        self._token = token
        self._access = ""
        self._access_ends = 0.0
        self._lock = threading.Lock()

    def address(self, value: str, task_id: int | None) -> str | None:
        """Return the absolute address of `value` if it lives on this Label Studio, else None.

        A path means what a browser makes of it: a file on Label Studio, whatever the sub-path
        before it. An address of the loopback host does so only if it looks like a file of Label
        Studio's, since it is how a browser beside Label Studio calls it. `task_id` is what
        addresses in cloud storage are resolved by. Raises `UrlRefused` for those and for local
        files, which are not fetched yet.
        """
        parts = _split(value)
        if parts is None:
            return None
        if parts.scheme in CLOUD:
            raise UrlRefused(
                f"{parts.scheme}:// addresses are not fetched yet",
                hint="Import http(s) addresses of the objects",
            )
        path = self._path(parts)
        if path is None:
            return None
        if "/data/local-files" in path:
            raise UrlRefused(
                "files of Label Studio's local storage are not fetched yet",
                hint="Upload the images, or import http(s) addresses of them",
            )
        query = f"?{parts.query}" if parts.query else ""
        return quote(path + query, safe=_SAFE)
