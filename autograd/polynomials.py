"""Orthogonal polynomials under the names of `torch.special`, by their recurrences, and so with gradients for x.

Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", chapter 22.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .op import OPS
from .outs import takes_out
from .public import FUNCTIONS
from .tensor import Tensor

__all__ = [
    "chebyshev_polynomial_t",
    "chebyshev_polynomial_u",
    "chebyshev_polynomial_v",
    "chebyshev_polynomial_w",
    "hermite_polynomial_h",
    "hermite_polynomial_he",
    "laguerre_polynomial_l",
    "legendre_polynomial_p",
    "shifted_chebyshev_polynomial_t",
    "shifted_chebyshev_polynomial_u",
    "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_polynomial_w",
]


def _polynomial(
    name: str, text: str, first: Callable[[Any], Any], following: Callable[[Any, int, Any, Any], Any]
) -> Callable[..., Any]:
    """The function of a family: p₁ = first(x), p₍ₖ₊₁₎ = following(x, k, pₖ, p₍ₖ₋₁₎)."""

    def polynomial(input: Any, n: Any) -> Tensor:
        if not isinstance(input, Tensor) and not isinstance(n, Tensor):
            raise TypeError(f"{name}() needs a Tensor among its inputs")
        x = input if isinstance(input, Tensor) else FUNCTIONS["as_tensor"](float(input))
        x = x if x.is_floating_point() else x.to(FUNCTIONS["tensor"](0.0).dtype)
        several = isinstance(n, Tensor)
        most = int(n.max().item()) if several and n.numel() else 0 if several else int(n)
        found: Any = OPS["mul"](x, 0.0) if not several else OPS["add"](OPS["mul"](x, 0.0), OPS["mul"](n, 0.0))
        before, now = None, found + 1
        for k in range(most + 1):
            if k:
                before, now = now, first(x) if k == 1 else following(x, k - 1, now, before)
            if several:
                found = OPS["where"](n.trunc() == k if n.is_floating_point() else n == k, now, found)
        return found if several or most < 0 else now

    polynomial.__name__ = polynomial.__qualname__ = name
    polynomial.__doc__ = f"{text} Elementwise; n: the degree, a number or a tensor; 0 for a negative one."
    return takes_out(polynomial)


def _chebyshev(x: Any, k: int, now: Any, before: Any) -> Any:
    return 2 * x * now - before


def _shifted(x: Any, k: int, now: Any, before: Any) -> Any:
    return _chebyshev(2 * x - 1, k, now, before)


chebyshev_polynomial_t = _polynomial(
    "chebyshev_polynomial_t", "cos(n arccos x), Chebyshev's polynomials of the first kind.", lambda x: x, _chebyshev
)
shifted_chebyshev_polynomial_t = _polynomial(
    "shifted_chebyshev_polynomial_t",
    "cos(n arccos x), Chebyshev's polynomials of the first kind, at 2x - 1.",
    lambda x: 2 * x - 1,
    _shifted,
)
chebyshev_polynomial_u = _polynomial(
    "chebyshev_polynomial_u", "Chebyshev's polynomials of the second kind.", lambda x: 2 * x, _chebyshev
)
shifted_chebyshev_polynomial_u = _polynomial(
    "shifted_chebyshev_polynomial_u",
    "Chebyshev's polynomials of the second kind, at 2x - 1.",
    lambda x: 2 * (2 * x - 1),
    _shifted,
)
chebyshev_polynomial_v = _polynomial(
    "chebyshev_polynomial_v", "Chebyshev's polynomials of the third kind.", lambda x: 2 * x - 1, _chebyshev
)
shifted_chebyshev_polynomial_v = _polynomial(
    "shifted_chebyshev_polynomial_v",
    "Chebyshev's polynomials of the third kind, at 2x - 1.",
    lambda x: 2 * (2 * x - 1) - 1,
    _shifted,
)
chebyshev_polynomial_w = _polynomial(
    "chebyshev_polynomial_w", "Chebyshev's polynomials of the fourth kind.", lambda x: 2 * x + 1, _chebyshev
)
shifted_chebyshev_polynomial_w = _polynomial(
    "shifted_chebyshev_polynomial_w",
    "Chebyshev's polynomials of the fourth kind, at 2x - 1.",
    lambda x: 2 * (2 * x - 1) + 1,
    _shifted,
)
hermite_polynomial_h = _polynomial(
    "hermite_polynomial_h",
    "Hermite's polynomials of physics, orthogonal for exp(-x²).",
    lambda x: 2 * x,
    lambda x, k, now, before: 2 * x * now - 2 * k * before,
)
hermite_polynomial_he = _polynomial(
    "hermite_polynomial_he",
    "Hermite's polynomials of probability, orthogonal for exp(-x²/2).",
    lambda x: x,
    lambda x, k, now, before: x * now - k * before,
)
laguerre_polynomial_l = _polynomial(
    "laguerre_polynomial_l",
    "Laguerre's polynomials, orthogonal for exp(-x), x > 0.",
    lambda x: 1 - x,
    lambda x, k, now, before: ((2 * k + 1 - x) * now - k * before) / (k + 1),
)
legendre_polynomial_p = _polynomial(
    "legendre_polynomial_p",
    "Legendre's polynomials, orthogonal on [-1, 1].",
    lambda x: x,
    lambda x, k, now, before: ((2 * k + 1) * x * now - k * before) / (k + 1),
)
