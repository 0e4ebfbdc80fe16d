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

import copy
import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from ..autograd import FUNCTIONS, Tensor, attributes, enable_grad, float32, float64, get_default_dtype
from ..autograd.dtypes import real_of
from ..autograd.hooks import RemovableHandle
from ..autograd.op import GRAPH, raw
from ..autograd.storage import as_memory, assign
from ..autograd.tensor import wrap
from ..autograd.tracking import paused, recording
from .master import MASTER, fresh_master, keeps_master
from .plan import Plan
from .together import Together

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

ParamsT: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
params_t: TypeAlias = ParamsT  # its names in older programs
_params_t: TypeAlias = ParamsT

_SLOTS = ("step_pre", "step_post", "state_dict_pre", "state_dict_post", "load_pre", "load_post")


class _Required:
    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def number(x: Any) -> Any:
    """A hyperparameter as Python's number; it may be given as a one-element Tensor, or as NumPy's scalar."""
    return x.item() if hasattr(x, "item") else x


def rate(group: dict[str, Any]) -> Any:
    """The learning rate as a number; a Tensor that requires a gradient stays one where the step is recorded."""
    lr = group["lr"]
    return lr if isinstance(lr, Tensor) and lr.requires_grad and group.get("differentiable") else number(lr)


def check(options: Mapping[str, Any], betas: Any = None) -> None:
    """Raise ValueError for an option, by its name in the message, that is not ≥ 0, and for betas outside [0, 1)."""
    for name, value in options.items():
        if name == "learning rate" and isinstance(value, Tensor) and value.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not number(value) >= 0.0:
            raise ValueError(f"Invalid {name}: {value}")
    for i, beta in enumerate(betas or ()):
        if not 0.0 <= number(beta) < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def check_fused(fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
    """Raise RuntimeError for choices of an implementation that exclude one another."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def descent(p: Any, g: Any, weight_decay: float, maximize: bool) -> Any:
    """The gradient of what is to become small: -g to climb, plus weight_decay · p for a penalty weight_decay p² / 2."""
    if maximize:
        g = -g
    return g + weight_decay * p if weight_decay else g


_EVERY_PRE: OrderedDict[int, Callable[..., Any]] = OrderedDict()
_EVERY_POST: OrderedDict[int, Callable[..., Any]] = OrderedDict()


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before each step of every optimizer; it may return new (args, kwargs).

    Returns a handle, whose `remove()` takes it away. RuntimeError where it returns anything but None or a pair.
    """
    handle = RemovableHandle(_EVERY_PRE)
    _EVERY_PRE[handle.id] = hook
    return handle


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after each step of every optimizer.

    Returns a handle, whose `remove()` takes it away.
    """
    handle = RemovableHandle(_EVERY_POST)
    _EVERY_POST[handle.id] = hook
    return handle


def _counted(step: Callable[..., Any]) -> Callable[..., Any]:
    """A `step` that says it was called, and runs the hooks."""

    @functools.wraps(step)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._cr_stepped = True
        if self._cr_inside or not (self._cr_hooks or _EVERY_PRE or _EVERY_POST):
            return step(self, *args, **kwargs)
        for hook in [*_EVERY_PRE.values(), *self._cr_all("step_pre")]:
            result = hook(self, args, kwargs)
            if result is not None:
                if not isinstance(result, tuple) or len(result) != 2:
                    raise RuntimeError(
                        f"a step pre-hook must return None or a tuple of (new_args, new_kwargs), but got {result}."
                    )
                args, kwargs = result
        self._cr_inside = True  # a subclass's step may call its base's
        try:
            out = step(self, *args, **kwargs)
        finally:
            self._cr_inside = False
        for hook in [*self._cr_all("step_post"), *_EVERY_POST.values()]:
            hook(self, args, kwargs)
        return out

    return wrapper


def _hooks(optimizer: Any) -> Any:
    if optimizer._cr_hooks is None:
        optimizer._cr_hooks = {slot: OrderedDict() for slot in _SLOTS}
    return optimizer._cr_hooks


def _hooks_of(slot: str) -> property:
    """The hooks of `slot` by number, as an attribute that can be set."""
    return property(lambda self: _hooks(self)[slot], lambda self, hooks: _hooks(self).__setitem__(slot, hooks))


class Optimizer:
    """Base of the optimizers.

    params: an iterable of Tensors, of (name, Tensor) pairs, or of dicts with "params" and options of their own.
    defaults: the options of groups that do not set them.

    `param_groups` is the list of the groups' dicts, `state` maps a parameter to its state. A subclass of one's own may
    simply define `step`; the ones here define `slots` and `update`.

    master_weights (no option of PyTorch's): parameters in float16 and bfloat16 have float32 copies, which are updated
    and kept in `state[p]["master_param"]`; other state is in float32 too, and the parameters are written from it.
    foreach, fused and capturable: on a GPU one kernel updates all parameters of a group and counts the steps there,
    whatever they say, but for fused=False (one parameter after another); on the CPU there is one implementation. With
    `fused` or `capturable` a GradScaler leaves it to `step` to leave itself out, as it does on a GPU unless `foreach`.

    In the formulas of the optimizers p is a parameter, g its gradient, t the number of the step from 1 on, and all
    is elementwise. Errors: ValueError for options out of range, no parameters, parameters in two groups or that are
    no leaves; TypeError for what is no Tensor. An lr may be a Tensor of one element, which schedules then write
    into.
    """

    #: the name of the backends' in-place step
    kernel = ""
    #: what a GradScaler found in the gradients, and what it scaled the loss by: tensors, while it calls `step`
    found_inf: Tensor | None = None
    grad_scale: Tensor | None = None

    #: False: the formula looks at a parameter as a whole, so each goes alone, in its shape
    elementwise = True

    #: whether gradients may be sparse tensors
    takes_sparse = False

    #: groups (by number) that the backend's kernel over all parameters does not serve after all
    _cr_apart: set[int] = set()
    _cr_hooks: Any = None
    _cr_inside = False
    _cr_stepped = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "update" in cls.__dict__ and "kernel" not in cls.__dict__:
            cls.kernel = ""  # another formula than the kernel's
        if "step" in cls.__dict__:
            cls.step = _counted(cls.__dict__["step"])  # type: ignore[method-assign]

    def __init__(self, params: Any, defaults: dict[str, Any], master_weights: bool = False) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{type(params).__name__}"
            )
        if master_weights:
            if defaults.get("differentiable"):
                raise RuntimeError("`master_weights` does not support `differentiable`")
            defaults = {**defaults, "master_weights": True}
        self.defaults = defaults
        self.state: Any = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._cr_plans: dict[int, Plan | Together] = {}
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

    def counters(self, group: dict[str, Any]) -> dict[str, float]:
        """The numbers that a parameter's state holds, beside the tensors in `slots`, and what each starts with."""
        return {"step": 0.0} if self.counts else {}

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        """The options of `group` as `update` takes them, in step number `step` (from 1).

        rows: the counters after "step", each an array of equal numbers, one per parameter; to be brought up to date.
        """
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
        if attributes.sparse_gradients:
            self.fill_gradients()
        for index, group in enumerate(self.param_groups):
            params = [p for p in dict.fromkeys(group["params"]) if p.grad is not None]
            if not params:
                continue
            if group.get("differentiable"):
                if group.get("foreach"):
                    raise AssertionError("_foreach ops don't support autograd")
                self._cr_step_recorded(group, params)
                continue
            recorder = recording()
            if recorder is None:
                plan = self._cr_plan(index, group, params)
            else:
                with paused():
                    plan = self._cr_plan(index, group, params)
                plan.guard(recorder, self, index)
            if plan.run(self, group) is False:
                self._cr_apart = self._cr_apart | {index}
                plan = self._cr_plan(index, group, params)
                plan.run(self, group)
        return loss

    def _cr_plan(self, index: int, group: dict[str, Any], params: list[Tensor]) -> Plan | Together:
        plan = self._cr_plans.get(index)
        if plan is None or not plan.fits(params, self, group):
            together = index not in self._cr_apart and Together.serves(self, group, params)
            plan = self._cr_plans[index] = (Together if together else Plan)(self, group, params)
        return plan

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether `step` leaves itself out where `self.found_inf` (a tensor, set by a GradScaler) is not 0.

        So it is where a kernel reads it on the device, in a recorded step, and where `fused` or `capturable` asks for
        it: then the host reads nothing, or (without such a kernel) one number here instead of in the GradScaler.
        """
        if type(self).step is not Optimizer.step:
            return False

        def takes(index: int, group: dict[str, Any]) -> bool:
            if group.get("differentiable"):
                return False
            if group.get("fused") or group.get("capturable") or recording() is not None:
                return True
            if group.get("foreach"):
                return False
            if isinstance(self._cr_plans.get(index), Together):
                return True
            params = [p for p in group["params"] if p.grad is not None]
            return bool(params) and Together.serves(self, group, params)

        return all(takes(i, group) for i, group in enumerate(self.param_groups))

    @staticmethod
    def _group_tensors_by_device_and_dtype(tensorlistlist: Any, with_indices: bool = False) -> dict[Any, Any]:
        """Lists of tensors split by device and dtype: for optimizers written outside, see `optim.custom`."""
        from .custom import group_by_device_and_dtype

        return group_by_device_and_dtype(tensorlistlist, with_indices)

    def fill_gradients(self) -> None:
        """Make gradients dense that were assigned as sparse tensors. RuntimeError where PyTorch's takes none."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.grad.is_sparse:
                    if not self.takes_sparse:
                        raise RuntimeError(
                            f"{type(self).__name__} does not support sparse gradients, please consider SparseAdam "
                            "instead"
                        )
                    p.grad = p.grad.to_dense()

    def started(self, p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of `p`, made where there is none yet; counters are 0-d tensors on the host, as in PyTorch."""
        state, slots = self.state[p], self.slots(group)
        if keeps_master(p, group) and not isinstance(state.get(MASTER), Tensor):
            as_memory(p)
            state[MASTER] = fresh_master(p)
        for name, first in self.counters(group).items():
            if not isinstance(state.get(name), Tensor):
                state[name] = _counter(state.get(name, first))
        if any(state.get(name) is None for name in slots):
            as_memory(p)
            like = state[MASTER].array if keeps_master(p, group) else p.array
            backend = raw(like).backend
            backend.select(backend.device_of(like)[1])
            if like.dtype.kind == "c" and self.elementwise:  # as `update` sees it: parts
                parts = like.reshape((*like.shape, 1)).view(real_of(like.dtype))
                arrays = tuple([a.view(like.dtype)[..., 0] for a in self.init(backend.xp, parts, group)])
            else:
                arrays = self.init(backend.xp, like, group)
            if not self.counts:
                state["fresh"] = True
            for name, array in zip(slots, arrays):
                if state.get(name) is None:
                    state[name] = wrap(array, None)
        return state

    def counted(self, group: dict[str, Any], rows: list[Any], states: list[dict[str, Any]]) -> dict[str, Any]:
        """Count a step of parameters with equal counters `rows`, and return its numbers.

        Without a counter 1 is the first step and 2 any other.
        """
        if rows:
            rows[0] += 1
            return self.numbers(group, int(rows[0][0]), *rows[1:])
        fresh = [state.pop("fresh", False) for state in states]
        return self.numbers(group, 1 if any(fresh) else 2)

    def _cr_step_recorded(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """A step whose result is differentiable with regard to gradients, parameters and state before it."""
        slots, counters = self.slots(group), self.counters(group)
        for p in params:
            state = self.started(p, group) if slots or counters else {}
            numbers = self.counted(group, [state[name].array.reshape(1) for name in counters], [state])
            new = self.update(GRAPH, p, p.grad, *[state[n] for n in slots], **numbers)
            new = new if isinstance(new, tuple) else (new,)
            assign(p, new[0], f"{type(self).__name__}.step")
            state.update(zip(slots, new[1:]))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is None:
                    continue
                elif p.grad.requires_grad:
                    p.grad = FUNCTIONS["zeros_like"](p.grad)
                else:
                    p.grad.zero_()

    # -- groups ---------------------------------------------------------------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict with "params" and options; options that it leaves out have their defaults."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
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
        named = [isinstance(p, tuple) for p in params]
        if any(named):
            if not all(named):
                raise ValueError("all optimizer params should be with/without names. Some param names are missing")
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
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; each takes one step, by its gradient",
                UserWarning,
                stacklevel=3,
            )
        if self.param_groups and ("param_names" in group) != ("param_names" in self.param_groups[0]):
            kind = "with" if "param_names" in group else "without"
            raise ValueError(
                "all optimizer param groups should be with/without names. "
                f"cannot add param group {kind} names to the optimizer"
            )
        known = {id(p) for g in self.param_groups for p in g["params"]}
        if any(id(p) in known for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(group)

    # -- state ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """{"state": {position: state}, "param_groups": [...]}, parameters by position, as in PyTorch."""
        for hook in self._cr_all("state_dict_pre"):
            hook(self)
        position: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            packed = {k: v for k, v in group.items() if k != "params"}
            for p in group["params"]:
                position.setdefault(id(p), len(position))
            packed["params"] = [position[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {position.get(id(p), p) if isinstance(p, Tensor) else p: _packed(s) for p, s in self.state.items()}
        result = {"state": state, "param_groups": groups}
        for hook in self._cr_all("state_dict_post"):
            result = hook(self, result) or result
        return result

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take options and state from what `state_dict` gave, here or in PyTorch (as chainrule's tensors)."""
        state_dict = dict(state_dict)
        for hook in self._cr_all("load_pre"):
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
        counters = {i: self.counters(g) for s, g in zip(saved, self.param_groups) for i in s["params"]}
        options = {i: s for s in saved for i in s["params"]}
        for key, entry in state_dict["state"].items():
            if key in params:
                state[params[key]] = {
                    name: _copied_counter(value)
                    if name in ("step", *counters[key])
                    else _fitted(value, params[key], keeps_master(params[key], options[key]))
                    for name, value in entry.items()
                }
            else:
                state[key] = entry
        groups = []
        for s, g in zip(saved, self.param_groups):
            options = copy.deepcopy({k: v for k, v in s.items() if k != "params"})
            names = {k: g[k] for k in ("param_names",) if k in g}
            groups.append({**names, **options, "params": g["params"]})
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in self._cr_all("load_post"):
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        kept = {k: v for k, v in self.__dict__.items() if k not in ("_cr_plans", "_cr_inside", "_cr_apart")}
        return {**kept, "_cr_plans": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_plans" in state:  # a file of an older version
            own = ("_hooks", "_plans", "_stepped")
            state = {f"_cr{name}" if name in own else name: value for name, value in state.items()}
        self.__dict__.update(state)
        self._cr_plans = {}
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    # -- hooks ----------------------------------------------------------------------------------------------------

    # as optimizers know them that wrap another one and do not call __init__
    _optimizer_step_pre_hooks = _hooks_of("step_pre")
    _optimizer_step_post_hooks = _hooks_of("step_post")
    _optimizer_state_dict_pre_hooks = _hooks_of("state_dict_pre")
    _optimizer_state_dict_post_hooks = _hooks_of("state_dict_post")
    _optimizer_load_state_dict_pre_hooks = _hooks_of("load_pre")
    _optimizer_load_state_dict_post_hooks = _hooks_of("load_post")

    def _patch_step_function(self) -> None:
        """Nothing: a subclass's `step` runs the hooks as soon as it is written."""

    def _cr_all(self, slot: str) -> list[Any]:
        return list(self._cr_hooks[slot].values()) if self._cr_hooks else []

    def _cr_add_hook(self, slot: str, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        hooks = _hooks(self)[slot]
        handle = RemovableHandle(hooks)
        hooks[handle.id] = hook
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        return handle

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return new (args, kwargs)."""
        return self._cr_add_hook("step_pre", hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return self._cr_add_hook("step_post", hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict` collects."""
        return self._cr_add_hook("state_dict_pre", hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after it; it may return another one."""
        return self._cr_add_hook("state_dict_post", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before loading; it may return another one."""
        return self._cr_add_hook("load_pre", hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after loading."""
        return self._cr_add_hook("load_post", hook, prepend)

    def __repr__(self) -> str:
        groups = []
        for i, group in enumerate(self.param_groups):
            lines = [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
            groups.append("\n".join([f"Parameter Group {i}", *lines]))
        return f"{type(self).__name__} (\n" + "\n\n".join(groups) + "\n)"


def _counter(value: Any, dtype: Any = None) -> Tensor:
    """A number of the state as PyTorch keeps it: a 0-d tensor on the host, in float32 unless the default is float64."""
    kind = float64 if get_default_dtype() == float64 else float32
    return FUNCTIONS["tensor"](float(value), dtype=dtype or kind, device="cpu")


def _packed(state: Any) -> Any:
    """A parameter's state as PyTorch has it."""
    if isinstance(state, dict) and "fresh" in state:
        return {k: v for k, v in state.items() if k != "fresh"}
    return state


def _copied_counter(value: Any) -> Any:
    """A loaded counter, in its own dtype, so that the run goes on exactly (PyTorch casts all but "step").

    A plain number stays one: an optimizer written outside keeps what it wants; ours make tensors of it (`started`).
    """
    return _counter(number(value), value.dtype) if isinstance(value, Tensor) else value


def _fitted(value: Any, p: Tensor, wide: bool) -> Any:
    """A loaded entry of p's state: on p's device, in p's dtype (`wide`: in float32), on memory of its own."""
    if isinstance(value, Tensor):
        dtype = p.dtype if p.is_floating_point() else None
        return value.detach().to(device=p.device, dtype=float32 if wide else dtype, copy=True)
    if isinstance(value, dict):
        return {k: _fitted(v, p, wide) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_fitted(v, p, wide) for v in value])
    return value
