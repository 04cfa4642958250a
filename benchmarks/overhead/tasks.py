"""Measures what a task costs beside the model, through HTTP, queue and worker.

The model answers at once and costs nothing; all else is real: the web server, Redis, and a worker
process that decodes and resizes a picture for each task. One request carries all tasks, as a bulk
request of Label Studio does, and is sent again until each task has its prediction. A cost that is
flat is the same for ten thousand tasks as for ten.

Then the demo's real model answers a thousand tasks, and the most memory that web server and worker
had is read from the system.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.overhead.interactive import Marks, probed, read_marks
from grounding.demo.backend import BackendClient, data_uri, local_backend
from tests.faults.scripted import picture
from tools.shapes.scenes import NAMES, encode, scene

REPEATS: Mapping[int, int] = {1: 20, 10: 8, 100: 3, 1_000: 1, 10_000: 1}
"""How often each number of tasks is sent; the median counts."""

STAGES = ("queued", "claim", "view", "model", "write")
"""Steps of `benchmarks.overhead.probes` whose time is one task's own."""

MEMORY_TASKS = 1_000
CONFIG = (
    "<View><Image name='i' value='$image'/><RectangleLabels name='b' toName='i'>"
    "<Label value='{}'/></RectangleLabels></View>"
)

Tasks = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Cost:
    """One bulk request: its tasks and seconds, CPU seconds by process, seconds by stage."""

    tasks: int
    seconds: float
    cpu: Mapping[str, float]
    stages: Mapping[str, float]

    def per_task(self) -> dict[str, float]:
        """Return milliseconds a task."""
        spent = {"all": self.seconds, **self.cpu, **self.stages}
        return {name: 1e3 * seconds / self.tasks for name, seconds in spent.items()}


def processes() -> dict[str, list[psutil.Process]]:
    """Return the processes of the backend that runs below this one, by part."""
    parts: dict[str, list[psutil.Process]] = {"web": [], "worker": [], "redis": []}
    for child in psutil.Process().children(recursive=True):
        part = part_of(child.cmdline())
        if part:
            parts[part].append(child)
    return parts


def part_of(command: Sequence[str]) -> str | None:
    """Return what part of the backend a process's command line runs."""
    words = [word for word in command if word]
    if words and words[0].startswith("gunicorn:"):
        return "web"
    # RQ gives the process a title of its own at its first job.
    titled = bool(words) and words[0].startswith("rq:worker:")
    if titled or words[-2:] in (["-m", "benchmarks.overhead.probes"], ["grounding", "worker"]):
        return "worker"
    return "redis" if words and "valkey-server" in words[0] else None


def cpu_seconds() -> dict[str, float]:
    """Return the CPU seconds that each part has used."""
    spent = {}
    for part, found in processes().items():
        times = [one.cpu_times() for one in found]
        spent[f"CPU of {part}"] = sum(one.user + one.system for one in times)
    return spent


def finish(backend: BackendClient, tasks: Tasks, label_config: str) -> None:
    """Request predictions until every task has one."""
    while not all(backend.predict(tasks, label_config)):
        continue


def measure(backend: BackendClient, marks: Path, tasks: Tasks) -> Cost:
    """Return what one bulk request costs."""
    before, begun = cpu_seconds(), time.monotonic()
    finish(backend, tasks, CONFIG.format("cat"))
    ended, after = time.monotonic(), cpu_seconds()
    time.sleep(0.1)  # the probes write after the answer
    cpu = {part: after[part] - before[part] for part in after}
    stages = sum_stages(read_marks(marks, begun, ended + 0.1))
    return Cost(len(tasks), ended - begun, cpu, stages)


def sum_stages(marks: Marks) -> dict[str, float]:
    """Return the seconds of each stage, of all tasks together."""
    return {name: sum(end - begin for begin, end in marks.get(name, ())) for name in STAGES}


def through_the_queue(most: int) -> dict[int, dict[str, float]]:
    """Return milliseconds a task, by the number of tasks in the request."""
    numbers = count()
    found = {}
    with tempfile.TemporaryDirectory(prefix="grounding-") as name:
        folder = Path(name)
        with probed(folder, "http://127.0.0.1:9", FREE_MODEL="1") as backend:
            backend.wait_ready(lambda _: None)
            measure(backend, folder / "probes", new_tasks(numbers, 10))  # warms up
            for size, repeats in REPEATS.items():
                if size <= most:
                    costs = [
                        measure(backend, folder / "probes", new_tasks(numbers, size)).per_task()
                        for _ in range(repeats)
                    ]
                    found[size] = medians(costs)
    return found


def medians(costs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each part."""
    return {name: round(statistics.median(one[name] for one in costs), 3) for name in costs[0]}


def new_tasks(numbers: Iterator[int], size: int) -> Tasks:
    """Return tasks about pictures that no task had before."""
    chosen = [next(numbers) for _ in range(size)]
    return [{"id": number, "data": {"image": picture(number)}} for number in chosen]


def memory(tasks: int) -> dict[str, float]:
    """Return the most MiB that web server and worker had, after tasks of the demo's model."""
    pictures = [data_uri(encode(scene(50_000_000 + n).draw(), "PNG"), ".png") for n in range(tasks)]
    asked = [{"id": n, "data": {"image": one}} for n, one in enumerate(pictures)]
    with local_backend(model="", log_level="error") as backend:
        backend.wait_ready(lambda _: None)
        finish(backend, asked, CONFIG.format(NAMES[0]))
        return {part: peak(found) for part, found in processes().items() if part != "redis"}


def peak(found: Sequence[psutil.Process]) -> float:
    """Return the most MiB that processes of one part had in memory, as the system says."""
    lines = [line for one in found for line in _status(one.pid) if line.startswith("VmHWM:")]
    return round(sum(int(line.split()[1]) for line in lines) / 1024, 1)


def _status(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text().splitlines()


def report(found: Mapping[int, Mapping[str, float]]) -> Table:
    """Return the table of milliseconds a task."""
    table = Table(title="A task beside the model, in ms; a picture of 280×280 in the request")
    table.add_column("tasks in a request", justify="right")
    table.add_column("tasks/s", justify="right")
    for name in next(iter(found.values())):
        table.add_column(name, justify="right")
    for size, costs in found.items():
        values = (f"{value:.2f}" for value in costs.values())
        table.add_row(f"{size:,}", f"{1e3 / costs['all']:.0f}", *values)
    return table


@click.command()
@click.option("--most", default=max(REPEATS), show_default=True, help="Most tasks in a request.")
@click.option("--pictures", default=MEMORY_TASKS, show_default=True, help="Tasks of the demo.")
def main(most: int, pictures: int) -> None:
    """Print both tables, and add the figures to bench-output/results.json."""
    console = Console(width=140)
    found = through_the_queue(most)
    console.print(report(found))
    most_memory = memory(pictures)
    console.print(f"Most memory after {pictures} tasks of the demo, MiB: {most_memory}")
    results.add(
        ms_per_task={str(size): costs["all"] for size, costs in found.items()},
        ms_per_task_by_stage={str(size): costs for size, costs in found.items()},
        tasks_per_second={str(size): round(1e3 / one["all"], 1) for size, one in found.items()},
        peak_memory_mib=most_memory,
    )


if __name__ == "__main__":
    main()
