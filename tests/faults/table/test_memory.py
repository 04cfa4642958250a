"""What pictures cost a worker's memory: a thousand of all kinds, with giants among them.

`make soak` runs it and prints its measurements.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.faults.table.test_soak import say

BUDGET = 512
"""MiB for decoding, of which bulk may take three quarters."""
SLACK = 250
"""MiB for the interpreter, the files and what the allocator keeps."""

SCRIPT = """
import io, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from PIL import Image
from grounding.media.images import Decoder
from grounding.geometry import PixelBounds
from grounding.media.views import whole

mixed, giants, budget = map(int, sys.argv[1:])
MIXED = [(4000, 3000, "RGB", "JPEG"), (1200, 900, "RGB", "PNG"), (2400, 1800, "RGBA", "PNG"),
         (800, 600, "P", "GIF"), (1500, 1500, "RGB", "WEBP"), (640, 480, "L", "JPEG")]
GIANT = (7000, 7000, "RGBA", "PNG")

def picture(width, height, mode, kind):
    out = io.BytesIO()
    small = Image.effect_noise((width // 16, height // 16), 60).resize((width, height))
    plain = Image.new("L", (width, height))
    (plain if (width, height, mode, kind) == GIANT else small).convert(mode).save(out, kind)
    return out.getvalue()

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

def peak():
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1]) / 1024

kinds, giant = [picture(*shape) for shape in MIXED], picture(*GIANT)
pictures = [kinds[number % len(kinds)] for number in range(mixed)]
step = max(1, mixed // max(1, giants))
for number in range(giants):  # among the others, or all at once where there are none
    pictures.insert(number * (step + 1), giant)
Path("/proc/self/clear_refs").write_text("5")
before, decoder = resident(), Decoder(budget * 2**20)

def work(number):
    with decoder.decode(pictures[number], 50_000_000) as found:
        whole(found, PixelBounds(28, 256 * 784, 1280 * 784))

with ThreadPoolExecutor(14) as pool:
    list(pool.map(work, range(len(pictures))))
print(round(peak() - before), round(resident() - before))
"""


@pytest.mark.soak
@pytest.mark.parametrize(("mixed", "giants"), [(1000, 14), (1000, 0), (0, 14)])
def test_pictures_take_no_more_than_the_budget_and_give_it_back(
    mixed: int, giants: int, request: pytest.FixtureRequest
) -> None:
    """Without a budget, fourteen giants of 200 KiB took 4.7 GiB at once."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(mixed), str(giants), str(BUDGET)],
        capture_output=True,
        text=True,
        check=True,
    )
    peak, left = map(int, done.stdout.split())
    say(
        request.config,
        f"{mixed} mixed pictures and {giants} giants, 14 at a time, within {BUDGET} MiB: "
        f"{peak} MiB at most, {left} MiB afterwards",
    )
    assert peak <= BUDGET + SLACK
    assert left <= SLACK
