"""`chainrule._foreach_add` and its fellows: one op over lists of tensors, as optimizers outside a library call them.

Each is the op of its name on one tensor after another; a name with `_` at its end writes into the tensors of the first
list, and returns None. The other operands are lists of the same length, or one for all. RuntimeError for lists that
are empty or of different lengths.

Source: the functions `torch._foreach_*`, for which PyTorch's documentation has names alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd import FUNCTIONS, Tensor
from ..optim import Optimizer

__all__: list[str] = []

_UNARY = """abs acos asin atan ceil cos cosh erf erfc exp expm1 floor frac lgamma log log10 log1p log2 neg reciprocal
    round rsqrt sigmoid sign sin sinh sqrt tan tanh trunc"""
_BINARY = ["add", "sub", "mul", "div", "pow", "maximum", "minimum", "clamp_max", "clamp_min"]
#: what takes numbers, of those that take tensors alone
_WITH_NUMBER = {"maximum": "clamp_min", "minimum": "clamp_max"}


#: the names of the operands after the first list
_OPERANDS = ("other", "mat2", "scalar", "exponent", "weight", "weights", "tensor1", "tensor2", "tensors1", "scalars")


def _columns(first: Any, *others: Any) -> list[tuple[Any, ...]]:
    """The operands of each call: lists give one each, anything else is for all."""
    lists = [x for x in (first, *others) if isinstance(x, (list, tuple))]
    count = len(lists[0]) if lists else 0
    if not count:
        raise RuntimeError("Tensor list must have at least one tensor.")
    for x in lists:
        if len(x) != count:
            raise RuntimeError(f"Tensor lists must have the same number of tensors, got {count} and {len(x)}")
    columns = [x if isinstance(x, (list, tuple)) else [x] * count for x in (first, *others)]
    return list(zip(*columns, strict=True))


def _operands(given: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Operands by place, then those by name, which leave the options."""
    return (*given, *(options.pop(name) for name in _OPERANDS if name in options))


def _define(name: str, call: Callable[..., Any], in_place: bool = True) -> None:
    """`_foreach_<name>` and `_foreach_<name>_` of `call(tensor, *others, **options)`."""

    def out_of_place(self: Any, *others: Any, **options: Any) -> tuple[Tensor, ...]:
        others = _operands(others, options)
        return tuple(call(*xs, **options) for xs in _columns(self, *others))

    def into_the_first(self: Sequence[Tensor], *others: Any, **options: Any) -> None:
        others = _operands(others, options)
        for t, *xs in _columns(self, *others):
            t.copy_(call(t, *xs, **options))

    for function, suffix in ((out_of_place, ""), (into_the_first, "_"))[: 1 + in_place]:
        function.__name__ = function.__qualname__ = f"_foreach_{name}{suffix}"
        function.__doc__ = f"`{name}{suffix}` of the tensors of a list, one after another."
        globals()[function.__name__] = function
        __all__.append(function.__name__)


def _binary(name: str) -> Callable[..., Any]:
    def call(x: Any, other: Any, **options: Any) -> Any:
        plain = not isinstance(other, Tensor)
        return FUNCTIONS[_WITH_NUMBER[name] if plain and name in _WITH_NUMBER else name](x, other, **options)

    return call


def _with_value(name: str) -> Callable[..., Any]:
    def call(x: Tensor, a: Tensor, b: Tensor, value: Any = 1) -> Tensor:
        return FUNCTIONS[name](x, a, b, value=value)

    return call


def _norm(x: Tensor, ord: float = 2, dtype: Any = None) -> Tensor:
    return FUNCTIONS["norm"](x.reshape(-1), ord, dtype=dtype)


def _powsum(x: Any, ord: float = 2, dtype: Any = None) -> Tensor:
    return FUNCTIONS["sum"](x.to(dtype or x.dtype).abs() ** ord)


for _name in _UNARY.split():
    _define(_name, FUNCTIONS[_name])
for _name in _BINARY:
    _define(_name, _binary(_name))
for _name in ("addcmul", "addcdiv"):
    _define(_name, _with_value(_name))
_define("lerp", FUNCTIONS["lerp"])
_define("norm", _norm, in_place=False)
_define("powsum", _powsum, in_place=False)
_define("max", FUNCTIONS["amax"], in_place=False)
_define("mm", FUNCTIONS["mm"], in_place=False)
_define("clone", FUNCTIONS["clone"], in_place=False)


def _foreach_copy_(self: Sequence[Tensor], src: Sequence[Tensor], non_blocking: bool = False) -> None:
    """Copy the tensors of one list into those of another."""
    for t, source in _columns(self, src):
        t.copy_(source)


def _foreach_zero_(self: Sequence[Tensor]) -> None:
    """Fill the tensors of a list with 0."""
    for (t,) in _columns(self):
        t.zero_()


__all__ += ["_foreach_copy_", "_foreach_zero_"]

# -- `utils._foreach_utils`: whether lists can be given to these functions ---------------------------------------------

TensorListList = list[list[Tensor | None]]
Indices = list[int]
_foreach_supported_types = [Tensor]


def _get_foreach_kernels_supported_devices() -> list[str]:
    """Device types whose optimizers PyTorch steps by lists of tensors."""
    return ["cuda", "xpu", "mtia"]


def _get_fused_kernels_supported_devices() -> list[str]:
    """Device types for which PyTorch has optimizer steps of one kernel."""
    return ["mps", "cuda", "xpu", "hpu", "cpu", "mtia"]


def _device_has_foreach_support(device: Any) -> bool:
    """Whether lists of tensors on `device` are served: those of the CPU are, too."""
    return device.type in ("cpu", *_get_foreach_kernels_supported_devices())


def _has_foreach_support(tensors: Sequence[Tensor | None], device: Any) -> bool:
    """Whether a list of plain tensors (or None) on `device` is served."""
    return _device_has_foreach_support(device) and all(
        t is None or type(t) in _foreach_supported_types for t in tensors
    )


def _group_tensors_by_device_and_dtype(
    tensorlistlist: Sequence[Sequence[Any]], with_indices: bool = False
) -> dict[Any, Any]:
    """Lists of tensors split by device and dtype, as `optim.Optimizer` has it."""
    return Optimizer._group_tensors_by_device_and_dtype(tensorlistlist, with_indices)
