"""How the parameters of a group go through a step: large ones alone, small ones of one kind gathered together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any

from ..autograd import FUNCTIONS, Tensor
from ..autograd.dtypes import real_of
from ..autograd.op import raw
from ..autograd.storage import as_memory, mark_all_written, version
from ..autograd.tensor import wrap
from ..autograd.tracking import recording
from .master import MASTER, keeps_master, refreshed

if TYPE_CHECKING:
    from .optimizer import Optimizer

__all__ = ["Plan"]

_array_of = attrgetter("array")

#: parameters up to this many elements are gathered; for larger ones the copies cost more than the calls saved
_SMALL = 1 << 14
#: a formula goes over a large array on the host in pieces of this many elements, so that what lies between stays in
#: the cache
_PIECE = 1 << 15


class _Bundle:
    """Parameters that go through a step together: one large one, or small ones gathered into flat arrays.

    `rows` are their counters, one host array per name; each parameter's counter tensor is a view of its element.
    """

    __slots__ = ("alone", "grad", "master", "memory", "params", "rows", "states", "values", "version", "views")

    def __init__(
        self,
        optimizer: Optimizer,
        params: list[Tensor],
        slots: tuple[str, ...],
        counters: tuple[str, ...],
        master: bool = False,
    ) -> None:
        self.params = params
        self.states = states = [optimizer.state[p] for p in params] if slots or counters or master else []
        self.rows = [_row(states, name) for name in counters]
        first = params[0].array
        backend = raw(first).backend
        backend.select(backend.device_of(first)[1])
        xp = backend.xp
        sizes = [p.array.size for p in params]
        #: the float32 copy of a parameter in 16 bits, which then is alone
        self.master: Any = self.states[0].get(MASTER) if master else None
        self.version = version(first) if master else 0
        self.alone = master or (len(params) == 1 and _alone(optimizer, first))
        self.views: tuple[Any, ...] = ()
        if self.alone:
            self.memory, self.grad = None, None
            self.values = tuple([_contiguous(states[0], name) for name in slots])
            return
        total = sum(sizes)
        self.memory, self.grad = xp.empty(total, first.dtype), xp.empty(total, first.dtype)
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        places = [(slice(end - n, end), p.array.shape) for end, n, p in zip(ends, sizes, params)]
        self.views = tuple([self.memory[part].reshape(shape) for part, shape in places])
        self.values = tuple([xp.empty(total, first.dtype) for _ in slots])
        for state, (part, shape) in zip(states, places):
            for name, flat in zip(slots, self.values):
                view = flat[part].reshape(shape)
                view[...] = state[name].array
                state[name] = wrap(view, None)

    def restorer(self) -> Callable[[], None]:
        """What puts the counters back to where they are now."""
        rows, fresh = [row.copy() for row in self.rows], [state.get("fresh") for state in self.states]

        def restore() -> None:
            for row, old in zip(self.rows, rows):
                row[...] = old
            for state, flag in zip(self.states, fresh):
                if flag is not None:
                    state["fresh"] = flag

        return restore

    def update_master(self, optimizer: Optimizer, g: Any, numbers: dict[str, Any]) -> None:
        """Update the float32 copy, and write the parameter from it."""
        p, master = self.params[0], self.master
        refreshed([p], [master], [self.version])
        _run(optimizer, master.array, g.astype(master.array.dtype), self.values, numbers)
        p.array[...] = master.array

    def agrees(self) -> bool:
        """Whether the counters of all its parameters still are the same."""
        return len(self.params) == 1 or all(len(set(row.tolist())) == 1 for row in self.rows)


def _row(states: list[dict[str, Any]], name: str) -> Any:
    """The counters called `name` moved into one host array."""
    first = states[0][name]
    row = FUNCTIONS["full"]((len(states),), first.item(), dtype=first.dtype, device="cpu").array
    for i, state in enumerate(states):
        state[name] = wrap(row[i : i + 1].reshape(()), None)
    return row


def _alone(optimizer: Optimizer, array: Any) -> bool:
    return not optimizer.elementwise or (array.size > _SMALL and _flat(array))


def _flat(array: Any) -> bool:
    return bool(array.flags.c_contiguous)


def _contiguous(state: dict[str, Any], name: str) -> Any:
    """A state's array; a layout that is not plain (as a file may bring) is made plain."""
    array = state[name].array
    if not _flat(array):
        array = array.copy(order="C")
        state[name] = wrap(array, None)
    return array


class Plan:
    """How the parameters of a group that have gradients go through a step; made anew when one of them has changed."""

    def __init__(self, optimizer: Optimizer, group: dict[str, Any], params: list[Tensor]) -> None:
        self.params, self.slots = params, optimizer.slots(group)
        counters = tuple(optimizer.counters(group)) if self.slots or optimizer.counts else ()
        together: dict[Any, list[Tensor]] = {}
        for p in params:
            as_memory(p)
            a = p.array
            master = keeps_master(p, group)
            state = optimizer.started(p, group) if self.slots or counters or master else {}
            counts = tuple([(state[name].dtype, state[name].item()) for name in counters])
            key = (
                id(p) if master or _alone(optimizer, a) else None,
                master,
                a.dtype,
                str(p.device),
                state.get("fresh"),
                counts,
            )
            together.setdefault(key, []).append(p)
        self.bundles = [
            _Bundle(optimizer, members, self.slots, counters, master) for (_, master, *_), members in together.items()
        ]
        self.masters = bool(group.get("master_weights"))
        self.layouts = [(p.array.shape, p.array.dtype, type(p.array), _flat(p.array)) for p in params]
        self.names = self.slots + counters
        self.states = [optimizer.state[p] for p in params] if self.names else []
        self.kept = [s[name] for s in self.states for name in self.names]
        self.arrays = [t.array for t in self.kept]

    def fits(self, params: list[Tensor], optimizer: Optimizer, group: dict[str, Any]) -> bool:
        """Whether nothing was replaced since: parameters, their shapes and dtypes, state."""
        if (
            len(params) != len(self.params)
            or not all(map(is_, params, self.params))
            or optimizer.slots(group) != self.slots
            or bool(group.get("master_weights")) != self.masters
        ):
            return False
        for p, (shape, dtype, kind, flat) in zip(params, self.layouts):
            a = p.array
            if type(a) is not kind or a.dtype is not dtype or a.shape != shape or a.flags.c_contiguous != flat:
                return False
        names = self.names
        now = [s.get(name) for s in self.states for name in names]
        return (
            all(map(is_, now, self.kept))
            and all(map(is_, [t.array for t in now], self.arrays))
            and all(bundle.agrees() for bundle in self.bundles)
        )

    def guard(self, recorder: Any, optimizer: Optimizer, index: int) -> None:
        """Let a recorded step hold as long as this plan does."""

        group = optimizer.param_groups[index]
        members, count, groups = group["params"], len(group["params"]), len(optimizer.param_groups)
        states = [s for s in self.states for _ in self.names]
        names = self.names * len(self.states)
        shared = [bundle for bundle in self.bundles if len(bundle.params) > 1]

        def holds() -> bool:  # that parameters are where they were is asked for all tensors of a step
            return (
                optimizer._cr_plans.get(index) is self
                and len(optimizer.param_groups) == groups
                and group["params"] is members
                and len(members) == count
                and optimizer.slots(group) == self.slots
                and all(map(is_, map(dict.get, states, names), self.kept))
                and all(map(is_, map(_array_of, self.kept), self.arrays))
                and all(map(_Bundle.agrees, shared))
            )

        recorder.guard(holds)

    def run(self, optimizer: Optimizer, group: dict[str, Any]) -> None:
        """Take the step."""
        recorder = recording()
        found, scale = optimizer.found_inf, optimizer.grad_scale
        if found is not None and recorder is None and found.item():
            return
        if scale is not None and recorder is None:
            for p in self.params:
                p.grad.div_(scale.to(p.grad.device))
        for bundle in self.bundles:
            arrays = [p.array for p in bundle.params]
            grads = [p.grad.array for p in bundle.params]
            for a, g in zip(arrays, grads):
                if a.shape != g.shape:
                    raise RuntimeError(f"a gradient has shape {list(g.shape)} and its parameter {list(a.shape)}")
            if recorder is not None and found is not None:
                self._guarded(recorder, optimizer, group, bundle, arrays, grads)
                continue
            backend = raw(arrays[0]).backend
            if backend.device_type != "cpu":
                backend.select(backend.device_of(arrays[0])[1])
            counted = functools.partial(optimizer.counted, group, bundle.rows, bundle.states)
            numbers = counted() if recorder is None else recorder.live(counted, bundle.restorer())
            if bundle.master is not None:
                bundle.update_master(optimizer, grads[0], numbers)
                continue
            if bundle.alone:
                _run(optimizer, arrays[0], grads[0], bundle.values, numbers)
                continue
            if recorder is not None and backend.device_type == "cpu" and self.slots and all(map(_flat, arrays)):
                # a recorded step calls machine code, and a call of that costs less than to gather
                for a, g, state in zip(arrays, grads, bundle.states):
                    _run(optimizer, a, g, tuple([state[name].array for name in self.slots]), numbers)
                continue
            xp = backend.xp
            xp.concatenate([a.ravel() for a in arrays], out=bundle.memory)
            xp.concatenate([g.ravel() for g in grads], out=bundle.grad)
            _run(optimizer, bundle.memory, bundle.grad, bundle.values, numbers)
            for a, view in zip(arrays, bundle.views):
                a[...] = view
        mark_all_written([p.array for p in self.params])
        for bundle in self.bundles:
            if bundle.master is not None:
                bundle.version = version(bundle.params[0].array)

    def _guarded(
        self, recorder: Any, optimizer: Optimizer, group: dict[str, Any], bundle: _Bundle, arrays: Any, grads: Any
    ) -> None:
        """Record a step that is left out in the replays in which `found_inf` is not 0, counters and all."""

        def step(found: Any, scale: Any, *arrays: Any) -> None:
            if found > 0:
                return
            params, grads = arrays[: len(bundle.params)], arrays[len(bundle.params) : 2 * len(bundle.params)]
            if scale is not None:
                for g in grads:
                    g /= scale.astype(g.dtype)
            numbers = optimizer.counted(group, bundle.rows, bundle.states)
            if bundle.master is not None:
                _update(optimizer, arrays[-1], grads[0].astype(arrays[-1].dtype), *bundle.values, **numbers)
                params[0][...] = arrays[-1]
                return
            for i, (a, g) in enumerate(zip(params, grads)):
                state = [bundle.states[i][name].array for name in self.slots]
                _update(optimizer, a, g, *state, **numbers)

        found, scale = (None if t is None else t.array for t in (optimizer.found_inf, optimizer.grad_scale))
        master = [] if bundle.master is None else [bundle.master.array]
        writes = [*arrays, *(grads if scale is not None else ()), *master, *bundle.rows, *bundle.values]
        recorder.update("guarded step", step, found, scale, *arrays, *grads, *master, writes=writes)


def _run(optimizer: Optimizer, p: Any, g: Any, values: tuple[Any, ...], numbers: dict[str, Any]) -> None:
    """The update of one array in place."""
    recorder = recording()
    if recorder is None:
        _update(optimizer, p, g, *values, **numbers)
    else:
        name = optimizer.kernel or type(optimizer).__name__.lower()
        recorder.update(name, _update, optimizer, p, g, *values, writes=(p, *values), **numbers)


def _update(optimizer: Optimizer, p: Any, g: Any, *values: Any, **numbers: Any) -> None:
    """The backend's step, or the formula."""
    F = raw(p)
    if p.dtype.kind == "c":
        if not optimizer.elementwise:
            raise RuntimeError(f"{type(optimizer).__name__} does not support complex parameters")
        # both parts are numbers of their own, as in PyTorch
        parts = [F.backend.xp.ascontiguousarray(x).reshape(-1).view(real_of(x.dtype)) for x in (p, g, *values)]
        p, g, values = parts[0], parts[1], tuple(parts[2:])
    step = F.backend.steps.get(optimizer.kernel)
    if step is not None:
        flat = [x if x.ndim == 1 else x.reshape(-1) for x in (p, g, *values)]
        if step(*flat, **numbers) is not NotImplemented:
            return
    whole = (p, g, *values)
    if not optimizer.elementwise or p.size <= _PIECE or F.backend.device_type != "cpu":
        _evaluate(optimizer, F, whole, numbers)
        return
    flat = [x.reshape(-1) for x in whole]
    for i in range(0, p.size, _PIECE):
        _evaluate(optimizer, F, [x[i : i + _PIECE] for x in flat], numbers)


def _evaluate(optimizer: Optimizer, F: Any, arrays: Any, numbers: dict[str, Any]) -> None:
    p, g, *values = arrays
    new = optimizer.update(F, p, g, *values, **numbers)
    for old, value in zip((p, *values), new if isinstance(new, tuple) else (new,)):
        old[...] = value
