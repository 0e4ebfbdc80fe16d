"""What `load` makes of a file's pickle, and what it refuses.

A pickle is a program: it names functions, calls them, sets attributes. Here what it may name is listed, and what it
names is held as a value; called are classes alone, and the few functions that rebuild what `save` writes. So a file
can hold `max`, or a function of the program, but not call it, by whatever way: REDUCE, an `append` or `__setstate__`
that it has put into an object, the `__new__` of what is no class. Nor does it change what was there before: attributes
are set in the objects that it has made itself, not in classes, functions, enumerations or dtypes.

Turned down: the unpickler in C, which asks about names but not about calls. Imported when a file is read.

Source of the operations: Python's documentation, `pickle` and `pickletools`.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import importlib
import math
import os
import pickle
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from ..backends import np
from . import dtypes
from .op import Op
from .serialization import ADMITTED, SAFE

__all__ = ["Sketch", "Unpickler"]

_PACKAGE = f"{__name__.partition('.')[0]}."

#: values without behaviour, by module: what checkpoints hold beside tensors (settings, dates, paths, NumPy's arrays)
_PLAIN = {
    "builtins": (
        *("set", "frozenset", "complex", "slice", "range", "bytearray"),
        *("bool", "bytes", "dict", "float", "int", "list", "object", "str", "tuple"),
        *("abs", "len", "max", "min", "sum", "Ellipsis", "NotImplemented"),
    ),
    "collections": ("Counter", "defaultdict", "deque"),
    "functools": ("partial",),  # of what the file may name
    "argparse": ("Namespace",),
    "types": ("SimpleNamespace",),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "pathlib": ("PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "uuid": ("UUID",),
    "numpy": ("dtype", "ndarray"),
}

#: functions that files call, besides those of ADMITTED
_MAKERS = {
    **dict.fromkeys(("numpy._core.multiarray", "numpy.core.multiarray"), ("_reconstruct", "scalar")),
    **dict.fromkeys(("numpy._core.numeric", "numpy.core.numeric"), ("_frombuffer",)),
    f"{_PACKAGE}nn.utils.parametrize": ("_bare",),
}

#: modules, and packages with a dot, of the classes of ours that belong into files: not of what runs source text, starts
#: processes or reads data
_HELD = tuple(
    _PACKAGE + name
    for name in (
        *("nn.", "optim.", "distributions.", "models.", "utils.recorder", "utils.data.dataset"),
        *("utils.data.transforms.", "distributed.data_parallel", "runtime.parallel"),
        *("autograd.attributes", "autograd.device", "autograd.dtypes", "autograd.hooks", "autograd.layout"),
        *("autograd.return_types", "autograd.sparse", "autograd.tensor"),
    )
)
_PACKAGES = tuple([name for name in _HELD if name.endswith(".")])

#: what was there before the file: it changes none of it
_SHARED = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, Op, enum.Enum, dtypes.dtype)


def _member(kind: Any, name: str) -> Any:
    """What files have `getattr` for: a member of an enumeration, or a method of a module, or of a hook on one."""
    if isinstance(kind, enum.EnumMeta) and name in kind.__members__:
        return kind[name]
    ours = any(base.__module__.startswith(f"{_PACKAGE}nn.") for base in type(kind).__mro__)
    if ours and not name.startswith("__") and isinstance(getattr(type(kind), name, None), FunctionType):
        return getattr(kind, name)
    raise pickle.UnpicklingError(
        f"the file holds a builtins.getattr of {type(kind).__name__}, {name!r}: it could run code"
    )


def _of_the_program(kind: Any) -> bool:
    """Whether a class or function is defined in the program's own files, not in Python's library or a package."""
    if kind.__module__ == "__main__":
        return True
    import sysconfig

    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    places = {os.path.join(sysconfig.get_path(key), "") for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return file is not None and not os.path.abspath(file).startswith(tuple(places))


def _of_pytorch(module: str, name: str) -> Any:
    """Our class or function for one in a whole module that PyTorch saved."""
    module = f"{_PACKAGE}{module.removeprefix('torch.')}"
    place = importlib.import_module(_PACKAGE + module.split(".")[1])
    with contextlib.suppress(ModuleNotFoundError):
        place = importlib.import_module(module)
    return getattr(place, name, None)


def _makes(kind: Any) -> bool:
    """Whether a file may make objects by calling `kind`: NumPy's arrays lie on any bytes, as objects, too."""
    return isinstance(kind, type) and not issubclass(kind, np.ndarray)


def _sound(state: Any) -> bool:
    """Whether a dtype of NumPy's with this state has parts that lie within it, and none of them objects."""
    _, _, part, _, fields, size, *_ = state
    parts = [(*field[:2], 1) for field in (fields or {}).values()]
    if part is not None:
        parts.append((part[0], 0, math.prod(part[1] if isinstance(part[1], tuple) else (part[1],))))
    return all(not p.hasobject and at >= 0 and n >= 0 and at + n * p.itemsize <= size for p, at, n in parts)


def _named(module: str, name: str) -> Any:
    """What the name stands for among the modules that the program has imported, and nn and optim; else None."""
    if module.startswith(("torch.nn.", "torch.optim.")):
        return _of_pytorch(module, name)
    if module.startswith((f"{_PACKAGE}nn.", f"{_PACKAGE}optim.")):  # which programs import when they first name them
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(module)
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = None if part.startswith("__") else getattr(found, part, None)
    return found if module.startswith(_PACKAGE) or getattr(found, "__module__", None) == module else None


def _holds(kind: type) -> bool:
    """Whether instances of a class may be in a file: ours that belong there, derived ones, and the program's own."""
    if kind.__module__.startswith(_PACKAGE):
        return kind.__module__ in _HELD or kind.__module__.startswith(_PACKAGES)
    bases = [base.__module__ for base in kind.__mro__ if base.__module__.startswith(_PACKAGE)]
    runs = any(base.startswith(f"{_PACKAGE}runtime.fx") for base in bases)
    return not runs and (bool(bases) or _of_the_program(kind))


def _known(module: str, name: str) -> Any:
    """A plain value's class, a class of ours, derived from one, or of the program; a function of either; else None."""
    if module in IMPORT_MAPPING:  # protocol 2 writes the names of Python 2
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING[module], name))
    if (module, name) == ("builtins", "getattr"):
        return _member
    plain = (*_PLAIN.get(module, ()), *_MAKERS.get(module, ()))
    if name in plain or (module == "numpy.dtypes" and name.endswith("DType") and name.isidentifier()):
        return getattr(importlib.import_module(module), name, None)
    found = _named(module, name)
    if isinstance(found, type):
        return found if _holds(found) else None
    if isinstance(found, Op):
        return found
    if not isinstance(found, FunctionType) or "._" in f".{name}":
        return None
    ours = found.__module__.startswith((f"{_PACKAGE}autograd.", f"{_PACKAGE}nn."))
    return found if ours or (found.__module__ == module and _of_the_program(found)) else None


_Python: Any = pickle._Unpickler  # type: ignore[attr-defined]  # the one in C cannot be asked before it calls


class Unpickler(_Python):
    """Reads a structure of tensors and plain containers; everything else is refused before it can do anything.

    memory: gives the memory of a key, a dtype and a device. ours: as `load(weights_only=False)`.
    """

    dispatch = dict(_Python.dispatch)
    lists: tuple[type, ...] = (list, collections.deque)

    def __init__(self, file: Any, memory: Callable[[str, Any, str], Any], ours: bool = False) -> None:
        super().__init__(file, encoding="utf-8")
        self._memory, self._ours = memory, ours
        self._makers = {id(f) for f in ADMITTED.values()} | {id(f) for f in SAFE.get().values()} | {id(_member)}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ADMITTED:
            return ADMITTED[module, name]
        found = SAFE.get().get(f"{module}.{name}")
        if found is None and self._ours:
            found = _known(module, name)
        if found is None:
            raise pickle.UnpicklingError(
                f"the file holds a {module}.{name}; load() reads tensors, numbers, strings and containers alone, since "
                f"anything else could run code. Save the object's state_dict(), or admit the class, if you trust the "
                f"file: serialization.add_safe_globals([{name}])"
            )
        if name in _MAKERS.get(module, ()):
            self._makers.add(id(found))
        return found

    def persistent_load(self, described: Any) -> Any:
        if described[0] == "module":  # a module's class, beside its source, in PyTorch's older format
            return described[1]
        tag, kind, key, place, *_ = described
        if tag != "storage" or not isinstance(kind, dtypes.dtype):
            raise pickle.UnpicklingError("the file describes memory of an unknown kind")
        return self._memory(str(key), kind, str(place))

    # -- what a pickle does, each with what it may do it to -----------------------------------------------------------

    def _need(self, allowed: bool, what: str, of: Any) -> None:
        if not allowed:
            name = f"{getattr(of, '__module__', '')}.{getattr(of, '__qualname__', type(of).__name__)}"
            raise pickle.UnpicklingError(
                f"the file {what} {name}, which could run code. If you trust the file, admit it: "
                "serialization.add_safe_globals([...])"
            )

    def _reduce(self) -> None:
        maker = self.stack[-2]
        self._need(_makes(maker) or id(maker) in self._makers, "calls", maker)
        _Python.load_reduce(self)

    def _instantiate(self, kind: Any, args: Any) -> None:
        self._need(_makes(kind), "calls", kind)
        super()._instantiate(kind, args)

    def _newobj(self) -> None:
        self._need(_makes(self.stack[-2]), "makes an object of", self.stack[-2])
        _Python.load_newobj(self)

    def _newobj_ex(self) -> None:
        self._need(_makes(self.stack[-3]), "makes an object of", self.stack[-3])
        _Python.load_newobj_ex(self)

    def _build(self) -> None:
        target, state = self.stack[-2], self.stack[-1]
        self._need(not isinstance(target, _SHARED), "changes", target)
        self._need(not isinstance(target, np.dtype) or _sound(state), "changes", target)
        self._need("__setstate__" not in getattr(target, "__dict__", ()), "changes", target)
        slots = state[1] if isinstance(state, tuple) and len(state) == 2 else None
        for name in slots if isinstance(slots, dict) else ():
            self._need(not isinstance(getattr(type(target), name, None), property), "sets properties of", target)
        _Python.load_build(self)

    def _append(self) -> None:
        self._need(isinstance(self.stack[-2], self.lists), "appends to", self.stack[-2])
        _Python.load_append(self)

    def _appends(self) -> None:
        self._need(isinstance(self.metastack[-1][-1], self.lists), "appends to", self.metastack[-1][-1])
        _Python.load_appends(self)

    def _additems(self) -> None:
        self._need(isinstance(self.metastack[-1][-1], set), "adds to", self.metastack[-1][-1])
        _Python.load_additems(self)

    def get_extension(self, code: int) -> None:
        """Registered numbers stand for names that nobody could look at: refused."""
        raise pickle.UnpicklingError("the file names something by a number of copyreg's registry")

    for _code, _does in (
        *((pickle.REDUCE, _reduce), (pickle.NEWOBJ, _newobj), (pickle.NEWOBJ_EX, _newobj_ex), (pickle.BUILD, _build)),
        *((pickle.APPEND, _append), (pickle.APPENDS, _appends), (pickle.ADDITEMS, _additems)),
    ):
        dispatch[_code[0]] = _does
    del _code, _does


class _Anything:
    """Stands for whatever a structure describes while only its memories are looked for."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Takes a list's element."""

    def extend(self, values: Any) -> None:
        """Takes a list's elements."""


class Sketch(Unpickler):
    """Reads a structure for the memories that it names, and makes nothing of it."""

    lists = (list, _Anything)

    def find_class(self, module: str, name: str) -> Any:
        found = ADMITTED.get((module, name))
        return found if isinstance(found, dtypes.dtype) else _Anything
