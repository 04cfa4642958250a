"""A film whose frames take long to decode, and whose last one needs all before it."""

from __future__ import annotations

import io
from fractions import Fraction

import av
from PIL import Image

from tests.media.films.making import TICKS

CYCLE = 16
"""How many frames H.264 counts before it begins anew: so many can be repeated as they are."""


def heavy_film(frames: int, size: tuple[int, int] = (3840, 2160)) -> bytes:
    """Return an MP4 with one key frame, of noise that moves: some 15 ms of decoding a frame."""
    first = io.BytesIO()
    with av.open(first, "w", format="mp4") as container:
        options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "40"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.gop_size = 10 * CYCLE
        wide, high = size[0] // 4, size[1] // 4
        noise = Image.effect_noise((wide + CYCLE, high + CYCLE), 100).convert("RGB")
        for number in range(CYCLE + 1):
            part = (0.3 * number, 0.7 * number, wide, high)
            moved = noise.resize(size, Image.Resampling.BILINEAR, part)
            container.mux(stream.encode(av.VideoFrame.from_image(moved)))
        container.mux(stream.encode())
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(first.getvalue())) as source,
        av.open(file, "w", format="mp4") as container,
    ):
        stream = container.add_stream_from_template(source.streams.video[0])
        key, *others = [bytes(packet) for packet in source.demux(video=0) if packet.size]
        for number in range(frames):
            packet = av.Packet(others[(number - 1) % CYCLE] if number else key)
            packet.stream, packet.time_base = stream, Fraction(1, TICKS)
            packet.dts = packet.pts = 40 * number
            packet.is_keyframe = not number
            container.mux(packet)
    return file.getvalue()
