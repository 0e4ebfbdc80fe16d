"""`chainrule.fft`: what of `torch.fft` needs no complex numbers. The transforms do, and there are none: they raise."""

from __future__ import annotations

from typing import Any

from .op import OPS
from .public import FUNCTIONS
from .tensor import Tensor

__all__ = ["fftfreq", "fftshift", "ifftshift", "rfftfreq"]

_TRANSFORMS = {
    f"{inverse}{real}fft{rank}" for inverse in ("", "i") for real in ("", "r", "h") for rank in ("", "2", "n")
}


def fftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of n samples at distance d, those from 0 up first: [0, 1, ..., -2, -1] / (d n)."""
    k = FUNCTIONS["arange"](n, dtype="float64")
    k = OPS["where"](k >= (n + 1) // 2, k - n, k)
    return (k / (d * n)).to(**_rest(options))


def rfftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of n real samples at distance d: [0, 1, ..., n // 2] / (d n)."""
    return (FUNCTIONS["arange"](n // 2 + 1, dtype="float64") / (d * n)).to(**_rest(options))


def _rest(options: dict[str, Any]) -> dict[str, Any]:
    from .dtypes import default_dtype

    return {"dtype": options.get("dtype") or default_dtype(), "device": options.get("device")}


def _shifted(input: Tensor, dim: Any, back: bool) -> Tensor:
    dims = range(len(input.shape)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    steps = [input.shape[d] // 2 * (-1 if back else 1) for d in dims]
    return FUNCTIONS["roll"](input, tuple(steps), tuple(dims))


def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The frequency 0 moved to the middle of each dimension."""
    return _shifted(input, dim, False)


def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _shifted(input, dim, True)


def __getattr__(name: str) -> Any:
    if name in _TRANSFORMS:
        raise AttributeError(f"chainrule.fft.{name} needs complex tensors, which chainrule does not have")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
