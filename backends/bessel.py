"""More special functions as formulas on any array namespace `xp`: Bessel functions, incomplete gamma, zeta, tails.

As in special.py, each formula is evaluated everywhere and `xp.where` picks. Accuracy is that in float64, relative
unless said otherwise.

Sources: Abramowitz and Stegun, Handbook of Mathematical Functions, 9.1.21 (Bessel's integral), 9.2.5 to 9.2.10 (large
arguments), 9.6.10 and 9.7.1 (modified functions), 6.5.29 and 6.5.31 (incomplete gamma), 23.2.5 (zeta).
"""

from __future__ import annotations

import math
from typing import Any

from .special import (
    _BERNOULLI,
    _END,
    _MIDDLE,
    _NEAR,
    _TAIL,
    _elementwise,
    _poly,
    erfc,
    erfc_ratio,
    lgamma,
)

__all__ = ["bessel_ie", "bessel_j", "erfcx", "gammainc", "log_ndtr", "ndtri", "zeta"]

# -- tails of the normal distribution ---------------------------------------------------------------------------------


@_elementwise
def erfcx(xp: Any, x: Any) -> Any:
    """exp(x²) erfc(x), to 1e-15 for x > -1, and as accurate as exp(x²) below; inf below -26.6."""
    y = xp.abs(x)
    far = erfc_ratio(xp, y)
    near = xp.minimum(y, _NEAR)
    found = xp.where(y <= _NEAR, xp.exp(near * near) * erfc(xp, near), far)
    with_sign = xp.minimum(y, 27.0)
    return xp.where(x < 0, 2 * xp.exp(with_sign * with_sign) - found, found)


@_elementwise
def log_ndtr(xp: Any, x: Any) -> Any:
    """log of the normal distribution's area below x, to 1e-12 also where the area underflows."""
    lower = xp.minimum(x, -1.0)
    tail = xp.log(erfcx(xp, lower * -math.sqrt(0.5)) / 2) - lower * lower / 2
    return xp.where(x < -1, tail, xp.log1p(-erfc(xp, xp.maximum(x, -1.0) * math.sqrt(0.5)) / 2))


@_elementwise
def ndtri(xp: Any, p: Any) -> Any:
    """The x below which the normal distribution has the area p, to 1e-15 (AS 241): ±inf at 0 and 1, NaN outside."""
    q = p - 0.5
    r = 0.180625 - q * q
    middle = q * (_poly(r, _MIDDLE[0]) / _poly(r, _MIDDLE[1]))
    least = xp.minimum(p, 1 - p)
    r = xp.sqrt(-xp.log(xp.minimum(least, 0.5)))
    near, far = xp.minimum(r, 5.0) - 1.6, xp.minimum(xp.maximum(r, 5.0), 30.0) - 5.0
    tail = xp.where(r <= 5, _poly(near, _TAIL[0]) / _poly(near, _TAIL[1]), _poly(far, _END[0]) / _poly(far, _END[1]))
    tail = xp.where(least == 0, math.inf, tail)
    return xp.where(xp.abs(q) <= 0.425, middle, xp.where(q < 0, -tail, tail))


# -- Bessel functions -------------------------------------------------------------------------------------------------

_NODES = 64
_HANKEL = 30


def _hankel(order: int) -> list[float]:
    """a_k of the asymptotic series: Π (4n² - (2j - 1)²) / (k! 8^k)."""
    found, value = [1.0], 1.0
    for k in range(1, _HANKEL):
        value *= (4 * order * order - (2 * k - 1) ** 2) / (k * 8)
        found.append(value)
    return found


@_elementwise
def bessel_j(xp: Any, x: Any, order: int) -> Any:
    """J₀ or J₁, absolutely to 1e-15 (times x·1e-16 beyond 25).

    Up to 25 Bessel's integral 1/π ∫ cos(nθ - x sin θ) dθ by the trapezoidal rule, which converges exponentially for
    periodic functions; beyond, the first terms of Hankel's series.
    """
    y = xp.abs(x)
    near = xp.minimum(y, 25.0)
    total: Any = 0.0
    for i in range(_NODES):
        angle = 2 * math.pi * (i + 0.5) / _NODES
        total = total + xp.cos(order * angle - near * math.sin(angle))
    far = xp.maximum(y, 25.0)
    z, a = 1 / far, _hankel(order)
    p = _poly(z * z, [(-1) ** k * a[2 * k] for k in range(11)][::-1])
    q = z * _poly(z * z, [(-1) ** k * a[2 * k + 1] for k in range(11)][::-1])
    phase = far - (order / 2 + 0.25) * math.pi
    wave = xp.sqrt(2 / (math.pi * far)) * (p * xp.cos(phase) - q * xp.sin(phase))
    found = xp.where(y <= 25, total / _NODES, xp.where(y == math.inf, 0.0, wave))
    return xp.where(x < 0, -found, found) if order % 2 else found


@_elementwise
def bessel_ie(xp: Any, x: Any, order: int) -> Any:
    """exp(-|x|) I₀(x) or exp(-|x|) I₁(x), to 2e-15: the power series up to 20, Hankel's series beyond."""
    y = xp.abs(x)
    near = xp.minimum(y, 20.0)
    z = near * near / 4
    term = xp.ones_like(near) if order == 0 else near / 2
    total = term
    for k in range(1, 56):
        term = term * z / (k * (k + order))
        total = total + term
    far = xp.maximum(y, 20.0)
    series = _poly(1 / far, [(-1) ** k * v for k, v in enumerate(_hankel(order)[:25])][::-1])
    found = xp.where(y <= 20, total * xp.exp(-near), series / xp.sqrt(2 * math.pi * far))
    return xp.where(x < 0, -found, found) if order % 2 else found


# -- incomplete gamma, zeta -------------------------------------------------------------------------------------------


def gammainc(xp: Any, a: Any, x: Any, upper: bool = False) -> Any:
    """P(a, x) = 1/Γ(a) ∫₀ˣ t^(a-1) e^-t dt, or 1 - P for `upper`, to 2e-12 for a below 1000; NaN for negative input.

    The power series below x = a + 1, the continued fraction of 1 - P beyond; both go on until nothing changes.
    """
    if a.dtype.itemsize < 8:
        return gammainc(xp, a.astype("float64"), x.astype("float64"), upper).astype(a.dtype)
    a, x = a + 0 * x, x + 0 * a
    valid = (a > 0) & (x > 0) & (x < math.inf) & (a < math.inf)
    b, y = xp.where(valid, a, 1.0), xp.where(valid, x, 1.0)
    front = xp.exp(b * xp.log(y) - y - lgamma(xp, b))
    small = y < b + 1
    s, z = b, xp.where(small, y, 0.0)
    term = total = 1 / s
    for k in range(1, 4000):
        term = term * z / (s + k)
        total = total + term
        if k % 32 == 0 and not (term > total * 1e-17).any().item():
            break
    lower = front * total
    z = xp.where(small, b + 2.0, y)  # Lentz's algorithm
    n = z + 1 - b
    c, d = xp.full_like(n, 1e300), 1 / n
    h = d
    for k in range(1, 4000):
        numerator = -k * (k - b)
        n = n + 2
        d = numerator * d + n
        c = n + numerator / c
        d = 1 / xp.where(d == 0, 1e-300, d)
        step = c * d
        h = h * step
        if k % 32 == 0 and not (xp.abs(step - 1) > 2e-16).any().item():
            break
    rest = front * h
    found = xp.where(small, 1 - lower, rest) if upper else xp.where(small, lower, 1 - rest)
    ends = xp.where((x == 0) & (a > 0), 0.0, xp.where((x > 0) & (a == 0), 1.0, xp.where(x == math.inf, 1.0, math.nan)))
    ends = xp.where((a == math.inf) & (x >= 0) & (x < math.inf), 0.0, ends)
    ends = xp.where((a < 0) | (x < 0) | ((a == math.inf) & (x == math.inf)), math.nan, ends)
    return xp.where(valid, found, 1 - ends if upper else ends)


def zeta(xp: Any, s: Any, q: Any) -> Any:
    """Hurwitz's zeta function Σ (k + q)^-s, to 1e-14, for s > 1; inf at s = 1 and q = 0, -1, ..., NaN below s = 1.

    Ten terms and Euler and Maclaurin's formula for the rest. For q < 0, s must be whole.
    """
    if s.dtype.itemsize < 8:
        return zeta(xp, s.astype("float64"), q.astype("float64")).astype(s.dtype)
    s, q = s + 0 * q, q + 0 * s
    pole = (q <= 0) & (q == xp.floor(q))
    begin = xp.where(pole, 1.0, q)
    safe = xp.where(s > 1, s, 2.0)
    total: Any = 0.0
    lowest = xp.floor(begin.min()).item() if begin.size else 0.0
    steps = 10 + int(max(0.0, -lowest))
    for k in range(steps):
        total = total + xp.sign(begin + k) ** safe * xp.abs(begin + k) ** -safe
    y = begin + steps
    rising, rest, power = safe, 0.0, y ** (-safe - 1)
    for j, b in enumerate(_BERNOULLI, 1):
        rest = rest + b / math.factorial(2 * j) * rising * power
        rising = rising * (safe + 2 * j - 1) * (safe + 2 * j)
        power = power / (y * y)
    total = total + y ** (1 - safe) / (safe - 1) + 0.5 * y**-safe + rest
    total = xp.where((begin < 0) & (safe != xp.floor(safe)), math.nan, total)
    return xp.where(s == 1, math.inf, xp.where(s < 1, math.nan, xp.where(pole, math.inf, total)))
