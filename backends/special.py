"""Special functions as formulas on any array namespace `xp`: error function, gamma function and their kin.

A backend whose library has them (CuPy) overrides the ops of these names. All are elementwise; floats of 16 bits are
computed in float32. Accuracy is relative unless said otherwise, in float64; in float32 it is a few units of the last
place.

Each formula is evaluated everywhere and `xp.where` picks: no index arrays, no reading back from a device.

Sources:
    W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969): erf, erfc.
    M. J. Wichura, Algorithm AS 241, Applied Statistics 37 (1988): erfinv.
    Abramowitz and Stegun, Handbook of Mathematical Functions, 6.1.33, 6.1.40, 6.3.18, 6.4.11, 23.2.9: the rest.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["digamma", "erf", "erfc", "erfinv", "lgamma", "ndtr", "polygamma"]

_EULER = 0.57721566490153286
#: Bernoulli numbers B2, B4, ... B20
_BERNOULLI = (
    1 / 6,
    -1 / 30,
    1 / 42,
    -1 / 30,
    5 / 66,
    -691 / 2730,
    7 / 6,
    -3617 / 510,
    43867 / 798,
    -174611 / 330,
)


def _elementwise(f: Callable[..., Any]) -> Callable[..., Any]:
    """Compute floats of 16 bits in float32."""

    @functools.wraps(f)
    def wide(xp: Any, x: Any, *rest: Any) -> Any:
        if x.dtype.itemsize == 2:
            return f(xp, x.astype("float32"), *rest).astype(x.dtype)
        return f(xp, x, *rest)

    return wide


def _poly(x: Any, coefficients: Sequence[float]) -> Any:
    """The polynomial in x, highest power first."""
    total: Any = coefficients[0]
    for c in coefficients[1:]:
        total = total * x + c
    return total


# -- the error function -----------------------------------------------------------------------------------------------

_A = (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3)
_B = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_C = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
)
_D = (
    1.0,
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
)
_P = (
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
)
_Q = (
    1.0,
    2.56852019228982242,
    1.87295284992346725,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)
_NEAR = 0.46875


def _erf_near(xp: Any, x: Any) -> Any:
    """erf(x) for |x| <= 0.46875 (a constant beyond)."""
    x = xp.minimum(xp.maximum(x, -_NEAR), _NEAR)
    z = x * x
    return x * (_poly(z, _A) / _poly(z, _B))


def erfc_ratio(xp: Any, y: Any) -> Any:
    """exp(y²) erfc(y) for y >= 0.46875 (a constant below)."""
    middle = xp.minimum(xp.maximum(y, _NEAR), 4.0)
    outer = xp.maximum(y, 4.0)
    z = 1 / (outer * outer)
    return xp.where(
        y <= 4.0,
        _poly(middle, _C) / _poly(middle, _D),
        (1 / math.sqrt(math.pi) - z * (_poly(z, _P) / _poly(z, _Q))) / outer,
    )


def _erfc_far(xp: Any, y: Any) -> Any:
    """erfc(y) for y >= 0.46875; exp(-y²) is split so that the rounding of y² does not matter."""
    y = xp.minimum(xp.maximum(y, _NEAR), 30.0)
    head = xp.trunc(y * 16) / 16
    decay = xp.exp(-head * head) * xp.exp((head - y) * (head + y))
    return decay * erfc_ratio(xp, y)


@_elementwise
def erf(xp: Any, x: Any) -> Any:
    """2/√π ∫₀ˣ exp(-t²) dt, to 7e-16."""
    y = xp.abs(x)
    far = 1 - _erfc_far(xp, y)
    return xp.where(y <= _NEAR, _erf_near(xp, x), xp.where(x < 0, -far, far))


@_elementwise
def erfc(xp: Any, x: Any) -> Any:
    """1 - erf(x), to 1e-15 also where it is tiny."""
    y = xp.abs(x)
    far = _erfc_far(xp, y)
    return xp.where(y <= _NEAR, 1 - _erf_near(xp, x), xp.where(x < 0, 2 - far, far))


@_elementwise
def ndtr(xp: Any, x: Any) -> Any:
    """The normal distribution's area below x, erfc(-x/√2) / 2, to 1e-15 (in the lower tail x² times 1e-16)."""
    return 0.5 * erfc(xp, x * -math.sqrt(0.5))


# Numerators and denominators of AS 241's routine PPND16: the middle, and two ranges of the tail.
_MIDDLE = (
    (
        2.5090809287301226727e3,
        3.3430575583588128105e4,
        6.7265770927008700853e4,
        4.5921953931549871457e4,
        1.3731693765509461125e4,
        1.9715909503065514427e3,
        1.3314166789178437745e2,
        3.3871328727963666080,
    ),
    (
        5.2264952788528545610e3,
        2.8729085735721942674e4,
        3.9307895800092710610e4,
        2.1213794301586595867e4,
        5.3941960214247511077e3,
        6.8718700749205790830e2,
        4.2313330701600911252e1,
        1.0,
    ),
)
_TAIL = (
    (
        7.74545014278341407640e-4,
        2.27238449892691845833e-2,
        2.41780725177450611770e-1,
        1.27045825245236838258,
        3.64784832476320460504,
        5.76949722146069140550,
        4.63033784615654529590,
        1.42343711074968357734,
    ),
    (
        1.05075007164441684324e-9,
        5.47593808499534494600e-4,
        1.51986665636164571966e-2,
        1.48103976427480074590e-1,
        6.89767334985100004550e-1,
        1.67638483018380384940,
        2.05319162663775882187,
        1.0,
    ),
)
_END = (
    (
        2.01033439929228813265e-7,
        2.71155556874348757815e-5,
        1.24266094738807843860e-3,
        2.65321895265761230930e-2,
        2.96560571828504891230e-1,
        1.78482653991729133580,
        5.46378491116411436990,
        6.65790464350110377720,
    ),
    (
        2.04426310338993978564e-15,
        1.42151175831644588870e-7,
        1.84631831751005468180e-5,
        7.86869131145613259100e-4,
        1.48753612908506148525e-2,
        1.36929880922735805310e-1,
        5.99832206555887937690e-1,
        1.0,
    ),
)


@_elementwise
def erfinv(xp: Any, y: Any) -> Any:
    """The x with erf(x) = y, to 1e-15: ±inf at ±1, NaN beyond."""
    q = y / 2
    r = 0.180625 - q * q
    middle = q * (_poly(r, _MIDDLE[0]) / _poly(r, _MIDDLE[1]))
    r = xp.sqrt(-xp.log(0.5 * xp.minimum(1 - xp.abs(y), 0.5)))
    near, far = xp.minimum(r, 5.0) - 1.6, xp.minimum(xp.maximum(r, 5.0), 30.0) - 5.0
    tail = xp.where(r <= 5, _poly(near, _TAIL[0]) / _poly(near, _TAIL[1]), _poly(far, _END[0]) / _poly(far, _END[1]))
    tail = xp.where(xp.abs(y) == 1, math.inf, tail)
    found = xp.where(xp.abs(q) <= 0.425, middle, xp.where(y < 0, -tail, tail))
    return found * math.sqrt(0.5)


# -- the gamma function -----------------------------------------------------------------------------------------------


def _zeta_above_1(s: int) -> float:
    """ζ(s) - 1 by Euler and Maclaurin's formula from 10 on."""
    total = math.fsum([n**-s for n in range(2, 10)]) + 10.0 ** (1 - s) / (s - 1) + 0.5 * 10.0**-s
    rising = float(s)
    for j, b in enumerate(_BERNOULLI[:7], 1):
        total += b / math.factorial(2 * j) * rising * 10.0 ** (1 - s - 2 * j)
        rising *= (s + 2 * j - 1) * (s + 2 * j)
    return total


@functools.cache
def _gamma_series() -> tuple[float, ...]:
    """Coefficients of lgamma(2 + u) / u, highest power first: they shrink like 2**-k."""
    return tuple([(-1) ** k * _zeta_above_1(k) / k for k in range(28, 1, -1)] + [1 - _EULER])


def _lgamma_positive(xp: Any, x: Any) -> Any:
    low = xp.minimum(x, 8.5)
    steps = xp.where(low < 0.5, -2.0, xp.where(low < 1.5, -1.0, xp.ceil(low - 2.5)))
    u = low - (2 + steps)  # in [-0.5, 0.5], exact
    product = 1.0
    for k in range(1, 7):
        product = product * xp.where(steps >= k, low - k, 1.0)
    below = xp.log(xp.where(steps == -2, low, 1.0)) + xp.where(steps < 0, xp.log1p(u), 0.0)
    near = u * _poly(u, _gamma_series()) + xp.log(product) - below
    far = xp.maximum(x, 8.5)
    z = 1 / (far * far)
    rest = _poly(z, [b / (2 * j * (2 * j - 1)) for j, b in enumerate(_BERNOULLI[:8], 1)][::-1]) / far
    stirling = (far - 0.5) * xp.log(far) - far + 0.5 * math.log(2 * math.pi) + rest
    return xp.where(x < 8.5, near, xp.where(far == math.inf, math.inf, stirling))


@_elementwise
def lgamma(xp: Any, x: Any) -> Any:
    """log|Γ(x)|, to 1e-15 for x > 0 and absolutely 1e-14 near its zeros below; inf at the poles 0, -1, ..."""
    y = xp.abs(x)
    positive = _lgamma_positive(xp, y)
    sine = xp.abs(xp.sin(math.pi * (y - xp.round(y))))
    return xp.where(
        x >= 0, positive, xp.where(x == -math.inf, math.inf, math.log(math.pi) - xp.log(y * sine) - positive)
    )


def _cotangent(xp: Any, x: Any) -> Any:
    """cot(πx), with the period taken off first."""
    return 1 / xp.tan(math.pi * (x - xp.round(x)))


@_elementwise
def digamma(xp: Any, x: Any) -> Any:
    """The derivative of log Γ(x), absolutely to 2e-15 near its zeros; -inf at 0, NaN at -1, -2, ..."""
    negative = x < 0
    y = xp.where(negative, 1 - x, x)
    shifted = 0.0
    for _ in range(8):
        low = y < 8
        shifted = shifted + xp.where(low, 1 / y, 0.0)
        y = xp.where(low, y + 1, y)
    z = 1 / (y * y)
    rest = z * _poly(z, [b / (2 * j) for j, b in enumerate(_BERNOULLI[:8], 1)][::-1])
    found = xp.log(y) - 0.5 / y - rest - shifted
    whole = negative & (x == xp.round(x))
    mirrored = found - math.pi * _cotangent(xp, xp.where(whole, 0.5, x))
    return xp.where(whole, math.nan, xp.where(negative, mirrored, found))


def _cotangent_derivative(n: int) -> list[float]:
    """d^n/dx^n cot(πx) as a polynomial in cot(πx), lowest power first: cot' = -π (1 + cot²)."""
    c = [0.0, 1.0]
    for _ in range(n):
        slope = [k * v for k, v in enumerate(c)][1:]
        c = [0.0] * (len(slope) + 2)
        for k, v in enumerate(slope):
            c[k] -= math.pi * v
            c[k + 2] -= math.pi * v
    return c


@_elementwise
def polygamma(xp: Any, x: Any, n: int) -> Any:
    """The n-th derivative of digamma, n >= 0, to 1e-14 (absolutely near its zeros below 0); inf or NaN at the poles."""
    if n == 0:
        return digamma(xp, x)
    s = n + 1
    negative = x < 0
    y = xp.where(negative, 1 - x, x)
    total = 0.0
    for _ in range(12):
        low = y < 12
        total = total + xp.where(low, y**-s, 0.0)
        y = xp.where(low, y + 1, y)
    z, rising, rest = 1 / (y * y), float(s), 0.0
    power = 1 / y
    for j, b in enumerate(_BERNOULLI, 1):
        rest = rest + (b / math.factorial(2 * j) * rising) * power
        rising *= (s + 2 * j - 1) * (s + 2 * j)
        power = power * z
    total = total + y**-n / n + y**-s * (0.5 + rest)  # Euler and Maclaurin from y on
    found = (-1) ** s * math.factorial(n) * total
    mirrored = (-1) ** n * found - math.pi * _poly(_cotangent(xp, x), _cotangent_derivative(n)[::-1])
    return xp.where(negative, mirrored, found)
