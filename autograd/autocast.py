"""Autocast: matrix products and convolutions in a narrow dtype, what needs the range in float32.

Which op belongs where is a table by device, PyTorch's (documentation, "Automatic Mixed Precision", op-specific
behavior), by the names of our ops: `mm`, `bmm`, `addmm` multiply by `matmul`, all convolutions are `conv` and
`conv_input`. A tensor in float64 is left alone, as is an op in neither list. A composite in neither list computes in
the dtypes that it gets: what it is made of is not cast one by one. Turned down: PyTorch's cache of narrowed
parameters: casting again costs less than a product, and each use's gradient is then summed in float32.

The state is one slot of the modes: off, an op asks nothing for it.
"""

from __future__ import annotations

from typing import Any

from .. import backends
from .dtypes import bfloat16, dtype, float16, float32
from .errors import OpError, warn
from .modes import MODES, _ModeGuard, with_modes
from .namespaces import OPS
from .tensor import Tensor

__all__ = [
    "autocast",
    "clear_autocast_cache",
    "get_autocast_cpu_dtype",
    "get_autocast_dtype",
    "get_autocast_gpu_dtype",
    "is_autocast_available",
    "is_autocast_cache_enabled",
    "is_autocast_cpu_enabled",
    "is_autocast_enabled",
    "set_autocast_cache_enabled",
    "set_autocast_cpu_dtype",
    "set_autocast_cpu_enabled",
    "set_autocast_dtype",
    "set_autocast_enabled",
    "set_autocast_gpu_dtype",
]

_NARROW = ["matmul", "linear", "conv", "conv_input", "contract", "scaled_dot_product_attention", "prelu", "lstm", "rnn"]
_LOSSES = [
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cross_entropy",
    "ctc_nll",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
]
_WIDE = {
    "cpu": [
        "binary_cross_entropy",
        "cdist",
        "grid_sample",
        "gru",
        "prod",
        "inv",
        "pinv",
        "cholesky",
        "solve",
        "svd",
        "qr",
        "eigh",
        "window_scatter",
    ],
    "cuda": [
        "acos",
        "asin",
        "cosh",
        "cosine_similarity",
        "cdist",
        "cumprod",
        "cumsum",
        "erfinv",
        "exp",
        "expm1",
        "group_norm",
        "layer_norm",
        "log",
        "log10",
        "log1p",
        "log2",
        "log_softmax",
        "multilabel_soft_margin_loss",
        "normalize",
        "pdist",
        "pow",
        "prod",
        "reciprocal",
        "rsqrt",
        "sinh",
        "softmax",
        "softmin",
        "softplus",
        "sum",
        "tan",
        "vector_norm",
    ],
}
#: device -> name of an op -> whether autocast narrows (True) or widens it
_LISTS: dict[str, dict[str, bool]] = {
    place: {**dict.fromkeys([*wide, *_LOSSES], False), **dict.fromkeys(_NARROW, True)} for place, wide in _WIDE.items()
}
_LISTS["cuda"]["gru"] = True

#: what autocast narrows to where it is not told
_TARGETS: dict[str, dtype] = {"cpu": bfloat16, "cuda": float16}
_DEVICES = ("cpu", "cuda", "mps", "xpu")
_HALVES = (float16, bfloat16)


class _State:
    """The devices on which autocast holds, and the dtypes that it narrows to there; one object for equal ones."""

    known: dict[frozenset[tuple[str, dtype]], _State] = {}

    def __init__(self, targets: dict[str, dtype]) -> None:
        self.targets = targets
        self.arrays = {place: kind.dtype for place, kind in targets.items()}

    def changed(self, place: str, target: dtype | None) -> _State | None:
        """This state with another dtype (None: off) for a device; None for a state that is off everywhere."""
        targets = {**self.targets, place: target}
        return _state({p: kind for p, kind in targets.items() if kind is not None})

    def _wanted(self, op: Any, arrays: list[Any]) -> tuple[Any, bool] | None:
        """(the dtype for the inputs of this op, whether it narrows), or None: they stay as they are."""
        first = next((a for a in arrays if hasattr(a, "dtype")), None)
        place = "cpu" if first is None else backends.of(first).device_type
        narrows = _LISTS[place].get(op.name) if place in self.arrays else None
        return None if narrows is None else (self.arrays[place] if narrows else float32.dtype, narrows)

    def cast(self, op: Any, inputs: list[Any], arrays: list[Any]) -> tuple[list[Any], list[Any]]:
        """The inputs of a call in the dtype that the lists want."""
        wanted = self._wanted(op, arrays)
        if wanted is None:
            return inputs, arrays
        target, narrows = wanted
        halves = {kind.dtype for kind in self.targets.values()}
        from_ = {*halves, float16.dtype, *([float32.dtype] if narrows else [])} - {target}
        inputs, arrays = list(inputs), list(arrays)
        for i, array in enumerate(arrays):
            if hasattr(array, "dtype") and array.dtype in from_:
                if isinstance(inputs[i], Tensor):
                    inputs[i] = OPS["cast"](inputs[i], dtype=target)
                    arrays[i] = inputs[i].array
                else:
                    inputs[i] = arrays[i] = array.astype(target)
        return inputs, arrays


_OFF = _State({})


def _state(targets: dict[str, dtype]) -> _State | None:
    key = frozenset(targets.items())
    if key and key not in _State.known:
        _State.known[key] = _State(targets)
    return _State.known[key] if key else None


def _now() -> _State:
    return MODES.get().autocast or _OFF


def _device_type(kind: Any) -> str:
    if not isinstance(kind, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(kind)}`")
    if kind not in _DEVICES:
        raise RuntimeError(f"User specified an unsupported autocast device_type '{kind}'; there are cpu and cuda")
    return kind


class autocast(_ModeGuard):
    """`autocast(device_type, dtype=None, enabled=True)`: matmul, linear, convolution, attention in a narrow dtype.

    dtype is bfloat16 (the extra package ml_dtypes) or float16; None: bfloat16 on the CPU, float16 on a GPU. Losses,
    prod and inverses compute in float32; all else in what it is given. Only tensors on a device of `device_type` are
    concerned. With enabled=False inside another one, nothing is cast. A context manager and a decorator; gradients have
    their parameters' dtypes. `cache_enabled` is PyTorch's; there is no cache here. Warns and stays off where the device
    cannot be had or does not know the dtype.
    """

    def __init__(
        self, device_type: str, dtype: dtype | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        super().__init__()
        self.device = self.device_type = _device_type(device_type)
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = bool(cache_enabled)
        if enabled and not is_autocast_available(device_type):
            warn(f"User provided device_type of '{device_type}', but {device_type.upper()} is not available. Disabling")
            enabled = False
        if enabled and self.fast_dtype not in _HALVES:
            warn(
                f"In {device_type.upper()} autocast, but the target dtype is not supported. Disabling autocast.\n"
                f"{device_type.upper()} Autocast only supports dtype of bfloat16, float16 currently."
            )
            enabled = False
        self._enabled = bool(enabled)
        if enabled:
            self.fast_dtype.dtype  # noqa: B018  bfloat16 without its package: the error is here

    @property
    def _changes(self) -> dict[str, Any]:  # type: ignore[override]
        return {"autocast": _now().changed(self.device, self.fast_dtype if self._enabled else None)}

    def _fresh(self) -> autocast:
        return autocast(self.device, self.fast_dtype, self._enabled)

    def __enter__(self) -> autocast:  # type: ignore[override]
        super().__enter__()
        return self


def is_autocast_available(device_type: str) -> bool:
    """True where autocast of this device type does something: the device can be had."""
    try:
        backends.by_device(_device_type(device_type))
    except (RuntimeError, ImportError):
        return device_type == "cpu"
    return True


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """True inside `autocast(device_type)`; of the GPU where no device type is given."""
    return _device_type(device_type or "cuda") in _now().targets


def is_autocast_cpu_enabled() -> bool:
    """True inside `autocast("cpu")`."""
    return is_autocast_enabled("cpu")


def get_autocast_dtype(device_type: str) -> dtype:
    """The dtype that autocast narrows to on this device, in the autocast that holds or by default."""
    kind = _device_type(device_type)
    return _now().targets.get(kind, _TARGETS.get(kind, float16))


def get_autocast_cpu_dtype() -> dtype:
    """The dtype that autocast narrows to on the CPU."""
    return get_autocast_dtype("cpu")


def get_autocast_gpu_dtype() -> dtype:
    """The dtype that autocast narrows to on a GPU."""
    return get_autocast_dtype("cuda")


def set_autocast_enabled(device_type: Any, enabled: bool | None = None) -> None:
    """`set_autocast_enabled(device_type, enabled)` without a context; with one argument, of the GPU."""
    kind, on = ("cuda", device_type) if enabled is None else (_device_type(device_type), enabled)
    target = get_autocast_dtype(kind)
    if on:
        target.dtype  # noqa: B018  bfloat16 without its package: the error is here
    with_modes(autocast=_now().changed(kind, target if on else None))


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """`set_autocast_enabled("cpu", enabled)`."""
    set_autocast_enabled("cpu", enabled)


def set_autocast_dtype(device_type: str, dtype: dtype) -> None:
    """Set the dtype that autocast narrows to on this device where it is not told: float16 or bfloat16."""
    kind = _device_type(device_type)
    if dtype not in _HALVES:
        raise OpError(f"autocast narrows to float16 or bfloat16, not {dtype}")
    _TARGETS[kind] = dtype
    if kind in _now().targets:
        with_modes(autocast=_now().changed(kind, dtype))


def set_autocast_cpu_dtype(dtype: dtype) -> None:
    """`set_autocast_dtype("cpu", dtype)`."""
    set_autocast_dtype("cpu", dtype)


def set_autocast_gpu_dtype(dtype: dtype) -> None:
    """`set_autocast_dtype("cuda", dtype)`."""
    set_autocast_dtype("cuda", dtype)


def is_autocast_cache_enabled() -> bool:
    """False: there is no cache of narrowed parameters."""
    return False


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Nothing: there is no cache of narrowed parameters."""


def clear_autocast_cache() -> None:
    """Nothing: there is no cache of narrowed parameters."""
