"""What must hold of every op, each written once. A property takes a `Call` and raises GradcheckError where it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd import OPS, Composite, Op, grad
from ..autograd.dtypes import complex_of, differentiable, real_of
from ..autograd.op import raw_of
from ..autograd.tape import backward
from ..autograd.tensor import wrap
from ..backends import np
from .calls import Call, host
from .numeric import Difference
from .samples import negative_stride, permuted, strided

__all__ = [
    "GradcheckError",
    "KinkError",
    "float32_agrees",
    "gradients_match_differences",
    "inputs_stay_unchanged",
    "keeps_only_what_rules_name",
    "kernels_match",
    "memory_layout_does_not_matter",
    "raw_equals_recorded",
    "same_tensor_twice",
    "shapes_and_dtypes_fit",
    "ties_match",
    "value_matches",
    "with_kernels",
]


class GradcheckError(RuntimeError):
    """A derivative, or another property of an op, is not what it must be."""


class KinkError(GradcheckError):
    """The point has no derivative, so a difference says nothing of the rule: move the input, or test the tie itself."""


def _size(x: Any) -> float:
    finite = np.abs(x[np.isfinite(x)]) if x is not None else np.zeros(0)
    return float(finite.max()) if finite.size else 0.0


def _noise(tower: Sequence[Sequence[Any]], rtol: float) -> float:
    """What may be left where numbers of a tower's size cancel."""
    return 1e-3 * rtol * max([_size(x) for level in tower for x in level], default=0.0)


def _close(found: Any, expected: Any, rtol: float, what: str, call: Call, noise: float = 0.0) -> None:
    """Raise unless two arrays agree, relative to the size of the whole, and up to `noise`."""
    if found is None or expected is None:
        if found is None and expected is None:
            return
        other = np.asarray(expected if found is None else found)
        if _size(other) > noise:  # no gradient and a gradient of zeros are the same to a check of values
            raise GradcheckError(f"{call}: {what}: one is no gradient, the other {other}")
        return
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        raise GradcheckError(f"{call}: {what}: shape {list(found.shape)}, expected {list(expected.shape)}")
    if (found.dtype.kind in "biu" and expected.dtype.kind in "biu") or rtol == 0:
        same = np.array_equal(found, expected, equal_nan=found.dtype.kind not in "biu")
    else:
        wide = np.complex128 if "c" in (found.dtype.kind, expected.dtype.kind) else np.float64
        found, expected = found.astype(wide), expected.astype(wide)
        same = np.allclose(found, expected, rtol=rtol, atol=rtol * _size(expected) + noise, equal_nan=True)
    if not same:
        raise GradcheckError(f"{call}: {what}: got\n{found}\nexpected\n{expected}")


# -- values -----------------------------------------------------------------------------------------------------------


def value_matches(call: Call, reference: Callable[..., Any], tolerance: float = 1e-9, kinds: bool = True) -> None:
    """The forward equals the reference on the same arrays: values, shapes and (`kinds`) float, int or bool.

    tolerance: relative.
    """
    found = [host(t) for t in call.outputs(call.tensors(call.arrays))]
    with np.errstate(all="ignore"):  # some BLAS raise flags for lanes of a vector that hold no data
        expected = call.reference(reference)
    if len(found) != len(expected):
        raise GradcheckError(f"{call}: {len(found)} outputs, expected {len(expected)}")
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        if kinds and b.size and len({d.kind if d.kind not in "iu" else "i" for d in (a.dtype, b.dtype)}) > 1:
            raise GradcheckError(f"{call}: output {i} is {a.dtype}, expected {b.dtype}")
        _close(a, b, tolerance, f"output {i}", call)


# -- derivatives ------------------------------------------------------------------------------------------------------


def gradients_match_differences(call: Call, order: int = 1, tolerance: float = 1e-5, step: float = 1e-3) -> None:
    """The gradient of `order` equals central differences of the gradient one below it, by random projection.

    KinkError where the function has no derivative at the point and the rule's answer differs from the differences.
    tolerance: relative; step: of the differences.
    """
    live = [call.arrays[i] for i in call.live]
    if not live or not sum(a.size for a in live):
        return
    found = call.tower(call.arrays, order)[order]
    direction = call.weights(live, -order % 97)
    moves = dict(zip(call.live, direction, strict=True))

    def along(t: float) -> float:
        return call.projected([a + t * moves[i] if i in moves else a for i, a in enumerate(call.arrays)], order - 1)[0]

    terms = [(np.conj(g) * v).real for g, v in zip(found, direction, strict=True) if g is not None]
    expected = float(sum(float(t.sum()) for t in terms))
    if not np.isfinite(expected):
        raise GradcheckError(f"{call}: the gradient of order {order} is not finite: {found}")
    difference = Difference(along, call.projected(call.arrays, order - 1)[1], step)
    if not np.isfinite(difference.value):
        raise GradcheckError(
            f"{call}: the gradient of order {order - 1} is not finite near the point; keep away from it"
        )
    scale = max([abs(expected), abs(difference.value), *(0.1 * float(np.abs(t).sum()) for t in terms)])
    if difference.agrees(expected, tolerance, scale):
        return
    kink = difference.kink()
    below = "function" if order == 1 else f"gradient of order {order - 1}"
    if kink:
        raise KinkError(f"{call}: the {below} has a kink at this point: {kink}; the rule gives {expected:.8g}")
    raise GradcheckError(
        f"{call}: the gradient of order {order} is wrong: along a random direction it is {expected:.10g}, "
        f"and differences of the {below} give {difference.value:.10g}"
    )


def raw_equals_recorded(call: Call, order: int = 1, tolerance: float = 0.0) -> None:
    """The gradient of `order` in the raw mode is the one that is recorded under create_graph: bit for bit.

    tolerance: relative; above 0 for ops whose gradients agree to rounding only.
    """
    raw, recorded = call.tower(call.arrays, order, raw_last=True), call.tower(call.arrays, order)
    for i, (a, b) in enumerate(zip(raw[order], recorded[order], strict=True)):
        if (a is None) != (b is None):
            raise GradcheckError(f"{call}: gradient {i} of order {order} is None in one of raw and recorded mode only")
        what = f"gradient {i} of order {order}, raw against recorded"
        _close(a, b, tolerance, what, call, _noise(recorded, tolerance))
    if order == 1:
        tensors = call.tensors(call.arrays)
        roots = [t for t in call.outputs(tensors) if differentiable(t.array.dtype)]
        seeds = call.weights([host(t) for t in roots], 1)
        pairs = [(r, wrap(call.backend.asarray(s), None)) for r, s in zip(roots, seeds, strict=True) if r.requires_grad]
        if pairs:
            backward([r for r, _ in pairs], [s for _, s in pairs])
        for i, k in enumerate(call.live):
            leaf = tensors[k].grad
            found = None if leaf is None else host(leaf)
            _close(found, recorded[1][i], tolerance, f"backward() for input {k}", call, _noise(recorded, tolerance))


def _cast(arrays: Sequence[Any], dtype: Any) -> list[Any]:
    def kind(a: Any) -> Any:
        return complex_of(np.dtype(dtype)) if a.dtype.kind == "c" else dtype

    return [a.astype(kind(a)) if differentiable(a.dtype) else a for a in arrays]


def shapes_and_dtypes_fit(call: Call, dtypes: Sequence[Any] = (np.float64, np.float32)) -> None:
    """Gradients have their input's shape and dtype in both modes; float32 gives float32, if no dtype is asked for.

    dtypes: of the inputs, one after another.
    """
    for dtype in dtypes:
        arrays = _cast(call.arrays, dtype)
        tensors = call.tensors(arrays)
        outputs = call.outputs(tensors)
        for i, t in enumerate(outputs):
            kind = t.array.dtype
            if call.live and not call.names_dtype() and differentiable(kind) and real_of(kind) != dtype:
                raise GradcheckError(f"{call}: output {i} is {t.array.dtype} for {np.dtype(dtype)} inputs")
        for raw in (True, False):
            mode = "raw" if raw else "recorded"
            for k, level in enumerate(call.tower(arrays, 1 if raw else 2, raw)[1:], 1):
                for i, g in zip(call.live, level, strict=True):
                    if g is not None and (g.shape, g.dtype) != (arrays[i].shape, arrays[i].dtype):
                        raise GradcheckError(
                            f"{call}: the gradient of order {k} for array {i} is {g.dtype}{list(g.shape)} "
                            f"in {mode} mode, the array {arrays[i].dtype}{list(arrays[i].shape)}"
                        )


def float32_agrees(call: Call, tolerance: float = 1e-4) -> None:
    """Values and first gradients in float32 are those of float64, up to `tolerance` of their size."""
    rounded = _cast(_cast(call.arrays, np.float32), np.float64)
    single, double = call.tower(_cast(call.arrays, np.float32), 1), call.tower(rounded, 1)
    for k in (0, 1):
        for i, (a, b) in enumerate(zip(single[k], double[k], strict=True)):
            what = f"{'gradient' if k else 'output'} {i}, float32 against float64"
            _close(a, b, tolerance, what, call, _noise(double, tolerance))


# -- memory -----------------------------------------------------------------------------------------------------------


def memory_layout_does_not_matter(call: Call, order: int = 1) -> None:
    """Permuted, reversed and strided inputs give the values (order 0) and gradients (1) of contiguous ones."""
    expected = call.tower(call.arrays, min(order, 1))
    for layout in (permuted, negative_stride, strided):
        found = call.tower([layout(a) for a in call.arrays], min(order, 1))
        for k, level in enumerate(expected):
            for i, (a, b) in enumerate(zip(found[k], level, strict=True)):
                what = f"{'gradient' if k else 'output'} {i} of {layout.__name__} inputs"
                _close(a, b, 1e-9, what, call, _noise(expected, 1e-9))


def inputs_stay_unchanged(call: Call, order: int = 1) -> None:
    """Neither the call nor its gradients write into inputs, incoming gradients, or what the graph holds.

    order: 0 for the call alone.
    """
    before, given = [a.copy() for a in call.arrays], [a.copy() for a in call.arrays]
    tensors = call.tensors(given)
    roots = [t for t in call.outputs(tensors) if differentiable(t.array.dtype)]
    values = [host(t).copy() for t in roots]
    tracked = [t for t in roots if t.requires_grad]
    if tracked and order:
        weights = call.weights([host(t) for t in tracked], 1)
        seeds = [wrap(call.backend.asarray(w.copy()), None) for w in weights]
        live, rounds = [tensors[i] for i in call.live], []
        for recording in (False, True, False):
            found = grad(tracked, live, seeds, retain_graph=True, create_graph=recording, allow_unused=True)
            rounds.append([None if g is None else host(g).copy() for g in found])
        for i, (seed, weight) in enumerate(zip(seeds, weights, strict=True)):
            _close(host(seed), weight, 0, f"the incoming gradient {i} was written into", call)
        for i, (first, last) in enumerate(zip(rounds[0], rounds[2], strict=True)):
            _close(last, first, 0, f"gradient {i} of a second walk (something that the graph holds was changed)", call)
    for i, (t, b) in enumerate(zip(tensors, before, strict=True)):
        _close(host(t), b, 0, f"array {i} was written into", call)
    for i, (t, value) in enumerate(zip(roots, values, strict=True)):
        _close(host(t), value, 0, f"output {i} was written into by its own gradient", call)


def same_tensor_twice(call: Call) -> None:
    """One tensor in two places gets the sum of both places' gradients."""
    for one in call.live:
        for two in call.live:
            if one < two and call.arrays[one].shape == call.arrays[two].shape and call.arrays[one].size:
                _check_twice(call, one, two)


def _check_twice(call: Call, one: int, two: int) -> None:
    arrays = [a.copy() for a in call.arrays]
    arrays[two] = arrays[one].copy()
    apart = call.tower(arrays, 1)
    places = {i: g for i, g in zip(call.live, apart[1], strict=True) if g is not None}
    if not all(np.isfinite(x).all() for x in [*apart[0], *places.values()]):
        return
    tensors = call.tensors(arrays)
    tensors[two] = tensors[one]
    roots = [t for t in call.outputs(tensors) if differentiable(t.array.dtype)]
    for i, (t, value) in enumerate(zip(roots, apart[0], strict=True)):
        _close(host(t), value, 1e-12, f"output {i} of the same tensor at {one} and {two}", call)
    pairs = [(t, w) for t, w in zip(roots, call.weights(apart[0], 1), strict=True) if t.requires_grad]
    if not pairs:
        return
    seeds = [wrap(call.backend.asarray(w), None) for _, w in pairs]
    (found,) = grad([t for t, _ in pairs], [tensors[one]], seeds, allow_unused=True)
    expected = sum(places.get(i, np.zeros_like(arrays[i])) for i in (one, two))
    noise = max(1e-9 * max(map(_size, places.values()), default=0.0), _noise(apart, 1e-9))  # the sum may cancel
    found = None if found is None else host(found)
    _close(found, expected, 1e-9, f"the same tensor at {one} and {two}", call, noise)


def keeps_only_what_rules_name(call: Call) -> None:
    """A recorded call keeps the arrays that the rules of its tracked inputs name, and no others.

    For an op; a composite without a kernel, or a plain function, is many nodes, and only records something where an
    input is tracked.
    """
    function = call.function
    for live in [[], *([i] for i in call.live), call.live]:
        tensors = call.tensors(call.arrays, live)
        outputs = call.outputs(tensors)
        if not live:
            for i, t in enumerate(outputs):
                if t.node is not None:
                    raise GradcheckError(f"{call}: output {i} was recorded though no input wants a gradient")
        elif isinstance(function, Op) and not isinstance(function, Composite) and call.observe is None:
            _check_kept(call, function, tensors, outputs)


def _check_kept(call: Call, op: Op, tensors: Sequence[Any], outputs: Sequence[Any]) -> None:
    node = next((t.node for t in outputs if t.node is not None), None)
    if node is None:
        return
    if node.plan.op.name == "pick":
        node = node.parents[0]
    if node.plan.op is not op:  # e.g. recorded as another op
        return
    names: set[str] = set()
    for i, parent in enumerate(node.parents):
        if parent is not None:
            names |= set(op.rules[op.inputs[0] if op.variadic else op.inputs[i]].wants)
    arrays = {id(a) for t in tensors for a in [t.array]}
    made = {id(t.array) for i, t in enumerate(outputs) if f"out_{i}" not in names}
    kept = {id(v) for v in _flat(node.saved) if hasattr(v, "nbytes") and hasattr(v, "dtype")}
    if "out" not in names and kept & made - arrays:
        raise GradcheckError(f"{call}: the output is kept, though no rule names it")
    inputs = {n for n in names if n in op.inputs}
    if not inputs and kept & arrays:
        raise GradcheckError(f"{call}: an input is kept, though no rule names one (they name {sorted(names)})")
    if not op.variadic and len(kept & arrays) > len(inputs):
        raise GradcheckError(f"{call}: {len(kept & arrays)} inputs are kept, though the rules name {sorted(inputs)}")


def _flat(values: Any) -> Any:
    for v in values or ():
        if isinstance(v, tuple):
            yield from _flat(v)
        else:
            yield v


# -- kinks ------------------------------------------------------------------------------------------------------------


def ties_match(call: Call, expected: Sequence[Any]) -> None:
    """At a kink the gradient (of the sum of the outputs) is the documented one, in both modes."""
    for recording in (False, True):
        tensors = call.tensors(call.arrays)
        roots = [t for t in call.outputs(tensors) if t.requires_grad]
        seeds = [wrap(call.backend.asarray(np.ones(host(t).shape, host(t).dtype)), None) for t in roots]
        live = [tensors[i] for i in call.live]
        found = grad(roots, live, seeds, create_graph=recording, allow_unused=True)
        if len(found) != len(expected):
            raise GradcheckError(f"{call}: {len(found)} inputs with gradients, {len(expected)} expected")
        for i, (g, right) in enumerate(zip(found, expected, strict=True)):
            right = None if right is None else np.asarray(right, np.float64)
            _close(None if g is None else host(g), right, 1e-12, f"gradient {i} at the tie", call)


# -- kernels ----------------------------------------------------------------------------------------------------------


def with_kernels(backend: Any, kernels: dict[str, Any]) -> Any:
    """Context manager: `backend` has these kernels in place of its own of the same names; None: the generic form."""
    return _Replaced(backend, kernels)


class _Replaced:
    def __init__(self, backend: Any, kernels: dict[str, Any]) -> None:
        self.backend, self.new = backend, kernels
        self.old: dict[str, Any] = {}

    def __enter__(self) -> None:
        self.old = {n: self.backend.kernels.get(n) for n in self.new}
        self._put(self.new)

    def __exit__(self, *exc: Any) -> None:
        self._put(self.old)

    def _put(self, kernels: dict[str, Any]) -> None:
        for name, kernel in kernels.items():
            if kernel is None:
                self.backend.kernels.pop(name, None)
            else:
                self.backend.kernels[name] = kernel
        for name in {n.partition(".")[0] for n in kernels}:
            _forget(OPS[name], self.backend)


def _forget(op: Op, backend: Any) -> None:
    """Drop what an op remembers of its kernels."""
    op.kernels.clear()
    for plan in op._plans.values():
        plan.clear()
    raw_of(backend).__dict__.pop(op.name, None)
    if isinstance(op, Composite):
        op._fused.clear()
        op._fused_plan.clear()


def kernels_match(
    call: Call, names: Sequence[str], order: int = 2, tolerance: float = 1e-9, dtypes: Sequence[Any] = (np.float64,)
) -> set[str]:
    """With the backend's kernels and without them: the same values and gradients up to `order`, raw and recorded.

    names: of the kernels. dtypes: of the inputs, one after another. tolerance: relative, in float64 (1e-4 at least in
    others). Returns the names of the kernels that served the call (a kernel may return NotImplemented).
    """
    served: set[str] = set()

    def counted(name: str, kernel: Any) -> Any:
        def count(*args: Any, **kwargs: Any) -> Any:
            out = kernel(*args, **kwargs)
            if out is not NotImplemented:
                served.add(name)
            return out

        count.partial = getattr(kernel, "partial", False)  # type: ignore[attr-defined]
        return count

    kernels = {n: counted(n, call.backend.kernels[n]) for n in names}
    for dtype in dtypes:
        arrays = _cast(call.arrays, dtype)
        rtol = tolerance if dtype == np.float64 else max(tolerance, 1e-4)
        # what is smaller than an input is a sum, perhaps in another order, which may cancel
        largest = max([np.size(a) for a in arrays], default=0)
        cancelled = 4 * np.finfo(dtype).eps * max([_size(a) * np.size(a) ** 0.5 for a in arrays], default=0)
        with with_kernels(call.backend, dict.fromkeys(names)):
            plain = call.tower(arrays, order)
        with with_kernels(call.backend, kernels):
            towers = {"recorded": call.tower(arrays, order)}
            if order:
                towers["raw"] = call.tower(arrays, 1, raw_last=True)
        for mode, tower in towers.items():
            for k, level in enumerate(tower):
                for i, (found, expected) in enumerate(zip(level, plain[k], strict=True)):
                    what = f"{'gradient' if k else 'output'} {i} of order {k} with kernels, in {dtype.__name__}, {mode}"
                    summed = cancelled if np.size(expected) < largest else 0
                    _close(found, expected, rtol, what, call, _noise(plain, rtol) + summed)
    return served
