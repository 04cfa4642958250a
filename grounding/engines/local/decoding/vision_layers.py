"""The vision tower's layers, in fewer calls than the library's.

Queries and keys are turned together and in place, all windows of one length are one call, a gate's
halves are one product, and pictures are cut into states by a product: the library convolves, though
no patch overlaps another. The weights are the library's own, and so is what joins the layers.
"""

from __future__ import annotations

import copy
import logging
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention
from transformers import AttentionInterface

from grounding.engines.local.decoding.text_layers import (
    Joined,
    is_known_norm,
    join_gate,
    normalize,
    transform,
)

log = logging.getLogger(__name__)

WINDOWS = "grounding_flash_windows"
"""Name of our attention function. Because of the word "flash" the library hands over all windows
of all pictures in one call; to others it would hand them one by one."""


def speed_up(tower: Any) -> None:
    """Let a vision tower run by the functions below, as far as its parts are as we know them.

    Flash attention takes all windows at once by itself, so a tower that has it is left alone.
    """
    if tower.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(WINDOWS, attend_in_windows)
    tower.config._attn_implementation = WINDOWS
    known = [one for one in tower.blocks if _is_known(one)]
    if not known or not _agree(known[0]):
        known = []
    for block in known:
        block.forward = partial(run_block, block, join_gate(block.mlp))
    if rest := len(tower.blocks) - len(known):
        log.warning("%d of the vision tower's layers run as the library has them", rest)
    _speed_up_embedding(tower.patch_embed)


def run_block(
    block: Any,
    gate: Joined | None,
    hidden: Tensor,
    cu_seqlens: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    **_: object,
) -> Tensor:
    """Return what a block makes of all pictures' tokens, (tokens, dimensions).

    Tokens see those within the same of the bounds `cu_seqlens`, and are turned by the cosines and
    sines of their places, (tokens, dimensions of a head) each. The names are the library's.
    """
    attention = block.attn
    seen = attention.qkv(_normalize(block.norm1, hidden))
    seen = seen.view(len(hidden), 3, attention.num_heads, -1)
    _turn(seen[:, :2], *position_embeddings)
    hidden = hidden + attention.proj(_attend(seen, cu_seqlens, attention.scaling))
    return hidden + transform(block.mlp, gate, _normalize(block.norm2, hidden))


def _normalize(norm: Any, hidden: Tensor) -> Tensor:
    if hasattr(norm, "variance_epsilon"):
        return normalize(norm, hidden)
    out: Tensor = norm(hidden)
    return out


def _turn(heads: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turn queries and keys, (tokens, 2, heads, dimensions), in place; in float32, as the library.

    Both halves of a head have the same sines.
    """
    half = heads.shape[-1] // 2
    old, sin = heads.float(), sin[:, None, None, :half].float()
    turned = old * cos[:, None, None].float()
    turned[..., :half].addcmul_(old[..., half:], sin, value=-1)
    turned[..., half:].addcmul_(old[..., :half], sin)
    heads.copy_(turned)


def _attend(heads: Tensor, bounds: Tensor, scale: float) -> Tensor:
    """Return the attention within each window, (tokens, dimensions).

    `heads` are queries, keys and values, (tokens, 3, heads, dimensions). All windows of one length
    are one call; the library's default takes them one by one, 2,468 calls for a picture of
    1148×840. They lie one behind the other, and `bounds` are where they begin and end.
    """
    out = heads.new_empty(len(heads), *heads.shape[2:])
    for length, tokens in _group(bounds):
        windows = heads[tokens].view(-1, length, *heads.shape[1:])
        queries, keys, values = windows.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(queries, keys, values, scale=scale)
        out[tokens] = seen.transpose(1, 2).flatten(0, 1)
    return out.flatten(1)


def attend_in_windows(
    module: object, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, **how: Any
) -> tuple[Tensor, None]:
    """Return the same for a block that is not as we know it, (1, tokens, heads, dimensions).

    `query`, `key` and `value` are (1, heads, tokens, dimensions), with the bounds `cu_seq_lens_q`.
    """
    heads = torch.stack((query[0], key[0], value[0])).permute(2, 0, 1, 3)
    seen = _attend(heads, how["cu_seq_lens_q"], how["scaling"])
    return seen.view(1, len(heads), *heads.shape[2:]), None


def _group(bounds: Tensor) -> list[tuple[int, Tensor | slice]]:
    """Return the lengths of windows, each with the tokens of all windows of that length.

    They are kept with the bounds: every layer asks, and each look at them waits for the device.
    Where all are of one length, no token needs to be copied.
    """
    kept: list[tuple[int, Tensor | slice]] | None = getattr(bounds, "groups", None)
    if kept is None:
        ends = bounds.tolist()
        windows = [torch.arange(a, b) for a, b in pairwise(ends) if a < b]
        lengths = dict.fromkeys(len(one) for one in windows)
        groups = ((n, torch.cat([one for one in windows if len(one) == n])) for n in lengths)
        kept = [(n, tokens.to(bounds.device)) for n, tokens in groups]
        if len(kept) == 1:
            kept = [(kept[0][0], slice(None))]
        bounds.groups = kept  # type: ignore[attr-defined]
    return kept


def _is_known(block: Any) -> bool:
    """Say whether a block has the parts that we know, whatever release of the library made it."""
    names = {name for name, _ in block.named_children()}
    norms = [one for one in (block.norm1, block.norm2) if hasattr(one, "variance_epsilon")]
    parts = ("qkv", "proj", "num_heads", "scaling")
    known = names == {"norm1", "norm2", "attn", "mlp"} and all(map(is_known_norm, norms))
    return known and all(hasattr(block.attn, part) for part in parts)


@torch.inference_mode()
def _agree(block: Any) -> bool:
    """Say whether our way adds to states what a block adds, but for rounding in float32."""
    block = copy.deepcopy(block).float()
    size, device = block.attn.qkv.in_features, block.attn.qkv.weight.device
    random = torch.Generator().manual_seed(0)
    states = torch.randn(6, size, generator=random).to(device)
    angles = torch.randn(6, size // block.attn.num_heads // 2, generator=random).to(device)
    angles = angles.repeat(1, 2)
    how: dict[str, Any] = {
        "cu_seqlens": torch.tensor([0, 4, 6], device=device, dtype=torch.int32),
        "position_embeddings": (angles.cos(), angles.sin()),
        "max_seqlen": 4,
    }
    theirs = block(states, **how) - states
    ours = run_block(block, join_gate(block.mlp), states, **how) - states
    return bool((ours - theirs).norm() <= 1e-3 * theirs.norm())


def _speed_up_embedding(embed: Any) -> None:
    """Let patches become states by one product, where the library convolves each by itself."""
    convolution = embed.proj
    if convolution.kernel_size != convolution.stride or any(convolution.padding):
        return
    weight = convolution.weight.flatten(1)
    embed.forward = lambda patches: linear(patches.to(weight.dtype), weight, convolution.bias)
