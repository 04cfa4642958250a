"""TLS of the web server's own, at the real server: handshakes that fail, and who stalls in one."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.faults.rig import until
from tests.web.test_hung_up import certificate
from tests.web.test_stalled import Serve, Server, serve

__all__ = ["certificate", "serve"]


Start = Callable[[], tuple[Server, httpx.Client]]


@pytest.fixture
def start(serve: Serve, certificate: tuple[Path, Path]) -> Iterator[Start]:
    """Starts a server with TLS that has room for ten who arrive; returns a caller that trusts it.

    In the test itself: what a process of a fixture prints is not captured.
    """
    cert, key = map(str, certificate)
    with ExitStack() as callers:

        def begin() -> tuple[Server, httpx.Client]:
            limits = {"HEAD_SECONDS": 3, "MAX_ARRIVING": 10}
            options = ("--certfile", cert, "--keyfile", key)
            server = serve(*options, limits=limits, LOG_LEVEL="info")
            url = f"https://127.0.0.1:{server.port}"
            context = ssl.create_default_context(cafile=cert)
            trusting = httpx.Client(base_url=url, verify=context, trust_env=False)
            http = callers.enter_context(trusting)
            until(lambda: failures(http), 10)  # of the look whether the port is open
            return server, http

        yield begin


def failures(http: httpx.Client) -> dict[str, int]:
    """Return how many connections failed in TLS, by reason."""
    text = http.get("/metrics").text
    found = re.findall(r'grounding_tls_failures_total\{reason="(\w+)"\} (\d+)\.', text)
    return {reason: int(count) for reason, count in found if int(count)}


def distrust(caller: socket.socket) -> None:
    """Shake hands as a client does that does not know the certificate."""
    with suppress(ssl.SSLError):
        ssl.create_default_context().wrap_socket(caller, server_hostname="127.0.0.1")


def send(data: bytes) -> Callable[[socket.socket], None]:
    """Return what sends `data`."""
    return lambda caller: caller.sendall(data)


FAILING: dict[str, tuple[Callable[[socket.socket], None], str, str]] = {
    "HTTP": (send(b"GET / HTTP/1.1\r\n\r\n"), "no_tls", "was http:// written"),
    "junk": (send(b"secret \x00\x01\x02"), "no_tls", "no TLS"),
    "untrusted": (distrust, "untrusted", "does not know who signed our certificate"),
    "a probe of the port": (send(b""), "hung_up", ""),
    "half of it": (send(b"\x16\x03\x01"), "hung_up", ""),
}


@pytest.mark.parametrize(("do", "reason", "told"), FAILING.values(), ids=FAILING)
def test_a_handshake_that_fails_is_one_line_and_one_count(
    start: Start,
    capfd: pytest.CaptureFixture[str],
    do: Callable[[socket.socket], None],
    reason: str,
    told: str,
) -> None:
    served, trusted = start()
    before = failures(trusted)
    with socket.create_connection(("127.0.0.1", served.port)) as caller:
        do(caller)
    until(lambda: failures(trusted) == before | {reason: before.get(reason, 0) + 1}, 10)
    lines = [line for line in capfd.readouterr().err.splitlines() if "httpx" not in line]
    if told:
        (line,) = lines
        assert "a connection with TLS failed: " in line
        assert told in line
    else:
        assert lines == []
    assert "secret" not in str(lines)


def test_a_handshake_that_stalls_is_told_and_counted(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    served, trusted = start()
    served.send(b"\x16\x03\x01")
    until(lambda: failures(trusted).get("stalled") == 1, 10)
    assert capfd.readouterr().err.count("did not come to its end in time") == 1


def test_handshakes_that_stall_cost_each_other_and_nobody_else(start: Start) -> None:
    served, trusted = start()
    callers = [served.send(b"\x16\x03\x01")]
    time.sleep(1.2)  # older than what has just begun
    callers += [served.send(b"\x16\x03\x01") for _ in range(30)]
    begun = time.monotonic()
    assert trusted.get("/health").is_success
    assert callers[0].recv(100) == b""
    assert time.monotonic() - begun < 2, "before its own time was over"
