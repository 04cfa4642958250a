"""Pixels to patches: equal to the library's processor, for every config that checkpoints have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from grounding.engines.local.encoder import Encoder, PatchRule
from grounding.errors import SettingError

CONFIG = {
    "patch_size": 14,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "min_pixels": 3136,
    "max_pixels": 12845056,
}
"""The values of the published Qwen2.5-VL checkpoints."""


def rule(folder: Path, config: dict[str, Any], name: str = "preprocessor_config.json") -> PatchRule:
    (folder / name).write_text(json.dumps(config))
    return PatchRule.of_checkpoint(folder)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@settings(max_examples=25)
@given(
    wide=st.integers(1, 12),
    high=st.integers(1, 12),
    patch=st.sampled_from((14, 16)),
    seed=st.integers(0, 9),
)
def test_patches_equal_the_librarys(
    tmp_path_factory: pytest.TempPathFactory, wide: int, high: int, patch: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("processor")
    size = {"shortest_edge": 1, "longest_edge": 10**9}
    half = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.6, 0.7]} if patch == 16 else {}
    library = Qwen2VLImageProcessorPil(patch_size=patch, size=size, **half)
    library.save_pretrained(folder)
    ours = PatchRule.of_checkpoint(folder)

    width, height = wide * 2 * patch, high * 2 * patch
    image = noise(width, height, seed)
    expected = library(images=[image], return_tensors="pt")
    cut = ours.cut(torch.from_numpy(np.array(image)))

    assert cut.dtype == torch.float32
    assert cut.shape == expected["pixel_values"].shape
    assert torch.equal(cut, expected["pixel_values"])
    assert cut.nbytes == ours.count_bytes(width, height)
    assert list(ours.grid(width, height)) == expected["image_grid_thw"][0].tolist()
    assert ours.count_tokens(width, height) == wide * high


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        {**CONFIG, "size": {"shortest_edge": 99, "longest_edge": 999}},  # the two keys win
        {**CONFIG, "min_pixels": None, "size": {"shortest_edge": 3136, "longest_edge": 9}},
        {
            **CONFIG,
            "min_pixels": None,
            "max_pixels": None,
            "size": {"min_pixels": 3136, "max_pixels": 12845056},
        },
    ],
)
def test_the_checkpoints_own_bounds_are_read_in_each_form(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    assert rule(tmp_path, config).bounds == (3136, 12845056)


def test_a_checkpoint_may_have_no_bounds(tmp_path: Path) -> None:
    config = {k: v for k, v in CONFIG.items() if not k.endswith("pixels")}
    assert rule(tmp_path, config).bounds is None


def test_the_newer_nested_config_is_read_too(tmp_path: Path) -> None:
    assert rule(tmp_path, {"image_processor": CONFIG}, "processor_config.json").factor == 28


def test_a_checkpoint_without_image_processor_says_what_to_copy(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"no preprocessor_config\.json\. Copy it"):
        PatchRule.of_checkpoint(tmp_path)


def test_a_missing_value_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="lacks 'merge_size'"):
        rule(tmp_path, {k: v for k, v in CONFIG.items() if k != "merge_size"})


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_each_familys_pictures_become_what_its_processor_makes_of_them(
    folders: dict[str, Path], family: str
) -> None:
    """Through the thread that cuts ahead, and without."""
    rule = PatchRule.of_checkpoint(folders[family])
    pictures = [noise(wide * rule.factor, high * rule.factor) for wide, high in ((9, 4), (3, 8))]
    library = Qwen2VLImageProcessorPil.from_pretrained(folders[family])
    expected = library(images=pictures, return_tensors="pt")
    encoder = Encoder(rule, 0, 0, torch.device("cpu"))
    for announced in ([], pictures[1:], pictures):
        encoder.expect(announced)
        made = encoder.encode_pictures(pictures)
        assert torch.equal(made["pixel_values"], expected["pixel_values"])
        assert torch.equal(made["image_grid_thw"], torch.as_tensor(expected["image_grid_thw"]))
    encoder.close()
