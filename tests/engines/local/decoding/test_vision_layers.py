"""The vision tower's layers: fewer calls than the library's, and no other result."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from grounding.engines.local.decoding import vision_layers as module
from grounding.engines.local.decoding.vision_layers import (
    attend_in_windows,
    run_block,
    speed_up,
)
from grounding.engines.local.loading import LoadOptions, load_checkpoint
from tests.engines.questions import FAMILIES

CPU = LoadOptions(device="cpu")


def load_tower(folder: Path) -> Any:
    model: Any = load_checkpoint(str(folder), CPU, lambda _: None).model
    return model.model.visual


def noise_for(tower: Any, grids: torch.Tensor) -> torch.Tensor:
    """Return random patches of pictures with these numbers of patches."""
    return torch.randn(int(grids.prod(1).sum()), 3 * 2 * tower.config.patch_size**2)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=9))
def test_each_window_sees_itself_alone(lengths: list[int]) -> None:
    bounds = torch.tensor([0, *accumulate(lengths)])
    query, key, value = torch.randn(3, 1, 2, sum(lengths), 4)
    out, _ = attend_in_windows(None, query, key, value, None, cu_seq_lens_q=bounds, scaling=0.5)
    parts = (part.split(lengths, dim=2) for part in (query, key, value))
    alone = [
        scaled_dot_product_attention(*one, scale=0.5).transpose(1, 2)
        for one in zip(*parts, strict=True)
        if one[0].shape[2]
    ]
    assert out.shape == (1, sum(lengths), 2, 4)
    assert torch.allclose(out, torch.cat([torch.empty(1, 0, 2, 4), *alone], dim=1), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_of_many_sizes_are_read_in_few_calls_and_as_by_the_library(
    folders: dict[str, Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = load_tower(folders[family])
    grids = torch.tensor([[1, 60, 82], [1, 16, 6], [1, 60, 82], [1, 30, 30], [1, 8, 44]])
    patches = noise_for(tower, grids)
    with torch.inference_mode():
        expected = tower(patches, grid_thw=grids).pooler_output
    calls: list[int] = []

    def count(query: torch.Tensor, *args: Any, **how: Any) -> torch.Tensor:
        calls.append(query.shape[2])
        return scaled_dot_product_attention(query, *args, **how)

    monkeypatch.setattr(module, "scaled_dot_product_attention", count)
    speed_up(tower)
    with torch.inference_mode():
        assert torch.allclose(tower(patches, grid_thw=grids).pooler_output, expected, atol=1e-4)
    whole = 4  # three sizes of which one is there twice, and as many windows of other lengths
    assert whole * tower.config.depth <= len(calls) <= 20
    assert all(block.forward.func is run_block for block in tower.blocks)


@pytest.mark.parametrize(("change", "ours"), [("part", 1), ("norm", 2), ("result", 0), ("turn", 0)])
def test_blocks_that_are_not_as_we_know_them_run_as_the_library_has_them(
    folders: dict[str, Path], change: str, ours: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Which is said in the log; all their windows are still one call."""
    tower = load_tower(folders["qwen2_5_vl"])
    CHANGES[change](tower.blocks[0])
    grids = torch.tensor([[1, 16, 8]])
    patches = noise_for(tower, grids)
    with torch.inference_mode():
        expected = tower(patches, grid_thw=grids).pooler_output
    speed_up(tower)
    with torch.inference_mode():
        assert torch.allclose(tower(patches, grid_thw=grids).pooler_output, expected, atol=1e-4)
    runs = [getattr(one.forward, "func", None) is run_block for one in tower.blocks]
    assert sum(runs) == ours
    told = f"{len(runs) - ours} of the vision tower's layers run as the library has them"
    assert (told in caplog.text) == (ours < len(runs))


def replace_norm(block: Any) -> None:
    block.norm1 = torch.nn.LayerNorm(block.norm1.weight.numel())


def turn_less(block: Any) -> None:
    attend = block.attn.forward

    def attend_unturned(hidden: Any, position_embeddings: Any, **how: Any) -> Any:
        cos, sin = position_embeddings
        still = torch.ones_like(cos), torch.zeros_like(sin)
        return attend(hidden, position_embeddings=still, **how)

    block.attn.forward = attend_unturned


CHANGES: dict[str, Callable[[Any], object]] = {
    "part": lambda block: block.add_module("more", torch.nn.Identity()),
    "norm": replace_norm,
    "result": lambda block: setattr(block.mlp, "forward", torch.zeros_like),
    "turn": turn_less,
}
