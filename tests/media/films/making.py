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
    mirrored: bool = False,
    colours: str = "ITU601",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
    group: int = 12,
    ticks: int = TICKS,
) -> bytes:
    """Return the file of a film; `times` are those of its frames in seconds, else they are even.

    `group` is how many frames lie between two key frames, `aspect` the width of a pixel, and
    `ticks` the units of time in a second. Its `pixels` are FFmpeg's name of a format, and their
    `colours` that of a matrix, which the file does not tell. `options` are those of the container.
    """
    draw = draw or numbered(size)
    shown = [number / fps for number in range(frames)] if times is None else times
    file = io.BytesIO()
    with av.open(file, "w", format=form, options=options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, ticks)
        stream.gop_size = group
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for number, time in enumerate(shown):
            frame = av.VideoFrame.from_image(draw(number))
            frame = frame.reformat(format=pixels, dst_colorspace=colours)
            frame.pts, frame.time_base = round(time * ticks), Fraction(1, ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def cut(data: bytes, seconds: float, options: dict[str, str] | None = None) -> bytes:
    """Return an MP4 without its first seconds, as programs cut that encode nothing anew.

    All frames since a key frame stay in the file, whose list of edits leaves out the first ones.
    """
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(data)) as source,
        av.open(file, "w", format="mp4", options=options or {}) as container,
    ):
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in (packet for packet in source.demux(video=0) if packet.size):
            assert packet.pts is not None
            assert packet.dts is not None
            shift = round(seconds / packet.time_base)
            packet.stream, packet.pts, packet.dts = stream, packet.pts - shift, packet.dts - shift
            container.mux(packet)
    return file.getvalue()


def restamped(data: bytes, times: Sequence[float], form: str) -> bytes:
    """Return a film with its frames, as they lie in the file, at other times in seconds."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format=form) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = (packet for packet in source.demux(video=0) if packet.size)
        for number, (packet, time) in enumerate(zip(packets, times, strict=False)):
            packet.stream, packet.time_base = stream, Fraction(1, TICKS)
            packet.dts, packet.pts = number, round(time * TICKS)
            container.mux(packet)
    return file.getvalue()


def after_sound(data: bytes, seconds: float) -> bytes:
    """Return a film that begins so many seconds after its sound does."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format="matroska") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        sound = container.add_stream("aac", rate=8000)
        silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        silence.sample_rate, silence.pts = 8000, 0
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
        late = round(seconds * TICKS)
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            packet.stream, packet.time_base = stream, Fraction(1, TICKS)
            packet.dts = packet.pts = late + 100 * number
            container.mux(packet)
    return file.getvalue()
