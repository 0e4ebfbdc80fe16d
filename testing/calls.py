"""A call of a function under test: its arrays, which of them want a gradient, and its derivatives of any order."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .. import backends
from ..autograd import OPS, Composite, Op, Tensor, grad
from ..autograd.dtypes import differentiable as has_gradient
from ..autograd.dtypes import from_numpy_dtype
from ..autograd.tensor import wrap
from ..backends import np
from .records import OpRecord, Sample
from .samples import Fresh

__all__ = ["Call", "calls_of", "host", "product"]


def host(x: Any) -> Any:
    """A tensor's data (or an array's) as a NumPy array, never a scalar."""
    array = x.array if isinstance(x, Tensor) else x
    return np.asarray(backends.of(array).to_host(array))


def product(a: Any, b: Any) -> float:
    """Σ a·b, of complex numbers Re Σ conj(a)·b: how much b counts in a direction (or under weights) a."""
    return float((np.conj(np.asarray(a)).astype(complex) * b).real.sum())


def _leaves(x: Any) -> Iterator[Any]:
    if isinstance(x, np.ndarray):
        yield x
    elif isinstance(x, (list, tuple)):
        for v in x:
            yield from _leaves(v)
    elif isinstance(x, dict):
        for v in x.values():
            yield from _leaves(v)


def _rebuild(x: Any, arrays: Iterator[Any]) -> Any:
    if isinstance(x, np.ndarray):
        return next(arrays)
    if isinstance(x, Fresh):
        return x.make()
    if isinstance(x, (list, tuple)):
        return type(x)([_rebuild(v, arrays) for v in x])
    if isinstance(x, dict):
        return {k: _rebuild(v, arrays) for k, v in x.items()}
    return x


def _outputs(x: Any) -> list[Tensor]:
    if isinstance(x, Tensor):
        return [x]
    return [t for v in x for t in _outputs(v)] if isinstance(x, (list, tuple)) else []


def _noted(method: Callable[..., Any]) -> Callable[..., Any]:
    """Errors on the way name the call."""

    @functools.wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            if f"in the check of {self}" not in getattr(error, "__notes__", ()):
                error.add_note(f"in the check of {self}")
            raise

    return run


class Call:
    """`function(*args, **kwargs)` of a sample, on tensors of one backend.

    arrays: the sample's arrays, in order; live: the positions of those that want a gradient; floating: of those that
    hold floats or complex numbers. `observe` is applied to the outputs.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        sample: Sample,
        *,
        backend: str = "numpy",
        differentiable: Sequence[str] | None = None,
        observe: Callable[..., Any] | None = None,
    ) -> None:
        self.function, self.sample, self.observe = function, sample, observe
        self.backend = backends.by_name(backend)
        self.arrays = list(_leaves((sample.args, sample.kwargs)))
        self.floating = [i for i, a in enumerate(self.arrays) if has_gradient(a.dtype)]
        wanted = {id(a) for a in self._wanted(differentiable)}
        self.live = [i for i in self.floating if id(self.arrays[i]) in wanted]

    def __repr__(self) -> str:
        return f"{getattr(self.function, 'name', getattr(self.function, '__name__', 'function'))}{self.sample}"

    def _wanted(self, names: Sequence[str] | None) -> Iterator[Any]:
        """The arrays that stand in inputs with a gradient."""
        function, sample = self.function, self.sample
        if isinstance(function, Op):
            inputs, _ = function.bind(sample.args, sample.kwargs)
            if names is None and not isinstance(function, Composite):
                names = tuple(function.rules)
            for name, x in zip(
                function.inputs * len(inputs) if function.variadic else function.inputs, inputs, strict=False
            ):
                if names is None or name in names:
                    yield from _leaves(x)
        elif names is None:
            yield from self.arrays
        else:
            for name, x in inspect.signature(function).bind(*sample.args, **sample.kwargs).arguments.items():
                if name in names:
                    yield from _leaves(x)

    def names_dtype(self) -> bool:
        """True where the call asks for a dtype, which the outputs then have."""
        if "dtype" in self.sample.kwargs:
            return True
        if not isinstance(self.function, Op):
            return False
        _, params = self.function.bind(self.sample.args, self.sample.kwargs)
        return params.get("dtype") is not None

    # -- running --------------------------------------------------------------------------------------------------

    def tensors(self, arrays: Sequence[Any], live: Sequence[int] | None = None) -> list[Tensor]:
        """Leaf tensors on `arrays` (strides and all); those at `live` require grad."""
        for a in arrays:
            from_numpy_dtype(a.dtype)  # the engine looks for complex numbers once a program has made some
        made = [wrap(self.backend.asarray(a), None) for a in arrays]
        for i in self.live if live is None else live:
            made[i].requires_grad_()
        return made

    @_noted
    def outputs(self, tensors: Sequence[Any]) -> list[Tensor]:
        """The function's outputs for these arguments in the arrays' places."""
        it = iter(tensors)
        args, kwargs = _rebuild(self.sample.args, it), _rebuild(self.sample.kwargs, it)
        out = self.function(*args, **kwargs)
        if self.observe is not None:
            out = self.observe(*out) if isinstance(out, (list, tuple)) else self.observe(out)
        return _outputs(out)

    def reference(self, function: Callable[..., Any]) -> list[Any]:
        """What `function` gives for the sample's own arrays."""
        it = iter([a.copy() for a in self.arrays])
        args, kwargs = _rebuild(self.sample.args, it), _rebuild(self.sample.kwargs, it)
        with warnings.catch_warnings():  # of empty slices, of nan
            warnings.simplefilter("ignore", RuntimeWarning)
            out = function(*args, **kwargs)
        if self.observe is not None:
            out = self.observe(*out) if isinstance(out, (list, tuple)) else self.observe(out)
        return [np.asarray(x) for x in out] if isinstance(out, (list, tuple)) else [np.asarray(out)]

    def weights(self, like: Sequence[Any], salt: int) -> list[Any]:
        """Random weights of given shapes and dtypes, (parts) in ±[0.5, 1]; the same for the same `salt`."""
        random, found = np.random.default_rng([salt, 7]), []

        def draw(shape: Any) -> Any:
            return random.uniform(0.5, 1, shape) * random.choice([-1.0, 1.0], shape)

        for x in like:
            values = draw(x.shape)
            found.append(np.asarray(values + 1j * draw(x.shape) if x.dtype.kind == "c" else values).astype(x.dtype))
        return found

    @_noted
    def tower(self, arrays: Sequence[Any], order: int, raw_last: bool = False) -> list[list[Any]]:
        """The outputs (level 0) and the gradients of orders 1 to `order` of <level k - 1, random weights>, on the host.

        raw_last: take the last gradient in the raw mode instead of the recording one. None stands for no gradient.
        """
        tensors = self.tensors(arrays)
        level: list[Any] = [t for t in self.outputs(tensors) if has_gradient(t.array.dtype)]
        levels, live = [[host(t) for t in level]], [tensors[i] for i in self.live]
        for k in range(1, order + 1):
            roots = [t for t in level if t is not None and t.requires_grad]
            if not roots or not live:
                levels.append([None] * len(live))
                level = []
                continue
            weights = self.weights([host(t) for t in level if t is not None], k)
            chosen = [w for w, t in zip(weights, [t for t in level if t is not None], strict=True) if t.requires_grad]
            seeds = [wrap(self.backend.asarray(w), None) for w in chosen]
            level = list(grad(roots, live, seeds, create_graph=not (raw_last and k == order), allow_unused=True))
            levels.append([None if t is None else host(t) for t in level])
        return levels

    def projected(self, arrays: Sequence[Any], order: int) -> tuple[float, float]:
        """<gradient of `order`, its random weights> at `arrays`, and the size of numbers that went into it."""
        tower = self.tower(arrays, order)
        level = [x for x in tower[order] if x is not None]
        pairs = zip(level, self.weights(level, order + 1), strict=True)
        total = sum(product(w, x) for x, w in pairs)
        return total, max(sum(float(np.abs(x).sum()) for x in level if x is not None) for level in tower)


def calls_of(record: OpRecord, backend: str = "numpy", samples: Sequence[Sample] | None = None) -> list[Call]:
    """The calls of a record's samples (or of others) on the backend of this name."""
    return [
        Call(
            record.call or OPS[record.name],
            sample,
            backend=backend,
            differentiable=record.differentiable,
            observe=record.observe,
        )
        for sample in (record.samples() if samples is None else samples)
    ]
