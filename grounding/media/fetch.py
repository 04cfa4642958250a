"""Bytes from anywhere, safely: what a task calls its image, fetched.

The way of one address: read in one way only (`addresses`), its host looked up once, every
address found checked, one of those dialled, its answer read within limits of time and size.
Redirects start over from the first step. Proxies, netrc and cookies of the environment play no
part, and nothing is decompressed. The connection is httpcore's, since that lets us dial a
checked IP address while TLS certificate and `Host` stay those of the name.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from random import SystemRandom
from typing import Any, Protocol
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
    AllowList,
    Origin,
    Url,
    check_text,
    is_cloud,
    read_ip,
    read_url,
)
from grounding.media.data_uris import inline, is_inline
from grounding.media.local_files import Folder, file_name
from grounding.media.transport import Deadline, PinnedBackend

REDIRECTS = (301, 302, 303, 307, 308)
UNAUTHORIZED = 401
FORBIDDEN = (UNAUTHORIZED, 402, 403, 407)
TOO_MANY_REQUESTS = 429
HEADERS = {
    "Accept": "image/*, */*;q=0.5",
    "Accept-Encoding": "identity",
    "User-Agent": "label-studio-grounding",
}

Resolve = Callable[..., Iterable[tuple[Any, ...]]]
"""What `socket.getaddrinfo` is: host and port to records whose last item begins with an IP."""


@dataclass(frozen=True, slots=True)
class FetchRules:
    """The limits of one fetch; times in seconds.

    `total_s` covers everything: lookup, redirects, retries, body. `retries` and `max_redirects`
    are further requests after the first. `pause_s` is the mean pause before the first retry;
    it doubles for the next. Raises `SettingError` for an origin that cannot be read.
    """

    allowed_origins: frozenset[str] = frozenset()
    max_bytes: int = 25 * 2**20
    connect_s: float = 3
    read_s: float = 10
    total_s: float = 20
    max_redirects: int = 3
    retries: int = 2
    pause_s: float = 0.3

    def __post_init__(self) -> None:
        """Refuse to exist with an origin that cannot be read."""
        AllowList(self.allowed_origins)


class Trusted(Protocol):
    """The configured Label Studio: the one host that may be private and gets a token."""

    def address(self, value: str, task_id: int | None) -> str | None:
        """Return the absolute address of a value that lives on Label Studio, else None."""

    def headers(self, url: str, seconds: float) -> dict[str, str]:
        """Return within `seconds` what authorises `url`: nothing unless it is media there."""

    def renew(self) -> bool:
        """Forget a cached access token, since it was refused; say if there can be another."""

    def refusal(self, url: Url, status: int) -> ImageMissing:
        """Return what an answer of 4xx to `url`, which lives there, amounts to."""


class Fetches(Protocol):
    """Brings the bytes that a task's value names, or raises the `ImageError` that tells why not."""

    def fetch(self, value: str, task_id: int | None = None) -> bytes:
        """Return the bytes."""
        ...


class Fetcher:
    """Brings the bytes that a task's value names; safe to share between threads.

    `folder` is Label Studio's local storage, where it is mounted here; its files are then read
    from there instead of asked of Label Studio. `resolve` is like `socket.getaddrinfo`;
    `network` opens the connections.
    """

    def __init__(
        self,
        rules: FetchRules,
        label_studio: Trusted | None = None,
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

    def fetch(self, value: str, task_id: int | None = None) -> bytes:
        """Return the bytes of the image that `value` names, at most `max_bytes`.

        `value` is an http(s) address, a data: URI, a path on Label Studio, or the address of an
        object in a cloud storage that Label Studio reaches, by the task's id. Raises `DataError`
        without that id, and an `ImageError` where the image is refused, missing, unreachable,
        too large, or a page instead of a picture.
        """
        if is_inline(value):
            return inline(value, self._rules.max_bytes)
        check_text(value)
        home = self._label_studio.address(value, task_id) if self._label_studio else None
        name = self._folder and file_name(read_url(home).target if home else value)
        if self._folder and name:
            return self._folder.read(name, self._rules.max_bytes)
        return self._follow(self._first_hop(value, home), Deadline(self._rules.total_s))

    @cached_property
    def _authorities(self) -> ssl.SSLContext:
        """Whose certificates count: certifi's list, or what SSL_CERT_FILE names instead."""
        return httpx.create_ssl_context()

    def _first_hop(self, value: str, home: str | None) -> _Hop:
        if home:
            return _Hop(read_url(home), at_home=True)
        if not self._label_studio and (value.startswith("/") or is_cloud(value)):
            named = "in a cloud storage" if is_cloud(value) else "a path"
            raise UrlRefused(
                f"the address is {named}, and no Label Studio is known that would have it",
                hint="Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY",
            )
        return _Hop(read_url(value), at_home=False)

    def _follow(self, hop: _Hop, deadline: Deadline) -> bytes:
        for _ in range(self._rules.max_redirects + 1):
            reply = self._ask(hop, deadline)
            if reply.location is None:
                return reply.body
            hop = hop.redirected(reply.location)
        raise UrlRefused(
            f"{hop.url.shown} lies behind more than {self._rules.max_redirects} redirects",
            hint="Use the address that the redirects lead to",
        )

    def _ask(self, hop: _Hop, deadline: Deadline) -> _Reply:
        """Ask one host, again after a failure that may pass; its name is looked up once."""
        line = PinnedBackend(self._network, self._dialable(hop, deadline), deadline)
        for attempt in range(self._rules.retries):
            try:
                return self._try(hop, line)
            except ImageUnreachable as exc:
                # Random, so that many slots that failed together do not come back together.
                pause = self._rules.pause_s * 2**attempt * SystemRandom().uniform(0.5, 1.5)
                if not deadline.sleep(max(pause, exc.wait_s)):
                    raise
        return self._try(hop, line)

    def _try(self, hop: _Hop, line: PinnedBackend) -> _Reply:
        reply = self._exchange(hop, line)
        if (
            reply.status == 401
            and hop.at_home
            and self._label_studio
            and self._label_studio.renew()
        ):
            reply = self._exchange(hop, line)
        self._check(reply, hop)
        return reply

    def _check(self, reply: _Reply, hop: _Hop) -> None:
        """Raise what the answer amounts to, where it is neither a picture nor a redirect."""
        cause = f"{hop.url.shown} answered {reply.status}"
        if reply.status >= 500 or reply.status == TOO_MANY_REQUESTS:
            raise ImageUnreachable(cause, wait_s=reply.wait_s)
        if self._label_studio and hop.at_home and reply.status >= 400:
            raise self._label_studio.refusal(hop.url, reply.status)
        if reply.status in FORBIDDEN:
            raise ImageMissing(cause, code="image_forbidden")
        if reply.location is None and not 200 <= reply.status < 300:
            raise ImageMissing(cause)
        if reply.is_page:
            raise ImageUnreadable(
                f"{hop.url.shown} is a web page", hint="got text/html: is a login needed?"
            )

    def _exchange(self, hop: _Hop, line: PinnedBackend) -> _Reply:
        origin = hop.url.origin
        tls = self._authorities if origin.scheme == "https" else None
        wire = httpcore.URL(
            scheme=origin.scheme.encode(),
            host=origin.host.encode(),
            port=origin.port,
            target=hop.url.target.encode(),
        )
        with (
            _named(hop.url.shown),
            httpcore.ConnectionPool(ssl_context=tls, network_backend=line) as pool,
            pool.stream(
                "GET",
                wire,
                headers=self._headers(hop, line.deadline),
                extensions={"timeout": self._timeouts()},
            ) as response,
        ):
            return self._read(response, hop.url.shown)

    def _headers(self, hop: _Hop, deadline: Deadline) -> list[tuple[str, str]]:
        headers = {"Host": str(hop.url.origin).partition("://")[2], **HEADERS}
        if hop.at_home and self._label_studio:
            seconds = deadline.cap(self._rules.total_s)
            headers |= self._label_studio.headers(str(hop.url), seconds)
        return list(headers.items())

    def _timeouts(self) -> dict[str, float]:
        read_s = self._rules.read_s
        return {"connect": self._rules.connect_s, "read": read_s, "write": read_s}

    def _read(self, response: httpcore.Response, shown: str) -> _Reply:
        fields = {name.lower().decode("latin-1"): value for name, value in response.headers}
        kind = fields.get("content-type", b"").decode("latin-1").lower()
        if response.status in REDIRECTS and "location" in fields:
            return _Reply(response.status, kind, location=fields["location"].decode("latin-1"))
        if not 200 <= response.status < 300:
            wait_s = _asked_to_wait(fields.get("retry-after", b""))
            return _Reply(response.status, kind, wait_s=wait_s)
        if fields.get("content-encoding", b"identity").lower() != b"identity":
            raise ImageUnreadable(f"{shown} came compressed, though we asked for plain bytes")
        announced = fields.get("content-length", b"0")
        if int(announced) > self._rules.max_bytes:
            raise self._too_large(shown)
        return _Reply(response.status, kind, self._body(response, shown))

    def _body(self, response: httpcore.Response, shown: str) -> bytes:
        body = bytearray()
        try:
            for chunk in response.iter_stream():
                body += chunk
                if len(body) > self._rules.max_bytes:
                    raise self._too_large(shown)
        except httpcore.RemoteProtocolError as exc:
            cause = f"{shown} broke off after {len(body)} bytes"
            raise ImageUnreachable(cause, code="image_truncated") from exc
        return bytes(body)

    def _too_large(self, shown: str) -> ImageTooLarge:
        return ImageTooLarge(f"{shown} has more than {self._rules.max_bytes} bytes")

    def _dialable(self, hop: _Hop, deadline: Deadline) -> list[str]:
        """Look the host up once; every address found must be one that may be dialled."""
        origin = hop.url.origin
        if not hop.at_home and not self._allowed.opens_port(origin):
            raise UrlRefused(f"{hop.url.shown} is not on the port of http or https")
        with _named(hop.url.shown):
            found = [read_ip(ip) for ip in self._lookup(origin, deadline)]
        if not found:
            raise ImageUnreachable(f"{hop.url.shown} names a host without an address")
        if not hop.at_home and not all(self._allowed.admits(origin, ip) for ip in found):
            # Not which address it was: that would map the inside of the network to outsiders.
            raise UrlRefused(f"{hop.url.shown} does not lead to the public Internet")
        return list(dict.fromkeys(map(str, found)))

    def _lookup(self, origin: Origin, deadline: Deadline) -> list[str]:
        """Resolve aside, because `getaddrinfo` takes no timeout; a late answer is dropped."""
        answer: Future[list[str]] = Future()

        def resolve() -> None:
            try:
                records = self._resolve(origin.host, origin.port, type=socket.SOCK_STREAM)
                answer.set_result([record[-1][0] for record in records])
            except OSError as exc:
                answer.set_exception(exc)

        threading.Thread(target=resolve, name="lookup", daemon=True).start()
        return answer.result(deadline.cap(self._rules.total_s))


@dataclass(frozen=True, slots=True)
class _Hop:
    """One address on the way, and whether the way has never left Label Studio's own origin."""

    url: Url
    at_home: bool

    def redirected(self, location: str) -> _Hop:
        check_text(location)
        try:
            url = read_url(urljoin(str(self.url), location))
        except ValueError as exc:
            raise UrlRefused(f"{self.url.shown} redirects to what is no address") from exc
        return _Hop(url, at_home=self.at_home and url.origin == self.url.origin)


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came back: a body, a place to look instead, or a bare status.

    `wait_s` is how many seconds the host asks us to wait before the next request.
    """

    status: int
    kind: str
    body: bytes = b""
    location: str | None = None
    wait_s: float = 0

    @property
    def is_page(self) -> bool:
        """Whether it is HTML, and not a picture under a wrong name."""
        start = self.body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        return self.kind.startswith("text/html") and start == b"<"


@contextmanager
def _named(shown: str) -> Iterator[None]:
    """Turn what the network's libraries raise into our own words about `shown`."""
    try:
        yield
    except (httpcore.TimeoutException, TimeoutError) as exc:
        raise ImageUnreachable(f"{shown} is too slow", code="fetch_timeout") from exc
    except httpcore.NetworkError as exc:
        if "CERTIFICATE_VERIFY_FAILED" in str(exc):
            raise ImageUnreachable(
                f"{shown} has no valid certificate",
                hint="Name your own authority's certificate in SSL_CERT_FILE",
            ) from exc
        raise ImageUnreachable(f"{shown} refuses or breaks the connection") from exc
    except httpcore.ProtocolError as exc:
        raise ImageUnreachable(f"{shown} does not speak HTTP") from exc
    except OSError as exc:
        raise ImageUnreachable(f"{shown} names a host that cannot be found") from exc


def _asked_to_wait(field: bytes) -> float:
    """Return the seconds that a Retry-After field asks for (RFC 9110, section 10.2.3)."""
    text = field.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return 0
