"""Our attention: fewer and smaller calls than the library's, and no other result."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from grounding.engines.local.decoding import model_runner as module
from grounding.engines.local.decoding.model_runner import (
    attend_in_rows,
    attend_in_windows,
    speed_up_attention,
)
from grounding.engines.local.loading import LoadOptions, load_checkpoint
from tests.engines.questions import FAMILIES

CPU = LoadOptions(device="cpu")


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


@given(*(st.integers(1, 4) for _ in range(4)))
def test_query_heads_share_the_keys_and_values_of_their_group(
    rows: int, groups: int, per_group: int, tokens: int
) -> None:
    query = torch.randn(rows, groups * per_group, tokens, 4)
    key, value = torch.randn(2, rows, groups, 7, 4)
    mask = torch.rand(rows, 1, tokens, 7) > 0.3
    mask[..., 0] = True
    weighed = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf).repeat(1, 1, per_group, 1)
    out, _ = attend_in_rows(None, query, key, value, weighed, scaling=0.5)
    copies = (part.repeat_interleave(per_group, dim=1) for part in (key, value))
    expected = scaled_dot_product_attention(query, *copies, attn_mask=mask, scale=0.5)
    assert torch.allclose(out, expected.transpose(1, 2), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_of_many_sizes_are_read_in_few_calls_and_as_by_the_library(
    folders: dict[str, Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = load_checkpoint(str(folders[family]), CPU, lambda _: None).model
    tower = model.model.visual
    grids = torch.tensor([[1, 60, 82], [1, 16, 6], [1, 60, 82], [1, 30, 30], [1, 8, 44]])
    side = tower.config.patch_size
    patches = torch.randn(int(grids.prod(1).sum()), 3 * 2 * side * side)
    with torch.inference_mode():
        expected = tower(patches, grid_thw=grids).pooler_output
    calls: list[int] = []

    def count(query: torch.Tensor, *args: Any, **how: Any) -> torch.Tensor:
        calls.append(query.shape[2])
        return scaled_dot_product_attention(query, *args, **how)

    monkeypatch.setattr(module, "scaled_dot_product_attention", count)
    speed_up_attention(model)
    with torch.inference_mode():
        assert torch.allclose(tower(patches, grid_thw=grids).pooler_output, expected, atol=1e-4)
    whole = 4  # three sizes of which one is there twice, and as many windows of other lengths
    assert whole * tower.config.depth <= len(calls) <= 20
