"""Products of matrices on the GPU by cuBLASLt: `matmul`, `linear` and its gradients. Has not run on a GPU yet.

backends/matrices.py turns shapes and strides into GEMM calls, `Executor` launches them. Nothing here goes through
CuPy's cuBLAS, so products can be captured into a CUDA graph. Sums of 16-bit products are made in float32, unless
`chainrule.backends.cuda.matmul` says otherwise; float32 is exact to rounding, or TF32 where that is allowed.

Without libcublasLt (a warning tells) and for integers, CuPy multiplies as it can: see namespace.py.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np

from .. import cuda as settings
from .. import matrices
from ..matrices import Plan
from ..numpy.linear import turned
from ..recorder import CaptureError, recording
from . import launch
from .columns import column_sums
from .cublaslt import Compute, Epilogue, Library, Missing, Prepared, Reduction, Setup, Type, fastest, load

__all__ = ["GEMM", "Executor", "executor", "matmul", "product"]

#: char of a dtype -> its name in the library; E is ml_dtypes' bfloat16
TYPES = {"d": Type.R_64F, "f": Type.R_32F, "e": Type.R_16F, "E": Type.R_16BF}
#: algorithms that are timed where tuning is enabled (chainrule.cuda.tunable), and launches of each
CANDIDATES, LAUNCHES = 8, 10

_Two = tuple[int, int]
_Three = tuple[int, int, int]


# -- launching --------------------------------------------------------------------------------------------------------


class Executor:
    """Chooses an algorithm for each product and launches it on the current stream. Tests put a simulation here."""

    def __init__(self) -> None:
        self._prepared: dict[tuple[int, Setup], Prepared | None] = {}
        self._equal: dict[tuple[int, tuple[Any, ...]], Prepared | None] = {}

    @functools.cached_property
    def library(self) -> Library | None:
        """cuBLASLt; None, after a warning, where there is none."""
        try:
            return load(cupy.cuda.runtime.runtimeGetVersion() // 1000)
        except Missing as missing:
            warnings.warn(f"matrix products are slower and cannot be captured: {missing}", RuntimeWarning, stacklevel=2)
            return None

    def serves(self) -> bool:
        """Whether there is a library. CaptureError without one while a step is captured."""
        if self.library is not None:
            return True
        if recording() is not None:
            raise CaptureError("a product of matrices cannot be captured without libcublasLt")
        return False

    def address(self, array: Any) -> int:
        """Where an array begins."""
        return array.data.ptr

    def run(self, setup: Setup, a: int, b: int, d: int, bias: int = 0, aux: int = 0) -> bool:
        """Launch a product on addresses; False where no algorithm serves it."""
        device = cupy.cuda.runtime.getDevice()
        key = device, setup
        try:
            prepared = self._prepared[key]
        except KeyError:
            equal = device, tuple(setup)  # of the same product of arrays with other strides
            if equal not in self._equal:
                self._equal[equal] = self._chosen(device, setup, (a, b, d), (bias, aux))
            prepared = self._prepared[key] = self._equal[equal]
        if prepared is None:
            return False
        self._launch(prepared, device, (a, b, d), (bias, aux))
        return True

    def _launch(self, prepared: Prepared, device: int, places: _Three, extra: _Two) -> None:
        memory = cupy.cuda.alloc(prepared.workspace) if prepared.workspace else None
        workspace = 0 if memory is None else memory.ptr
        stream = cupy.cuda.get_current_stream().ptr
        (a, b, d), (bias, aux) = places, extra
        prepared.run(prepared.library.handle(device), a, b, d, stream, workspace, bias, aux)

    def _chosen(self, device: int, setup: Setup, places: _Three, extra: _Two) -> Prepared | None:
        assert self.library is not None
        prepared = Prepared(self.library, setup)
        tuning = settings.tuning and recording() is None
        found = prepared.candidates(self.library.handle(device), CANDIDATES if tuning else 1)
        if not found:
            return None
        if len(found) > 1:
            found = [fastest(prepared, found, lambda: self._time(prepared, device, places, extra))]
        prepared.choose(*found[0])
        return prepared

    def _time(self, prepared: Prepared, device: int, places: _Three, extra: _Two) -> float:
        """Milliseconds of a launch, which writes the product each time."""
        self._launch(prepared, device, places, extra)
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        for _ in range(LAUNCHES):
            self._launch(prepared, device, places, extra)
        end.record()
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(start, end)) / LAUNCHES


executor: Any = Executor()


class _Known(Setup):
    """A setup that is made once for each product: told from others by identity, which takes no time."""

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__


def _alignments(*addresses: int) -> tuple[int, ...]:
    return tuple([min(p & -p, 256) or 256 for p in addresses])


_ALIGNED = _alignments(0, 0, 0, 0, 0)


def _precision(char: str) -> tuple[Compute, int]:
    """How elements `char` are summed, and the reductions that are allowed, by the settings of the time."""
    rules = settings.matmul
    if char == "f":
        return Compute.F32_FAST_TF32 if rules.fp32_precision == "tf32" else Compute.F32, Reduction.MASK
    if char == "d":
        return Compute.F64, Reduction.MASK
    half = char == "e"
    reduced = rules.allow_fp16_reduced_precision_reduction if half else rules.allow_bf16_reduced_precision_reduction
    compute = Compute.F16 if half and rules.allow_fp16_accumulation else Compute.F32
    return compute, Reduction.MASK if reduced else Reduction.COMPUTE_TYPE


# -- products of arrays -----------------------------------------------------------------------------------------------


class Strided:
    """An array or its transpose, as a product takes it: no view is made."""

    __slots__ = ("array", "shape", "strides")

    def __init__(self, array: Any, turn: bool = False) -> None:
        self.array = array
        self.shape, self.strides = (array.shape[::-1], array.strides[::-1]) if turn else (array.shape, array.strides)


@functools.lru_cache(maxsize=4096)
def _plan(
    left: tuple[int, ...], left_bytes: tuple[int, ...], right: tuple[int, ...], right_bytes: tuple[int, ...], size: int
) -> tuple[Plan | None, dict[Any, _Known]]:
    """The plan of a product, and room for the setups that it has been launched with."""
    if any(step % size for step in (*left_bytes, *right_bytes)):
        return None, {}  # fields of a struct
    steps = [tuple([step // size for step in strides]) for strides in (left_bytes, right_bytes)]
    return matrices.matmul(left, steps[0], right, steps[1]), {}


def product(
    left: Any, right: Any, epilogue: Epilogue = Epilogue.DEFAULT, bias: Any = None, aux: Any = None, aux_ld: int = 0
) -> Any:
    """left @ right of two `Strided`, in a new array; NotImplemented for what cuBLASLt does not do.

    bias: a vector in C order which the epilogue adds or writes; aux: what it writes or reads besides.
    """
    kind = left.array.dtype
    if kind.char not in TYPES or right.array.dtype != kind:
        return NotImplemented
    size = kind.itemsize
    plan, setups = _plan(left.shape, left.strides, right.shape, right.strides, size)
    while plan is not None and plan.copy:
        left, right = (
            (_copied(left, right, plan.wide), right) if plan.copy == "left" else (left, _copied(right, left, plan.wide))
        )
        plan, setups = _plan(left.shape, left.strides, right.shape, right.strides, size)
    if plan is None or not executor.serves():
        return NotImplemented
    if plan.gemm is None:
        return NotImplemented if epilogue != Epilogue.DEFAULT else launch.zeros(plan.shape, kind)
    pointer = executor.address
    out = launch.new(plan.shape, kind)
    a, b, d = pointer(right.array), pointer(left.array), pointer(out)
    extra = 0 if bias is None else pointer(bias), 0 if aux is None else pointer(aux)
    precision = _precision(kind.char)
    for at_a, at_b, at_d in plan.offsets:
        places = a + at_a * size, b + at_b * size, d + at_d * size
        aligned = not (places[0] | places[1] | places[2] | extra[0] | extra[1]) & 255
        alignments = _ALIGNED if aligned else _alignments(*places, *extra)
        key = kind.char, epilogue, aux_ld, precision, alignments
        setup = setups.get(key)
        if setup is None:
            compute, reduction = precision
            setup = _Known(plan.gemm, TYPES[kind.char], compute, epilogue, alignments, aux_ld, reduction)
            setups[key] = setup
        if not executor.run(setup, *places, *extra):
            return NotImplemented
    return out


def _copied(x: Strided, other: Strided, wide: bool) -> Strided:
    """`x` in C order, expanded to the leading dimensions of both where it must be."""
    xp = launch.machine.xp
    array = x.array if x.array.shape == x.shape and x.array.strides == x.strides else x.array.T
    if wide:
        lead = np.broadcast_shapes(x.shape[:-2], other.shape[:-2])
        array = xp.broadcast_to(array, (*lead, *x.shape[-2:]))
    return Strided(xp.ascontiguousarray(array))


def matmul(input: Any, other: Any) -> Any:
    """`numpy.matmul`."""
    return product(Strided(input), Strided(other))


# -- linear -----------------------------------------------------------------------------------------------------------


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """input @ weight.T + bias, the bias in the product's epilogue."""
    if weight.ndim != 2 or not input.ndim or input.shape[-1] != weight.shape[1]:
        return NotImplemented
    left, right = Strided(input), Strided(weight, turn=True)
    if bias is None:
        return product(left, right)
    if bias.shape != weight.shape[:1] or bias.dtype != input.dtype:
        return NotImplemented
    out = product(left, right, Epilogue.BIAS, launch.contiguous(bias))
    if out is NotImplemented:
        out = product(left, right)
        if out is not NotImplemented:
            out += bias
    return out


def _rows(x: Any) -> Any:
    return x if x.ndim == 2 else x.reshape(-1 if x.size else 0, x.shape[-1])


def input_grad(g: Any, weight: Any) -> Any:
    """g @ weight."""
    if weight.ndim != 2 or not g.ndim:
        return NotImplemented
    return product(Strided(g), Strided(weight))


def _outer(g: Any, input: Any, weight_shape: tuple[int, ...]) -> tuple[Any, Any]:
    """g and input as matrices whose rows are paired; (None, None) for a weight of one dimension."""
    if len(weight_shape) != 2:
        return None, None
    if turned(input, weight_shape[0]):
        g, input = g.transpose(1, 0, 2), input.transpose(1, 0, 2)
    return _rows(g), _rows(input)


def weight_grad(g: Any, input: Any, weight_shape: tuple[int, ...]) -> Any:
    """gᵀ @ input over all rows."""
    rows, columns = _outer(g, input, weight_shape)
    return NotImplemented if rows is None else product(Strided(rows, turn=True), Strided(columns))


def bias_grad(g: Any, shape: tuple[int, ...]) -> Any:
    """The sum of the rows of g."""
    if g.ndim == len(shape) or len(shape) != 1 or not g.size or g.dtype.char not in TYPES:
        return NotImplemented
    return column_sums(launch.contiguous(_rows(g)), g.dtype)


def grads(g: Any, given: dict[str, tuple[Any, ...]]) -> Any:
    """The gradients of the inputs that `given` names: the bias's comes with the weight's, in its epilogue."""
    if "weight" not in given or "bias" not in given:
        return NotImplemented
    rows, columns = _outer(g, *given["weight"])
    if rows is None or given["bias"] != ((rows.shape[1],),):
        return NotImplemented
    bias = launch.new(rows.shape[1], rows.dtype)
    found = {"weight": product(Strided(rows, turn=True), Strided(columns), Epilogue.BGRADB, bias), "bias": bias}
    if found["weight"] is NotImplemented:
        return NotImplemented
    if "input" in given:
        found["input"] = input_grad(g, *given["input"])
    return [found[name] for name in given]


# -- two linear maps with a function between them ---------------------------------------------------------------------


def feed_forward(
    input: Any, weight1: Any, weight2: Any, bias1: Any = None, bias2: Any = None, activation: str = "relu"
) -> Any:
    """As the composite: (result, what the gradients need). ReLU and GELU are in the first product's epilogue."""
    vectors = [(bias1, weight1), (bias2, weight2)]
    if weight1.ndim != 2 or weight2.ndim != 2 or not input.ndim or not input.size:
        return NotImplemented
    if any(b is not None and (b.shape != w.shape[:1] or b.dtype != w.dtype) for b, w in vectors):
        return NotImplemented
    x, aux, ld = _rows(input), None, 0
    width = weight1.shape[0]
    if activation == "gelu_tanh":
        ld = -(-width // 8) * 8
        aux = launch.new((x.shape[0], ld), x.dtype)
        epilogue = Epilogue.GELU_AUX if bias1 is None else Epilogue.GELU_AUX_BIAS
    else:
        epilogue = Epilogue.RELU if bias1 is None else Epilogue.RELU_BIAS
    bias = None if bias1 is None else launch.contiguous(bias1)
    hidden = product(Strided(x), Strided(weight1, turn=True), epilogue, bias, aux, ld)
    if hidden is NotImplemented:
        return NotImplemented
    out = linear(hidden, weight2, bias2)
    if out is NotImplemented:
        return NotImplemented
    kept = x, hidden, aux, weight1, weight2, input.shape
    return out.reshape(*input.shape[:-1], weight2.shape[0]), kept


def feed_forward_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients of the five inputs: GELU's and the biases' in the products' epilogues."""
    x, hidden, aux, weight1, weight2, shape = residual
    g = _rows(g)
    found: list[Any] = [None] * 5
    found[2], found[4] = _of_weight(g, hidden, needs[2], needs[4])
    if needs[0] or needs[1] or needs[3]:
        before, found[3] = _before(g, hidden, aux, weight2, needs[3])
        found[1], again = _of_weight(before, x, needs[1], needs[3] and found[3] is None)
        found[3] = again if found[3] is None else found[3]
        if needs[0]:
            dx = input_grad(before, weight1) if before is not NotImplemented else NotImplemented
            found[0] = dx if dx is NotImplemented else dx.reshape(shape)
    return NotImplemented if any(f is NotImplemented for f in found) else found


def _of_weight(g: Any, x: Any, weight: bool, bias: bool) -> tuple[Any, Any]:
    """The gradients of a weight and a bias, those that are wanted."""
    if g is NotImplemented:
        return NotImplemented, None
    if weight and bias:
        total = launch.new(g.shape[1], g.dtype)
        found = product(Strided(g, turn=True), Strided(x), Epilogue.BGRADB, total)
        if found is not NotImplemented:
            return found, total
    return (
        product(Strided(g, turn=True), Strided(x)) if weight else None,
        bias_grad(g, (g.shape[1],)) if bias else None,
    )


def _before(g: Any, hidden: Any, aux: Any, weight2: Any, bias: bool) -> tuple[Any, Any]:
    """(the gradient before the function, its sum over rows where it came along and is wanted)."""
    if aux is None:
        inner = product(Strided(g), Strided(weight2))
        if inner is not NotImplemented:
            inner = launch.machine.xp.where(hidden <= 0, 0, inner)
        return inner, None
    total = launch.new(weight2.shape[1], g.dtype) if bias else None
    epilogue = Epilogue.DGELU_BGRAD if bias else Epilogue.DGELU
    return product(Strided(g), Strided(weight2), epilogue, total, aux, aux.shape[1]), total


def _partial(kernel: Callable[..., Any]) -> Callable[..., Any]:
    kernel.partial = True  # type: ignore[attr-defined]
    return kernel


GEMM: dict[str, Callable[..., Any]] = {
    "matmul": _partial(matmul),
    "linear": _partial(linear),
    "linear.grad.input": _partial(input_grad),
    "linear.grad.weight": _partial(weight_grad),
    "linear.grad.bias": _partial(bias_grad),
    "linear.grads": _partial(grads),
    "feed_forward": _partial(feed_forward),
    "feed_forward.grad": _partial(feed_forward_grad),
}
