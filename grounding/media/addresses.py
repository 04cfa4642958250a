"""Which addresses may be dialled: what keeps a task from reaching the inside of a network.

A task's data is written by whoever imported it, and we fetch what it names from within the
operator's network. So an address is taken only if it can be read in one way (`read_url`), and
a host is dialled only at IP addresses that are public or that the operator opened
(`AllowList.admits`). Nothing here touches the network.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import httpx

from grounding.errors import SettingError, UrlRefused

Ip = IPv4Address | IPv6Address

MAX_URL = 8000
"""Characters of the longest address taken: what RFC 9110 (4.1) wants everyone to take. Addresses
signed with a cloud role's temporary token often exceed 2,000."""

PORTS = {"http": 80, "https": 443}
"""The schemes that are fetched, and the port that each means."""

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
        "168.63.129.16/32",  # Azure's wire server: public in form, local in fact
    )
)
"""What the `ipaddress` module calls global, at least in some versions, and we do not."""

CLOUD = ("s3", "gs", "azure-blob")
"""Schemes of cloud storage, which Label Studio alone can resolve."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMERIC = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
_NOT_PLAIN = re.compile(r"[^\x21-\x7e]|\\")


class Origin(NamedTuple):
    """Scheme, host and port: what a credential or a permission belongs to."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return it as in an address, without the port that its scheme means anyway."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


@dataclass(frozen=True, slots=True)
class Url:
    """An address that reads in one way only; `str()` gives the whole, queries included."""

    origin: Origin
    target: str

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"

    @property
    def shown(self) -> str:
        """The address as messages may hold it: queries carry signatures, so they stay out."""
        path = self.target.partition("?")[0]
        return f"{self.origin}{path if len(path) <= 120 else path[:119] + '…'}"


class AllowList:
    """What the operator opened beyond the public Internet.

    An entry is an origin (`http://minio:9000`), which may then resolve to any address, or a
    scheme with a network (`https://10.0.3.0/24`, with a port `http://10.0.3.0:9000/24`), whose
    addresses may then be dialled on that port under any name.
    Raises `SettingError` for an entry that is neither.
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
        """Say whether any address may be dialled on the origin's port."""
        return (
            origin.port in PORTS.values()
            or origin in self._origins
            or any((origin.scheme, origin.port) == network[:2] for network in self._networks)
        )

    def admits(self, origin: Origin, ip: Ip) -> bool:
        """Say whether `ip`, one of the addresses of the origin's host, may be dialled."""
        return (
            (origin.port in PORTS.values() and is_public(ip))
            or origin in self._origins
            or any(
                (origin.scheme, origin.port) == (scheme, port) and ip in network
                for scheme, port, network in self._networks
            )
        )


def check_text(value: str) -> None:
    """Raise `UrlRefused` where `value` is too long or holds what parsers quietly drop or turn."""
    if len(value) > MAX_URL:
        raise UrlRefused(
            f"the address is longer than {MAX_URL} characters",
            code="url_too_long",
            hint="Use a shorter address",
        )
    if _UNPRINTABLE.search(value):
        raise UrlRefused("the address holds a backslash or a control character")


def is_cloud(value: str) -> bool:
    """Say whether `value` names an object in a cloud storage, as `s3://bucket/key` does."""
    return value.partition("://")[0].lower() in CLOUD


def read_url(value: str) -> Url:
    """Return the http(s) address that `value` spells, in lower case where case means nothing.

    Only what every parser reads alike is taken: printable ASCII without spaces or backslashes,
    no user name, a plain host name, IPv4 address of four decimal numbers or IPv6 address, and
    the same host and port by two parsers. Raises `UrlRefused`, whose message never repeats an
    address that may hold a password.
    """
    check_text(value)
    if _NOT_PLAIN.search(value):
        raise UrlRefused(
            "the address holds a space or a character beyond ASCII",
            hint="Percent-encode the path, and write the host in its xn-- form",
        )
    return Url(*_plain_url(value))


def read_ip(record: str) -> Ip:
    """Return a resolver's answer as an address; an IPv4 address in IPv6 dress is undressed."""
    ip = ipaddress.ip_address(record)
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def is_public(ip: Ip) -> bool:
    """Say whether `ip` is one of the public Internet, for one receiver, and means only itself."""
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
        raise UrlRefused("the address cannot be read") from exc
    _check_parts(first, host)
    if (host, port or PORTS[first.scheme]) != (
        second.raw_host.decode("ascii"),
        second.port or PORTS[first.scheme],
    ):
        raise UrlRefused("the address reads in two ways")
    origin = Origin(first.scheme, _plain_host(host), port or PORTS[first.scheme])
    return origin, second.raw_path.decode("ascii")


def _check_parts(parts: SplitResult, host: str) -> None:
    if parts.scheme not in PORTS:
        named = f"{parts.scheme} addresses are" if parts.scheme else "a bare path is"
        raise UrlRefused(f"{named} not fetched", hint="Use an http(s) address")
    if "@" in parts.netloc:
        raise UrlRefused("the address holds a user name", hint="Leave user and password out")
    if not host:
        raise UrlRefused("the address names no host")
    if parts.port == 0:
        raise UrlRefused("the address names port 0")


def _plain_host(host: str) -> str:
    """Return the host in its one spelling; `127.1`, `0x7f.1` and `017.0.0.1` are spelled ill."""
    if ":" in host and "%" not in host:
        return ipaddress.IPv6Address(host).compressed
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise UrlRefused("the address's host is no plain name")
    if _NUMERIC.fullmatch(host):
        return _plain_ipv4(host)
    return host


def _plain_ipv4(host: str) -> str:
    try:
        return str(IPv4Address(host))
    except ValueError as exc:
        raise UrlRefused("the address's host is a number in an odd spelling") from exc
