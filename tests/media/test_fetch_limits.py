"""A fetch ends within its limits of time and size, whatever the host does."""

from __future__ import annotations

import gzip
import threading
import time
from typing import Any

import pytest

from grounding.errors import (
    ImageTooLarge,
    ImageUnreachable,
    ImageUnreadable,
)
from grounding.media.fetch import Fetcher
from tests.media.hosts import (
    BODY,
    LONGEST_SECONDS,
    Response,
    answer,
    dripping,
    fetched,
    host,
    ok,
    rules,
)

# Time


SLOW = {
    "drops of the head": dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.02),
    "drops of the body": dripping(answer(200, "Content-Length: 1000"), b"x", 0.02),
    "endless beginnings": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001),
    "silence": dripping(b"", b"", 0.02),
}


@pytest.mark.parametrize("reply", SLOW.values(), ids=SLOW.keys())
def test_a_fetch_from_a_slow_host_ends_by_its_deadline(reply: Response) -> None:
    with host(reply) as server:
        started = time.monotonic()
        with pytest.raises(ImageUnreachable) as failure:
            fetched(server.origin, server, total_s=0.4)
        assert time.monotonic() - started < LONGEST_SECONDS / 2
    assert failure.value.code == "fetch_timeout"
    assert failure.value.retryable


def test_the_time_between_two_bytes_is_bounded_too() -> None:
    with host(dripping(b"", b"", 1)) as server:
        started = time.monotonic()
        with pytest.raises(ImageUnreachable) as failure:
            fetched(server.origin, server, read_s=0.1, retries=1)
        assert 0.2 <= time.monotonic() - started < LONGEST_SECONDS / 2
    assert failure.value.code == "fetch_timeout"
    assert len(server.requests) == 2


def test_a_slow_resolver_does_not_delay_the_deadline() -> None:
    awake = threading.Event()

    def asleep(name: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        awake.wait(LONGEST_SECONDS)
        return []

    started = time.monotonic()
    with pytest.raises(ImageUnreachable) as failure:
        Fetcher(rules(total_s=0.2), resolve=asleep).fetch("http://pictures.example/")
    awake.set()
    assert time.monotonic() - started < LONGEST_SECONDS / 2
    assert failure.value.code == "fetch_timeout"


def test_a_pause_beyond_the_deadline_ends_the_fetch_at_once() -> None:
    with host(answer(503)) as server:
        started = time.monotonic()
        with pytest.raises(ImageUnreachable, match="answered 503"):
            fetched(server.origin, server, total_s=0.5, pause_s=30)
        assert time.monotonic() - started < LONGEST_SECONDS / 2
        assert len(server.requests) == 1


# Size


def endless(head: bytes) -> Response:
    return dripping(head, b"x" * 65536, 0)


@pytest.mark.parametrize(
    "reply",
    [
        ok(b"x" * 1001),
        ok(b"x", length=10**12),
        endless(answer(200, "Content-Length: 1000000000")),
        endless(b"HTTP/1.1 200 OK\r\n\r\n"),
        dripping(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"64\r\n" + b"x" * 100 + b"\r\n",
            0,
        ),
    ],
)
def test_reading_stops_at_the_limit(reply: Response) -> None:
    with host(reply) as server, pytest.raises(ImageTooLarge) as failure:
        fetched(server.origin, server, max_bytes=1000)
    assert failure.value.code == "image_too_large"


def test_a_body_of_exactly_the_limit_is_returned() -> None:
    with host(ok(b"x" * 1000)) as server:
        assert len(fetched(server.origin, server, max_bytes=1000)) == 1000


@pytest.mark.parametrize(
    "short",
    [
        ok(b"half", length=8),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf",
    ],
)
def test_a_body_that_breaks_off_is_retried_and_then_truncated(short: bytes) -> None:
    with host(short, ok()) as server:
        assert fetched(server.origin, server) == BODY
    with host(short) as server, pytest.raises(ImageUnreachable) as failure:
        fetched(server.origin, server)
    assert failure.value.code == "image_truncated"


def test_a_body_longer_than_its_content_length_is_cut_there() -> None:
    with host(ok(b"picture and more", length=7)) as server:
        assert fetched(server.origin, server) == b"picture"


def test_nothing_is_decompressed() -> None:
    bomb = gzip.compress(b"\0" * 10**6)
    with host(ok(bomb, "Content-Encoding: gzip")) as server, pytest.raises(ImageUnreadable):
        fetched(server.origin, server)
