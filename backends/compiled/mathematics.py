"""Elementary functions of float32 for kernels, as polynomials that compilers turn into vector code.

The standard library's are scalar calls, one element at a time. Each docstring states the largest error, which
tests/test_compiled.py measures against float64.
"""

from __future__ import annotations

import numpy as np

from ..hashing import GOLDEN, MULTIPLIERS
from .build import inlined
from .intrinsics import bits, from_bits, power_of_two

__all__ = ["erf", "exp", "expm1", "hashed", "log", "log1p", "sigmoid", "softplus", "tanh"]

f4 = np.float32
_FIRST, _SECOND = MULTIPLIERS


@inlined
def hashed(index, low, high):
    """32 random bits for the number of an element and two words of a seed, all uint32: hashing.py's formula."""
    h = np.uint32(index * np.uint32(GOLDEN)) ^ low
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(_FIRST)) ^ high
    h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(_SECOND))
    return h ^ (h >> np.uint32(16))


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


@inlined(fast="contract afn arcp nsz")
def expm1(x):
    """e^x - 1, near 0 as well, to 2.2e-7 of its value; -1 below -87.3, infinity above 88.37, NaN for NaN.

    As `exp`, with 2^n (e^r - 1) + (2^n - 1) in that order: a compiler that reorders makes 2^n e^r - 1 of it.
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
    y = y * (r * r) + r
    scale = power_of_two(np.int32(n))
    y = y * scale + (scale - f4(1))
    y = f4(-1) if x < f4(-87.3) else y
    return f4(np.inf) if x > f4(88.37) else y


@inlined(fast="contract afn arcp nsz")
def tanh(x):
    """tanh(x) to 3e-7 of its value: (e^2x - 1) / (e^2x + 1); 1 and -1 at the infinities, NaN for NaN."""
    t = expm1(f4(2) * min(x, f4(10)))
    return t / (t + f4(2))


@inlined
def sigmoid(x):
    """1 / (1 + e^-x) to 2.5e-7 of its value above -87; 0 and 1 at the infinities, NaN for NaN."""
    return f4(1) / (f4(1) + exp(-x))


@inlined
def erf(x):
    """erf(x) to 4e-7 of its value; 1 and -1 beyond 3.95, NaN for NaN.

    x times a quotient of polynomials of degree 5 in x^2, fitted by weighted least squares (their own error is 2.1e-8).
    """
    a = min(max(x, f4(-3.95)), f4(3.95))
    z = a * a
    p = f4(2.0259044811647005e-06)
    p = p * z + f4(0.0002846860446462158)
    p = p * z + f4(0.0038081212914711096)
    p = p * z + f4(0.052875319167249676)
    p = p * z + f4(0.19154949002531926)
    p = p * z + f4(1.1283791437632955)
    q = f4(3.7831675170305987e-05)
    q = q * z + f4(0.0011707145344790756)
    q = q * z + f4(0.015055009559920896)
    q = q * z + f4(0.11455926764766514)
    q = q * z + f4(0.5030889914816116)
    q = q * z + f4(1)
    y = a * (p / q)
    y = f4(1) if x >= f4(3.95) else y
    return f4(-1) if x <= f4(-3.95) else y


@inlined(fast="contract afn arcp nsz")
def _log_of(f, n):
    """log(2^n (1 + f)) for f in [√½ - 1, √2 - 1] (Cephes: Moshier 1989)."""
    z = f * f
    y = f4(7.0376836292e-2)
    y = y * f + f4(-1.1514610310e-1)
    y = y * f + f4(1.1676998740e-1)
    y = y * f + f4(-1.2420140846e-1)
    y = y * f + f4(1.4249322787e-1)
    y = y * f + f4(-1.6668057665e-1)
    y = y * f + f4(2.0000714765e-1)
    y = y * f + f4(-2.4999993993e-1)
    y = y * f + f4(3.3333331174e-1)
    y = y * f * z
    y = y + n * f4(-2.12194440e-4)
    y = y - f4(0.5) * z
    return f + y + n * f4(0.693359375)


@inlined(fast="contract afn arcp nsz")
def log(x):
    """log(x) to 2e-7 of its value (of 1 near 1, where it is exact at 1); -inf at 0, NaN below it and for NaN."""
    tiny = x < f4(1.17549435e-38)
    scaled = x * f4(8388608) if tiny else x
    b = bits(scaled) - np.int32(0x3F3504F3)
    n = f4(b >> np.int32(23)) - (f4(23) if tiny else f4(0))
    f = from_bits((b & np.int32(0x007FFFFF)) + np.int32(0x3F3504F3)) - f4(1)
    y = _log_of(f, n)
    y = x if x == f4(np.inf) else y
    y = f4(-np.inf) if x == f4(0) else y
    return y if x >= f4(0) else f4(np.nan)


@inlined(fast="contract afn arcp nsz")
def log1p(x):
    """log(1 + x), near 0 as well, to 3e-7 of its value; -inf at -1, NaN below it and for NaN.

    u = 1 + x is rounded; what it lost, divided by u, is added (as a first order term).
    """
    u = f4(1) + x
    lost = x - (u - f4(1))
    y = log(u) + lost / u
    y = x if x == f4(np.inf) else y
    return f4(-np.inf) if u == f4(0) else y


@inlined
def softplus(x):
    """log(1 + e^x) to 4e-7 of its value: max(x, 0) + log1p(e^-|x|); 0 and infinity at the infinities, NaN for NaN."""
    return (f4(0) if x < f4(0) else x) + log1p(exp(-abs(x)))
