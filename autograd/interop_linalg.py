"""NumPy's linear algebra, Fourier transforms, grids and comparisons on Tensors; the rest is in interop.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backends import np
from .interop import F, _implements, _sequence
from .op import OPS
from .tensor import Tensor

__all__ = ["LINALG"]


def _as_tensor(x: Any) -> Any:
    return F.as_tensor(x) if isinstance(x, np.ndarray) else x


def _linalg(ours: str, names: dict[str, str] | None = None) -> Callable[..., Any]:
    """A function of chainrule.linalg under NumPy's names of its arguments, which stand in the same order."""

    def call(*args: Any, **kwargs: Any) -> Any:
        from . import linalg

        given = {(names or {}).get(k, k): v for k, v in kwargs.items() if v is not np._NoValue}
        return getattr(linalg, ours)(*map(_as_tensor, args), **given)

    return call


_A = {"a": "A"}
#: NumPy's function -> its names of arguments, and ours
LINALG: dict[str, dict[str, str]] = {
    "inv": {"a": "input"},
    "det": {"a": "input"},
    "slogdet": _A,
    "cholesky": {},
    "eigvalsh": _A,
    "eigh": _A,
    "svdvals": {},
    "pinv": _A,
    "matrix_power": _A,
    "matrix_rank": {},
    "cond": {"x": "A"},
    "norm": {"x": "A", "axis": "dim", "keepdims": "keepdim"},
    "matrix_norm": {"keepdims": "keepdim"},
    "vector_norm": {"axis": "dim", "keepdims": "keepdim"},
}
for _name, _names in LINALG.items():
    _implements(f"linalg.{_name}")(_linalg(_name, _names))


@_implements("linalg.solve")
def _solve(a: Any, b: Any) -> Tensor:
    return _linalg("solve")(*_sequence([a, b]))


@_implements("linalg.qr")
def _qr(a: Tensor, mode: str = "reduced") -> Any:
    if mode not in ("reduced", "complete", "r"):
        raise TypeError(f"np.linalg.qr of a Tensor knows the modes reduced, complete and r, not {mode!r}")
    found = _linalg("qr")(a, mode)
    return found[1] if mode == "r" else found


@_implements("linalg.svd")
def _svd(a: Tensor, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    return _linalg("svd")(a, full_matrices) if compute_uv else _linalg("svdvals")(a)


@_implements("linalg.multi_dot")
def _multi_dot(arrays: Any) -> Tensor:
    return _linalg("multi_dot")(_sequence(arrays))


# -- Fourier transforms and parts of complex numbers ------------------------------------------------------------------


def _fourier(name: str) -> Callable[..., Any]:
    several = {"2": (-2, -1), "n": None}.get(name[-1], -1)

    def call(
        a: Tensor, n: Any = None, axis: Any = several, norm: Any = None, *, s: Any = None, axes: Any = None
    ) -> Any:
        from . import fft

        return getattr(fft, name)(a, n if s is None else s, axis if axes is None else axes, norm)

    return call


def _shifted(name: str) -> Callable[..., Any]:
    def call(x: Tensor, axes: Any = None) -> Tensor:
        from . import fft

        return getattr(fft, name)(x, axes)

    return call


_TRANSFORMS = [f"{i}{r}fft{n}" for i in ("", "i") for r in ("", "r") for n in ("", "2", "n")]
for _name in (*_TRANSFORMS, "hfft", "ihfft"):
    _implements(f"fft.{_name}")(_fourier(_name))
for _name in ("fftshift", "ifftshift"):
    _implements(f"fft.{_name}")(_shifted(_name))


@_implements("real")
def _real(val: Tensor) -> Tensor:
    from . import seldom

    return seldom.real(val)


@_implements("imag")
def _imag(val: Tensor) -> Tensor:
    from . import seldom

    return seldom.imag(val) if val.is_complex() else F.zeros_like(val)


@_implements("angle")
def _angle(z: Tensor, deg: bool = False) -> Tensor:
    from . import seldom

    return F.rad2deg(seldom.angle(z)) if deg else seldom.angle(z)


# -- shapes -----------------------------------------------------------------------------------------------------------


@_implements("meshgrid")
def _meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Tensor, ...]:
    if sparse:
        raise TypeError("np.meshgrid of Tensors makes whole grids: sparse=False")
    return tuple(F.meshgrid(*_sequence(xi), indexing=indexing))


@_implements("pad")
def _pad(array: Tensor, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Tensor:
    if mode != "constant" or not isinstance(constant_values, (int, float)):
        raise TypeError("np.pad of a Tensor knows mode='constant' with one value; nn.functional.pad knows more")
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2))
    return OPS["pad"](array, widths[::-1].reshape(-1).tolist(), value=constant_values)


# -- comparisons: there is no gradient to be lost ---------------------------------------------------------------------


def _compared(name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        values = [x.detach().cpu().numpy() if isinstance(x, Tensor) else x for x in args]
        found = getattr(np, name)(*values, **kwargs)
        return F.as_tensor(found) if name == "isclose" else found

    return call


for _name in ("allclose", "isclose", "array_equal"):
    _implements(_name)(_compared(_name))
