"""The configured Label Studio: where its files are, and the token that opens them.

Label Studio writes the same file in many ways: `/data/upload/1/cat.jpg`, with the sub-path it
is served under, or as the absolute address that its own settings or a browser know. All of them
become one address below LABEL_STUDIO_URL, the only place that the token is ever sent to. What
lies in a cloud storage is asked of Label Studio too, which has the keys of the bucket.
"""

from __future__ import annotations

import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import quote, unquote

from grounding.errors import DataError, ImageMissing, SettingError, UrlRefused
from grounding.labelstudio.client.api import EXCHANGE_S, Api
from grounding.media.addresses import Origin, Url, is_cloud, read_url
from grounding.media.fetch import FORBIDDEN, UNAUTHORIZED

_MEDIA = re.compile(
    r"/(?:data/upload/|data/local-files(?:/|$)|storage-data/uploaded/"
    r"|(?:tasks|projects)/\d+/(?:resolve|presign)/)"
)
_CLOUD = re.compile(r"/(?:resolve|presign)/$")
_LOCAL = re.compile(r"/data/local-files/?$")
_UPLOAD = re.compile(r"^/?(?:data/)?upload/")
_KEPT_BY_QUOTING = "%/:?#[]@!$&'()*+,;="


class LabelStudioClient:
    """One Label Studio and one user's token there; safe to share between threads.

    `url` is LABEL_STUDIO_URL, its sub-path included. `token` is a personal access token (a
    refresh token in JWT form, exchanged for short-lived access tokens), a legacy token, or
    empty. `public` is the address that its users know it by, where that is another. `clock`
    counts seconds. Raises `SettingError` for an address that cannot be read.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        public: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        home = _setting("LABEL_STUDIO_URL", url)
        self._origin = home.origin
        self._public = _setting("LABEL_STUDIO_HOST", public).origin if public else home.origin
        self._prefix = home.target.rstrip("/")
        self._api = Api(f"{self._origin}{self._prefix}", token, clock=clock)

    def address(self, value: str, task_id: int | None) -> str | None:
        """Return the absolute address of `value` if it lives on this Label Studio, else None.

        A path means what a browser makes of it: something on Label Studio, whatever sub-path
        stands before the files. An address on the public or the loopback host means Label
        Studio too where it looks like one of its files, since users or a browser beside it call
        it so. What lies in a cloud storage lives here by way of its task. Raises `DataError`
        for that without a `task_id`.
        """
        if is_cloud(value):
            return f"{self._origin}{self._prefix}{_presigned(value, task_id)}"
        target = self._target(quote(value, safe=_KEPT_BY_QUOTING))
        return target and f"{self._origin}{target}"

    def refusal(self, url: Url, status: int) -> ImageMissing:
        """Return what an answer of 4xx to `url`, which lives here, amounts to."""
        path = _path(url.target)
        forbidden = status in FORBIDDEN or bool(_CLOUD.search(path))
        return ImageMissing(
            f"{url.shown} answered {status}",
            code="image_forbidden" if forbidden else "image_not_found",
            hint=_cure(status, path),
        )

    def headers(self, url: str, seconds: float = EXCHANGE_S) -> dict[str, str]:
        """Return what authorises `url`: nothing unless it is a file of this Label Studio.

        Files only, because a task must not make us call the rest of the API in the token's
        name. Takes at most `seconds`. Raises `ImageMissing` where Label Studio refuses the
        token and `ImageUnreachable` where it does not answer.
        """
        return self._api.headers(seconds) if self._is_file(url) else {}

    def renew(self) -> bool:
        """Forget the access token, since it was refused, and say whether there can be another."""
        return self._api.renew()

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
        called_so = url.origin == self._public or _is_loopback(url.origin)
        file = called_so and _MEDIA.search(_path(url.target))
        return url.target if file or url.origin == self._origin else None

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


def _setting(name: str, url: str) -> Url:
    try:
        return read_url(url)
    except UrlRefused as exc:
        raise SettingError(f"{name}: {exc.cause}") from exc


def _presigned(uri: str, task_id: int | None) -> str:
    """Return where Label Studio gives the object `uri`, or sends us on to its storage."""
    if task_id is None:
        raise DataError(
            f"{uri.partition('://')[0]}:// addresses are resolved by their task's id, "
            "and this task has none",
            code="task_id_needed",
            hint="Send the id that the task has in Label Studio",
        )
    coded = quote(urlsafe_b64encode(uri.encode()).decode(), safe="")
    return f"/tasks/{task_id}/presign/?fileuri={coded}"


def _cure(status: int, path: str) -> str:
    if status == UNAUTHORIZED:
        return "Set LABEL_STUDIO_API_KEY to a token that Label Studio accepts at present"
    if _CLOUD.search(path):
        return "Add the bucket to the project's cloud storages, and see that its pictures open"
    if _LOCAL.search(path):
        return (
            "Add the folder to the project's storages, "
            "and start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true"
        )
    return "Check that the user of LABEL_STUDIO_API_KEY may see the project"


def _path(target: str) -> str:
    return target.partition("?")[0]


def _is_loopback(origin: Origin) -> bool:
    try:
        return ip_address(origin.host).is_loopback
    except ValueError:
        return origin.host == "localhost"
