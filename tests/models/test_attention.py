import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AttentionInterface

from onlooker.memory.block import Context
from onlooker.models.attention import AttentionPass, Tail, register_attention
from onlooker.models.backbone import HeadId


def plain_attention(query: Tensor, keys: Tensor, values: Tensor, scaling: float) -> Tensor:
    """Attention by its definition, one query at a time: [n, query_heads, head_dim]."""
    heads, new, _ = query.shape
    groups, context = heads // keys.shape[0], keys.shape[1] - query.shape[1]
    out = torch.empty(new, *query.shape[::2])
    for head in range(heads):
        for row in range(new):
            seen = context + row + 1
            weights = torch.softmax(keys[head // groups, :seen] @ query[head, row] * scaling, dim=0)
            out[row, head] = weights @ values[head // groups, :seen]
    return out


@given(
    kv_heads=st.integers(1, 3),
    groups=st.integers(1, 3),
    new=st.integers(1, 6),
    context=st.integers(0, 7),
    steps=st.integers(0, 4),
)
def test_equals_the_definition(kv_heads: int, groups: int, new: int, context: int, steps: int) -> None:
    """Also over the steps that follow in a tail, and with nothing rotated."""
    random = torch.Generator().manual_seed(kv_heads * 1000 + groups * 100 + new * 10 + context)
    query = torch.randn(kv_heads * groups, new + steps, 4, generator=random)
    keys = torch.randn(kv_heads, context + new + steps, 4, generator=random)
    values = torch.randn(kv_heads, context + new + steps, 4, generator=random)
    given_context = Context(keys[None, :, :context], values[None, :, :context], context) if context else None
    tail = Tail(steps)
    bounds = [0, *range(new, new + steps + 1)]
    parts = []
    for start, end in itertools.pairwise(bounds):
        cos, sin = torch.ones(end - start, 4), torch.zeros(end - start, 4)
        state = AttentionPass(cos, sin, given_context if start == 0 else None, heads=[HeadId(0, 0)], tail=tail)
        rows = slice(context + start, context + end)
        parts.append(state.attend(0, query[:, start:end], keys[:, rows], values[:, rows], 0.3))
        assert torch.equal(state.keys[0], keys[:, rows])
        assert torch.equal(state.queries[HeadId(0, 0)], query[0, start:end])
    torch.testing.assert_close(torch.cat(parts), plain_attention(query, keys, values, 0.3), atol=1e-5, rtol=0)


def test_a_tail_allocates_once() -> None:
    tail = Tail(reserve=5)
    new = torch.randn(2, 3, 4)
    tail.start(0, None, new)
    first, _ = tail.append(0, new, new)
    place = first.data_ptr()
    for _ in range(5):
        keys, values = tail.append(0, new[:, :1], new[:, :1])
        assert keys.data_ptr() == place
    assert keys.shape == values.shape == (2, 8, 4)
    assert not tail.holds(1)


def test_registering_twice_is_one_registration() -> None:
    name = register_attention()
    first = AttentionInterface()[name]
    assert register_attention() == name
    assert AttentionInterface()[name] is first
