"""Views: the pixels that the model sees, and the part of the picture that they cover."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from grounding.geometry import Frame, image_frame, model_frame


@dataclass(frozen=True, slots=True)
class PixelBounds:
    """The sizes of a view: sides are multiples of `factor`, the area in pixels is bounded."""

    factor: int
    min_pixels: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class View:
    """What the model sees: RGB `pixels` of exactly the size of `frame`, a model frame.

    `image` is the frame of the upright original. The extent of `frame` is the rectangle of the
    original that the view covers: all of it, a tile or a crop. `time` is in seconds from the
    start of a film, and None for a still picture.
    """

    pixels: Image.Image
    frame: Frame
    image: Frame
    time: float | None = None


def whole(picture: Image.Image, bounds: PixelBounds) -> View:
    """Return the view of a whole upright RGB picture; raises `ImageTooThin` above 200:1."""
    image = image_frame(*picture.size)
    frame = model_frame(image, bounds.factor, bounds.min_pixels, bounds.max_pixels)
    size = (int(frame.width), int(frame.height))
    return View(picture.resize(size, Image.Resampling.BICUBIC), frame, image)
