"""Measures the CPU time of reading model answers: `python -m benchmarks.overhead.parser`.

Prints the minimum and the median CPU time for each kind of text. The minimum depends little on
other programs of a busy machine.
"""

from __future__ import annotations

import statistics
import time

from grounding.geometry import Frame
from grounding.qwen.answers import read

FRAME = Frame("model", 1036, 1036)
BOX = '{{"bbox_2d": [{0}, {0}, {1}, {1}], "label": "small cake {0}"}}'
TEN_MILLION = 10_000_000


def boxes(count: int) -> str:
    """Return a fenced JSON answer with `count` boxes."""
    items = ",\n\t".join(BOX.format(n % 900, n % 900 + 100) for n in range(count))
    return f"```json\n[\n\t{items}\n]\n```"


TEXTS = {
    "20 boxes, JSON": boxes(20),
    "20 boxes, Python": boxes(20).replace('"', "'"),
    "20 boxes, plain text": "\n".join(f"{n},20,{n + 100},120 small cake" for n in range(20)),
    "20 points, XML": '<points x1="10" y1="20" alt="cake">cake</points>\n' * 20,
    "100 kB, JSON": boxes(1_500),
    "100 kB, Python": boxes(1_500).replace('"', "'"),
    "10 MB, JSON": boxes(150_000),
    "10 MB of open brackets": "[" * TEN_MILLION,
    "10 MB of small lists": "[1,2]," * (TEN_MILLION // 6),
    "10 MB of open strings": '{"a": "' * (TEN_MILLION // 7),
    "10 MB of tags": "<p>" * (TEN_MILLION // 3),
    "10 MB of pairs in objects": '{"a": (1,2),' * (TEN_MILLION // 12),
    "10 MB of thinking": "So [1,2]? Wait, " * (TEN_MILLION // 16),
    "10 MB of letters": "a" * TEN_MILLION,
    "5,000 brackets deep": "[" * 5_000 + "]" * 5_000,
}


def seconds(text: str) -> float:
    """Return the CPU seconds of reading `text` once."""
    start = time.process_time()
    read(text, FRAME)
    return time.process_time() - start


def main() -> None:
    """Print a table of all texts in milliseconds."""
    print(f"{'text':28}{'characters':>12}{'minimum':>10}{'median':>10}")
    for name, text in TEXTS.items():
        times = [seconds(text) * 1e3 for _ in range(100 if len(text) < 10_000 else 7)]
        print(f"{name:28}{len(text):12,}{min(times):10.2f}{statistics.median(times):10.2f}")


if __name__ == "__main__":
    main()
