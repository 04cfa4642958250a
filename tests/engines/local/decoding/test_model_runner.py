"""Our attention over rows: fewer and smaller calls than the library's, and no other result."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from grounding.engines.local.decoding.model_runner import attend_in_rows


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
