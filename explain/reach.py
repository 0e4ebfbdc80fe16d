"""Which elements of its inputs a box of an op's output depends on, as a box.

A box is a pair (first, last) for each dimension. It may lie outside the tensor: a window at the border reaches into
the padding, and the receptive field is measured as if the image went on. Ops that are not known here depend on all; no
op of the table of tests depends on more than is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil, floor, prod
from typing import Any

from .. import backends
from ..autograd.ops.pooling import _window_count
from ..autograd.ops.resampling import AxisMap, WindowSum
from ..backends import np
from .trace import Call

__all__ = ["Box", "full", "hull", "needed"]

Box = tuple[tuple[int, int], ...]


def full(shape: Sequence[int]) -> Box:
    """The box that is the whole tensor."""
    return tuple([(0, n - 1) for n in shape])


def hull(a: Box | None, b: Box) -> Box:
    """The smallest box around both."""
    return b if a is None else tuple([(min(p[0], q[0]), max(p[1], q[1])) for p, q in zip(a, b)])


def needed(call: Call, output: int, box: Box) -> list[Box | None]:
    """For each input of an op's call what the `box` of its output number `output` depends on; None: on nothing."""
    op: Any = call.op
    params = {**dict(zip(op.params, op.default_params)), **(call.params or {})}
    shapes = [None if v is None else v.shape for v in call.inputs]
    out = call.outputs[output].shape
    rule = _RULES.get(op.name, _elementwise if op.__module__ in _ELEMENTWISE else _all) if out else _all
    found = rule(params, shapes, out, box, output)
    return [None if b is None or any(first > last for first, last in b) else b for b in found]


Shapes = list[Any]


def _broadcasts(shapes: Shapes, out: tuple[int, ...]) -> bool:
    """Whether the inputs have the output's shape but for broadcasting."""
    given = [s for s in shapes if s is not None]
    if not given or max(map(len, given)) != len(out):
        return False
    try:
        return np.broadcast_shapes(*given) == out
    except ValueError:
        return False


def _all(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    return [None if s is None else full(s) for s in shapes]


def _dims(given: Any, ndim: int) -> set[int]:
    """The dimensions that a parameter names, counted from 0; none for None."""
    return set() if given is None else {d % ndim for d in (given if isinstance(given, (tuple, list)) else (given,))}


def _elementwise(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    if not _broadcasts(shapes, out):
        return _all(params, shapes, out, box, output)
    mixed = _dims(params.get("dim", params.get("dims")), len(out))  # softmax, cumsum and the like mix a dimension
    found: list[Any] = []
    for shape in shapes:
        if shape is None:
            found.append(None)
            continue
        pairs = []
        for d, n in enumerate(shape, len(out) - len(shape)):
            pairs.append((0, n - 1) if d in mixed or (n == 1 and out[d] != 1) else box[d])
        found.append(tuple(pairs))
    return found


def _channelwise(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    """Statistics of a channel mix all of it."""
    return [None if s is None else tuple([box[d] if d == 1 else (0, n - 1) for d, n in enumerate(s)]) for s in shapes]


def _nothing(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    return [None for _ in shapes]


def _windows(box: Box, channels: int, kernel: Any, stride: Any, before: Any, dilation: Any) -> Box:
    """What windows over (N, C, *S) cover."""
    spatial = [
        (a * s - p, b * s - p + (k - 1) * d)
        for (a, b), k, s, p, d in zip(box[2:], kernel, stride, before, dilation, strict=True)
    ]
    return (box[0], (0, channels - 1), *spatial)


def _conv(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    before = [pair[0] for pair in params["padding"]]
    seen = _windows(box, shapes[0][1], shapes[1][2:], params["stride"], before, params["dilation"])
    return [seen, *_all(params, shapes[1:], out, box, output)]


def _meeting(box: Box, channels: int, kernel: Any, stride: Any, before: Any, dilation: Any) -> Box:
    """The windows that cover something of a box of (N, C, *S)."""
    spatial = []
    for (a, b), k, s, p, d in zip(box[2:], kernel, stride, before, dilation, strict=True):
        ends = -((-(a + p - (k - 1) * d)) // s), (b + p) // s
        spatial.append((min(ends), max(ends)))  # an element in no window stands between two of them
    return (box[0], (0, channels - 1), *spatial)


def _transposed(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    before = [pair[0] for pair in params["padding"]]
    return [
        _meeting(box, shapes[0][1], shapes[1][2:], params["stride"], before, params["dilation"]),
        full(shapes[1]),
    ]


def _columns(params: Any, size: Any) -> tuple[Any, ...]:
    """Of im2col and col2im: kernel, stride, padding, dilation, and how many windows there are in `size`."""
    given = [params[name] for name in ("kernel", "stride", "padding", "dilation")]
    kernel, stride, padding, dilation = given
    return (*given, _window_count(size, kernel, dilation, padding, stride))


def _unfold(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    *window, count = _columns(params, shapes[0][2:])
    (columns,) = _reshape(params, [(*out[:2], *count)], out, box, output)
    return [_windows(columns, shapes[0][1], *window)]


def _fold(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    *window, count = _columns(params, out[2:])
    pairs = _meeting(box, shapes[0][1], *window)
    inside = tuple([tuple([min(max(i, 0), n - 1) for i in p]) for p, n in zip(pairs, (*shapes[0][:2], *count))])
    return _reshape(params, shapes, (*shapes[0][:2], *count), inside, output)


def _sliding(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    if not shapes[0]:
        return [()]
    dim, step, pairs = params["dimension"] % len(shapes[0]), params["step"], list(box[:-1])
    pairs[dim] = pairs[dim][0] * step + box[-1][0], pairs[dim][1] * step + box[-1][1]
    return [tuple(pairs)]


def _flip(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    dims = _dims(params["dims"], len(out))
    return [tuple([(n - 1 - b, n - 1 - a) if d in dims else (a, b) for d, ((a, b), n) in enumerate(zip(box, out))])]


def _index(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    """By one row of numbers, an AxisMap without weights; by masks and several arrays, by anything."""
    arrays = [(d, i) for d, i in enumerate(params["indices"]) if not isinstance(i, slice)]
    if len(arrays) != 1 or arrays[0][1].ndim != 1 or arrays[0][1].dtype.kind == "b":
        return _all(params, shapes, out, box, output)
    (dim, array), pairs = arrays[0], list(box)
    n = shapes[0][dim]
    pairs[dim] = _mapped(AxisMap(backends.of(array).to_host(array)[None] % n, None, n), *box[dim])
    return [tuple(pairs)]


def _put(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    """What is written into, and what is written: at slices its part of the box, at arrays of indices all."""
    if params.get("view") is None or params["indices"] is not None:
        return [box, *_all(params, shapes[1:], out, box, output)]
    part: list[tuple[int, int]] = []
    d = 0
    for i in _each(params["view"], len(out)):
        if i is None:
            part.append((0, 0))
            continue
        (first, last), n = box[d], out[d]
        d += 1
        if isinstance(i, slice):
            start, stop, step = i.indices(n)
            ends = sorted(((first - start) / step, (last - start) / step))
            part.append((max(ceil(ends[0]), 0), min(floor(ends[1]), len(range(start, stop, step)) - 1)))
        elif not first <= i % n <= last:
            return [box, None]
    values = shapes[1]
    given = part[len(part) - len(values) :] if len(values) <= len(part) else [*full(values[: -len(part)]), *part]
    empty = any(first > last for first, last in part)
    return [box, None if empty else tuple([(0, 0) if n == 1 else p for p, n in zip(given, values)])]


def _roll(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    shifts, dims, pairs = params["shifts"], params["dims"], list(box)
    if dims is None or dims == ():
        return _all(params, shapes, out, box, output)
    each = lambda v: v if isinstance(v, (tuple, list)) else (v,)
    for shift, dim in zip(each(shifts), each(dims)):
        (first, last), n = pairs[dim], out[dim]
        if first < 0 or last >= n:  # as if the image went on
            pairs[dim] = first - shift, last - shift
        elif (first - shift) // n == (last - shift) // n:
            pairs[dim] = (first - shift) % n, (last - shift) % n
        else:
            pairs[dim] = 0, n - 1
    return [tuple(pairs)]


def _gather(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    dim, pairs = params["dim"] % len(out), list(box)
    pairs[dim] = 0, shapes[0][dim] - 1
    return [tuple(pairs), *[box for _ in shapes[1:]]]


def _repeat(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    sizes = params["sizes"]
    before = len(sizes) - len(shapes[0])
    return [tuple([box[d] if sizes[d] == 1 else (0, n - 1) for d, n in enumerate(shapes[0], before)])]


def _max_pool(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    seen = _windows(box, 1, params["kernel"], params["stride"], params["padding"], params["dilation"])
    return [(box[0], box[1], *seen[2:])]


def _axis_map(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    dims, tables = params["dim"], params["table"]
    pairs = list(box)
    for dim, table in zip(dims, tables) if isinstance(dims, tuple) else ((dims, tables),):
        pairs[dim] = _mapped(table, *pairs[dim])
    return [tuple(pairs)]


def _mapped(table: Any, first: int, last: int) -> tuple[int, int]:
    """The elements that the outputs first to last of a map along a dimension are made of."""
    if isinstance(table, WindowSum) and not table.backward:
        return first * table.stride - table.before, last * table.stride - table.before + table.kernel - 1
    start, index, _ = table.entries
    n_out = len(start) - 1
    reached = []
    for end in (first, last):
        inside = min(max(end, 0), n_out - 1)
        beyond = (end - inside) * _slope(table) // 1 if end != inside else 0  # as if the map went on
        reached += [int(i) + int(beyond) for i in index[start[inside] : start[inside + 1]]]
    a, b = max(first, 0), min(last, n_out - 1)
    if a <= b:
        reached += [int(i) for i in index[start[a] : start[b + 1]]]
    return min(reached), max(reached)


def _slope(table: Any) -> Fraction:
    """By how much a map's inputs move on from one output to the next: by one if it pads, otherwise it resizes."""
    start, index, _ = table.entries
    middle = index[start[:-1]][(len(start) - 1) // 4 : 3 * (len(start) - 1) // 4 + 1]
    return Fraction(1) if (middle[1:] - middle[:-1] == 1).all() else Fraction(table.n_in, table.n_out)


def _pad(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    pairs = list(box)
    for i in range(0, len(params["pad"]), 2):
        dim, before = -1 - i // 2, params["pad"][i]
        pairs[dim] = pairs[dim][0] - before, pairs[dim][1] - before
    return [tuple(pairs)]


def _reshape(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    """Dimensions that stay keep their pair; of those joined or split the outermost is told exactly."""
    shape, pairs = shapes[0], []
    i = j = 0
    while i < len(shape) or j < len(out):
        a, b = i + 1, j + 1  # the shortest runs of dimensions with as many elements
        while prod(shape[i:a]) != prod(out[j:b]):
            if a < len(shape) and (b >= len(out) or prod(shape[i:a]) < prod(out[j:b])):
                a += 1
            else:
                b += 1
        sizes, steps = shape[i:a], out[j:b]
        low = sum(p[0] * prod(steps[k + 1 :]) for k, p in enumerate(box[j:b]))
        high = sum(p[1] * prod(steps[k + 1 :]) for k, p in enumerate(box[j:b]))
        exact = True
        for k, n in enumerate(sizes):
            step = prod(sizes[k + 1 :])
            pairs.append((low // step, high // step) if exact else (0, n - 1))
            exact = exact and low // step == high // step
            low, high = low - low // step * step, high - high // step * step
        i, j = a, b
    return [tuple(pairs)]


def _permute(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    pairs = list(box)
    for d, source in enumerate(params["dims"]):
        pairs[source] = box[d]
    return [tuple(pairs)]


def _transpose(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    pairs = list(box)
    a, b = params["dim0"], params["dim1"]
    pairs[a], pairs[b] = box[b], box[a]
    return [tuple(pairs)]


def _each(index: Any, ndim: int) -> tuple[Any, ...]:
    """An index of ints, slices, None and Ellipsis with something for each dimension."""
    named = sum(i is not None and i is not Ellipsis for i in index)
    place = next((k for k, i in enumerate(index) if i is Ellipsis), len(index))
    return (*index[:place], *(slice(None),) * (ndim - named), *index[place + 1 :])


def _slicing(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    shape = shapes[0]
    pairs: list[tuple[int, int]] = []
    given = iter(box)
    for i in _each(params["index"], len(shape)):
        if i is None:
            next(given)
            continue
        n = shape[len(pairs)]
        if isinstance(i, slice):
            start, _, step = i.indices(n)
            ends = [start + step * end for end in next(given)]
            pairs.append((min(ends), max(ends)))
        else:
            pairs.append((int(i) % n, int(i) % n))
    return [tuple(pairs)]


def _concat(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    dim, before, found = params["dim"] % len(out), 0, []
    for i, shape in enumerate(shapes):
        pairs, (first, last) = list(box), box[dim]
        low = first - before if i == 0 else max(first - before, 0)  # the outer ones go on beyond the border
        high = last - before if i == len(shapes) - 1 else min(last - before, shape[dim] - 1)
        pairs[dim] = low, high
        found.append(tuple(pairs))
        before += shape[dim]
    return found


def _split(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    dim, pairs = params["dim"], list(box)
    before = sum(params["sizes"][:output])
    pairs[dim] = box[dim][0] + before, box[dim][1] + before
    return [tuple(pairs)]


def _unbind(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    dim = params["dim"] % len(shapes[0])
    return [(*box[:dim], (output, output), *box[dim:])]


def _stack(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    dim = params["dim"] % len(out)
    first, last = box[dim]
    return [(*box[:dim], *box[dim + 1 :]) if first <= i <= last else None for i in range(len(shapes))]


def _reduction(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    shape = shapes[0]
    over = _dims(params.get("dim", params.get("dims")), len(shape))
    if not over:
        return _all(params, shapes, out, box, output)
    given = iter([p for d, p in enumerate(box) if d not in over] if len(out) == len(shape) else box)
    return [tuple([(0, n - 1) if d in over else next(given) for d, n in enumerate(shape)])]


def _linear(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    rows = box[: len(shapes[0]) - 1]
    return [(*rows, (0, shapes[0][-1] - 1)), *_all(params, shapes[1:], out, box, output)]


def _matmul(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    a, b = shapes
    if min(len(a), len(b)) < 2 or len(a) != len(b):
        return _all(params, shapes, out, box, output)
    batch = [[(0, 0) if n == 1 else p for n, p in zip(shape, box)] for shape in (a[:-2], b[:-2])]
    return [(*batch[0], box[-2], (0, a[-1] - 1)), (*batch[1], (0, b[-2] - 1), box[-1])]


def _contract(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    pairs = dict(zip(params["output"], box))
    return [
        tuple([pairs.get(label, (0, n - 1)) for label, n in zip(labels, shape)])
        for labels, shape in zip(params["subscripts"], shapes)
    ]


#: modules of ops of which an output element depends on those at its place
_ELEMENTWISE = {
    f"{__package__.rpartition('.')[0]}.autograd.{family}"
    for family in (
        *("special", "ops.activation", "ops.arithmetic", "ops.assignment"),
        *("ops.comparison", "ops.dropout", "ops.elementwise"),
    )
}
_RULES: dict[str, Callable[..., list[Any]]] = {
    **dict.fromkeys(("reshape", "unsqueeze", "squeeze", "flatten", "unflatten"), _reshape),
    **dict.fromkeys(
        ("sum", "mean", "amax", "amin", "var", "std", "prod", "logsumexp", "moments", "vector_norm", "any", "all"),
        _reduction,
    ),
    **dict.fromkeys(
        (
            *("alias", "clone", "cast", "expand", "tril", "triu", "where", "normalised", "conj", "real_part", "raised"),
            *("softmax", "log_softmax", "masked_softmax", "cumsum", "cumprod", "logcumsumexp", "linear_scan", "shift"),
        ),
        _elementwise,
    ),
    **dict.fromkeys(("batch_normalised", "batch_norm_relu"), _channelwise),
    **dict.fromkeys(("index_put", "view_assign"), _put),
    "im2col": _unfold,
    "col2im": _fold,
    "windows": _sliding,
    "flip": _flip,
    "index": _index,
    "roll": _roll,
    "gather": _gather,
    "repeat": _repeat,
    "conv": _conv,
    "conv_input": _transposed,
    "max_pool": _max_pool,
    "axis_map": _axis_map,
    "constant_pad_nd": _pad,
    "permute": _permute,
    "transpose": _transpose,
    "slicing": _slicing,
    "concat": _concat,
    "split": _split,
    "unbind": _unbind,
    "stack": _stack,
    "linear": _linear,
    "matmul": _matmul,
    "contract": _contract,
    "zeros_of": _nothing,
}
