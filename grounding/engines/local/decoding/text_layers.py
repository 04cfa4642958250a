"""The language model's layers, in fewer calls than the library's.

A step of a few tokens is so small that most of its time goes into calling, on a CPU as on a GPU.
Here a layer asks for queries, keys and values in one product, and for both halves of its gate in
another; it turns queries and keys together, writes keys and values at once, and a norm is one call.
The weights are the library's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention

Joined = tuple[Tensor, Tensor | None]
"""A weight and a bias."""


class Writes(Protocol):
    """A cache of keys and values."""

    def write(self, new: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Write one layer's new keys and values, and return all that the rows hold."""
        ...


class TextLayers:
    """Runs one checkpoint's language model."""

    def __init__(self, model: Any) -> None:
        """Join the weights in place; they take no more memory. The model has to be `fit`."""
        self._text = model.model.language_model
        self._joined = [
            (_join_heads(one.self_attn), join_gate(one.mlp)) for one in self._text.layers
        ]

    def embed(self, ids: Tensor) -> Tensor:
        """Return the hidden states of words, (rows, tokens, dimensions), of (rows, tokens)."""
        hidden: Tensor = self._text.embed_tokens(ids)
        return hidden

    def __call__(
        self,
        hidden: Tensor,
        positions: Tensor,
        weights: Tensor | None,
        cache: Writes,
        seen: Sequence[Tensor] = (),
    ) -> Tensor:
        """Return the hidden states behind the last layer, (rows, tokens, dimensions).

        `hidden` are those before the first, and the first layers add one of `seen` each to what
        they give. `positions` are (3, rows, tokens), and `weights` what attention adds, with the
        tokens once for each head of a group: (rows, 1, heads per group * tokens, length). Without
        weights the rows hold nothing else, and each token sees itself and those before it.
        """
        turns = _turns(*self._text.rotary_emb(hidden, positions))
        layers = zip(self._text.layers, self._joined, strict=True)
        for (layer, (heads, gate)), more in zip_longest(layers, seen):
            new = linear(normalize(layer.input_layernorm, hidden), *heads)
            hidden = hidden + _attend(layer.self_attn, new, turns, weights, cache)
            normed = normalize(layer.post_attention_layernorm, hidden)
            hidden = hidden + transform(layer.mlp, gate, normed)
            hidden = hidden if more is None else hidden + more
        return normalize(self._text.norm, hidden)


def weigh(model: Any, seen: Tensor) -> Tensor:
    """Return what attention adds for each token that is seen, nothing, or not: -inf.

    `seen` is (rows, 1, tokens, length). Of booleans, every layer would make these numbers anew.
    Query heads of one group stand in one row, so each token's row comes once for each of them.
    """
    config = model.config.get_text_config()
    hidden = torch.zeros_like(seen, dtype=model.dtype).masked_fill_(~seen, -torch.inf)
    return hidden.repeat(1, 1, config.num_attention_heads // config.num_key_value_heads, 1)


def is_fit(model: Any) -> bool:
    """Say whether the layers are as we know them, whatever release of the library made them."""
    text = model.model.language_model
    names = ("self_attn", "mlp", "input_layernorm", "post_attention_layernorm")
    parts = ("q_proj", "k_proj", "v_proj", "o_proj", "head_dim", "scaling")
    known = all(
        {name for name, _ in one.named_children()} == set(names)
        and all(hasattr(one.self_attn, part) for part in parts)
        for one in text.layers
    )
    norms = [getattr(one, name, None) for one in text.layers for name in names[2:]] + [text.norm]
    known = known and all(map(is_known_norm, norms))
    like = torch.zeros(1, 1, 1, device=model.device, dtype=model.dtype)
    cos, _ = text.rotary_emb(like, torch.zeros(3, 1, 1, dtype=torch.long, device=model.device))
    return known and cos.shape == (1, 1, text.layers[0].self_attn.head_dim)


def is_known_norm(norm: Any) -> bool:
    """Say whether a norm gives what ours does, but for rounding: some add one to their weights."""
    if not hasattr(norm, "variance_epsilon"):
        return False
    like = torch.linspace(-3, 2, norm.weight.numel()).to(norm.weight)
    with torch.inference_mode():
        return torch.allclose(norm(like), normalize(norm, like), rtol=0.02)


def join(parts: Sequence[Any]) -> Joined:
    """Return the weight and bias that give what linear layers give, side by side.

    The layers' own are shares of them from now on.
    """
    biases = [part.bias for part in parts if part.bias is not None]
    return _share([part.weight for part in parts]), _share(biases) if biases else None


def _join_heads(attention: Any) -> Joined:
    """Return what gives queries, keys and values."""
    return join((attention.q_proj, attention.k_proj, attention.v_proj))


def join_gate(network: Any) -> Joined | None:
    """Return both halves of a gate, joined; None where a network has none."""
    if not hasattr(network, "gate_proj"):
        return None
    return join((network.gate_proj, network.up_proj))


def _share(parts: Sequence[Parameter]) -> Tensor:
    """Return the parts as one tensor, in which they lie from now on."""
    whole = torch.cat([one.data for one in parts])
    shares = torch.split(whole, [len(one) for one in parts])
    for one, share in zip(parts, shares, strict=True):
        one.data = share
    return whole


def normalize(norm: Any, hidden: Tensor) -> Tensor:
    """Return what a norm makes of states; in float32 on a CPU these are the library's bits."""
    return rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)


def transform(network: Any, gate: Joined | None, normed: Tensor) -> Tensor:
    """Return what a layer's network makes of states."""
    if gate is None:
        out: Tensor = network(normed)
        return out
    opened, passed = linear(normed, *gate).chunk(2, dim=-1)
    out = network.down_proj(network.act_fn(opened) * passed)
    return out


def _turns(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cosines, and the sines by which the other half of a head counts.

    The library takes the second half times -1 instead. Both are (rows, tokens, 1, dimensions).
    """
    half = sin.shape[-1] // 2
    signed = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
    return cos.unsqueeze(2), signed.unsqueeze(2)


def _attend(
    attention: Any,
    new: Tensor,
    turns: tuple[Tensor, Tensor],
    weights: Tensor | None,
    cache: Writes,
) -> Tensor:
    """Return a layer's attention; `new` are queries, keys and values, side by side, of each token.

    With weights the queries of a group stand in one row: its few tokens are one product then.
    """
    rows, tokens, _ = new.shape
    size = attention.head_dim
    groups = attention.k_proj.out_features // size
    heads = attention.q_proj.out_features // size
    new = new.view(rows, tokens, -1, size)
    turning, values = new[:, :, :-groups], new[:, :, -groups:]
    if hasattr(attention, "q_norm"):
        parts = attention.q_norm(turning[:, :, :heads]), attention.k_norm(turning[:, :, heads:])
        turning = torch.cat(parts, dim=2)
    turned = _turn(turning, *turns)
    both = torch.stack((turned[:, :, heads:], values), dim=2)
    all_keys, all_values = cache.write(both, attention.layer_idx)
    queries = turned[:, :, :heads].transpose(1, 2)
    if weights is not None:
        queries = queries.reshape(rows, groups, -1, size)
    seen = scaled_dot_product_attention(
        queries,
        all_keys,
        all_values,
        attn_mask=weights,
        is_causal=weights is None,
        scale=attention.scaling,
        enable_gqa=weights is None,
    )
    by_token = seen.reshape(rows, heads, tokens, size).transpose(1, 2)
    out: Tensor = attention.o_proj(by_token.reshape(rows, tokens, -1))
    return out


def _turn(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each head by its token's position."""
    half = heads.shape[-1] // 2
    other = torch.cat((heads[..., half:], heads[..., :half]), dim=-1)
    return torch.addcmul(heads * cos, other, sin)
