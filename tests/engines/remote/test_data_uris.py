"""Pictures as data URIs."""

from __future__ import annotations

import asyncio
import base64
import gc
import io

import pytest
from PIL import Image, ImageChops

from grounding.engines.remote.client import DataUris, Encoding
from grounding.geometry import PixelBounds
from grounding.media.views import whole
from tests.media.pictures import upright


def noise(size: tuple[int, int] = (112, 84)) -> Image.Image:
    return Image.effect_noise(size, 60).convert("RGB")


def decoded(uri: bytes) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(b",")[2])))


def test_png_keeps_every_pixel() -> None:
    image = noise()
    sent = decoded(Encoding("png").data_uri(image))
    assert (sent.format, sent.mode, sent.tobytes()) == ("PNG", "RGB", image.tobytes())


def test_jpeg_keeps_the_size_and_nearly_the_pixels() -> None:
    image = Image.linear_gradient("L").convert("RGB")
    sent = decoded(Encoding("jpeg", 95).data_uri(image))
    assert (sent.format, sent.size) == ("JPEG", image.size)
    assert max(high for _, high in ImageChops.difference(sent, image).getextrema()) <= 6


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_no_metadata_of_the_original_travels(kind: str) -> None:
    file = io.BytesIO()
    noise().save(file, "JPEG", comment=b"secret", exif=b"Exif\0\0secret", icc_profile=b"secret")
    pixels = whole(upright(file.getvalue()), PixelBounds(28, 784, 78_400)).pixels
    data = base64.b64decode(Encoding(kind).data_uri(pixels).partition(b",")[2])  # type: ignore[arg-type]
    assert b"secret" in file.getvalue()
    assert b"secret" not in data


def test_a_picture_is_encoded_once_for_all_callers() -> None:
    async def encode_together() -> list[bytes]:
        image, uris = noise((560, 560)), DataUris(Encoding("png"))
        return await asyncio.gather(*[uris.get(image) for _ in range(8)])

    assert len({id(uri) for uri in asyncio.run(encode_together())}) == 1


def test_the_cancellation_of_one_caller_does_not_harm_the_others() -> None:
    async def cancel_the_first() -> bytes:
        image, uris = noise((560, 560)), DataUris(Encoding("png"))
        first, second = (asyncio.create_task(uris.get(image)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(cancel_the_first()).startswith(b"data:image/png;base64,")


def test_equal_pictures_are_distinct_and_an_entry_ends_with_its_picture() -> None:
    async def entries_left() -> int:
        one, uris = noise(), DataUris(Encoding("png"))
        other = one.copy()
        assert await uris.get(one) is not await uris.get(other)
        del one
        gc.collect()
        return len(uris._entries)

    assert asyncio.run(entries_left()) == 1
