"""Bytes to pixels: upright RGB, as a browser shows it.

Only five formats are opened at all, since nearly every flaw found in image libraries sits in
the others. The size is read before any pixel is decoded. Metadata is never trusted and, but for
the EXIF orientation, never used: browsers turn a picture by that alone, and Label Studio's boxes
live on what the browser shows.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib

from PIL import Image, UnidentifiedImageError

from grounding.errors import ImageError, ImageTooLarge, ImageUnreadable

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""What is opened; of an animation the first frame."""

MAX_IMAGE_PIXELS = 50_000_000
"""Default limit of width times height: 8,660 by 5,770, more than nearly any camera gives."""

CEILING = 89_478_485
"""Pillow's own limit, a quarter of 1 GiB at three bytes a pixel; no setting lifts it."""

SIGNATURES = (
    ("JPEG", b"\xff\xd8\xff", 0),
    ("PNG", b"\x89PNG\r\n\x1a\n", 0),
    ("WEBP", b"WEBP", 8),
    ("GIF", b"GIF8", 0),
    ("BMP", b"BM", 0),
    ("TIFF", b"II*\0", 0),
    ("TIFF", b"MM\0*", 0),
    ("PDF", b"%PDF", 0),
    ("EPS", b"%!PS", 0),
    ("PSD", b"8BPS", 0),
    ("AVIF", b"ftypavi", 4),
    ("HEIC", b"ftyphe", 4),
    ("HEIC", b"ftypmif1", 4),
    ("HEIC", b"ftypmsf1", 4),
    ("JPEG 2000", b"\0\0\0\x0cjP  ", 0),
    ("JPEG 2000", b"\xff\x4f\xff\x51", 0),
    ("JPEG XL", b"\0\0\0\x0cJXL ", 0),
    ("JPEG XL", b"\xff\x0a", 0),
    ("DDS", b"DDS ", 0),
    ("FITS", b"SIMPLE  =", 0),
    ("ICO", b"\0\0\1\0", 0),
    ("gzip", b"\x1f\x8b", 0),
    ("ZIP", b"PK\3\4", 0),
)
"""Names of formats, told by these bytes at this offset."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What each EXIF orientation asks for; 1 and anything else asks for nothing."""

ORIENTATION_ENTRY = [0x0112, 3, 1]
"""Tag, type (16 bits) and count of the orientation in an EXIF directory."""

EIGHT_OF_SIXTEEN_BITS = [(value + 128) // 257 for value in range(65536)]
"""The nearest of 256 greys; Pillow's own conversion would cut off at 255."""

WHITE = (255, 255, 255)

# What Pillow's decoders let out on bytes that are cut off or made up.
_BROKEN = (
    EOFError,
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    struct.error,
    zlib.error,
)
_BOMB = (Image.DecompressionBombWarning, Image.DecompressionBombError)

# Pillow's handbook asks for this. It holds for the process, as every warning filter does:
# one set and restored around each call would race between threads.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Pillow warns of metadata that it cannot read; whose picture that is, it does not say.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def upright(data: bytes, max_image_pixels: int = MAX_IMAGE_PIXELS) -> Image.Image:
    """Return the picture in `data` as RGB of 8 bits, turned as its EXIF orientation asks.

    Transparency lies on white, 16 bits of grey become 8, and colour profiles are ignored.
    Raises `ImageUnreadable` (codes `image_empty`, `image_format`, `image_truncated`,
    `image_unreadable`) and `ImageTooLarge` (`image_too_many_pixels`), the latter before any
    pixel is decoded.
    """
    if not data:
        raise ImageUnreadable("the image has no bytes", code="image_empty")
    rgb, turn = _decoded(data, max_image_pixels)
    return rgb if turn is None else rgb.transpose(turn)


def _decoded(data: bytes, max_pixels: int) -> tuple[Image.Image, Image.Transpose | None]:
    picture = _opened(data, max_pixels)
    turn = _turn(picture)
    try:
        picture.load()
    except _BROKEN as exc:
        raise _broken(data, exc) from exc
    rgb = _rgb(picture)
    # Orientation and profile are dealt with; nobody downstream may act on them again.
    rgb.info = {}
    return rgb, turn


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header alone, and refuse what is too large to decode."""
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except _BOMB as exc:
        raise _too_many_pixels(min(max_pixels, CEILING)) from exc
    except UnidentifiedImageError as exc:
        raise _unidentified(data) from exc
    except _BROKEN as exc:
        raise _broken(data, exc) from exc
    if picture.width * picture.height > max_pixels:
        raise _too_many_pixels(max_pixels, f": {picture.width}×{picture.height}")
    return picture


def _rgb(picture: Image.Image) -> Image.Image:
    # No step copies what is right already: 50 million pixels take 190 MiB each time.
    if picture.mode.startswith("I"):
        return picture.convert("I").point(EIGHT_OF_SIXTEEN_BITS, "L").convert("RGB")
    if picture.has_transparency_data:
        return _on_white(picture if picture.mode == "RGBA" else picture.convert("RGBA"))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    page = Image.new("RGB", picture.size, WHITE)
    page.paste(picture, mask=picture)
    return page


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """Return the turn that a browser gives the picture, of which only the header is read yet.

    Chromium (156, observed) turns JPEG and PNG, but not WebP, by EXIF that stands before the
    pixels, and by nothing else. Pillow's `exif_transpose` would also believe XMP, text chunks
    and EXIF behind the pixels, and draw boxes beside what the annotator sees.
    """
    exif = b"" if picture.format == "WEBP" else picture.info.get("exif", b"")
    return TURNS.get(_orientation(exif))


def _orientation(exif: bytes) -> int:
    """Return the orientation in the first directory of `exif`, 0 where there is none to read."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4], "")
    if not order:
        return 0
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            *entry, value = struct.unpack_from(f"{order}HHIH", tiff, at)
            if entry == ORIENTATION_ENTRY:
                return int(value)
    except struct.error:
        return 0
    return 0


def _too_many_pixels(limit: int, size: str = "") -> ImageTooLarge:
    return ImageTooLarge(
        f"the image has more than {limit} pixels{size}", code="image_too_many_pixels"
    )


def _broken(data: bytes, exc: Exception) -> ImageError:
    """Tell a picture that ends too early from one that is wrong in itself."""
    if _ends_early(data, exc):
        return ImageUnreadable("the image ends before its last pixel", code="image_truncated")
    return ImageUnreadable("the image's bytes are damaged")


def _ends_early(data: bytes, exc: Exception) -> bool:
    if _format_name(data) == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    # The latter is what Pillow says of a JPEG that ends before its scan.
    words = ("truncated", "cannot load this image")
    return isinstance(exc, (EOFError, struct.error)) or any(w in str(exc).lower() for w in words)


def _unidentified(data: bytes) -> ImageError:
    name = _format_name(data)
    if name in FORMATS:
        return ImageUnreadable(f"the {name} header is cut off or wrong", code="image_truncated")
    if name is None:
        return ImageUnreadable("the bytes are of no image format that we know", code="image_format")
    return ImageUnreadable(f"the file is {name}, which is not read", code="image_format")


def _format_name(data: bytes) -> str | None:
    for name, signature, offset in SIGNATURES:
        if data.startswith(signature, offset):
            return name
    return _markup_name(data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower())


def _markup_name(start: bytes) -> str | None:
    if not start.startswith(b"<"):
        return None
    if b"<svg" in start:
        return "SVG"
    return "HTML" if b"<html" in start or b"<!doctype html" in start else "XML"
