"""gunicorn's worker for `_wsgi:app`: who is slow to send or to take holds no thread.

One greenlet a connection reads the head and the whole body, then a thread runs the app, and the
greenlet writes the answer. Nothing is monkey-patched: the app, Redis clients and all other threads
are as in any threaded server.
"""

from __future__ import annotations

import json
import logging
import resource
import secrets
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http import HTTPStatus
from typing import Any

import gevent
from gevent import socket as gevent_socket
from gevent.ssl import SSLSocket
from gevent.threadpool import ThreadPool
from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidRequestLine,
    InvalidRequestMethod,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.util import close_graceful, write_nonblock
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker

from grounding.web.app import HEALTH, is_authorized
from grounding.web.services import Services
from grounding.web.tls import TlsFailures, tls_context

log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0
"""How long a handshake of TLS or a head may take, and how long a connection may be idle before."""
STEP_BYTES = 64 * 2**10
STEP_SECONDS = 15.0
"""How long each step of a body may take: a whole 64 MiB at 5 KiB/s is accepted."""
TAKE_SECONDS = 120.0
"""How long the caller may take to receive its answer."""
MAX_ARRIVING = 1000
"""Requests that may arrive at once; one more costs the slowest of them."""
NEW_SECONDS = 1.0
"""Age below which a request is not called slow."""
BODIES = 3
"""How many bodies of the largest size may arrive, or wait to be read, at once.

They lie in the temporary folder, which has 1 GiB in docker-compose.yml, and 512 MiB in Kubernetes.
"""
IN_MEMORY = 2**20
"""Bytes of a body above which it lies in the temporary folder."""
DISK_THREADS = 4
OPEN_FILES = 8192

STATUSES: dict[type[Exception], HTTPStatus] = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    ParseException: HTTPStatus.BAD_REQUEST,
}

NO_HTTP = ". It is no HTTP: was https:// written for an address of this server?"
"""What a TLS handshake on a port without TLS is told as: nothing of it is shown."""

App = Callable[[dict[str, Any], Callable[..., Any]], Any]
_END = object()


class RefusedError(Exception):
    """A request is refused while its body arrives, with the status in `args`."""


class Arrival:
    """A request that is not all there: how much of its body is, and since when it arrives."""

    def __init__(self) -> None:
        self.greenlet = gevent.getcurrent()
        self.begun = time.monotonic()
        self.received = 0

    def rate(self, now: float) -> float:
        """Return its bytes per second; infinite for one that has just begun."""
        age = now - self.begun
        return self.received / age if age > NEW_SECONDS else float("inf")


class Arrivals:
    """The requests that are arriving; used in the greenlets of one thread alone."""

    def __init__(self) -> None:
        self._arrivals: dict[Any, Arrival] = {}

    def begin(self) -> None:
        """Note that the current greenlet reads a request; drop the slowest if there are many."""
        now = time.monotonic()
        if len(self._arrivals) >= MAX_ARRIVING:
            slowest = min(self._arrivals.values(), key=lambda one: one.rate(now))
            self._drop(slowest)
        arrival = Arrival()
        self._arrivals[arrival.greenlet] = arrival

    def note(self, count: int) -> None:
        """Note that `count` bytes more have come."""
        arrival = self._arrivals.get(gevent.getcurrent())
        if arrival is None:  # dropped, and its bytes came before its end
            raise gevent.GreenletExit
        arrival.received += count

    def end(self) -> None:
        """Note that the current greenlet reads no more."""
        self._arrivals.pop(gevent.getcurrent(), None)

    def drop_all(self) -> None:
        """Close every connection whose request is not all there."""
        for arrival in list(self._arrivals.values()):
            self._drop(arrival)

    def _drop(self, arrival: Arrival) -> None:
        self._arrivals.pop(arrival.greenlet, None)
        arrival.greenlet.kill(block=False)


class Room:
    """Room for the bodies that are not read yet, in bytes; safe to share between threads."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Take room for `count` bytes; `RefusedError` if there is none."""
        with self._lock:
            if count > self._free:
                raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE)
            self._free -= count

    def give(self, count: int) -> None:
        """Give room back."""
        with self._lock:
            self._free += count


class KeptBody:
    """A request's body in the temporary folder, which is gone once it is read to its end.

    A request may wait for minutes after that, and the folder is small.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - read later
        self._left = self.size = 0

    def reserve(self, count: int) -> int:
        """Take room for `count` bytes, and return the size; `RefusedError` if there is none."""
        self._room.take(count)
        self.size += count
        return self.size

    def write(self, part: bytes) -> None:
        """Append `part`, for which there is room."""
        self._left += self._file.write(part)

    def rewind(self) -> None:
        """Begin to read."""
        self._file.seek(0)

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; none once the end was reached."""
        if self._file.closed:
            return b""
        part = self._file.read(size)
        self._left -= len(part)
        if not self._left:
            self.close()
        return part

    def readline(self, size: int = -1) -> bytes:
        """Return up to a line; WSGI wants it, and nobody calls it."""
        return self.read(size)

    def close(self) -> None:
        """Forget the body."""
        self._file.close()
        self._room.give(self.size)
        self.size = 0


class FrontedApp:
    """Calls `app` in a thread once the request is all there; itself called in a greenlet."""

    def __init__(self, app: App, services: Services, threads: int) -> None:
        self._app = app
        self._settings = services.settings
        self._threads = ThreadPool(threads)
        self._disk = ThreadPool(DISK_THREADS)
        self._room = Room(BODIES * services.settings.max_request_bytes)
        self.arrivals = Arrivals()
        self.tls_failures = TlsFailures(services)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        """Return the parts of the answer; `RefusedError` if the body is too large or too slow."""
        header = environ.get("HTTP_AUTHORIZATION")
        if not is_authorized(self._settings, environ["PATH_INFO"], header):
            return self._answer(environ, start_response)
        with closing(KeptBody(self._room)) as kept:
            self._receive(environ, kept)
            environ["wsgi.input"] = kept
            return self._answer(environ, start_response)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        self.arrivals.end()
        if environ["PATH_INFO"] == HEALTH:  # even while every thread has work
            return self._app(environ, start_response)
        return self._parts(self._threads.apply(self._app, (environ, start_response)))

    def _receive(self, environ: dict[str, Any], kept: KeptBody) -> None:
        body, most = environ["wsgi.input"], self._settings.max_request_bytes
        if environ.get("HTTP_TRANSFER_ENCODING", "chunked").strip().lower() != "chunked":
            raise RefusedError(HTTPStatus.NOT_IMPLEMENTED)
        if int(environ.get("CONTENT_LENGTH") or 0) > most:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        while part := self._read_step(body):
            self.arrivals.note(len(part))
            if kept.reserve(len(part)) > most:
                raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            if kept.size > IN_MEMORY:  # a slow disk holds up this body alone
                self._disk.apply(kept.write, (part,))
            else:
                kept.write(part)
        kept.rewind()

    def _read_step(self, body: Any) -> bytes:
        with gevent.Timeout(STEP_SECONDS, RefusedError(HTTPStatus.REQUEST_TIMEOUT)):
            return bytes(body.read(STEP_BYTES))

    def _parts(self, answer: Any) -> Iterator[bytes]:
        parts = iter(answer)
        try:
            while (part := self._threads.apply(next, (parts, _END))) is not _END:
                yield part
        finally:
            self._threads.apply(answer.close)


class FrontWorker(GeventWorker):  # type: ignore[misc] # gunicorn has no types
    """The worker that `gunicorn.conf.py` names."""

    sockets: list[Any]
    wsgi: App

    def patch(self) -> None:
        """Make the listeners and their TLS gevent's, and nothing else."""
        _allow_open_files()
        self.cfg.set("ssl_context", tls_context)
        self.sockets = [
            gevent_socket.socket(one.FAMILY, socket.SOCK_STREAM, fileno=one.sock.detach())
            for one in self.sockets
        ]

    def load_wsgi(self) -> None:
        """Put the app behind its front."""
        super().load_wsgi()
        if not self.cfg.keepalive:  # then gunicorn asks for no `timeout_ctx`
            self.cfg.set("keepalive", 1)
        services = self.app.callable.extensions["grounding"]
        self.wsgi = self._front = FrontedApp(self.wsgi, services, self.cfg.threads)

    def timeout_ctx(self) -> Any:
        """Return the limit of the wait for a request's head."""
        self._front.arrivals.begin()
        return gevent.Timeout(HEAD_SECONDS, False)

    def notify(self) -> None:
        """Also write counts, and drop, once a second while ending, what would have to arrive."""
        super().notify()
        self._front.tls_failures.write()
        if not self.alive:
            self._front.arrivals.drop_all()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection; not one that came after the end began."""
        client.settimeout(TAKE_SECONDS)
        try:
            if self.alive and self._shake_hands(client):
                AsyncWorker.handle(self, listener, client, addr)
        finally:
            self._front.arrivals.end()
            client.close()

    def _shake_hands(self, client: Any) -> bool:
        """Do the handshake of a connection with TLS; say whether requests may come."""
        if not isinstance(client, SSLSocket):
            return True
        self._front.arrivals.begin()
        try:
            with gevent.Timeout(HEAD_SECONDS, TimeoutError()):
                client.do_handshake()
        except OSError as exc:  # `ssl.SSLError` is one, too
            self._front.tls_failures.note(exc)
            return False
        return True

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        """Serve one request; a caller that does not take its answer has hung up."""
        try:
            return AsyncWorker.handle_request(self, listener_name, req, sock, addr)
        except TimeoutError as exc:
            raise NoMoreData from exc

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what never reached the app, or failed on its way, as the app answers."""
        if isinstance(exc, gevent.GreenletExit):  # dropped
            return
        if isinstance(exc, ssl.SSLError):  # broken off between or in requests
            self._front.tls_failures.note(exc)
            return
        status, error_id = _status(exc), secrets.token_hex(4)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(exc, RefusedError):
            log.error("a request failed (error %s)", error_id, exc_info=exc)
        else:  # what was sent may be a secret
            likely = NO_HTTP if isinstance(exc, InvalidRequestLine | InvalidRequestMethod) else ""
            log.info("a request is refused: %s (error %s)%s", status.phrase, error_id, likely)
        try:
            write_nonblock(client, _error_answer(status, error_id))
            close_graceful(client)
        except OSError:
            log.debug("the caller of error %s has hung up", error_id)


def _allow_open_files() -> None:
    """Raise this process's limit of open files: a connection is one, and 1024 is a common limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _status(exc: BaseException) -> HTTPStatus:
    if isinstance(exc, RefusedError):
        return HTTPStatus(exc.args[0])
    found = (status for kind, status in STATUSES.items() if isinstance(exc, kind))
    return next(found, HTTPStatus.INTERNAL_SERVER_ERROR)


def _error_answer(status: HTTPStatus, error_id: str) -> bytes:
    code = status.phrase.lower().replace(" ", "_").replace("-", "_")
    body = json.dumps({"error": {"code": code, "message": status.phrase, "id": error_id}})
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"X-Error-Id: {error_id}",
    )
    return "\r\n".join((*head, "", body)).encode()
