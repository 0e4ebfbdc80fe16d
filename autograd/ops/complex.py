"""Complex numbers: their parts, what is made of parts, absolute values and angles, and discrete Fourier transforms.

None of these is holomorphic with real coefficients, so each op has rules of its own (`conjugated=False`, see
autograd/complexes.py). The gradient of a number with parts x and y has the parts ∂L/∂x and ∂L/∂y.

Kinks: the absolute value has the gradient 0 at 0, as any norm; so has `sgn`.

Sources: J. Cooley, J. Tukey, "An algorithm for the machine calculation of complex Fourier series", 1965; names,
defaults and dtypes as in PyTorch.
"""

from __future__ import annotations

from ..composite import composite
from ..dtypes import complex_of, real_of
from ..errors import OpError
from ..op import op

__all__ = [
    "complex",
    "complex_abs",
    "complex_angle",
    "complex_norm",
    "complex_sign",
    "complex_std",
    "complex_var",
    "conj",
    "eig",
    "fourier",
    "fourier_of_real",
    "fourier_to_real",
    "imaginary_part",
    "real_part",
    "view_as_complex",
    "view_as_real",
]

# -- parts ------------------------------------------------------------------------------------------------------------


@op(view=True, conjugated=False)
def real_part(xp, input):
    """x of x + iy, elementwise: a view."""
    return input.real


@real_part.grad("input")
def _(F, g):
    return F.complex(g, 0.0)


@op(view=True, conjugated=False)
def imaginary_part(xp, input):
    """y of x + iy, elementwise: a view."""
    return input.imag


@imaginary_part.grad("input")
def _(F, g):
    return F.complex(0.0, g)


@op(broadcast=True, types="float", conjugated=False)
def complex(xp, real, imag):
    """real + i·imag of two real tensors, float32 or float64: complex64 or complex128."""
    kind = getattr(real, "dtype", None) or imag.dtype
    if kind.kind == "c" or kind.itemsize < 4:
        raise OpError(f"Expected both inputs to be Float or Double tensors but got {kind}")
    parts = xp.broadcast_arrays(xp.asarray(real, kind), xp.asarray(imag, kind))
    out = xp.empty(parts[0].shape, complex_of(kind))
    out.real[...], out.imag[...] = parts
    return out


@complex.grad("real")
def _(F, g):
    return F.real_part(g)


@complex.grad("imag")
def _(F, g):
    return F.imaginary_part(g)


@op(view=True, conjugated=False)
def view_as_real(xp, input):
    """x + iy as a last dimension of two, (x, y): a view."""
    if input.dtype.kind != "c":
        raise OpError(f"view_as_real is only supported for complex tensors, got {input.dtype}")
    return input.reshape((*input.shape, 1)).view(real_of(input.dtype))


@view_as_real.grad("input")
def _(F, g):
    return F.view_as_complex(g)


@op(view=True, conjugated=False)
def view_as_complex(xp, input):
    """A last dimension of two, (x, y), as x + iy: a view where the pairs lie together in memory, otherwise a copy."""
    if input.dtype.kind != "f" or input.dtype.itemsize < 4:
        raise OpError(f"view_as_complex is only supported for float32 and float64 tensors, got {input.dtype}")
    if not input.ndim or input.shape[-1] != 2:
        raise OpError(f"view_as_complex takes a last dimension of size 2, got shape {list(input.shape)}")
    whole = input.strides[-1] == input.itemsize and all(s % (2 * input.itemsize) == 0 for s in input.strides[:-1])
    return (input if whole else xp.ascontiguousarray(input)).view(complex_of(input.dtype))[..., 0]


@view_as_complex.grad("input")
def _(F, g):
    return F.view_as_real(g)


@op(conjugated=False)
def conj(xp, input):
    """x - iy of x + iy, elementwise; real tensors are as they are."""
    return xp.conj(input)


@conj.grad("input")
def _(F, g):
    return F.conj(g)


# -- absolute values and angles ---------------------------------------------------------------------------------------


@composite
def complex_abs(F, input, /):
    """√(x² + y²) of x + iy, elementwise: `abs` of complex tensors."""
    return F.hypot(F.real_part(input), F.imaginary_part(input))


@composite
def complex_norm(F, input, /, ord=2, dim=None, keepdim=False):
    """`vector_norm` of complex tensors: that of the absolute values."""
    return F.vector_norm(F.complex_abs(input), ord=ord, dim=dim, keepdim=keepdim)


@composite
def complex_var(F, input, /, dim=None, correction=1, keepdim=False):
    """Σ |input - mean|² / (n - correction) over `dim`: `var` of complex tensors, the sum of that of both parts."""
    parts = F.real_part(input), F.imaginary_part(input)
    return sum([F.var(x, dim=dim, correction=correction, keepdim=keepdim) for x in parts])


@composite
def complex_std(F, input, /, dim=None, correction=1, keepdim=False):
    """The square root of `complex_var`. The gradient is 0 where it is 0."""
    spread = F.complex_var(input, dim=dim, correction=correction, keepdim=keepdim)
    return F.where(spread == 0, 0, F.sqrt(F.where(spread == 0, 1, spread)))


@composite
def complex_angle(F, input, /):
    """atan2(y, x) of x + iy, elementwise: `angle` of complex tensors."""
    return F.atan2(F.imaginary_part(input), F.real_part(input))


@composite
def complex_sign(F, input, /):
    """z / |z|, elementwise, and 0 of 0: `sgn` of complex tensors."""
    size = F.complex_abs(input)
    return F.where(size == 0, 0, input / F.where(size == 0, 1, size))


# -- eigenvalues ------------------------------------------------------------------------------------------------------


@op(outputs=2, conjugated=False)
def eig(xp, input):
    """Eigenvalues L and eigenvectors (columns of V, of length 1) of general square matrices, complex: A V = V diag(L).

    The gradient is that of a function of the vectors' directions: their phases are not determined. Equal eigenvalues
    give NaN. Source: M. Giles, "An extended collection of matrix derivative results", 2008, 3.1.
    """
    if input.ndim < 2 or input.shape[-1] != input.shape[-2]:
        raise OpError(f"linalg.eig: the matrices must be square, got shape {list(input.shape)}")
    return tuple(xp.linalg.eig(input.astype(complex_of(input.dtype), copy=False)))


@eig.grad("input")
def _(F, g, out):
    (values, vectors), (g_values, g_vectors) = out, g
    turned = F.transpose(F.conj(vectors), -2, -1)
    inside = F.diagonal_adjoint(g_values, tuple(vectors.shape), 0, -2, -1)
    if 1 in g.given:
        along = F.matmul(turned, g_vectors)
        lengths = F.diagonal(along, 0, -2, -1)
        off = along - F.matmul(turned, vectors * F.unsqueeze(F.cast(F.real_part(lengths), dtype=vectors.dtype), -2))
        gaps = F.conj(F.unsqueeze(values, -2) - F.unsqueeze(values, -1))
        same = F.diagonal_adjoint(values * 0 + 1, tuple(vectors.shape), 0, -2, -1)
        inside = inside + (1 - same) * (off / (gaps + same))
    return F.solve(turned, F.matmul(inside, turned))


# -- Fourier transforms -----------------------------------------------------------------------------------------------

#: what a sum is divided by: nothing, the number of its terms, or the root of that -> NumPy's `norm`, there and back
NORMS = {"none": ("backward", "forward"), "all": ("forward", "backward"), "root": ("ortho", "ortho")}


@op(conjugated=False)
def fourier(xp, input, /, dims, inverse=False, scale="none"):
    """X[k] = s Σ_n x[n] exp(∓2πi kn/N) over each of `dims` (+ of the inverse): complex numbers from complex ones.

    scale: s is 1 ("none"), 1/N ("all") or 1/√N ("root"). The matrix is symmetric, so the gradient of a transform is the
    other one with the same s.
    """
    norm = NORMS[scale][inverse]
    return (xp.fft.ifftn if inverse else xp.fft.fftn)(input, axes=dims, norm=norm)


@fourier.grad("input")
def _(F, g, dims, inverse, scale):
    return F.fourier(g, dims=dims, inverse=not inverse, scale=scale)


@op(types="float", conjugated=False)
def fourier_of_real(xp, input, /, dim, scale="none"):
    """The first N // 2 + 1 numbers of the transform of N real ones along `dim`: the others are their conjugates."""
    return xp.fft.rfft(input, axis=dim, norm=NORMS[scale][0]).astype(complex_of(input.dtype), copy=False)


@fourier_of_real.grad("input")
def _(F, g, shape, dim, scale):
    n = shape[dim]
    missing = [0, 0] * (len(shape) - 1 - dim % len(shape)) + [0, n - (n // 2 + 1)]
    return F.real_part(F.fourier(F.constant_pad_nd(g, pad=tuple(missing)), dims=(dim,), inverse=True, scale=scale))


@op(conjugated=False)
def fourier_to_real(xp, input, /, dim, n, scale="all"):
    """n real numbers of the first n // 2 + 1 of their transform along `dim`, of which imaginary parts at 0 and n / 2 do
    not count."""
    return xp.fft.irfft(input, n, axis=dim, norm=NORMS[scale][1])


@fourier_to_real.grad("input")
def _(F, g, shape, dim, n, scale):
    found = F.fourier_of_real(g, dim=dim, scale=scale)
    rank = len(shape)
    # each number but those at 0 and n / 2 stands for its conjugate as well
    once = F.slicing(found, index=_at(rank, dim, slice(0, 1)))
    twice = 2 * F.slicing(found, index=_at(rank, dim, slice(1, (n + 1) // 2)))
    last = F.slicing(found, index=_at(rank, dim, slice((n + 1) // 2, None)))
    return F.concat(once, twice, last, dim=dim)


def _at(rank, dim, part):
    return tuple([part if d == dim % rank else slice(None) for d in range(rank)])
