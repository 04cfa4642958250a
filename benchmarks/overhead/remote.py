"""What one worker with GROUNDING_ENGINE=openai costs and keeps in flight: `make remote`.

The first table is the CPU of one picture by stage, with the worker's own code. The second is the
whole: a real queue and a real worker process against a server that answers anything after a fixed
time and takes a fixed number of requests at once. It shows the requests in flight while the queue
is full, the pictures a second, and the worker's CPU for each picture.
"""

from __future__ import annotations

import asyncio
import io
import json
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

import click
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table

from grounding.demo.backend import BackendClient, local_backend
from grounding.engines.base import ModelRequest
from grounding.engines.remote.client import Encoding
from grounding.factory import fetcher, load_engine
from grounding.media.images import decode, open_header
from grounding.media.views import whole
from grounding.settings import Settings
from grounding.testing import ask_one

MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
WORDS = '[{"bbox_2d": [100, 100, 300, 300], "label": "cat"}]'
Clock = Callable[[], int]
"""Returns CPU time in nanoseconds."""
SETTLE = 0.15
"""Share of a run at each end that is not counted, while the queue fills or empties."""


def upright(data: bytes) -> Image.Image:
    """Return the picture in `data` as it is decoded for the model."""
    return decode(open_header(data, 10**8), data)


def photograph(width: int, height: int) -> bytes:
    """Return a JPEG with smooth areas, edges and grain, about 1.5 bits per pixel."""
    coarse = Image.effect_noise((width // 40, height // 40), 160).resize((width, height))
    grain = Image.effect_noise((width, height), 12)
    bands = [Image.blend(coarse.rotate(90 * turn), grain, 0.25) for turn in (0, 2, 0)]
    file = io.BytesIO()
    Image.merge("RGB", bands).save(file, "JPEG", quality=90)
    return file.getvalue()


class Host(BaseHTTPRequestHandler):
    """Serves the photograph."""

    protocol_version = "HTTP/1.1"
    data = b""

    def do_GET(self) -> None:
        """Send the picture."""
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(self.data)))
        self.end_headers()
        self.wfile.write(self.data)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@dataclass(slots=True)
class Load:
    """The requests that the server has now, and each change of their number."""

    now: int = 0
    changes: list[tuple[float, int]] = field(default_factory=list)

    def change(self, by: int) -> None:
        """Record a request that arrived or was answered."""
        self.now += by
        self.changes.append((time.monotonic(), self.now))


async def _serve(seconds: float, at_once: int, pipe: Connection) -> None:
    load, room = Load(), asyncio.Semaphore(at_once)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            await reader.readexactly(_length(head))
            load.change(+1)
            async with room:
                await asyncio.sleep(seconds)
            load.change(-1)
            writer.write(_answer())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=512)
    pipe.send(server.sockets[0].getsockname()[1])
    await asyncio.to_thread(pipe.recv)
    pipe.send(load.changes)
    os._exit(0)  # connections are still open, and asyncio would log each of them


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def _length(head: bytes) -> int:
    (line,) = [one for one in head.lower().split(b"\r\n") if one.startswith(b"content-length:")]
    return int(line.partition(b":")[2])


def _answer() -> bytes:
    tokens = [
        {"token": c, "bytes": list(c.encode()), "logprob": -0.1, "top_logprobs": []} for c in WORDS
    ]
    choice = {
        "message": {"role": "assistant", "content": WORDS},
        "finish_reason": "stop",
        "logprobs": {"content": tokens},
    }
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1300}}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


def _run_server(seconds: float, at_once: int, pipe: Connection) -> None:
    asyncio.run(_serve(seconds, at_once, pipe))


@contextmanager
def model_server(seconds: float, at_once: int) -> Iterator[tuple[str, Connection]]:
    """Run a model server in its own process; yield its base URL and the pipe that ends it."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_run_server, args=(seconds, at_once, theirs), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1", ours
    finally:
        process.kill()
        process.join()


@contextmanager
def picture_host(data: bytes) -> Iterator[str]:
    """Serve `data` under every path of the yielded origin."""
    handler = type("Photo", (Host,), {"data": data})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def chosen(url: str, **more: Any) -> dict[str, Any]:
    """Return the settings of a worker that uses the server at `url`."""
    settings = {
        "engine": "openai",
        "server": "vllm",
        "openai_base_url": url,
        "model": MODEL,
        "self_test": "off",
        "log_level": "warning",
    }
    return settings | more


def cpu(work: Callable[[], Any], times: int, clock: Clock = time.thread_time_ns) -> float:
    """Return the CPU milliseconds that `work` takes by `clock`: the median of `times`."""
    took = []
    for _ in range(times):
        begun = clock()
        work()
        took.append((clock() - begun) / 1e6)
    return statistics.median(took)


def stages(data: bytes, kind: str, times: int) -> dict[str, float]:
    """Return the CPU milliseconds of each stage of one picture with one request."""
    with picture_host(data) as origin, model_server(0.0, 64) as (url, _):
        settings = Settings.load(
            **chosen(url, image_format=kind, allowed_origins=frozenset({origin}))
        )
        fetch, engine = fetcher(settings), load_engine(settings, lambda **_: None)
        profile = engine.profile
        bounds = profile.bounds
        view = whole(upright(data), bounds)
        encoding = Encoding(settings.image_format, settings.image_quality)
        took = {
            "fetch": cpu(lambda: fetch.fetch(f"{origin}/a.jpg", 1), times),
            "decode": cpu(lambda: upright(data), times),
        }
        took["resize"] = cpu(lambda: whole(upright(data), bounds), times) - took["decode"]
        took["encode"] = cpu(lambda: encoding.data_uri(view.pixels), times)
        asked = ModelRequest((view, "where?"), 64)
        ask_one(engine, asked)  # encodes the picture, and connects
        # Of the whole process, since the engine has threads of its own.
        took["request"] = cpu(lambda: ask_one(engine, asked), times, time.process_time_ns)
        engine.close()
    return took


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a worker: requests in flight (mean, maximum), pictures a second, CPU time."""

    mean: float
    most: int
    rate: float
    cpu_ms: float


def whole_tasks(data: bytes, *, tasks: int, labels: int, seconds: float, at_once: int) -> Run:
    """Return the run of a real worker with `tasks` pictures and `labels` requests for each."""
    with (
        picture_host(data) as origin,
        model_server(seconds, at_once) as (url, pipe),
        local_backend(**chosen(url, allowed_origins=frozenset({origin}))) as backend,
    ):
        backend.wait_ready(lambda _: None)
        worker = _worker()
        before = _spent(worker)
        took = _finish(backend, origin, tasks, labels)
        spent = _spent(worker) - before
        pipe.send(None)
        mean, most = _in_flight(pipe.recv())
    return Run(mean, most, tasks / took, spent / tasks * 1e3)


def _finish(backend: BackendClient, origin: str, tasks: int, labels: int) -> float:
    """Request predictions until every task has one; return the seconds it took."""
    entries = [{"id": n, "data": {"image": f"{origin}/{n}.jpg"}} for n in range(tasks)]
    names = "".join(f'<Label value="thing {n}"/>' for n in range(labels))
    config = (
        '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
        f"{names}</RectangleLabels></View>"
    )
    begun = time.monotonic()
    while not all(backend.predict(entries, config)):
        continue
    return time.monotonic() - begun


def _worker() -> psutil.Process:
    children = psutil.Process().children(recursive=True)
    (found,) = [one for one in children if one.cmdline()[-2:] == ["grounding", "worker"]]
    return found


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _in_flight(changes: Sequence[tuple[float, int]]) -> tuple[float, int]:
    """Return the mean over the middle of the run, weighted by time, and the maximum."""
    first, last = changes[0][0], changes[-1][0]
    low, high = first + SETTLE * (last - first), last - SETTLE * (last - first)
    total = 0.0
    for (begun, count), (ended, _) in pairwise(changes):
        total += count * max(0.0, min(ended, high) - max(begun, low))
    return total / (high - low), max(count for _, count in changes)


def stage_table(data: bytes, size: str, times: int) -> Table:
    """Return a table of the CPU time of each stage, for JPEG and PNG."""
    table = Table(title=f"CPU of one picture of {size}, one question, in ms")
    columns = {kind: stages(data, kind, times) for kind in ("jpeg", "png")}
    for heading in ("stage", *columns):
        table.add_column(heading, justify="right" if heading != "stage" else "left")
    for stage in columns["jpeg"]:
        table.add_row(stage, *(f"{took[stage]:.1f}" for took in columns.values()))
    table.add_row("sum", *(f"{sum(took.values()):.1f}" for took in columns.values()))
    return table


@click.command()
@click.option("--tasks", default=600, show_default=True, help="Pictures of each run.")
@click.option("--times", default=15, show_default=True, help="Repetitions of each stage.")
@click.option("--seconds", default=0.5, show_default=True, help="The server's time to answer.")
@click.option("--at-once", default=64, show_default=True, help="What the server takes at once.")
def main(tasks: int, times: int, seconds: float, at_once: int) -> None:
    """Measure the CPU time of a worker and its requests in flight."""
    console = Console()
    console.print(f"{psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}")
    console.print(stage_table(photograph(1280, 960), "1280×960", times))
    table = Table(title=f"One worker, a server of {seconds:g} s that takes {at_once} at once")
    for heading in ("picture", "labels", "in flight", "most", "pictures/s", "CPU ms/picture"):
        table.add_column(heading, justify="right")
    for width, height, labels in ((1280, 960, 1), (1280, 960, 8), (640, 480, 1), (448, 448, 4)):
        with console.status(f"{width}×{height}, {labels} labels"):
            count = max(at_once, tasks // labels)
            data = photograph(width, height)
            run = whole_tasks(data, tasks=count, labels=labels, seconds=seconds, at_once=at_once)
        table.add_row(
            f"{width}×{height}",
            str(labels),
            f"{run.mean:.1f}",
            str(run.most),
            f"{run.rate:.1f}",
            f"{run.cpu_ms:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
