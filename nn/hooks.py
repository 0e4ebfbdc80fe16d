"""Hooks of modules: the call of a module that has some, and gradients on their way through it.

A backward hook needs the gradients of a module's inputs and outputs as they pass, so inputs and outputs go through
identities (`_Pass`) that are recorded around the forward. A module without hooks pays nothing for any of this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import Tensor
from ..autograd.function import Function
from ..autograd.hooks import RemovableHandle
from ..autograd.modes import MODES
from ..autograd.tensor import wrap

__all__ = ["GLOBAL", "Hooks", "call_with_hooks"]


class Hooks:
    """The hooks of one module, by kind: each a dictionary from a handle's id to the function."""

    def __init__(self) -> None:
        self.forward_pre: dict[int, Any] = {}
        self.forward: dict[int, Any] = {}
        self.backward_pre: dict[int, Any] = {}
        self.backward: dict[int, Any] = {}
        self.state_dict_pre: dict[int, Any] = {}
        self.state_dict_post: dict[int, Any] = {}
        self.load_pre: dict[int, Any] = {}
        self.load_post: dict[int, Any] = {}
        #: what modules get as attributes; asked of the hooks on all modules alone
        self.parameter: dict[int, Any] = {}
        self.buffer: dict[int, Any] = {}
        self.module: dict[int, Any] = {}
        #: handle's id -> with_kwargs, always_call, returns_none
        self.options: dict[int, dict[str, bool]] = {}

    def add(self, slot: str, hook: Callable[..., Any], prepend: bool, **options: bool) -> RemovableHandle:
        """Add a hook, at the front if `prepend`."""
        if not callable(hook):
            raise TypeError(f"a hook is a function, not {type(hook).__name__}")
        hooks = getattr(self, slot)
        handle = RemovableHandle(hooks)
        former = dict(hooks) if prepend else {}
        if prepend:
            hooks.clear()
        hooks[handle.id] = hook
        hooks.update(former)
        if any(options.values()):
            self.options[handle.id] = options
        return handle

    def has(self, key: int, option: str) -> bool:
        """Whether a hook was registered with an option."""
        return self.options.get(key, {}).get(option, False)

    def registered(self, kind: str, module: Any, name: str, value: Any) -> Any:
        """What a module is to get as attribute `name` in the place of `value`."""
        for hook in list(getattr(self, kind).values()):
            replacement = hook(module, name, value)
            value = value if replacement is None else replacement
        return value


#: the hooks on all modules; they run before a module's own
GLOBAL = Hooks()


def _each(hooks: Hooks, slot: str) -> list[tuple[int, Any, dict[str, bool]]]:
    """(id, hook, options) of the hooks on all modules and of one module's own."""
    return [
        (key, hook, owner.options.get(key, {}))
        for owner in (GLOBAL, hooks)
        for key, hook in list(getattr(owner, slot).items())  # at once, as other threads may add some
    ]


def call_with_hooks(module: Any, hooks: Hooks, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`module.forward(*args, **kwargs)` with the module's hooks."""
    called: set[int] = set()
    try:
        return _call(module, hooks, args, kwargs, called)
    except Exception:
        for key, hook, options in _each(hooks, "forward"):
            if options.get("always_call") and key not in called:
                try:
                    hook(module, args, kwargs, None) if options.get("with_kwargs") else hook(module, args, None)
                except Exception as second:  # the first error is the one to be seen
                    import warnings

                    warnings.warn(
                        f"module forward hook with always_call=True raised {second!r} after forward failed",
                        stacklevel=3,
                    )
        raise


def _call(module: Any, hooks: Hooks, args: tuple[Any, ...], kwargs: dict[str, Any], called: set[int]) -> Any:
    for _, hook, options in _each(hooks, "forward_pre"):
        if options.get("with_kwargs"):
            result = hook(module, args, kwargs)
            if result is not None:
                if not isinstance(result, tuple) or len(result) != 2:
                    raise RuntimeError(
                        f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {result!r}."
                    )
                args, kwargs = result
        else:
            result = hook(module, args)
            if result is not None:
                args = result if isinstance(result, tuple) else (result,)
    before, after = ([hook for _, hook, _ in _each(hooks, slot)] for slot in ("backward_pre", "backward"))
    watch = _Watch(module, before, after) if (before or after) and MODES.get().grad else None
    if watch is not None:
        args = watch.inputs(args)
    out = module.forward(*args, **kwargs)
    for key, hook, options in _each(hooks, "forward"):
        called.add(key)
        result = hook(module, args, kwargs, out) if options.get("with_kwargs") else hook(module, args, out)
        if result is not None:
            out = result
    return out if watch is None else watch.outputs(out)


class _Watch:
    """The gradients that pass one call of a module."""

    def __init__(self, module: Any, before: list[Any], after: list[Any]) -> None:
        self.module, self.before, self.after = module, before, after
        self.given: tuple[Any, ...] = ()
        self.places: list[int] = []
        self.count = 0

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, with those that want a gradient passed through an identity."""
        self.count = len(args)
        self.places = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
        if not self.places or not self.after:
            return args
        passed = list(args)
        for i, t in zip(self.places, _Pass.apply(self.at_inputs, *[args[i] for i in self.places])):
            passed[i] = t
        return tuple(passed)

    def outputs(self, out: Any) -> Any:
        """The result, with its tensors passed through an identity."""
        single = isinstance(out, Tensor)
        parts = (
            [out]
            if single
            else list(out.values())
            if isinstance(out, dict)
            else list(out)
            if isinstance(out, (tuple, list))
            else []
        )
        places = [i for i, t in enumerate(parts) if isinstance(t, Tensor) and t.requires_grad]
        if not places:
            return out

        def at_outputs(grads: tuple[Any, ...]) -> tuple[Any, ...]:
            full = [None] * len(parts)
            for i, g in zip(places, grads):
                full[i] = g
            self.given = self.run(self.before, tuple(full))
            if not self.places:  # no input wants a gradient: the hooks see the outputs' alone
                self.run_after((None,) * self.count)
            return tuple([self.given[i] for i in places])

        for i, t in zip(places, _Pass.apply(at_outputs, *[parts[i] for i in places])):
            parts[i] = t
        if single:
            return parts[0]
        if isinstance(out, dict):
            return type(out)(zip(out, parts))
        return type(out)(*parts) if hasattr(out, "_fields") else type(out)(parts)

    def at_inputs(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Run the hooks on the gradients of the inputs."""
        full = [None] * self.count
        for i, g in zip(self.places, grads):
            full[i] = g
        found = self.run_after(tuple(full))
        return tuple([found[i] for i in self.places])

    def run(self, hooks: list[Any], grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Let hooks of one tuple replace it."""
        for hook in hooks:
            grads = _replaced(hook(self.module, grads), grads, "grad_output")
        return grads

    def run_after(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """The full backward hooks."""
        for hook in self.after:
            grads = _replaced(hook(self.module, grads, self.given), grads, "grad_input")
        return grads


def _replaced(result: Any, grads: tuple[Any, ...], what: str) -> tuple[Any, ...]:
    if result is None:
        return grads
    result = result if isinstance(result, tuple) else (result,)
    if len(result) != len(grads):
        raise RuntimeError(
            f"Backward hook returned an invalid number of {what}, got {len(result)}, but expected {len(grads)}"
        )
    return result


class _Pass(Function):
    """The identity of some tensors, whose gradients a function sees, and may replace, together."""

    @staticmethod
    def forward(ctx: Any, seen: Callable[[tuple[Any, ...]], tuple[Any, ...]], *tensors: Tensor) -> Any:
        """The tensors under new names."""
        ctx.seen = seen
        return tuple([wrap(t.array, None) for t in tensors])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """What `seen` makes of the gradients."""
        return None, *ctx.seen(grads)
