"""`Fuzzer`: sizes and tensors drawn at random, for timing an op on more than one kind of input."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...autograd import Tensor
from ...autograd.dtypes import float32
from ...autograd.random import rand, randint
from ...backends import np

__all__ = ["FuzzedParameter", "FuzzedTensor", "Fuzzer", "ParameterAlias"]


class ParameterAlias:
    """In a distribution: the value that another parameter has. alias_to: its name."""

    def __init__(self, alias_to: str) -> None:
        self.alias_to = alias_to

    def __repr__(self) -> str:
        return f"ParameterAlias[alias_to: {self.alias_to}]"


class FuzzedParameter:
    """A number that is drawn.

    name: what it is called. minval, maxval: its bounds, both included where they are integers. distribution: "uniform",
    "loguniform", or a dictionary of values (ParameterAlias among them) with their probabilities. strict: the name is
    never that of a tensor's size alone. ValueError for another distribution or one without bounds.
    """

    def __init__(
        self,
        name: str,
        minval: float | None = None,
        maxval: float | None = None,
        distribution: str | dict[Any, float] | None = None,
        strict: bool = False,
    ) -> None:
        if not isinstance(distribution, dict):
            if distribution not in ("uniform", "loguniform"):
                raise ValueError(f"Unknown distribution: {distribution}")
            if minval is None or maxval is None:
                raise ValueError(f"{name}: the {distribution} distribution needs minval and maxval")
        elif abs(sum(distribution.values()) - 1) > 1e-5:
            raise ValueError(f"{name}: the probabilities add up to {sum(distribution.values())}, not to 1")
        self.name, self.minval, self.maxval, self.distribution, self.strict = (
            name,
            minval,
            maxval,
            distribution,
            strict,
        )

    def sample(self, state: Any) -> Any:
        """Draw it from a NumPy RandomState."""
        if isinstance(self.distribution, dict):
            values = list(self.distribution)
            return values[int(state.choice(len(values), p=list(self.distribution.values())))]
        low: Any = self.minval
        high: Any = self.maxval
        whole = isinstance(low, int) and isinstance(high, int)
        if self.distribution == "loguniform":
            drawn = 2 ** state.uniform(low=math.log2(low), high=math.log2(high))
            return int(drawn) if whole else float(drawn)
        return int(state.randint(low, high + 1)) if whole else float(state.uniform(low=low, high=high))


class FuzzedTensor:
    """A tensor whose size, strides and order in memory are drawn.

    name: what it is called. size, steps: numbers, or names of parameters; each dimension takes every steps-th element
    of its memory. probability_contiguous: of dimensions in order. min_elements, max_elements, max_allocation_bytes:
    bounds of what is drawn. dim_parameter: the parameter that says how many of the dimensions are taken.
    roll_parameter: the one by which sizes are turned. dtype: of the elements. cuda: place it on the GPU.
    tensor_constructor: called with (size, dtype=, **parameters); by default numbers from [0, 1), or integers from 1
    to 126.
    """

    def __init__(
        self,
        name: str,
        size: tuple[str | int, ...],
        steps: tuple[str | int, ...] | None = None,
        probability_contiguous: float = 0.5,
        min_elements: int | None = None,
        max_elements: int | None = None,
        max_allocation_bytes: int | None = None,
        dim_parameter: str | None = None,
        roll_parameter: str | None = None,
        dtype: Any = float32,
        cuda: bool = False,
        tensor_constructor: Callable[..., Tensor] | None = None,
    ) -> None:
        self.name, self._size, self._steps, self._contiguous = name, size, steps, probability_contiguous
        self._fewest, self._most, self._most_bytes = min_elements, max_elements, max_allocation_bytes
        self._dim, self._roll, self._dtype, self._cuda = dim_parameter, roll_parameter, dtype, cuda
        self._constructor = tensor_constructor or self.default_tensor_constructor

    @staticmethod
    def default_tensor_constructor(size: Any, dtype: Any, **kwargs: Any) -> Tensor:
        """Numbers from [0, 1), or integers from 1 to 126. kwargs: the parameters, which are not looked at."""
        if dtype.is_floating_point or dtype.is_complex:
            return rand(size, dtype=dtype)
        return randint(1, 127, size=size, dtype=dtype)

    def _sizes(self, params: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        dim = len(self._size) if self._dim is None else params[self._dim]

        def resolved(values: Sequence[Any]) -> tuple[int, ...]:
            return tuple([params.get(v, v) if isinstance(v, str) else v for v in values])[:dim]

        size, steps = resolved(self._size), resolved(self._steps or (1,) * len(self._size))
        if self._roll is not None:
            turn = params[self._roll] % max(dim, 1)
            size = size[turn:] + size[:turn]
        return size, steps, tuple([n * s for n, s in zip(size, steps, strict=True)])

    def satisfies_constraints(self, params: dict[str, Any]) -> bool:
        """Whether the tensor of these parameters keeps to its bounds."""
        size, _, memory = self._sizes(params)
        count = math.prod(size)
        return (
            (self._fewest is None or count >= self._fewest)
            and (self._most is None or count <= self._most)
            and (self._most_bytes is None or math.prod(memory) * self._dtype.itemsize <= self._most_bytes)
        )

    def make(self, params: dict[str, Any], state: Any) -> tuple[Tensor, dict[str, Any]]:
        """(the tensor, what is known of it)."""
        size, steps, memory = self._sizes(params)
        whole = self._constructor(size=memory, dtype=self._dtype, **params)
        if self._cuda:
            whole = whole.cuda()
        dims = len(size)
        order = np.arange(dims)
        if state.rand() > self._contiguous:
            while dims > 1 and (order == np.arange(dims)).all():
                order = state.permutation(dims)
            whole = whole.permute(tuple(order.tolist())).contiguous().permute(tuple(np.argsort(order).tolist()))
        tensor = whole[tuple([slice(0, n * s, s) for n, s in zip(size, steps, strict=True)])]
        return tensor, {
            "numel": int(tensor.numel()),
            "order": order,
            "steps": steps,
            "is_contiguous": tensor.is_contiguous(),
            "dtype": str(self._dtype),
        }


class Fuzzer:
    """Draws parameters and tensors until they satisfy all constraints.

    parameters: FuzzedParameters; tensors: FuzzedTensors; lists among both are taken apart. constraints: functions that
    get the parameters, a dictionary, and say whether they will do. seed: of the drawing.
    """

    def __init__(
        self,
        parameters: Sequence[Any],
        tensors: Sequence[Any],
        constraints: Sequence[Callable[..., bool]] | None = None,
        seed: int | None = None,
    ) -> None:
        self._parameters = _flat(parameters, FuzzedParameter)
        self._tensors = _flat(tensors, FuzzedTensor)
        self._constraints = tuple(constraints or ())
        names = [p.name for p in (*self._parameters, *self._tensors)]
        if len(set(names)) < len(names):
            raise ValueError(f"names of parameters and tensors differ from one another, unlike {sorted(names)}")
        self._seed = int(np.random.RandomState().randint(0, 2**32 - 1, dtype=np.int64)) if seed is None else seed
        self._drawn = self._refused = 0

    def take(self, n: int) -> Iterator[tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]]:
        """`n` times (tensors, what is known of them, parameters), each by name; the same ones in each call."""
        state = np.random.RandomState(self._seed)
        for _ in range(n):
            params = self._fitting(state)
            made = {t.name: t.make(params, state) for t in self._tensors}
            yield {k: t for k, (t, _) in made.items()}, {k: known for k, (_, known) in made.items()}, params

    def _fitting(self, state: Any) -> dict[str, Any]:
        for _ in range(1000):
            drawn: dict[str, Any] = {p.name: p.sample(state) for p in self._parameters}
            params = {k: drawn[v.alias_to] if isinstance(v, ParameterAlias) else v for k, v in drawn.items()}
            self._drawn += 1
            if all(c(params) for c in self._constraints) and all(
                t.satisfies_constraints(params) for t in self._tensors
            ):
                return params
            self._refused += 1
        raise ValueError("Failed to generate a set of valid parameters in 1000 tries: the constraints are too narrow")

    @property
    def rejection_rate(self) -> float:
        """The share of the draws that did not satisfy the constraints."""
        return self._refused / self._drawn if self._drawn else 0.0


def _flat(values: Sequence[Any], kind: type) -> tuple[Any, ...]:
    found = tuple(itertools.chain.from_iterable([v if isinstance(v, (list, tuple)) else (v,) for v in values]))
    for v in found:
        if not isinstance(v, kind):
            raise TypeError(f"expected {kind.__name__}, got {type(v).__name__}")
    return found
