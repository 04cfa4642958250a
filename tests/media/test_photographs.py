"""The way of pixels on real photographs: turned, resized and sent as the documents say.

Generated shapes are flat; noise, gradients and compressed edges show what they cannot. What the
demo model would find on these pictures means nothing, so nobody is asked.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from grounding.engines.local.encoder import PatchRule
from grounding.engines.remote.client import Encoding
from grounding.geometry import PixelBounds
from grounding.media.views import View, whole
from grounding.settings.parts import ImageFormat
from tests.media.pictures import saved, upright

FOLDER = Path(__file__).parent / "photographs"
PHOTOGRAPHS = sorted(FOLDER.iterdir())
BOUNDS = PixelBounds(28, 256 * 784, 1280 * 784)
TURNS = (
    None,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_270,
)
"""What a camera did to the scene before it wrote EXIF's orientation 1, 2, … 8."""

each = pytest.mark.parametrize("file", PHOTOGRAPHS, ids=lambda file: file.stem)


def distance(one: Image.Image, other: Image.Image) -> np.ndarray:
    """Return how far two pictures of one size are apart, each value by itself."""
    assert one.size == other.size
    return np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int))


def view_of(file: Path) -> View:
    return whole(upright(file.read_bytes()), BOUNDS)


@each
def test_the_model_gets_the_pixels_that_qwens_own_processor_makes_of_the_file(
    file: Path, tmp_path: Path
) -> None:
    """So an answer is that of the cookbook's way, and its later resize is none."""
    size = {"shortest_edge": BOUNDS.min_pixels, "longest_edge": BOUNDS.max_pixels}
    library = Qwen2VLImageProcessorPil(size=size)
    library.save_pretrained(tmp_path)
    view = view_of(file)
    wanted = library(images=[Image.open(file).convert("RGB")], return_tensors="pt")
    cut = PatchRule.of_checkpoint(tmp_path).cut(torch.from_numpy(np.array(view.pixels)))
    assert wanted["image_grid_thw"][0].tolist() == [
        1,
        view.pixels.height // 14,
        view.pixels.width // 14,
    ]
    assert torch.allclose(cut, wanted["pixel_values"], atol=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
@each
def test_a_photograph_of_a_turned_camera_is_shown_upright(file: Path, orientation: int) -> None:
    scene = Image.open(file).convert("RGB")
    turn = TURNS[orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = saved(
        scene if turn is None else scene.transpose(turn), "JPEG", quality=95, exif=exif.tobytes()
    )
    apart = distance(upright(stored), scene)
    assert apart.mean() < 3
    beside = upright(saved(scene.transpose(Image.Transpose.ROTATE_180), "JPEG", quality=95))
    assert distance(beside, scene).mean() > 5 * apart.mean(), "another turn would be seen"


@pytest.mark.parametrize(
    ("form", "mean", "nearly_all"), [("png", 0, 0), ("jpeg", 2.5, 20)], ids=["png", "jpeg"]
)
@each
def test_what_a_server_is_sent_is_the_view_or_near_it(
    file: Path, form: ImageFormat, mean: float, nearly_all: float
) -> None:
    """`mean` and 99 % of the values, of 256 steps: docs/scaling.md says the same."""
    view = view_of(file)
    uri = Encoding(form).data_uri(view.pixels)
    apart = distance(Image.open(io.BytesIO(base64.b64decode(uri.partition(b",")[2]))), view.pixels)
    assert apart.mean() <= mean
    assert np.percentile(apart, 99) <= nearly_all


def test_their_licences_are_listed() -> None:
    text = (Path(__file__).parents[2] / "docs" / "licences.md").read_text()
    assert [file.name for file in PHOTOGRAPHS if f"`{file.name}`" not in text] == []
    assert PHOTOGRAPHS
