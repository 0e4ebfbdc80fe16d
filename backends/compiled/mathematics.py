"""Elementary functions of float32 for kernels, as polynomials that compilers turn into vector code.

The standard library's are scalar calls, one element at a time. Each docstring states the largest error, which
tests/test_compiled.py measures against float64.
"""

from __future__ import annotations

import numpy as np

from .build import inlined
from .intrinsics import power_of_two

__all__ = ["exp"]

f4 = np.float32


@inlined
def exp(x):
    """e^x to 1.2e-7 of its value from -87.3 to 88.37; 0 below (nothing subnormal), infinity above, NaN for NaN.

    x = n ln 2 + r with |r| <= ln(2)/2, and a polynomial of degree 6 for e^r (Cephes: Moshier 1989).
    """
    inside = min(max(x, f4(-87.3)), f4(88.37))
    n = np.floor(inside * f4(1.44269504) + f4(0.5))
    r = inside - n * f4(0.693359375)
    r = r + n * f4(2.12194440e-4)
    y = f4(1.9875691500e-4)
    y = y * r + f4(1.3981999507e-3)
    y = y * r + f4(8.3334519073e-3)
    y = y * r + f4(4.1665795894e-2)
    y = y * r + f4(1.6666665459e-1)
    y = y * r + f4(5.0000001201e-1)
    y = y * r * r + r + f4(1)
    y = y * power_of_two(np.int32(n))
    y = f4(0) if x < f4(-87.3) else y
    return f4(np.inf) if x > f4(88.37) else y
