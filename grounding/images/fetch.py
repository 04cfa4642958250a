"""Bytes from anywhere, safely: what a task calls its image, fetched.

The way of one address: read in one way only (`addresses`), its host looked up once, every
address found checked, one of those dialled, its answer read within limits of time and size.
Redirects start over from the first step. Proxies, netrc and cookies of the environment play no
part, and nothing is decompressed. The connection is httpcore's, since that lets us dial a
checked IP address while TLS certificate and `Host` stay those of the name.
"""

from __future__ import annotations

import base64
import binascii
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes, urljoin

import httpcore
import httpx

from grounding.errors import (
    DataError,
    ImageMissing,
    ImageTooLarge,
    ImageUnreachable,
    ImageUnreadable,
    UrlRefused,
)
from grounding.images.addresses import AllowList, Origin, Url, check_text, read_ip, read_url

REDIRECTS = (301, 302, 303, 307, 308)
FORBIDDEN = (401, 402, 403, 407)
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

    def headers(self, url: str) -> dict[str, str]:
        """Return what authorises `url`: nothing unless it is media of that very origin."""

    def renew(self) -> None:
        """Forget a cached access token, since it was refused."""


class Fetcher:
    """Brings the bytes that a task's value names; safe to share between threads.

    `resolve` is like `socket.getaddrinfo`; `network` opens the connections.
    """

    def __init__(
        self,
        rules: FetchRules,
        label_studio: Trusted | None = None,
        *,
        resolve: Resolve = socket.getaddrinfo,
        network: httpcore.NetworkBackend | None = None,
    ) -> None:
        self._rules = rules
        self._allowed = AllowList(rules.allowed_origins)
        self._label_studio = label_studio
        self._resolve = resolve
        self._network = network or httpcore.SyncBackend()
        self._tls = httpx.create_ssl_context()

    def fetch(self, value: object, task_id: int | None = None) -> bytes:
        """Return the bytes of the image that `value` names, at most `max_bytes`.

        `value` is an http(s) address, a data: URI, or a path on Label Studio. Raises `DataError`
        where it is no text, and an `ImageError` where it is refused, missing, unreachable,
        too large, or a page instead of a picture.
        """
        text = _one_text(value)
        if text[:5].lower() == "data:":
            return _inline(text, self._rules.max_bytes)
        return self._follow(self._first_hop(text, task_id), _Deadline(self._rules.total_s))

    def _first_hop(self, text: str, task_id: int | None) -> _Hop:
        check_text(text)
        home = self._label_studio and self._label_studio.address(text, task_id)
        if home:
            return _Hop(read_url(home), at_home=True)
        if text.startswith("/"):
            raise UrlRefused(
                "the address is a path, and no Label Studio is known that would have it",
                hint="Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY",
            )
        return _Hop(read_url(text), at_home=False)

    def _follow(self, hop: _Hop, deadline: _Deadline) -> bytes:
        for _ in range(self._rules.max_redirects + 1):
            reply = self._ask(hop, deadline)
            if reply.location is None:
                return reply.body
            hop = hop.redirected(reply.location)
        raise UrlRefused(
            f"{hop.url.shown} lies behind more than {self._rules.max_redirects} redirects",
            hint="Use the address that the redirects lead to",
        )

    def _ask(self, hop: _Hop, deadline: _Deadline) -> _Reply:
        """Ask one host, once more after a failure that may pass; its name is looked up once."""
        line = _Line(self._network, self._dialable(hop, deadline), deadline)
        for attempt in range(self._rules.retries):
            try:
                return self._try(hop, line)
            except ImageUnreachable:
                # Full jitter: many slots that failed together do not come back together.
                pause = self._rules.pause_s * 2**attempt * random.uniform(0.5, 1.5)  # noqa: S311
                if not deadline.sleep(pause):
                    raise
        return self._try(hop, line)

    def _try(self, hop: _Hop, line: _Line) -> _Reply:
        reply = self._exchange(hop, line)
        if reply.status == 401 and hop.at_home and self._label_studio:
            self._label_studio.renew()
            reply = self._exchange(hop, line)
        reply.check(hop.url.shown)
        return reply

    def _exchange(self, hop: _Hop, line: _Line) -> _Reply:
        origin = hop.url.origin
        token = (
            self._label_studio.headers(str(hop.url)) if hop.at_home and self._label_studio else {}
        )
        times = {"connect": self._rules.connect_s, "read": self._rules.read_s}
        wire = httpcore.URL(
            scheme=origin.scheme.encode(),
            host=origin.host.encode(),
            port=origin.port,
            target=hop.url.target.encode(),
        )
        with (
            _named(hop.url.shown),
            httpcore.ConnectionPool(ssl_context=self._tls, network_backend=line) as pool,
            pool.stream(
                "GET",
                wire,
                headers={"Host": _host_header(origin), **HEADERS, **token},
                extensions={"timeout": times | {"write": self._rules.read_s}},
            ) as response,
        ):
            return self._read(response, hop.url.shown)

    def _read(self, response: httpcore.Response, shown: str) -> _Reply:
        fields = {name.lower().decode("latin-1"): value for name, value in response.headers}
        kind = fields.get("content-type", b"").decode("latin-1").lower()
        if response.status in REDIRECTS and "location" in fields:
            return _Reply(response.status, kind, location=fields["location"].decode("latin-1"))
        if not 200 <= response.status < 300:
            return _Reply(response.status, kind)
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

    def _dialable(self, hop: _Hop, deadline: _Deadline) -> list[str]:
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

    def _lookup(self, origin: Origin, deadline: _Deadline) -> list[str]:
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
        url = read_url(urljoin(str(self.url), location))
        return _Hop(url, at_home=self.at_home and url.origin == self.url.origin)


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came back: a body, a place to look instead, or a bare status."""

    status: int
    kind: str
    body: bytes = b""
    location: str | None = None

    def check(self, shown: str) -> None:
        """Raise what the answer amounts to, where it is neither a picture nor a redirect."""
        cause = f"{shown} answered {self.status}"
        if self.status >= 500 or self.status == TOO_MANY_REQUESTS:
            raise ImageUnreachable(cause)
        if self.status in FORBIDDEN:
            raise ImageMissing(cause, code="image_forbidden")
        if self.location is None and not 200 <= self.status < 300:
            raise ImageMissing(cause)
        if (
            self.kind.startswith("text/html")
            and self.body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"
        ):
            raise ImageUnreadable(
                f"{shown} is a web page", hint="got text/html: is a login needed?"
            )


class _Deadline:
    """The end of one fetch, whatever its steps."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def cap(self, seconds: float | None) -> float:
        """Return `seconds`, or what is left if that is less; raise when nothing is left."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the whole fetch took too long")
        return left if seconds is None else min(seconds, left)

    def sleep(self, seconds: float) -> bool:
        """Sleep, if there is time for that and for something after it, and say whether."""
        if time.monotonic() + seconds >= self._end:
            return False
        time.sleep(seconds)
        return True


class _Line(httpcore.NetworkBackend):
    """Connects to the checked addresses alone, whatever host httpcore names."""

    def __init__(
        self, network: httpcore.NetworkBackend, addresses: list[str], deadline: _Deadline
    ) -> None:
        self._network = network
        self._addresses = addresses
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first checked address that answers; `host` is not looked up again."""
        *others, last = self._addresses
        for address in others:
            try:
                return self._connect(address, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(last, port, timeout)

    def _connect(self, address: str, port: int, timeout: float | None) -> httpcore.NetworkStream:
        stream = self._network.connect_tcp(address, port, self._deadline.cap(timeout))
        return _Timed(stream, self._deadline)


class _Timed(httpcore.NetworkStream):
    """A connection whose every step ends by the deadline: drops of one byte do not extend it."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.cap(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.cap(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        timeout = self._deadline.cap(timeout)
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, timeout), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@contextmanager
def _named(shown: str) -> Iterator[None]:
    """Turn what the network's libraries raise into our own words about `shown`."""
    try:
        yield
    except (httpcore.TimeoutException, TimeoutError) as exc:
        raise ImageUnreachable(f"{shown} is too slow", code="fetch_timeout") from exc
    except (httpcore.NetworkError, httpcore.ProtocolError) as exc:
        if isinstance(exc.__cause__, ssl.SSLCertVerificationError):
            hint = (
                "Give the host a certificate of a known authority, or name yours in SSL_CERT_FILE"
            )
            raise ImageUnreachable(f"{shown} has no valid certificate", hint=hint) from exc
        raise ImageUnreachable(f"{shown} does not answer as a web server does") from exc
    except OSError as exc:
        raise ImageUnreachable(f"{shown} names a host that cannot be found") from exc


def _host_header(origin: Origin) -> str:
    return str(origin).partition("://")[2]


def _one_text(value: object) -> str:
    if isinstance(value, list):
        raise DataError(
            "the task has a list where one picture belongs",
            code="multi_image_unsupported",
            hint="Import one picture per task",
        )
    if not isinstance(value, str) or not value:
        raise DataError("the task has no text where the picture's address belongs")
    return value


def _inline(uri: str, max_bytes: int) -> bytes:
    """Return the bytes that a data: URI holds (RFC 2397), at most `max_bytes`."""
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
