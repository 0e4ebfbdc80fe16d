"""Linear maps along one dimension, and padding.

Average pooling, padding by reflection, interpolation and their like are sums of a few input elements for each output
element, one dimension after the other. An `AxisMap` says which elements and with what weights, as tables on the host;
the op `axis_map` applies it, or its transpose, which is its gradient: so all orders of derivative exist. Weight
matrices were turned down: they cost n_in products per output element, and 0 · inf would spread an infinite input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Any

from ...backends import np
from ..composite import composite
from ..errors import OpError
from ..op import op
from ..public import expose

__all__ = ["AxisMap", "WindowSum", "axis_map", "constant_pad_nd", "pad"]

#: beyond so many taps all of them are gathered at once
_MANY = 8


class AxisMap:
    """out[j] = Σ_k weight[k, j] · in[index[k, j]] along a dimension; index and weight are host arrays (taps, n_out).

    weight None stands for ones. The transpose is an AxisMap too: for each input element its outputs, filled up with
    weights of zero. name: what users call such a map, for pictures of graphs and `grad_fn`.
    """

    def __init__(self, index: Any, weight: Any, n_in: int, name: str = "axis_map") -> None:
        self.index, self.weight, self.n_in, self.n_out, self.name = index, weight, n_in, index.shape[1], name

    @cached_property
    def transposed(self) -> AxisMap:
        """The map from the outputs back to the inputs."""
        taps, n_out = self.index.shape
        weight = np.ones((taps, n_out)) if self.weight is None else self.weight
        used = weight != 0
        source = self.index[used]
        target = np.broadcast_to(np.arange(n_out), (taps, n_out))[used]
        order = np.argsort(source, kind="stable")
        source, target, weight = source[order], target[order], weight[used][order]
        count = np.bincount(source, minlength=self.n_in)
        place = np.arange(len(source)) - (np.cumsum(count) - count)[source]
        index = np.zeros((max(int(count.max(initial=0)), 1), self.n_in), np.int64)
        filled = np.zeros(index.shape)
        index[:, source] = target  # fill up with an output of the same input, so that a weight of 0 meets no stranger
        index[place, source] = target
        filled[place, source] = weight
        return AxisMap(index, None if (filled == 1).all() else filled, n_out, _turned(self.name))

    @cached_property
    def entries(self) -> tuple[Any, Any, Any]:
        """What each output sums: numbers start[j] to start[j + 1] of (index, weight). For kernels."""
        weight = np.ones(self.index.shape) if self.weight is None else self.weight
        used = (weight != 0).T
        return _starts(used.sum(axis=1)), self.index.T[used].astype(np.int64), weight.T[used].astype(np.float64)

    def apply(self, xp: Any, x: Any, dim: int) -> Any:
        """The map of array x along `dim`."""
        after = (1,) * (x.ndim - dim - 1)
        if len(self.index) > _MANY:
            taken = xp.take(x, xp.asarray(self.index.T.ravel()), axis=dim)
            taken = taken.reshape(*x.shape[:dim], self.n_out, len(self.index), *x.shape[dim + 1 :])
            if self.weight is not None:
                taken *= xp.asarray(self.weight.T, dtype=x.dtype).reshape(self.n_out, -1, *after)
            return taken.sum(axis=dim + 1)
        out = None
        for k, index in enumerate(self.index):
            term = xp.take(x, xp.asarray(index), axis=dim)
            if self.weight is not None:
                term *= xp.asarray(self.weight[k], dtype=x.dtype).reshape(-1, *after)
            out = term if out is None else out + term
        return out


def _turned(name: str) -> str:
    """The name of a map's transpose."""
    return name.removesuffix("_backward") if name.endswith("_backward") else f"{name}_backward"


def _starts(counts: Any) -> Any:
    return np.concatenate(([0], np.cumsum(counts))).astype(np.int64)


class WindowSum:
    """out[j] = scale[j] · Σ in[j·stride - before + k], over 0 <= k < kernel where that is inside: an AxisMap by slices.

    `scale` is a number or a host array (n_out,). `backward` applies the transpose. name: as for AxisMap.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        stride: int,
        before: int,
        scale: Any,
        backward: bool = False,
        name: str = "avg_pool",
    ) -> None:
        self.n_in, self.n_out, self.kernel, self.stride, self.before = n_in, n_out, kernel, stride, before
        self.scale, self.backward, self.name = scale, backward, name
        self.tiles = before == 0 and stride == kernel and n_in == kernel * n_out

    @cached_property
    def transposed(self) -> WindowSum:
        """The transposed map."""
        geometry = self.n_in, self.n_out, self.kernel, self.stride, self.before, self.scale
        return WindowSum(*geometry, not self.backward, _turned(self.name))

    @cached_property
    def entries(self) -> tuple[Any, Any, Any]:
        """What each output of the map, or of its transpose, sums: as in `AxisMap`."""
        outputs, taps = np.mgrid[: self.n_out, : self.kernel]
        inputs = outputs * self.stride - self.before + taps
        inside = (inputs >= 0) & (inputs < self.n_in)
        outputs, inputs = outputs[inside], inputs[inside]
        weight = np.broadcast_to(np.asarray(self.scale, np.float64), (self.n_out,))[outputs]
        if not self.backward:
            return _starts(np.bincount(outputs, minlength=self.n_out)), inputs.astype(np.int64), weight
        order = np.argsort(inputs, kind="stable")
        count = np.bincount(inputs, minlength=self.n_in)
        return _starts(count), outputs[order].astype(np.int64), weight[order]

    def _taps(self) -> Any:
        """(slice of the outputs, slice of the inputs) that meet, for each position in the window."""
        for k in range(self.kernel):
            shift = k - self.before
            first = max(0, -(shift // self.stride))
            last = min(self.n_out, (self.n_in - 1 - shift) // self.stride + 1)
            if first < last:
                start = first * self.stride + shift
                yield slice(first, last), slice(start, start + (last - first - 1) * self.stride + 1, self.stride)

    def apply(self, xp: Any, x: Any, dim: int) -> Any:
        """The map of array x along `dim`."""
        scale = self.scale
        if hasattr(scale, "shape"):
            scale = xp.asarray(scale, dtype=x.dtype).reshape(-1, *(1,) * (x.ndim - dim - 1))
        before = (slice(None),) * dim
        if self.backward:
            x = x * scale
            out = xp.zeros_like(x, shape=(*x.shape[:dim], self.n_in, *x.shape[dim + 1 :]))
            for outputs, inputs in self._taps():
                if self.stride >= self.kernel:
                    out[(*before, inputs)] = x[(*before, outputs)]
                else:
                    out[(*before, inputs)] += x[(*before, outputs)]
            return out
        if self.tiles and self.kernel > _MANY:
            return x.reshape(*x.shape[:dim], self.n_out, self.kernel, *x.shape[dim + 1 :]).sum(axis=dim + 1) * scale
        out = None
        for outputs, inputs in self._taps():
            if out is None and outputs == slice(0, self.n_out):
                out = xp.array(x[(*before, inputs)], copy=True)
                continue
            if out is None:
                out = xp.zeros_like(x, shape=(*x.shape[:dim], self.n_out, *x.shape[dim + 1 :]))
            out[(*before, outputs)] += x[(*before, inputs)]
        out *= scale
        return out


@op
def axis_map(xp, input, /, dim, table):
    """`input` with the linear map `table` (an AxisMap or a WindowSum) applied along `dim`; or tuples of both."""
    x = input.astype("float32") if input.dtype.itemsize == 2 and input.dtype.kind not in "iu" else input
    for d, t in zip(dim, table) if isinstance(dim, tuple) else ((dim, table),):
        x = t.apply(xp, x, d % input.ndim)
    return x.astype(input.dtype, copy=False)


@axis_map.grad("input")
def _(F, g, dim, table):
    if isinstance(dim, tuple):
        return F.axis_map(g, dim[::-1], tuple([t.transposed for t in reversed(table)]))
    return F.axis_map(g, dim, table.transposed)


def _title(values: Iterable[Any]) -> str:
    """The name of the tables of a call."""
    several = (v if isinstance(v, tuple) else (v,) for v in values)
    return next((t.name for tables in several for t in tables if isinstance(t, (AxisMap, WindowSum))), axis_map.name)


axis_map.title = _title


def along_all(apply: Any, input: Any, maps: Sequence[tuple[int, Any]]) -> Any:
    """`input` with several maps (dimension, table), by `apply`, the op `axis_map`."""
    if not maps:
        return input
    dims, tables = zip(*maps)
    return apply(input, dims[0], tables[0]) if len(maps) == 1 else apply(input, dims, tables)


# -- padding ----------------------------------------------------------------------------------------------------------


@op
def constant_pad_nd(xp, input, /, pad, value=0):
    """`input` with pad[0] elements of `value` before and pad[1] after along its last dimension, pad[2] and pad[3] along
    the one before, and so on; negative numbers crop.
    """
    shape, target, source = list(input.shape), [slice(None)] * input.ndim, [slice(None)] * input.ndim
    for dim, (before, after) in _pairs(pad, input.ndim):
        n = shape[dim]
        shape[dim] = n + before + after
        target[dim] = slice(max(before, 0), shape[dim] - max(after, 0))
        source[dim] = slice(max(-before, 0), n - max(-after, 0))
    out = xp.empty_like(input, shape=shape)  # in the input's order of memory
    for dim, (before, after) in _pairs(pad, input.ndim):
        for border in (slice(0, max(before, 0)), slice(shape[dim] - max(after, 0), shape[dim])):
            out[(*(slice(None),) * dim, border)] = value
    out[tuple(target)] = input[tuple(source)]
    return out


@constant_pad_nd.grad("input")
def _(F, g, pad):
    return F.constant_pad_nd(g, tuple([-p for p in pad]))


def _pairs(pad, ndim):
    """(dimension, (before, after)) of each pair of a flat list that starts with the last dimension."""
    return [(ndim - 1 - i // 2, (pad[i], pad[i + 1])) for i in range(0, len(pad), 2)]


@lru_cache(maxsize=1024)
def _pad_map(n: int, before: int, after: int, mode: str) -> AxisMap:
    i = np.arange(-before, n + after)
    if mode == "reflect":
        i = np.abs(i)
        i = np.where(i >= n, 2 * (n - 1) - i, i)
    elif mode == "replicate":
        i = np.clip(i, 0, n - 1)
    else:
        i %= n
    return AxisMap(i[None], None, n, "pad")


@composite
def pad(F, input, /, pad, mode="constant", value=None):
    """Pad the last len(pad) / 2 dimensions: pad = (left, right, top, bottom, front, back) starts with the last one.

    mode: "constant" (filled with `value`, default 0; any dimensions), "reflect" (mirrored without the edge),
    "replicate" (the edge repeated) or "circular" (wrapped around); the last three pad one to three dimensions of an
    input with one (channels) or two (batch, channels) more. Negative numbers crop. (N, C, H, W) becomes (N, C, H + top
    + bottom, W + left + right).
    """
    pad = _checked(tuple(pad), tuple(input.shape), mode, value)
    if mode == "constant":
        return F.constant_pad_nd(input, pad, 0 if value is None else value)
    pairs = [(dim, pair) for dim, pair in _pairs(pad, len(input.shape)) if any(pair)]
    return along_all(F.axis_map, input, [(dim, _pad_map(input.shape[dim], *pair, mode)) for dim, pair in pairs])


def _checked(pad: tuple[int, ...], shape: Sequence[int], mode: str, value: Any) -> tuple[int, ...]:
    if len(pad) % 2:
        raise OpError(f"pad: Padding length must be divisible by 2, got {list(pad)}")
    if len(pad) > 2 * len(shape):
        raise OpError(
            f"pad: Padding length should be at most two times the input dimension, got {list(pad)} for {list(shape)}"
        )
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise NotImplementedError(
            f"pad: Unrecognised padding mode {mode}; use constant, reflect, replicate or circular"
        )
    for dim, (before, after) in _pairs(pad, len(shape)):
        n = shape[dim]
        if n + before + after < 0 or (mode != "constant" and n + before + after < 1):
            raise OpError(
                f"pad: The input size {n}, plus negative padding {before} and {after}, resulted in a negative output "
                f"size, which is invalid; check dimension {dim} of your input"
            )
        most = {"reflect": n - 1, "circular": n}.get(mode)
        if most is not None and max(before, after) > most:
            raise OpError(
                f"pad: Padding size should be at most {most} for mode={mode!r} and an input of size {n} at dimension "
                f"{dim}, got ({before}, {after})"
            )
    if mode == "constant":
        return pad
    if value is not None and value != 0:
        raise OpError(f'pad: Padding mode "{mode}" doesn\'t take in value argument')
    if len(pad) not in (2, 4, 6) or len(shape) - len(pad) // 2 not in (1, 2):
        raise NotImplementedError(
            f"pad: only 2D, 3D, 4D, 5D padding with non-constant padding are supported: the last 1, 2 or 3 dimensions "
            f"of an input with one or two more, got {len(shape)}D input and {list(pad)}"
        )
    return pad


expose(constant_pad_nd, methods=False)
