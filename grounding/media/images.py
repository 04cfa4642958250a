"""Decodes image files to upright RGB pixels, as a browser shows them.

Only five formats are opened, because nearly all flaws found in image libraries are in the other
ones. The size is read before any pixel is decoded. No metadata is used but the EXIF orientation:
browsers turn a picture by that only, and Label Studio's coordinates refer to what the browser
shows.
"""

from __future__ import annotations

import ctypes
import io
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageChops, UnidentifiedImageError

from grounding.errors import ImageError, ImageTooLarge, ImageUnreadable
from grounding.media.memory import DecodeBudget, own_budget
from grounding.waiting import Check, no_check, now_and_then

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""The formats that are opened; of an animation, the first frame is used."""

CEILING = 89_478_485
"""Pillow's own limit, a quarter of 1 GiB at three bytes a pixel; no setting exceeds it."""

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
"""Formats, and the bytes at an offset by which each is recognised."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition for each EXIF orientation; 1 and all other values need none."""

ORIENTATION_ENTRY = [0x0112, 3, 1]
"""Tag, type (16 bits) and count of the orientation in an EXIF directory."""

EIGHT_OF_SIXTEEN_BITS = [(value + 128) // 257 for value in range(65536)]
"""The nearest of 256 greys for each of 65,536; Pillow's own conversion clips at 255."""

WHITE = (255, 255, 255, 255)

STRIP_PIXELS = 2**20
"""Pixels that are laid on white at once."""

STORED_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2}
"""Bytes that Pillow stores for one pixel of a mode; it is four for all others, RGB included."""

# The exceptions that Pillow's decoders raise on truncated or invalid bytes.
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
    AssertionError,
)
_BOMB = (Image.DecompressionBombWarning, Image.DecompressionBombError)

# Pillow's handbook recommends this. Filters hold for the process: setting and restoring one
# around each call would race between threads.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Pillow warns of metadata that it cannot read, without saying which picture it is in.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# One block of memory for each picture: two modes can then share it, and all of it goes back to
# the system as soon as the picture is freed.
Image.core.set_use_block_allocator(1)  # type: ignore[attr-defined]

M_ARENA_MAX = -8
"""glibc's parameter for how many heaps the threads of a process share."""
# By default each thread has a heap, of which up to 64 MiB never go back to the system.
_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
if _mallopt is not None:
    _mallopt(M_ARENA_MAX, 2)


class _Bytes(io.BytesIO):
    """The bytes of a picture, in blocks; between these, whoever decodes looks if it is wanted."""

    def __init__(self, data: bytes, check: Check) -> None:
        super().__init__(data)
        self._check = check

    def read(self, size: int | None = -1, /) -> bytes:
        self._check()
        return super().read(size)


def open_header(data: bytes, max_image_pixels: int, check: Check = no_check) -> Image.Image:
    """Return the picture in `data` with its header read and no pixel decoded.

    Raises `ImageUnreadable` (codes `image_empty`, `image_format`, `image_truncated`,
    `image_unreadable`) and `ImageTooLarge` (`image_too_many_pixels`). What `check` raises ends
    this and `decode`, between two blocks of the file.
    """
    if not data:
        raise ImageUnreadable("the image has no bytes", code="image_empty")
    try:
        picture = Image.open(_Bytes(data, check), formats=FORMATS)
    except _BOMB as exc:
        raise _too_many_pixels(min(max_image_pixels, CEILING)) from exc
    except UnidentifiedImageError as exc:
        raise _explain_unknown(data) from exc
    except _BROKEN as exc:
        raise _explain_damage(data, exc) from exc
    if picture.width * picture.height > max_image_pixels:
        raise _too_many_pixels(max_image_pixels, f": {picture.width}×{picture.height}")
    return picture


def decode(header: Image.Image, data: bytes) -> Image.Image:
    """Return the picture whose `header` was read from `data`, as RGB with 8 bits.

    It is turned by its EXIF orientation. Transparent pixels lie on white, 16 bits of grey become 8,
    and colour profiles are ignored. Raises `ImageUnreadable` for faults behind the header.
    """
    turn = _turn(header)
    try:
        header.load()
        rgb = _to_rgb(header)  # which looks for a palette that may be missing
    except _BROKEN as exc:
        raise _explain_damage(data, exc) from exc
    return rgb if turn is None else rgb.transpose(turn)


def decode_bytes(header: Image.Image) -> int:
    """Return how much memory `decode` and one resize of its result take at most, in bytes.

    Each picture kept at the same time counts: the decoder's own buffers, the pixels as stored in
    the file, the converted ones and the turned ones.
    """
    stored = STORED_BYTES.get(header.mode, 4)
    buffers = 0
    if header.format == "WEBP":
        buffers = 13  # three canvases of the animation decoder, and the lossy decoder's planes
    elif header.info.get("progressive"):
        buffers = 2 * len(header.getbands())  # coefficients of all bands, kept to the last scan
    converted = 5 if header.mode.startswith("I") else 4
    if header.mode == "RGBA" or (header.mode == "RGB" and not header.has_transparency_data):
        converted = 0
    turned = 8 if _turn(header) else 0
    resized = 1
    per_pixel = max(stored + buffers, stored + converted, turned) + resized
    return header.width * header.height * per_pixel


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Return the pixels as RGB, without the file's metadata."""
    # No step copies pixels that are right already: 50 million of them take 190 MiB.
    if picture.mode.startswith("I"):
        picture = picture.convert("I").point(EIGHT_OF_SIXTEEN_BITS, "L")
    elif picture.has_transparency_data:
        picture = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        _lay_on_white(picture)
    if picture.mode not in ("RGB", "RGBA"):
        picture = picture.convert("RGB")
    # Shares the memory, whose fourth byte RGB ignores, and lets go of the file and its decoder.
    return Image.fromarrow(picture, "RGB", picture.size)


def _lay_on_white(picture: Image.Image) -> None:
    """Lay an RGBA picture on white, in place."""
    rows = max(1, STRIP_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        strip = (0, top, picture.width, min(top + rows, picture.height))
        transparency = ImageChops.invert(picture.crop(strip).getchannel("A"))
        picture.paste(WHITE, strip, transparency)


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """Return how a browser turns the picture, of which only the header may be read yet.

    Chromium (156, observed) turns JPEG and PNG, but not WebP, by the EXIF that stands before the
    pixels, and by nothing else. Pillow's `exif_transpose` also uses XMP, text chunks and EXIF
    behind the pixels, which would put boxes beside what the annotator sees.
    """
    exif = b"" if picture.format == "WEBP" else picture.info.get("exif", b"")
    return TURNS.get(_orientation(exif))


def _orientation(exif: bytes) -> int:
    """Return the orientation in the first directory of `exif`, or 0 if it has none."""
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


def _explain_damage(data: bytes, exc: Exception) -> ImageError:
    """Return the error for bytes that end too early, or are invalid."""
    if _ends_early(data, exc):
        return ImageUnreadable("the image ends before its last pixel", code="image_truncated")
    return ImageUnreadable("the image's bytes are damaged")


def _ends_early(data: bytes, exc: Exception) -> bool:
    if _format_name(data) == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    # Pillow's message for a JPEG that ends before its scan is the latter.
    words = ("truncated", "cannot load this image")
    return isinstance(exc, (EOFError, struct.error)) or any(w in str(exc).lower() for w in words)


def _explain_unknown(data: bytes) -> ImageError:
    """Return the error for bytes that Pillow cannot identify."""
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


RETURN_SECONDS = 5.0
"""How often freed memory goes back to the system while pictures are being decoded."""


class Decoder:
    """Decodes pictures within `memory` bytes; safe to share between threads.

    If `memory` is 0, a quarter of what this process may use. What was freed goes back to the
    system, at the latest when no picture is left.
    """

    def __init__(self, memory: int = 0) -> None:
        self.budget = DecodeBudget(memory) if memory else own_budget()
        self._returned = 0.0

    @contextmanager
    def decode(
        self, data: bytes, max_pixels: int, *, urgent: bool = False, check: Check = no_check
    ) -> Iterator[Image.Image]:
        """Yield the upright RGB picture in `data`, and free its pixels after the block.

        Waits while the budget is taken; a picture that is `urgent` goes first. Raises as
        `open_header` and `decode` do, and what `check` does: it is called about every second, but
        within the one step of a WebP. Make the views of the picture within the block.
        """
        check = now_and_then(check)
        header = open_header(data, max_pixels, check)
        with self.budget.reserve(decode_bytes(header), urgent=urgent, check=check):
            picture = decode(header, data)
            del header  # it shares the pixels, and would keep them beyond the reservation
            try:
                yield picture
            finally:
                picture.close()
                del picture
        self._give_back()

    def _give_back(self) -> None:
        """Return freed memory to the system, now and then while others decode."""
        now = time.monotonic()
        if self.budget.is_idle or now - self._returned > RETURN_SECONDS:
            self._returned = now
            _trim()


def _trim() -> None:
    """Let the C library return what each thread's pool keeps, where it can: hundreds of MiB."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
