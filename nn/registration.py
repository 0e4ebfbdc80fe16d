"""Registering hooks: the methods of Module, and functions for hooks on all modules.

A module without hooks pays nothing: its `_cr_hooks` is the class's None. The first hook on all modules puts an empty
collection there, and until the last of them is taken out every call looks for hooks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.hooks import RemovableHandle
from .hooks import GLOBAL, Hooks

__all__ = [
    "HookMethods",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]


def _own(module: Any) -> Hooks:
    """The hooks of one module, made where there are none yet."""
    if "_cr_hooks" not in vars(module):
        module._cr_hooks = Hooks()
    return module._cr_hooks


class _Slot:
    """PyTorch's dictionaries of hooks by kind, such as `_forward_hooks`: they can be read and replaced."""

    def __init__(self, slot: str) -> None:
        self.slot = slot

    def __get__(self, module: Any, owner: Any = None) -> Any:
        if module is None:
            return self
        return getattr(module._cr_hooks, self.slot) if "_cr_hooks" in vars(module) else {}

    def __set__(self, module: Any, hooks: Any) -> None:
        setattr(_own(module), self.slot, hooks)


class HookMethods:
    """What of a Module has to do with hooks."""

    _cr_hooks: Hooks | None = None
    _forward_pre_hooks = _Slot("forward_pre")
    _forward_hooks = _Slot("forward")
    _backward_pre_hooks = _Slot("backward_pre")
    _backward_hooks = _Slot("backward")
    _state_dict_pre_hooks = _Slot("state_dict_pre")
    _state_dict_hooks = _Slot("state_dict_post")
    _load_state_dict_pre_hooks = _Slot("load_pre")
    _load_state_dict_post_hooks = _Slot("load_post")

    def _cr_add_hook(
        self, slot: str, hook: Callable[..., Any], prepend: bool = False, **options: Any
    ) -> RemovableHandle:
        return _own(self).add(slot, hook, prepend, **options)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before forward; what it returns replaces the arguments.

        with_kwargs: `hook(module, args, kwargs)`, which returns None or (args, kwargs).
        """
        return self._cr_add_hook("forward_pre", hook, prepend, with_kwargs=with_kwargs)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after forward; what it returns replaces the output.

        with_kwargs: `hook(module, args, kwargs, output)`. always_call: also when forward raises, with output None.
        """
        return self._cr_add_hook("forward", hook, prepend, with_kwargs=with_kwargs, always_call=always_call)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` before the gradients of the module; what it returns replaces grad_output."""
        return self._cr_add_hook("backward_pre", hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the module's inputs are there.

        Both are tuples with an entry per positional argument and per output, None for what carries no gradient. What
        the hook returns replaces grad_input.
        """
        return self._cr_add_hook("backward", hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """The same as `register_full_backward_hook`: the older form gave the gradients of the last op alone."""
        return self._cr_add_hook("backward", hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before `state_dict` collects."""
        return self._cr_add_hook("state_dict_pre", hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after `state_dict` collected; it may change it.

        It returns None: RuntimeError otherwise.
        """
        return self._cr_add_hook("state_dict_post", hook, returns_none=True)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """The same for a hook that may return another state dict."""
        return self._cr_add_hook("state_dict_post", hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)` before loading."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        return self._cr_add_hook("load_pre", WithModule(hook, self) if with_module else hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading; it may change the two lists in place."""
        return self._cr_add_hook("load_post", hook)


class WithModule:
    """A hook that gets its module first; it can be copied with the module, as a closure could not."""

    def __init__(self, hook: Callable[..., Any], module: Any) -> None:
        self.hook, self.module = hook, module

    def __call__(self, *args: Any) -> Any:
        return self.hook(self.module, *args)


# -- hooks on all modules ---------------------------------------------------------------------------------------------


class _ForAll(RemovableHandle):
    """Takes a hook on all modules out again; after the last one calls do not look for hooks any more."""

    def remove(self) -> None:
        super().remove()
        if not (GLOBAL.forward_pre or GLOBAL.forward or GLOBAL.backward_pre or GLOBAL.backward):
            HookMethods._cr_hooks = None


def _for_all(slot: str, hook: Callable[..., Any], **options: bool) -> RemovableHandle:
    if HookMethods._cr_hooks is None:
        HookMethods._cr_hooks = Hooks()
    handle = _ForAll(getattr(GLOBAL, slot))
    handle.id = GLOBAL.add(slot, hook, False, **options).id
    return handle


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, args)` before the forward of every module; what it returns replaces the arguments."""
    return _for_all("forward_pre", hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after the forward of every module; see `Module.register_forward_hook`.

    with_kwargs, always_call: as there.
    """
    return _for_all("forward", hook, with_kwargs=with_kwargs, always_call=always_call)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` before the gradients of every module."""
    return _for_all("backward_pre", hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` when the gradients of every module's inputs are there."""
    return _for_all("backward", hook)


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """The same as `register_module_full_backward_hook`."""
    return _for_all("backward", hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, parameter)` when a module gets a parameter; what it returns replaces the parameter."""
    return GLOBAL.add("parameter", hook, False)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, buffer)` when a module gets a buffer; what it returns replaces the buffer."""
    return GLOBAL.add("buffer", hook, False)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, submodule)` when a module gets a child; what it returns replaces the child."""
    return GLOBAL.add("module", hook, False)
