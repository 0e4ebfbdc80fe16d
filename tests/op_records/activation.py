"""Activation functions."""

import numpy as np
from scipy import special

import chainrule.nn.functional as F
from chainrule.testing import OpRecord, Sample, Tie, unary
from chainrule.testing.samples import floats, integers, scalar


def _torch(name):
    return f"nn.functional.{name}"


def _elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(x))


def _tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _prelu(x, w):
    if w.ndim and x.ndim > 1 and w.size > 1:
        w = w.reshape(1, -1, *(1,) * (x.ndim - 2))
    return np.where(x > 0, x, w.reshape(()) * x if w.size == 1 else w * x)


def _maxout(x, num_pieces, dim=1):
    dim %= x.ndim
    return x.reshape(*x.shape[:dim], -1, num_pieces, *x.shape[dim + 1 :]).max(dim + 1)


def _torch_maxout(x, num_pieces, dim=1):
    dim %= x.ndim
    return x.reshape(*x.shape[:dim], -1, num_pieces, *x.shape[dim + 1 :]).amax(dim + 1)


def _torch_slope(x, w):
    import torch

    return torch.where(x > 0, x, w * x)


def _glu(x, dim=-1):
    a, b = np.split(x, 2, dim)
    return a * special.expit(b)


ZERO = np.array([0.0, 1.0, -1.0])

RECORDS = [
    unary(
        "relu",
        lambda x: np.maximum(x, 0),
        avoid=(0,),
        ties=[Tie(ZERO, grads=[[0, 1, 0]])],
        large=lambda: [Sample(integers((40, 40)))],
    ),
    unary(
        "relu6",
        lambda x: np.clip(x, 0, 6),
        torch=_torch("relu6"),
        domain=(-3, 9),
        avoid=(0, 6),
        ties=[Tie(np.array([0.0, 3.0, 6.0]), grads=[[0, 1, 0]])],
    ),
    unary(
        "hardtanh",
        lambda x, min_val=-1, max_val=1: np.clip(x, min_val, max_val),
        torch=_torch("hardtanh"),
        avoid=(-1, 1, -0.5, 1.5),
        kwargs=({}, {"min_val": -0.5, "max_val": 1.5}),
        ties=[Tie(np.array([-1.0, 0.0, 1.0]), grads=[[0, 1, 0]])],
    ),
    unary(
        "hardsigmoid",
        lambda x: np.clip(x + 3, 0, 6) / 6,
        torch=_torch("hardsigmoid"),
        domain=(-5, 5),
        avoid=(-3, 3),
        ties=[Tie(np.array([-3.0, 0.0, 3.0]), grads=[[0, 1 / 6, 0]])],
    ),
    unary(
        "leaky_relu",
        lambda x, negative_slope=0.01: np.where(x > 0, x, negative_slope * x),
        torch=_torch("leaky_relu"),
        avoid=(0,),
        call=F.leaky_relu,
        kwargs=({}, {"negative_slope": 0.3}, {"negative_slope": -0.5}, {"negative_slope": 2.0}),
        ties=[
            Tie(ZERO, grads=[[0.01, 1, 0.01]]),
            Tie(ZERO, negative_slope=-0.5, grads=[[0, 1, -0.5]]),
            Tie(ZERO, negative_slope=2.0, grads=[[1, 1, 2]]),
        ],
    ),
    OpRecord(
        "prelu_slope",
        samples=lambda: [
            Sample(floats((2, 3), avoid=(0,)), floats((2, 3), seed=1)),
            Sample(floats((2, 1), avoid=(0,)), floats((3,), seed=1)),
        ],
        large=lambda: [Sample(floats((80, 90), avoid=(0,)), np.array([w])) for w in (0.25, -0.5)],
        reference=lambda x, w: np.where(x > 0, x, w * x),
        torch=_torch_slope,
        ties=[Tie(np.zeros(3), np.array([0.25, -0.5, 2.0]), grads=[[0.25, 0, 1], [0, 0, 0]])],
    ),
    OpRecord(
        "prelu",
        samples=lambda: [
            Sample(floats((2, 3), avoid=(0,)), np.array([0.25])),
            Sample(floats((2, 3, 2), avoid=(0,)), floats((3,), seed=1)),
            Sample(floats((4,), avoid=(0,)), np.array([0.25])),
            Sample(scalar(-1.0), scalar(0.25)),
        ],
        reference=_prelu,
        torch="prelu",
    ),
    unary(
        "threshold",
        lambda x, threshold, value: np.where(x > threshold, x, value),
        torch=_torch("threshold"),
        avoid=(0.3,),
        kwargs=({"threshold": 0.3, "value": -1.0}, {"threshold": 0.3, "value": 20}),
        ties=[Tie(np.array([0.3, 1.0]), 0.3, 5, grads=[[0, 1]])],
    ),
    unary(
        "hardshrink",
        lambda x, lambd=0.5: np.where(np.abs(x) > lambd, x, 0),
        avoid=(-0.5, 0.5, -1, 1),
        kwargs=({}, {"lambd": 1.0}),
        ties=[Tie(np.array([-0.5, 0.0, 0.5, 1.0]), grads=[[0, 0, 0, 1]])],
    ),
    unary(
        "softshrink",
        lambda x, lambd=0.5: np.sign(x) * np.maximum(np.abs(x) - lambd, 0),
        torch=_torch("softshrink"),
        avoid=(-0.5, 0.5, -1, 1),
        kwargs=({}, {"lambd": 1.0}),
        ties=[Tie(np.array([-0.5, 0.0, 0.5, 1.0]), grads=[[0, 0, 0, 1]])],
    ),
    unary(
        "hardswish",
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        torch=_torch("hardswish"),
        domain=(-5, 5),
        avoid=(-3, 3),
        ties=[Tie(np.array([-3.0, 0.0, 3.0]), grads=[[0, 0.5, 1]])],
    ),
    OpRecord(
        "maxout",
        samples=lambda: [
            Sample(floats((2, 6)), num_pieces=2),
            Sample(floats((2, 2, 4)), 4, -1),
            Sample(floats((3, 4)), 3, 0),
        ],
        reference=_maxout,
        torch=_torch_maxout,
        ties=[Tie(np.array([[1.0, 1.0, 0.0, 2.0]]), 2, grads=[[[0.5, 0.5, 0, 1]]])],
    ),
    unary(
        "elu",
        _elu,
        torch=_torch("elu"),
        avoid=(0,),
        kwargs=({}, {"alpha": 0.6}, {"alpha": 1.7}),
        ties=[Tie(ZERO, alpha=0.5, grads=[[0.5, 1, 0.5 / np.e]]), Tie(ZERO, alpha=2.0, grads=[[1, 1, 2 / np.e]])],
    ),
    unary(
        "selu",
        lambda x: 1.0507009873554805 * _elu(x, 1.6732632423543772),
        avoid=(0,),
        ties=[Tie(np.zeros(2), grads=[[1.0507009873554805] * 2])],
    ),
    unary(
        "celu",
        lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(x / alpha)),
        avoid=(0,),
        kwargs=({}, {"alpha": 0.6}),
        ties=[Tie(np.zeros(2), alpha=0.5, grads=[[1, 1]])],
    ),
    OpRecord(
        "gelu",
        samples=lambda: [
            Sample(floats((2, 3))),
            Sample(floats((2, 3), -6, 6), approximate="tanh"),
            Sample(scalar(0.5)),
        ],
        reference=lambda x, approximate="none": _tanh_gelu(x) if approximate == "tanh" else x * special.ndtr(x),
        torch=_torch("gelu"),
        shapes="elementwise",
    ),
    unary("silu", lambda x: x * special.expit(x), torch=_torch("silu")),
    unary("mish", lambda x: x * np.tanh(np.logaddexp(x, 0)), torch=_torch("mish")),
    unary(
        "softplus",
        lambda x, beta=1, threshold=20: np.where(beta * x > threshold, x, np.logaddexp(beta * x, 0) / beta),
        torch=_torch("softplus"),
        avoid=(0.5,),
        kwargs=({}, {"beta": 2.0}, {"beta": 2.0, "threshold": 1.0}),
    ),
    unary("logsigmoid", special.log_expit, torch=_torch("logsigmoid")),
    unary("softsign", lambda x: x / (1 + np.abs(x)), torch=_torch("softsign"), avoid=(0,)),
    unary("tanhshrink", lambda x: x - np.tanh(x), torch=_torch("tanhshrink")),
    OpRecord(
        "glu",
        samples=lambda: [Sample(floats((2, 4))), Sample(floats((4, 3)), dim=0), Sample(floats((2, 6, 1)), 1)],
        large=lambda: [Sample(floats((80, 90))), Sample(floats((10, 20, 30)), dim=1)],
        reference=_glu,
        torch=_torch("glu"),
    ),
]
