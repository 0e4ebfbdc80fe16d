"""nn.attention.flex_attention: scores that a function changes, pairs that a function picks."""

import math

import numpy as np
import pytest

import chainrule
from chainrule import tensor
from chainrule.nn import functional as F
from chainrule.nn.attention.flex_attention import (
    AuxRequest,
    BlockMask,
    and_masks,
    create_block_mask,
    create_mask,
    flex_attention,
    noop_mask,
    or_masks,
)
from chainrule.testing import assert_close, gradcheck, samples


def causal(b, h, q_idx, kv_idx):
    return q_idx >= kv_idx


def near(b, h, q_idx, kv_idx):
    return (q_idx - kv_idx).abs() <= 2


def heads(queries=6, keys=8, query_heads=4, key_heads=4):
    shapes = [(2, query_heads, queries, 3), (2, key_heads, keys, 3), (2, key_heads, keys, 5)]
    return [tensor(samples.floats(shape, seed=i)) for i, shape in enumerate(shapes)]


def by_loops(query, key, value, score, kept):
    """Attention over each pair in turn."""
    q, k, v = (t.numpy() for t in (query, key, value))
    out = np.zeros((*q.shape[:3], v.shape[3]))
    for b, h, i in np.ndindex(*q.shape[:3]):
        pairs = [j for j in range(k.shape[2]) if kept(b, h, i, j)]
        weights = [math.exp(score(q[b, h, i] @ k[b, h, j] / math.sqrt(3), b, h, i, j)) for j in pairs]
        for weight, j in zip(weights, pairs, strict=True):
            out[b, h, i] += weight / sum(weights) * v[b, h, j]
    return tensor(out)


def test_plain_is_scaled_dot_product_attention():
    q, k, v = heads()
    assert_close(flex_attention(q, k, v), F.scaled_dot_product_attention(q, k, v))
    assert_close(flex_attention(q, k, v, scale=0.3), F.scaled_dot_product_attention(q, k, v, scale=0.3))
    q, k, v = heads(key_heads=2)
    wide = [t.repeat_interleave(2, dim=1) for t in (k, v)]
    assert_close(flex_attention(q, k, v, enable_gqa=True), F.scaled_dot_product_attention(q, *wide))


def test_each_pair_is_asked():
    q, k, v = heads()
    bias = tensor(samples.floats((4, 20), seed=9))

    def score(s, b, h, q_idx, kv_idx):
        return s * (1 + b) + bias[h, q_idx - kv_idx + 10]

    def kept(b, h, q_idx, kv_idx):
        return (q_idx >= kv_idx - h) & (q_idx != 2)

    found = flex_attention(q, k, v, score_mod=score, block_mask=create_block_mask(kept, 2, 4, 6, 8, BLOCK_SIZE=4))
    plain = bias.numpy()
    expected = by_loops(q, k, v, lambda s, b, h, i, j: s * (1 + b) + plain[h, i - j + 10], kept)
    assert_close(found, expected)
    assert (found[:, :, 2] == 0).all()  # no pair is left of that query


def test_gradients():
    q, k, v = (t[:, :2, :3].requires_grad_() for t in heads())
    bias = tensor(samples.floats((2, 3), seed=4), requires_grad=True)
    mask = create_block_mask(causal, None, None, 3, 3)
    gradcheck(
        lambda q, k, v, bias: flex_attention(q, k, v, lambda s, b, h, i, j: s + bias[h, j], mask), [q, k, v, bias]
    )
    gradcheck(lambda q, k: flex_attention(q, k, v, block_mask=mask, return_lse=True)[1], [q, k])


@pytest.mark.parametrize("kind", [chainrule.float16, chainrule.bfloat16])
def test_scores_of_halves_are_float32(kind):
    q, k, v = (t.to(kind) for t in heads())
    q, k = q * 500, k * 500  # products beyond the largest float16
    found, lse = flex_attention(q, k, v, return_lse=True)
    expected, precise = flex_attention(q.float(), k.float(), v.float(), return_lse=True)
    assert (found.dtype, lse.dtype) == (kind, chainrule.float32)
    assert_close(found, expected.to(kind))
    assert_close(lse, precise)


def test_what_is_returned_besides():
    q, k, v = heads()
    scores = q @ k.mT / math.sqrt(3)
    out, lse = flex_attention(q, k, v, return_lse=True)
    assert_close(lse, scores.logsumexp(-1))
    again, aux = flex_attention(q, k, v, return_aux=AuxRequest(max_scores=True))
    assert_close(out, again)
    assert aux.lse is None
    assert_close(aux.max_scores, scores.amax(-1))


def test_masks():
    both, either = and_masks(causal, near), or_masks(causal, near)
    c, n = (create_mask(f, None, None, 5, 7) for f in (causal, near))
    assert c.shape == (1, 1, 5, 7)
    assert c[0, 0].tolist() == np.tri(5, 7, dtype=bool).tolist()
    assert (create_mask(both, None, None, 5, 7) == (c & n)).all()
    assert (create_mask(either, 2, 3, 5, 7) == (c | n)).all()
    assert create_mask(noop_mask, 2, None, 5, 7).all()
    of_scores = create_mask(lambda s, b, h, i, j: chainrule.where(i >= j, s, -math.inf), None, None, 5, 7)
    assert (of_scores == c).all()
    with pytest.raises(RuntimeError, match="callable"):
        and_masks(causal, True)
    with pytest.raises(TypeError, match="must return a tensor"):
        create_mask(lambda b, h, i, j: True, None, None, 5, 7)


def test_blocks():
    mask = create_block_mask(causal, None, None, 6, 6, BLOCK_SIZE=(2, 2))
    assert mask.to_dense().tolist() == [[[[1, 0, 0], [1, 1, 0], [1, 1, 1]]]]
    assert mask.kv_num_blocks.tolist() == [[[1, 1, 1]]]  # the diagonal's
    assert mask.kv_indices[..., 0].tolist() == [[[0, 1, 2]]]
    assert mask.full_kv_num_blocks.tolist() == [[[0, 1, 2]]]
    assert mask.full_q_num_blocks.tolist() == [[[2, 1, 0]]]
    assert mask.full_q_indices[..., 0, :2].tolist() == [[[1, 2]]]
    assert mask.kv_indices.dtype is chainrule.int32
    assert mask.shape == (1, 1, 6, 6)
    assert mask.sparsity() == pytest.approx(100 / 3)
    assert "shape=(1, 1, 6, 6),\n    sparsity=33.33%,\n    mask_mod=causal\n)" in repr(mask)
    assert mask.to("cpu").numel() == 36
    corner = mask._adjust(4, 3)
    assert corner.to_dense().tolist() == [[[[1, 0], [1, 1]]]]
    assert corner.seq_lengths == (4, 3)
    row = mask[:, :, -1]
    assert row.to_dense().tolist() == [[[[1, 1, 1]]]]
    again = BlockMask.from_kv_blocks(mask.kv_num_blocks, mask.kv_indices, BLOCK_SIZE=2)
    assert again.to_dense().tolist() == [[[[1, 0, 0], [0, 1, 0], [0, 0, 1]]]]
    uneven = create_block_mask(noop_mask, None, None, 3, 4, BLOCK_SIZE=2)
    assert uneven.full_kv_num_blocks.tolist() == [[[2, 0]]]  # a block that reaches over the end is kept in part
    assert (
        create_block_mask(noop_mask, None, None, 4, 4, BLOCK_SIZE=2, separate_full_blocks=False).kv_num_blocks.sum()
        == 4
    )


def test_errors():
    q, k, v = heads()
    with pytest.raises(NotImplementedError, match="4D"):
        flex_attention(q[0], k[0], v[0])
    with pytest.raises(ValueError, match="enable_gqa=True"):
        flex_attention(q, k[:, :2], v[:, :2])
    with pytest.raises(ValueError, match="multiple"):
        flex_attention(q, k[:, :3], v[:, :3], enable_gqa=True)
    with pytest.raises(ValueError, match="same dtype"):
        flex_attention(q.float(), k, v)
    with pytest.raises(ValueError, match="embedding dimension but got E=3 and E=2"):
        flex_attention(q, k[..., :2], v)
    with pytest.raises(ValueError, match="both return_lse and return_aux"):
        flex_attention(q, k, v, return_lse=True, return_aux=AuxRequest(lse=True))
    with pytest.raises(TypeError, match="score_mod must return a tensor"):
        flex_attention(q, k, v, lambda *places: None)
    with pytest.raises(ValueError, match="_adjust"):
        flex_attention(q, k, v, block_mask=create_block_mask(causal, None, None, 8, 8))
