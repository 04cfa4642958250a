"""The configured Label Studio: where its files are, and the token that opens them.

Label Studio writes the same file in many ways: `/data/upload/1/cat.jpg`, with the sub-path it
is served under, or as the absolute address that its own settings or a browser know. All of them
become one address below LABEL_STUDIO_URL, the only place that the token is ever sent to.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import quote, unquote

from grounding.errors import SettingError, UrlRefused
from grounding.images.addresses import Origin, read_url
from grounding.labelstudio.api import Api

CLOUD = ("s3", "gs", "azure-blob")
"""Schemes of cloud storage, which Label Studio alone can resolve."""

_MEDIA = re.compile(
    r"/(?:data/upload|data/local-files|storage-data/uploaded"
    r"|(?:tasks|projects)/\d+/(?:resolve|presign))/"
)
_UPLOAD = re.compile(r"^/?(?:data/)?upload/")
_KEPT_BY_QUOTING = "%/:?#[]@!$&'()*+,;="


class LabelStudioClient:
    """One Label Studio and one user's token there; safe to share between threads.

    `url` is LABEL_STUDIO_URL, its sub-path included. `token` is a personal access token (a
    refresh token in JWT form, exchanged for short-lived access tokens), a legacy token, or
    empty. `clock` counts seconds. Raises `SettingError` for a URL that cannot be read.
    """

    def __init__(
        self, url: str, token: str = "", *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        try:
            home = read_url(url)
        except UrlRefused as exc:
            raise SettingError(f"LABEL_STUDIO_URL: {exc.cause}") from exc
        self._origin = home.origin
        self._prefix = home.target.rstrip("/")
        self._api = Api(f"{self._origin}{self._prefix}", token, clock=clock)

    def address(self, value: str, task_id: int | None) -> str | None:
        """Return the absolute address of `value` if it lives on this Label Studio, else None.

        A path means what a browser makes of it: something on Label Studio, whatever sub-path
        stands before the files. An address on the loopback host means Label Studio too where it
        looks like one of its files, since a browser beside it calls it so. `task_id` is what
        cloud addresses are resolved by. Raises `UrlRefused` for those and for Label Studio's
        local storage, which cannot be fetched yet.
        """
        scheme = value.partition("://")[0].lower()
        if scheme in CLOUD:
            raise UrlRefused(
                f"{scheme}:// addresses cannot be fetched",
                hint="Import http(s) addresses of the objects",
            )
        target = self._target(quote(value, safe=_KEPT_BY_QUOTING))
        if target and "/data/local-files/" in _path(target):
            raise UrlRefused(
                "files of Label Studio's local storage cannot be fetched",
                hint="Upload the images, or import http(s) addresses of them",
            )
        return target and f"{self._origin}{target}"

    def headers(self, url: str) -> dict[str, str]:
        """Return what authorises `url`: nothing unless it is a file of this Label Studio.

        Files only, because a task must not make us call the rest of the API in the token's
        name. Raises `ImageMissing` where Label Studio refuses the token and `ImageUnreachable`
        where it does not answer.
        """
        return self._api.headers() if self._is_file(url) else {}

    def renew(self) -> None:
        """Forget the access token, since it was refused; the next `headers` gets a new one."""
        self._api.renew()

    def _target(self, value: str) -> str | None:
        """Return path and query on this Label Studio, or None where `value` lives elsewhere."""
        target = _UPLOAD.sub("/data/upload/", value)
        if not target.startswith("/") or target.startswith("//"):
            found = self._own_target(target)
            if found is None:
                return None
            target = found
        file = _MEDIA.search(_path(target))
        return self._prefix + target[file.start() :] if file else target

    def _own_target(self, value: str) -> str | None:
        try:
            url = read_url(value)
        except UrlRefused:
            return None
        local = _is_loopback(url.origin) and _MEDIA.search(_path(url.target))
        return url.target if local or url.origin == self._origin else None

    def _is_file(self, url: str) -> bool:
        read = read_url(url)
        # Decoded, since servers decode before they route: `/data/upload/%2e%2e/` is no file.
        path = unquote(_path(read.target))
        return (
            read.origin == self._origin
            and path.startswith(self._prefix)
            and bool(_MEDIA.match(path, len(self._prefix)))
            and ".." not in path.split("/")
        )


def _path(target: str) -> str:
    return target.partition("?")[0]


def _is_loopback(origin: Origin) -> bool:
    try:
        return ip_address(origin.host).is_loopback
    except ValueError:
        return origin.host == "localhost"
