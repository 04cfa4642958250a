"""Finds a task's files on the configured Label Studio, and authorizes the requests for them.

Label Studio writes the address of one file in many ways: `/data/upload/1/cat.jpg`, the same with
the sub-path that it is served under, or an absolute address from its own settings or a browser.
All of them become one address below LABEL_STUDIO_URL, the only place that gets the token. A file
in a cloud storage is requested from Label Studio too, because that has the bucket's keys.
"""

from __future__ import annotations

import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import parse_qs, quote, unquote

from grounding.errors import DataError, ImageMissing, SettingError, UrlRefused
from grounding.labelstudio.client.api import EXCHANGE_SECONDS, KEY_NEEDED, Api
from grounding.media.addresses import Origin, Url, is_cloud, read_url
from grounding.media.fetch import FORBIDDEN, UNAUTHORIZED
from grounding.waiting import Check, no_check

MISSING_KEY = f"{KEY_NEEDED}: set it to the access token of a user who may see the project"

FOREIGN = "the address is a file of another {} of Label Studio"
FOREIGN_HINT = "Import the picture into this project, so that its address is the project's own"

_MEDIA = re.compile(
    r"/(?:data/upload/|data/local-files(?:/|$)|storage-data/uploaded/"
    r"|(?:tasks|projects)/\d+/(?:resolve|presign)/)"
)
_CLOUD = re.compile(r"/(?:resolve|presign)/$")
_LOCAL = re.compile(r"/data/local-files/?$")
_UPLOAD = re.compile(r"^/?(?:data/)?upload/")
_OF_PROJECT = re.compile(r"^/(?:data/upload|projects)/([^/]*)")
_OF_TASK = re.compile(r"^/tasks/(\d+)/(?:resolve|presign)/")
_PERSISTENT = "/storage-data/uploaded/"
_KEPT_BY_QUOTING = "%/:?#[]@!$&'()*+,;="


class LabelStudioClient:
    """One Label Studio and one user's token; safe to share between threads.

    `url` is LABEL_STUDIO_URL with its sub-path. `token` is a personal access token (a refresh
    token in JWT form, exchanged for short-lived access tokens), a legacy token, or empty.
    `public` is the address that its users open, if that is another. `clock` returns seconds.
    Raises `SettingError` for an address that cannot be read.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        public: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        home = _read_setting("LABEL_STUDIO_URL", url)
        self._origin = home.origin
        self._public = _read_setting("LABEL_STUDIO_HOST", public).origin if public else home.origin
        self._prefix = home.target.rstrip("/")
        self._api = Api(f"{self._origin}{self._prefix}", token, clock=clock)

    def address(self, value: str, task_id: int | None) -> str | None:
        """Return the absolute address of `value` if it is on this Label Studio, else None.

        A path is on Label Studio, as in a browser, whatever sub-path precedes the file. An
        address on the public or the loopback host is on Label Studio too if it looks like one of
        its files, because users and local browsers see such addresses. An object in a cloud
        storage is there through its task. Raises `DataError` for one without a `task_id`.
        """
        if is_cloud(value):
            return f"{self._origin}{self._prefix}{_presign_path(value, task_id)}"
        target = self._target(quote(value, safe=_KEPT_BY_QUOTING))
        return target and f"{self._origin}{target}"

    def check_owner(self, value: str, task_id: int | None, project: str) -> None:
        """Raise `UrlRefused` for a file of another project or task than `value` stands in.

        The token may see every project of its user, and whoever writes a task may not. An upload
        has its project in its path, a presigned address its task. A file of the local storage
        has neither, so it is not bound. Without `project`, its number, neither is an upload.
        """
        target = None if is_cloud(value) else self._target(quote(value, safe=_KEPT_BY_QUOTING))
        if target is None:
            return
        # As it is requested: /data/upload/1/../2/ is an upload of 2.
        requested = read_url(f"{self._origin}{target}").target
        path = _owned_path(requested.removeprefix(self._prefix))
        owner, task = _OF_PROJECT.match(path), _OF_TASK.match(path)
        number = project.partition(".")[0]
        is_odd = ".." in path.split("/")
        if number and (is_odd or (owner and owner[1] != number)):
            raise UrlRefused(FOREIGN.format("project"), hint=FOREIGN_HINT)
        if task and task[1] != str(task_id):
            raise UrlRefused(FOREIGN.format("task"), hint=FOREIGN_HINT)

    def refusal(self, url: Url, status: int) -> ImageMissing:
        """Return the error for a 4xx response to `url`, which is on this Label Studio."""
        path = _path(url.target)
        forbidden = status in FORBIDDEN or bool(_CLOUD.search(path))
        return ImageMissing(
            f"{url.shown} answered {status}",
            code="image_forbidden" if forbidden else "image_not_found",
            hint=_choose_hint(status, path) if self._api.has_token else MISSING_KEY,
        )

    def page_hint(self) -> str:
        """Return the cure where this Label Studio answers with a web page: it asks for a login."""
        return "got text/html: is a login needed?" if self._api.has_token else MISSING_KEY

    def headers(
        self, url: str, seconds: float = EXCHANGE_SECONDS, check: Check = no_check
    ) -> dict[str, str]:
        """Return the headers that authorize `url`; none unless it is a file of this Label Studio.

        Only files, because a task must not make us call the rest of the API with the token.
        Takes at most `seconds`. Raises `ImageMissing` if Label Studio refuses the token,
        `ImageUnreachable` if it does not answer, and what `check` does while it waits.
        """
        return self._api.headers(seconds, check) if self._is_file(url) else {}

    def renew(self) -> bool:
        """Forget the access token, which was refused; return whether there can be another."""
        return self._api.renew()

    def _target(self, value: str) -> str | None:
        """Return path and query on this Label Studio, or None if `value` is elsewhere."""
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
        is_alias = url.origin == self._public or _is_loopback(url.origin)
        file = is_alias and _MEDIA.search(_path(url.target))
        return url.target if file or url.origin == self._origin else None

    def _is_file(self, url: str) -> bool:
        read = read_url(url)
        # Decoded, since servers decode before they route: `/data/upload/%2e%2e/` is no file.
        path = _decode(_path(read.target))
        return (
            read.origin == self._origin
            and path.startswith(self._prefix)
            and bool(_MEDIA.match(path, len(self._prefix)))
            and ".." not in path.split("/")
        )


def _read_setting(name: str, url: str) -> Url:
    try:
        return read_url(url)
    except UrlRefused as exc:
        raise SettingError(f"{name}: {exc.cause}") from exc


def _presign_path(uri: str, task_id: int | None) -> str:
    """Return the path where Label Studio serves the object `uri` or redirects to its storage."""
    if task_id is None:
        raise DataError(
            f"{uri.partition('://')[0]}:// addresses are resolved by their task's id, "
            "and this task has none",
            code="task_id_needed",
            hint="Send the id that the task has in Label Studio",
        )
    encoded = quote(urlsafe_b64encode(uri.encode()).decode(), safe="")
    return f"/tasks/{task_id}/presign/?fileuri={encoded}"


def _choose_hint(status: int, path: str) -> str:
    if status == UNAUTHORIZED:
        return "Set LABEL_STUDIO_API_KEY to a token that Label Studio accepts"
    if _CLOUD.search(path):
        return "Add the bucket to the project's cloud storages, and see that its pictures open"
    if _LOCAL.search(path):
        return (
            "Add the folder to the project's storages, "
            "and start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true"
        )
    return "Check that the user of LABEL_STUDIO_API_KEY may see the project"


def _owned_path(target: str) -> str:
    """Return the path that tells whose a file is, decoded at least as often as by Label Studio.

    It decodes the name of a stored upload twice, and stores nothing else that is a task's.
    """
    path, _, query = target.partition("?")
    path = _decode(path)
    if path.startswith(_PERSISTENT):
        names = parse_qs(query).get("filepath", [""])
        return f"/data/upload/{_decode(names[-1]).lstrip('/').removeprefix('upload/')}"
    return path


def _decode(path: str) -> str:
    """Return `path` without any percent-encoding, however often it was encoded."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return path


def _path(target: str) -> str:
    return target.partition("?")[0]


def _is_loopback(origin: Origin) -> bool:
    try:
        return ip_address(origin.host).is_loopback
    except ValueError:
        return origin.host == "localhost"
