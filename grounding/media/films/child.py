"""Decodes one film in a process of its own; `reader` runs it as a file and never imports it.

A decoder is a large parser of hostile bytes in C. Here it may use so much memory and time, reads
one open file by its descriptor, opens no other, and dies with the process that started it. Only
known containers are opened: others name further files and addresses to read.

The order is a line of JSON on the standard input. The answer, on the standard output, is a line of
JSON, then bytes: of `probe`, the times and the key frames of all frames, as 64-bit integers; of
`frames`, the RGB pixels of each frame that was asked for, in order.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
import signal
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, pairwise
from statistics import median
from typing import Any, BinaryIO

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg"
"""Names of demuxers: none of them opens a file by a name that stands in the film."""

COUNTED = "mov"
"""The demuxer that knows beforehand how many frames there are."""

ABSOLUTE = ("mov", "matroska")
"""Demuxers of what a browser plays: its clock is the file's, which need not begin at 0. What no
browser plays has no other clock than its own beginning.
"""

BUFFER = 256 * 1024
MAX_FRAMES = 2_000_000
PR_SET_PDEATHSIG = 1

Order = dict[str, Any]


class Refused(Exception):
    """Why the film is not read: a code and a cause."""


class Part:
    """A file by its descriptor, with a position of its own: other readers share the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        data = os.pread(self._descriptor, self._size if size < 0 else size, self._at)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at


def confine(order: Order) -> None:
    """Bound this process, so that nothing that a film does outlives or outgrows it."""
    memory, seconds = int(order["memory"]), int(order["seconds"]) + 1
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    with suppress(OSError, AttributeError):  # Linux alone
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order["parent"]:
        sys.exit(1)


def open_film(order: Order) -> tuple[Any, Any]:
    """Return the container and its moving picture."""
    import av

    try:
        container = av.open(
            Part(order["file"]),
            buffer_size=BUFFER,
            container_options={"format_whitelist": FORMATS, "protocol_whitelist": ""},
        )
    except (av.FFmpegError, ValueError) as exc:
        raise Refused("film_format", "the file is no film that we can read") from exc
    streams = [s for s in container.streams.video if not s.disposition & DISPOSITION_STILL]
    if not streams:
        raise Refused("film_format", "the file holds no moving picture")
    stream = streams[0]
    stream.thread_type = "NONE"
    stream.codec_context.options = {"max_pixels": str(order["pixels"])}
    size = stream.codec_context
    if size.width * size.height > order["pixels"]:
        raise Refused(
            "film_too_many_pixels",
            f"the film has more than {order['pixels']} pixels: {size.width}×{size.height}",
        )
    return container, stream


DISPOSITION_STILL = 0x400
"""FFmpeg's mark of a stream that is the cover of a piece of music."""


def probe(order: Order, out: BinaryIO) -> None:
    """Write what the film is, the times of its frames, and which of them are key frames."""
    container, stream = open_film(order)
    first = _first_frame(container, stream)
    begins = 0.0 if container.start_time is None else container.start_time / 1_000_000
    stamps, keys = _stamps(container, stream, begins, order)
    base = stream.time_base
    is_absolute = any(name in container.format.name for name in ABSOLUTE)
    aspect = stream.sample_aspect_ratio
    answer = {
        "width": first.width,
        "height": first.height,
        "aspect": [aspect.numerator, aspect.denominator] if aspect else [1, 1],
        "matrix": _display_matrix(first),
        "base": [base.numerator, base.denominator],
        "start": 0.0 if is_absolute else begins,
        "last": _usual_duration(stream, stamps),
        "frames": len(stamps),
        "keys": len(keys),
    }
    _write(out, answer)
    out.write(array("q", stamps).tobytes())
    out.write(array("q", keys).tobytes())


def _display_matrix(frame: Any) -> list[int]:
    """Return how the frame is laid out to be shown: where a step right and one down lead to.

    These are a right and a down for each, in any unit.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return [1, 0, 0, 1]
    right_x, right_y, _, down_x, down_y, *_ = array("i", bytes(data))
    return [right_x, right_y, down_x, down_y]


def _first_frame(container: Any, stream: Any) -> Any:
    for frame in _decode(container.demux(stream)):
        container.seek(0, backward=True)
        return frame
    raise Refused("film_unreadable", "no frame of the film can be decoded")


def _stamps(
    container: Any, stream: Any, begins: float, order: Order
) -> tuple[list[int], list[int]]:
    """Return the times of all frames and of the key frames, in order, in units of the stream.

    The film is as long as from where it `begins` in seconds, or its first frame, to the last one.
    """
    import av

    stamps: set[int] = set()
    keys: set[int] = set()
    packets, last = 0, -math.inf
    first, longest = begins / stream.time_base, order["longest"] / stream.time_base
    try:
        for packet in container.demux(stream):
            stamp = _stamp(packet)
            packets += packet.size > 0
            if stamp is None or packet.is_discard or not packet.size:
                continue
            stamps.add(stamp)
            # In any order: a film may well name its last frame first.
            first, last = min(first, stamp), max(last, stamp)
            if packet.is_keyframe:
                keys.add(stamp)
            if len(stamps) > MAX_FRAMES or last - first > longest:
                raise Refused(
                    "film_too_long", f"the film is longer than {order['longest']} seconds"
                )
    except av.FFmpegError as exc:
        raise Refused("film_truncated", "the film breaks off before its end") from exc
    # Those that the file's own list of edits leaves out are in its count, but not in its index. One
    # in fragments has no count: a camera that broke off leaves one that plays up to there.
    counted = COUNTED in container.format.name and stream.frames
    if counted and packets < len(stream.index_entries) - 1:
        raise Refused("film_truncated", "the film breaks off before its end")
    if not stamps:
        raise Refused("film_unreadable", "the film has no frame with a time")
    return sorted(stamps), sorted(keys)


def _stamp(packet: Any) -> int | None:
    found: int | None = packet.dts if packet.pts is None else packet.pts
    return found


def _usual_duration(stream: Any, stamps: list[int]) -> int:
    """Return for how long most frames are shown, and so the last one as far as is known."""
    if len(stamps) > 1:
        return max(1, int(median(after - before for before, after in pairwise(stamps))))
    rate = stream.average_rate
    return max(1, int(1 / (rate * stream.time_base))) if rate else 1


def frames(order: Order, out: BinaryIO) -> None:
    """Write the frames with the times `stamps`, in order, at the size that was asked for."""
    container, stream = open_film(order)
    _write(out, {})
    walk = _Walk(container, stream, order["keys"], order["tries"])
    for stamp in order["stamps"]:
        frame = walk.to(stamp)
        small = frame.reformat(
            width=order["width"],
            height=order["height"],
            format="rgb24",
            src_colorspace=_colorspace(frame),
            interpolation="BICUBIC",
        )
        plane = memoryview(small.planes[0])
        row = 3 * order["width"]
        for line in range(order["height"]):
            start = line * small.planes[0].line_size
            out.write(plane[start : start + row])
    out.flush()


UNSPECIFIED = 2
HD_LINES = 720


def _colorspace(frame: Any) -> str | None:
    """Return what colours to read where a frame leaves that open, as browsers guess: by its height.

    None leaves it to the frame, and to the conversion's own rule, that of small films.
    """
    is_hd = frame.colorspace == UNSPECIFIED and frame.height >= HD_LINES
    return "ITU709" if is_hd else None


class _Walk:
    """Goes through a film's frames once, and jumps to a key frame where one lies between.

    Not every container leads a jump to where it should: one counts as made where the first key
    frame that follows is not after the wanted frame, and neither is the first frame that comes
    out. `tries` is how many key frames before the wanted one are tried; then the film is gone
    through from its start, without any jump more.
    """

    def __init__(self, container: Any, stream: Any, keys: Sequence[int], tries: int) -> None:
        self._container, self._stream = container, stream
        self._keys, self._tries = keys, tries
        self._frames = _decode(container.demux(stream))
        self._last: Any = None

    def to(self, stamp: int) -> Any:
        """Return the frame with this time: the next one where it cannot be decoded."""
        if self._last is not None and self._last.pts >= stamp:
            return self._last
        if (keys := self._keys_ahead(stamp)) and not self._jump(keys, stamp):
            self._keys, self._frames = (), self._from_start()
        self._go(stamp)
        if self._last is None:
            raise Refused("film_unreadable", "no frame of the film can be decoded")
        return self._last

    def _go(self, stamp: int) -> None:
        """Go to the first frame from a time on, or the last one."""
        while self._last is None or self._last.pts < stamp:
            frame = next(self._frames, None)
            if frame is None:
                break
            self._last = frame

    def _keys_ahead(self, stamp: int) -> Sequence[int]:
        """Return the key frames to jump to on the way to a time; none where that saves nothing."""
        at = bisect_right(self._keys, stamp)
        near = self._keys[max(0, at - self._tries) : at]
        if self._last is None:
            return near if len(near) > 1 else ()
        return near if near and near[-1] > self._last.pts else ()

    def _jump(self, keys: Sequence[int], stamp: int) -> bool:
        """Go to one of some key frames before a time, the last if it can be; say whether it was."""
        import av

        for key in reversed(keys):
            with suppress(av.FFmpegError):
                self._container.seek(key, stream=self._stream, backward=True)
                packets = self._container.demux(self._stream)
                found = next((one for one in packets if one.is_keyframe), None)
                there = None if found is None else _stamp(found)
                if there is not None and there <= stamp:
                    self._frames = _decode(chain([found], packets))
                    self._last = next(self._frames, None)
                    # A later one may be that of a false jump, or of a damaged key frame.
                    if self._last is not None and self._last.pts <= stamp:
                        return True
        return False

    def _from_start(self) -> Iterator[Any]:
        self._last = None
        self._container.seek(0, backward=True)
        return _decode(self._container.demux(self._stream))


def _decode(packets: Iterator[Any]) -> Iterator[Any]:
    """Yield the frames of some packets; what cannot be decoded is left out."""
    import av

    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        with suppress(av.FFmpegError):
            for frame in packet.decode():
                if frame.pts is None:
                    frame.pts = frame.dts if frame.dts is not None else packet.dts
                if frame.pts is not None:
                    yield frame


def _write(out: BinaryIO, answer: Order) -> None:
    out.write(json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Do what the order says."""
    order = json.loads(sys.stdin.buffer.read())
    out = sys.stdout.buffer
    confine(order)
    try:
        {"probe": probe, "frames": frames}[order["do"]](order, out)
    except Refused as exc:
        code, cause = exc.args
        _write(out, {"code": code, "cause": cause})
    except MemoryError:
        _write(out, {"code": "film_memory", "cause": "the film takes more memory than allowed"})
    out.flush()


if __name__ == "__main__":
    main()
