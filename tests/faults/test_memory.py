"""What pictures cost a worker's memory: a thousand of all kinds, and giants all at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

MIB = 2**20
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
from grounding.media.views import PixelBounds, whole

kinds, count, budget = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SHAPES = {
    "mixed": [(4000, 3000, "RGB", "JPEG"), (1200, 900, "RGB", "PNG"), (2400, 1800, "RGBA", "PNG"),
              (800, 600, "P", "GIF"), (1500, 1500, "RGB", "WEBP"), (640, 480, "L", "JPEG")],
    "giants": [(7000, 7000, "RGBA", "PNG")],
}

def picture(width, height, mode, kind):
    out = io.BytesIO()
    small = Image.effect_noise((width // 16, height // 16), 60).resize((width, height))
    (small if kinds == "mixed" else Image.new("L", (width, height))).convert(mode).save(out, kind)
    return out.getvalue()

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

def peak():
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x]
    return int(line.split()[1]) / 1024

pictures = [picture(*shape) for shape in SHAPES[kinds]]
Path("/proc/self/clear_refs").write_text("5")
before, decoder = resident(), Decoder(budget * 2**20)

def work(number):
    with decoder.decode(pictures[number % len(pictures)], 50_000_000) as found:
        whole(found, PixelBounds(28, 256 * 784, 1280 * 784))

with ThreadPoolExecutor(14) as pool:
    list(pool.map(work, range(count)))
print(round(peak() - before), round(resident() - before))
"""


@pytest.mark.soak
@pytest.mark.parametrize(("kinds", "count"), [("mixed", 1000), ("giants", 14)])
def test_pictures_take_no_more_than_the_budget_and_give_it_back(kinds: str, count: int) -> None:
    """Without a budget, fourteen giants of 200 KiB took 4.7 GiB at once."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, kinds, str(count), str(BUDGET)],
        capture_output=True,
        text=True,
        check=True,
    )
    peak, left = map(int, done.stdout.split())
    print(f"\n{count} {kinds} pictures: {peak} MiB at most, {left} MiB afterwards", file=sys.stderr)
    assert peak <= BUDGET + SLACK
    assert left <= SLACK
