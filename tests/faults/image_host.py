"""A host of pictures with faults: F21.

`/7` is the picture of task 7. The number's fault decides how its first requests end; `requests`
counts the requests of each number.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

from tests.faults.scripted import picture

SLOW_SECONDS = 1.5


class Fault(Enum):
    """How the requests for a picture end."""

    NONE = "none"
    FLAPS = "fails once or twice with 500 or 503"
    RESETS = "is reset once or twice"
    SLOW = "answers late"
    GONE = "always 404"
    FAILED = "always 500"


PASSING = (Fault.NONE, Fault.FLAPS, Fault.RESETS, Fault.SLOW)
"""Faults that two more tries overcome."""


class ImageHost:
    """The host's address and its requests; the seed decides the fault of every number."""

    def __init__(self, seed: int, rate: float) -> None:
        self._seed = seed
        self._rate = rate
        self._lock = threading.Lock()
        self.requests: Counter[int] = Counter()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def fault(self, number: int) -> Fault:
        """Return the fault of a number's picture."""
        chance = self._chance(number)
        return chance.choice(list(Fault)[1:]) if chance.random() < self._rate else Fault.NONE

    def failures(self, number: int) -> int:
        """Return how many first requests for a number fail."""
        fault = self.fault(number)
        if fault in (Fault.FLAPS, Fault.RESETS):
            return 1 + number % 2
        return 1000 if fault in (Fault.GONE, Fault.FAILED) else 0

    def _chance(self, number: int) -> Random:
        return Random(f"{self._seed} {number}")

    def _count(self, number: int) -> int:
        with self._lock:
            self.requests[number] += 1
            return self.requests[number]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                number = int(self.path[1:])
                host._answer(self, number)

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        return Handler

    def _answer(self, request: BaseHTTPRequestHandler, number: int) -> None:
        fault = self.fault(number)
        failing = self._count(number) <= self.failures(number)
        if fault is Fault.SLOW:
            time.sleep(SLOW_SECONDS)
        if failing and fault is Fault.RESETS:
            _reset(request.connection)
            request.close_connection = True
        elif failing:
            _send(request, 404 if fault is Fault.GONE else 500 + 3 * (number % 2), b"")
        else:
            _send(request, 200, b64decode(picture(number).partition(",")[2]))


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def _reset(connection: socket.socket) -> None:
    """Close the connection with a TCP reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RD)
    connection.close()


@contextmanager
def image_host(*, seed: int = 1, rate: float = 0.3) -> Iterator[ImageHost]:
    """Run a host around the block; a share `rate` of its pictures have a fault."""
    host = ImageHost(seed, rate)
    try:
        yield host
    finally:
        host.close()
