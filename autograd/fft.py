"""`torch.fft`: discrete Fourier transforms, their frequencies and shifts.

X[k] = c Σ_n x[n] exp(-2πi kn/N), the inverse with + in the exponent. norm: c is 1 there and 1/N back ("backward", the
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
    """X[k] = c Σ_n x[n] exp(-2πi Σ_d k_d n_d / N_d), the sum over the dimensions in `dim`; complex.

    The result has the shape of the input, with `s` in those dimensions.

    s: sizes N_d along `dim`, to which the input is cut, or filled with zeros at its end; -1 or none: its own. dim: by
    default all dimensions, or the last len(s). norm: c is 1 ("backward", the default; 1/N of the inverse), 1/N
    ("forward"; 1 of the inverse) or 1/√N ("ortho"), N being the product of the N_d. Other dimensions are a batch.
    RuntimeError for another norm, sizes below 1 and repeated dimensions.
    """
    return _given(_complex(input, s, dim, norm, False, "fftn"), out, "fftn")


def ifftn(input: Tensor, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Tensor:
    """The inverse of `fftn`: x[n] = c Σ_k X[k] exp(2πi Σ_d k_d n_d / N_d), c = 1/N by default; complex."""
    return _given(_complex(input, s, dim, norm, True, "ifftn"), out, "ifftn")


def _complex(input: Tensor, s: Any, dim: Any, norm: Any, inverse: bool, name: str) -> Tensor:
    scale = _scale(norm, inverse)
    sizes, dims = _over(input, s, dim)
    x = _sized(_numbers(input, True, name), sizes, dims)
    return OPS["fourier"](x, dims=tuple(dims), inverse=inverse, scale=scale) if dims else x


def rfftn(input: Tensor, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Tensor:
    """`fftn` of a real input; of the last of the dimensions the first n // 2 + 1 numbers.

    The others repeat them: X[N - k] = conj(X[k]), with all indices turned round. RuntimeError for complex input.
    """
    scale = _scale(norm, False)
    sizes, dims = _over(input, s, dim)
    if not dims:
        raise OpError("rfftn must transform at least one axis")
    x = _sized(_numbers(input, False, "rfftn"), sizes, dims)
    x = OPS["fourier_of_real"](x, dim=dims[-1], scale=scale)
    return _given(OPS["fourier"](x, dims=tuple(dims[:-1]), scale=scale) if dims[:-1] else x, out, "rfftn")


def irfftn(input: Tensor, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Tensor:
    """The inverse of `rfftn`: real. The last size is s[-1], or 2 (m - 1) of m numbers. Arguments as of `fftn`."""
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
    """`fftn` of a signal with a real transform, given by the first half of its last dimension: x[-n] = conj(x[n]).

    Real; the last size is s[-1], or 2 (m - 1) of m numbers.
    """
    return _given(_real(_numbers(input, True, "hfftn").conj(), s, dim, norm, False, "hfftn"), out, "hfftn")


def ihfftn(input: Tensor, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Tensor:
    """The inverse of `hfftn`: of a real input, the first n // 2 + 1 numbers in the last dimension; complex.

    Arguments as of `fftn`; RuntimeError for complex input.
    """
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


#: docstring of a transform along one dimension
_ONE = "{}\n\nn: the length N to which `dim` is cut, or filled with zeros, first. norm: the scale c, as of `fftn`."

fft = _one(fftn, "fft", _ONE.format("X[k] = c Σ_n x[n] exp(-2πi kn/N) along `dim`: (..., N) → (..., N), complex."))
ifft = _one(
    ifftn,
    "ifft",
    _ONE.format("The inverse of `fft`: x[n] = c Σ_k X[k] exp(2πi kn/N), c = 1/N by default; complex, (..., N)."),
)
rfft = _one(rfftn, "rfft", _ONE.format("`fft` of real numbers (..., N), the first half: (..., N // 2 + 1), complex."))
irfft = _one(
    irfftn,
    "irfft",
    _ONE.format("The inverse of `rfft`: (..., m) → (..., N), real; N is 2 (m - 1) unless n says otherwise."),
)
hfft = _one(
    hfftn,
    "hfft",
    _ONE.format(
        "`fft` of a signal with x[-n] = conj(x[n]), of which m numbers are given: (..., m) → (..., N), real.\n\n"
        "N is 2 (m - 1) unless n says otherwise."
    ),
)
ihfft = _one(
    ihfftn,
    "ihfft",
    _ONE.format("The inverse of `hfft`: real numbers (..., N) → (..., N // 2 + 1), complex."),
)
#: docstring of a transform over two dimensions
_TWO = "`{}` over two dimensions, by default the last ones. s, norm: as of `fftn`."

fft2 = _two(fftn, "fft2", _TWO.format("fftn"))
ifft2 = _two(ifftn, "ifft2", _TWO.format("ifftn"))
rfft2 = _two(rfftn, "rfft2", _TWO.format("rfftn"))
irfft2 = _two(irfftn, "irfft2", _TWO.format("irfftn"))
hfft2 = _two(hfftn, "hfft2", _TWO.format("hfftn"))
ihfft2 = _two(ihfftn, "ihfft2", _TWO.format("ihfftn"))


def fftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of n samples at distance d, from 0 up first: [0, 1, ..., -2, -1] / (d n).

    Of shape (n,).
    """
    k = FUNCTIONS["arange"](n, dtype="float64")
    k = OPS["where"](k >= (n + 1) // 2, k - n, k)
    return (k / (d * n)).to(**_rest(options))


def rfftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of n real samples at distance d: [0, 1, ..., n // 2] / (d n).

    Of shape (n // 2 + 1,).
    """
    return (FUNCTIONS["arange"](n // 2 + 1, dtype="float64") / (d * n)).to(**_rest(options))


def _rest(options: dict[str, Any]) -> dict[str, Any]:
    return {"dtype": options.get("dtype") or default_dtype(), "device": options.get("device")}


def _shifted(input: Tensor, dim: Any, back: bool) -> Tensor:
    dims = range(len(input.shape)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    steps = [input.shape[d] // 2 * (-1 if back else 1) for d in dims]
    return FUNCTIONS["roll"](input, tuple(steps), tuple(dims))


def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The frequency 0 moved to the middle of each dimension in `dim` (all): rolled by n // 2; the input's shape."""
    return _shifted(input, dim, False)


def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The inverse of `fftshift`: rolled back by n // 2, which differs from it where n is odd."""
    return _shifted(input, dim, True)
