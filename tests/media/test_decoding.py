"""Decoding stays within its budget of memory, and is fair between pictures and people."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from grounding import waiting
from grounding.errors import ImageTooLarge, ImageUnreadable
from grounding.media import images
from grounding.media.images import (
    Decoder,
    decode_bytes,
    open_header,
)
from grounding.media.memory import DecodeBudget, memory_limit
from grounding.waiting import Unwanted
from tests.media.pictures import MAX_PIXELS, WHITE, exif, palette, plain, png, saved, upright

SMALL = saved(plain("RGB", (1, 2, 3)), "PNG")
WAIT = 10
"""Seconds after which a test that waits fails."""


# The budget


class Work:
    """Threads that hold a budget until they are told to end, and the order in which they began."""

    def __init__(self, budget: DecodeBudget) -> None:
        self.budget = budget
        self.begun: list[str] = []
        self._ends: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []

    def add(self, name: str, size: int, *, urgent: bool = False) -> None:
        """Start a thread that reserves `size`, and return once it has begun or waits."""
        self._ends[name] = threading.Event()
        waiting = self.budget.waiting
        thread = threading.Thread(target=self._hold, args=(name, size, urgent), daemon=True)
        self._threads.append(thread)
        thread.start()
        until(lambda: name in self.begun or self.budget.waiting > waiting)

    def end(self, name: str) -> None:
        """Let a thread give its reservation back."""
        self._ends[name].set()

    def close(self) -> None:
        """Let all threads end."""
        for event in self._ends.values():
            event.set()
        for thread in self._threads:
            thread.join(WAIT)

    def _hold(self, name: str, size: int, urgent: bool) -> None:
        with self.budget.reserve(size, urgent=urgent):
            self.begun.append(name)
            self._ends[name].wait(WAIT)


@contextmanager
def work(total: int) -> Iterator[Work]:
    """Run threads with a budget of `total` for the length of a block."""
    threads = Work(DecodeBudget(total))
    try:
        yield threads
    finally:
        threads.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def test_what_fits_into_the_budget_runs_at_once_and_the_rest_waits() -> None:
    with work(400) as threads:  # 300 of them for bulk
        for name in "abc":
            threads.add(name, 100)
        threads.add("d", 100)
        assert threads.begun == ["a", "b", "c"]
        threads.end("b")
        until(lambda: "d" in threads.begun)


def test_no_stream_of_small_pictures_holds_up_a_large_one() -> None:
    with work(400) as threads:
        threads.add("a", 100)
        threads.add("large", 300)
        threads.add("small", 50)
        assert threads.begun == ["a"]
        threads.end("a")
        until(lambda: "large" in threads.begun)
        assert threads.begun == ["a", "large"]
        threads.end("large")
        until(lambda: "small" in threads.begun)


def test_the_picture_of_an_annotator_waits_for_no_bulk_picture() -> None:
    with work(400) as threads:
        threads.add("giant", 10_000)
        threads.add("next giant", 10_000)
        threads.add("mine", 100, urgent=True)
        assert threads.begun == ["giant", "mine"]


def test_urgent_pictures_go_before_bulk_that_came_earlier() -> None:
    with work(400) as threads:
        threads.add("a", 300)
        threads.add("b", 100, urgent=True)
        threads.add("bulk", 100)
        threads.add("mine", 300, urgent=True)
        threads.end("a")
        until(lambda: "mine" in threads.begun)
        assert threads.begun == ["a", "b", "mine"]
        threads.end("b")
        until(lambda: "bulk" in threads.begun)


def test_a_picture_larger_than_the_budget_runs_alone() -> None:
    with work(400) as threads:
        threads.add("small", 1)
        threads.add("giant", 10_000)
        assert threads.begun == ["small"]
        threads.end("small")
        until(lambda: "giant" in threads.begun)
        threads.add("after", 1)
        assert "after" not in threads.begun
        threads.end("giant")
        until(lambda: "after" in threads.begun)


def test_a_failed_decode_gives_its_reservation_back() -> None:
    budget = DecodeBudget(100)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), budget.reserve(75):
            _ = 1 / 0
    with work(100) as threads:
        threads.budget = budget
        threads.add("a", 75)
        assert threads.begun == ["a"]


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=12))
def test_every_reservation_is_served_and_the_budget_never_exceeded(
    sizes: list[tuple[int, bool]],
) -> None:
    budget, used, most, lock = DecodeBudget(200), 0, 0, threading.Lock()

    def hold(size: int, urgent: bool) -> None:
        nonlocal used, most
        with budget.reserve(size, urgent=urgent):
            kept = min(size, 200 if urgent else 150)
            with lock:
                used += kept
                most = max(most, used)
            time.sleep(0)
            with lock:
                used -= kept

    threads = [threading.Thread(target=hold, args=pair, daemon=True) for pair in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert not any(thread.is_alive() for thread in threads)
    assert most <= 200
    assert (used, budget._used, budget._bulk_used) == (0, 0, 0)


# The decoder


def test_the_decoder_yields_the_upright_picture_and_frees_it() -> None:
    data = saved(plain("RGB", (9, 8, 7), (60, 30)), "PNG", exif=exif(6))
    with Decoder(10**6).decode(data, 10_000) as picture:
        assert picture.size == (30, 60)
        assert picture.tobytes() == upright(data).tobytes()
    with pytest.raises(ValueError, match="closed image"):
        picture.getpixel((0, 0))


def test_nothing_but_the_picture_holds_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would outlive the reservation, and the memory that is given back after it."""
    opened: list[weakref.ref[Image.Image]] = []

    def noted(data: bytes, max_pixels: int, *rest: object) -> Image.Image:
        header = open_header(data, max_pixels, *rest)  # type: ignore[arg-type]
        opened.append(weakref.ref(header))
        return header

    monkeypatch.setattr(images, "open_header", noted)
    with Decoder(10**6).decode(SMALL, 10_000) as picture:
        assert picture.size
        assert [header() for header in opened] == [None]


def test_the_decoder_refuses_what_upright_refuses_and_waits_for_nothing_then() -> None:
    decoder = Decoder(1)
    with decoder.decode(SMALL, 10**6):
        with pytest.raises(ImageTooLarge), decoder.decode(SMALL, 10):
            pass
        with pytest.raises(ImageUnreadable), decoder.decode(b"", 10):
            pass
    with pytest.raises(ImageUnreadable), decoder.decode(SMALL[:80], 10**6):
        pass
    with decoder.decode(SMALL, 10**6) as picture:
        assert picture.mode == "RGB"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_picture_that_nobody_wants_is_decoded_no_further(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends between two blocks of its file, and lets go of its memory."""
    monkeypatch.setattr(waiting, "WAKE_SECONDS", 0)
    data = saved(Image.effect_noise((1024, 1024), 90), form)
    assert len(data) > 9 * 65_536
    decoder, looks = Decoder(10**9), 0

    def check() -> None:
        nonlocal looks
        looks += not decoder.budget.is_idle  # its header is read before
        if looks == 3:
            raise Unwanted

    with pytest.raises(Unwanted), decoder.decode(data, 10**8, check=check):
        pass
    assert looks == 3
    assert decoder.budget.is_idle


def test_a_picture_that_nobody_wants_waits_for_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "WAKE_SECONDS", 0.05)
    decoder = Decoder(1000)

    def check() -> None:
        if decoder.budget.waiting:
            raise Unwanted

    with (
        decoder.budget.reserve(1000, urgent=True),
        pytest.raises(Unwanted),
        decoder.decode(SMALL, 10**6, check=check),
    ):
        pass
    with decoder.decode(SMALL, 10**6) as picture:
        assert picture.size


def on_white(picture: Image.Image) -> bytes:
    """Return the pixels of a picture on white, by way of a second full copy."""
    page = Image.new("RGB", picture.size, WHITE)
    page.paste(picture, mask=picture)
    return page.tobytes()


@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), data=st.data())
def test_transparency_on_white_has_the_pixels_of_a_paste(
    size: tuple[int, int], data: st.DataObject
) -> None:
    count = size[0] * size[1] * 4
    pixels = data.draw(st.binary(min_size=count, max_size=count))
    picture = Image.frombytes("RGBA", size, pixels)
    assert upright(saved(picture, "PNG")).tobytes() == on_white(picture)


def test_transparency_of_a_picture_of_many_strips_has_the_pixels_of_a_paste() -> None:
    noise = Image.effect_noise((1500, 1501), 80)
    picture = Image.merge("RGBA", (noise, noise.rotate(90), noise.rotate(180), noise.rotate(270)))
    assert upright(saved(picture, "PNG", compress_level=1)).tobytes() == on_white(picture)


SIDE = 2600
SIZE = (SIDE, SIDE)


def noise(mode: str) -> Image.Image:
    """Return a picture that compresses badly, of which decoders keep the most."""
    return Image.merge("RGB", [Image.effect_noise(SIZE, 60)] * 3).convert(mode)


FILES: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: saved(noise("RGB"), "JPEG"),
    "JPEG, progressive": lambda: saved(noise("RGB"), "JPEG", progressive=True, subsampling=0),
    "JPEG, CMYK, progressive": lambda: saved(noise("CMYK"), "JPEG", progressive=True),
    "PNG": lambda: saved(noise("RGB"), "PNG", compress_level=1),
    "PNG, alpha": lambda: png(8, 6, b"\x10\x20\x30\x40", SIZE),
    "PNG, alpha, turned": lambda: saved(noise("RGBA"), "PNG", compress_level=1, exif=exif(6)),
    "PNG, one clear": lambda: saved(noise("RGB"), "PNG", compress_level=1, transparency=(1, 2, 3)),
    "PNG, 16 bits of grey": lambda: png(16, 0, b"\x12\x34", SIZE),
    "WebP": lambda: saved(noise("RGB"), "WEBP", method=0),
    "WebP, alpha": lambda: saved(noise("RGBA"), "WEBP", method=0, lossless=True, quality=0),
    "GIF": lambda: saved(palette((1, 2, 3)).resize(SIZE), "GIF", transparency=0),
}

PEAK = """
import sys
from grounding.media.images import decode, open_header
from grounding.geometry import PixelBounds
from grounding.media.views import whole

def upright(data):
    return decode(open_header(data, 50_000_000), data)

def now(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024

data, small = (open(path, "rb").read() for path in sys.argv[1:])
whole(upright(small), PixelBounds(28, 256 * 784, 1280 * 784))
open("/proc/self/clear_refs", "w").write("5")
before = now("VmRSS")
whole(upright(data), PixelBounds(28, 256 * 784, 1280 * 784))
print(now("VmHWM") - before)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
@pytest.mark.parametrize("form", FILES)
def test_decoding_takes_no_more_memory_than_is_reserved(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 2**26)  # a progressive JPEG is written as one block
    data, kind = FILES[form](), form.partition(",")[0].upper()
    (tmp_path / "picture").write_bytes(data)
    (tmp_path / "small").write_bytes(saved(plain("RGB", (1, 2, 3)), kind))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "picture"), str(tmp_path / "small")],
        check=True,
        capture_output=True,
        text=True,
    )
    header = open_header(data, MAX_PIXELS)
    assert header.size == SIZE
    # The view of the model's size, and what the allocator keeps, do not grow with the picture.
    assert int(done.stdout) <= decode_bytes(header) + 12 * 2**20


def test_the_reservation_follows_the_size_of_the_picture() -> None:
    sizes = [
        decode_bytes(open_header(saved(plain("L", 7, (n, 10)), "PNG"), MAX_PIXELS))
        for n in (10, 100)
    ]
    assert sizes[1] == 10 * sizes[0]


# The limit of memory

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        ("", {}, MACHINE),
        ("0::/", {"memory.max": "1000000\n"}, 1_000_000),
        ("0::/", {"memory.max": "max\n"}, MACHINE),
        ("0::/", {"memory.max": f"{10 * MACHINE}\n"}, MACHINE),
        ("0::/a/b", {"a/memory.max": "1000000", "a/b/memory.max": "max"}, 1_000_000),
        ("0::/a/b", {"a/memory.max": "3000000", "a/b/memory.max": "2000000"}, 2_000_000),
        ("0::/docker/of/the/host", {"memory.max": "1000000"}, 1_000_000),
        (
            "12:cpu,cpuacct:/x\n5:memory:/docker/1",
            {"memory/memory.limit_in_bytes": "1000000", "cpu/memory.limit_in_bytes": "5"},
            1_000_000,
        ),
        (
            "5:memory:/docker/1",
            {
                "memory/docker/1/memory.limit_in_bytes": "1000000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            1_000_000,
        ),
    ],
)
def test_the_limit_is_the_lowest_of_the_machine_and_the_control_groups(
    tmp_path: Path, cgroup: str, files: dict[str, str], limit: int
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"{cgroup}\n" if cgroup else "")
    for name, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert memory_limit(tmp_path) == limit


def test_a_system_without_control_groups_has_the_machines_memory(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) == MACHINE
    assert 0 < memory_limit() <= MACHINE


def test_the_file_of_a_decoded_picture_is_not_kept() -> None:
    picture = upright(saved(plain("RGB", (1, 2, 3)), "WEBP"))
    assert type(picture) is Image.Image
    assert io.BytesIO not in map(type, vars(picture).values())
