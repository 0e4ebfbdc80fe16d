"""Records: what a test must know of an op. The properties, written once, run over all of them.

    unary("tanh", np.tanh)
    unary("log", np.log, domain=(0.2, 3))
    unary("relu", lambda x: np.maximum(x, 0), avoid=(0,), ties=[Tie(np.array([0.0, 1.0]), grads=[[0.0, 1.0]])])
    binary("add", np.add)
    reduction("sum", np.sum)
    OpRecord(
        "gather",
        samples=lambda: [Sample(floats((3, 4)), 1, integers((3, 2), 0, 4))],
        reference=lambda x, dim, index: np.take_along_axis(x, index, dim),
        torch="gather",
    )

Arrays in a sample (also in lists and tuples) become tensors. Floating ones want a gradient where the op has a rule for
them. A record file is `tests/op_records/<family>.py` with a list `RECORDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..backends import np
from .samples import empty, floats, scalar

__all__ = ["OpRecord", "Sample", "Tie", "binary", "numpy_names", "reduction", "unary"]


class Sample:
    """One call of an op: `Sample(x, y, dim=1)` stands for `op(x, y, dim=1)`.

    Pass float64 arrays where gradients are to be checked. A Sample of an op's whole domain of interest has 2 to 24
    elements. `samples.fresh(make)` as an argument is made anew for each call.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs

    def __repr__(self) -> str:
        shown = [_short(a) for a in self.args] + [f"{k}={_short(v)}" for k, v in self.kwargs.items()]
        return f"({', '.join(shown)})"


def _short(x: Any) -> str:
    if isinstance(x, np.ndarray):
        return f"{x.dtype}{list(x.shape)}"
    if isinstance(x, (list, tuple)) and any(isinstance(v, np.ndarray) for v in x):
        return f"[{', '.join(map(_short, x))}]"
    return repr(x)


class Tie(Sample):
    """A call at a kink, and the gradients there: `Tie(x, grads=[expected])`, for a gradient of ones of the output.

    `grads` has one entry per differentiable array of the call, in its order.
    """

    def __init__(self, *args: Any, grads: Sequence[Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.grads = grads


@dataclass(frozen=True, kw_only=True)
class _Fields:
    samples: Callable[[], Sequence[Sample]]
    #: the same call on NumPy arrays, giving the expected value (several: a tuple); None: `torch` is the oracle
    reference: Callable[..., Any] | None = None
    #: PyTorch's counterpart: "tanh", "nn.functional.gelu" (names below `torch`), a function of its tensors, or None
    torch: str | Callable[..., Any] | None = None
    #: the highest order at which PyTorch's derivative is right (it is compared up to the second)
    torch_order: int = 2
    #: the highest order of derivative that is checked; 0 for an op without gradients
    order: int = 3
    #: relative tolerance of the forward against its reference, in float64
    tolerance: float = 1e-9
    #: relative tolerance of gradients against central differences (against PyTorch's: a hundredth of it)
    grad_tolerance: float = 1e-5
    #: relative tolerance of float32 against float64; None: the op is not meant for float32 input
    float32_tolerance: float | None = 1e-4
    #: names of the inputs with a gradient; None: those that have a rule (of a composite: every floating array)
    differentiable: tuple[str, ...] | None = None
    #: applied to the output(s) before any comparison, where outputs are unique only up to e.g. a sign; operators only
    observe: Callable[..., Any] | None = None
    #: calls at kinks with their gradients
    ties: Sequence[Tie] = ()
    #: larger calls, only to compare kernels with generic forms: for kernels that take another way with size
    large: Callable[[], Sequence[Sample]] = tuple
    #: why the raw gradient and the recorded one agree to rounding only; empty: they agree bit for bit
    close: str = ""
    #: what inputs to generate: "elementwise" (one), "broadcast" (two), "reduction" (dim, keepdim); None: samples only
    shapes: str | None = None
    #: the smallest size of a dimension of generated inputs of a reduction
    min_side: int = 1
    #: range of generated inputs, one pair per input or one for all
    domain: Any = (-2.0, 2.0)
    #: points that generated inputs keep away from
    avoid: tuple[float, ...] = ()
    #: dtypes that the op takes, by name; None: floats
    dtypes: tuple[str, ...] | None = None
    #: the function under test where it is not `OPS[name]` as it stands
    call: Callable[..., Any] | None = None


@dataclass(frozen=True)
class OpRecord(_Fields):
    """What a test must know of the op `name` (its key in OPS). See the comments at the fields.

    samples: calls, `Sample`s; large: more of them, for kernels alone. reference, torch: what gives the expected values.
    order, torch_order: up to which derivatives are checked, and those of PyTorch are right. tolerance, grad_tolerance,
    float32_tolerance: relative. observe: applied to outputs before they are compared. ties: calls at kinks. close: why
    raw and recorded gradients agree to rounding only. shapes, min_side, domain, avoid, dtypes: of inputs that are
    generated.
    """

    name: str = field(kw_only=False)

    def __repr__(self) -> str:
        return f"OpRecord({self.name!r})"


def _ranges(domain: Any, count: int) -> list[tuple[float, float]]:
    return list(domain) if isinstance(domain[0], (tuple, list)) else [domain] * count


def unary(
    name: str,
    reference: Callable[..., Any] | None,
    *,
    domain: tuple[float, float] = (-2.0, 2.0),
    avoid: tuple[float, ...] = (),
    kwargs: Sequence[dict[str, Any]] = ({},),
    torch: Any = "",
    **fields: Any,
) -> OpRecord:
    """The record of an elementwise op of one input. `kwargs`: the parameters to try; `torch`: if not given, `name`.

    domain, avoid: the range of inputs, and points in it to keep away from.
    """

    def samples() -> list[Sample]:
        full = [Sample(floats((2, 3), *domain, avoid=avoid), **kw) for kw in kwargs]
        low, high = domain
        inside = floats((), low + 0.6 * (high - low), high, avoid=avoid)
        return [*full, Sample(inside, **kwargs[0]), Sample(empty((0, 3)), **kwargs[0])]

    return OpRecord(
        name,
        samples=samples,
        reference=reference,
        torch=name if torch == "" else torch,
        shapes="elementwise",
        domain=domain,
        avoid=avoid,
        **fields,
    )


def binary(
    name: str,
    reference: Callable[..., Any] | None,
    *,
    domain: Any = (-2.0, 2.0),
    avoid: tuple[float, ...] = (),
    broadcast: bool = True,
    scalars: bool = True,
    kwargs: Sequence[dict[str, Any]] = ({},),
    torch: Any = "",
    **fields: Any,
) -> OpRecord:
    """The record of an elementwise op of two inputs. `domain`: a range, or one per input; `scalars`: takes numbers.

    avoid: points to keep away from. broadcast: shapes of the inputs may differ. torch: by default the same name.
    """
    (a, b), first = _ranges(domain, 2), kwargs[0]

    def pair(one: Any, two: Any, **kw: Any) -> Sample:
        return Sample(floats(one, *a, seed=1, avoid=avoid), floats(two, *b, seed=2, avoid=avoid), **kw)

    def samples() -> list[Sample]:
        found = [pair((2, 3), (2, 3), **kw) for kw in kwargs]
        found += [pair((), (), **first), pair((0, 3), (0, 3), **first)]
        if broadcast:
            found += [pair((2, 3), (3,), **first), pair((2, 1), (1, 3), **first), pair((), (2, 2), **first)]
            found += [pair((0, 3), (1, 3), **first)]
        if scalars:
            found += [Sample(floats((2, 2), *a, seed=3, avoid=avoid), round(0.4 * b[0] + 0.6 * b[1], 3), **first)]
        return found

    return OpRecord(
        name,
        samples=samples,
        reference=reference,
        torch=name if torch == "" else torch,
        shapes="broadcast" if broadcast else None,
        domain=domain,
        avoid=avoid,
        **fields,
    )


def numpy_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy function called with PyTorch's names: dim for axis, keepdim for keepdims."""

    def call(*args: Any, **kwargs: Any) -> Any:
        names = {"dim": "axis", "keepdim": "keepdims", "dims": "axis"}
        return function(*args, **{names.get(k, k): v for k, v in kwargs.items()})

    return call


def reduction(
    name: str,
    reference: Callable[..., Any] | None,
    *,
    domain: tuple[float, float] = (-2.0, 2.0),
    avoid: tuple[float, ...] = (),
    kwargs: Sequence[dict[str, Any]] = ({}, {"dim": 0}, {"dim": -1, "keepdim": True}, {"dim": (0, 2)}),
    empties: bool = True,
    numbers: bool = True,
    torch: Any = "",
    **fields: Any,
) -> OpRecord:
    """The record of a reduction with `dim` and `keepdim`; the reference is called with NumPy's names for them.

    `empties`: it takes a dimension of size 0; `numbers`: it takes 0-d input (where `dim` is not required). domain,
    avoid: the range of inputs, and points in it to keep away from. torch: by default the same name.
    """

    def samples() -> list[Sample]:
        found = [Sample(floats((2, 3, 2), *domain, avoid=avoid), **kw) for kw in kwargs]
        low, high = domain
        if numbers and kwargs[0] == {}:
            found.append(Sample(scalar(low + 0.7 * (high - low))))
        if empties:
            found += [Sample(empty((2, 0)), **{**kwargs[0], **({"dim": 1} if "dim" in kwargs[0] else {})})]
        return found

    return OpRecord(
        name,
        samples=samples,
        reference=None if reference is None else numpy_names(reference),
        torch=name if torch == "" else torch,
        shapes="reduction",
        domain=domain,
        avoid=avoid,
        **fields,
    )
