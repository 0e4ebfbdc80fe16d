"""What a captured step can name besides its arguments: variables, modules and their attributes.

A replay reads none of them, so before each one they are compared with what they were. What the step's code names is
found from the function itself: its closure, the globals that its code mentions, its object; and through them, to some
depth, modules, other functions, containers and objects. An attribute that is reached by other ways is not seen.
"""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Callable
from operator import attrgetter, is_
from typing import Any

from .errors import _INSIDE
from .tensor import Tensor
from .tracking import CaptureError

__all__ = ["Surroundings"]

_contents = attrgetter("cell_contents")
_DEPTH, _ENTRIES = 5, 64
#: where Python's own modules are, and what stands in the paths of installed ones
_LIBRARY, _INSTALLED = os.path.dirname(os.__file__), ("site-packages", "dist-packages")
_PLAIN = (bool, int, float, str, type(None))


class Surroundings:
    """Everything that `step` and `arguments` lead to, as it is now."""

    def __init__(self, step: Callable[..., Any], *arguments: Any) -> None:
        self._modules: list[Any] = []
        self._dicts: list[dict[Any, Any]] = []
        self._names: list[Any] = []
        self._cells: list[Any] = []
        self._variables: list[str] = []  # the names of those
        self._seen: dict[int, Any] = {}  # by id, and kept: the number of an object that is gone may be another's
        self._objects: list[dict[Any, Any]] = []  # their attributes
        self._lists: list[list[Any]] = []
        self._tables: list[dict[Any, Any]] = []
        self._mentioned = {"forward", "__call__"}  # names in code that was found
        self._methods: list[tuple[str, Any, int]] = []
        self._home = (getattr(step, "__module__", None) or "").partition(".")[0]
        self._visit(step, 0)
        for x in arguments:
            self._visit(x, 0)
        while called := [m for m in self._methods if m[0] in self._mentioned]:
            self._methods = [m for m in self._methods if m[0] not in self._mentioned]
            for _, method, depth in called:
                self._visit(method, depth)
        for attributes in self._objects:  # of which the code may read those that it names
            named = [n for n in attributes if n in self._mentioned]
            self._watch(attributes, named, 0)
            for n in named:
                self._watch_contents(attributes[n])
        self._seen.clear()
        self._before = [dict(vars(m)) for m in self._modules]
        self._values = [d.get(n) for d, n in zip(self._dicts, self._names, strict=True)]
        self._held = [c.cell_contents for c in self._cells]
        self._entries = list(map(tuple, self._lists))
        self._places = [*map(vars, self._modules), *self._tables]
        self._sizes = list(map(len, self._places))
        self._keys = list(map(list, self._tables))

    # -- finding ------------------------------------------------------------------------------------------------------

    def _visit(self, x: Any, depth: int) -> None:
        if depth > _DEPTH or isinstance(x, (*_PLAIN, bytes, Tensor, type)) or id(x) in self._seen:
            return
        self._seen[id(x)] = x
        if isinstance(x, types.FunctionType):
            self._visit_function(x, depth)
        elif isinstance(x, functools.partial):
            self._visit((x.func, x.args, x.keywords), depth)
        elif isinstance(x, types.MethodType):
            self._visit((x.__self__, x.__func__), depth)
        elif isinstance(x, (tuple, list, set, frozenset)):
            self._watch_contents(x)
            for v in x if len(x) <= _ENTRIES else ():
                self._visit(v, depth + 1)
        elif isinstance(x, dict):
            self._watch_contents(x)
            for v in x.values() if len(x) <= _ENTRIES else ():
                self._visit(v, depth + 1)
        elif isinstance(getattr(x, "training", None), bool) and callable(getattr(x, "modules", None)):
            for m in x.modules():
                if id(m) not in self._seen or m is x:
                    self._seen[id(m)] = m
                    self._modules.append(m)
                    vars(m).setdefault("training", m.training)  # which may be the class's, to begin with
                    self._watch(vars(m), list(vars(m)), depth)
                    self._objects.append(vars(m))
                    self._visit_class(type(m), depth)
        elif hasattr(x, "__dict__") and not isinstance(x, types.ModuleType) and not _ours(type(x)):
            self._objects.append(vars(x))
            if not self._foreign(type(x)):
                self._visit_class(type(x), depth)
                for v in list(vars(x).values()):
                    for entry in _within(v):  # a container itself is watched if the step's code names it
                        self._visit(entry, depth + 1)

    def _foreign(self, x: Any) -> bool:
        """Whether a function or a class is Python's, or of an installed library, whose names are not the step's."""
        module = getattr(x, "__module__", None) or ""
        file = getattr(sys.modules.get(module), "__file__", None) or ""
        if _ours(x) or module.partition(".")[0] == self._home:
            return False
        return module == "builtins" or file.startswith(_LIBRARY) or any(part in file for part in _INSTALLED)

    def _visit_class(self, x: type, depth: int) -> None:
        """Note the methods of a class of the user's: those that code names are found, too."""
        for c in x.__mro__:
            if not _ours(c) and not self._foreign(c) and id(c) not in self._seen:
                self._seen[id(c)] = c
                for name, f in vars(c).items():
                    if isinstance(f, types.FunctionType):
                        self._methods.append((name, f, depth + 1))

    def _visit_function(self, x: types.FunctionType, depth: int) -> None:
        if self._foreign(x):
            return
        if _ours(x):
            if (inner := getattr(x, "__wrapped__", None)) is not None:  # a decorator of ours, around the user's
                self._visit(inner, depth)
            return
        for name, cell in zip(x.__code__.co_freevars, x.__closure__ or (), strict=True):
            if _filled(cell):
                self._cells.append(cell)
                self._variables.append(name)
                self._visit(cell.cell_contents, depth + 1)
        self._visit((x.__defaults__, x.__kwdefaults__), depth)
        codes = [x.__code__]
        for code in codes:  # and those of functions within
            codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
        named = {n for code in codes for n in code.co_names}
        self._mentioned |= named
        found = [n for n in named if n in x.__globals__]
        self._watch(x.__globals__, found, 0)
        for n in found:
            value = x.__globals__[n]
            if isinstance(value, types.ModuleType) and not _ours(value) and value.__name__ != "numpy":
                there = [a for a in named if isinstance(vars(value).get(a), (*_PLAIN, Tensor))]
                self._watch(vars(value), there, 0)
            self._visit(value, depth + 1)

    def _watch(self, where: Any, names: list[Any], depth: int) -> None:
        if isinstance(where, dict) and (depth == 0 or len(names) <= _ENTRIES):
            self._names += names
            self._dicts += [where] * len(names)

    def _watch_contents(self, x: Any) -> None:
        if isinstance(x, list) and len(x) <= _ENTRIES:
            self._lists.append(x)
        elif isinstance(x, dict) and len(x) <= _ENTRIES:
            self._tables.append(x)
            self._watch(x, list(x), 0)

    # -- comparing ----------------------------------------------------------------------------------------------------

    def unchanged(self) -> bool:
        """Whether each name stands for what it stood for, and each number is the same."""
        try:
            if list(map(len, self._places)) != self._sizes:
                return False
            if not all(map(_alike, self._lists, self._entries)):
                return False
            if all(map(is_, map(dict.get, self._dicts, self._names), self._values)) and all(
                map(is_, map(_contents, self._cells), self._held)
            ):
                return True
            now = list(map(dict.get, self._dicts, self._names))
            held = list(map(_contents, self._cells))
        except ValueError:  # a variable was deleted
            return False
        if not all(map(_same, [*now, *held], [*self._values, *self._held])):
            return False
        self._values, self._held = now, held
        return True

    def check(self) -> None:
        """At the end of the step: CaptureError where it set a name, or an attribute, to another tensor or number."""
        names = [f"{_owner(d, self._modules)}{n}" for d, n in zip(self._dicts, self._names, strict=True)]
        now = [*map(dict.get, self._dicts, self._names), *map(_contents, self._cells)]
        for name, value, before in zip([*names, *self._variables], now, [*self._values, *self._held], strict=True):
            if isinstance(value, (Tensor, int, float)) and not _same(value, before):
                raise CaptureError(
                    f"{name} was set within the step: a replay would not do that. Let it be a tensor that is changed "
                    "in place (copy_, add_), or set it outside"
                )
        new = [v for now, before in zip(self._lists, self._entries, strict=True) for v in _without(now, before)]
        for table, keys in zip(self._tables, self._keys, strict=True):
            new += [table[k] for k in _without(table, keys)]
        if any(isinstance(v, Tensor) for v in new):
            raise CaptureError(
                "a list or a dict from outside was given a tensor within the step: a replay would not do that. Return "
                "the tensor, and put it there outside"
            )
        self._entries = list(map(tuple, self._lists))  # what else was put there, such as a log, is not put there again
        self._sizes[len(self._modules) :] = map(len, self._tables)

    def restore(self) -> None:
        """Set names and attributes back."""
        for module, before in zip(self._modules, self._before, strict=True):
            vars(module).clear()
            vars(module).update(before)
        for where, name, value in zip(self._dicts, self._names, self._values, strict=True):
            if where.get(name) is not value:
                where[name] = value
        for cell, value in zip(self._cells, self._held, strict=True):
            if cell.cell_contents is not value:
                cell.cell_contents = value
        for held, entries in zip(self._lists, self._entries, strict=True):
            if not _alike(held, entries):
                held[:] = entries
        for table, keys in zip(self._tables, self._keys, strict=True):
            for key in _without(table, keys):
                del table[key]


def _owner(where: Any, modules: list[Any]) -> str:
    return next((f"{type(m).__name__}." for m in modules if vars(m) is where), "")


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, _PLAIN) and a == b)


def _within(x: Any) -> Any:
    """What a list or a dict holds, if it is not too much; anything else itself."""
    if not isinstance(x, (list, dict)):
        return (x,)
    return () if len(x) > _ENTRIES else list(x.values()) if isinstance(x, dict) else x


def _without(now: Any, before: Any) -> list[Any]:
    """The entries of a list, or the keys of a dict, that were not there before."""
    known = set(map(id, before))
    return [v for v in now if id(v) not in known]


def _alike(now: list[Any], before: tuple[Any, ...]) -> bool:
    """Whether a list holds what it held."""
    return len(now) == len(before) and all(map(_same, now, before))


def _ours(x: Any) -> bool:
    return f"{getattr(x, '__module__', None) or getattr(x, '__name__', '')}.".startswith(_INSIDE)


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
