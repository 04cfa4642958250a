"""Pictures of coloured shapes with known truth, and the three ways they reach Label Studio."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.shapes.scenes import Corners, Scene, Thing, encode, scene

NAMES = ("red circle", "blue square", "green triangle", "yellow star")
"""The labels of the projects; the pictures hold other shapes too, which nobody asked for."""

FIRST_SEED = 7_000_000
ORIENTATIONS = range(1, 9)


@dataclass(frozen=True)
class Sample:
    """One picture file in `path`, stored under some EXIF orientation, and its scene upright."""

    path: Path
    scene: Scene

    @property
    def name(self) -> str:
        """What tells this sample from the others, in a task's data or address."""
        return self.path.stem

    @property
    def wanted(self) -> list[Thing]:
        """The things whose label is in `NAMES`."""
        return [thing for thing in self.scene.things if thing.name in NAMES]

    def data_uri(self) -> str:
        """Return the whole file as an address."""
        kind = "png" if self.path.suffix == ".png" else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.path.read_bytes()).decode()}"

    def percent(self, box: Corners) -> tuple[float, float, float, float]:
        """Return pixel corners in percent of the upright picture."""
        x1, y1, x2, y2 = box
        across, down = 100 / self.scene.width, 100 / self.scene.height
        return x1 * across, y1 * down, x2 * across, y2 * down


def make_samples(folder: Path, count: int, first_seed: int = FIRST_SEED) -> list[Sample]:
    """Write `count` pictures to `folder`, each with at least one wanted thing.

    Every EXIF orientation comes up in turn; every fifth picture is a PNG.
    """
    turns = itertools.cycle(ORIENTATIONS)
    fitting = itertools.islice(_fitting(first_seed), count)
    return [_write(folder, i, *seeded, next(turns)) for i, seeded in enumerate(fitting)]


def sample_name(data: dict[str, Any]) -> str:
    """Return the name of the sample that a task's data was made from."""
    if "name" in data:
        return str(data["name"])
    (address,) = data.values()
    # Label Studio puts a random word and a dash before an uploaded file's own name.
    return Path(address).stem.rpartition("-")[2]


def _fitting(first_seed: int) -> Iterator[tuple[int, Scene]]:
    for seed in itertools.count(first_seed):
        candidate = scene(seed)
        if any(thing.name in NAMES for thing in candidate.things):
            yield seed, candidate


def _write(folder: Path, index: int, seed: int, drawn: Scene, orientation: int) -> Sample:
    png = index % 5 == 4
    path = folder / f"scene_{seed}.{'png' if png else 'jpg'}"
    path.write_bytes(encode(drawn.draw(), "PNG" if png else "JPEG", orientation))
    return Sample(path, drawn)
