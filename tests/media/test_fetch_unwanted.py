"""A file that nobody wants any more is fetched no further, whatever its host does."""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from grounding import waiting
from grounding.labelstudio.client.files import LabelStudioClient
from grounding.media.fetch import Fetcher
from grounding.media.local_files import Folder
from grounding.waiting import Unwanted
from tests.labelstudio.client.tokens import FILE, PERSONAL
from tests.media.hosts import (
    LONGEST_SECONDS,
    PUBLIC_IP,
    Names,
    Response,
    Spy,
    answer,
    dripping,
    host,
    rules,
)
from tests.media.test_fetch_inward import certificate, tls

__all__ = ["certificate", "tls"]

HEAD = answer(200, "Content-Length: 1000000")
SILENT = {
    "nothing at all": dripping(b"", b"", 0.1),
    "headers and then nothing": dripping(HEAD, b"", 0.1),
    "a byte now and then": dripping(HEAD, b"x", 0.05),
    "a byte of a header now and then": dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.05),
    "the wish for a pause": answer(503, "Retry-After: 8"),
}
WANTED_S = 0.3


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "WAKE_SECONDS", 0.1)


@pytest.fixture
def check() -> Iterator[Callable[[], None]]:
    """A check that raises some moments from now; the test fails where it was heard late."""
    begun = time.monotonic()

    def look() -> None:
        if time.monotonic() - begun > WANTED_S:
            raise Unwanted

    yield look
    assert WANTED_S < time.monotonic() - begun < LONGEST_SECONDS / 3


@pytest.mark.parametrize("reply", SILENT.values(), ids=SILENT)
def test_a_host_that_holds_the_line_holds_nobody(
    reply: Response, check: Callable[[], None]
) -> None:
    with host(reply) as server, pytest.raises(Unwanted):
        Fetcher(rules(server)).fetch(server.origin, check=check)


def test_nor_does_one_that_is_silent_within_tls(
    tls: ssl.SSLContext, check: Callable[[], None]
) -> None:
    with host(SILENT["headers and then nothing"], tls=tls) as server:
        spy = Spy(instead=("127.0.0.1", server.port))
        resolver = Names(pictures_example=[[PUBLIC_IP]])
        with pytest.raises(Unwanted):
            Fetcher(rules(), resolve=resolver, network=spy).fetch(
                "https://pictures.example/a.png", check=check
            )


def test_short_waits_lose_no_byte_of_a_slow_body(tls: ssl.SSLContext) -> None:
    """A read that ends after a tenth of a second goes on where it was, within TLS too."""
    data = bytes(range(7))

    def slow(connection: socket.socket) -> None:
        connection.sendall(answer(200, "Content-Length: 7"))
        for byte in data:
            time.sleep(0.25)
            connection.sendall(bytes([byte]))

    with host(slow) as server:
        assert Fetcher(rules(server)).fetch(server.origin) == data
    with host(slow, tls=tls) as server:
        spy = Spy(instead=("127.0.0.1", server.port))
        fetcher = Fetcher(rules(), resolve=Names(pictures_example=[[PUBLIC_IP]]), network=spy)
        assert fetcher.fetch("https://pictures.example/a.png") == data


def test_nor_does_a_name_that_takes_long_to_look_up(check: Callable[[], None]) -> None:
    awake = threading.Event()

    def asleep(name: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        awake.wait(LONGEST_SECONDS)
        return []

    with pytest.raises(Unwanted):
        Fetcher(rules(), resolve=asleep).fetch("http://pictures.example/", check=check)
    awake.set()


def test_nor_does_a_label_studio_that_gives_no_token(check: Callable[[], None]) -> None:
    with host(SILENT["nothing at all"]) as server, pytest.raises(Unwanted):
        Fetcher(rules(), LabelStudioClient(server.origin, PERSONAL)).fetch(FILE, check=check)


def test_a_file_of_a_folder_is_copied_no_further(tmp_path: Path) -> None:
    (tmp_path / "long.mp4").write_bytes(bytes(5 * 2**20))
    copied = io.BytesIO()

    def check() -> None:
        if copied.tell() > 2**20:
            raise Unwanted

    with pytest.raises(Unwanted):
        Folder(tmp_path).copy("long.mp4", 2**30, copied, check)
    assert copied.tell() == 2 * 2**20
