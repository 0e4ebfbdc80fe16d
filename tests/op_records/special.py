"""Special functions of `chainrule.special` beyond those that the engine itself uses."""

import numpy as np
from scipy import special

import chainrule.special  # noqa: F401  defines the ops
from chainrule.testing import OpRecord, Sample, binary, unary
from chainrule.testing.samples import floats

FAR = np.array([-30.0, -12.0, -0.3, 0.0, 0.4, 12.0, 30.0])


def _second(name, reference, domain):
    """The record of a function of two inputs that has a gradient for the second alone."""
    return OpRecord(
        name,
        samples=lambda: [
            Sample(floats((2, 3), *domain[0]), floats((2, 3), *domain[1], seed=1)),
            Sample(floats((3,), *domain[0]), floats((2, 1), *domain[1], seed=1)),
        ],
        reference=reference,
        torch=f"special.{name}",
        differentiable=("other",),
    )


RECORDS = [
    unary("erfcx", special.erfcx, torch="special.erfcx"),
    unary("log_ndtr", special.log_ndtr, domain=(-4, 4), torch="special.log_ndtr"),
    unary("ndtri", special.ndtri, domain=(0.1, 0.9), torch="special.ndtri"),
    unary("entr", special.entr, domain=(0.2, 3), torch="special.entr"),
    unary("bessel_j0", special.j0, torch="special.bessel_j0", torch_order=0),
    unary("bessel_j1", special.j1, torch="special.bessel_j1", torch_order=0, avoid=(0,)),
    unary("i0", special.i0, torch="special.i0", avoid=(0,)),
    unary("i1", special.i1, torch="special.i1", avoid=(0,)),
    unary("i0e", special.i0e, torch="special.i0e", avoid=(0,)),
    unary("i1e", special.i1e, torch="special.i1e", avoid=(0,)),
    binary("xlog1py", special.xlog1py, domain=((-2, 2), (-0.5, 3)), torch="special.xlog1py"),
    _second("gammainc", special.gammainc, ((0.5, 4), (0.5, 5))),
    _second("gammaincc", special.gammaincc, ((0.5, 4), (0.5, 5))),
    _second("zeta", special.zeta, ((1.5, 5), (0.5, 4))),
]
