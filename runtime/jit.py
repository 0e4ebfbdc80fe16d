"""`chainrule.jit`: programs that ask for TorchScript run as Python. Marks for its compiler are accepted.

`script` and `trace` return what they are given. Files of TorchScript are programs: they are neither written nor read.
What `save` writes is the module with its weights, by the names of its classes, for a program that has these classes.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pickle import UnpicklingError
from typing import Any, Final

from ..autograd.serialization import load as read
from ..autograd.serialization import save as write
from ..nn import Module

__all__ = [
    "Attribute",
    "CompilationUnit",
    "Error",
    "Final",
    "Future",
    "ScriptFunction",
    "ScriptModule",
    "TracerWarning",
    "annotate",
    "enable_onednn_fusion",
    "export",
    "fork",
    "freeze",
    "fuser",
    "ignore",
    "interface",
    "is_scripting",
    "is_tracing",
    "isinstance",
    "load",
    "onednn_fusion_enabled",
    "optimize_for_inference",
    "optimized_execution",
    "save",
    "script",
    "script_if_tracing",
    "script_method",
    "set_fusion_strategy",
    "strict_fusion",
    "trace",
    "trace_module",
    "unused",
    "wait",
]

_builtin_isinstance = isinstance


class Error(RuntimeError):
    """PyTorch's error for a program that TorchScript cannot run; nothing here raises it."""


class TracerWarning(Warning):
    """PyTorch's warning of what a trace does not follow, for programs that silence it; nothing here gives it."""

    @staticmethod
    def ignore_lib_warnings() -> None:
        """Nothing: there are none."""


class ScriptModule(Module):
    """PyTorch's base class of scripted modules: a Module. `isinstance` is False for all that are not made from it, and
    `script` makes none, so that programs that ask take a module for what it is."""

    @property
    def original_name(self) -> str:
        """The name of the class."""
        return type(self).__name__


ScriptFunction = type(lambda: None)


class CompilationUnit:
    """NotImplementedError: TorchScript's source is not compiled."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("chainrule compiles no TorchScript: write the function in Python")


def script(obj: Any, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None, example_inputs: Any = None) -> Any:
    """The function, class or module `obj` itself, uncompiled. optimize, example_inputs: PyTorch's, without effect."""
    return _savable(obj)


class _Save:
    """The method `save` of modules that were scripted or traced: others have none.

    Such a module and its copies hold a mark, and not the method, which no file may name.
    """

    def __get__(self, module: Any, owner: Any = None) -> Any:
        if module is None or not vars(module).get(_MARK):
            raise AttributeError(f"{owner.__name__!r} object has no attribute 'save'")
        return functools.partial(save, module)


_MARK = "_cr_scripted"
Module.save = _Save()  # type: ignore[attr-defined]


def _savable(obj: Any) -> Any:
    """A module with the method `save` of scripted ones."""
    if _builtin_isinstance(obj, Module):
        vars(obj)[_MARK] = True
    return obj


def script_method(fn: Any) -> Any:
    """The method itself, uncompiled."""
    return fn


def script_if_tracing(fn: Any) -> Any:
    """The function itself: nothing is traced."""
    return fn


def trace(func: Any, example_inputs: Any = None, **options: Any) -> Any:
    """The function or module itself; it is called once, as tracing would, where `example_inputs` are given.

    Unlike a trace, it follows its own conditions at each call.
    """
    if example_inputs is not None:
        func(*example_inputs) if _builtin_isinstance(example_inputs, (tuple, list)) else func(example_inputs)
    return _savable(func)


def trace_module(mod: Any, inputs: dict[str, Any], **options: Any) -> Any:
    """The module itself; its methods named in `inputs` are called once."""
    for name, args in inputs.items():
        method = getattr(mod, name)
        method(*args) if _builtin_isinstance(args, (tuple, list)) else method(args)
    return mod


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """The function itself; a decorator with and without arguments. drop: the function, or PyTorch's, without effect."""
    return drop if callable(drop) else lambda fn: fn


def unused(fn: Any) -> Any:
    """The function itself: nothing needs leaving out."""
    return fn


def export(fn: Any) -> Any:
    """The method itself: all methods can be called."""
    return fn


def interface(obj: Any) -> Any:
    """The class itself, in Python's sense of one."""
    return obj


def _overload(fn: Any) -> Any:
    return fn


def _overload_method(fn: Any) -> Any:
    return fn


def _script_if_tracing(fn: Any) -> Any:
    return fn


def is_scripting() -> bool:
    """False: programs run as Python."""
    return False


def is_tracing() -> bool:
    """False: programs run as Python."""
    return False


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value itself; the type is not looked at."""
    return the_value


class Attribute:
    """A value with a type for TorchScript: (`value`, `type`)."""

    def __init__(self, value: Any, type: Any) -> None:
        self.value, self.type = value, type


def isinstance(obj: Any, target_type: Any) -> bool:
    """Python's isinstance; of a parametrised container (`list[int]`) its elements are looked at too."""
    import types
    import typing

    if _builtin_isinstance(target_type, tuple):
        return any(isinstance(obj, t) for t in target_type)
    origin, args = typing.get_origin(target_type), typing.get_args(target_type)
    if origin is None:
        return target_type is Any or _builtin_isinstance(obj, type(None) if target_type is None else target_type)
    if origin in (typing.Union, types.UnionType):
        return any(isinstance(obj, t) for t in args)
    if not _builtin_isinstance(obj, origin):
        return False
    if origin is dict:
        return all(isinstance(k, args[0]) and isinstance(v, args[1]) for k, v in obj.items())
    if origin is tuple and args[-1:] != (Ellipsis,):
        return len(obj) == len(args) and all(map(isinstance, obj, args))
    return all(isinstance(x, args[0]) for x in obj)


def freeze(mod: Any, preserved_attrs: Any = None, optimize_numerics: bool = True) -> Any:
    """The module itself; RuntimeError for one in training mode, as in PyTorch.

    preserved_attrs, optimize_numerics: PyTorch's, without effect.
    """
    if mod.training:
        raise RuntimeError(
            "Freezing is currently only implemented for modules in eval mode. Please call .eval() first."
        )
    return mod


def optimize_for_inference(mod: Any, other_methods: Any = None) -> Any:
    """The module itself; other_methods has no effect."""
    return mod


class Future:
    """What `fork` returns: the value, which is there already."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def value(self) -> Any:
        """The value."""
        return self._value

    wait = value

    def done(self) -> bool:
        """True."""
        return True


def fork(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Future:
    """Call the function now; `wait` gives its result."""
    return Future(func(*args, **kwargs))


def wait(future: Future) -> Any:
    """The result of what was forked."""
    return future.wait()


def save(m: Module, f: Any, _extra_files: dict[str, Any] | None = None) -> None:
    """Write the module `m` to the path or file `f`, for `load` in a program that has its classes, too.

    It is no TorchScript, and PyTorch does not read it. TypeError for what is no module. _extra_files: texts by name,
    kept beside it.
    """
    if not _builtin_isinstance(m, Module):
        raise TypeError(f"jit.save() takes a module, not {type(m).__name__}: a function has no weights to save")
    write({"module": m, "extra_files": dict(_extra_files or {})}, f)


def load(f: Any, map_location: Any = None, _extra_files: dict[str, Any] | None = None) -> Module:
    """The module that `save` wrote to `f`. map_location: as in `chainrule.load`.

    The program must have imported the module's classes. RuntimeError for a file of PyTorch's TorchScript: it holds a
    program. _extra_files: its names get the texts of the file.
    """
    try:
        found = read(f, map_location, weights_only=False)
    except UnpicklingError as error:
        if "__torch__" in str(error):  # as TorchScript calls classes
            raise RuntimeError(_NO_FILES) from None
        raise
    if not _builtin_isinstance(found, dict) or set(found) != {"module", "extra_files"}:
        raise RuntimeError(f"the file holds no module that jit.save() wrote. {_NO_FILES}")
    for name in _extra_files or ():
        if name in found["extra_files"]:
            _extra_files[name] = found["extra_files"][name]  # type: ignore[index]
    return _savable(found["module"])


_NO_FILES = (
    "Files of PyTorch's TorchScript hold programs, which chainrule does not read: save the model's state_dict() there, "
    "and load it into the model made by its class"
)


def enable_onednn_fusion(enabled: bool) -> None:
    """Nothing: no ops are fused here."""


def onednn_fusion_enabled() -> bool:
    """False: no ops are fused here."""
    return False


def set_fusion_strategy(strategy: Any) -> list[Any]:
    """[]: no ops are fused here."""
    return []


@contextlib.contextmanager
def fuser(name: str) -> Iterator[None]:
    """A context that changes nothing."""
    yield


@contextlib.contextmanager
def optimized_execution(should_optimize: bool) -> Iterator[None]:
    """A context that changes nothing."""
    yield


class strict_fusion:
    """A context that changes nothing."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        pass
