"""A step of all parameters of a group in one launch, on backends that have kernels for that (backends/cupy/many.py).

Counters live on the device, one element per parameter: the kernel reads and counts them, so the host never asks for
one, a captured step counts in each replay, and a step that a GradScaler's found_inf leaves out is not counted. (PyTorch
has them there with `fused=True` or `capturable=True`, and on the host otherwise.)

Parameters and gradients stay where they are; state lies in flat arrays, each parameter's in the order of its own
memory, so `channels_last` weights are no special case.
"""

from __future__ import annotations

from math import prod
from operator import is_
from typing import TYPE_CHECKING, Any

from ..autograd import Tensor
from ..autograd.op import raw
from ..autograd.storage import as_memory, dense_order, mark_all_written, version
from ..autograd.tensor import wrap
from .master import MASTER, refreshed

if TYPE_CHECKING:
    from .optimizer import Optimizer

__all__ = ["Together"]

#: state of a parameter begins at a multiple of this many elements, so that packs of 16 bytes do
_ALIGNED = 8


class _Part:
    """Parameters of one dtype on one device, and the backend's `Group` of them."""

    def __init__(self, optimizer: Optimizer, group: dict[str, Any], params: list[Tensor], master: bool) -> None:
        self.params, self.orders = params, [dense_order(p.array) for p in params]
        backend = raw(params[0].array).backend
        backend.select(backend.device_of(params[0].array)[1])
        xp = backend.xp
        sizes = [p.array.size for p in params]
        starts = [0]
        for n in sizes:
            starts.append(starts[-1] + -(-n // _ALIGNED) * _ALIGNED)
        slots, counters = optimizer.slots(group), tuple(optimizer.counters(group))
        states = [optimizer.state[p] for p in params]
        self.update = backend.steps["update_group"]

        def flat(name: str, dtype: Any) -> Any:
            memory = xp.zeros(starts[-1], dtype)
            for state, p, first, order in zip(states, params, starts, self.orders):
                view = _view(memory[first : first + p.array.size], p.array.shape, order)
                view[...] = state[name].array
                state[name] = wrap(view, None)
            return memory

        def row(name: str) -> Any:
            memory = xp.zeros(len(params), "float32")
            for i, state in enumerate(states):
                count = state[name]
                memory[i : i + 1] = count.item() if count.device.type == "cpu" else count.array
                state[name] = wrap(memory[i : i + 1].reshape(()), None)
            return memory

        kept = "float32" if master else params[0].array.dtype
        values = [flat(name, kept) for name in slots]
        copies = flat(MASTER, kept) if master else None
        self.master = [state[MASTER] for state in states] if master else []
        rows = [row(name) for name in counters]
        if not counters and slots:  # whether it is the first step is all that there is to count
            rows = [xp.zeros(len(params), "float32")]
            for i, state in enumerate(states):
                rows[0][i : i + 1] = 0.0 if state.pop("fresh", False) else 1.0
        steps, products = (*rows, None, None)[:2]
        self.group = backend.steps["group"](
            optimizer.kernel, [p.array for p in params], values, copies, steps, products, starts[:-1]
        )
        self.versions = [version(p.array) for p in params] if master else []

    def run(self, optimizer: Optimizer, group: dict[str, Any], found: Any, scale: Any) -> bool:
        """Take the step; False where the backend has no kernel after all."""
        if self.master:
            refreshed(self.params, self.master, self.versions)
        grads = [_alike(p.grad.array, p.array, order) for p, order in zip(self.params, self.orders)]
        arrays = [p.array for p in self.params]
        device, backend = self.params[0].device, raw(arrays[0]).backend
        backend.select(backend.device_of(arrays[0])[1])
        found, scale = (None if t is None else t.to(device).array for t in (found, scale))
        done = self.update(self.group, optimizer.kernel, arrays, grads, lambda: _plain(group), found, scale)
        if done is NotImplemented:
            return False
        mark_all_written(arrays)
        if scale is not None:
            for p, g in zip(self.params, grads):
                if g is not p.grad.array:
                    p.grad.array[...] = g
            mark_all_written([p.grad.array for p in self.params])
        self.versions = [version(a) for a in arrays] if self.master else []
        return True


class Together:
    """How the parameters of a group that have gradients go through a step; made anew when one of them has changed."""

    def __init__(self, optimizer: Optimizer, group: dict[str, Any], params: list[Tensor]) -> None:
        self.params, self.slots = params, optimizer.slots(group)
        self.names = (*self.slots, *optimizer.counters(group))
        self.masters = bool(group.get("master_weights"))
        parts: dict[Any, list[Tensor]] = {}
        for p in params:
            as_memory(p)
            optimizer.started(p, group)
            parts.setdefault((p.array.dtype, str(p.device)), []).append(p)
        self.parts = [
            _Part(optimizer, group, members, self.masters and dtype.itemsize == 2)
            for (dtype, _), members in parts.items()
        ]
        self.layouts = [(p.array.shape, p.array.dtype, type(p.array), p.array.strides) for p in params]
        self.states = [optimizer.state[p] for p in params]
        self.kept = [s[name] for s in self.states for name in self.names]
        self.arrays = [t.array for t in self.kept]

    @staticmethod
    def serves(optimizer: Optimizer, group: dict[str, Any], params: list[Tensor]) -> bool:
        """Whether the backend has a kernel for this optimizer, and all parameters and gradients suit it."""
        make = raw(params[0].array).backend.steps.get("group")
        if make is None or group.get("fused") is False or make(optimizer.kernel) is NotImplemented:
            return False
        for p in params:
            a, g = p.array, p.grad.array
            same = a.dtype == g.dtype and a.shape == g.shape and raw(a).backend.steps.get("group") is make
            if not same or not p.is_floating_point() or dense_order(a) is None:
                return False
        return True

    def fits(self, params: list[Tensor], optimizer: Optimizer, group: dict[str, Any]) -> bool:
        """Whether nothing was replaced since: parameters, their shapes, dtypes and layouts, state."""
        if (
            len(params) != len(self.params)
            or not all(map(is_, params, self.params))
            or optimizer.slots(group) != self.slots
            or bool(group.get("master_weights")) != self.masters
        ):
            return False
        for p, (shape, dtype, kind, strides) in zip(params, self.layouts):
            a, g = p.array, p.grad.array
            if type(a) is not kind or a.dtype != dtype or a.shape != shape or a.strides != strides:
                return False
            if g.dtype != dtype or g.shape != shape:
                return False
        now = [s.get(name) for s in self.states for name in self.names]
        return all(map(is_, now, self.kept)) and all(map(is_, [t.array for t in now], self.arrays))

    def guard(self, recorder: Any, optimizer: Optimizer, index: int) -> None:
        """Let a recorded step hold as long as this does."""
        group = optimizer.param_groups[index]
        members, groups = list(group["params"]), len(optimizer.param_groups)
        flags = {k: v for k, v in group.items() if isinstance(v, bool)}

        def holds() -> bool:  # that parameters are where they were is asked for all tensors of a step
            now = [s.get(name) for s in self.states for name in self.names]
            return (
                len(optimizer.param_groups) == groups
                and optimizer.param_groups[index] is group
                and len(group["params"]) == len(members)
                and all(map(is_, group["params"], members))
                and all(group[k] is v for k, v in flags.items())
                and all(map(is_, now, self.kept))
            )

        recorder.guard(holds)

    def run(self, optimizer: Optimizer, group: dict[str, Any]) -> bool:
        """Take the step; False where the backend has no kernel after all, and nothing was done."""
        found, scale = getattr(optimizer, "found_inf", None), getattr(optimizer, "grad_scale", None)
        return all(part.run(optimizer, group, found, scale) for part in self.parts)


def _plain(group: dict[str, Any]) -> dict[str, Any]:
    """A group's options, tensors among them as arrays (on the device) or numbers (on the host)."""

    def plain(x: Any) -> Any:
        if isinstance(x, Tensor):
            return x.item() if x.device.type == "cpu" else x.array
        return tuple(map(plain, x)) if isinstance(x, tuple) else x

    return {k: plain(v) for k, v in group.items() if k != "params"}


def _view(memory: Any, shape: tuple[int, ...], order: tuple[int, ...] | None) -> Any:
    """Flat memory as an array of this shape whose dimensions lie in this order."""
    assert order is not None
    assert memory.size == prod(shape)
    back = sorted(range(len(shape)), key=order.__getitem__)
    return memory.reshape([shape[d] for d in order]).transpose(back)


def _alike(g: Any, a: Any, order: tuple[int, ...] | None) -> Any:
    """A gradient whose elements lie as the parameter's do."""
    if g.strides == a.strides or (g.flags.c_contiguous and a.flags.c_contiguous):
        return g
    xp = raw(a).backend.xp
    made = _view(xp.empty(a.size, g.dtype), a.shape, order)
    made[...] = g
    return made
