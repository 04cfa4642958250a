"""Pictures as data URIs."""

from __future__ import annotations

import base64
import gc
import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image, ImageChops

from grounding.engines.remote.data_uris import DataUris, Encoding
from grounding.media.images import upright
from grounding.media.views import PixelBounds, whole


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


def test_many_who_ask_at_once_get_one_encoding() -> None:
    image, uris = noise((560, 560)), DataUris(Encoding("png"))
    with ThreadPoolExecutor(max_workers=8) as pool:
        made = list(pool.map(uris.of, [image] * 8))
    assert len({id(uri) for uri in made}) == 1


def test_equal_pictures_are_told_apart_and_forgotten_with_their_pixels() -> None:
    one, uris = noise(), DataUris(Encoding("png"))
    other = one.copy()
    assert uris.of(one) is not uris.of(other)
    del one
    gc.collect()
    assert len(uris._made) == 1
