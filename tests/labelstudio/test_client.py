"""Label Studio's files and the token that opens them, against a real server on loopback."""

from __future__ import annotations

import base64
import json
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import (
    ImageMissing,
    ImageUnreachable,
    ImageUnreadable,
    SettingError,
    UrlRefused,
)
from grounding.images.fetch import Fetcher, FetchRules
from grounding.labelstudio.client import LabelStudioClient
from tests.images.hosts import BODY, Host, Names, Reply, answer, host, moved, ok

LEGACY = "0123456789abcdef0123456789abcdef01234567"
FILE = "/data/upload/1/cat.jpg"


def jwt(kind: str) -> str:
    """Return a token in the form of Label Studio's, of no use anywhere."""
    parts = ({"alg": "HS256"}, {"token_type": kind}, {"signature": kind})
    texts = (json.dumps(part).encode() for part in parts)
    return ".".join(base64.urlsafe_b64encode(text).decode().rstrip("=") for text in texts)


PERSONAL = jwt("refresh")


def access(name: str) -> bytes:
    return ok(json.dumps({"access": name}).encode(), "Content-Type: application/json")


def authorization(request: str) -> str | None:
    found = re.search(r"^Authorization: (.*)\r$", request, re.MULTILINE | re.IGNORECASE)
    return found and found[1]


def fetch(value: str, server: Host, token: str = LEGACY, *allowed: Host) -> bytes:
    rules = FetchRules(frozenset(h.origin for h in allowed), pause_s=0.01)
    return Fetcher(rules, LabelStudioClient(server.origin, token)).fetch(value, 7)


# Where a value lives


@pytest.mark.parametrize(
    ("base", "value", "address"),
    [
        ("http://ls:8080", FILE, f"http://ls:8080{FILE}"),
        ("http://ls:8080/", FILE, f"http://ls:8080{FILE}"),
        ("https://ls", "/data/upload/1/a%20b.jpg?x=%2F", "https://ls/data/upload/1/a%20b.jpg?x=%2F"),
        ("https://ls", "/data/upload/1/фото 1.jpg", "https://ls/data/upload/1/%D1%84%D0%BE%D1%82%D0%BE%201.jpg"),
        ("https://ls", "upload/1/cat.jpg", f"https://ls{FILE}"),
        ("https://ls", "/upload/1/cat.jpg", f"https://ls{FILE}"),
        ("https://ls", "data/upload/1/cat.jpg", f"https://ls{FILE}"),
        ("https://ls", "/storage-data/uploaded/?filepath=upload/1/x", "https://ls/storage-data/uploaded/?filepath=upload/1/x"),
        ("https://ls", "/tasks/7/resolve/?fileuri=czM6", "https://ls/tasks/7/resolve/?fileuri=czM6"),
        ("https://ls", "/projects/7/presign/?fileuri=czM6", "https://ls/projects/7/presign/?fileuri=czM6"),
        ("https://ls", "/static/samples/sample.jpg", "https://ls/static/samples/sample.jpg"),
        ("https://ls/sub", f"/static/a.png?next={FILE}", f"https://ls/static/a.png?next={FILE}"),
        ("https://ls/sub", FILE, f"https://ls/sub{FILE}"),
        ("https://ls/sub", f"/sub{FILE}", f"https://ls/sub{FILE}"),
        ("https://ls/sub/", f"https://ls/sub{FILE}", f"https://ls/sub{FILE}"),
        ("https://ls/sub", "/static/samples/sample.jpg", "https://ls/static/samples/sample.jpg"),
        ("http://ls:8080", f"/label-studio{FILE}", f"http://ls:8080{FILE}"),
        ("http://ls:8080", f"http://ls:8080{FILE}", f"http://ls:8080{FILE}"),
        ("http://LS:80", f"HTTP://ls{FILE}", f"http://ls{FILE}"),
        ("http://ls:8080", "http://ls:8080/other.jpg", "http://ls:8080/other.jpg"),
        ("http://ls:8080", f"http://localhost:8080{FILE}", f"http://ls:8080{FILE}"),
        ("http://ls:8080", f"http://127.0.0.1{FILE}", f"http://ls:8080{FILE}"),
        ("http://ls:8080", f"http://[::1]:8080{FILE}", f"http://ls:8080{FILE}"),
    ],
)  # fmt: skip
def test_every_way_of_writing_a_file_leads_to_the_one_address(
    base: str, value: str, address: str
) -> None:
    assert LabelStudioClient(base).address(value, None) == address


@pytest.mark.parametrize(
    "value",
    [
        "https://pictures.example/a.png",
        f"https://pictures.example{FILE}",
        f"http://ls.evil{FILE}",
        f"http://ls.evil:8080{FILE}",
        f"http://ls:8081{FILE}",
        f"http://ls{FILE}",
        f"https://ls:8080{FILE}",
        f"http://ls:8080@evil{FILE}",
        f"http://me@ls:8080{FILE}",
        f"//ls:8080{FILE}",
        "http://localhost:9000/bucket/a.png",
        f"http://pictures.example/?next=http://ls:8080{FILE}",
        f"http://localhost.evil{FILE}",
        f"http://localhost:9000/a.png?next={FILE}",
        "http://[",
        "$undefined$",
        "cat.jpg",
        "",
    ],
)
def test_what_lives_elsewhere_is_left_to_the_general_rule(value: str) -> None:
    assert LabelStudioClient("http://ls:8080", LEGACY).address(value, None) is None


@pytest.mark.parametrize(
    "value",
    [
        "s3://bucket/key.png",
        "S3://bucket/key.png",
        "gs://bucket/key.png",
        "azure-blob://container/key.png",
        "/data/local-files/?d=a/b.png",
        "/sub/data/local-files/?d=../../etc/passwd",
        "http://ls:8080/data/local-files/?d=a.png",
        "http://localhost:8080/data/local-files/?d=a.png",
    ],
)
def test_what_cannot_be_resolved_yet_is_refused_with_a_cure(value: str) -> None:
    with pytest.raises(UrlRefused) as refusal:
        LabelStudioClient("http://ls:8080").address(value, 7)
    assert refusal.value.hint.endswith(("of the objects", "of them"))


@given(value=st.text(max_size=60) | st.text(max_size=40).map("/data/upload/".__add__))
def test_no_value_leads_anywhere_but_to_this_label_studio(value: str) -> None:
    try:
        address = LabelStudioClient("http://ls:8080/sub").address(value, None)
    except UrlRefused:
        return
    assert address is None or address.startswith("http://ls:8080/")


@pytest.mark.parametrize(
    "url", ["", "ls:8080", "ftp://ls", "http://", "http://me:secret@ls", "http://l s"]
)
def test_an_address_of_label_studio_that_cannot_be_read_refuses_to_start(url: str) -> None:
    with pytest.raises(SettingError) as failure:
        LabelStudioClient(url)
    assert "secret" not in str(failure.value)


# What the token opens


@pytest.mark.parametrize(
    "url",
    [
        f"http://ls:8080/sub{FILE}",
        "http://ls:8080/sub/storage-data/uploaded/?filepath=x",
        "http://ls:8080/sub/tasks/7/resolve/?fileuri=x",
    ],
)
def test_the_token_goes_with_a_request_for_a_file(url: str) -> None:
    client = LabelStudioClient("http://ls:8080/sub", LEGACY)
    assert client.headers(url) == {"Authorization": f"Token {LEGACY}"}
    assert LabelStudioClient("http://ls:8080/sub").headers(url) == {}


@pytest.mark.parametrize(
    "url",
    [
        f"https://ls:8080/sub{FILE}",
        f"http://ls:8081/sub{FILE}",
        f"http://ls/sub{FILE}",
        f"http://ls.evil:8080/sub{FILE}",
        f"http://ls:8080{FILE}",
        f"http://ls:8080/substitute{FILE}",
        f"http://ls:8080/abc{FILE}",
        "http://ls:8080/sub/api/projects/1/export",
        "http://ls:8080/sub/tasks/7/",
        "http://ls:8080/sub/static/a.png",
        f"http://ls:8080/sub/api/x?next=/sub{FILE}",
        f"http://ls:8080/sub/api/x{FILE}",
        "http://ls:8080/sub/data/upload/../../api/users",
        "http://ls:8080/sub/data/upload/%2e%2e/%2E%2e/api/users",
        "http://ls:8080/sub/data/upload/..%2f..%2fapi/users",
    ],
)
def test_the_token_goes_with_nothing_else(url: str) -> None:
    assert LabelStudioClient("http://ls:8080/sub", LEGACY).headers(url) == {}


def test_an_uploaded_file_comes_with_a_legacy_token() -> None:
    with host() as server:
        assert fetch(FILE, server) == BODY
    assert server.requests[0].startswith(f"GET {FILE} ")
    assert authorization(server.requests[0]) == f"Token {LEGACY}"


def test_a_file_comes_under_the_sub_path() -> None:
    with host(access("one"), ok()) as server:
        client = LabelStudioClient(f"{server.origin}/sub/", PERSONAL)
        assert Fetcher(FetchRules(), client).fetch(f"/sub{FILE}") == BODY
    assert [r.split()[1] for r in server.requests] == [
        "/sub/api/token/refresh/",
        f"/sub{FILE}",
    ]


def test_a_personal_access_token_is_exchanged_once_for_many_files() -> None:
    with host(access("one"), ok()) as server:
        client = LabelStudioClient(server.origin, PERSONAL)
        fetcher = Fetcher(FetchRules(), client)
        assert [fetcher.fetch(FILE) for _ in range(3)] == [BODY] * 3
    exchange, *files = server.requests
    assert exchange.startswith("POST /api/token/refresh/ ")
    assert authorization(exchange) is None
    assert [authorization(file) for file in files] == ["Bearer one"] * 3
    assert not any(PERSONAL in file for file in files)


def test_an_access_token_is_renewed_before_it_lapses() -> None:
    now = 1000.0
    with host(access("one"), access("two")) as server:
        client = LabelStudioClient(server.origin, PERSONAL, clock=lambda: now)
        url = server.origin + FILE
        assert client.headers(url) == {"Authorization": "Bearer one"}
        now += 265
        assert client.headers(url) == {"Authorization": "Bearer one"}
        now += 10
        assert client.headers(url) == {"Authorization": "Bearer two"}


def test_an_access_token_refused_early_is_renewed_once() -> None:
    with host(access("one"), answer(401), access("two"), ok()) as server:
        assert fetch(FILE, server, PERSONAL) == BODY
    assert authorization(server.requests[1]) == "Bearer one"
    assert authorization(server.requests[3]) == "Bearer two"
    with host(access("one"), answer(401), access("two"), answer(401)) as server:
        with pytest.raises(ImageMissing) as failure:
            fetch(FILE, server, PERSONAL)
        assert len(server.requests) == 4
    assert failure.value.code == "image_forbidden"
    assert "LABEL_STUDIO_API_KEY" in failure.value.hint


def test_many_threads_share_one_exchange() -> None:
    with host(access("one"), access("two")) as server:
        client = LabelStudioClient(server.origin, PERSONAL)
        got: list[dict[str, str]] = []
        threads = [
            threading.Thread(target=lambda: got.append(client.headers(server.origin + FILE)))
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == [{"Authorization": "Bearer one"}] * 16
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refused_token_says_which_setting_to_change(status: int) -> None:
    with host(answer(status)) as server, pytest.raises(ImageMissing) as failure:
        fetch(FILE, server, PERSONAL)
    assert failure.value.code == "image_forbidden"
    assert "LABEL_STUDIO_API_KEY" in failure.value.hint
    assert PERSONAL not in str(failure.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply", [answer(503), ok(b"<html>"), ok(b"[]"), ok(b"{}"), moved("/x"), b""]
)
def test_an_exchange_that_fails_may_work_later(reply: Reply) -> None:
    with host(reply) as server, pytest.raises(ImageUnreachable) as failure:
        fetch(FILE, server, PERSONAL)
    assert failure.value.retryable
    assert PERSONAL not in str(failure.value)
    with host(reply, access("one"), ok()) as server:
        assert fetch(FILE, server, PERSONAL) == BODY


def test_the_exchange_ignores_proxies_and_redirects(monkeypatch: pytest.MonkeyPatch) -> None:
    with host(access("stolen")) as spy, host(moved(f"{spy.origin}/")) as server:
        monkeypatch.setenv("HTTP_PROXY", spy.origin)
        monkeypatch.setenv("ALL_PROXY", spy.origin)
        with pytest.raises(ImageUnreachable):
            LabelStudioClient(server.origin, PERSONAL).headers(server.origin + FILE)
    assert spy.requests == []


# What the token never reaches


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_takes_the_token_to_another_host(status: int) -> None:
    with host(address="127.0.0.2") as spy, host(moved(f"{spy.origin}{FILE}", status)) as server:
        assert fetch(FILE, server, LEGACY, spy) == BODY
    assert authorization(server.requests[0]) == f"Token {LEGACY}"
    assert authorization(spy.requests[0]) is None
    assert LEGACY not in spy.requests[0]


def test_no_redirect_takes_the_token_to_another_port() -> None:
    with host() as spy, host(moved(f"{spy.origin}{FILE}")) as server:
        assert fetch(FILE, server, LEGACY, spy) == BODY
    assert authorization(spy.requests[0]) is None


def test_a_way_that_once_left_label_studio_has_lost_the_token() -> None:
    with host() as away, host(moved(f"{away.origin}/")) as server:
        away.replies = [moved(f"{server.origin}{FILE}")]
        server.replies = [moved(f"{away.origin}/"), ok()]
        assert fetch(FILE, server, LEGACY, away, server) == BODY
    assert [authorization(r) for r in server.requests] == [f"Token {LEGACY}", None]
    assert authorization(away.requests[0]) is None


def test_a_foreign_address_cannot_send_us_into_label_studio() -> None:
    with host() as server, host(moved(f"{server.origin}{FILE}")) as away, pytest.raises(UrlRefused):
        fetch(f"{away.origin}/a.png", server, LEGACY, away)
    assert len(away.requests) == 1
    assert server.requests == []


def test_within_label_studio_a_redirect_keeps_the_token_for_files_only() -> None:
    page = ok(b"<html>Log in", "Content-Type: text/html")
    ways = [moved("/storage-data/uploaded/?filepath=x"), moved("/user/login/"), page]
    with host(*ways) as server, pytest.raises(ImageUnreadable, match="is a login needed"):
        fetch(FILE, server)
    token = f"Token {LEGACY}"
    assert [authorization(r) for r in server.requests] == [token, token, None]


@pytest.mark.parametrize("name", ["labelstudio.evil", "evil"])
def test_a_foreign_host_gets_no_token_whatever_it_is_called(name: str) -> None:
    resolver = Names(**{"labelstudio": [["127.0.0.1"]], name.replace(".", "_"): [["127.0.0.1"]]})
    with host() as server:
        foreign = f"http://{name}:{server.port}"
        client = LabelStudioClient(f"http://labelstudio:{server.port}", LEGACY)
        fetcher = Fetcher(FetchRules(frozenset({foreign})), client, resolve=resolver)
        assert fetcher.fetch(f"{foreign}{FILE}") == BODY
        assert fetcher.fetch(FILE) == BODY
    assert [authorization(r) for r in server.requests] == [None, f"Token {LEGACY}"]


@pytest.mark.parametrize("odd", ["\n", "\t", "\x00", "\\", "\x7f"])
def test_a_path_with_control_characters_is_refused_on_label_studio_too(odd: str) -> None:
    with host() as server, pytest.raises(UrlRefused):
        fetch(f"/data/upload/1/a{odd}b.png", server)
    assert server.requests == []


def test_label_studio_may_be_private_where_no_other_host_may() -> None:
    with host() as server, host() as other:
        assert fetch(FILE, server) == BODY
        assert fetch("/static/a.png", server) == BODY
        with pytest.raises(UrlRefused):
            fetch(f"{other.origin}/a.png", server)
    assert authorization(server.requests[1]) is None
    assert other.requests == []


def test_a_path_without_a_label_studio_says_what_to_set() -> None:
    with pytest.raises(UrlRefused) as refusal:
        Fetcher(FetchRules()).fetch(FILE)
    assert "LABEL_STUDIO_URL" in refusal.value.hint
