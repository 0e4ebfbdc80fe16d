"""Derivatives by differences, in double precision: what gradient rules are measured against.

One number decides each order of derivative: along a random direction v and for random weights u, d/dt <f(x + t v), u>
must be <gradient of <f, u>, v>. A wrong entry of a gradient goes unseen only where u and v are orthogonal to the fault,
which random vectors are not; so a check costs a few evaluations whatever the sizes are (the idea is HIPS autograd's).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backends import np

__all__ = ["Difference", "directional", "numeric_gradient", "relative_error"]

#: step for `directional`: its error is of order step**4, and rounding costs 1e-16 / step
STEP = 1e-3


def relative_error(a: Any, b: Any) -> float:
    """max |a - b| / max(|a|, |b|) over the elements; 0 where both are 0.

    A gradient below 1e-9 or so loses its digits to rounding: scale the loss up before comparing.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not a.size:
        return 0.0
    size = np.maximum(np.abs(a), np.abs(b))
    return float(np.max(np.where(size > 0, np.abs(a - b) / np.where(size > 0, size, 1), 0)))


def numeric_gradient(f: Callable[[Any], Any], x: Any, h: float = 1e-5) -> Any:
    """The gradient of a scalar function of an array by centred differences, (f(x+h) - f(x-h)) / 2h per element.

    In double precision; the error is of order h². Two evaluations per element: for small arrays.
    """
    x = np.array(x, np.float64)
    g = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + h
        above = float(f(x.copy()))
        x[i] = kept - h
        g[i] = (above - float(f(x.copy()))) / (2 * h)
        x[i] = kept
    return g


class Difference:
    """The derivative of a function of one number at 0: `value`, what rounding alone may be (`noise`), and its kinks."""

    def __init__(self, f: Callable[[float], float], size: float, step: float = STEP) -> None:
        self.f, self.size = f, max(size, abs(f(step)))
        whole, half = self.central(step), self.central(step / 2)
        self.value = (4 * half - whole) / 3  # Richardson's extrapolation: the step² terms cancel
        self.noise = 500 * 2.2e-16 * self.size / step

    def central(self, h: float) -> float:
        """(f(h) - f(-h)) / 2h."""
        return (self.f(h) - self.f(-h)) / (2 * h)

    def agrees(self, expected: float, tolerance: float, scale: float) -> bool:
        """True where `expected` is the derivative, near a kink too (then by ever smaller steps)."""
        if abs(self.value - expected) <= tolerance * scale + self.noise:
            return True
        for h in (1e-4, 1e-5, 1e-6):
            if abs(self.central(h) - expected) <= tolerance * scale + 500 * 2.2e-16 * self.size / h:
                return True
        return False

    def kink(self) -> str:
        """Why there is no derivative: the two sides differ, by an amount that does not shrink with the step."""
        middle = self.f(0.0)
        gaps, jumps = [], []
        for h in (1e-4, 1e-5, 1e-6):
            right, left = (self.f(h) - middle) / h, (middle - self.f(-h)) / h
            gaps.append((abs(right - left), left, right))
            jumps.append(abs(self.f(h) - self.f(-h)) + abs(self.f(h) + self.f(-h) - 2 * middle))
        if not np.isfinite([g[0] for g in gaps]).all():
            return ""
        if jumps[2] > 0.5 * jumps[0] and jumps[2] > 1e-6 * max(self.size, 1e-30):
            return f"the function jumps by {jumps[2]:.4g}"
        gap, left, right = gaps[2]
        noise = 50 * 2.2e-16 * self.size / 1e-6
        if gap > 0.5 * gaps[0][0] and gap > 1e-3 * max(abs(left), abs(right)) + noise:
            return f"the one-sided derivatives are {left:.6g} and {right:.6g}"
        return ""


def directional(f: Callable[[float], float], step: float = STEP) -> float:
    """The derivative of a smooth function of one number at 0, (4 D(h/2) - D(h)) / 3 of centred differences D.

    Its error is of order h⁴. step: h. Source: L. Richardson, "The deferred approach to the limit", 1927.
    """
    return Difference(f, abs(f(0.0)), step).value
