"""Films of coloured shapes that move, with the true box of each in each frame.

Plain data made from a seed, like a `Scene`: each thing goes evenly on its way and turns round at
the edges; one may come later, leave, or be away for a while.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tools.shapes.scenes import COLOURS, SHAPES, Corners, Scene, Thing

SIZE = (400, 304)
BACKGROUND = (236, 236, 228)


@dataclass(frozen=True, slots=True)
class Way:
    """How a thing goes: its name, side, start and speed in pixels a frame, and when it is there.

    `spans` are half-open ranges of frames from 0.
    """

    colour: str
    shape: str
    side: int
    start: tuple[float, float]
    speed: tuple[float, float]
    spans: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """The thing's name, such as "red circle"."""
        return f"{self.colour} {self.shape}"

    def box(self, frame: int, size: tuple[int, int] = SIZE) -> Corners | None:
        """Return the true box at a frame from 0, None where it is away."""
        if not any(first <= frame < last for first, last in self.spans):
            return None
        x, y = (
            _turn(at + by * frame, whole - self.side)
            for at, by, whole in zip(self.start, self.speed, size, strict=True)
        )
        return round(x), round(y), round(x) + self.side, round(y) + self.side


@dataclass(frozen=True, slots=True)
class Film:
    """A film of `frames` frames, `fps` a second."""

    ways: tuple[Way, ...]
    frames: int
    fps: int = 25
    size: tuple[int, int] = SIZE

    def scene(self, frame: int) -> Scene:
        """Return the picture of a frame from 0."""
        boxes = [(way, way.box(frame, self.size)) for way in self.ways]
        things = [
            Thing(way.colour, way.shape, box, COLOURS[way.colour]) for way, box in boxes if box
        ]
        return Scene(*self.size, BACKGROUND, tuple(things))

    def encode(self) -> bytes:
        """Return the file: H.264 in MP4, as browsers play it."""
        import av

        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(self.fps))
            stream.width, stream.height = self.size
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": "20", "g": str(self.fps)}
            for number in range(self.frames):
                picture = av.VideoFrame.from_image(self.scene(number).draw())
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        return file.getvalue()


def _turn(at: float, room: int) -> float:
    """Return a position that goes to and fro between 0 and `room`."""
    at %= 2 * room
    return at if at <= room else 2 * room - at


def film(seed: int, names: Sequence[str] = (), seconds: float = 6, fps: int = 25) -> Film:
    """Return a random film of two things, the second of which is away for a while."""
    rng = random.Random(seed)
    frames = round(seconds * fps)
    chosen = list(names) or rng.sample([f"{c} {s}" for c in COLOURS for s in SHAPES], 2)
    ways = []
    for number, name in enumerate(chosen):
        colour, shape = name.split()
        side = rng.randint(56, 84)
        start = (rng.uniform(0, SIZE[0] - side), 10 + number * (SIZE[1] // len(chosen)))
        speed = (rng.choice((-1, 1)) * rng.uniform(0.8, 2.0), rng.uniform(-0.2, 0.2))
        away = (round(frames * 0.4), round(frames * 0.65))
        spans = ((0, frames),) if number == 0 else ((0, away[0]), (away[1], frames))
        ways.append(Way(colour, shape, side, start, speed, spans))
    return Film(tuple(ways), frames, fps)


def main() -> None:
    """Write the film of the example project."""
    target = Path(__file__).parents[2] / "grounding" / "demo" / "films" / "moving-shapes.mp4"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(EXAMPLE.encode())


EXAMPLE = film(7, ("blue square", "red circle"))
"""The film of the example project."""

if __name__ == "__main__":
    main()
