"""Window functions for spectra: 1-D tensors of `window_length` weights.

A periodic window (the default) is a symmetric one of one more weight without its last. With N weights of the symmetric
window, n = 0 ... N - 1. Source of the formulas: F. J. Harris, On the use of windows for harmonic analysis with the
discrete Fourier transform, Proc. IEEE 66 (1978).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .creation import factory
from .dtypes import default_dtype, is_floating
from .errors import OpError

__all__ = ["bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window"]


def _window(name: str, backend: Any, length: int, periodic: bool, kind: Any, f: Callable[[Any, Any], Any]) -> Any:
    """`f(xp, n / (N - 1))`: one for a window of one weight, computed in float64 and rounded once."""
    kind = kind or default_dtype()
    if not is_floating(kind):
        raise OpError(f"{name}() expects floating point dtypes, got: {kind}")
    if length < 0:
        raise OpError(f"{name}() requires non-negative window_length, got window_length={length}")
    xp = backend.xp
    if length < 2:
        return xp.ones(length, kind)
    steps = length if periodic else length - 1
    return f(xp, xp.arange(length, dtype="float64") / steps).astype(kind)


@factory
def hann_window(backend: Any, window_length: int, periodic: bool = True, *, kind: Any) -> Any:
    """(1 - cos(2πn/(N - 1))) / 2.

    periodic: N = window_length + 1, less the last point; otherwise N = window_length.
    """
    return _window("hann_window", backend, window_length, periodic, kind, lambda xp, t: xp.sin(math.pi * t) ** 2)


@factory
def hamming_window(
    backend: Any, window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, kind: Any
) -> Any:
    """α - β cos(2πn/(N - 1)). periodic: N = window_length + 1, less the last point; otherwise N = window_length."""
    return _window(
        "hamming_window",
        backend,
        window_length,
        periodic,
        kind,
        lambda xp, t: alpha - beta * xp.cos(2 * math.pi * t),
    )


@factory
def blackman_window(backend: Any, window_length: int, periodic: bool = True, *, kind: Any) -> Any:
    """0.42 - 0.5 cos(2πn/(N - 1)) + 0.08 cos(4πn/(N - 1)).

    periodic: N = window_length + 1, less the last point; otherwise N = window_length.
    """
    return _window(
        "blackman_window",
        backend,
        window_length,
        periodic,
        kind,
        lambda xp, t: 0.42 - 0.5 * xp.cos(2 * math.pi * t) + 0.08 * xp.cos(4 * math.pi * t),
    )


@factory
def bartlett_window(backend: Any, window_length: int, periodic: bool = True, *, kind: Any) -> Any:
    """1 - |2n/(N - 1) - 1|: a triangle.

    periodic: N = window_length + 1, less the last point; otherwise N = window_length.
    """
    return _window("bartlett_window", backend, window_length, periodic, kind, lambda xp, t: 1 - xp.abs(2 * t - 1))


@factory
def kaiser_window(backend: Any, window_length: int, periodic: bool = True, beta: float = 12.0, *, kind: Any) -> Any:
    """I₀(β √(1 - (2n/(N - 1) - 1)²)) / I₀(β), with the modified Bessel function I₀.

    periodic: N = window_length + 1, less the last point; otherwise N = window_length.
    """

    def weights(xp: Any, t: Any) -> Any:
        return xp.i0(beta * xp.sqrt(xp.maximum(1 - (2 * t - 1) ** 2, 0))) / xp.i0(xp.asarray(float(beta)))

    return _window("kaiser_window", backend, window_length, periodic, kind, weights)
