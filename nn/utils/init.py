"""Modules made without drawing their parameters."""

from __future__ import annotations

import inspect
from typing import Any

from ..module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """`module_cls(*args, **kwargs)` whose `reset_parameters` is not called: its parameters hold anything.

    For modules that are loaded right after. RuntimeError where the class is no Module or takes no `device`, as in
    PyTorch.
    """
    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    undrawn = type(module_cls.__name__, (module_cls,), {"reset_parameters": lambda self: None})
    module = undrawn(*args, **kwargs)
    module.__class__ = module_cls
    return module
