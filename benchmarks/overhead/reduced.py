"""Compares pictures decoded at a reduced scale with the full way.

A JPEG can be decoded at a half, a quarter or an eighth of its sides, which saves memory and time.
The table of `python -m benchmarks.overhead.reduced` shows by how many grey levels of 256 the pixels
that the model sees then differ, for pictures of 50 million pixels, the most that are read, and of
half their sides. Names of JPEG files are measured, enlarged, too.
"""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from grounding.geometry import PixelBounds, image_frame, model_frame

SIZES = ((8660, 5773), (4330, 2886))
"""Width and height of the pictures: the largest that is read by default, and half its sides."""
SCALES = (2, 4, 8)
BOUNDS = (28, 256 * 784, 1280 * 784)
KINDS: dict[str, dict[str, Any]] = {
    "4:2:0": {"quality": 90, "subsampling": 2},
    "4:4:4": {"quality": 95, "subsampling": 0},
    "progressive": {"quality": 90, "progressive": True},
    "CMYK": {"quality": 90, "mode": "CMYK"},
}


def page(size: tuple[int, int]) -> Image.Image:
    """Return a page of print, whose letters are 12 pixels high in the model's picture."""
    found = Image.new("RGB", size, "white")
    draw, chance = ImageDraw.Draw(found), random.Random(1)
    step = size[1] // 48
    font = ImageFont.load_default(step * 0.7)
    for top in range(step, size[1] - step, step):
        words = "".join(chance.choice("abcdefghijk lmnopqrstu vwxyz0123") for _ in range(110))
        draw.text((step, top), words, font=font, fill="black")
    return found


def shapes(size: tuple[int, int]) -> Image.Image:
    """Return plain shapes with hard edges."""
    found = Image.new("RGB", size, (200, 210, 190))
    draw, chance = ImageDraw.Draw(found), random.Random(2)
    for _ in range(60):
        x, y, side = chance.randrange(size[0]), chance.randrange(size[1]), chance.randrange(50, 900)
        shape = draw.rectangle if chance.random() < 0.5 else draw.ellipse
        shape((x, y, x + side, y + side), fill=(chance.randrange(256), chance.randrange(256), 90))
    return found


def scene(size: tuple[int, int]) -> Image.Image:
    """Return what has a photograph's spectrum: detail of every size, and a sensor's noise."""
    chance = np.random.default_rng(3)
    total = np.zeros((size[1], size[0]), np.float32)
    for power in range(2, 10):
        cells = (max(2, size[1] >> power), max(2, size[0] >> power))
        layer = Image.fromarray(chance.normal(0, 1.6**power, cells).astype(np.float32))
        total += np.asarray(layer.resize(size, Image.Resampling.BICUBIC))
    grey = 128 + 50 * total / total.std() + chance.normal(0, 4, total.shape)
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")


def subjects(files: list[str]) -> dict[str, Callable[[tuple[int, int]], Image.Image]]:
    """Return what draws a picture of each kind in a size."""

    def enlarged(name: str) -> Callable[[tuple[int, int]], Image.Image]:
        opened = Image.open(name).convert("RGB")
        return lambda size: opened.resize(size, Image.Resampling.LANCZOS)

    drawn = {"print": page, "shapes": shapes, "scene": scene}
    return drawn | {name.rpartition("/")[2]: enlarged(name) for name in files}


def encode(picture: Image.Image, mode: str = "RGB", **options: Any) -> bytes:
    """Return a JPEG file."""
    out = io.BytesIO()
    picture.convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


def shown(data: bytes, scale: int) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Return the model's picture of a JPEG that is decoded at a scale."""
    picture = Image.open(io.BytesIO(data))
    width, height = picture.size
    frame = model_frame(image_frame(width, height), PixelBounds(*BOUNDS))
    if scale > 1:
        picture.draft(None, (width // scale, height // scale))
    box = (0, 0, width / scale, height / scale)
    size = (int(frame.width), int(frame.height))
    seen = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC, box=box)
    return np.asarray(seen).astype(np.int16)


def differences(data: bytes) -> Iterator[tuple[int, float, np.ndarray[Any, np.dtype[np.int16]]]]:
    """Yield each scale that leaves more pixels than the model sees, by how much, and the error."""
    full = shown(data, 1)
    width = Image.open(io.BytesIO(data)).width
    for scale in SCALES:
        if (ratio := width / scale / full.shape[1]) > 1:
            yield scale, ratio, abs(shown(data, scale) - full)


def main() -> None:
    """Print the table."""
    print(f"{'picture':14}{'pixels':>12} {'kind':12}{'scale':>6}{'over':>6}  most  99 %  mean  >1")
    for name, draw in subjects(sys.argv[1:]).items():
        for size in SIZES:
            picture = draw(size)
            for kind, options in KINDS.items():
                for scale, ratio, off in differences(encode(picture, **options)):
                    print(
                        f"{name:14}{size[0]:>7}×{size[1]} {kind:12}{f'1/{scale}':>6}{ratio:6.1f}"
                        f"{off.max():6}{np.percentile(off, 99):6.0f}{off.mean():6.2f}"
                        f"{(off > 1).mean():6.1%}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
