"""`torch.fft`: discrete Fourier transforms, their frequencies and shifts.

X[k] = s Σ_n x[n] exp(-2πi kn/N), the inverse with + in the exponent. norm: s is 1 there and 1/N back ("backward", the
default), 1/N there and 1 back ("forward"), or 1/√N both ways ("ortho"). n or s: cut the input to that length, or fill
it with zeros, first. Integers are taken for floats. All of them have gradients of any order.

Source: J. Cooley, J. Tukey, "An algorithm for the machine calculation of complex Fourier series", 1965.
"""

from __future__ import annotations

from typing import Any

from . import storage
from .dims import wrap_dim
from .dtypes import complex_of, default_dtype, differentiable
from .errors import OpError
from .op import OPS
from .public import FUNCTIONS
from .tensor import Tensor

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "hfft2",
    "hfftn",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "ihfft2",
    "ihfftn",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

#: norm -> what the sum of the forward and of the inverse transform is divided by
_SCALES = {
    None: ("none", "all"),
    "backward": ("none", "all"),
    "forward": ("all", "none"),
    "ortho": ("root", "root"),
}


def _scale(norm: Any, inverse: bool) -> str:
    if norm not in _SCALES:
        raise OpError(f"Invalid normalization mode: {norm!r}; it is 'backward', 'forward' or 'ortho'")
    return _SCALES[norm][inverse]


def _numbers(input: Tensor, complex: bool, name: str) -> Tensor:
    """`input` as floats, or as complex numbers."""
    kind = input.array.dtype
    if not complex and kind.kind == "c":
        raise OpError(f"{name} expects a real input tensor, but got {input.dtype}")
    if not differentiable(kind):
        kind = default_dtype()
    return input.to(complex_of(kind) if complex else "float32" if kind.itemsize < 4 else kind)


def _sized(input: Tensor, sizes: Any, dims: Any) -> Tensor:
    """`input` cut or filled with zeros at the end to the sizes along the dimensions; None and -1 leave one."""
    pad = [0] * (2 * len(input.shape))
    for n, d in zip(sizes, dims, strict=True):
        if n is not None and n != -1:
            if n < 1:
                raise OpError(f"Invalid number of data points ({n}) specified")
            pad[2 * (len(input.shape) - 1 - d) + 1] = n - input.shape[d]
    return OPS["constant_pad_nd"](input, pad=tuple(pad)) if any(pad) else input


def _over(input: Tensor, s: Any, dim: Any) -> tuple[list[Any], list[int]]:
    """(sizes, dimensions) of a transform over several dimensions, by NumPy's rules."""
    rank = len(input.shape)
    if s is not None:
        s = [s] if isinstance(s, int) else list(s)
    if dim is None:
        dims = list(range(0 if s is None else rank - len(s), rank))
    else:
        dims = [wrap_dim(d, rank) for d in ([dim] if isinstance(dim, int) else dim)]
    if len(set(dims)) != len(dims):
        raise OpError("FFT dims must be unique")
    s = [None] * len(dims) if s is None else s
    if len(s) != len(dims):
        raise OpError("When given, dim and shape arguments must have the same length")
    if any(input.shape[d] < 1 for d, n in zip(dims, s, strict=True) if n is None or n == -1):
        raise OpError("Invalid number of data points (0) specified")
    return s, dims


def _given(result: Tensor, out: Any, name: str) -> Tensor:
    return result if out is None else storage.deliver(result, out, name)


def fftn(input: Tensor, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Tensor:
    """The transform over `dim` (all, or the last len(s), dimensions): complex, of the input's shape or `s`."""
    return _given(_complex(input, s, dim, norm, False, "fftn"), out, "fftn")


def ifftn(input: Tensor, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Tensor:
    """The inverse of `fftn`."""
    return _given(_complex(input, s, dim, norm, True, "ifftn"), out, "ifftn")


def _complex(input: Tensor, s: Any, dim: Any, norm: Any, inverse: bool, name: str) -> Tensor:
    scale = _scale(norm, inverse)
    sizes, dims = _over(input, s, dim)
    x = _sized(_numbers(input, True, name), sizes, dims)
    return OPS["fourier"](x, dims=tuple(dims), inverse=inverse, scale=scale) if dims else x


def rfftn(input: Tensor, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Tensor:
    """`fftn` of a real input; of the last of the dimensions the first n // 2 + 1 numbers, as the others repeat them."""
    scale = _scale(norm, False)
    sizes, dims = _over(input, s, dim)
    if not dims:
        raise OpError("rfftn must transform at least one axis")
    x = _sized(_numbers(input, False, "rfftn"), sizes, dims)
    x = OPS["fourier_of_real"](x, dim=dims[-1], scale=scale)
    return _given(OPS["fourier"](x, dims=tuple(dims[:-1]), scale=scale) if dims[:-1] else x, out, "rfftn")


def irfftn(input: Tensor, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Tensor:
    """The inverse of `rfftn`: real. The last size is s[-1], or 2 (m - 1) of m numbers."""
    return _given(_real(input, s, dim, norm, True, "irfftn"), out, "irfftn")


def _real(input: Tensor, s: Any, dim: Any, norm: Any, inverse: bool, name: str) -> Tensor:
    scale = _scale(norm, inverse)
    sizes, dims = _over(input, s, dim)
    if not dims:
        raise OpError(f"{name} must transform at least one axis")
    n = sizes[-1]
    n = 2 * (input.shape[dims[-1]] - 1) if n is None or n == -1 else n
    if n < 1:
        raise OpError(f"Invalid number of data points ({n}) specified")
    x = _sized(_numbers(input, True, name), [*sizes[:-1], n // 2 + 1], dims)
    if dims[:-1]:
        x = OPS["fourier"](x, dims=tuple(dims[:-1]), inverse=True, scale=scale)
    return OPS["fourier_to_real"](x, dim=dims[-1], n=n, scale=scale)


def hfftn(input: Tensor, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Tensor:
    """The transform of a signal of which the first half is given, the other being its conjugate: real."""
    return _given(_real(_numbers(input, True, "hfftn").conj(), s, dim, norm, False, "hfftn"), out, "hfftn")


def ihfftn(input: Tensor, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Tensor:
    """The inverse of `hfftn`: of a real input, the first n // 2 + 1 numbers."""
    turned = {None: "forward", "backward": "forward", "forward": "backward"}.get(norm, norm)
    return _given(rfftn(input, s, dim, turned).conj(), out, "ihfftn")


def _one(over: Any, name: str, doc: str) -> Any:
    def transform(input: Tensor, n: Any = None, dim: int = -1, norm: Any = None, *, out: Any = None) -> Tensor:
        return over(input, None if n is None else [n], [dim], norm, out=out)

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = doc
    return transform


def _two(over: Any, name: str, doc: str) -> Any:
    def transform(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: Any = None, *, out: Any = None) -> Tensor:
        return over(input, s, dim, norm, out=out)

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = doc
    return transform


fft = _one(fftn, "fft", "The transform along one dimension: n complex numbers.")
ifft = _one(ifftn, "ifft", "The inverse of `fft`.")
rfft = _one(rfftn, "rfft", "The first n // 2 + 1 numbers of the transform of n real ones.")
irfft = _one(irfftn, "irfft", "The inverse of `rfft`: n real numbers, 2 (m - 1) of m complex ones unless given.")
hfft = _one(hfftn, "hfft", "The transform, n real numbers, of a signal whose second half is the first's conjugate.")
ihfft = _one(ihfftn, "ihfft", "The inverse of `hfft`: n // 2 + 1 numbers of n real ones.")
fft2 = _two(fftn, "fft2", "`fftn` over the last two dimensions.")
ifft2 = _two(ifftn, "ifft2", "`ifftn` over the last two dimensions.")
rfft2 = _two(rfftn, "rfft2", "`rfftn` over the last two dimensions.")
irfft2 = _two(irfftn, "irfft2", "`irfftn` over the last two dimensions.")
hfft2 = _two(hfftn, "hfft2", "`hfftn` over the last two dimensions.")
ihfft2 = _two(ihfftn, "ihfft2", "`ihfftn` over the last two dimensions.")


def fftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of n samples at distance d, those from 0 up first: [0, 1, ..., -2, -1] / (d n)."""
    k = FUNCTIONS["arange"](n, dtype="float64")
    k = OPS["where"](k >= (n + 1) // 2, k - n, k)
    return (k / (d * n)).to(**_rest(options))


def rfftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of n real samples at distance d: [0, 1, ..., n // 2] / (d n)."""
    return (FUNCTIONS["arange"](n // 2 + 1, dtype="float64") / (d * n)).to(**_rest(options))


def _rest(options: dict[str, Any]) -> dict[str, Any]:
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
