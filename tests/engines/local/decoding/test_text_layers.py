"""The language model's layers in fewer calls: the states, cache and weights of the library's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from grounding.engines.local.decoding.feeds import Feed
from grounding.engines.local.decoding.model_runner import ModelRunner
from grounding.engines.local.decoding.slots import SlotCache
from grounding.engines.local.decoding.text_layers import TextLayers, is_fit
from grounding.engines.local.encoder import Encoder, PatchRule
from grounding.engines.local.loading import LoadOptions, load_checkpoint
from tests.engines.questions import ATTENDING

CPU = LoadOptions(device="cpu")
RULE = PatchRule(14, 2, 2, 1 / 255, (0.5,) * 3, (0.5,) * 3)


def load(folder: Path) -> Any:
    return load_checkpoint(str(folder), CPU, lambda _: None).model


@pytest.mark.parametrize("family", ATTENDING)
def test_rows_of_words_get_what_the_library_computes(folders: dict[str, Path], family: str) -> None:
    """Two calls, so that the second attends to what the first has written."""
    model = load(folders[family])
    assert is_fit(model)
    plain, lean = (ModelRunner(model, Encoder(RULE, 5, 0, model.device)) for _ in range(2))
    plain._layers = None
    caches = [SlotCache(model.device, 4) for _ in range(2)]
    feeds = [
        [Feed([7, 8, 9, 10], 0, 3, 4), Feed([11, 12], 0, 0, 2)],
        [Feed([13], 4, 3, 1), Feed([14, 15, 16], 2, 0, 3)],
    ]
    with torch.inference_mode():
        for some in feeds:
            want, have = (one.run(c, 0, some) for one, c in zip((plain, lean), caches, strict=True))
            for row, other in zip(want, have, strict=True):
                assert [token for token, _ in row] == [token for token, _ in other]
                assert [p for _, p in row] == pytest.approx([p for _, p in other], abs=1e-5)
    for one, other in zip(*(cache._layers for cache in caches), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("family", ATTENDING)
def test_the_joined_weights_take_no_memory_and_stay_the_model_s(
    folders: dict[str, Path], family: str
) -> None:
    model, untouched = load(folders[family]), load(folders[family])
    TextLayers(model)
    for one, other in zip(model.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(one, other)
    for layer in model.model.language_model.layers:
        parts = (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
        assert len(storages(*parts)) == 1
        if hasattr(layer.mlp, "gate_proj"):
            assert len(storages(layer.mlp.gate_proj, layer.mlp.up_proj)) == 1


def storages(*parts: torch.nn.Linear) -> set[int]:
    return {part.weight.untyped_storage().data_ptr() for part in parts}


class AddsOne(torch.nn.Module):
    """A norm as of other families: its weights are what is added to one."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.norm, self.weight = norm, torch.nn.Parameter(norm.weight.data - 1)
        self.variance_epsilon = norm.variance_epsilon

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(hidden)
        return found


@pytest.mark.parametrize("part", ["extra", "post_attention_layernorm"])
def test_layers_of_another_make_are_left_to_the_library(tiny: Path, part: str) -> None:
    model = load(tiny)
    layer = model.model.language_model.layers[-1]
    norm = layer.post_attention_layernorm
    setattr(layer, part, torch.nn.Linear(1, 1) if part == "extra" else AddsOne(norm))
    assert not is_fit(model)
    assert ModelRunner(model, Encoder(RULE, 5, 0, model.device))._layers is None
