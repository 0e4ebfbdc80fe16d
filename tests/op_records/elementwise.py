"""Functions of one operand."""

import numpy as np
from scipy import special

from chainrule.testing import OpRecord, Sample, Tie, unary
from chainrule.testing.samples import bools, empty, floats, integers, scalar

SPECIAL = np.array([0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan])


def _test(name, reference=None):
    """The record of a test of each element."""
    return OpRecord(
        name,
        samples=lambda: [Sample(SPECIAL), Sample(integers((2, 3))), Sample(scalar(np.inf)), Sample(empty((0, 3)))],
        reference=reference or getattr(np, name),
        torch=name,
        order=0,
    )


def _sinc_derivative(x, n):
    """Central differences of NumPy's sinc, refined by Richardson's extrapolation."""
    if n == 0:
        return np.sinc(x)

    def slope(h):
        return (_sinc_derivative(x + h, n - 1) - _sinc_derivative(x - h, n - 1)) / (2 * h)

    return (64 * slope(0.05) - 20 * slope(0.1) + slope(0.2)) / 45


def _torch_sinc(x):
    """torch.sinc, with the second derivative right at 0 too, where PyTorch gives 0 for -π²/3."""
    import torch

    near, square = x.abs() < 0.01, (np.pi * x) ** 2
    return torch.where(near, 1 - square / 6 + square**2 / 120, torch.sinc(torch.where(near, 1, x)))


def _polygamma(n, x):
    """SciPy's for x > 0; below, by the recurrence from above 0."""
    if n == 0:
        return special.digamma(x)
    total = np.zeros_like(x)
    while (x < 0).any():
        total = np.where(x < 0, total + x ** -(n + 1.0), total)
        x = np.where(x < 0, x + 1, x)
    return special.polygamma(n, x) + (-1) ** (n + 1) * special.factorial(n) * total


WHOLE, HALVES = (-2, -1, 0, 1, 2), (-1.5, -0.5, 0.5, 1.5)

RECORDS = [
    unary("exp", np.exp),
    unary("exp2", np.exp2),
    unary("expm1", np.expm1),
    unary("log", np.log, domain=(0.2, 3)),
    unary("log2", np.log2, domain=(0.2, 3)),
    unary("log10", np.log10, domain=(0.2, 3)),
    unary("log1p", np.log1p, domain=(-0.7, 3)),
    unary("sqrt", np.sqrt, domain=(0.3, 3)),
    unary("rsqrt", lambda x: 1 / np.sqrt(x), domain=(0.3, 3)),
    unary("cbrt", np.cbrt, domain=(0.3, 3), torch=lambda x: x ** (1 / 3)),
    unary("sin", np.sin),
    unary("cos", np.cos),
    unary("tan", np.tan, domain=(-1.2, 1.2)),
    unary("asin", np.arcsin, domain=(-0.8, 0.8)),
    unary("acos", np.arccos, domain=(-0.8, 0.8)),
    unary("atan", np.arctan),
    unary("sinh", np.sinh),
    unary("cosh", np.cosh),
    unary("tanh", np.tanh),
    unary("asinh", np.arcsinh),
    unary("acosh", np.arccosh, domain=(1.3, 3)),
    unary("atanh", np.arctanh, domain=(-0.8, 0.8)),
    unary("deg2rad", np.deg2rad),
    unary("rad2deg", np.rad2deg),
    OpRecord(
        "sinc",
        samples=lambda: [Sample(floats((2, 3))), Sample(np.array([0.0, 1e-9, -1e-3, 1.0, 3.0])), Sample(scalar(0.0))],
        reference=np.sinc,
        torch=_torch_sinc,
        ties=[Tie(np.zeros(2), grads=[[0, 0]])],
    ),
    OpRecord(
        "sinc_derivative",
        samples=lambda: [Sample(np.array([0.0, 0.4, -0.97, 0.999, 1.001, -2.5, 6.0]), n=n) for n in (0, 1, 2)],
        reference=_sinc_derivative,
        tolerance=1e-5,
    ),
    unary("abs", np.abs, avoid=(0,), ties=[Tie(np.array([0.0, -1.0]), grads=[[0, -1]])]),
    OpRecord(
        "sign",
        samples=lambda: [Sample(floats((2, 3), avoid=(0,))), Sample(integers((2, 3))), Sample(bools((2, 3)))],
        reference=lambda x: x if x.dtype == bool else np.sign(x),
        torch="sign",
        ties=[Tie(np.zeros(2), grads=[[0, 0]])],
    ),
    unary("ceil", np.ceil, avoid=WHOLE),
    unary("floor", np.floor, avoid=WHOLE),
    unary("trunc", np.trunc, avoid=WHOLE),
    OpRecord(
        "round",
        samples=lambda: [
            Sample(floats((2, 3), avoid=HALVES)),
            Sample(floats((2, 3), 0.16, 0.24), decimals=1),
            Sample(floats((2, 3), -40, 40, avoid=(-35, -25, -15, -5, 5, 15, 25, 35)), decimals=-1),
            Sample(integers((2, 3))),
        ],
        reference=np.round,
        torch="round",
    ),
    unary("frac", lambda x: x - np.trunc(x), avoid=WHOLE),
    _test("signbit"),
    _test("isnan"),
    _test("isinf"),
    _test("isfinite"),
    _test("isposinf"),
    _test("isneginf"),
    OpRecord(
        "nan_to_num",
        samples=lambda: [
            Sample(floats((2, 3))),
            Sample(integers((2, 3))),
            Sample(floats((2, 3)), nan=1.0, posinf=2.0, neginf=-2.0),
        ],
        reference=lambda x, nan=0.0, posinf=None, neginf=None: np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf),
        torch="nan_to_num",
        ties=[Tie(np.array([np.nan, np.inf, -np.inf, 1.0]), posinf=3.0, neginf=-3.0, grads=[[0, 0, 0, 1]])],
    ),
    unary("sigmoid", special.expit),
    unary(
        "logit",
        lambda p, eps=None: special.logit(p if eps is None else np.clip(p, eps, 1 - eps)),
        domain=(0.05, 0.95),
        avoid=(0.2, 0.8),
        kwargs=({}, {"eps": 0.2}),
        ties=[Tie(np.array([0.2, 0.5, 0.8]), eps=0.2, grads=[[0, 4, 0]])],
    ),
    unary("erf", special.erf, tolerance=1e-14),
    unary("erfc", special.erfc, tolerance=1e-13, domain=(-4, 7)),
    unary("erfinv", special.erfinv, tolerance=1e-14, domain=(-0.95, 0.95)),
    unary("ndtr", special.ndtr, tolerance=1e-13, torch="special.ndtr", domain=(-5, 5)),
    unary("lgamma", special.gammaln, domain=(0.1, 12), tolerance=1e-14),
    OpRecord(
        "digamma",
        samples=lambda: [
            Sample(floats((2, 3), 0.2, 12)),
            Sample(floats((2, 3), -3.9, 0, avoid=(-4, -3, -2, -1, 0), gap=0.3)),
            Sample(scalar(0.8)),
        ],
        reference=special.digamma,
        torch="digamma",
        tolerance=1e-13,
    ),
    OpRecord(
        "polygamma",
        samples=lambda: (
            [Sample(n, floats((2, 3), 0.3, 14)) for n in (0, 1, 2, 4)]
            + [Sample(n, floats((2, 3), -2.9, 0, avoid=(-3, -2, -1, 0), gap=0.3)) for n in (1, 2)]
        ),
        reference=_polygamma,
        torch="polygamma",
        tolerance=1e-12,
        grad_tolerance=1e-4,
    ),
]
