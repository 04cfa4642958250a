"""Films for tests: made by PyAV, each frame with its number."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction

import av
from PIL import Image

TICKS = 1000
"""Units of time in a second."""

Draw = Callable[[int], Image.Image]

BITS = 8


def numbered(size: tuple[int, int]) -> Draw:
    """Return what draws frames of stripes, white and black, which write their number in binary."""

    def draw(number: int) -> Image.Image:
        stripes = Image.new("L", (BITS, 1))
        stripes.putdata([255 * (number >> bit & 1) for bit in range(BITS)])
        return stripes.resize(size, Image.Resampling.NEAREST).convert("RGB")

    return draw


def number_of(picture: Image.Image) -> int:
    """Return the number of a frame of `numbered`, at whatever size."""
    stripes = picture.convert("L").resize((BITS, 1), Image.Resampling.BOX).tobytes()
    return sum((value > 127) << bit for bit, value in enumerate(stripes))


def film(
    frames: int = 50,
    fps: float = 25,
    size: tuple[int, int] = (160, 120),
    draw: Draw | None = None,
    *,
    times: Sequence[float] | None = None,
    codec: str = "libx264",
    form: str = "mp4",
    rotation: int = 0,
    aspect: Fraction | None = None,
    group: int = 12,
) -> bytes:
    """Return the file of a film; `times` are those of its frames in seconds, else they are even.

    `group` is how many frames lie between two key frames, and `aspect` the width of a pixel.
    """
    draw = draw or numbered(size)
    shown = [number / fps for number in range(frames)] if times is None else times
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        stream.gop_size = group
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for number, time in enumerate(shown):
            frame = av.VideoFrame.from_image(draw(number))
            frame.pts, frame.time_base = round(time * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()
