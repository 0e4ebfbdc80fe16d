"""Backends: the array libraries under the engine, found by the type of an array.

This folder is the only place that imports NumPy or CuPy, and it imports nothing of chainrule's. `np` is the
host's namespace (NumPy), for what always lives on the host: dtypes, shapes, printing, files.

A backend is loaded when the first of its arrays is met, so `import chainrule` imports neither CuPy nor numba.
Turned down: a global "current backend" switch, because arrays of two devices live side by side in one program.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .base import FOREIGN, Backend

__all__ = ["FOREIGN", "Backend", "by_device", "by_name", "loaded", "np", "of", "of_type", "register"]

# log(0) is -inf and no cause for a warning, as in PyTorch: NumPy's floating-point warnings are muted where our own code
# calls it, and left alone in the user's. An errstate around each op would do the same for 0.7 microseconds a call.
warnings.filterwarnings("ignore", category=RuntimeWarning, module=rf"{__name__.partition('.')[0]}\.")

# Module of an array's type -> the module of this package that drives it.
_MODULES = {"numpy": ".numpy", "cupy": ".cupy"}
_LOADED: dict[str, Backend] = {}
_BY_TYPE: dict[type, Backend] = {}
#: called when the first backend of another device than the host is loaded
ON_FOREIGN: list[Callable[[], None]] = []


def by_name(name: str) -> Backend:
    """The backend called `name` ('numpy', 'cupy', 'strict'), imported on first use."""
    if name not in _LOADED:
        try:
            module = importlib.import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if error.name == f"{__name__}.{name}":
                raise ValueError(f"there is no backend {name!r}; there are numpy, cupy and strict") from None
            raise
        register(module.BACKEND)
    return _LOADED[name]


def register(backend: Backend) -> None:
    """Let `backend` serve arrays of its `array_types` from now on, and be found by its name.

    For a backend in a package of one's own; those in this folder are registered when they are needed. ValueError where
    another backend has the name or a type.
    """
    if _LOADED.get(backend.name, backend) is not backend:
        raise ValueError(f"another backend has the name {backend.name!r}")
    for kind in backend.array_types:
        if _BY_TYPE.get(kind, backend) is not backend:
            raise ValueError(f"the backend {_BY_TYPE[kind].name!r} has the arrays {kind.__name__}")
    _LOADED[backend.name] = backend
    for kind in backend.array_types:
        _BY_TYPE[kind] = backend
    if backend.device_type != "cpu" and backend.taken_by_numpy:
        FOREIGN.update(backend.array_types)
        for call in tuple(ON_FOREIGN):  # one may take itself off the list
            call()


def loaded(name: str) -> Backend | None:
    """The backend called `name`, if something has needed it."""
    return _LOADED.get(name)


def of_type(kind: type) -> Backend:
    """The backend that owns arrays of type `kind`; TypeError when none does."""
    try:
        return _BY_TYPE[kind]
    except KeyError:
        pass
    for base in kind.__mro__:
        if base in _BY_TYPE:
            _BY_TYPE[kind] = _BY_TYPE[base]
            return _BY_TYPE[kind]
        package = base.__module__.partition(".")[0]
        if package in _MODULES and base is not object:
            backend = by_name(package)
            if base in _BY_TYPE:
                _BY_TYPE[kind] = _BY_TYPE[base]
                return backend
    raise TypeError(f"{kind.__module__}.{kind.__qualname__} is not an array of any backend")


def of(array: Any) -> Backend:
    """The backend that owns `array`."""
    return of_type(type(array))


def by_device(kind: str) -> Backend:
    """The backend of the devices of type `kind` ('cpu', 'cuda', 'meta'); RuntimeError where there is no such device."""
    if kind == "cpu":
        return by_name("numpy")
    if kind == "cuda":
        backend = by_name("cupy")
        backend.require()
        return backend
    if kind == "meta":
        return by_name("meta")
    raise RuntimeError(f"there is no device of type {kind!r}; there are cpu, cuda and meta")
