"""Decoded pictures look as in a browser, and views have the size that the model sees."""

from __future__ import annotations

import io
import random
import struct
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from grounding.errors import ImageError, ImageTooLarge, ImageTooThin, ImageUnreadable
from grounding.geometry import PixelBounds, model_frame
from grounding.media.images import EIGHT_OF_SIXTEEN_BITS
from grounding.media.views import whole
from tests.media.pictures import (
    BLUE,
    GREEN,
    RED,
    SIZE,
    WHITE,
    as_ycck,
    chunk,
    color,
    corner_colors,
    corners,
    exif,
    palette,
    plain,
    png,
    saved,
    upright,
    with_segment,
    without_adobe,
)

BOUNDS = PixelBounds(28, 4 * 28 * 28, 64 * 28 * 28)

INK = (30, 90, 150, 60)
"""Cyan, magenta, yellow and black of a CMYK picture, each 0 to 255."""

EARTH, CLAY = (10, 20, 30), (200, 100, 50)

RGB_PNG, GREY_PNG, GREY_ALPHA_PNG, RGBA_PNG, PALETTE_PNG = 2, 0, 4, 6, 3

# Golden pixels: what Chromium 156 draws of each file on a white page, to within 2 levels.
GOLDEN = {
    "JPEG": (saved(plain("RGB", CLAY), "JPEG", quality=100), CLAY),
    "JPEG, progressive": (saved(plain("RGB", CLAY), "JPEG", progressive=True), CLAY),
    "JPEG, grey": (saved(plain("L", 77), "JPEG"), (77, 77, 77)),
    "JPEG, several in one": (
        saved(plain("RGB", CLAY), "MPO", save_all=True, append_images=[plain("RGB", EARTH)]),
        CLAY,
    ),
    "JPEG, CMYK of Adobe": (saved(plain("CMYK", INK), "JPEG", quality=100), (172, 126, 80)),
    "JPEG, CMYK": (
        without_adobe(saved(plain("CMYK", INK), "JPEG", quality=100)),
        (172, 126, 80),
    ),
    "JPEG, YCCK": (as_ycck(saved(plain("CMYK", INK), "JPEG", quality=100)), (47, 19, 0)),
    "PNG": (saved(plain("RGB", CLAY), "PNG"), CLAY),
    "PNG, 1 bit": (saved(plain("1", 1), "PNG"), WHITE),
    "PNG, 2 bits": (png(2, GREY_PNG, b"\x55"), (85, 85, 85)),
    "PNG, 4 bits": (png(4, GREY_PNG, b"\x55"), (85, 85, 85)),
    "PNG, grey": (saved(plain("L", 77), "PNG"), (77, 77, 77)),
    "PNG, grey and alpha": (saved(plain("LA", (100, 128)), "PNG"), (177, 177, 177)),
    "PNG, grey, one clear": (saved(plain("L", 77), "PNG", transparency=77), WHITE),
    "PNG, alpha": (saved(plain("RGBA", (200, 30, 40, 64)), "PNG"), (241, 199, 201)),
    "PNG, all clear": (saved(plain("RGBA", (200, 30, 40, 0)), "PNG"), WHITE),
    "PNG, RGB, one clear": (saved(plain("RGB", EARTH), "PNG", transparency=EARTH), WHITE),
    "PNG, palette": (saved(palette(EARTH, CLAY, index=1), "PNG"), CLAY),
    "PNG, palette, one clear": (saved(palette(EARTH, CLAY, index=1), "PNG", transparency=1), WHITE),
    "PNG, palette, half clear": (
        saved(palette(EARTH, CLAY, index=1), "PNG", transparency=bytes([0, 128])),
        (227, 177, 152),
    ),
    "PNG, 16 bits of grey": (png(16, GREY_PNG, b"\x12\x34"), (18, 18, 18)),
    "PNG, 16 bits of light grey": (png(16, GREY_PNG, b"\xfe\xff"), (254, 254, 254)),
    "PNG, 16 bits of white": (png(16, GREY_PNG, b"\xff\xff"), WHITE),
    "PNG, 16 bits": (png(16, RGB_PNG, b"\x12\x34\x80\xff\xfe\xff"), (18, 128, 254)),
    "PNG, 16 bits, grey and alpha": (png(16, GREY_ALPHA_PNG, b"\x12\x34\x80\xff"), (136, 136, 136)),
    "PNG, 16 bits and alpha": (
        png(16, RGBA_PNG, b"\x12\x34\x80\xff\xfe\xff\x80\0"),
        (136, 191, 254),
    ),
    "WebP": (saved(plain("RGB", CLAY), "WEBP", lossless=True), CLAY),
    "WebP, alpha": (
        saved(plain("RGBA", (200, 30, 40, 64)), "WEBP", lossless=True, exact=True),
        (241, 198, 201),
    ),
    "WebP, moving": (
        saved(
            plain("RGB", CLAY),
            "WEBP",
            lossless=True,
            save_all=True,
            append_images=[plain("RGB", EARTH)],
        ),
        CLAY,
    ),
    "GIF": (saved(palette(EARTH, CLAY, index=1), "GIF"), CLAY),
    "GIF, clear": (saved(palette(EARTH, CLAY, index=1), "GIF", transparency=1), WHITE),
    "GIF, moving": (
        saved(palette(EARTH, CLAY, index=1), "GIF", save_all=True, append_images=[palette(EARTH)]),
        CLAY,
    ),
    "BMP": (saved(plain("RGB", CLAY), "BMP"), CLAY),
    "BMP, 1 bit": (saved(plain("1", 1), "BMP"), WHITE),
    "BMP, palette": (saved(palette(EARTH, CLAY, index=1), "BMP"), CLAY),
}


@pytest.mark.parametrize(("data", "shown"), GOLDEN.values(), ids=GOLDEN.keys())
def test_every_mode_gets_the_colour_that_a_browser_shows(
    data: bytes, shown: tuple[int, int, int]
) -> None:
    picture = upright(data)
    assert picture.mode == "RGB"
    assert picture.size == SIZE
    seen = color(picture, (20, 20))
    assert max(abs(a - b) for a, b in zip(seen, shown, strict=True)) <= 2, seen
    assert picture.info == {}


def test_16_bits_of_grey_become_the_nearest_of_8_bits() -> None:
    assert [round(value / 257) for value in range(65536)] == EIGHT_OF_SIXTEEN_BITS
    for value, grey in ((0, 0), (128, 0), (129, 1), (0x80FF, 128), (65535, 255)):
        data = png(16, GREY_PNG, struct.pack(">H", value))
        assert color(upright(data), (0, 0)) == (grey,) * 3


# Orientation

# The corners of the picture as shown, clockwise from the top left.
TURNED = {
    1: [RED, GREEN, BLUE, WHITE],
    2: [GREEN, RED, WHITE, BLUE],
    3: [BLUE, WHITE, RED, GREEN],
    4: [WHITE, BLUE, GREEN, RED],
    5: [RED, WHITE, BLUE, GREEN],
    6: [WHITE, RED, GREEN, BLUE],
    7: [BLUE, GREEN, RED, WHITE],
    8: [GREEN, BLUE, WHITE, RED],
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_picture_is_turned_by_its_exif_orientation(
    orientation: int, form: str, order: str
) -> None:
    data = saved(corners(), form, exif=exif(orientation, order))
    picture = upright(data)
    assert corner_colors(picture) == TURNED[orientation]
    assert picture.size == ((30, 60) if orientation > 4 else (60, 30))
    assert whole(upright(data), BOUNDS).image.width == picture.width


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
JPEG = saved(corners(), "JPEG")
PNG = saved(corners(), "PNG")


def _text(key: str, value: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text(key, value)
    return info


# Chromium 156 turns none of these; Pillow's exif_transpose turns most.
NOT_TURNED = {
    "WebP": saved(corners(), "WEBP", lossless=True, exif=exif(6)),
    "XMP in JPEG": saved(corners(), "JPEG", xmp=XMP),
    "XMP in PNG": saved(corners(), "PNG", pnginfo=_text("XML:com.adobe.xmp", XMP.decode())),
    "a text chunk": saved(
        corners(),
        "PNG",
        pnginfo=_text("Raw profile type exif", f"\nexif\n{len(exif(6)):8}\n{exif(6).hex()}\n"),
    ),
    "EXIF behind the pixels": PNG[:-12] + chunk(b"eXIf", exif(6)[6:]) + PNG[-12:],
    "32 bits of orientation": saved(corners(), "JPEG", exif=exif(6, kind=4)),
    "two orientations in one": saved(corners(), "JPEG", exif=exif(6, count=2)),
    "orientation 0": saved(corners(), "JPEG", exif=exif(0)),
    "orientation 9": saved(corners(), "JPEG", exif=exif(9)),
    "a second EXIF": with_segment(with_segment(JPEG, exif(6)), exif(1)),
}


@pytest.mark.parametrize("data", NOT_TURNED.values(), ids=NOT_TURNED.keys())
def test_a_picture_is_not_turned_by_metadata_that_browsers_ignore(data: bytes) -> None:
    assert corner_colors(upright(data)) == TURNED[1]


CORRUPT = {
    "EXIF of noise": with_segment(JPEG, b"Exif\0\0" + bytes(range(200))),
    "EXIF cut off": with_segment(JPEG, exif(6)[:20]),
    "EXIF that points outside": with_segment(JPEG, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "EXIF without end": with_segment(JPEG, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\0" * 40),
    "empty EXIF": with_segment(JPEG, b"Exif\0\0"),
    "colour profile of noise": with_segment(JPEG, b"ICC_PROFILE\0\1\1" + b"x" * 99, 0xE2),
    "picture list of noise": with_segment(JPEG, b"MPF\0" + b"x" * 99, 0xE2),
    "XMP of noise": with_segment(JPEG, b"http://ns.adobe.com/xap/1.0/\0<<<"),
    "Photoshop's of noise": with_segment(JPEG, b"Photoshop 3.0\x008BIM" + b"x" * 99, 0xED),
    "PNG with EXIF of noise": PNG[:33] + chunk(b"eXIf", b"noise") + PNG[33:],
    "PNG with a profile of noise": PNG[:33] + chunk(b"iCCP", b"x\0\0noise") + PNG[33:],
    "garbage behind the JPEG": JPEG + b"garbage" * 1000,
    "garbage behind the PNG": PNG + b"garbage" * 1000,
}


# pytest resets the filters around each test; in a worker these warnings are off (`images`).
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("data", CORRUPT.values(), ids=CORRUPT.keys())
def test_corrupt_metadata_is_ignored(data: bytes) -> None:
    assert corner_colors(upright(data)) == TURNED[1]


# The model's size


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((1, 1), (56, 56)),
        ((27, 27), (56, 56)),
        ((112, 56), (112, 56)),
        ((640, 480), (252, 168)),
        ((3, 600), (28, 812)),
        ((5000, 30), (2884, 28)),
    ],
)
def test_the_pixels_of_a_view_have_exactly_the_size_of_its_frame(
    size: tuple[int, int], shown: tuple[int, int]
) -> None:
    made = whole(upright(saved(plain("RGB", CLAY, size), "PNG")), BOUNDS)
    assert made.pixels.size == (made.frame.width, made.frame.height) == shown
    assert made.pixels.mode == "RGB"
    assert (made.image.name, made.image.width, made.image.height) == ("image", *size)
    assert made.frame == model_frame(made.image, BOUNDS)


def test_a_picture_of_the_right_size_keeps_its_pixels() -> None:
    noise = Image.effect_noise((112, 56), 80).convert("RGB")
    assert whole(upright(saved(noise, "PNG")), BOUNDS).pixels.tobytes() == noise.tobytes()


def test_the_resize_is_pillows_bicubic_of_the_fully_decoded_picture() -> None:
    noise = Image.effect_noise((1600, 1200), 80).convert("RGB")
    data = saved(noise, "JPEG", quality=95)
    decoded = Image.open(io.BytesIO(data))
    expected = decoded.resize((252, 168), Image.Resampling.BICUBIC)
    assert whole(upright(data), BOUNDS).pixels.tobytes() == expected.tobytes()


@pytest.mark.parametrize("size", [(201, 1), (1, 201), (65_535, 1)])
def test_a_picture_beyond_the_aspect_of_the_model_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooThin) as failure:
        whole(upright(saved(plain("RGB", CLAY, size), "PNG")), BOUNDS)
    assert failure.value.code == "image_too_thin"


# Refusals


PNG_PIXELS = 8 + 25 + 8 + 1
"""Where the pixels of a PNG have begun: after its signature, its header and a chunk's beginning."""


@pytest.mark.parametrize("size", [(9400, 9400), (13_000, 13_000), (20_000, 20_000)])
def test_a_bomb_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    """The files end with the first of their pixels, so that none can be decoded."""
    with pytest.raises(ImageUnreadable):
        upright(png(1, GREY_PNG, b"\0", (64, 64))[:PNG_PIXELS])
    with pytest.raises(ImageTooLarge) as failure:
        upright(png(1, GREY_PNG, b"\0", size)[:PNG_PIXELS])
    assert failure.value.code == "image_too_many_pixels"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_the_limit_of_pixels_is_exact(form: str) -> None:
    data = saved(plain("L", 77, (50, 40)), form)
    assert upright(data, 2000).size == (50, 40)
    with pytest.raises(ImageTooLarge, match="50×40"):
        upright(data, 1999)


FOREIGN = {
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "SVG behind a prologue": b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x --><svg/>',
    "HTML": b"<!DOCTYPE html><title>Log in</title>",
    "HTML in capitals": b"\r\n  <HTML>",
    "XML": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "PDF": b"%PDF-1.7\n",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "PSD": b"8BPS\0\1" + bytes(20),
    "TIFF": saved(plain("RGB", CLAY), "TIFF"),
    "TIFF of Motorola": b"MM\0*\0\0\0\x08",
    "JPEG 2000": saved(plain("RGB", CLAY), "JPEG2000"),
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n",
    "DDS": saved(plain("RGB", CLAY), "DDS"),
    "FITS": b"SIMPLE  =                    T",
    "ICO": saved(plain("RGB", CLAY), "ICO"),
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0",
    "HEIC of Apple": b"\0\0\0\x18ftypmif1\0\0\0\0",
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0",
    "gzip": b"\x1f\x8b\x08\0",
    "ZIP": b"PK\3\4",
}


@pytest.mark.parametrize(("name", "data"), FOREIGN.items())
def test_the_error_for_another_format_names_it(name: str, data: bytes) -> None:
    with pytest.raises(ImageUnreadable) as failure:
        upright(data)
    assert failure.value.code == "image_format"
    assert f"is {name.partition(' ')[0]}" in failure.value.cause
    assert "Use JPEG, PNG, WebP, GIF or BMP" in str(failure.value)


@pytest.mark.parametrize(
    "data", [b"hello", b"\0" * 1000, b'{"error": "not found"}', b"RIFF....WAVE"]
)
def test_unknown_bytes_are_refused_as_a_format(data: bytes) -> None:
    with pytest.raises(ImageUnreadable) as failure:
        upright(data)
    assert failure.value.code == "image_format"


def test_an_empty_file_has_its_own_code() -> None:
    with pytest.raises(ImageUnreadable) as failure:
        upright(b"")
    assert failure.value.code == "image_empty"


WHOLE = {
    "JPEG": saved(Image.effect_noise(SIZE, 80), "JPEG"),
    "PNG": saved(Image.effect_noise(SIZE, 80), "PNG"),
    "WEBP": saved(Image.effect_noise(SIZE, 80), "WEBP"),
    "GIF": saved(Image.effect_noise(SIZE, 80), "GIF"),
    "BMP": saved(Image.effect_noise(SIZE, 80), "BMP"),
}


@pytest.mark.parametrize("form", WHOLE)
def test_a_picture_cut_off_anywhere_is_reported_as_truncated(form: str) -> None:
    data = WHOLE[form]
    for end in [*range(16, 200), *range(200, len(data) * 9 // 10, 97)]:
        with pytest.raises(ImageUnreadable) as failure:
            upright(data[:end])
        assert failure.value.code == "image_truncated", end


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("form", WHOLE)
@given(seed=st.integers(), flips=st.integers(1, 20))
def test_damaged_bytes_raise_none_but_our_own_errors(form: str, seed: int, flips: int) -> None:
    data, chance = bytearray(WHOLE[form]), random.Random(seed)
    for _ in range(flips):
        data[chance.randrange(chance.choice((60, len(data))))] = chance.choice((0, 255, seed % 256))
    try:
        assert whole(upright(bytes(data)), BOUNDS).pixels.mode == "RGB"
    except ImageError as failure:
        assert failure.code.startswith("image_")  # noqa: PT017  either outcome is right


@given(st.binary(max_size=200))
def test_any_bytes_raise_none_but_our_own_errors(data: bytes) -> None:
    with pytest.raises(ImageUnreadable):
        upright(data)


def test_a_picture_whose_palette_is_missing_is_unreadable() -> None:
    with pytest.raises(ImageUnreadable) as failure:
        upright(png(8, PALETTE_PNG, b"\1"))
    assert failure.value.code == "image_unreadable"


def test_a_text_chunk_that_inflates_beyond_bounds_is_unreadable() -> None:
    bomb = chunk(b"zTXt", b"x\0\0" + zlib.compress(b"\0" * 2**22))
    with pytest.raises(ImageUnreadable) as failure:
        upright(PNG[:33] + bomb + PNG[33:])
    assert failure.value.code == "image_unreadable"


def test_only_the_first_frame_of_an_animation_is_decoded() -> None:
    frames = [plain("L", shade, (200, 200)) for shade in range(250)]
    animation = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])

    def cost(data: bytes) -> float:
        started = time.thread_time()
        upright(data)
        return time.thread_time() - started

    both = [(cost(animation), cost(saved(frames[0], "GIF"))) for _ in range(5)]
    animated, single = map(min, zip(*both, strict=True))
    assert animated < len(frames) / 5 * single
