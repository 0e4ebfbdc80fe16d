"""Normalisation."""

import numpy as np

from chainrule.testing import OpRecord, Sample, Tie
from chainrule.testing.samples import empty, floats, positive

from .dropout import by_seed

KERNEL = "the kernel sums in another order"


def _moments(x, dims):
    return x.mean(dims, keepdims=True), x.var(dims, keepdims=True)


def _torch_moments(x, dims):
    return x.mean(dims, keepdim=True), x.var(dims, correction=0, keepdim=True)


def _normalised(x, mean, var, weight=None, bias=None, eps=1e-5):
    out = (x - mean) / (var + eps) ** 0.5
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


def _normalised_samples():
    mean, var = floats((1, 2, 1), seed=1), positive((1, 2, 1))
    return [
        Sample(floats((3, 2, 2)), mean, var, floats((1, 2, 1), seed=2), floats((1, 2, 1), seed=3)),
        Sample(floats((3, 2, 2)), mean, var),
        Sample(floats((4, 2)), floats((1, 2)), positive((1, 2)), floats(2, seed=2), floats(2, seed=3), eps=0.1),
        Sample(floats((4, 2)), floats((1, 2)), positive((1, 2)), floats((1, 2), seed=2), floats((1, 2), seed=3)),
        Sample(floats((4, 2)), floats(2), positive((2,)), floats(2, seed=2), floats(2, seed=3)),
        Sample(floats((4, 3)), floats((4, 1)), positive((4, 1)), floats(3, seed=2), floats(3, seed=3)),
        Sample(empty((0, 2)), positive((1, 2), seed=1), positive((1, 2))),
    ]


def _batch_normalised(x, weight=None, bias=None, eps=1e-5):
    dims, along = (0, *range(2, x.ndim)), (1, -1, *(1,) * (x.ndim - 2))
    mean, var = _moments(x, dims)
    weight, bias = (v if v is None else v.reshape(along) for v in (weight, bias))
    return _normalised(x, mean, var, weight, bias, eps), mean, var


def _batch_norm_relu(x, weight=None, bias=None, other=None, eps=1e-5):
    out, mean, var = _batch_normalised(x, weight, bias, eps)
    return np.maximum(out if other is None else out + other, 0), mean, var


def _torch_batch_norm(x, weight=None, bias=None, eps=1e-5):
    import torch

    dims = (0, *range(2, x.ndim))
    out = torch.nn.functional.batch_norm(x, None, None, weight, bias, True, eps=eps)
    return out, *_torch_moments(x, dims)


def _torch_batch_norm_relu(x, weight=None, bias=None, other=None, eps=1e-5):
    out, mean, var = _torch_batch_norm(x, weight, bias, eps)
    return (out if other is None else out + other).relu(), mean, var


def _layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    dims = tuple(range(-len(normalized_shape), 0))
    return _normalised(x, *_moments(x, dims), weight, bias, eps)


def _add_layer_norm(x, other, sizes, weight=None, bias=None, eps=1e-5, seed=None, p=0.0, dtype=None):
    total = x + (other if seed is None else by_seed(other, seed, p))
    out = _layer_norm(total, sizes, weight, bias, eps)
    return out if dtype is None else out.astype(dtype), total


def _group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    grouped = x.reshape(x.shape[0], num_groups, -1)
    along = (-1, *(1,) * (x.ndim - 2))
    out = _normalised(grouped, *_moments(grouped, 2), eps=eps).reshape(x.shape)
    out = out if weight is None else out * weight.reshape(along)
    return out if bias is None else out + bias.reshape(along)


def _rms_norm(x, normalized_shape, weight=None, eps=None):
    dims = tuple(range(-len(normalized_shape), 0))
    eps = np.finfo(x.dtype).eps if eps is None else eps
    out = x / np.sqrt((x * x).mean(dims, keepdims=True) + eps)
    return out if weight is None else out * weight


def _local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    squares, channels = x * x, x.shape[1]
    near = [squares[:, max(c - size // 2, 0) : c + (size - 1) // 2 + 1].sum(1) / size for c in range(channels)]
    return x / (k + alpha * np.stack(near, 1)) ** beta


def _normalize(x, p=2.0, dim=1, eps=1e-12):
    return x / np.maximum((np.abs(x) ** p).sum(dim, keepdims=True) ** (1 / p), eps)


RECORDS = [
    OpRecord(
        "moments",
        samples=lambda: [
            Sample(floats((3, 2, 2)), (0, 2)),
            Sample(floats((4, 2)), (0,)),
            Sample(floats((2, 3)), dims=(1,)),
            Sample(floats((2, 2, 2, 2)), (0, 2, 3)),
        ],
        reference=_moments,
        torch=_torch_moments,
        close=KERNEL,
    ),
    OpRecord(
        "batch_normalised",
        samples=lambda: [
            Sample(floats((3, 2, 2)), floats(2, seed=2), floats(2, seed=3)),
            Sample(floats((4, 2)), floats(2, seed=2), eps=0.1),
            Sample(floats((2, 2, 1, 2))),
        ],
        reference=_batch_normalised,
        torch=_torch_batch_norm,
        close=KERNEL,
        grad_tolerance=3e-5,
    ),
    OpRecord(
        "batch_norm_relu",
        samples=lambda: [
            Sample(floats((3, 2, 2)), floats(2, seed=2), floats(2, seed=3), floats((3, 2, 2), seed=4)),
            Sample(floats((4, 2)), floats(2, seed=2), floats(2, seed=5), eps=0.1),
        ],
        reference=_batch_norm_relu,
        torch=_torch_batch_norm_relu,
        close=KERNEL,
        grad_tolerance=3e-5,
    ),
    OpRecord("normalised", samples=_normalised_samples, reference=_normalised, torch=_normalised, close=KERNEL),
    OpRecord(
        "layer_norm",
        samples=lambda: [
            Sample(floats((2, 4)), (4,), floats(4, seed=1), floats(4, seed=2)),
            Sample(floats((2, 2, 3)), (2, 3), floats((2, 3), seed=1)),
            Sample(floats((3, 4)), (4,)),
            Sample(floats((3, 4)), (4,), floats(4, seed=1), bias=floats(4, seed=2), eps=0.1),
            Sample(empty((0, 4)), (4,)),
        ],
        reference=_layer_norm,
        torch="nn.functional.layer_norm",
        close=KERNEL,
        grad_tolerance=3e-5,
    ),
    OpRecord(
        "add_layer_norm",
        samples=lambda: [
            Sample(floats((2, 4)), floats((2, 4), seed=3), (4,), floats(4, seed=1), floats(4, seed=2)),
            Sample(floats((2, 2, 3)), floats((2, 2, 3), seed=3), (2, 3), floats((2, 3), seed=1), seed=5, p=0.5),
            Sample(floats((3, 4)), floats((3, 4), seed=3), (4,), eps=0.1, seed=2**40 + 3, p=0.25),
            Sample(empty((0, 4)), empty((0, 4)), (4,)),
        ],
        reference=_add_layer_norm,
        close=KERNEL,
        grad_tolerance=3e-5,
    ),
    OpRecord(
        "group_norm",
        samples=lambda: [
            Sample(floats((2, 4, 2)), 2, floats(4, seed=1), floats(4, seed=2)),
            Sample(floats((2, 4, 2)), 1),
            Sample(floats((2, 6)), 2, floats(6, seed=1)),
            Sample(floats((1, 2, 2, 2)), num_groups=2, weight=floats(2, seed=1), bias=floats(2, seed=2), eps=0.1),
        ],
        reference=_group_norm,
        torch="nn.functional.group_norm",
        close=KERNEL,
        grad_tolerance=3e-5,
    ),
    OpRecord(
        "rms_norm",
        samples=lambda: [
            Sample(floats((2, 4)), (4,), floats(4, seed=1)),
            Sample(floats((2, 2, 3)), (2, 3), eps=0.1),
            Sample(empty((0, 4)), (4,)),
        ],
        reference=_rms_norm,
        torch="nn.functional.rms_norm",
    ),
    OpRecord(
        "local_response_norm",
        samples=lambda: [
            Sample(floats((2, 4, 2)), 3, 0.5),
            Sample(floats((1, 3, 2, 2)), size=2, alpha=0.3, beta=0.5, k=2.0),
            Sample(floats((1, 3, 2)), 1),
            Sample(empty((0, 3, 2)), 3),
        ],
        reference=_local_response_norm,
        torch="nn.functional.local_response_norm",
    ),
    OpRecord(
        "normalize",
        samples=lambda: [
            Sample(floats((2, 3))),
            Sample(floats((2, 3), avoid=(0,)), p=1.0, dim=0),
            Sample(floats((2, 3), avoid=(0,)), p=3.0, dim=-1),
        ],
        reference=_normalize,
        torch="nn.functional.normalize",
        ties=[Tie(np.zeros((1, 3)), eps=10.0, grads=[np.full((1, 3), 0.1)])],
    ),
]
