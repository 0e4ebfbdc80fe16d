"""Optimizer: what all of them share. A method of its own is a formula, `update`, and the names of its state.

`update(F, p, g, *state, **numbers)` returns the new `(p, *state)` without changing anything, in operators and `F`
alone. So one formula runs on raw arrays of any backend and, with `differentiable=True`, on Tensors that record. Where
the backend has an in-place step of the same name, that runs instead; tests compare the two.

Small parameters of one group go through a step together: they and their gradients are gathered into one flat array, and
their state always lies in one. A parameter's own memory never moves, so views of it, `p.data = ...` and `p.grad = ...`
mean what they do in PyTorch. Turned down: parameters as views of one flat buffer, which saves the copies but breaks
every alias that was taken before.
"""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from operator import is_
from typing import Any

from ..autograd import FUNCTIONS, Tensor, enable_grad
from ..autograd.hooks import RemovableHandle
from ..autograd.op import GRAPH, raw
from ..autograd.storage import as_memory, assign, mark_all_written
from ..autograd.tensor import wrap

__all__ = ["Optimizer"]

#: parameters up to this many elements are gathered; for larger ones the copies cost more than the calls saved
_SMALL = 1 << 14
_SLOTS = ("step_pre", "step_post", "state_dict_pre", "state_dict_post", "load_pre", "load_post")


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def number(x: Any) -> Any:
    """A hyperparameter that may be given as a one-element Tensor."""
    return x.item() if isinstance(x, Tensor) else x


def _counted(step: Callable[..., Any]) -> Callable[..., Any]:
    """A `step` that says it was called, and runs the hooks."""

    @functools.wraps(step)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._stepped = True
        if not self._hooks or self._inside:
            return step(self, *args, **kwargs)
        for hook in list(self._hooks["step_pre"].values()):
            result = hook(self, args, kwargs)
            if result is not None:
                if not isinstance(result, tuple) or len(result) != 2:
                    raise RuntimeError(
                        f"a step pre-hook must return None or a tuple of (new_args, new_kwargs), but got {result}."
                    )
                args, kwargs = result
        self._inside = True  # a subclass's step may call its base's
        try:
            out = step(self, *args, **kwargs)
        finally:
            self._inside = False
        for hook in list(self._hooks["step_post"].values()):
            hook(self, args, kwargs)
        return out

    return wrapper


class Optimizer:
    """Base of the optimizers.

    params: an iterable of Tensors, of (name, Tensor) pairs, or of dicts with "params" and options of their own.
    defaults: the options of groups that do not set them.

    `param_groups` is the list of the groups' dicts, `state` maps a parameter to its state. A subclass of one's own may
    simply define `step`; the ones here define `slots` and `update`.
    """

    #: the name of the backends' in-place step
    kernel = ""
    #: False: the formula looks at a parameter as a whole, so each goes alone, in its shape
    elementwise = True

    _hooks: Any = None
    _inside = False
    _stepped = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "update" in cls.__dict__ and "kernel" not in cls.__dict__:
            cls.kernel = ""  # another formula than the kernel's
        if "step" in cls.__dict__:
            cls.step = _counted(cls.__dict__["step"])  # type: ignore[method-assign]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{type(params).__name__}"
            )
        self.defaults = defaults
        self.state: Any = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._plans: dict[int, _Plan] = {}
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    # -- what a method defines ------------------------------------------------------------------------------------

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The names of the state tensors of a parameter in `group`, in the order in which `update` takes them."""
        return ()

    def init(self, xp: Any, p: Any, group: dict[str, Any]) -> tuple[Any, ...]:
        """The state with which a parameter starts, as arrays: zeros."""
        return tuple([xp.zeros(p.shape, p.dtype) for _ in self.slots(group)])

    def numbers(self, group: dict[str, Any], step: int) -> dict[str, Any]:
        """The options of `group` as `update` takes them, in step number `step` (from 1)."""
        raise NotImplementedError

    @staticmethod
    def update(F: Any, p: Any, g: Any, *state: Any, **numbers: Any) -> Any:
        """The formula: the new `(p, *state)`, or the new p where there is no state."""
        raise NotImplementedError

    #: whether `state` counts the steps, as PyTorch's does
    counts = True

    # -- steps ----------------------------------------------------------------------------------------------------

    @_counted
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient, all by the gradients as they are now.

        closure: computes the loss, and its gradients, anew; it is called first, and its result returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for index, group in enumerate(self.param_groups):
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            if group.get("differentiable"):
                self._step_recorded(group, params)
                continue
            plan = self._plans.get(index)
            if plan is None or not plan.fits(params, self, group):
                plan = self._plans[index] = _Plan(self, group, params)
            plan.run(self, group)
        return loss

    def _started(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of `p`, made where there is none yet."""
        state, slots = self.state[p], self.slots(group)
        if any(state.get(name) is None for name in slots):
            as_memory(p)
            arrays = self.init(raw(p.array).backend.xp, p.array, group)
            if self.counts:
                state.setdefault("step", 0)
            else:
                state["fresh"] = True
            for name, array in zip(slots, arrays):
                if state.get(name) is None:
                    state[name] = wrap(array, None)
        return state

    def _step_recorded(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """A step whose result is differentiable with regard to gradients, parameters and state before it."""
        slots = self.slots(group)
        for p in params:
            state = self._started(p, group) if slots else {}
            count = self._count(state)
            new = self.update(GRAPH, p, p.grad, *[state[n] for n in slots], **self.numbers(group, count))
            new = new if isinstance(new, tuple) else (new,)
            assign(p, new[0], f"{type(self).__name__}.step")
            state.update(zip(slots, new[1:]))

    def _count(self, state: dict[str, Any]) -> int:
        """Count a step, and return its number; without a counter in the state 1 is the first and 2 any other."""
        if self.counts and "step" in state:
            step = state["step"]
            state["step"] = step = (step if type(step) is int else int(number(step))) + 1
            return step
        return 1 if state.pop("fresh", False) else 2

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad = FUNCTIONS["zeros_like"](p.grad)

    # -- groups ---------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict with "params" and options; options that it leaves out have their defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group).__name__}")
        group = dict(param_group)
        params = group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, (set, frozenset)):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        params = list(params)
        if params and isinstance(params[0], tuple):
            group["param_names"] = [name for name, _ in params]
            params = [p for _, p in params]
        group["params"] = params
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}")
            if not p.is_leaf and not group.get("differentiable", self.defaults.get("differentiable", False)):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            group.setdefault(name, default)
        if len({id(p) for p in params}) != len(params):
            raise ValueError("optimizer contains a parameter group with duplicate parameters")
        known = {id(p) for g in self.param_groups for p in g["params"]}
        if any(id(p) in known for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(group)

    # -- state ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """{"state": {position: state}, "param_groups": [...]}, parameters by position, as in PyTorch."""
        for hook in self._all("state_dict_pre"):
            hook(self)
        position: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            packed = {k: v for k, v in group.items() if k != "params"}
            for p in group["params"]:
                position.setdefault(id(p), len(position))
            packed["params"] = [position[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {position[id(p)] if isinstance(p, Tensor) else p: _packed(s) for p, s in self.state.items()}
        result = {"state": state, "param_groups": groups}
        for hook in self._all("state_dict_post"):
            result = hook(self, result) or result
        return result

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take options and state from what `state_dict` gave, here or in PyTorch (as chainrule's tensors)."""
        state_dict = dict(state_dict)
        for hook in self._all("load_pre"):
            state_dict = hook(self, state_dict) or state_dict
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(s["params"]) != len(g["params"]) for s, g in zip(saved, self.param_groups)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        params = {i: p for s, g in zip(saved, self.param_groups) for i, p in zip(s["params"], g["params"])}
        state: Any = defaultdict(dict)
        for key, entry in state_dict["state"].items():
            if key in params:
                state[params[key]] = {name: _fitted(name, value, params[key]) for name, value in entry.items()}
            else:
                state[key] = entry
        groups = [{**s, "params": g["params"]} for s, g in zip(saved, self.param_groups)]
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in self._all("load_post"):
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        kept = {k: v for k, v in self.__dict__.items() if k not in ("_plans", "_inside")}
        return {**kept, "_plans": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._plans = {}
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    # -- hooks ----------------------------------------------------------------------------------------------------

    def _all(self, slot: str) -> list[Any]:
        return list(self._hooks[slot].values()) if self._hooks else []

    def _add_hook(self, slot: str, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        if self._hooks is None:
            self._hooks = {s: OrderedDict() for s in _SLOTS}
        handle = RemovableHandle(self._hooks[slot])
        self._hooks[slot][handle.id] = hook
        if prepend:
            self._hooks[slot].move_to_end(handle.id, last=False)
        return handle

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return new (args, kwargs)."""
        return self._add_hook("step_pre", hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return self._add_hook("step_post", hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict` collects."""
        return self._add_hook("state_dict_pre", hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after it; it may return another one."""
        return self._add_hook("state_dict_post", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before loading; it may return another one."""
        return self._add_hook("load_pre", hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after loading."""
        return self._add_hook("load_post", hook, prepend)

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return f"{type(self).__name__} (\n" + "\n".join(lines) + "\n)"


def _packed(state: Any) -> Any:
    """A parameter's state as PyTorch has it: the counter is a tensor."""
    if not isinstance(state, dict):
        return state
    found = {k: v for k, v in state.items() if k != "fresh"}
    if isinstance(found.get("step"), int):
        found["step"] = FUNCTIONS["tensor"](float(found["step"]))
        return {"step": found.pop("step"), **found}
    return found


def _fitted(name: str, value: Any, p: Tensor) -> Any:
    """A loaded entry of p's state: on p's device, in p's dtype, on memory of its own."""
    if name == "step":
        return int(number(value))
    if isinstance(value, Tensor):
        dtype = p.dtype if value.is_floating_point() and p.is_floating_point() else None
        return value.detach().to(device=p.device, dtype=dtype, copy=True)
    if isinstance(value, dict):
        return {k: _fitted(k, v, p) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_fitted("", v, p) for v in value])
    return value


class _Bundle:
    """Parameters that go through a step together: one large one, or small ones gathered into flat arrays."""

    __slots__ = ("alone", "ends", "grad", "memory", "params", "states", "values", "views")

    def __init__(
        self, optimizer: Optimizer, group: dict[str, Any], params: list[Tensor], slots: tuple[str, ...]
    ) -> None:
        self.params, self.states = params, [optimizer.state[p] for p in params] if slots else []
        first = params[0].array
        xp = raw(first).backend.xp
        sizes = [p.array.size for p in params]
        self.alone = len(params) == 1 and (not optimizer.elementwise or (sizes[0] > _SMALL and _flat(first)))
        self.views: tuple[Any, ...] = ()
        if self.alone:
            self.memory, self.grad = None, None
            self.values = tuple([_contiguous(self.states[0], name) for name in slots])
            return
        total = sum(sizes)
        self.memory, self.grad = xp.empty(total, first.dtype), xp.empty(total, first.dtype)
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        places = [(slice(end - n, end), p.array.shape) for end, n, p in zip(ends, sizes, params)]
        self.views = tuple([self.memory[part].reshape(shape) for part, shape in places])
        self.values = tuple([xp.empty(total, first.dtype) for _ in slots])
        for state, (part, shape) in zip(self.states, places):
            for name, flat in zip(slots, self.values):
                view = flat[part].reshape(shape)
                view[...] = state[name].array
                state[name] = wrap(view, None)


def _flat(array: Any) -> bool:
    return bool(array.flags.c_contiguous)


def _contiguous(state: dict[str, Any], name: str) -> Any:
    """A state's array; a layout that is not plain (as a file may bring) is made plain."""
    array = state[name].array
    if not _flat(array):
        array = array.copy(order="C")
        state[name] = wrap(array, None)
    return array


class _Plan:
    """How the parameters of a group that have gradients go through a step; made anew when one of them has changed."""

    def __init__(self, optimizer: Optimizer, group: dict[str, Any], params: list[Tensor]) -> None:
        self.params, self.slots = params, optimizer.slots(group)
        together: dict[Any, list[Tensor]] = {}
        for p in params:
            as_memory(p)
            a = p.array
            state = optimizer._started(p, group) if self.slots else {}
            count = state.get("step", state.get("fresh", False))
            large = not optimizer.elementwise or (a.size > _SMALL and _flat(a))
            key = (id(p) if large else None, a.dtype, str(p.device), int(number(count)))
            together.setdefault(key, []).append(p)
        self.bundles = [_Bundle(optimizer, group, members, self.slots) for members in together.values()]
        self.layouts = [(p.array.shape, p.array.dtype, type(p.array), _flat(p.array)) for p in params]
        self.states = [optimizer.state[p] for p in params] if self.slots else []
        self.kept = [s[name] for s in self.states for name in self.slots]
        self.arrays = [t.array for t in self.kept]

    def fits(self, params: list[Tensor], optimizer: Optimizer, group: dict[str, Any]) -> bool:
        """Whether nothing was replaced since: parameters, their shapes and dtypes, state."""
        if (
            len(params) != len(self.params)
            or not all(map(is_, params, self.params))
            or optimizer.slots(group) != self.slots
        ):
            return False
        for p, (shape, dtype, kind, flat) in zip(params, self.layouts):
            a = p.array
            if type(a) is not kind or a.dtype is not dtype or a.shape != shape or a.flags.c_contiguous != flat:
                return False
        slots = self.slots
        for bundle in self.bundles:
            if len(bundle.states) > 1 and len({s.get("step") for s in bundle.states}) > 1:
                return False
        now = [s.get(name) for s in self.states for name in slots]
        return all(map(is_, now, self.kept)) and all(map(is_, [t.array for t in now], self.arrays))

    def run(self, optimizer: Optimizer, group: dict[str, Any]) -> None:
        """Take the step."""
        for bundle in self.bundles:
            arrays = [p.array for p in bundle.params]
            grads = [p.grad.array for p in bundle.params]
            for a, g in zip(arrays, grads):
                if a.shape != g.shape:
                    raise RuntimeError(f"a gradient has shape {list(g.shape)} and its parameter {list(a.shape)}")
            step = 2
            for state in bundle.states:
                step = optimizer._count(state)
            numbers = optimizer.numbers(group, step)
            if bundle.alone:
                _run(optimizer, arrays[0], grads[0], bundle.values, numbers)
                continue
            xp = raw(arrays[0]).backend.xp
            xp.concatenate([a.ravel() for a in arrays], out=bundle.memory)
            xp.concatenate([g.ravel() for g in grads], out=bundle.grad)
            _run(optimizer, bundle.memory, bundle.grad, bundle.values, numbers)
            for a, view in zip(arrays, bundle.views):
                a[...] = view
        mark_all_written([p.array for p in self.params])


def _run(optimizer: Optimizer, p: Any, g: Any, values: tuple[Any, ...], numbers: dict[str, Any]) -> None:
    """The update of one array in place: the backend's step, or the formula."""
    F = raw(p)
    step = F.backend.steps.get(optimizer.kernel)
    if step is not None:
        flat = [x if x.ndim == 1 else x.reshape(-1) for x in (p, g, *values)]
        step(*flat, **numbers)
        return
    new = optimizer.update(F, p, g, *values, **numbers)
    for old, value in zip((p, *values), new if isinstance(new, tuple) else (new,)):
        old[...] = value
