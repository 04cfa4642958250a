"""How many GPUs, cores and machines so many pictures a day take: the table of docs/scaling.md.

Nothing is measured here: each number is a part that was, or that others published, times the load.
`python -m benchmarks.capacity` prints the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

DAY = 86_400
BUSY = 0.7
"""How full each part may be on the average: what comes at once has to wait behind the rest."""

A100 = 3.3
"""Questions a second on one A100 with 7B: vLLM's own recipe, VisionArena, 111 tokens of answer."""

H100 = 6.0
"""The same on one H100: the lower end of an estimate from its arithmetic, 6 to 10."""

PICTURE_MS = 45.0
"""CPU of a light worker for a picture of 1280×960 and its first question: `make remote`'s bound."""

QUESTION_MS = 8.0
"""CPU for each further question of the same picture, which is encoded once."""

SENT_MB = 0.4
"""What a question sends: the picture as JPEG of quality 95, as base64."""

JOBS = 240.0
"""Jobs a second through RQ and Redis on one core shared with both ends."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a load takes, each part at most `BUSY`."""

    pictures: int
    questions: int
    rate: float
    a100: int
    h100: int
    cores: int
    network: float
    queue: float


def need(pictures: int, questions: int) -> Need:
    """Return what `pictures` a day take, each asked so many questions."""
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
    """Yield the table's lines, in Markdown."""
    yield "| pictures a day | questions each | pictures/s | A100 | H100 | cores | Mbit/s | queue |"
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
