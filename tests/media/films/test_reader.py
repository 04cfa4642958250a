"""Films are read as the page shows them, and one that is hostile harms its own task alone."""

from __future__ import annotations

import base64
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import pytest
from PIL import Image

from grounding.errors import FilmError, FilmTooLarge, FilmUnreadable, ImageUnreachable
from grounding.media.fetch import Fetcher
from grounding.media.films import child
from grounding.media.films.process import CHILD
from grounding.media.films.process import child as child_process
from grounding.media.films.reader import Film, FilmLimits, FilmReader, read_frames
from grounding.media.films.sampling import Sampling, picture_bounds
from grounding.media.local_files import Folder
from tests.media.films.making import after_sound, cut, film, number_of, restamped
from tests.media.hosts import answer, host, ok, rules

BOUNDS = picture_bounds(8, Sampling(), 28)


class Held:
    """Fetches the same bytes whatever is asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def fetch(self, value: str, task_id: int | None = None, check: object = None) -> bytes:
        return self._data

    def fetch_into(
        self, sink: BinaryIO, value: str, task_id: int | None = None, check: object = None
    ) -> None:
        sink.write(self._data)


def opened(data: bytes, **limits: float) -> Iterator[Film]:
    with FilmReader(Held(data), FilmLimits(**limits)).open("a film") as found:  # type: ignore[arg-type]
        yield found


def read(data: bytes, *times: float, **limits: float) -> list[tuple[float | None, int]]:
    """Return the time of each view, and the number that its picture tells."""
    for found in opened(data, **limits):
        return [(view.time, number_of(view.pixels)) for view in read_frames(found, times, BOUNDS)]
    raise AssertionError


ANY_CONTAINER = {
    "mp4": {},
    "matroska": {},
    "mpegts": {},
    "flv": {"codec": "flv1"},
    "avi": {"codec": "mpeg4"},
    "mpeg": {"codec": "mpeg2video", "ticks": 25},
    "ogg": {"codec": "libvpx"},
}


def numbers(data: bytes, at: Sequence[int], file: Path) -> tuple[list[int], int]:
    """Return what the frames with these numbers show, and how many were decoded for them."""
    decode, decoded = child._decode, 0

    def count(packets: Iterator[Any]) -> Iterator[Any]:
        nonlocal decoded
        for frame in decode(packets):
            decoded += 1
            yield frame

    file.write_bytes(data)
    for found in opened(data):
        order = found._order([found.info.stamps[number] for number in at], (56, 28))
        answer = io.BytesIO()
        with file.open("rb") as part, pytest.MonkeyPatch.context() as patch:
            patch.setattr(child, "_decode", count)
            child.frames({**order, "file": part.fileno(), "pixels": 10**6}, answer)
        pixels, size = answer.getvalue().partition(b"\n")[2], 3 * 56 * 28
        parts = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        return [number_of(Image.frombytes("RGB", (56, 28), one)) for one in parts], decoded
    raise AssertionError


@pytest.mark.parametrize("form", ANY_CONTAINER)
def test_a_late_frame_is_found_without_decoding_what_lies_before(form: str, tmp_path: Path) -> None:
    """Each batch of frames has a process of its own: else a film would cost its length squared."""
    long = film(250, 25, (64, 48), form=form, group=10, **ANY_CONTAINER[form])  # type: ignore[arg-type]
    shown, decoded = numbers(long, [200], tmp_path / "film")
    assert shown == [200]
    assert decoded <= 50, "a few groups of ten, and not the 200 frames before it"


def without(data: bytes, number: int, *, is_key: bool) -> bytes:
    """Return a film with zeros for the data of the frame of this number."""
    with av.open(io.BytesIO(data)) as source:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        lost = sorted(packets, key=lambda packet: packet.pts or 0)[number]
        assert lost.is_keyframe == is_key
        assert lost.pos is not None
        return data[: lost.pos] + bytes(lost.size) + data[lost.pos + lost.size :]


@pytest.mark.parametrize(("lost", "is_key"), [(205, False), (200, True)])
def test_a_damaged_frame_costs_no_walk_from_the_start(
    lost: int, is_key: bool, tmp_path: Path
) -> None:
    """Another one stands for it, and those of other groups are right."""
    long = without(film(250, 25, (64, 48), group=10), lost, is_key=is_key)
    shown, decoded = numbers(long, [100, lost, 240], tmp_path / "film")
    assert (shown[0], len(shown), shown[2]) == (100, 3, 240)
    assert decoded <= 90, "a few groups of ten, and not all that lies before"


UNEVEN = [0.0, 0.04, 0.08, 1.0, 1.04, 3.0, 3.5, 3.54]

FILMS = {
    "H.264 in MP4": film(),
    "key frames only": film(group=1),
    "one key frame": film(group=1000),
    "VP8 in WebM": film(codec="libvpx", form="webm"),
    "VP9 in WebM": film(codec="libvpx-vp9", form="webm"),
    "MPEG-4 in AVI": film(codec="mpeg4", form="avi"),
    "H.264 in MPEG-TS": film(form="mpegts"),
    "odd sizes": film(codec="libvpx", form="webm", size=(161, 121)),
    "a single key frame in Matroska": film(form="matroska", group=1000),
}


@pytest.mark.parametrize("data", FILMS.values(), ids=FILMS)
def test_the_frame_at_a_time_is_the_one_that_is_shown_then(data: bytes) -> None:
    assert read(data, 0, 0.5, 0.51, 1.0, 1.9, 7) == [
        (0.0, 0),
        (pytest.approx(0.48, abs=0.002), 12),
        (pytest.approx(1.0, abs=0.002), 25),
        (pytest.approx(1.88, abs=0.002), 47),
        (pytest.approx(1.96, abs=0.002), 49),
    ]


@pytest.mark.parametrize(
    ("at", "frame"), [(0.05, 1), (0.9, 2), (2.99, 4), (3.2, 5), (3.52, 6), (9, 7)]
)
def test_a_variable_frame_rate_is_read_by_its_own_times(at: float, frame: int) -> None:
    (view,) = read(film(times=UNEVEN), at)
    assert view == (pytest.approx(UNEVEN[frame], abs=0.002), frame)


@pytest.mark.parametrize("options", [{}, {"codec": "libvpx", "form": "webm"}], ids=["MP4", "WebM"])
def test_a_film_that_begins_late_is_read_by_the_page_s_clock(options: dict[str, Any]) -> None:
    """A browser counts from 0, and shows the first frame until its time has come."""
    late = film(times=[3 + number / 10 for number in range(20)], **options)
    assert read(late, 0, 3.02, 4.55) == [(3.0, 0), (pytest.approx(4.5, abs=0.002), 15)]
    for found in opened(late):
        assert found.info.duration == pytest.approx(5, abs=0.01)
        assert found.info.rate == pytest.approx(10, abs=0.1)


def test_a_film_that_begins_late_and_is_in_no_browser_is_read_from_its_beginning() -> None:
    late = film(times=[3 + number / 10 for number in range(20)], form="mpegts")
    assert read(late, 0, 1.55) == [(0.0, 0), (pytest.approx(1.5, abs=0.002), 15)]


def test_a_film_that_was_cut_without_encoding_it_anew_begins_where_it_was_cut() -> None:
    """What its list of edits leaves out is neither shown nor counted, nor missed as broken off."""
    for data in (film(), film(group=50)):
        assert read(cut(data, 0.6), 0, 0.5, 9) == [
            (0.0, 15),
            (pytest.approx(0.48, abs=0.002), 27),
            (pytest.approx(1.36, abs=0.002), 49),
        ]


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


def test_a_recording_in_fragments_begins_where_the_page_s_player_says_and_may_break_off() -> None:
    """Its frames out of order put the first one two frames late, as no list of edits takes back."""
    data = film(options=FRAGMENTS)
    late = [(pytest.approx(0.08, abs=0.002), 0), (pytest.approx(0.48, abs=0.002), 10)]
    for size in range(len(data) // 2, len(data) + 1, len(data) // 8):
        assert read(data[:size], 0, 0.5) == late


def test_the_last_frame_of_an_uneven_film_is_shown_for_as_long_as_most() -> None:
    for found in opened(film(times=UNEVEN)):
        assert found.info.duration == pytest.approx(UNEVEN[-1] + 0.04, abs=0.01)


def test_what_a_film_is() -> None:
    for found in opened(film(frames=30, fps=10, size=(160, 120))):
        info = found.info
        assert (info.width, info.height, info.turn, len(info.times)) == (160, 120, None, 30)
        assert info.duration == pytest.approx(3.0, abs=0.01)
        assert info.rate == pytest.approx(10, abs=0.1)


def corners(number: int):  # type: ignore[no-untyped-def]
    """Draw a picture whose upper left quarter is red."""
    from PIL import Image

    picture = Image.new("RGB", (160, 120), "blue")
    picture.paste((255, 0, 0), (0, 0, 80, 60))
    return picture


REDS = {0: (0, 0), 90: (0, 1), 180: (1, 1), 270: (1, 0)}
"""Where the upper left quarter lies, across and down, after a turn against the clock."""


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("turn", "place"), REDS.items())
def test_a_film_is_turned_and_mirrored_as_the_page_does_it(
    turn: int, place: tuple[int, int], mirrored: bool
) -> None:
    place = (1 - place[0], place[1]) if mirrored else place
    for found in opened(film(frames=3, draw=corners, rotation=turn, mirrored=mirrored)):
        upright = (120, 160) if turn in (90, 270) else (160, 120)
        assert (found.info.width, found.info.height) == upright
        (view,) = read_frames(found, [0], BOUNDS)
        wide, high = view.pixels.size
        spots = {
            (x, y): ((1 + 2 * x) * wide // 4, (1 + 2 * y) * high // 4)
            for x in (0, 1)
            for y in (0, 1)
        }
        red = [at for at, spot in spots.items() if view.pixels.getpixel(spot)[0] > 128]  # type: ignore[index]
        assert red == [place]


def test_pixels_that_are_no_squares_are_shown_at_their_width() -> None:
    for found in opened(film(frames=3, aspect=Fraction(4, 3))):
        assert (found.info.width, found.info.height) == (213, 120)


RED = (230, 30, 30)


@pytest.mark.parametrize(
    ("size", "colours"),
    [((640, 360), "ITU601"), ((1280, 720), "ITU709")],
    ids=["small", "high definition"],
)
def test_colours_that_a_film_leaves_open_are_guessed_as_browsers_do(
    size: tuple[int, int], colours: str
) -> None:
    """By its height: the other guess is 20 levels off."""
    red = film(2, 25, size, lambda _: Image.new("RGB", size, RED), colours=colours)
    for found in opened(red):
        (view,) = read_frames(found, [0], BOUNDS)
        seen = view.pixels.resize((1, 1)).getpixel((0, 0))
        assert isinstance(seen, tuple)
        assert all(abs(a - b) < 8 for a, b in zip(seen, RED, strict=True))


@pytest.mark.parametrize("pixels", ["gray", "yuv444p", "yuv420p10le"])
def test_any_pixels_of_high_definition_are_read(pixels: str) -> None:
    assert read(film(3, 25, (1280, 720), pixels=pixels), 0.08) == [(0.08, 2)]


def test_a_view_of_a_film_is_a_whole_frame_at_the_size_of_the_model() -> None:
    for found in opened(film()):
        first, second = read_frames(found, [1.0, 0.0], BOUNDS)
        assert (first.index, second.index) == (0, 25)
        for view in (first, second):
            assert view.pixels.size == (view.frame.width, view.frame.height)
            assert view.pixels.width % 28 == view.pixels.height % 28 == 0
            assert (view.image.width, view.image.height) == (160, 120)


LONG = film(frames=40, fps=1)
STILLS = film(frames=4, codec="mpeg4", form="avi", group=1)
WHOLE = film(size=(320, 240), group=1)
HEAD_FIRST = cut(WHOLE, 0, FAST := {"moov_size": "20000"})
CUT_HEAD_FIRST = cut(WHOLE, 0.6, FAST)
LIMITED = {"max_seconds": 20}
BROKEN = {
    "nothing": (b"", {}, "film_format"),
    "words": (b"no film at all" * 100, {}, "film_format"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(200), {}, "film_format"),
    "a list of other files": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", {}, "film_format"),
    "a list of parts": (b"ffconcat version 1.0\nfile /etc/passwd\n", {}, "film_format"),
    "its first half": (WHOLE[: len(WHOLE) // 2], {}, "film_format"),
    "its end is missing": (HEAD_FIRST[: -len(WHOLE) // 3], {}, "film_truncated"),
    "the end of a cut one is missing": (CUT_HEAD_FIRST[: -len(WHOLE) // 3], {}, "film_truncated"),
    "WebM cut off in its head": (FILMS["VP8 in WebM"][:200], {}, None),
    "too long": (LONG, LIMITED, "film_too_long"),
    "a late frame first": (restamped(STILLS, [900, 1, 2, 3], "mpegts"), LIMITED, "film_too_long"),
    "a late frame last": (restamped(STILLS, [0, 1, 2, 900], "mpegts"), LIMITED, "film_too_long"),
    "a late beginning": (after_sound(STILLS, 900), LIMITED, "film_too_long"),
    "too many pixels": (WHOLE, {"max_pixels": 320 * 240 - 1}, "film_too_many_pixels"),
}


@pytest.mark.parametrize(("data", "limits", "code"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_film_of_ours_says_why(
    data: bytes, limits: dict[str, float], code: str | None
) -> None:
    with pytest.raises(FilmError) as failure:
        read(data, 0, **limits)
    assert failure.value.hint
    assert code in (None, failure.value.code)


@pytest.mark.parametrize("data", [FILMS["H.264 in MP4"], FILMS["VP8 in WebM"]])
def test_damage_within_a_film_never_ends_this_process(data: bytes) -> None:
    """Whatever bytes are wrong, there are frames or there is a reason."""
    for start in range(200, len(data), max(1, len(data) // 12)):
        damaged = data[:start] + bytes(120) + data[start + 120 :]
        with suppress(FilmError):
            assert len(read(damaged, 0, 1)) in (1, 2)


def test_a_decoder_that_takes_too_much_memory_fails_alone() -> None:
    with pytest.raises(FilmError) as failure:
        read(film(frames=3), 0, memory=120 * 2**20)
    assert "GROUNDING_FILM_MEMORY_BYTES" in failure.value.hint


def test_a_decoder_that_takes_too_long_is_ended() -> None:
    started = time.monotonic()
    with pytest.raises(FilmTooLarge) as failure:
        read(film(), 0, timeout=0.01)
    assert failure.value.code == "film_timeout"
    assert time.monotonic() - started < 10


SECRET = "GROUNDING_TEST_SECRET"


def test_the_decoder_sees_no_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SECRET, "password")
    with (tmp_path / "film").open("w+b") as file, child_process(file.fileno()) as process:
        end = time.monotonic() + 10
        while not (seen := Path(f"/proc/{process.pid}/environ").read_bytes()):
            assert time.monotonic() < end
    assert b"PATH=" in seen
    assert SECRET.encode() not in seen


SCRIPT = """
import sys, time
from grounding.media.films.reader import FilmReader
from tests.media.films.test_reader import Held
data = open(sys.argv[1], "rb").read()
with FilmReader(Held(data)).open("a film") as film:
    print("open", flush=True)
    time.sleep(60)
"""


def test_a_killed_worker_leaves_no_file_behind(tmp_path: Path) -> None:
    source, scratch = tmp_path / "source", tmp_path / "scratch"
    source.write_bytes(film())
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(source)],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == b"open\n"
        process.send_signal(signal.SIGKILL)
    assert list(scratch.iterdir()) == []


def test_the_decoder_dies_with_its_worker() -> None:
    """The parent that is named in the order is not the one that started this."""
    order = (
        '{"do": "probe", "file": 0, "parent": 1, "memory": 999999999, "seconds": 9,'
        ' "longest": 9, "pixels": 9}'
    )
    done = subprocess.run([sys.executable, "-P", str(CHILD)], input=order.encode(), timeout=30)
    assert done.returncode == 1


# Where films come from


def test_a_film_is_fetched_by_the_rules_of_pictures(tmp_path: Path) -> None:
    data = film(frames=10, fps=10)
    (tmp_path / "a.mp4").write_bytes(data)
    with host(ok(data)) as server:
        fetcher = Fetcher(rules(server), folder=Folder(tmp_path))
        uri = "data:video/mp4;base64," + base64.b64encode(data).decode()
        for address in (f"{server.origin}/a.mp4", "/data/local-files/?d=a.mp4", uri):
            with FilmReader(fetcher).open(address) as found:
                assert len(found.info.times) == 10


def test_a_film_has_bounds_of_its_own(tmp_path: Path) -> None:
    data = film(frames=10, fps=10)
    (tmp_path / "a.mp4").write_bytes(data)
    with host(ok(data)) as server:
        fetcher = Fetcher(rules(server, max_bytes=len(data) - 1), folder=Folder(tmp_path))
        for address in (f"{server.origin}/a.mp4", "/data/local-files/?d=a.mp4"):
            with pytest.raises(FilmTooLarge, match="bytes"), FilmReader(fetcher).open(address):
                pass


def test_a_full_disk_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> BinaryIO:
        return open("/dev/full", "r+b", buffering=0)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(FilmTooLarge) as failure:
        read(film(frames=3), 0)
    assert failure.value.code == "film_no_space"
    assert "TMPDIR" in failure.value.hint


def test_a_second_try_replaces_the_first_half_of_a_file() -> None:
    data = film(frames=10, fps=10)
    broken = ok(data[: len(data) // 2], length=len(data))
    with (
        host(broken, ok(data)) as server,
        FilmReader(Fetcher(rules(server))).open(server.origin) as found,
    ):
        assert len(found.info.times) == 10
    with (
        host(answer(503)) as server,
        pytest.raises(ImageUnreachable),
        FilmReader(Fetcher(rules(server))).open(server.origin),
    ):
        pass


def test_an_unreadable_film_is_an_error_of_its_task() -> None:
    assert issubclass(FilmUnreadable, FilmError)
    assert not FilmUnreadable.retryable
