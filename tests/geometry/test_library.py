"""Our resize rule is that of the libraries, so that they keep the size that we send."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from grounding.geometry import PixelBounds, image_frame, model_frame
from tests.geometry.geometries import TOKENS, images

sizes = images().map(lambda frame: (int(frame.width), int(frame.height)))
factors = st.sampled_from((28, 32))
bounds = st.sampled_from(sorted(TOKENS.values()))


def ours(size: tuple[int, int], factor: int, low: int, high: int) -> tuple[float, float]:
    frame = model_frame(image_frame(*size), PixelBounds(factor, low * factor**2, high * factor**2))
    return frame.height, frame.width


@settings(max_examples=300)
@given(sizes, factors, bounds)
def test_our_resize_is_the_one_of_transformers(
    size: tuple[int, int], factor: int, tokens: tuple[int, int]
) -> None:
    width, height = size
    low, high = (t * factor**2 for t in tokens)
    assert ours(size, factor, *tokens) == smart_resize(height, width, factor, low, high)


@pytest.fixture(scope="module")
def library() -> Iterator[types.ModuleType]:
    """Return qwen-vl-utils, without the torchvision that it does not use here."""
    stub, before = _torchvision(), dict(sys.modules)
    sys.modules.update(stub)
    try:
        yield importlib.import_module("qwen_vl_utils.vision_process")
    finally:
        for name in {*stub, *(n for n in sys.modules if n.startswith("qwen_vl_utils"))}:
            sys.modules.pop(name, None)
            if name in before:
                sys.modules[name] = before[name]


def _torchvision() -> dict[str, types.ModuleType]:
    """Return stub modules with which `import torchvision` succeeds on machines that lack it."""
    root = types.ModuleType("torchvision")
    parts = {name: types.ModuleType(f"torchvision.{name}") for name in ("io", "transforms")}
    parts["transforms"].InterpolationMode = object  # type: ignore[attr-defined]
    for name, part in parts.items():
        setattr(root, name, part)
    return {"torchvision": root} | {part.__name__: part for part in parts.values()}


@settings(max_examples=300)
@given(size=sizes, factor=factors, tokens=bounds)
def test_our_resize_is_the_one_of_qwen_vl_utils(
    library: types.ModuleType, size: tuple[int, int], factor: int, tokens: tuple[int, int]
) -> None:
    width, height = size
    # The two libraries differ for sides up to half a patch. The engines use transformers.
    if min(size) * 2 > factor:
        low, high = (t * factor**2 for t in tokens)
        assert ours(size, factor, *tokens) == library.smart_resize(height, width, factor, low, high)
