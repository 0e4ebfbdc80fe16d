"""Attention."""

import numpy as np
from scipy import special

from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import bools, floats

from .dropout import by_seed


def _masked_softmax(x, dim):
    if not x.size:
        return x
    with np.errstate(all="ignore"):
        return np.nan_to_num(special.softmax(x, axis=dim))


def _torch_masked_softmax(x, dim):
    masked = (x == -np.inf).all(dim, keepdim=True)
    return x.masked_fill(masked, 0.0).softmax(dim) * ~masked


def _attention(q, k, v, mask=None, kept=None, keep_scale=1.0, is_causal=False, scale=None, enable_gqa=False):
    if enable_gqa:
        k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], axis=-3) for x in (k, v))
    scores = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    p = _masked_softmax(scores, -1)
    return (p if kept is None else p * kept * keep_scale) @ v


def _torch_attention(q, k, v, mask=None, kept=None, keep_scale=1.0, is_causal=False, scale=None, enable_gqa=False):
    import torch

    if kept is None:
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    p = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
    return (p * kept * keep_scale) @ v


def _attention_samples():
    q, k, v = floats((1, 2, 2)), floats((1, 3, 2), seed=1), floats((1, 3, 2), seed=2)
    hidden = np.array([[True, False, True], [False, False, False]])
    return [
        Sample(q, k, v),
        Sample(q, k, v, is_causal=True, scale=0.3),
        Sample(q, k, v, floats((2, 3), seed=3)),
        Sample(q, k, v, hidden),
        Sample(q, k, v, floats((1, 3), seed=3)),
        Sample(q, k, v, None, bools((1, 2, 3)), 2.0),
        Sample(q[0], k[0], v[0]),
        Sample(floats((2, 2, 2)), k, v, enable_gqa=True),
        Sample(floats((2, 2, 2)), floats((2, 3, 2), seed=1), floats((2, 3, 1), seed=2), hidden),
    ]


def _attention_by_seed(q, k, v, mask=None, seed=0, p=0.0, is_causal=False, scale=None, enable_gqa=False):
    shape = (*np.broadcast_shapes(q.shape[:-2], () if mask is None else mask.shape[:-2]), q.shape[-2], k.shape[-2])
    kept = by_seed(np.ones(shape), seed, p) != 0
    return _attention(q, k, v, mask, kept, 1 / (1 - p), is_causal, scale, enable_gqa)


def _attention_by_seed_samples():
    q, k, v = floats((1, 2, 2)), floats((1, 3, 2), seed=1), floats((1, 3, 2), seed=2)
    return [
        Sample(q, k, v, None, 5, 0.25),
        Sample(q, k, v, floats((2, 3), seed=3), seed=0xFEDCBA9876543210, p=0.5, scale=0.3),
        Sample(floats((2, 2, 2)), k, v, seed=7, p=0.4, is_causal=True, enable_gqa=True),
    ]


RECORDS = [
    OpRecord(
        "attention_by_seed", samples=_attention_by_seed_samples, reference=_attention_by_seed, grad_tolerance=3e-5
    ),
    OpRecord(
        "masked_softmax",
        samples=lambda: [
            Sample(floats((2, 3)), 1),
            Sample(floats((2, 2, 2)), dim=-2),
            Sample(np.zeros((2, 0)), -1),
        ],
        reference=_masked_softmax,
        torch=_torch_masked_softmax,
    ),
    OpRecord(
        "causal_mask",
        samples=lambda: [Sample(floats((2, 3)), 3, 3), Sample(floats(1), rows=2, columns=4)],
        reference=lambda x, rows, columns: np.tri(rows, columns, dtype=bool),
        order=0,
    ),
    OpRecord(
        "scaled_dot_product_attention",
        samples=_attention_samples,
        reference=_attention,
        torch=_torch_attention,
        grad_tolerance=3e-5,
        close="the kernel scales and sums in another order",
    ),
]
