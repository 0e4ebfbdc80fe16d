"""Arithmetic of two operands, and extrema of two."""

import numpy as np
from scipy import special

from chainrule.testing import OpRecord, Sample, Tie, binary, unary
from chainrule.testing.samples import empty, floats, integers, positive, scalar


def _pair(lo=-2.0, hi=2.0):
    """Values and others that nowhere meet."""
    return floats((2, 3), lo, hi, seed=1), floats((2, 3), lo, hi, seed=2) + 0.03


def _pow_samples():
    base, exponent = positive((2, 3)), floats((2, 3))
    whole = [Sample(floats((2, 3), avoid=(0,)), p) for p in (0, 1, 2, 3, 4, -1, -2, 2.0, 3.0, -1.0)]
    at_zero = [Sample(np.array([0.0, -1.5, 2.0]), p) for p in (0, 1, 2, 3, 4, 2.0)]
    return [
        Sample(base, exponent),
        Sample(positive((2, 1)), floats((3,))),
        Sample(positive((4,)), np.array([0.0, 1.0, 2.0, -1.0])),
        Sample(scalar(1.3), scalar(-0.4)),
        Sample(empty((0, 3)), empty((3,))),
        Sample(positive((2, 2)), 0.5),
        Sample(positive((2, 2)), -1.7),
        Sample(2, floats((2, 2))),
        Sample(0.3, floats((2, 2))),
        Sample(1, floats((2, 2))),
        *whole,
        *at_zero,
    ]


def _quotient(name, torch, **fields):
    """The record of a function with steps where the quotient is whole."""
    quotients = floats((2, 3), -2, 2, avoid=(-2, -1, 0, 1, 2), gap=0.2)
    return OpRecord(
        name,
        samples=lambda: [
            Sample(quotients * 0.8, np.full((2, 3), 0.8)),
            Sample(quotients * 0.8, np.full((1, 3), 0.8)),
            Sample(quotients * -1.3, -1.3),
            Sample(1.7, quotients + 2.3),
            Sample(scalar(1.7), scalar(0.8)),
            Sample(empty((0, 3)), empty((3,))),
            Sample(integers((2, 3), -9, 9), integers((3,), 1, 5, seed=1)),
            Sample(integers((2, 3), -9, 9), -4),
            Sample(17, integers((2, 3), 1, 5)),
        ],
        reference=getattr(np, name),
        torch=torch,
        **fields,
    )


def _trunc_divide(a, b):
    return np.trunc(a / b)


def _torch_div(mode):
    def call(a, b):
        import torch

        return torch.div(a, b, rounding_mode=mode)

    return call


def _torch_named(name):
    """A function of torch whose operands may be numbers here and must be tensors there."""

    def call(a, b):
        import torch

        a, b = (torch.as_tensor(np.asarray(x)) if isinstance(x, (int, float)) else x for x in (a, b))
        return getattr(torch, name)(a, b)

    return call


def _torch_pow(a, b):
    """torch.pow, without its mask of exponents 0, which loses the mixed second derivative there."""
    import torch

    if isinstance(b, torch.Tensor) and isinstance(a, torch.Tensor) and (b == 0).any():
        return torch.exp(b * torch.log(a))
    return torch.pow(a, b)


def _power(a, b):
    return np.power(float(a) if isinstance(a, int) else a, b)


def _clamp(x, low=None, high=None):
    return np.minimum(np.maximum(x, -np.inf if low is None else low), np.inf if high is None else high)


RECORDS = [
    binary("add", np.add),
    binary("sub", np.subtract),
    binary("mul", np.multiply),
    binary("div", np.divide, domain=((-2, 2), (0.4, 2))),
    unary("neg", np.negative),
    unary("reciprocal", np.reciprocal, domain=(0.4, 3)),
    unary("square", np.square),
    OpRecord(
        "addcmul",
        samples=lambda: [
            Sample(floats((2, 3)), floats((2, 3), seed=1), floats((2, 3), seed=2)),
            Sample(floats((2, 3)), floats((3,), seed=1), floats((2, 1), seed=2), value=0.5),
        ],
        reference=lambda x, a, b, value=1: x + value * a * b,
        torch="addcmul",
    ),
    OpRecord(
        "addcdiv",
        samples=lambda: [
            Sample(floats((2, 3)), floats((2, 3), seed=1), positive((2, 3), seed=2)),
            Sample(floats((2, 3)), floats((3,), seed=1), positive((2, 1), seed=2), value=-2),
        ],
        reference=lambda x, a, b, value=1: x + value * a / b,
        torch="addcdiv",
    ),
    OpRecord(
        "lerp",
        samples=lambda: [
            Sample(floats((2, 3)), floats((2, 3), seed=1), floats((2, 3), 0, 1, seed=2, avoid=(0.5,))),
            Sample(floats((2, 1)), floats((3,), seed=1), 0.25),
            Sample(floats((2, 3)), floats((2, 3), seed=1), 0.75),
            Sample(floats((2, 3)), floats((2, 3), seed=1), scalar(0.6)),
        ],
        reference=lambda a, b, w: a + w * (b - a),
        torch="lerp",
    ),
    _quotient("floor_divide", _torch_div("floor")),
    OpRecord(
        "trunc_divide",
        samples=lambda: [
            Sample(floats((2, 3), avoid=(-1.6, -0.8, 0, 0.8, 1.6)), 0.8),
            Sample(floats((2, 1)), floats((3,), 0.7, 1, seed=1)),
            Sample(integers((2, 3), -9, 9), 4),
        ],
        reference=lambda a, b: _trunc_divide(a, b).astype(a.dtype),
        torch=_torch_div("trunc"),
    ),
    _quotient("remainder", "remainder"),
    _quotient("fmod", _torch_named("fmod")),
    OpRecord(
        "gcd",
        samples=lambda: [Sample(integers((2, 3), -30, 30), 12)],
        reference=np.gcd,
        torch=_torch_named("gcd"),
        order=0,
    ),
    OpRecord(
        "lcm",
        samples=lambda: [Sample(integers((2, 3), -9, 9), 4)],
        reference=np.lcm,
        torch=_torch_named("lcm"),
        order=0,
    ),
    OpRecord("pow", samples=_pow_samples, reference=_power, torch=_torch_pow),
    binary("ldexp", lambda a, b: a * 2.0**b, scalars=False),
    binary(
        "xlogy",
        special.xlogy,
        domain=((-2, 2), (0.3, 3)),
        ties=[
            Tie(np.array([0.0, 0.0, 1.5]), np.array([0.0, 2.0, 2.0]), grads=[[0, np.log(2), np.log(2)], [0, 0, 0.75]])
        ],
    ),
    binary("logaddexp", np.logaddexp, scalars=False),
    binary("logaddexp2", np.logaddexp2, scalars=False),
    binary(
        "hypot",
        np.hypot,
        domain=((0.3, 2), (-2, -0.3)),
        scalars=False,
        ties=[Tie(np.zeros(2), np.array([0.0, 2.0]), grads=[[0, 0], [0, 1]])],
    ),
    binary(
        "atan2",
        np.arctan2,
        domain=((0.3, 2), (-2, 2)),
        scalars=False,
        ties=[Tie(np.zeros(2), np.array([0.0, 2.0]), grads=[[0, 0.5], [0, 0]])],
    ),
    binary("copysign", np.copysign, avoid=(0,), ties=[Tie(np.zeros(2), np.array([1.0, -1.0]), grads=[[0, 0], [0, 0]])]),
    OpRecord(
        "heaviside",
        samples=lambda: [
            Sample(floats((2, 3), avoid=(0,)), floats((3,), seed=1)),
            Sample(floats((2, 3), avoid=(0,)), scalar(0.5)),
        ],
        reference=np.heaviside,
        torch="heaviside",
        ties=[Tie(np.array([0.0, 1.0]), np.array([0.5, 0.5]), grads=[[0, 0], [1, 0]])],
    ),
    OpRecord("nextafter", samples=lambda: [Sample(*_pair())], reference=np.nextafter, torch="nextafter", order=1),
    *[
        OpRecord(
            name,
            samples=lambda: [
                Sample(*_pair()),
                Sample(floats((2, 1)), floats((3,), -1.9, 1.9, seed=4)),
                Sample(scalar(0.3), scalar(-1.1)),
                Sample(empty((0, 3)), empty((3,))),
            ],
            reference=getattr(np, name),
            torch=name,
            ties=[Tie(np.array([1.0, 0.0]), np.array([1.0, 2.0]), grads=grads)],
        )
        for name, grads in [
            ("maximum", [[0.5, 0], [0.5, 1]]),
            ("minimum", [[0.5, 1], [0.5, 0]]),
            ("fmax", [[0.5, 0], [0.5, 1]]),
            ("fmin", [[0.5, 1], [0.5, 0]]),
        ]
    ],
    OpRecord(
        "clamp",
        samples=lambda: [
            Sample(floats((2, 3), avoid=(-0.7, 1.1)), -0.7, 1.1),
            Sample(floats((2, 3), avoid=(-0.7,)), min=-0.7),
            Sample(floats((2, 3), avoid=(0.7,)), max=0.7),
            Sample(floats((2, 3)), floats((3,), -1, 0, seed=5), floats((2, 1), 0.1, 1, seed=6)),
            Sample(floats((2, 3)), floats((2, 3), 0.5, 1.5, seed=5), floats((3,), -0.4, 1.2, seed=7)),
            Sample(integers((2, 3)), -1, 2),
        ],
        large=lambda: [Sample(floats((130, 70), avoid=(-0.7, 1.1)), -0.7, 1.1)],
        reference=lambda x, *bounds, min=None, max=None: _clamp(x, *bounds) if bounds else _clamp(x, min, max),
        torch="clamp",
        ties=[
            Tie(np.array([-1.0, 0.0, 1.0]), -1, 1, grads=[[0, 1, 0]]),
            Tie(np.array([0.0, 2.0]), np.array([0.0, 3.0]), np.array([1.0, 1.0]), grads=[[0, 0], [1, 0], [0, 1]]),
        ],
    ),
]
