"""The demo's pictures and what is in them: `python -m tools.samples` draws them again.

`grounding/demo/truth.json` is the truth: size, ground, EXIF orientation and things of each picture,
with boxes in pixels of the upright picture.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.shapes.scenes import Scene, Thing, encode

DEMO = Path(__file__).parent.parent / "grounding" / "demo"
PICTURES = DEMO / "pictures"
TRUTH = DEMO / "truth.json"


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of the demo: its file's name and EXIF orientation, and the scene upright."""

    name: str
    orientation: int
    scene: Scene

    def file(self) -> bytes:
        """Return the picture's file."""
        picture = self.scene.draw()
        if self.name.endswith(".png"):
            return encode(picture, "PNG", self.orientation)
        return encode(picture, "JPEG", self.orientation)


def samples() -> list[Sample]:
    """Return the demo's pictures in the order of their names."""
    return [_read(name, entry) for name, entry in sorted(json.loads(TRUTH.read_text()).items())]


def _read(name: str, entry: dict[str, Any]) -> Sample:
    things = tuple(map(_read_thing, entry["things"]))
    drawn = Scene(entry["width"], entry["height"], tuple(entry["ground"]), things)
    return Sample(name, entry["orientation"], drawn)


def _read_thing(entry: dict[str, Any]) -> Thing:
    colour, shape = entry["name"].split()
    return Thing(colour, shape, tuple(entry["box"]), tuple(entry["paint"]))


def main() -> None:
    """Write the pictures that the truth describes."""
    for sample in samples():
        (PICTURES / sample.name).write_bytes(sample.file())


if __name__ == "__main__":
    main()
