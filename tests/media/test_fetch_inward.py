"""No task makes a fetch connect to the inside of the network."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from grounding.errors import (
    ImageUnreachable,
    SettingError,
    UrlRefused,
)
from grounding.media.fetch import Fetcher, FetchRules
from tests.media.hosts import (
    BODY,
    PUBLIC_IP,
    Names,
    Spy,
    answer,
    fetched,
    host,
    moved,
    ok,
    rules,
)

INWARD = [
    "http://127.0.0.1/",
    "http://127.8.8.8/a.png",
    "http://localhost/",
    "http://LOCALHOST/",
    "http://[::1]/",
    "http://[::]/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.17.0.1/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://168.63.129.16/machine",
    "http://100.64.0.1/",
    "http://192.0.0.9/",
    "http://192.88.99.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://[5f00::1]/",
    "http://[3fff::1]/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.0.1./",
    "http://localhost./",
    "http://inner.example/",
    "http://mixed.example/",
    "http://mapped.example/",
    "http://six.example/",
    "http://127.0.0.1\\@pictures.example/",
    "http://pictures.example\\@127.0.0.1/",
    "http://127.0.0.1#@pictures.example:80@x/",
    "http://pictures.example@127.0.0.1/",
    "http://pictures.example:80@127.0.0.1/",
    "http://127.0.0.1%2f@pictures.example/",
    "http://127.0.0.1\t/",
    "http://127.0.\n0.1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://pictures.example:22/",
    "http://pictures.example:6379/",
    "http://pictures.example:0/",
    "http://pictures.example:99999/",
    "ftp://pictures.example/a.png",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "file:///etc/passwd",
    "/etc/passwd",
    "/proc/self/environ",
    "../../etc/passwd",
    "//127.0.0.1/a.png",
    "/data/local-files/?d=../../etc/passwd",
    "s3://bucket/key.png",
    "gs://bucket/key.png",
    "azure-blob://container/key.png",
    "javascript:alert(1)",
    "$undefined$",
    " ",
]


def names() -> Names:
    return Names(
        localhost=[["127.0.0.1", "::1"]],
        pictures_example=[[PUBLIC_IP]],
        inner_example=[["10.0.0.5"]],
        mixed_example=[[PUBLIC_IP, "127.0.0.1"]],
        mapped_example=[["::ffff:127.0.0.1"]],
        six_example=[["2606:4700::1111", "fe80::1%eth0"]],
    )


# Addresses


def test_the_table_has_at_least_60_addresses() -> None:
    assert len(set(INWARD)) >= 60


@pytest.mark.parametrize("value", INWARD)
def test_no_task_reaches_the_inside_of_the_network(value: str) -> None:
    spy = Spy()
    with pytest.raises(UrlRefused) as refusal:
        Fetcher(rules(), resolve=names(), network=spy).fetch(value)
    assert spy.connections == []
    looked_up = {"10.0.0.5", "127.0.0.1", "fe80::1", PUBLIC_IP}
    assert not [ip for ip in looked_up if ip in str(refusal.value) and ip not in value]
    assert not refusal.value.retryable


def test_a_public_host_is_connected_to_at_the_address_that_was_checked() -> None:
    with host() as server:
        spy, resolver = Spy(instead=("127.0.0.1", server.port)), names()
        fetcher = Fetcher(rules(), resolve=resolver, network=spy)
        assert fetcher.fetch("http://pictures.example/a%20b.png?sig=a%2Bb+c") == BODY
    assert resolver.asked == ["pictures.example"]
    assert spy.connections == [(PUBLIC_IP, 80)]
    assert server.requests[0].startswith("GET /a%20b.png?sig=a%2Bb+c HTTP/1.1\r\n")
    assert "Host: pictures.example\r\n" in server.requests[0]
    assert "Accept-Encoding: identity\r\n" in server.requests[0]


@pytest.mark.parametrize("port", [22, 6379, 8080])
def test_a_host_on_a_port_that_is_not_allowed_is_not_looked_up(port: int) -> None:
    resolver = names()
    with pytest.raises(UrlRefused, match="port"):
        Fetcher(rules(), resolve=resolver).fetch(f"http://pictures.example:{port}/")
    assert resolver.asked == []


def test_a_host_is_looked_up_once_for_all_tries() -> None:
    resolver = Names(rebinding_example=[[PUBLIC_IP], ["127.0.0.1"]])
    with host(answer(503), answer(503), ok()) as server:
        spy = Spy(instead=("127.0.0.1", server.port))
        Fetcher(rules(), resolve=resolver, network=spy).fetch("http://rebinding.example/")
    assert resolver.asked == ["rebinding.example"]
    assert spy.connections == [(PUBLIC_IP, 80)] * 3


def test_a_host_that_resolves_to_the_inside_after_a_redirect_is_refused() -> None:
    resolver = Names(rebinding_example=[[PUBLIC_IP], ["127.0.0.1"]])
    with host(moved("/again")) as server:
        spy = Spy(instead=("127.0.0.1", server.port))
        with pytest.raises(UrlRefused):
            Fetcher(rules(), resolve=resolver, network=spy).fetch("http://rebinding.example/")
    assert spy.connections == [(PUBLIC_IP, 80)]


def test_the_next_checked_address_is_used_if_the_first_does_not_accept() -> None:
    resolver = Names(minio=[["127.0.0.3", "127.0.0.1"]])
    with host() as server:
        spy = Spy()
        origin = f"http://minio:{server.port}"
        fetcher = Fetcher(rules(origin), resolve=resolver, network=spy)
        assert fetcher.fetch(f"{origin}/a.png") == BODY
    assert spy.connections == [("127.0.0.3", server.port), ("127.0.0.1", server.port)]


def test_a_network_is_allowed_for_its_scheme_and_port_only() -> None:
    with host() as server:
        network = f"http://127.0.0.0:{server.port}/8"
        assert fetched(f"{server.origin}/a.png", network) == BODY
        with pytest.raises(UrlRefused):
            fetched(f"{server.origin}/a.png", "http://127.0.0.0/8")


def test_proxies_and_netrc_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("NETRC", str(netrc))
    with host() as proxy, host() as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.origin)
            monkeypatch.setenv(name.lower(), proxy.origin)
        assert fetched(f"{server.origin}/a.png", server) == BODY
    assert proxy.requests == []
    assert "Authorization" not in server.requests[0]


def test_an_invalid_origin_is_a_setting_error() -> None:
    with pytest.raises(SettingError):
        FetchRules(allowed_origins=frozenset({"minio"}))


# Redirects


def test_a_redirect_to_a_host_that_is_not_allowed_is_refused() -> None:
    with host(address="127.0.0.2") as inner, host(moved(f"{inner.origin}/")) as outer:
        with pytest.raises(UrlRefused):
            fetched(outer.origin, outer)
        assert len(outer.requests) == 1
        assert inner.requests == []


def test_a_redirect_to_an_allowed_host_is_followed() -> None:
    with host(address="127.0.0.2") as other, host(moved(f"{other.origin}/b.png")) as first:
        assert fetched(f"{first.origin}/a.png", first, other) == BODY
        assert other.requests[0].startswith("GET /b.png ")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_three_redirects_are_followed_and_a_fourth_is_not(status: int) -> None:
    ways = [moved("/1", status), moved("2?x=1", status), moved("/3", status)]
    with host(*ways, ok()) as server:
        assert fetched(f"{server.origin}/a.png", server) == BODY
        assert [r.split()[1] for r in server.requests] == ["/a.png", "/1", "/2?x=1", "/3"]
    with host(moved("/on")) as server:
        with pytest.raises(UrlRefused, match="more than 3 redirects"):
            fetched(server.origin, server)
        assert len(server.requests) == 4


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "s3://bucket/key",
        "http://user:secret@127.0.0.1/",
        "http://[",
        "//127.0.0.1:1/",
        "http://127.0.0.1\\@pictures.example/",
        "/caf\xe9.png",
        "/a\tb.png",
        "/" + "a" * 8100,
    ],
)
def test_a_redirect_is_parsed_as_strictly_as_an_address(location: str) -> None:
    with host(moved(location)) as server:
        with pytest.raises(UrlRefused):
            fetched(server.origin, server)
        assert len(server.requests) == 1


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the key and the self-signed certificate of `pictures.example`."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    pem = tmp_path_factory.mktemp("tls") / "pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "-"]
    name = ["-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example"]
    made = subprocess.run(
        ["openssl", "req", "-x509", *key, *name, "-days", "2"], check=True, capture_output=True
    )
    pem.write_bytes(made.stdout)
    return pem


@pytest.fixture
def tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return the server's side of a connection to `pictures.example`, which clients trust."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def test_the_certificate_must_be_that_of_the_name_though_an_address_is_connected_to(
    tls: ssl.SSLContext,
) -> None:
    asked: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: asked.append(name)
    resolver = Names(pictures_example=[[PUBLIC_IP]], other_example=[[PUBLIC_IP]])
    with host(tls=tls) as server:
        spy = Spy(instead=("127.0.0.1", server.port))
        fetcher = Fetcher(rules(), resolve=resolver, network=spy)
        assert fetcher.fetch("https://pictures.example/a.png") == BODY
        with pytest.raises(ImageUnreachable, match="no valid certificate"):
            fetcher.fetch("https://other.example/a.png")
    assert asked[:2] == ["pictures.example", "other.example"]
    assert spy.connections[:2] == [(PUBLIC_IP, 443)] * 2
    assert len(server.requests) == 1


@pytest.mark.parametrize("location", ["http://plain.example/b.png", "http://pictures.example/"])
def test_a_redirect_from_https_to_http_is_refused(tls: ssl.SSLContext, location: str) -> None:
    resolver = Names(pictures_example=[[PUBLIC_IP]], plain_example=[[PUBLIC_IP]])
    with host(moved(location), tls=tls) as server:
        spy = Spy(instead=("127.0.0.1", server.port))
        with pytest.raises(UrlRefused, match="from https to http") as refusal:
            Fetcher(rules("http://10.0.3.0/24"), resolve=resolver, network=spy).fetch(
                "https://pictures.example/a.png"
            )
    assert "ALLOWED_ORIGINS" in refusal.value.hint
    assert spy.connections == [(PUBLIC_IP, 443)]
    assert resolver.asked == ["pictures.example"]


def test_a_redirect_from_https_to_an_allowed_http_origin_is_followed(tls: ssl.SSLContext) -> None:
    resolver = Names(pictures_example=[[PUBLIC_IP]])
    with host() as inner, host(moved(f"{inner.origin}/b.png"), tls=tls) as outer:
        spy = Spy(instead=("127.0.0.1", outer.port))
        fetcher = Fetcher(rules(inner), resolve=resolver, network=spy)
        assert fetcher.fetch("https://pictures.example/a.png") == BODY


def test_a_redirect_from_http_to_https_is_followed(tls: ssl.SSLContext) -> None:
    with host(tls=tls) as secure, host(moved("https://pictures.example/b.png")) as first:
        spy = Spy(instead=("127.0.0.1", secure.port))
        resolver = Names(pictures_example=[[PUBLIC_IP]])
        fetcher = Fetcher(rules(first), resolve=resolver, network=spy)
        assert fetcher.fetch(f"{first.origin}/a.png") == BODY
