"""One HTTP request to a model server: bounded in time and size, pictures as data URIs."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from PIL.Image import Image

from grounding.engines.base import Completion, Token
from grounding.engines.detokenizer import clip, locate
from grounding.engines.remote.failures import SEE_LOG, Failure, Refusal
from grounding.errors import EngineAway, EngineError
from grounding.retry import retry_after
from grounding.settings.parts import ImageFormat

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


PNG_LEVEL = 1
"""zlib's fastest: on a 1148×868 photograph level 6 took 500 ms, this 75, for 14 % more bytes."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """The file format that pictures are sent in; `quality` is JPEG's, 1 to 100."""

    format: ImageFormat = "jpeg"
    quality: int = 95

    def data_uri(self, image: Image) -> bytes:
        """Return RGB `image` as a data URI."""
        file = io.BytesIO()
        if self.format == "png":
            image.save(file, "PNG", compress_level=PNG_LEVEL)
        else:
            image.save(file, "JPEG", quality=self.quality)
        return b"data:image/%b;base64,%b" % (
            self.format.encode(),
            base64.b64encode(file.getvalue()),
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    picture: weakref.ref[Image]
    encoding: asyncio.Future[bytes]


class DataUris:
    """Data URIs of pictures; each lives as long as its picture. For one event loop.

    Pictures are encoded in the loop's executor, since a PNG takes up to 75 ms of CPU.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        # By identity, since pictures compare by their pixels and have no hash.
        self._entries: dict[int, _Entry] = {}

    async def get(self, image: Image) -> bytes:
        """Return the picture's data URI; a second caller waits for the first one's encoding."""
        # Shielded: the cancellation of one caller must not end the encoding for the others.
        return await asyncio.shield(self._entry(image).encoding)

    def _entry(self, image: Image) -> _Entry:
        key = id(image)
        entry = self._entries.get(key)
        if entry is None or entry.picture() is not image:
            encoding = asyncio.ensure_future(asyncio.to_thread(self._encoding.data_uri, image))
            entry = self._entries[key] = _Entry(weakref.ref(image), encoding)
            weakref.finalize(image, self._forget, key, entry)
        return entry

    def _forget(self, key: int, entry: _Entry) -> None:
        # Runs in whatever thread the picture dies. Another picture may have the same id by then.
        if self._entries.get(key) is entry:
            self._entries.pop(key, None)


CUT = ("length", "repetition")
"""The `finish_reason` of an answer that was cut: at `max_tokens`, or by vLLM where it looped."""

ENDED = ("stop", "content_filter")
"""The reasons of answers that are whole; a filtered one is all that the server will say."""


def read_completion(data: bytes, *, native: bool) -> Completion:
    """Return the completion in a response's body, in DashScope's own form if `native`.

    Raises `EngineError` (code `completion_unreadable`) where there is none: no JSON, a body cut
    short, no answer in it, or an answer that the server itself broke off.
    """
    try:
        body = json.loads(data)
        if native:
            return _read_native(body["output"]["choices"][0], body.get("usage") or {})
        return _read_chat(body["choices"][0], body.get("usage") or {})
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as exc:
        raise EngineError(
            f"the server's answer is not a chat completion ({type(exc).__name__})",
            code="completion_unreadable",
            hint="Check that OPENAI_BASE_URL is the API's, such as http://host:8000/v1",
        ) from exc


def _read_chat(choice: Mapping[str, Any], usage: Mapping[str, Any]) -> Completion:
    return _read(choice, choice["message"]["content"] or "", usage.get("prompt_tokens"))


def _read_native(choice: Mapping[str, Any], usage: Mapping[str, Any]) -> Completion:
    parts = choice["message"]["content"]
    text = parts if isinstance(parts, str) else "".join(part.get("text", "") for part in parts)
    return _read(choice, text, usage.get("input_tokens"))


def _read(choice: Mapping[str, Any], text: str, prompt_tokens: int | None) -> Completion:
    reason = choice["finish_reason"]
    if reason not in (*CUT, *ENDED):
        raise EngineError(
            f"the server broke the answer off ({str(reason)[:40]})", code="completion_unreadable"
        )
    logprobs = (choice.get("logprobs") or {}).get("content") or ()
    tokens = _read_tokens(str(text), logprobs)
    return Completion(str(text), reason not in CUT, tokens, prompt_tokens)


def _read_tokens(text: str, logprobs: Sequence[Mapping[str, Any]]) -> tuple[Token, ...]:
    """Return the tokens of `text`; none where their bytes are another text.

    Behind the text may stand the token that ended it. Where a server changed the text afterwards,
    ranges would point at the wrong words, and no score is better than a wrong one.
    """
    written, ranges = locate(_read_bytes(token) for token in logprobs)
    if not written.startswith(text):
        return ()
    tokens = (
        Token(start, end, float(token["logprob"]))
        for (start, end), token in zip(ranges, logprobs, strict=True)
    )
    return clip(tokens, len(text))


def _read_bytes(token: Mapping[str, Any]) -> bytes:
    raw = token.get("bytes")
    return bytes(raw) if raw is not None else str(token["token"]).encode()
