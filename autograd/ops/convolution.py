"""Convolutions in one to three dimensions, and their transposes.

Three ops carry all of them. With stride s, dilation d, zeros padded around x, and the channels cut into groups,

    conv         y[n, o, p] = Σ_c Σ_i x[n, c, p s + i d] w[o, c, i] + b[o]
    conv_input   x[n, c, j] = Σ_o Σ_(p s + i d = j) y[n, o, p] w[o, c, i]
    conv_weight  w[o, c, i] = Σ_n Σ_p x[n, c, p s + i d] y[n, o, p]

are the three ways to contract one trilinear form, so each one's gradients are the other two, to every order.
`conv_input` is also what conv_transpose computes. Nothing but their inputs is kept for the backward pass.

The forwards here go tap by tap, a tap being one position in the kernel: a strided slice of x and a matrix product each,
with no buffer larger than x. A backend's kernel of the same name may do better. `padding` is a pair (before, after) for
each dimension; a negative one crops. Turned down: a symmetric padding, which cannot express padding="same" with an
even kernel, nor an output_padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

from ..dtypes import from_numpy_dtype
from ..errors import OpError
from ..op import OPS, op
from ..public import function
from ..tensor import Tensor

__all__ = [
    "conv",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_input",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "conv_weight",
]

Ints = int | Sequence[int]
Pairs = tuple[tuple[int, int], ...]


# -- the three ops ----------------------------------------------------------------------------------------------------


@op
def conv(xp, input, weight, bias=None, /, stride=(1,), padding=((0, 0),), dilation=(1,), groups=1):
    """y[n, o, p] = Σ_c Σ_i x[n, c, p·stride + i·dilation - before] w[o, c, i] + b[o].

    input (N, C, *S), weight (O, C/groups, *K), bias (O) or None; stride and dilation have a number, and padding a pair
    (before, after), for each dimension. Result (N, O, *P) with
    P = (S + before + after - dilation (K - 1) - 1) // stride + 1.
    """
    kernel = weight.shape[2:]
    size = _out_size(input.shape[2:], kernel, stride, padding, dilation)
    x = _framed(xp, _wide(input), kernel, size, stride, padding, dilation)
    w = _wide(weight).reshape(groups, -1, *weight.shape[1:])
    out = xp.zeros((x.shape[0], groups, w.shape[1], prod(size)), x.dtype)
    for tap, window in _taps(kernel, size, stride, dilation):
        piece = x[window].reshape(x.shape[0], groups, w.shape[2], prod(size))
        out += xp.matmul(w[tap], piece)
    out = out.reshape(x.shape[0], weight.shape[0], *size)
    if bias is not None:
        out += bias.reshape(-1, *(1,) * len(size))
    return out.astype(input.dtype, copy=False)


@conv.grad("input")
def _(F, g, weight, shape, stride, padding, dilation, groups):
    return F.conv_input(g, weight, shape[2:], stride, padding, dilation, groups)


@conv.grad("weight")
def _(F, g, input, shape, stride, padding, dilation, groups):
    return F.conv_weight(input, g, shape[2:], stride, padding, dilation, groups)


@conv.grad("bias")
def _(F, g):
    return F.sum(g, dim=(0, *range(2, len(g.shape))))


@op
def conv_input(xp, grad, weight, /, size, stride, padding, dilation, groups):
    """The transpose of `conv` for its input: grad (N, O, *P) and weight (O, C/groups, *K) give (N, C, *size)."""
    kernel, out_size = weight.shape[2:], grad.shape[2:]
    w = _wide(weight).reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    g = _wide(grad).reshape(grad.shape[0], groups, w.shape[2], prod(out_size))
    channels = groups * w.shape[1]
    extent = _extent(kernel, out_size, stride, dilation)
    x = xp.zeros((g.shape[0], channels, *extent), g.dtype)
    for tap, window in _taps(kernel, out_size, stride, dilation):
        x[window] += xp.matmul(w[tap], g).reshape(g.shape[0], channels, *out_size)
    back = tuple([(-before, s - e + before) for (before, _), s, e in zip(padding, size, extent)])
    return _padded(xp, x, back).astype(grad.dtype, copy=False)


@conv_input.grad("grad")
def _(F, g, weight, grad_shape, stride, padding, dilation, groups):
    return F.conv(
        g, weight, None, stride, _exact(padding, g, weight.shape[2:], grad_shape, stride, dilation), dilation, groups
    )


@conv_input.grad("weight")
def _(F, g, grad, shape, stride, padding, dilation, groups):
    return F.conv_weight(g, grad, shape[2:], stride, padding, dilation, groups)


@op
def conv_weight(xp, input, grad, /, kernel, stride, padding, dilation, groups):
    """The gradient of `conv` for its weight: input (N, C, *S) and grad (N, O, *P) give (O, C/groups, *kernel)."""
    size = grad.shape[2:]
    x = _framed(xp, _wide(input), kernel, size, stride, padding, dilation)
    g = _wide(grad).reshape(grad.shape[0], groups, grad.shape[1] // groups, prod(size))
    w = xp.zeros((groups, g.shape[2], x.shape[1] // groups, *kernel), x.dtype)
    for tap, window in _taps(kernel, size, stride, dilation):
        piece = x[window].reshape(x.shape[0], groups, w.shape[2], prod(size))
        w[tap] = xp.matmul(g, piece.swapaxes(2, 3)).sum(axis=0)
    return w.reshape(grad.shape[1], w.shape[2], *kernel).astype(input.dtype, copy=False)


@conv_weight.grad("input")
def _(F, g, grad, shape, stride, padding, dilation, groups):
    return F.conv_input(grad, g, shape[2:], stride, padding, dilation, groups)


@conv_weight.grad("grad")
def _(F, g, input, shape, kernel, stride, padding, dilation, groups):
    return F.conv(input, g, None, stride, _exact(padding, input, kernel, shape, stride, dilation), dilation, groups)


# -- geometry ---------------------------------------------------------------------------------------------------------


def _out_size(size, kernel, stride, padding, dilation):
    return tuple(
        [(n + b + a - d * (k - 1) - 1) // s + 1 for n, k, s, (b, a), d in zip(size, kernel, stride, padding, dilation)]
    )


def _extent(kernel, out_size, stride, dilation):
    """How far the windows of `out_size` outputs reach in the padded input."""
    return tuple([(p - 1) * s + d * (k - 1) + 1 for k, p, s, d in zip(kernel, out_size, stride, dilation)])


def _exact(padding, x, kernel, out_size, stride, dilation):
    """`padding`, changed behind so that a convolution of x has exactly the size of `out_size` (N, O, *P)."""
    extent = _extent(kernel, out_size[2:], stride, dilation)
    return tuple([(before, e - n - before) for (before, _), n, e in zip(padding, x.shape[2:], extent)])


def _taps(kernel, out_size, stride, dilation):
    """For each position in the kernel: its index into a weight, and the slice of the padded input that it meets."""
    for tap in product(*map(range, kernel)):
        window = [slice(i * d, i * d + (p - 1) * s + 1, s) for i, p, s, d in zip(tap, out_size, stride, dilation)]
        yield (..., *tap), (..., *window)


def _padded(xp, x, pairs):
    """x with zeros around its last dimensions, cropped where a number is negative."""
    if any(n < 0 for pair in pairs for n in pair):
        x = x[(..., *[slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(pairs, x.shape[-len(pairs) :])])]
    if any(n > 0 for pair in pairs for n in pair):
        front = ((0, 0),) * (x.ndim - len(pairs))
        x = xp.pad(x, (*front, *[(max(b, 0), max(a, 0)) for b, a in pairs]))
    return x


def _framed(xp, x, kernel, out_size, stride, padding, dilation):
    """The part of the zero-padded x that the windows read."""
    extent = _extent(kernel, out_size, stride, dilation)
    return _padded(xp, x, [(b, e - n - b) for (b, _), n, e in zip(padding, x.shape[2:], extent)])


def _wide(x):
    """Half precision is computed in float32."""
    return x.astype("float32") if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x


# -- PyTorch's functions ----------------------------------------------------------------------------------------------


def _tuple(value: Any, n: int, name: str, what: str, least: int) -> tuple[int, ...]:
    found = (value,) * n if isinstance(value, int) else tuple(value)
    if len(found) == 1:
        found *= n
    if len(found) != n or any(not isinstance(v, int) or isinstance(v, bool) for v in found):
        raise OpError(
            f"{name}: expected {what} to be a single integer value or a list of {n} values, but got {what}={value}"
        )
    if any(v < least for v in found):
        word = "negative" if least == 0 else "non-positive"
        raise OpError(f"{name}: {word} {what} is not supported, got {what}={value}")
    return found


@lru_cache(maxsize=4096)
def _geometry(name, n, x, w, b, stride, padding, dilation, groups):
    """Stride, padding pairs and dilation of a convolution, after a check of everything; x, w, b are shapes."""
    _check_shapes(name, n, x, w, b, groups, transposed=False)
    stride = _tuple(stride, n, name, "stride", 1)
    dilation = _tuple(dilation, n, name, "dilation", 1)
    kernel = w[2:]
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise OpError(f"{name}: Invalid padding string: '{padding}'; use 'same', 'valid' or numbers")
        if padding == "same" and any(s != 1 for s in stride):
            raise OpError(f"{name}: padding='same' is not supported for strided convolutions, got stride={stride}")
        total = [d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, dilation)]
        pairs = tuple([(t // 2, t - t // 2) for t in total])
    else:
        pairs = tuple([(p, p) for p in _tuple(padding, n, name, "padding", 0)])
    wide = [s + b + a for s, (b, a) in zip(x[-n:], pairs)]
    need = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    if any(have < k for have, k in zip(wide, need)):
        raise OpError(
            f"{name}: Calculated padded input size per channel: ({' x '.join(map(str, wide))}). Kernel size: "
            f"({' x '.join(map(str, need))}). Kernel size can't be greater than actual input size"
        )
    return stride, pairs, dilation


@lru_cache(maxsize=4096)
def _transposed_geometry(name, n, x, w, b, stride, padding, output_padding, groups, dilation):
    """Size of the result, stride, padding pairs and dilation of a transposed convolution, after a check of all."""
    _check_shapes(name, n, x, w, b, groups, transposed=True)
    stride = _tuple(stride, n, name, "stride", 1)
    dilation = _tuple(dilation, n, name, "dilation", 1)
    padding = _tuple(padding, n, name, "padding", 0)
    extra = _tuple(output_padding, n, name, "output_padding", 0)
    if any(e >= s and e >= d for e, s, d in zip(extra, stride, dilation)):
        raise OpError(
            f"{name}: output padding must be smaller than either stride or dilation, but got output_padding={extra}, "
            f"stride={stride}, dilation={dilation}"
        )
    size = tuple(
        [
            (p - 1) * s - 2 * q + d * (k - 1) + e + 1
            for p, k, s, q, d, e in zip(x[-n:], w[2:], stride, padding, dilation, extra)
        ]
    )
    if any(s < 1 for s in size):
        raise OpError(
            f"{name}: Given input size per channel: {list(x[-n:])}. Calculated output size per channel: {list(size)}. "
            "Output size is too small"
        )
    return size, stride, tuple([(q, q - e) for q, e in zip(padding, extra)]), dilation


def _check_shapes(name, n, x, w, b, groups, transposed):
    if len(w) != n + 2:
        raise OpError(f"{name}: weight should be {n + 2}-dimensional, got shape {list(w)}")
    if len(x) not in (n + 1, n + 2):
        raise OpError(
            f"{name}: Expected {n + 1}D (unbatched) or {n + 2}D (batched) input, but got input of size: {list(x)}"
        )
    if not isinstance(groups, int) or groups < 1:
        raise OpError(f"{name}: groups must be a positive integer, got {groups}")
    channels, into = x[-n - 1], w[1] * groups
    if transposed:
        into, channels_out = w[0], into
        if w[0] % groups:
            raise OpError(f"{name}: groups={groups} must divide weight's first size, {w[0]}")
    else:
        channels_out = w[0]
        if w[0] % groups or w[0] < groups:
            raise OpError(
                f"{name}: Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got "
                f"weight of size {list(w)} instead"
            )
    if channels != into:
        raise OpError(
            f"{name}: Given groups={groups}, weight of size {list(w)}, expected input{list(x)} to have {into} "
            f"channels, but got {channels} channels instead"
        )
    if b is not None and b != (channels_out,):
        raise OpError(f"{name}: expected bias to be 1-dimensional with {channels_out} elements, but got {list(b)}")
    if 0 in x[-n - 1 :] or 0 in w[2:]:
        raise OpError(f"{name}: only the batch may be empty, got input of size {list(x)} and weight of size {list(w)}")


def _operands(name: str, *tensors: Any) -> list[tuple[int, ...] | None]:
    """The tensors' shapes, None for None, after a check of their kinds."""
    shapes, kinds = [], set()
    for t, what in zip(tensors, ("input", "weight", "bias")):
        if t is None and what == "bias":
            shapes.append(None)
            continue
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): argument {what!r} must be Tensor, not {type(t).__name__}")
        shapes.append(t.array.shape)
        kinds.add(t.array.dtype)
    if len(kinds) > 1 and _autocast() is None:
        names = ", ".join(f"{w} {t.array.dtype}" for t, w in zip(tensors, ("input", "weight", "bias")) if t is not None)
        other = "weight" if tensors[-1] is None or tensors[0].array.dtype == tensors[-1].array.dtype else "bias"
        first, second = [
            from_numpy_dtype(t.array.dtype).short.lower() for t in (tensors[0], tensors[1 if other == "weight" else -1])
        ]
        raise OpError(
            f"{name}: Input type ({first}) and {other} type ({second}) should be the same: got {names}; cast with .to()"
        )
    return shapes


def _autocast():
    from ..modes import MODES

    return MODES.get().autocast


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (int, str)) else tuple(value)


def _convolve(name, n, input, weight, bias, stride, padding, dilation, groups):
    shapes = _operands(name, input, weight, bias)
    given = (_hashable(stride), _hashable(padding), _hashable(dilation), groups)
    stride, padding, dilation = _geometry(name, n, *shapes, *given)
    if len(shapes[0]) == n + 1:
        x = OPS["reshape"](input, (1, *shapes[0]))
        out = conv(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
        return OPS["reshape"](out, out.array.shape[1:])
    return conv(input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _transpose(name, n, input, weight, bias, stride, padding, output_padding, groups, dilation):
    shapes = _operands(name, input, weight, bias)
    given = (_hashable(stride), _hashable(padding), _hashable(output_padding), groups, _hashable(dilation))
    size, stride, padding, dilation = _transposed_geometry(name, n, *shapes, *given)
    batched = len(shapes[0]) == n + 2
    x = input if batched else OPS["reshape"](input, (1, *shapes[0]))
    out = conv_input(x, weight, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups)
    if bias is not None:
        if _autocast() is not None:
            bias = bias.to(out.dtype)
        out = OPS["add"](out, OPS["reshape"](bias, (-1, *(1,) * n)))
    return out if batched else OPS["reshape"](out, out.array.shape[1:])


@function
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """y[n, o, p] = Σ_c Σ_i x[n, c, p·stride + i·dilation - padding] w[o, c, i] + b[o] (a cross-correlation).

    input (N, C, L) or (C, L), weight (O, C/groups, K); the result is (N, O, P) or (O, P) with
    P = (L + 2 padding - dilation (K - 1) - 1) // stride + 1. padding: a number, "valid" (none) or "same" (P = L).
    """
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@function
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """`conv1d` in two dimensions: input (N, C, H, W) or (C, H, W), weight (O, C/groups, KH, KW)."""
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@function
def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """`conv1d` in three dimensions: input (N, C, D, H, W) or (C, D, H, W), weight (O, C/groups, KD, KH, KW)."""
    return _convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


@function
def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """The transpose of the linear map `conv1d(·, weight)`, plus bias: each input element adds a copy of the kernel.

    input (N, C, L) or (C, L), weight (C, O/groups, K); the result has length
    (L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1.
    """
    return _transpose("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@function
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """`conv_transpose1d` in two dimensions: input (N, C, H, W) or (C, H, W), weight (C, O/groups, KH, KW)."""
    return _transpose("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@function
def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """`conv_transpose1d` in three dimensions: input (N, C, D, H, W) or unbatched, weight (C, O/groups, KD, KH, KW)."""
    return _transpose("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation)
