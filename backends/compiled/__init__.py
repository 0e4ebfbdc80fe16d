"""Compiled kernels for the CPU, where the extra `fast` is installed: vector code for NumPy's arrays.

build.py makes and keeps machine code, intrinsics.py holds the vector code that Python cannot say, pool.py the threads.
listed.py notes the calls of a recorded step, program.py does them again: lockstep.py runs kernels on all threads with
no Python between them, foreign.py what NumPy and its BLAS do there.
The other files are families of kernels, with the plain functions around them that take an op's name in the NumPy
backend. Such a function gets what NumPy's gets, and returns NotImplemented for what it does not serve. The pair of a
composite marks what it keeps for its gradient as `Kept`: a residual of NumPy's goes to NumPy's gradient.

`TABLE` says which names are served, where, and from how many elements of the first array on; smaller arrays stay with
NumPy, which starts quicker. Neither the families nor llvmlite nor numba are imported before the first such array.
CHAINRULE_FAST=0 leaves all to NumPy, CHAINRULE_FAST=always takes arrays of any size, for tests.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from collections.abc import Callable
from typing import Any

from .listed import STATE, number

__all__ = ["STEPS", "TABLE", "Kept", "Unavailable", "available", "chosen"]

#: name of an op's kernel or rule -> (module of this folder, elements of the first array from which it is used)
TABLE: dict[str, tuple[str, int]] = {
    "conv": ("convolution", 1024),
    "conv_input": ("convolution", 1024),
    "conv_weight": ("convolution", 1024),
    **dict.fromkeys(("embedding_grad", "gather", "index_adjoint", "index_put", "scatter_add"), ("embedding", 1024)),
    "embedding": ("embedding", 1 << 62),  # NumPy's take is as quick: in programs alone
    "glu.grad": ("elementwise", 0),  # of half as many elements as the forward
    "dropout_by_seed": ("dropout", 512),
    "keep_by_seed": ("dropout", 512),
    "vector_norm": ("norms", 2048),
    **dict.fromkeys(
        (
            *("celu", "celu.grad", "elu", "elu.grad", "erf", "erf.grad", "gelu", "gelu.grad", "hardsigmoid"),
            *("hardsigmoid.grad", "hardswish", "hardswish.grad", "log1p", "logsigmoid", "logsigmoid.grad", "mish"),
            *("mish.grad", "selu", "selu.grad", "sigmoid", "sigmoid.grad", "silu", "silu.grad", "softplus"),
            "softplus.grad",
        ),
        ("elementwise", 2048),
    ),
    **dict.fromkeys(
        (
            "abs.grad",
            "clamp",
            "clamp.grad.input",
            "glu",
            "prelu_slope",
            "prelu_slope.grad.input",
            "prelu_slope.grad.weight",
            "leaky_relu",
            "leaky_relu.grad",
        ),
        ("elementwise", 4096),
    ),
    **dict.fromkeys(("exp", "expm1", "log", "relu", "relu.grad"), ("elementwise", 8192)),
    "group_norm": ("normalisation", 4096),
    "group_norm.grad": ("normalisation", 4096),
    "layer_norm": ("normalisation", 2048),
    "layer_norm.grad": ("normalisation", 2048),
    "rms_norm": ("normalisation", 2048),
    "rms_norm.grad": ("normalisation", 2048),
    "batch_norm_relu": ("normalisation", 4096),
    "batch_norm_relu.grad": ("normalisation", 4096),
    "batch_normalised": ("normalisation", 4096),
    "batch_normalised.grad": ("normalisation", 4096),
    **dict.fromkeys(("linear", "linear.grad.input", "linear.grad.weight", "matmul"), ("linear", 4096)),
    **dict.fromkeys(("gru", "lstm", "rnn"), ("recurrent", 1024)),
    **dict.fromkeys(("gru.grad", "lstm.grad", "rnn.grad"), ("recurrent", 0)),
    "scaled_dot_product_attention": ("attention", 4096),
    "scaled_dot_product_attention.grad": ("attention", 0),
    "mean": ("reduction", 1 << 15),
    "sum": ("reduction", 1 << 15),
    "cross_entropy": ("softmax", 256),
    "cross_entropy.grad": ("softmax", 0),
    "log_softmax": ("softmax", 2048),
    "log_softmax.grad": ("softmax", 2048),
    "softmax": ("softmax", 2048),
    "softmax.grad": ("softmax", 2048),
    "max_pool": ("pooling", 2048),
    "window_scatter": ("pooling", 1024),
    "axis_map": ("resampling", 2048),
}

#: kernels whose results are NumPy's to the last bit, alike in memory, too: in a program they serve arrays of any size
EXACT = frozenset(
    (
        *("abs.grad", "clamp", "clamp.grad.input", "dropout_by_seed", "embedding", "gather", "index_adjoint"),
        *("index_put", "leaky_relu", "relu", "relu.grad", "scatter_add"),
    )
)

#: the same of optimizers' steps; the first array is the parameter
STEPS: dict[str, tuple[str, int]] = dict.fromkeys(
    ("adadelta", "adagrad", "adam", "adamax", "lion", "nadam", "radam", "rmsprop", "sgd"), ("optimizers", 1024)
)


class Unavailable(RuntimeError):
    """A kernel that cannot be compiled or loaded on this machine: numba is absent, or broken, or does not serve it."""


class Kept(tuple[Any, ...]):
    """What a compiled kernel of a composite keeps for its gradient."""

    __slots__ = ()


@functools.cache
def available() -> bool:
    """Whether kernels can be compiled here, or are there already: found out by making the smallest one."""
    if os.environ.get("CHAINRULE_FAST") == "0":
        return False
    from .build import installed

    if not installed():
        return False
    try:
        from .probe import works

        works()
    except Exception as error:
        warnings.warn(
            f"numba is installed but does not work; NumPy's own, slower kernels serve instead: {error!r} "
            "(CHAINRULE_FAST=0 leaves numba alone)",
            UserWarning,
            stacklevel=2,
        )
        return False
    return True


def chosen(name: str, slow: Callable[..., Any] | None, table: dict[str, tuple[str, int]] = TABLE) -> Callable[..., Any]:
    """The kernel `name` of the NumPy backend: the compiled one for large arrays, `slow` for all that it leaves."""
    module, least = table[name]
    if os.environ.get("CHAINRULE_FAST") == "always":
        least = 0
    quick: Callable[..., Any] | None = None
    exact = name in EXACT or table is STEPS
    listed = getattr(slow, "listed", False)  # whether it notes what it does, in a program

    def kernel(*args: Any, **params: Any) -> Any:
        nonlocal quick
        first = args[0] if args else next(iter(params.values()))  # inputs between parameters come by name
        if isinstance(first, tuple):  # the gradients of several outputs
            first = first[0]
        if first.size >= least or (exact and STATE.calls is not None):
            try:
                if quick is None:
                    quick = _function(module, name)
                out = quick(*args, **params)
            except Unavailable as error:
                quick, out = _nothing, NotImplemented
                _note(error)
            if out is not NotImplemented:
                return out
        if STATE.calls is not None and not listed:
            STATE.calls.whole = False
            args, params = tuple(map(number, args)), {name: number(x) for name, x in params.items()}
        if slow is None or (len(args) > 1 and type(args[1]) is Kept):  # NumPy's gradient cannot read what was kept
            return NotImplemented
        return slow(*args, **params)

    # without a kernel of NumPy's, the op's generic forward serves the rest
    kernel.partial = slow is None or getattr(slow, "partial", False)  # type: ignore[attr-defined]
    return kernel


def write_into(name: str, array: Any, *others: Any) -> bool:
    """Let the op `name` write its result into its first argument; False where that is not served."""
    try:
        return bool(importlib.import_module(".into", __name__).SERVES[name](array, *others))
    except Unavailable as error:  # before an element was written
        _note(error)
        return False


def _function(module: str, name: str) -> Callable[..., Any]:
    if not available():
        return _nothing
    return importlib.import_module(f".{module}", __name__).SERVES[name]


def _nothing(*args: Any, **params: Any) -> Any:
    return NotImplemented


_NOTED: list[Unavailable] = []


def _note(error: Unavailable) -> None:
    """Say once that something is amiss; what else fails has the same cause."""
    if not _NOTED:
        _NOTED.append(error)
        warnings.warn(f"{error}; NumPy's own, slower kernels serve instead", UserWarning, stacklevel=3)
