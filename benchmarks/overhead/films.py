"""Measures what a film of ten minutes costs a worker beside the model: memory and time.

The film is made here: a picture that moves, 640×360. The model answers at once, with a span in
each part of the film, whose two ends are looked at again; all else is real, the decoder's process
included. Each film is asked about in a process of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import click
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from grounding.engines.base import Completion, ModelRequest
from grounding.media.films.reader import FilmReader
from grounding.pipeline import WorkerContext, predict
from grounding.tasks import Task
from grounding.testing import ScriptedEngine, make_completion
from grounding.waiting import Check, no_check

SIZE = (640, 360)
CODECS = {"mp4": "libx264", "avi": "mpeg4", "mpegts": "libx264"}
CONTROLS = {
    "spans": "<TimelineLabels name='c' toName='v'><Label value='a'/></TimelineLabels>",
    "boxes": "<Labels name='l' toName='v'><Label value='a'/></Labels>"
    "<VideoRectangle name='c' toName='v'/>",
}
CONFIG = "<View><Video name='v' value='$film'/>{}</View>"
STAMP = re.compile(r"<(\d+\.\d+) seconds>")
MIB = 2**20
LOOK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Cost:
    """What one film cost: questions and seconds, and MiB of worker and decoder at most."""

    questions: int
    seconds: float
    before: float
    worker: float
    decoder: float


def make(file: Path, form: str, seconds: int, fps: int) -> None:
    """Write a film of a picture that moves to the left, with some noise."""
    wide, high = SIZE
    noise = Image.effect_noise((wide // 4, high // 4), 80).resize((2 * wide, high)).convert("RGB")
    options = {"preset": "ultrafast"} if CODECS[form] == "libx264" else {}
    with av.open(str(file), "w", format=form) as container:
        stream = container.add_stream(CODECS[form], rate=fps, options=options)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(seconds * fps):
            left = 2 * number % wide
            frame = av.VideoFrame.from_image(noise.crop((left, 0, left + wide, high)))
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def measure(file: Path, controls: str = "spans") -> Cost:
    """Return what one film costs, in a new process."""
    command = [sys.executable, "-m", "benchmarks.overhead.films", "--one", str(file), controls]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Cost(**json.loads(done.stdout))


class OneFilm:
    """Fetches one file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def fetch(self, value: str, task_id: int | None = None, check: Check = no_check) -> bytes:
        """Return the file, which is asked for as a film only."""
        return self._file.read_bytes()

    def fetch_into(
        self, sink: BinaryIO, value: str, task_id: int | None = None, check: Check = no_check
    ) -> None:
        """Copy the file, a piece at a time."""
        with self._file.open("rb") as source:
            while data := source.read(MIB):
                sink.write(data)


def _answer(request: ModelRequest) -> Completion:
    times = [float(time) for time in STAMP.findall(request.text)]
    if not times:
        return make_completion('[{"bbox_2d": [10, 10, 90, 90], "label": "a"}]')
    third = (times[-1] - times[0]) / 3
    span = {"start_time": times[0] + third, "end_time": times[-1] - third}
    return make_completion(json.dumps([span]))


def _ask(file: Path, controls: str) -> Cost:
    asked = 0

    def answer(batch: Sequence[ModelRequest]) -> Sequence[Completion]:
        nonlocal asked
        asked += len(batch)
        engine.requests.clear()  # a model keeps no frames
        return [_answer(request) for request in batch]

    engine, fetcher = ScriptedEngine(answer), OneFilm(file)
    worker = WorkerContext(engine, fetcher, 512, 10**7, films=FilmReader(fetcher))
    task = Task(1, {"film": "x"}, CONFIG.format(CONTROLS[controls]), None, "v")
    before, begun = psutil.Process().memory_info().rss / MIB, time.monotonic()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    with _watched() as decoder:
        predict(task, worker)
    engine.close()
    seconds, own = time.monotonic() - begun, _peak(psutil.Process().pid)
    return Cost(asked, seconds, before, own, max(decoder))


@contextmanager
def _watched() -> Iterator[list[float]]:
    """Yield what each look at a child's memory has seen."""
    seen, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            seen.append(max(map(_peak, _children()), default=0.0))

    thread = threading.Thread(target=look)
    thread.start()
    yield seen
    over.set()
    thread.join()


def _children() -> list[int]:
    files = Path("/proc/self/task").glob("*/children")
    return [int(pid) for file in files for pid in file.read_text().split()]


def _peak(pid: int) -> float:
    """Return the most MiB that a process has had; 0 once it has ended, and before it is its own."""
    try:
        if b"child.py" not in Path(f"/proc/{pid}/cmdline").read_bytes() and pid != _OWN:
            return 0.0
        (line,) = re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) or ["0"]
    except OSError:
        return 0.0
    return int(line) / 1024


_OWN = psutil.Process().pid


@click.command(help=__doc__)
@click.option("--seconds", default=600, help="Length of the films.")
@click.option("--fps", default=25, help="Frames a second of the films.")
@click.option("--one", nargs=2, hidden=True)
def main(seconds: int, fps: int, one: tuple[str, str] | None) -> None:
    """Print what films in each container cost."""
    if one:
        click.echo(json.dumps(asdict(_ask(Path(one[0]), one[1]))))
        return
    table = Table(title=f"A film of {seconds} s, {SIZE[0]}×{SIZE[1]}, {fps} frames a second")
    for name in ("file", "MiB", "asked for", *Cost.__annotations__):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory(prefix="grounding-") as folder:
        for form in CODECS:
            file = Path(folder) / form
            make(file, form, seconds, fps)
            for controls in CONTROLS:
                size = f"{file.stat().st_size / MIB:.0f}"
                numbers = (f"{one:.0f}" for one in asdict(measure(file, controls)).values())
                table.add_row(form, size, controls, *numbers)
            file.unlink()
    Console().print(table)


if __name__ == "__main__":
    main()
