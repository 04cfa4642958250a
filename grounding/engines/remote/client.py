"""One HTTP request to a model server: bounded in time and size, its failures translated."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from grounding.engines.remote.failures import SEE_LOG, Failure, Refusal
from grounding.errors import EngineAway, EngineError
from grounding.retry import retry_after

NO_KEY = "none"
"""What is sent where no key is set; a server without keys ignores it."""

CONNECT_SECONDS = 10.0

MAX_BODY_BYTES = 32 * 2**20
"""Five times what 32,768 tokens take with their log-probabilities."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the server is, its key if it wants one, and how many requests it gets at once."""

    base_url: str
    api_key: str = field(default="", repr=False)
    in_flight: int = 64


class Client:
    """Posts JSON to one server; for one event loop.

    `timeout` is in seconds: for the connection, the headers and each wait in between, and again
    for the whole body.
    """

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._tls = httpx.create_ssl_context()
        # One httpx client for each connection: a pool looks at all its connections, several
        # times a request, and with 64 that took 6 ms of CPU (httpcore 1.0.9).
        self._idle: list[httpx.AsyncClient] = []

    async def post(self, path: str, body: bytes) -> bytes | Refusal:
        """Return the body of a successful response, or the refusal; raises `Failure`.

        Cancelling the caller closes the connection, so that the server can stop its work.
        """
        http = self._idle.pop() if self._idle else self._connect()
        try:
            with _translate_errors():
                async with http.stream("POST", path, content=body) as response:
                    data = await self._read(response)
        finally:
            self._idle.append(http)
        if response.is_success:
            return data
        return Refusal(response.status_code, data, retry_after(response.headers))

    async def close(self) -> None:
        """Close all connections; no request may be under way."""
        for http in self._idle:
            await http.aclose()

    def _connect(self) -> httpx.AsyncClient:
        """Return a client of one connection, which is made with its first request."""
        return httpx.AsyncClient(
            base_url=self._endpoint.base_url,
            headers={
                "Authorization": f"Bearer {self._endpoint.api_key or NO_KEY}",
                "Content-Type": "application/json",
            },
            follow_redirects=True,
            verify=self._tls,
            timeout=httpx.Timeout(self._timeout, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=1),
        )

    async def _read(self, response: httpx.Response) -> bytes:
        """Read a whole body; httpx's own timeout starts anew with each byte."""
        data = bytearray()
        async with asyncio.timeout(self._timeout):
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > MAX_BODY_BYTES:
                    raise httpx.ReadError(f"the answer exceeds {MAX_BODY_BYTES} bytes")
        return bytes(data)


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Translate what httpx raises to `Failure`; a request that was sent may be to blame."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
        raise Failure(
            EngineError(
                f"the server is not to be reached ({_describe(exc)})",
                code=EngineAway.code,
                hint=EngineAway.hint,
            ),
            common=True,
        ) from exc
    except (httpx.TimeoutException, TimeoutError) as exc:
        error = EngineError("the server took too long", hint="Raise GROUNDING_SERVER_TIMEOUT")
        raise Failure(error) from exc
    except httpx.HTTPError as exc:
        error = EngineError(f"the server gave no answer ({_describe(exc)})", hint=SEE_LOG)
        raise Failure(error) from exc


def _describe(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"[:120]
