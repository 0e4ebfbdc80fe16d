"""Kernels over many arrays at once: the updates of optimizers, norms, clipping and unscaling of gradients.

One launch serves up to 240 parameters (480 gradients): their addresses go with it by value, in the 4096 bytes that a
kernel's parameters may take, so nothing has to be copied to the device before, and a captured launch has them too.
Turned down: parameters and gradients as views of flat buffers, which would break aliases that a program has taken
(gradients may be such views, of a data-parallel bucket: to these kernels that is all the same), and a table of
addresses on the device, which would have to be filled anew when gradients are new arrays. An optimizer's state does lie
in flat arrays. AdamW in float32 moves 28 bytes for a parameter; in 16 bits with master weights 28 too.

It has not run on a GPU yet.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..recorder import live
from . import launch
from .launch import ADDRESSES, FLOATS, Addresses, Source

__all__ = ["METHODS", "SERVES", "Group", "clip_by_norm", "clip_by_value", "total_norm", "unscale", "update_scale"]

_HALVES = ("float16", "bfloat16")
_UPDATES = Source("optimizers.cu", T=FLOATS, MASTER=(0, 1), where=lambda t, master: t in _HALVES or not master)
_GRADIENTS = Source("gradients.cu", T=FLOATS)
_SCALER = Source("scaler.cu")
#: elements of a block (as in the .cu files), its threads, arrays of a launch
_CHUNK, _THREADS = 16384, 256
_MOST = ADDRESSES // 2

_MAXIMIZE, _DECOUPLED, _NESTEROV, _CENTERED, _MOMENTUM, _LARGEST = 1, 2, 4, 8, 16, 32


@functools.lru_cache(maxsize=256)
def _chunks(sizes: tuple[int, ...], device: int) -> tuple[Any, Any, int]:
    """(what each block works on: an array and a chunk of it; the sizes; how many blocks), on the device."""
    counts = [-(-n // _CHUNK) for n in sizes]
    table = np.array([(i, k) for i, count in enumerate(counts) for k in range(count)], np.int32).reshape(-1, 2)
    return launch.machine.xp.asarray(table), launch.machine.xp.asarray(np.array(sizes, np.int64)), len(table)


def _device(array: Any) -> int:
    """The number of an array's device, which is the current one from now on (as CupyBackend.guarded has it)."""
    device: Any = getattr(array, "device", None)
    if hasattr(device, "use"):
        device.use()
    return getattr(device, "id", 0)


def _runs(arrays: Sequence[Any], most: int) -> list[tuple[list[Any], Any, Any, int]]:
    """(arrays, chunks, sizes, blocks) for each launch."""
    parts = [list(arrays[i : i + most]) for i in range(0, len(arrays), most)]
    return [(part, *_chunks(tuple([a.size for a in part]), _device(part[0]))) for part in parts]


# -- optimizers --------------------------------------------------------------------------------------------------------


class Group:
    """Parameters of one dtype that take their steps together, with their state in flat arrays.

    `state` and `master` are flat; parameter i has `sizes[i]` elements from `starts[i]` on. `steps` (and for NAdam
    `products`) count on the device, an element per parameter. `ticket` is the kernels' own.
    """

    def __init__(
        self, arrays: Sequence[Any], state: Sequence[Any], master: Any, steps: Any, products: Any, starts: Sequence[int]
    ) -> None:
        if arrays:
            _device(arrays[0])
        xp = launch.machine.xp
        self.state = (*state, *[None] * (3 - len(state)))
        self.master, self.steps, self.products = master, steps, products
        self.ticket = xp.zeros(1, np.uint32)
        first = xp.asarray(np.array(starts, np.int64))
        shares = [slice(i, i + _MOST) for i in range(0, len(arrays), _MOST)]
        self.shares = [(s, first[s], *[None if r is None else r[s] for r in (steps, products)]) for s in shares]

    def update(
        self,
        name: str,
        arrays: Sequence[Any],
        grads: Sequence[Any],
        options: Callable[[], dict[str, Any]],
        found: Any = None,
        scale: Any = None,
    ) -> None:
        """Take a step of the method `name`; `options()` are those of the group of parameters as they are then.

        found, scale: arrays of one float32 on the device: where the first is not 0 nothing is done; gradients are
        divided by the second, and left so.
        """
        device = _device(arrays[0])
        flags, numbers = _flags(options()), _six(METHODS[name](options()))
        if not any(hasattr(x, "dtype") for x in numbers):
            numbers = live(lambda: _six(METHODS[name](options())))
        kernel = _UPDATES.kernel(name)[arrays[0].dtype, int(self.master is not None)]
        table, numbers = _together(numbers)
        for share, starts, steps, products in self.shares:
            part, given = arrays[share], grads[share]
            chunks, sizes, blocks = _chunks(tuple([a.size for a in part]), device)
            kernel(
                *(blocks, _THREADS, Addresses(part, given), chunks, sizes, starts, self.master),
                *(*self.state, steps, products, self.ticket, found, scale, table, *numbers, flags, len(part)),
            )


def _six(numbers: Sequence[Any]) -> tuple[Any, ...]:
    return (*[x if hasattr(x, "dtype") else float(x) for x in numbers], *[0.0] * (6 - len(numbers)))


def _together(numbers: Sequence[Any]) -> tuple[Any, tuple[float, ...]]:
    """(None, the numbers), or where one of them is on the device (an array there with all of them, zeros)."""
    if not any(hasattr(x, "dtype") for x in numbers):
        return None, tuple([float(x) for x in numbers])
    if all(getattr(x, "dtype", None) == np.float64 for x in numbers):
        places = list(map(launch.machine.pointer, numbers))
        if places == list(range(places[0], places[0] + 48, 8)):
            return numbers[0], (0.0,) * 6  # they lie side by side, as those of a captured step do
    table = launch.machine.xp.empty(6, np.float64)
    for i, x in enumerate(numbers):
        table[i : i + 1] = x.reshape(1) if hasattr(x, "reshape") else x
    return table, (0.0,) * 6


def _flags(o: dict[str, Any]) -> int:
    """What of an optimizer's options is a choice."""
    return (
        (_MAXIMIZE if o["maximize"] else 0)
        | (_DECOUPLED if o.get("decoupled_weight_decay") else 0)
        | (_NESTEROV if o.get("nesterov") else 0)
        | (_CENTERED if o.get("centered") else 0)
        | (_MOMENTUM if o.get("momentum") else 0)
        | (_LARGEST if o.get("amsgrad") else 0)
    )


def _options(*names: str) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    def numbers(o: dict[str, Any]) -> tuple[Any, ...]:
        betas = dict(zip(("beta1", "beta2"), o.get("betas", ())))
        return tuple([betas[n] if n in betas else o[n] for n in names])

    return numbers


#: method -> from a group's options the numbers that its kernel takes
METHODS: dict[str, Callable[[dict[str, Any]], tuple[Any, ...]]] = {
    "adadelta": _options("lr", "rho", "eps", "weight_decay"),
    "adagrad": _options("lr", "lr_decay", "eps", "weight_decay"),
    "adam": _options("lr", "beta1", "beta2", "eps", "weight_decay"),
    "adamax": _options("lr", "beta1", "beta2", "eps", "weight_decay"),
    "lion": _options("lr", "beta1", "beta2", "weight_decay"),
    "nadam": _options("lr", "beta1", "beta2", "eps", "weight_decay", "momentum_decay"),
    "radam": _options("lr", "beta1", "beta2", "eps", "weight_decay"),
    "rmsprop": _options("lr", "alpha", "eps", "momentum", "weight_decay"),
    "sgd": _options("lr", "momentum", "dampening", "weight_decay"),
}
for _name in METHODS:
    _UPDATES.kernel(_name)


# -- gradients ---------------------------------------------------------------------------------------------------------

_UNSCALE, _PARTS, _WHOLE = (_GRADIENTS.kernel(name) for name in ("unscale", "norm_parts", "norm_whole"))
_BY_NORM, _BY_VALUE = (_GRADIENTS.kernel(name) for name in ("clip_by_norm", "clip_by_value"))
_UPDATE_SCALE = _SCALER.kernel("update_scale")


def _by_dtype(arrays: Sequence[Any]) -> list[list[Any]]:
    found: dict[Any, list[Any]] = {}
    for a in arrays:
        if a.size:
            found.setdefault(a.dtype, []).append(a)
    return list(found.values())


def unscale(grads: Sequence[Any], found: Any, inverse: Any = None) -> None:
    """Multiply by `inverse` in place; `found` becomes 1 where an element is not finite. Both are one float32."""
    for arrays in _by_dtype(grads):
        for part, chunks, sizes, blocks in _runs(arrays, ADDRESSES):
            _UNSCALE[part[0].dtype](blocks, _THREADS, Addresses(part), chunks, sizes, found, inverse)


def total_norm(grads: Sequence[Any], order: float) -> Any:
    """The norm of arrays of one dtype as if they were one vector, 0-d; accumulated in float32 (float64)."""
    dtype = grads[0].dtype
    _device(grads[0])
    runs = _runs(grads, ADDRESSES)
    count, largest = sum(blocks for *_, blocks in runs), int(math.isinf(order))
    parts = launch.new(max(count, 1), np.float64 if dtype == np.float64 else np.float32)
    power, first = 1.0 if largest else float(order), 0
    for part, chunks, sizes, blocks in runs:
        _PARTS[dtype](blocks, _THREADS, Addresses(part), chunks, sizes, power, largest, parts, first)
        first += blocks
    norm = launch.new((), dtype)
    _WHOLE[dtype](1, _THREADS, parts, count, power, largest, norm)
    return norm


def clip_by_norm(grads: Sequence[Any], norm: Any, most: float) -> None:
    """Multiply by most / (norm + 1e-6) in place where that is below 1; `norm` is on the device, of their dtype."""
    for part, chunks, sizes, blocks in _runs(grads, ADDRESSES):
        _BY_NORM[part[0].dtype](blocks, _THREADS, Addresses(part), chunks, sizes, norm, float(most))


def clip_by_value(grads: Sequence[Any], most: float) -> None:
    """Clamp to ±most in place."""
    for arrays in _by_dtype(grads):
        for part, chunks, sizes, blocks in _runs(arrays, ADDRESSES):
            _BY_VALUE[part[0].dtype](blocks, _THREADS, Addresses(part), chunks, sizes, float(most))


def update_scale(scale: Any, rounds: Any, found: Any, growth: float, backoff: float, interval: int) -> None:
    """The scale of a loss after a round, in place."""
    _device(scale)
    _UPDATE_SCALE[()](1, 32, scale, rounds, found, growth, backoff, interval)


def group(name: str, arrays: Sequence[Any] = (), *args: Any) -> Any:
    """A `Group` for the method of this name; NotImplemented where there is no kernel of it, None for no parameters."""
    if name not in METHODS:
        return NotImplemented
    return Group(arrays, *args) if arrays else None


#: what the backend offers beside its kernels of ops
SERVES: dict[str, Callable[..., Any]] = {
    "group": group,
    "update_group": Group.update,
    **{f.__name__: f for f in (clip_by_norm, clip_by_value, total_norm, unscale, update_scale)},
}
