"""Pictures for tests, written byte by byte where no library writes them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

from grounding.media.images import decode, open_header

SIZE = (64, 48)
MAX_PIXELS = 50_000_000

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def upright(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the picture in `data` as it is decoded for the model."""
    return decode(open_header(data, max_pixels), data)


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    """Return the picture encoded by Pillow in the format `form`."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def plain(mode: str, paint: Any, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a picture of one colour."""
    return Image.new(mode, size, paint)


def palette(*colors: tuple[int, int, int], index: int = 0) -> Image.Image:
    """Return a picture whose pixels are all the palette entry `index`."""
    picture = Image.new("P", SIZE, index)
    picture.putpalette([channel for entry in colors for channel in entry])
    return picture


def corners() -> Image.Image:
    """Return a wide picture whose corners are red, green, blue and white, clockwise."""
    picture = Image.new("RGB", (60, 30))
    for paint, place in zip(
        (RED, GREEN, BLUE, WHITE), ((0, 0), (30, 0), (30, 15), (0, 15)), strict=True
    ):
        picture.paste(paint, (*place, place[0] + 30, place[1] + 15))
    return picture


def color(picture: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    """Return the colour of one pixel of an RGB picture."""
    found = picture.getpixel(place)
    assert isinstance(found, tuple)
    return found


def corner_colors(picture: Image.Image) -> list[tuple[int, ...]]:
    """Return the colours of the four corners, clockwise from the top left, each saturated."""
    right, bottom = picture.width - 4, picture.height - 4
    places = ((3, 3), (right, 3), (right, bottom), (3, bottom))
    return [tuple(255 * (c > 127) for c in color(picture, place)) for place in places]


def exif(orientation: int, order: str = "<", kind: int = 3, count: int = 1) -> bytes:
    """Return EXIF data with an orientation only."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    value = struct.pack(
        f"{order}{'HH' if kind == 3 else 'I'}", *[orientation, 0][: 2 if kind == 3 else 1]
    )
    entry = struct.pack(f"{order}HHI", 0x0112, kind, count) + value
    return b"Exif\0\0" + head + struct.pack(f"{order}H", 1) + entry + b"\0\0\0\0"


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    depth: int, kind: int, pixel: bytes, size: tuple[int, int] = SIZE, extra: bytes = b""
) -> bytes:
    """Return a PNG of one colour in any bit depth and colour type; `pixel` fills whole bytes."""
    width, height = size
    row = b"\0" + (pixel * width)[: width * len(pixel) if depth >= 8 else width * depth // 8]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    pixels = zlib.compressobj()
    body = b"".join(pixels.compress(row) for _ in range(height)) + pixels.flush()
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def with_segment(jpeg: bytes, body: bytes, marker: int = 0xE1) -> bytes:
    """Return the JPEG with another application segment at its start."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def as_ycck(jpeg: bytes) -> bytes:
    """Return an Adobe CMYK JPEG with its channels declared as YCCK."""
    at = jpeg.index(b"Adobe") + 11
    return jpeg[:at] + b"\2" + jpeg[at + 1 :]


def without_adobe(jpeg: bytes) -> bytes:
    """Return a CMYK JPEG without the Adobe segment that says how its values are stored."""
    at = jpeg.index(b"Adobe") - 4
    length = struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
    return jpeg[:at] + jpeg[at + 2 + length :]
