"""Fetches the bytes of the picture or film that a task names, safely.

Each URL takes these steps: parse it strictly (`addresses`), look its host up once, check every IP
address found, connect to one of them, and read the response within limits of time and size. A
redirect starts over from the first step. Proxies, netrc and cookies of the environment are
ignored, and nothing is decompressed. httpcore makes the connection, because it can connect to a
checked IP address while the TLS certificate and `Host` are still those of the name.
"""

from __future__ import annotations

import io
import socket
import ssl
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, Protocol
from urllib.parse import urljoin

import httpcore
import httpx

from grounding.errors import (
    ImageMissing,
    ImageTooLarge,
    ImageUnreachable,
    ImageUnreadable,
    UrlRefused,
)
from grounding.media.addresses import (
    BOTH_NEEDED,
    AllowList,
    Url,
    check_text,
    decode_data_uri,
    is_cloud,
    is_data_uri,
    is_media,
    name_label_studio,
    read_ip,
    read_url,
)
from grounding.media.local_files import Folder, parse_local_file
from grounding.media.transport import (
    Deadline,
    PinnedBackend,
    Resolve,
    look_up,
    translate_errors,
)
from grounding.retry import Backoff, retry_after
from grounding.waiting import Check, no_check, now_and_then

REDIRECTS = (301, 302, 303, 307, 308)
UNAUTHORIZED = 401
FORBIDDEN = (UNAUTHORIZED, 402, 403, 407)
TOO_MANY_REQUESTS = 429
LONGEST_PAUSE = 60.0
"""Seconds between two tries at most; the time of the whole fetch usually ends earlier."""

START_BYTES = 1024
"""How much of a body is looked at to tell a web page."""

NEXT_ADDRESS = "Use the address that the redirects lead to"

HEADERS = {
    "Accept-Encoding": "identity",
    "User-Agent": "label-studio-grounding",
}


@dataclass(frozen=True, slots=True)
class FetchRules:
    """The limits of one fetch; times are in seconds.

    `total_s` covers everything: lookup, redirects, retries and body. `retries` and
    `max_redirects` count requests after the first. `pause_s` is the longest pause before the
    first retry, and doubles for the next. Raises `SettingError` for an invalid origin.
    """

    allowed_origins: frozenset[str] = frozenset()
    max_bytes: int = 25 * 2**20
    connect_s: float = 3
    read_s: float = 10
    total_s: float = 20
    max_redirects: int = 3
    retries: int = 2
    pause_s: float = 0.3
    accept: str = "image/*, */*;q=0.5"

    def __post_init__(self) -> None:
        """Check the origins, so that an invalid setting shows at the start."""
        AllowList(self.allowed_origins)


class TrustedHost(Protocol):
    """The configured Label Studio: the only host that may be private, and that gets a token."""

    def address(self, value: str, task_id: int | None) -> str | None:
        """Return the absolute URL of a value that Label Studio serves, else None."""

    def headers(self, url: str, seconds: float, check: Check) -> dict[str, str]:
        """Return, within `seconds`, the headers that authorise `url`: none unless it is media.

        Raises what `check` does, which is called while it waits.
        """

    def renew(self) -> bool:
        """Forget the access token that was refused, and say whether a new one can be had."""

    def refusal(self, url: Url, status: int) -> ImageMissing:
        """Return the error for a 4xx response to `url`."""

    def page_hint(self) -> str:
        """Return the cure where it answers with a web page."""


class Fetches(Protocol):
    """Fetches the bytes that a task's value names, or raises an `ImageError`.

    What `check` raises ends the fetch; it is called about every second, whatever the host does.
    """

    def fetch(self, value: str, task_id: int | None = None, check: Check = no_check) -> bytes:
        """Return the bytes; raises as `fetch_into`."""
        sink = io.BytesIO()
        self.fetch_into(sink, value, task_id, check)
        return sink.getvalue()

    def fetch_into(
        self, sink: BinaryIO, value: str, task_id: int | None = None, check: Check = no_check
    ) -> None:
        """Write the bytes into a file."""
        ...


class Fetcher(Fetches):
    """Fetches the bytes that a task's value names; safe to share between threads.

    `folder` is Label Studio's local storage, if it is mounted here: its files are then read from
    the folder and not requested from Label Studio. `resolve` works like `socket.getaddrinfo`.
    `network` opens the connections.
    """

    def __init__(
        self,
        rules: FetchRules,
        label_studio: TrustedHost | None = None,
        *,
        folder: Folder | None = None,
        resolve: Resolve = socket.getaddrinfo,
        network: httpcore.NetworkBackend | None = None,
    ) -> None:
        self._rules = rules
        self._allowed = AllowList(rules.allowed_origins)
        self._label_studio = label_studio
        self._folder = folder
        self._resolve = resolve
        self._network = network or httpcore.SyncBackend()

    def fetch_into(
        self, sink: BinaryIO, value: str, task_id: int | None = None, check: Check = no_check
    ) -> None:
        """Write the bytes of the file that `value` names into `sink`, at most `max_bytes`.

        `sink` is an empty file that can be read and written. `value` is an http(s) URL, a data:
        URI, a path on Label Studio, or the address of an object in cloud storage, which Label
        Studio resolves by the task's id. Raises `DataError` if that id is missing, an
        `ImageError` if the file is refused, missing, unreachable, too large, or a web page, and
        what `check` does, within seconds: connecting alone takes `connect_s` without a look.
        """
        check = now_and_then(check)
        if is_data_uri(value):
            sink.write(decode_data_uri(value, self._rules.max_bytes))
            return
        check_text(value)
        served = self._label_studio.address(value, task_id) if self._label_studio else None
        name = self._folder and parse_local_file(read_url(served).target if served else value)
        if self._folder and name:
            self._folder.copy(name, self._rules.max_bytes, sink, check)
            return
        try:
            hop = self._first_hop(value, served, sink)
            self._follow(hop, Deadline(self._rules.total_s, check))
        except (UrlRefused, ImageMissing, ImageUnreadable) as exc:
            if served is None and is_media(value):
                exc.hint = name_label_studio(value, known=bool(self._label_studio)) or exc.hint
            raise

    @cached_property
    def _authorities(self) -> ssl.SSLContext:
        """The trusted certificate authorities: certifi's, or those in SSL_CERT_FILE."""
        return httpx.create_ssl_context()

    def _first_hop(self, value: str, served: str | None, sink: BinaryIO) -> _Hop:
        if served:
            return _Hop(read_url(served), sink, on_label_studio=True)
        is_path = value.startswith("/") or (is_media(value) and "://" not in value)
        if not self._label_studio and (is_path or is_cloud(value)):
            kind = "in a cloud storage" if is_cloud(value) else "a path"
            raise UrlRefused(
                f"the address is {kind}, and no Label Studio is known that would have it",
                hint=BOTH_NEEDED,
            )
        return _Hop(read_url(value), sink, on_label_studio=False)

    def _follow(self, hop: _Hop, deadline: Deadline) -> None:
        for _ in range(self._rules.max_redirects + 1):
            response = self._request(hop, deadline)
            if response.location is None:
                return
            hop = self._redirect(hop, response.location)
        raise UrlRefused(
            f"{hop.url.shown} lies behind more than {self._rules.max_redirects} redirects",
            hint=NEXT_ADDRESS,
        )

    def _redirect(self, hop: _Hop, location: str) -> _Hop:
        """Return the next hop; it may drop TLS only to an origin that the operator allows."""
        check_text(location)
        try:
            url = read_url(urljoin(str(hop.url), location))
        except ValueError as exc:
            raise UrlRefused(
                f"{hop.url.shown} redirects to what is no address", hint=NEXT_ADDRESS
            ) from exc
        drops_tls = hop.url.origin.scheme == "https" and url.origin.scheme == "http"
        if drops_tls and not self._allowed.names(url.origin):
            raise UrlRefused(
                f"{hop.url.shown} redirects from https to http",
                hint=f"Use an https address, or name {url.origin} in GROUNDING_ALLOWED_ORIGINS",
            )
        return _Hop(url, hop.sink, hop.on_label_studio and url.origin == hop.url.origin)

    def _request(self, hop: _Hop, deadline: Deadline) -> _Response:
        """Request one URL, and again after a temporary failure; its host is looked up once."""
        transport = PinnedBackend(self._network, self._resolve_checked(hop, deadline), deadline)
        backoff = Backoff(self._rules.pause_s, LONGEST_PAUSE)
        for attempt in range(self._rules.retries):
            try:
                return self._try(hop, transport)
            except ImageUnreachable as exc:
                if not deadline.sleep(backoff.delay(attempt, exc.wait_s)):
                    raise
        return self._try(hop, transport)

    def _try(self, hop: _Hop, transport: PinnedBackend) -> _Response:
        response = self._exchange(hop, transport)
        refused = response.status == UNAUTHORIZED and hop.on_label_studio
        if refused and self._label_studio and self._label_studio.renew():
            response = self._exchange(hop, transport)
        self._check(response, hop)
        return response

    def _check(self, response: _Response, hop: _Hop) -> None:
        """Raise the error that a response means if it is neither a picture nor a redirect."""
        cause = f"{hop.url.shown} answered {response.status}"
        if response.status >= 500 or response.status == TOO_MANY_REQUESTS:
            raise ImageUnreachable(cause, wait_s=response.wait_s)
        if self._label_studio and hop.on_label_studio and response.status >= 400:
            raise self._label_studio.refusal(hop.url, response.status)
        if response.status in FORBIDDEN:
            raise ImageMissing(cause, code="image_forbidden")
        if response.location is None and not 200 <= response.status < 300:
            raise ImageMissing(cause, hint="Check that the address still opens in a browser")
        if response.is_page:
            hint = "got text/html: is a login needed?"
            if self._label_studio and hop.on_label_studio:
                hint = self._label_studio.page_hint()
            raise ImageUnreadable(f"{hop.url.shown} is a web page", hint=hint)

    def _exchange(self, hop: _Hop, transport: PinnedBackend) -> _Response:
        origin = hop.url.origin
        tls = self._authorities if origin.scheme == "https" else None
        url = httpcore.URL(
            scheme=origin.scheme.encode(),
            host=origin.host.encode(),
            port=origin.port,
            target=hop.url.target.encode(),
        )
        with (
            translate_errors(hop.url.shown),
            httpcore.ConnectionPool(ssl_context=tls, network_backend=transport) as pool,
            pool.stream(
                "GET",
                url,
                headers=self._headers(hop, transport.deadline),
                extensions={"timeout": self._timeouts()},
            ) as response,
        ):
            return self._read(response, hop)

    def _headers(self, hop: _Hop, deadline: Deadline) -> list[tuple[str, str]]:
        host = str(hop.url.origin).partition("://")[2]
        headers = {"Host": host, "Accept": self._rules.accept, **HEADERS}
        if hop.on_label_studio and self._label_studio:
            seconds = deadline.cap(self._rules.total_s)
            headers |= self._label_studio.headers(str(hop.url), seconds, deadline.check)
        return list(headers.items())

    def _timeouts(self) -> dict[str, float]:
        read_s = self._rules.read_s
        return {"connect": self._rules.connect_s, "read": read_s, "write": read_s}

    def _read(self, response: httpcore.Response, hop: _Hop) -> _Response:
        shown = hop.url.shown
        headers = {
            name.lower().decode("latin-1"): value.decode("latin-1")
            for name, value in response.headers
        }
        kind = headers.get("content-type", "").lower()
        if response.status in REDIRECTS and "location" in headers:
            return _Response(response.status, kind, location=headers["location"])
        if not 200 <= response.status < 300:
            return _Response(response.status, kind, wait_s=retry_after(headers) or 0)
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise ImageUnreadable(
                f"{shown} came compressed, though we asked for plain bytes",
                hint="Switch the compression of pictures off on its host",
            )
        if int(headers.get("content-length", 0)) > self._rules.max_bytes:
            raise self._too_large(shown)
        return _Response(response.status, kind, self._read_body(response, hop))

    def _read_body(self, response: httpcore.Response, hop: _Hop) -> bytes:
        """Write the body into the hop's sink, in place of an earlier try's; return its start."""
        shown, sink, size = hop.url.shown, hop.sink, 0
        sink.seek(0)
        sink.truncate()
        try:
            for chunk in response.iter_stream():
                size += len(chunk)
                if size > self._rules.max_bytes:
                    raise self._too_large(shown)
                sink.write(chunk)
        except httpcore.RemoteProtocolError as exc:
            cause = f"{shown} broke off after {size} bytes"
            raise ImageUnreachable(cause, code="image_truncated") from exc
        sink.seek(0)
        return sink.read(START_BYTES)

    def _too_large(self, shown: str) -> ImageTooLarge:
        return ImageTooLarge(f"{shown} has more than {self._rules.max_bytes} bytes")

    def _resolve_checked(self, hop: _Hop, deadline: Deadline) -> list[str]:
        """Return the addresses of the host; raise unless all of them may be connected to."""
        origin = hop.url.origin
        if not hop.on_label_studio and not self._allowed.opens_port(origin):
            raise UrlRefused(f"{hop.url.shown} is not on the port of http or https")
        with translate_errors(hop.url.shown):
            names = look_up(self._resolve, origin.host, origin.port, deadline)
            found = [read_ip(ip) for ip in names]
        if not found:
            raise ImageUnreachable(f"{hop.url.shown} names a host without an address")
        allowed = all(self._allowed.admits(origin, ip) for ip in found)
        if not hop.on_label_studio and not allowed:
            # Naming the address would show the inside of the network to outsiders.
            raise UrlRefused(f"{hop.url.shown} does not lead to the public Internet")
        return list(dict.fromkeys(map(str, found)))


@dataclass(frozen=True, slots=True)
class _Hop:
    """One URL of a fetch, and whether it and all before it are on Label Studio's origin.

    Its body goes into `sink`.
    """

    url: Url
    sink: BinaryIO
    on_label_studio: bool


@dataclass(frozen=True, slots=True)
class _Response:
    """A response: the start of a body, the location of a redirect, or a status only.

    `kind` is its Content-Type. `wait_s` is how many seconds the host asks us to wait before the
    next request.
    """

    status: int
    kind: str
    start: bytes = b""
    location: str | None = None
    wait_s: float = 0

    @property
    def is_page(self) -> bool:
        """Whether it is HTML, and not a picture with a wrong Content-Type."""
        start = self.start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        return self.kind.startswith("text/html") and start == b"<"
