"""Connections to checked addresses only, with one deadline for everything.

Both are httpcore network backends around another one: `PinnedBackend` connects to IP addresses
that were checked before, and never looks up a name; `TimedStream` ends every read and write by
the deadline of the whole fetch, and reads in short waits.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import httpcore

from grounding.errors import ImageUnreachable, ImageUnreadable
from grounding.waiting import Check, is_done, no_check, sleep, step

T = TypeVar("T")

Resolve = Callable[..., Iterable[tuple[Any, ...]]]
"""A function like `socket.getaddrinfo`: the last item of each record starts with an IP."""


class Deadline:
    """The end of one fetch, shared by all its steps.

    What `check` raises ends the fetch before; it is called between the steps, often.
    """

    def __init__(self, seconds: float, check: Check = no_check) -> None:
        self._end = time.monotonic() + seconds
        self.check = check

    def cap(self, seconds: float | None) -> float:
        """Return `seconds`, or the time left if that is less; raise if no time is left."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the whole fetch took too long")
        return left if seconds is None else min(seconds, left)

    def sleep(self, seconds: float) -> bool:
        """Sleep and return True, or return False at once if no time would be left after it."""
        if time.monotonic() + seconds >= self._end:
            return False
        sleep(seconds, self.check)
        return True

    def result(self, future: Future[T]) -> T:
        """Return the outcome of what another thread does; raises as `cap` where it is late."""
        if not is_done(future, self.cap(None), self.check):
            raise httpcore.ReadTimeout("another thread took too long")
        return future.result()


def look_up(resolve: Resolve, host: str, port: int, deadline: Deadline) -> list[str]:
    """Return the IP addresses of a host, found in a thread: `getaddrinfo` takes no timeout."""
    answer: Future[list[str]] = Future()

    def run() -> None:
        try:
            records = resolve(host, port, type=socket.SOCK_STREAM)
            answer.set_result([record[-1][0] for record in records])
        except Exception as exc:  # the thread's edge: the fetch that waits must get any outcome
            answer.set_exception(exc)

    threading.Thread(target=run, name="lookup", daemon=True).start()
    return deadline.result(answer)


class PinnedBackend(httpcore.NetworkBackend):
    """Connects to the checked addresses only, whatever host httpcore names."""

    def __init__(
        self, network: httpcore.NetworkBackend, addresses: list[str], deadline: Deadline
    ) -> None:
        self.deadline = deadline
        self._network = network
        self._addresses = addresses

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first checked address that accepts; `host` is not looked up again."""
        *others, last = self._addresses
        for address in others:
            try:
                return self._connect(address, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(last, port, timeout)

    def _connect(self, address: str, port: int, timeout: float | None) -> httpcore.NetworkStream:
        self.deadline.check()
        stream = self._network.connect_tcp(address, port, self.deadline.cap(timeout))
        return TimedStream(stream, self.deadline)


class TimedStream(httpcore.NetworkStream):
    """A connection that ends by the deadline, even if single bytes keep arriving, or none."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        end = time.monotonic() + self._deadline.cap(timeout)
        while True:
            self._deadline.check()
            try:
                return self._stream.read(max_bytes, step(end - time.monotonic()))
            except httpcore.ReadTimeout:
                if time.monotonic() >= end:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.cap(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        self._deadline.check()
        timeout = self._deadline.cap(timeout)
        return TimedStream(
            self._stream.start_tls(ssl_context, server_hostname, timeout), self._deadline
        )

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@contextmanager
def translate_errors(shown: str) -> Iterator[None]:
    """Turn the exceptions of the network libraries into image errors that name `shown`."""
    try:
        yield
    except (httpcore.TimeoutException, TimeoutError) as exc:
        raise ImageUnreachable(f"{shown} is too slow", code="fetch_timeout") from exc
    except httpcore.NetworkError as exc:
        if "CERTIFICATE_VERIFY_FAILED" in str(exc):
            raise ImageUnreachable(
                f"{shown} has no valid certificate",
                hint="Name your own authority's certificate in SSL_CERT_FILE",
            ) from exc
        raise ImageUnreachable(f"{shown} refuses or breaks the connection") from exc
    except httpcore.ProtocolError as exc:
        # Such as 10**30, which no second request would mend.
        if "Content-Length" in str(exc):
            raise ImageUnreadable(
                f"{shown} has a Content-Length that cannot be read", hint="Check its host"
            ) from exc
        raise ImageUnreachable(f"{shown} does not speak HTTP") from exc
    except (OSError, UnicodeError) as exc:  # UnicodeError: a name that IDNA cannot write
        raise ImageUnreachable(f"{shown} names a host that cannot be found") from exc
