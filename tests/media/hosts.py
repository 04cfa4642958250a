"""Hosts on loopback to fetch from: real sockets that send exactly what a test wants."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import httpcore

from grounding.media.fetch import Fetcher, FetchRules

Response = bytes | Callable[[socket.socket], None]
"""The bytes to send, or a function that writes to the connection."""

LONGEST_SECONDS = 10
"""Seconds after which even an endless response ends, so that a test fails and does not hang."""

BODY = b"the bytes of a picture"

PUBLIC_IP = "93.184.216.34"
"""An address that may be connected to; `Spy` leads it to loopback."""


def ok(body: bytes = BODY, *fields: str, length: int | None = None) -> bytes:
    """Return a response 200 with `body`; `length` replaces its Content-Length."""
    return answer(200, *fields, f"Content-Length: {len(body) if length is None else length}") + body


def answer(status: int, *fields: str) -> bytes:
    """Return the head of a response, which is all of a response without a body."""
    if not any(field.startswith("Content-Length") for field in fields):
        fields = (*fields, "Content-Length: 0")
    return "\r\n".join([f"HTTP/1.1 {status} Whatever", *fields, "", ""]).encode("latin-1")


def moved(location: str, status: int = 302) -> bytes:
    """Return a redirect."""
    return answer(status, f"Location: {location}")


def reset(connection: socket.socket) -> None:
    """End the connection with a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def dripping(head: bytes, drop: bytes, seconds: float) -> Callable[[socket.socket], None]:
    """Return a response that sends `head`, then `drop` every `seconds` for LONGEST_SECONDS."""

    def reply(connection: socket.socket) -> None:
        end = time.monotonic() + LONGEST_SECONDS
        connection.sendall(head)
        while time.monotonic() < end:
            time.sleep(seconds)
            connection.sendall(drop)

    return reply


class Host:
    """A server on `address` that sends its responses in order, the last one again and again.

    `requests` holds the head of every request received.
    """

    def __init__(
        self, *replies: Response, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ):
        self.replies = list(replies)
        self.requests: list[str] = []
        self._tls = tls
        self._listener = socket.create_server((address, 0))
        self.address, self.port = self._listener.getsockname()[:2]
        self.origin = f"http://{self.address}:{self.port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening; open connections end on their own."""
        # Closing alone does not end an accept in another thread.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self._say(connection)

    def _say(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        self.requests.append(head.decode("latin-1"))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if callable(reply):
            reply(connection)
        else:
            connection.sendall(reply)


@contextmanager
def host(*replies: Response, **options: Any) -> Iterator[Host]:
    """Run a `Host` for the length of a block."""
    server = Host(*(replies or (ok(),)), **options)
    try:
        yield server
    finally:
        server.close()


class Names:
    """A resolver with the names of a test, which notes what it is asked.

    Each name has one or more lists of addresses: the n-th query returns the n-th list, and then
    the last one. Numbers in any notation mean what the C library reads in them.
    """

    def __init__(self, **names: list[list[str]]) -> None:
        self._names = {name.replace("_", "."): list(answers) for name, answers in names.items()}
        self.asked: list[str] = []

    def __call__(self, name: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        """Return records as `socket.getaddrinfo` does."""
        self.asked.append(name)
        answers = self._names.get(name)
        if answers is None:
            return socket.getaddrinfo(name, port, flags=socket.AI_NUMERICHOST)
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]


class Spy(httpcore.SyncBackend):
    """Opens real connections and notes each one; those beyond loopback lead to `instead`."""

    def __init__(self, instead: tuple[str, int] | None = None) -> None:
        self.connections: list[tuple[str, int]] = []
        self._instead = instead

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *rest: Any, **more: Any
    ) -> httpcore.NetworkStream:
        """Connect as the real backend does, but never beyond this machine."""
        self.connections.append((host, port))
        if not host.startswith("127."):
            if self._instead is None:
                raise httpcore.ConnectError("no way out of the test")
            host, port = self._instead
        return super().connect_tcp(host, port, timeout, *rest, **more)


def rules(*allowed: Host | str, **limits: Any) -> FetchRules:
    """Return rules with short pauses that allow the given hosts."""
    origins = frozenset(a.origin if isinstance(a, Host) else a for a in allowed)
    return replace(FetchRules(origins, pause_s=0.01), **limits)


def fetched(value: str, *allowed: Host | str, **limits: Any) -> bytes:
    """Return what a fetcher with these rules returns."""
    return Fetcher(rules(*allowed, **limits)).fetch(value)
