"""Which addresses are accepted and may be connected to, by tables and by properties."""

from __future__ import annotations

import ipaddress
import string
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import SettingError, UrlRefused
from grounding.media.addresses import AllowList, Origin, is_public, read_ip, read_url

ILL_SPELLED = [
    "",
    "picture.png",
    "//pictures.example/a.png",
    "ftp://pictures.example/a.png",
    "file:///etc/passwd",
    "gopher://pictures.example/",
    "javascript:alert(1)",
    "http:/pictures.example/a.png",
    "http:pictures.example",
    "http://",
    "http:///a.png",
    "http://:80/a.png",
    "http://user@pictures.example/",
    "http://user:secret@pictures.example/",
    "http://@pictures.example/",
    "http://127.0.0.1\\@pictures.example/",
    "http://pictures.example\\@127.0.0.1/",
    "http:\\\\pictures.example\\a.png",
    "http://pictures.example/a b.png",
    " http://pictures.example/a.png",
    "http://pictures.example/a.png\n",
    "http://pictures.\texample/a.png",
    "ht\ntp://pictures.example/",
    "http://pictures.example/\x00",
    "http://pictures.example/\x7f",
    "http://pictures.example/фото.png",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://bücher.example/",
    "http://localhost./",
    "http://pictures.example./a.png",
    "http://.pictures.example/",
    "http://pictures..example/",
    "http://pic%74ures.example/",
    "http://pictures.example%00.evil/",
    "http://pictures.example%2f@evil/",
    "http://-pictures.example/",
    "http://pic*ures.example/",
    "http://" + "a" * 64 + ".example/",
    "http://" + "a." * 127 + "example/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://0/",
    "http://1.2.3.4.5/",
    "http://256.0.0.1/",
    "http://08.8.8.8/",
    "http://pictures.0x7f/",
    "http://[::1/",
    "http://[::1]x/",
    "http://[fe80::1%25eth0]/",
    "http://[v1.x]/",
    "http://[127.0.0.1]/",
    "http://::1/",
    "http://pictures.example:0/",
    "http://pictures.example:99999/",
    "http://pictures.example:-80/",
    "http://pictures.example:80:80/",
    "http://pictures.example:8o/",
    "http://pictures.example:٨٠/",
    "http://pictures.example/" + "a" * 8000,
]

WELL_SPELLED = [
    ("http://pictures.example", "http://pictures.example/"),
    ("HTTP://Pictures.EXAMPLE/A.png", "http://pictures.example/A.png"),
    ("http://pictures.example:80/a.png", "http://pictures.example/a.png"),
    ("https://pictures.example:443/a", "https://pictures.example/a"),
    ("https://pictures.example:80/a", "https://pictures.example:80/a"),
    ("http://label_studio:8080/a", "http://label_studio:8080/a"),
    ("https://xn--bcher-kva.example/a", "https://xn--bcher-kva.example/a"),
    ("http://8.8.8.8/a", "http://8.8.8.8/a"),
    ("http://h.example/a?token=" + "a" * 4096, "http://h.example/a?token=" + "a" * 4096),
    ("http://[2606:4700:0::1111]/a", "http://[2606:4700::1111]/a"),
    ("http://[2606:4700::1111]:8080/a", "http://[2606:4700::1111]:8080/a"),
    ("http://h.example/a%20b?X-Sig=a%2Bb%3D&c=d+e#top", None),
]

NOT_PUBLIC = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.9",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "::ffff:8.8.8.8",
    "2606:4700::1111",
    "2a00:1450::8a",
]


@pytest.mark.parametrize("value", ILL_SPELLED)
def test_an_address_that_can_be_read_in_two_ways_or_none_is_refused(value: str) -> None:
    with pytest.raises(UrlRefused) as refusal:
        read_url(value)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(("value", "reading"), WELL_SPELLED)
def test_a_plain_address_is_read_in_its_canonical_form(value: str, reading: str | None) -> None:
    assert str(read_url(value)) == (reading or value.partition("#")[0])


def test_too_long_an_address_has_a_code_of_its_own() -> None:
    with pytest.raises(UrlRefused) as refusal:
        read_url("http://h.example/" + "a" * 10_240)
    assert refusal.value.code == "url_too_long"


def test_the_shown_form_holds_no_query_and_is_short() -> None:
    url = read_url("https://h.example:8443/" + "a" * 500 + "?X-Amz-Signature=secret")
    assert url.shown.startswith("https://h.example:8443/aaa")
    assert "secret" not in url.shown
    assert len(url.shown) < 160


PIECES = (
    "http:// https: // / \\ @ : # ? [ ] % . .. %2f %40 a.example 127.0.0.1 ::1 0x7f xn--a 80 - _ é"
)
pieces = st.sampled_from([*PIECES.split(), " ", "\t"])
texts = st.lists(pieces, max_size=8).map("".join) | st.text(string.printable, max_size=30)


@given(texts)
def test_every_parser_reads_an_accepted_address_alike(tail: str) -> None:
    value = "http://" + tail
    try:
        url = read_url(value)
    except UrlRefused:
        return
    parts, other = urlsplit(value), httpx.URL(value)
    hosts = {parts.hostname, other.raw_host.decode()}
    assert len(hosts) == 1
    assert _same_host(url.origin.host, hosts.pop() or "")
    assert (parts.port or 80) == (other.port or 80) == url.origin.port
    assert read_url(str(url)) == url
    assert value.isascii()
    assert "@" not in parts.netloc


def _same_host(one: str, other: str) -> bool:
    if ":" in one:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    return one == other


@given(st.text())
def test_any_text_is_an_address_or_refused(value: str) -> None:
    try:
        read_url(value)
    except UrlRefused:
        return


@pytest.mark.parametrize("ip", NOT_PUBLIC)
def test_private_addresses_in_any_form_are_not_public(ip: str) -> None:
    assert not is_public(read_ip(ip))


@pytest.mark.parametrize("ip", PUBLIC)
def test_public_addresses_are_public(ip: str) -> None:
    assert is_public(read_ip(ip))


@given(st.ip_addresses(v=4))
def test_an_ipv4_mapped_address_counts_as_its_ipv4_address(ip: ipaddress.IPv4Address) -> None:
    assert is_public(read_ip(f"::ffff:{ip}")) == is_public(ip)
    assert not is_public(read_ip(f"64:ff9b::{ip}"))


ALLOWED = AllowList(
    ["http://minio:9000", "https://10.0.3.0/24", "http://10.9.0.0:9000/16", "http://[fd00::]/8"]
)


@pytest.mark.parametrize(
    ("origin", "ip", "admitted"),
    [
        (("http", "minio", 9000), "172.18.0.5", True),
        (("http", "minio", 9001), "172.18.0.5", False),
        (("https", "minio", 9000), "172.18.0.5", False),
        (("http", "minio", 80), "172.18.0.5", False),
        (("http", "minio.evil", 9000), "172.18.0.5", False),
        (("https", "10.0.3.7", 443), "10.0.3.7", True),
        (("https", "nas.example", 443), "10.0.3.7", True),
        (("http", "10.0.3.7", 80), "10.0.3.7", False),
        (("https", "10.0.4.7", 443), "10.0.4.7", False),
        (("https", "10.0.3.7", 8443), "10.0.3.7", False),
        (("http", "nas", 9000), "10.9.255.1", True),
        (("http", "nas", 9000), "8.8.8.8", False),
        (("http", "nas", 80), "fd12::1", True),
        (("http", "pictures.example", 80), "8.8.8.8", True),
        (("http", "pictures.example", 8080), "8.8.8.8", False),
    ],
)
def test_the_operator_allows_exactly_what_the_entries_name(
    origin: tuple[str, str, int], ip: str, admitted: bool
) -> None:
    assert ALLOWED.admits(Origin(*origin), read_ip(ip)) is admitted


@pytest.mark.parametrize(
    ("port", "opened"), [(80, True), (443, True), (9000, True), (22, False), (6379, False)]
)
def test_only_the_default_ports_and_allowed_ones_are_open(port: int, opened: bool) -> None:
    assert ALLOWED.opens_port(Origin("http", "pictures.example", port)) is opened


@pytest.mark.parametrize(
    ("origin", "named"),
    [
        (("http", "minio", 9000), True),
        (("https", "minio", 9000), False),
        (("http", "minio", 80), False),
        (("https", "10.0.3.7", 443), False),
    ],
)
def test_an_origin_is_named_by_its_own_entry_and_by_no_network(
    origin: tuple[str, str, int], named: bool
) -> None:
    assert ALLOWED.names(Origin(*origin)) is named


NO_ORIGINS = (
    "minio:9000 * http://*:9000 http://minio/bucket http://10.0.3.1/24 ftp://minio"
    " http://10.0.3.0/99 http://minio/24 http://u:p@minio"
)


@pytest.mark.parametrize("entry", ["", *NO_ORIGINS.split()])
def test_an_entry_that_is_no_origin_is_a_setting_error(entry: str) -> None:
    with pytest.raises(SettingError):
        AllowList([entry])


@pytest.mark.parametrize(
    ("address", "cure"),
    [
        ("/data/local-files/?d=set\\a.png", "Write %5C instead"),
        ("/data/local-files/?d=C:\\set\\a.png", "Write %5C instead"),
        ("\\data\\upload\\1\\a.png", "Write / instead"),
        ("C:\\set\\a.png", "It is a path on a disk"),
        ("\\\\server\\set\\a.png", "It is a path on a disk"),
        ("http://pictures.example/a\n.png", "Remove it"),
        ("http://pictures.example/a b.png", "Percent-encode the path"),
        ("http:///a.png", "Write it like https://host/folder/picture.jpg"),
        ("http://-pictures.example/", "Write it like https://host/folder/picture.jpg"),
        ("http://2130706433/", "as decimal numbers"),
        ("http://user@pictures.example/", "Leave user and password out"),
        ("ftp://pictures.example/a.png", "Use an http(s) address"),
    ],
)
def test_an_ill_spelled_address_is_told_how_to_write_it(address: str, cure: str) -> None:
    """Opening its origin would help none of them."""
    with pytest.raises(UrlRefused) as caught:
        read_url(address)
    assert cure in caught.value.hint
    assert "GROUNDING_ALLOWED_ORIGINS" not in caught.value.hint
