"""Which elements of its inputs a box of an op's output depends on, as a box.

A box is a pair (first, last) for each dimension. It may lie outside the tensor: a window at the border reaches into
the padding, and the receptive field is measured as if the image went on. Ops that are not known here depend on all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import prod
from typing import Any

from ..autograd.ops.resampling import WindowSum
from ..backends import np
from .trace import Call

__all__ = ["Box", "hull", "needed"]

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
    found = _RULES.get(op.name, _elementwise if _broadcasts(shapes, out) else _all)(params, shapes, out, box, output)
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


def _elementwise(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    along = params.get("dim", params.get("dims"))  # softmax, cumsum and the like mix the elements of a dimension
    mixed = set() if along is None else {d % len(out) for d in (along if isinstance(along, tuple) else (along,))}
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


def _transposed(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    spatial = []
    for (a, b), k, s, (p, _), d in zip(
        box[2:], shapes[1][2:], params["stride"], params["padding"], params["dilation"], strict=True
    ):
        ends = -((-(a + p - (k - 1) * d)) // s), (b + p) // s
        spatial.append((min(ends), max(ends)))  # an output that no input meets stands between two of them
    return [(box[0], (0, shapes[0][1] - 1), *spatial), full(shapes[1])]


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


def _slicing(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    shape, index = shapes[0], params["index"]
    named = sum(i is not None and i is not Ellipsis for i in index)
    rest = (slice(None),) * (len(shape) - named)
    place = next((k for k, i in enumerate(index) if i is Ellipsis), len(index))
    pairs: list[tuple[int, int]] = []
    given = iter(box)
    for i in (*index[:place], *rest, *index[place + 1 :]):
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
    for shape in shapes:
        pairs = list(box)
        pairs[dim] = max(box[dim][0] - before, 0), min(box[dim][1] - before, shape[dim] - 1)
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
    dims, shape = params.get("dim", params.get("dims")), shapes[0]
    if dims is None:
        return _all(params, shapes, out, box, output)
    over = {d % len(shape) for d in (dims if isinstance(dims, tuple) else (dims,))}
    given = iter([p for d, p in enumerate(box) if d not in over] if len(out) == len(shape) else box)
    return [tuple([(0, n - 1) if d in over else next(given) for d, n in enumerate(shape)])]


def _linear(params: Any, shapes: Shapes, out: Any, box: Box, output: int) -> list[Any]:
    return [(*box[:-1], (0, shapes[0][-1] - 1)), *_all(params, shapes[1:], out, box, output)]


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


_RULES: dict[str, Callable[..., list[Any]]] = {
    **dict.fromkeys(("reshape", "unsqueeze", "squeeze", "flatten", "unflatten"), _reshape),
    **dict.fromkeys(
        ("sum", "mean", "amax", "amin", "var", "std", "prod", "logsumexp", "moments", "vector_norm", "any", "all"),
        _reduction,
    ),
    **dict.fromkeys(("flip", "roll", "sort", "gather", "scatter", "index", "index_put"), _all),
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
