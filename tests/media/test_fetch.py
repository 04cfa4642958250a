"""What a fetch returns, and the error that it raises where it returns nothing."""

from __future__ import annotations

import base64
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.errors import (
    GroundingError,
    ImageMissing,
    ImageTooLarge,
    ImageUnreachable,
    ImageUnreadable,
    UrlRefused,
)
from grounding.labelstudio.client.files import LabelStudioClient
from grounding.media.fetch import Fetcher, FetchRules
from tests.media.hosts import (
    BODY,
    Names,
    Spy,
    answer,
    fetched,
    host,
    ok,
    reset,
    rules,
)

# Failures and retries


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_temporary_failure_is_retried_twice(status: int) -> None:
    with host(answer(status), answer(status), ok()) as server:
        assert fetched(server.origin, server) == BODY
    with host(answer(status)) as server:
        with pytest.raises(ImageUnreachable, match=f"answered {status}") as failure:
            fetched(server.origin, server)
        assert len(server.requests) == 3
    assert failure.value.code == "image_unreachable"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "image_forbidden"),
        (403, "image_forbidden"),
        (404, "image_not_found"),
        (410, "image_not_found"),
        (400, "image_not_found"),
        (304, "image_not_found"),
        (302, "image_not_found"),
    ],
)
def test_a_refusal_is_not_retried(status: int, code: str) -> None:
    with host(answer(status)) as server:
        with pytest.raises(ImageMissing) as failure:
            fetched(server.origin, server)
        assert failure.value.code == code
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_waits_as_long_as_the_host_asks(status: int) -> None:
    with host(answer(status, "Retry-After: 1"), ok()) as server:
        started = time.monotonic()
        assert fetched(server.origin, server) == BODY
        assert time.monotonic() - started >= 1


def in_an_hour() -> str:
    """Return the date of an hour from now as a Retry-After field has it."""
    return format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize("asked", ["3600", "1e9", "9" * 40, in_an_hour()], ids=range(4))
def test_a_host_that_asks_to_wait_beyond_the_deadline_is_not_asked_again(asked: str) -> None:
    with host(answer(429, f"Retry-After: {asked}"), ok()) as server:
        with pytest.raises(ImageUnreachable, match="answered 429"):
            fetched(server.origin, server)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "odd",
    [
        "soon",
        "-5",
        "nan",
        "inf",
        "",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Thu, 01 Jan 0001 00:00:00 -0000",
    ],
)
def test_a_retry_after_that_is_no_time_to_come_is_ignored(odd: str) -> None:
    with host(answer(429, f"Retry-After: {odd}"), ok()) as server:
        assert fetched(server.origin, server) == BODY


def test_a_reset_is_retried() -> None:
    with host(reset, reset, ok()) as server:
        assert fetched(server.origin, server) == BODY


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000 + b"\r\n",
    ],
)
def test_a_host_that_speaks_no_http_is_unreachable(noise: bytes) -> None:
    with host(noise) as server, pytest.raises(ImageUnreachable) as failure:
        fetched(server.origin, server)
    assert failure.value.code == "image_unreachable"


@pytest.mark.parametrize(
    "length", ["1" + "0" * 30, "9" * 5000, "-5", "five", "3\r\nContent-Length: 5"]
)
def test_a_content_length_that_cannot_be_read_is_refused_at_once(length: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nabc".encode()
    with host(head) as server:
        with pytest.raises(ImageUnreadable, match="Content-Length") as failure:
            fetched(server.origin, server)
        assert len(server.requests) == 1
    assert not failure.value.retryable


def test_a_port_without_a_listener_is_unreachable() -> None:
    with host() as server:
        pass
    with pytest.raises(ImageUnreachable) as failure:
        fetched(server.origin, server)
    assert failure.value.code == "image_unreachable"


def test_an_unknown_host_name_is_unreachable() -> None:
    with pytest.raises(ImageUnreachable, match="cannot be found"):
        Fetcher(rules(), resolve=Names()).fetch("http://nowhere.example/a.png")


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (socket.gaierror(), ImageUnreachable),
        (PermissionError(), ImageUnreachable),
        (UnicodeError("label too long"), ImageUnreachable),
        (OverflowError(), OverflowError),
        (RuntimeError(), RuntimeError),
    ],
    ids=repr,
)
def test_whatever_the_lookup_raises_ends_the_fetch_at_once(
    failure: Exception, raised: type[Exception]
) -> None:
    def resolve(name: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        raise failure

    with pytest.raises(raised) as caught:
        Fetcher(rules(total_s=30), resolve=resolve).fetch("http://pictures.example/a.png")
    if isinstance(caught.value, GroundingError):
        assert (caught.value.code, "cannot be found" in str(caught.value)) == (
            "image_unreachable",
            True,
        )


def test_a_host_name_without_an_address_is_unreachable() -> None:
    with pytest.raises(ImageUnreachable):
        Fetcher(rules(), resolve=Names(void_example=[[]])).fetch("http://void.example/a.png")


# Responses


@pytest.mark.parametrize("page", [b"<!doctype html><p>Log in", b"\xef\xbb\xbf\r\n <html>"])
def test_a_web_page_is_no_picture_and_the_hint_asks_about_a_login(page: bytes) -> None:
    with (
        host(ok(page, "Content-Type: text/html; charset=utf-8")) as server,
        pytest.raises(ImageUnreadable, match="is a login needed") as failure,
    ):
        fetched(server.origin, server)
    assert failure.value.code == "image_unreadable"


def test_a_picture_with_a_wrong_content_type_is_returned() -> None:
    with host(ok(b"\x89PNG", "Content-Type: text/html")) as server:
        assert fetched(server.origin, server) == b"\x89PNG"


def test_messages_name_the_path_but_neither_the_query_nor_the_ip_address() -> None:
    resolver = Names(minio=[["127.0.0.1"]])
    with host(answer(404)) as server:
        origin = f"http://minio:{server.port}"
        with pytest.raises(ImageMissing) as failure:
            Fetcher(rules(origin), resolve=resolver).fetch(f"{origin}/a.png?X-Amz-Signature=secret")
    assert f"{origin}/a.png" in str(failure.value)
    assert "secret" not in str(failure.value)
    assert "127.0.0.1" not in str(failure.value)


def test_too_long_an_address_is_refused_with_its_own_code() -> None:
    with pytest.raises(UrlRefused) as failure:
        fetched("http://pictures.example/" + "a" * 10_240)
    assert failure.value.code == "url_too_long"


# data: URIs

PIXEL = bytes(range(256))
PACKED = base64.b64encode(PIXEL).decode()


@pytest.mark.parametrize(
    ("uri", "data"),
    [
        (f"data:image/png;base64,{PACKED}", PIXEL),
        (f"DATA:image/png;BASE64,{PACKED}", PIXEL),
        (f"data:image/png;charset=x;base64,{PACKED}", PIXEL),
        (f"data:;base64,{PACKED.rstrip('=')}", PIXEL),
        (f"data:;base64,{PACKED[:50]}\r\n  {PACKED[50:]}", PIXEL),
        (f"data:;base64,{PACKED.replace('+', '%2B').replace('=', '%3D')}", PIXEL),
        ("data:,a%20b%ff", b"a b\xff"),
        ("data:image/png,%89PNG", b"\x89PNG"),
        ("data:,", b""),
    ],
)
def test_a_data_uri_is_decoded_as_browsers_do(uri: str, data: bytes) -> None:
    assert fetched(uri) == data


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64",
        "data:",
        "data:;base64,AAAA!AAA",
        "data:;base64,A",
        "data:;base64,AA==AA==",
        "data:;base64,-_-_",
        "data:,é",
        "data:,\ud800",
    ],
)
def test_a_data_uri_that_cannot_be_decoded_is_unreadable(uri: str) -> None:
    with pytest.raises(ImageUnreadable) as failure:
        fetched(uri)
    assert failure.value.code == "image_unreadable"


@pytest.mark.parametrize(
    "form", ["data:;base64," + "A" * 1340, "data:," + "a" * 1001, "data:," + "%41" * 1001]
)
def test_a_data_uri_has_the_same_limit_of_bytes(form: str) -> None:
    with pytest.raises(ImageTooLarge):
        fetched(form, max_bytes=1000)


@pytest.fixture(scope="module")
def fetcher() -> Fetcher:
    """Return a fetcher without a network that accepts 300 bytes."""
    return Fetcher(rules(max_bytes=300), resolve=Names(), network=Spy())


@given(data=st.binary(max_size=300))
def test_any_bytes_survive_both_forms_of_a_data_uri(fetcher: Fetcher, data: bytes) -> None:
    assert fetcher.fetch("data:;base64," + base64.b64encode(data).decode()) == data
    assert fetcher.fetch("data:," + "".join(f"%{byte:02x}" for byte in data)) == data


@given(value=st.text(max_size=40) | st.text(max_size=40).map("data:".__add__))
def test_any_text_raises_none_but_our_own_errors(fetcher: Fetcher, value: str) -> None:
    try:
        fetcher.fetch(value)
    except GroundingError:
        return
    assert value[:5].lower() == "data:"


BOTH = ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY")


@pytest.mark.parametrize(
    "value",
    [
        "http://localhost:8080/data/upload/1/cat.jpg",
        "http://127.0.0.1:8080/data/upload/1/cat.jpg",
        "http://192.168.1.7:8080/label-studio/data/upload/1/cat.jpg",
        "http://localhost:8080/data/local-files/?d=set/a.jpg",
        "http://localhost:8080/tasks/7/resolve/?fileuri=x",
        "http://localhost:8080/storage-data/uploaded/?filepath=upload/1/a.jpg",
        "http://localhost/data/upload/1/cat.jpg",
        "/data/upload/1/cat.jpg",
        "upload/1/cat.jpg",
        "data/upload/1/cat.jpg",
        "localhost:8080/data/upload/1/cat.jpg",
        "s3://bucket/cat.jpg",
    ],
)
def test_a_file_of_a_label_studio_that_nobody_named_says_what_to_set(value: str) -> None:
    """It is the commonest first fault: nothing about origins, which would only shift it."""
    with pytest.raises(UrlRefused) as failure:
        Fetcher(FetchRules()).fetch(value)
    assert all(name in failure.value.hint for name in BOTH)
    assert "ALLOWED_ORIGINS" not in str(failure.value)


@pytest.mark.parametrize(
    "responses",
    [[answer(401)], [answer(403)], [answer(404)], [ok(b"<html>", "Content-Type: text/html")]],
)
def test_a_public_label_studio_that_nobody_named_says_what_to_set(responses: list[bytes]) -> None:
    with host(*responses) as server, pytest.raises((ImageMissing, ImageUnreadable)) as failure:
        fetched(f"{server.origin}/data/upload/1/cat.jpg", server)
    assert all(name in failure.value.hint for name in BOTH)


def test_a_file_on_another_address_of_label_studio_says_where_to_name_it() -> None:
    known = LabelStudioClient("http://label-studio:8080", "token")
    with pytest.raises(UrlRefused) as failure:
        Fetcher(FetchRules(), known).fetch("http://192.168.1.7:8080/data/upload/1/cat.jpg")
    assert "LABEL_STUDIO_HOST" in failure.value.hint
    assert "http://192.168.1.7:8080" in failure.value.hint


def test_another_private_address_is_told_to_name_its_origin() -> None:
    with pytest.raises(UrlRefused, match="GROUNDING_ALLOWED_ORIGINS"):
        Fetcher(FetchRules()).fetch("http://localhost:9000/cat.jpg")
