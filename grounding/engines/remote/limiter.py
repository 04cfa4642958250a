"""Keeps a response's body short in time and size: a timeout alone starts anew with each byte."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx2

MAX_REPLY_BYTES = 32 * 2**20
"""Five times what 32,768 tokens take with their log-probabilities."""


class ResponseLimiter:
    """Ends bodies that take longer than `seconds` from their headers on, or are too large."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def put_on(self, response: httpx2.Response) -> None:
        """Watch the body of a response that is not read yet; a hook of the HTTP client."""
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = _Watched(response.stream, time.monotonic() + self._seconds)


class _Watched(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, end: float) -> None:
        self._stream = stream
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        read = 0
        for chunk in self._stream:
            read += len(chunk)
            if time.monotonic() > self._end:
                raise httpx2.ReadTimeout("the whole answer took too long")
            if read > MAX_REPLY_BYTES:
                raise httpx2.ReadError(f"the answer exceeds {MAX_REPLY_BYTES} bytes")
            yield chunk

    def close(self) -> None:
        self._stream.close()
