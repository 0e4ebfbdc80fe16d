"""`check_op`: all properties that make sense for a user's own op, order by order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import backends
from ..autograd import Tensor
from ..backends import np
from . import properties
from .calls import Call, host
from .records import Sample

__all__ = ["check_op"]


def check_op(
    function: Callable[..., Any],
    inputs: Any,
    order: int = 3,
    *,
    kwargs: dict[str, Any] | None = None,
    differentiable: Sequence[str] | None = None,
    reference: Callable[..., Any] | None = None,
    tolerance: float = 1e-5,
    float32: bool = True,
    close: bool = False,
    backend: str | None = None,
) -> bool:
    """Check an op, or any function of tensors, at `inputs`; True when all of it holds, GradcheckError where not.

    Derivatives of orders 1 to `order` against central differences in float64 (by random projection), raw gradients
    against recorded ones (bit for bit; with `close` to rounding), shapes and dtypes of gradients (float32 in,
    float32 out), float32 against float64, memory layouts, the same tensor twice, inputs unchanged, and that only
    what rules name is kept. At a point without a derivative KinkError says so, instead of calling the rule wrong.

    inputs: one argument or a tuple of them; Tensors and arrays are taken as float64 if they are floats. `kwargs`:
    the call's keywords. `differentiable`: names of the inputs with a gradient (default: of an op those with a
    rule). `reference`: a NumPy function of the same arguments. `tolerance`: relative, for derivatives.

        check_op(log_cosh, chainrule.tensor([-1.0, 0.5, 2.0]), reference=lambda x: np.log(np.cosh(x)))

    backend: "numpy" or "cupy"; by default that of the inputs.
    """
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    first = next((x for x in arguments if isinstance(x, Tensor)), None)
    if backend is None:
        backend = "numpy" if first is None else backends.of(first.array).name
    sample = Sample(*map(_array, arguments), **{k: _array(v) for k, v in (kwargs or {}).items()})
    call = Call(function, sample, backend=backend, differentiable=differentiable)
    if reference is not None:
        properties.value_matches(call, reference)
    properties.inputs_stay_unchanged(call)
    if not call.live:
        return True
    properties.shapes_and_dtypes_fit(call, (np.float64, np.float32) if float32 else (np.float64,))
    for k in range(1, order + 1):
        properties.gradients_match_differences(call, k, tolerance)
        properties.raw_equals_recorded(call, k, 1e-12 if close or k > 1 else 0.0)
    properties.memory_layout_does_not_matter(call)
    properties.same_tensor_twice(call)
    properties.keeps_only_what_rules_name(call)
    if float32:
        properties.float32_agrees(call)
    return True


def _array(x: Any) -> Any:
    if isinstance(x, Tensor):
        x = host(x)
    if isinstance(x, (list, tuple)):
        return type(x)([_array(v) for v in x])
    if isinstance(x, (np.ndarray, np.generic)):
        return np.array(x, np.float64) if np.issubdtype(x.dtype, np.floating) else np.array(x)
    return x
