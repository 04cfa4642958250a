"""Pictures as data URIs, each made once however many requests show it."""

from __future__ import annotations

import asyncio
import base64
import io
import weakref
from dataclasses import dataclass

from PIL.Image import Image

from grounding.settings import ImageFormat

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
