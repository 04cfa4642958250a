"""What a task's address means, and which addresses may be connected to.

Whoever imports a task chooses its addresses, and we fetch them from inside the operator's
network. So an address is accepted only if it can be read in one way (`read_url`), and a host is
connected to only at IP addresses that are public or that the operator allows
(`AllowList.admits`). A data: URI holds its picture itself (`decode_data_uri`). Nothing here
touches the network.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

import httpx

from grounding.errors import ImageTooLarge, ImageUnreadable, SettingError, UrlRefused

Ip = IPv4Address | IPv6Address

MAX_URL = 8000
"""Longest accepted address in characters: RFC 9110 (4.1) recommends to support 8,000 octets.

URLs signed with a cloud role's temporary token often exceed 2,000.
"""

PORTS = {"http": 80, "https": 443}
"""The schemes that are fetched, with their default ports."""

NEVER_PUBLIC = tuple(
    ipaddress.ip_network(block)
    for block in (
        "64:ff9b::/96",  # NAT64: any IPv4 address, private ones too
        "64:ff9b:1::/48",  # NAT64 of the local network
        "2002::/16",  # 6to4: any IPv4 address
        "2001::/32",  # Teredo: any IPv4 address
        "fec0::/10",  # site-local, deprecated but still routed
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
        "192.88.99.0/24",  # 6to4 relays
        "192.0.0.0/24",  # protocol assignments
        "168.63.129.16/32",  # Azure's wire server: looks public, but is local
    )
)
"""Networks that some versions of `ipaddress` call global, but that lead inside or nowhere."""

CLOUD = ("s3", "gs", "azure-blob")
"""Schemes of cloud storage, which only Label Studio can resolve."""

PLAIN = "Write it like https://host/folder/picture.jpg"
"""The cure for an address that is none, whatever its host may be."""

DATA_URI = "Write it like data:image/png;base64,iVBORw0KGgo="

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMERIC = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
_ON_A_DISK = re.compile(r"[A-Za-z]:\\|\\\\")
_NOT_PLAIN = re.compile(r"[^\x21-\x7e]|\\")

BOTH_NEEDED = "Set LABEL_STUDIO_URL to Label Studio's address, and LABEL_STUDIO_API_KEY"
"""What a file of Label Studio's takes where nothing is known of it."""

_MEDIA = re.compile(
    r"(?:^|/)(?:data/upload/|upload/\d+/|data/local-files(?:/|$)|storage-data/uploaded/"
    r"|(?:tasks|projects)/\d+/(?:resolve|presign)/)"
)


class Origin(NamedTuple):
    """Scheme, host and port: the scope of a credential or a permission."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return the origin as in a URL, without the default port of its scheme."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


@dataclass(frozen=True, slots=True)
class Url:
    """An address that can be read in one way only; `str()` includes the query."""

    origin: Origin
    target: str

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"

    @property
    def shown(self) -> str:
        """The address for messages: without the query, which may hold a signature, and cut."""
        path = self.target.partition("?")[0]
        return f"{self.origin}{path if len(path) <= 120 else path[:119] + '…'}"


class AllowList:
    """Origins and networks that the operator allows beyond the public Internet.

    An entry is an origin (`http://minio:9000`), whose host may then resolve to any address, or a
    scheme with a network (`https://10.0.3.0/24`, or with a port `http://10.0.3.0:9000/24`), whose
    addresses may then be connected to on that port under any host name. Raises `SettingError`
    for an entry that is neither.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._origins: set[Origin] = set()
        self._networks: list[tuple[str, int, IPv4Network | IPv6Network]] = []
        for entry in entries:
            self._add(entry)

    def _add(self, entry: str) -> None:
        try:
            origin, target = _plain_url(entry)
            if target == "/":
                self._origins.add(origin)
            else:
                network = ipaddress.ip_network(origin.host + target)
                self._networks.append((origin.scheme, origin.port, network))
        except (UrlRefused, ValueError) as exc:
            raise SettingError(
                "GROUNDING_ALLOWED_ORIGINS holds an entry that is neither an origin nor a network",
                hint="Write entries like http://minio:9000 or https://10.0.3.0/24",
            ) from exc

    def opens_port(self, origin: Origin) -> bool:
        """Say whether any address may be connected to on the origin's port."""
        return (
            origin.port in PORTS.values()
            or origin in self._origins
            or any((origin.scheme, origin.port) == network[:2] for network in self._networks)
        )

    def names(self, origin: Origin) -> bool:
        """Say whether an entry is exactly `origin`."""
        return origin in self._origins

    def admits(self, origin: Origin, ip: Ip) -> bool:
        """Say whether `ip`, an address of the origin's host, may be connected to."""
        return (
            (origin.port in PORTS.values() and is_public(ip))
            or origin in self._origins
            or any(
                (origin.scheme, origin.port) == (scheme, port) and ip in network
                for scheme, port, network in self._networks
            )
        )


def check_text(value: str) -> None:
    """Raise `UrlRefused` if `value` is too long or has characters that some parsers change."""
    if len(value) > MAX_URL:
        raise UrlRefused(
            f"the address is longer than {MAX_URL} characters",
            code="url_too_long",
            hint="Use a shorter address",
        )
    if found := _UNPRINTABLE.search(value):
        if found[0] != "\\":
            raise UrlRefused("the address holds a control character", hint="Remove it")
        raise UrlRefused("the address holds a backslash", hint=_without_backslash(value))


def _without_backslash(value: str) -> str:
    """Return the cure for an address with a backslash, which is a path of Windows' or has one."""
    if _ON_A_DISK.match(value):
        return "It is a path on a disk: upload the file, or add its folder as a Local files storage"
    return "Write / instead" if value.startswith("\\") else "Write %5C instead"


def is_media(value: str) -> bool:
    """Say whether the path in `value` is like those of a task's files on Label Studio."""
    return bool(_MEDIA.search(value.partition("?")[0]))


def name_label_studio(value: str, *, known: bool) -> str:
    """Return the cure for a file like Label Studio's that is not on the one we know; "" for none.

    `known` says whether there is one that we know.
    """
    try:
        origin = str(read_url(value).origin)
    except UrlRefused:
        return "" if known else BOTH_NEEDED
    if known:
        return f"If {origin} is Label Studio's address in browsers, set LABEL_STUDIO_HOST to it"
    return f"If {origin} is Label Studio, set LABEL_STUDIO_URL to it, and LABEL_STUDIO_API_KEY"


def is_cloud(value: str) -> bool:
    """Say whether `value` names an object in cloud storage, such as `s3://bucket/key`."""
    scheme, separator, _ = value.partition("://")
    return bool(separator) and scheme.lower() in CLOUD


def is_data_uri(value: str) -> bool:
    """Say whether `value` is a data: URI."""
    return value[:5].lower() == "data:"


def decode_data_uri(uri: str, max_bytes: int) -> bytes:
    """Return the bytes in a data: URI (RFC 2397), at most `max_bytes`.

    Raises `ImageTooLarge` if there are more, and `ImageUnreadable` if they cannot be decoded.
    """
    head, comma, tail = uri.partition(",")
    if not comma or not uri.isascii():
        raise ImageUnreadable("the data: address cannot be read", hint=DATA_URI)
    # A byte takes at most three characters, as in %41, so this bounds the work of decoding.
    body = unquote_to_bytes(tail) if len(tail) <= 3 * max_bytes else b""
    if head.lower().replace(" ", "").endswith(";base64"):
        body = _decode_base64(body)
    if len(body) > max_bytes or len(tail) > 3 * max_bytes:
        raise ImageTooLarge(f"the data: address holds more than {max_bytes} bytes")
    return body


def read_url(value: str) -> Url:
    """Return the http(s) address in `value`, its scheme and host in lower case.

    Accepts only what every parser reads alike: printable ASCII without spaces or backslashes, no
    user name, a host that is a plain name, an IPv4 address of four decimal numbers or an IPv6
    address, and the same host and port by two parsers. Raises `UrlRefused`, whose message never
    repeats an address, because that may hold a password.
    """
    check_text(value)
    if _NOT_PLAIN.search(value):
        raise UrlRefused(
            "the address holds a space or a character beyond ASCII",
            hint="Percent-encode the path, and write the host in its xn-- form",
        )
    return Url(*_plain_url(value))


def read_ip(record: str) -> Ip:
    """Return a resolver's record as an address; an IPv4-mapped one becomes its IPv4 address."""
    ip = ipaddress.ip_address(record)
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def is_public(ip: Ip) -> bool:
    """Say whether `ip` is a public unicast address that embeds no other address."""
    return (
        ip.is_global
        and not ip.is_multicast
        and not ip.is_reserved
        and not any(ip in block for block in NEVER_PUBLIC)
    )


def _plain_url(value: str) -> tuple[Origin, str]:
    try:
        first, second = urlsplit(value), httpx.URL(value)
        host, port = first.hostname or "", first.port
    except (ValueError, httpx.InvalidURL) as exc:
        raise UrlRefused("the address cannot be read", hint=PLAIN) from exc
    _check_parts(first, host)
    if (host, port or PORTS[first.scheme]) != (
        second.raw_host.decode("ascii"),
        second.port or PORTS[first.scheme],
    ):
        raise UrlRefused("the address reads in two ways", hint=PLAIN)
    origin = Origin(first.scheme, _plain_host(host), port or PORTS[first.scheme])
    return origin, second.raw_path.decode("ascii")


def _check_parts(parts: SplitResult, host: str) -> None:
    if parts.scheme not in PORTS:
        kind = f"{parts.scheme} addresses are" if parts.scheme else "a bare path is"
        raise UrlRefused(f"{kind} not fetched", hint="Use an http(s) address")
    if "@" in parts.netloc:
        raise UrlRefused("the address holds a user name", hint="Leave user and password out")
    if not host:
        raise UrlRefused("the address names no host", hint=PLAIN)
    if parts.port == 0:
        raise UrlRefused("the address names port 0", hint=PLAIN)


def _plain_host(host: str) -> str:
    """Return the canonical form of `host`; raise for `127.1`, `0x7f.1` and `017.0.0.1`."""
    if ":" in host and "%" not in host:
        return ipaddress.IPv6Address(host).compressed
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise UrlRefused("the address's host is no plain name", hint=PLAIN)
    if _NUMERIC.fullmatch(host):
        return _plain_ipv4(host)
    return host


def _plain_ipv4(host: str) -> str:
    try:
        return str(IPv4Address(host))
    except ValueError as exc:
        raise UrlRefused(
            "the address's host is a number in an odd spelling",
            hint="Write its four parts as decimal numbers",
        ) from exc


def _decode_base64(text: bytes) -> bytes:
    """Decode as browsers do: white space and padding are optional, any other noise is an error."""
    packed = b"".join(text.split()).rstrip(b"=")
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except binascii.Error as exc:
        raise ImageUnreadable("the data: address holds no valid base64", hint=DATA_URI) from exc
