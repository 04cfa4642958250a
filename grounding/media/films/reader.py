"""Films: fetched into a file without a name, and decoded by a process that may fail alone.

The file is gone with its last descriptor, so no kill leaves it behind. It lies in TMPDIR.
"""

from __future__ import annotations

import json
import tempfile
import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, BinaryIO, cast

from PIL import Image

from grounding.errors import FilmTooLarge, FilmUnreadable, ImageTooLarge, TaskError
from grounding.geometry import PixelBounds, image_frame, model_frame, shown_size
from grounding.media.fetch import Fetches
from grounding.media.films.process import Ended, Late, ask_child, take
from grounding.media.films.sampling import Sampling
from grounding.media.memory import HeldBudget, own_budget
from grounding.media.views import View
from grounding.waiting import Check, no_check, now_and_then, step

CHILDREN = 2
"""Films that one process decodes at once: each takes a core and its memory."""

CAUSES: Mapping[str, Callable[[str], TaskError]] = {
    "film_format": lambda cause: FilmUnreadable(cause, code="film_format"),
    "film_truncated": lambda cause: FilmUnreadable(cause, code="film_truncated"),
    "film_too_long": lambda cause: FilmTooLarge(
        cause, code="film_too_long", hint="Cut the film, or raise GROUNDING_MAX_FILM_SECONDS"
    ),
    "film_too_many_pixels": lambda cause: FilmTooLarge(
        cause,
        code="film_too_many_pixels",
        hint="Shrink the film, or raise GROUNDING_MAX_FILM_PIXELS",
    ),
    "film_memory": lambda cause: FilmTooLarge(
        cause, code="film_memory", hint="Shrink the film, or raise GROUNDING_FILM_MEMORY_BYTES"
    ),
}
"""The errors of the child's codes; any other is `FilmUnreadable`."""

PIXEL_BYTES = 4
"""What a pixel of a frame takes in memory."""

TRIES = 2
"""Key frames before a frame that the child may jump to: some containers lead behind the last."""

MAX_LINE = 65_536
"""Bytes of the first line of an answer at most."""

TURNS = {
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""The transposition for each way to lay a frame out: where a step right and one down lead to."""

SIDEWAYS = (
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)


@dataclass(frozen=True, slots=True)
class FilmLimits:
    """What one film may take: its length in seconds, the pixels of a frame, and of its decoder
    the memory in bytes and the time in seconds.
    """

    max_seconds: float = 3600
    max_pixels: int = 9_000_000
    memory: int = 2**30
    timeout: float = 120


@dataclass(frozen=True, slots=True)
class FilmInfo:
    """What a film is: its size upright, as the page shows it, and the time of each frame.

    `times` are seconds of the page's clock, on which a film may begin later than at 0; frame i is
    shown from `times[i]` to the next one's, the first before that too, the last to `duration`.
    `stamps` and `keys` are the same times of all frames and of the key frames in units of the file.
    `turn` is how the stored frames are turned or mirrored to be upright.
    """

    width: int
    height: int
    turn: Image.Transpose | None
    times: Sequence[float]
    duration: float
    stamps: Sequence[int]
    keys: Sequence[int]

    @property
    def rate(self) -> float:
        """Frames a second, on average."""
        return len(self.times) / max(self.duration - self.times[0], 1e-6)

    def at(self, seconds: float) -> int:
        """Return the number, from 0, of the frame that is shown at a time."""
        return max(0, bisect_right(self.times, seconds + 1e-6) - 1)


@dataclass(frozen=True, slots=True)
class Film:
    """A film that lies in a file: what it is, and its frames by number."""

    info: FilmInfo
    _file: IO[bytes]
    _reader: FilmReader
    _check: Check = no_check

    def frames(self, indexes: Sequence[int], size: tuple[int, int]) -> list[Image.Image]:
        """Return these frames, by number from 0, upright RGB at a size of width and height.

        Raises `FilmUnreadable` where they cannot be decoded, and `FilmTooLarge` where that takes
        more than the limits, and what the check of `FilmReader.open` does.
        """
        order = sorted(set(indexes))
        turn = self.info.turn
        width, height = size[::-1] if turn in SIDEWAYS else size
        fields = self._order([self.info.stamps[index] for index in order], (width, height))
        found: dict[int, Image.Image] = {}
        with self._reader.run(self._file, fields, self._check) as (_, output):
            for index in order:
                pixels = Image.frombytes("RGB", (width, height), take(output, width * height * 3))
                found[index] = pixels if turn is None else pixels.transpose(turn)
        return [found[index] for index in indexes]

    def _order(self, stamps: Sequence[int], size: tuple[int, int]) -> dict[str, Any]:
        keys = self._keys_before(stamps)
        fields = {"do": "frames", "width": size[0], "height": size[1]}
        return {**fields, "stamps": stamps, "keys": keys, "tries": TRIES}

    def _keys_before(self, stamps: Sequence[int]) -> list[int]:
        """Return the last key frames before each of these times: all that a jump may lead to."""
        before = (bisect_right(self.info.keys, stamp) for stamp in stamps)
        near = (self.info.keys[max(0, at - TRIES) : at] for at in before)
        return sorted({key for some in near for key in some})


def read_frames(film: Film, times: Sequence[float], bounds: PixelBounds) -> list[View]:
    """Return the views of a film at these times in seconds: each frame once, in order.

    Each is of a whole frame, at the size that the model sees within `bounds`. Its `time` is that
    of the frame, and its `index` the frame's number from 0.
    """
    info = film.info
    indexes = sorted({info.at(time) for time in times})
    image = image_frame(info.width, info.height)
    frame = model_frame(image, bounds)
    pictures = film.frames(indexes, (int(frame.width), int(frame.height)))
    return [
        View(picture, frame, image, info.times[index], index)
        for index, picture in zip(indexes, pictures, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class FilmReader:
    """Opens films within limits; safe to share between threads.

    `fetcher` has the bounds of a film's file. `sampling` is the deployment's own, for controls that
    leave it open. Whoever keeps frames until the model has answered holds their bytes of `budget`.
    """

    fetcher: Fetches
    limits: FilmLimits = field(default_factory=FilmLimits)
    sampling: Sampling = field(default_factory=Sampling)
    budget: HeldBudget = field(default_factory=lambda: HeldBudget(own_budget()))
    _turns: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(CHILDREN)
    )

    @contextmanager
    def open(
        self, address: str, task_id: int | None = None, check: Check = no_check
    ) -> Iterator[Film]:
        """Yield the film that a task's value names; its file is gone after the block.

        Raises the `ImageError` of a file that cannot be fetched, `FilmUnreadable` for what is no
        film, `FilmTooLarge`, and what `check` does: it is called about every second while the film
        is fetched and decoded, however silent its host and slow its decoder, or others decode.
        """
        # Unbuffered, so that a full disk shows where it is written to.
        with tempfile.TemporaryFile(prefix="film-", buffering=0) as file:
            try:
                self.fetcher.fetch_into(cast(BinaryIO, _Scratch(file)), address, task_id, check)
            except ImageTooLarge as exc:
                raise FilmTooLarge(exc.cause) from exc
            check = now_and_then(check)
            yield Film(self._probe(file, check), file, self, check)

    def _probe(self, file: IO[bytes], check: Check) -> FilmInfo:
        with self.run(file, {"do": "probe"}, check) as (found, output):
            stamps, keys = array("q"), array("q")
            stamps.frombytes(take(output, found["frames"] * stamps.itemsize))
            keys.frombytes(take(output, found["keys"] * keys.itemsize))
        return _info(found, stamps, keys)

    @contextmanager
    def run(
        self, file: IO[bytes], order: Mapping[str, Any], check: Check
    ) -> Iterator[tuple[Mapping[str, Any], IO[bytes]]]:
        """Yield the first line and the rest of what a child answers to an order about a file.

        The child is ended after the block, and when its time is over. What `check` raises ends
        the wait for a child's turn, and for what it answers.
        """
        limits = self.limits
        whole = {
            **order,
            "memory": limits.memory,
            "seconds": limits.timeout,
            "longest": limits.max_seconds,
            "pixels": limits.max_pixels,
        }
        try:
            with self._turn(check), ask_child(file, whole, limits.timeout, check) as output:
                yield _read_head(output), output
        except Ended as exc:
            raise self._explain(isinstance(exc, Late)) from exc

    @contextmanager
    def _turn(self, check: Check) -> Iterator[None]:
        while not self._turns.acquire(timeout=step()):
            check()
        try:
            yield
        finally:
            self._turns.release()

    def _explain(self, late: bool) -> TaskError:
        if late:
            return FilmTooLarge(
                f"the film took longer than {self.limits.timeout:g} seconds to decode",
                code="film_timeout",
                hint="Shorten or shrink the film, or raise GROUNDING_FILM_TIMEOUT",
            )
        return FilmUnreadable(
            "the film ended its decoder",
            hint="Encode it anew, or raise GROUNDING_FILM_MEMORY_BYTES",
        )


class _Scratch:
    """A temporary file that says so where it has no more room."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        """Write all of `data`; raises `FilmTooLarge` where there is no room."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as exc:
            raise FilmTooLarge(
                "the temporary folder has no room for the film",
                code="film_no_space",
                hint="Give the workers' TMPDIR more room, or lower GROUNDING_MAX_FILM_BYTES",
            ) from exc
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """Read from where the file is."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move in the file."""
        return self._file.seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        """Cut the file."""
        return self._file.truncate(size)


def _read_head(output: IO[bytes]) -> Mapping[str, Any]:
    """Return the first line of the answer, or raise what it says."""
    line = output.readline(MAX_LINE)
    try:
        found = json.loads(line)
    except ValueError as exc:
        raise Ended from exc
    if "code" in found:
        raise CAUSES.get(found["code"], FilmUnreadable)(found["cause"])
    return dict(found)


def _info(found: Mapping[str, Any], stamps: Sequence[int], keys: Sequence[int]) -> FilmInfo:
    up, down = found["base"]
    times = array("d", (max(0.0, stamp * up / down - found["start"]) for stamp in stamps))
    turn = _turn(*found["matrix"])
    across, along = found["aspect"]
    size = shown_size(found["width"], found["height"], across / along, turned=turn in SIDEWAYS)
    last = found["last"] * up / down
    return FilmInfo(*size, turn, times, times[-1] + last, stamps, keys)


def _turn(right_x: int, right_y: int, down_x: int, down_y: int) -> Image.Transpose | None:
    """Return how a frame is turned or mirrored to be shown; a slant goes to the nearest of these.

    That is what browsers do. A matrix that would lay all on a line turns nothing.
    """
    straight = abs(right_x) >= abs(right_y)
    first, second = (right_x, down_y) if straight else (right_y, down_x)
    signs = (first > 0) - (first < 0), (second > 0) - (second < 0)
    return TURNS.get((signs[0], 0, 0, signs[1]) if straight else (0, *signs, 0))
