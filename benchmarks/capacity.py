"""Computes the GPUs, cores and network for a load of pictures a day: the table of docs/scaling.md.

Nothing is measured here: the constants are measured elsewhere or published, and are multiplied by
the load. `python -m benchmarks.capacity` prints the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

DAY = 86_400
BUSY = 0.7
"""Mean utilisation of each part; the rest is room for requests that arrive together."""

A100 = 3.3
"""Requests a second on one A100 with 7B: vLLM's recipe, VisionArena, 111 tokens per answer."""

H100 = 6.0
"""Requests a second on one H100: the low end of an estimate of 6 to 10 from its FLOPS."""

PICTURE_MS = 45.0
"""CPU of a remote worker for a picture of 1280×960 and its first request: `make remote`."""

QUESTION_MS = 8.0
"""CPU of each further request about the same picture, which is encoded once."""

SENT_MB = 0.4
"""Megabytes of a request: the picture as base64 of a JPEG of quality 95."""

JOBS = 240.0
"""Jobs a second through RQ and Redis on one core, which also runs both ends."""


@dataclass(frozen=True, slots=True)
class Need:
    """The machines for a load, each part used to at most `BUSY`."""

    pictures: int
    questions: int
    rate: float
    a100: int
    h100: int
    cores: int
    network: float
    queue: float


def need(pictures: int, questions: int) -> Need:
    """Return the machines for `pictures` a day with `questions` requests each."""
    rate = pictures / DAY
    asked = rate * questions
    cpu = rate * (PICTURE_MS + QUESTION_MS * (questions - 1)) * 1e-3
    return Need(
        pictures,
        questions,
        rate,
        a100=math.ceil(asked / A100 / BUSY),
        h100=math.ceil(asked / H100 / BUSY),
        cores=math.ceil(cpu / BUSY),
        network=asked * SENT_MB * 8,
        queue=rate / JOBS,
    )


def lines() -> Iterator[str]:
    """Yield the lines of the table in Markdown."""
    yield "| pictures a day | requests each | pictures/s | A100 | H100 | cores | Mbit/s | queue |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    for pictures in (10_000, 100_000, 300_000, 1_000_000):
        for questions in (1, 5):
            n = need(pictures, questions)
            yield (
                f"| {n.pictures:,} | {n.questions} | {n.rate:.2f} | {n.a100} | {n.h100} "
                f"| {n.cores} | {n.network:.0f} | {n.queue:.1%} |"
            )


if __name__ == "__main__":
    print("\n".join(lines()))
