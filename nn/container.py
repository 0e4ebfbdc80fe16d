"""Containers: modules and parameters in sequences and by name."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..autograd import Tensor
from ..autograd.conversion import typename
from ..autograd.errors import warn
from .module import Module, _addindent
from .normalization import batch_norm_relu, joinable
from .parameter import Parameter

__all__ = ["Container", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


def _position(index: Any, length: int) -> int:
    """An index from either end, as a position."""
    index = operator.index(index)
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of range")
    return index % length


class Container(Module):
    """PyTorch's first container, with its warning: a Module whose children are given by keyword."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        warn(
            "`nn.Container` is deprecated. All of its functionality is now implemented in `nn.Module`. Subclass that "
            "instead.",
            FutureWarning,
        )
        for name, module in kwargs.items():
            self.add_module(name, module)


class _Row(Module):
    """Modules in a row, named "0", "1", ..."""

    def _cr_items(self) -> list[Any]:
        return [m for _, m in self._cr_entries("module")]

    def _cr_renumber(self, modules: Iterable[Any]) -> None:
        for name, _ in self._cr_entries("module"):
            delattr(self, name)
        for i, module in enumerate(modules):
            self.add_module(str(i), module)

    def __len__(self) -> int:
        return len(self._cr_items())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cr_items())

    def __getitem__(self, index: Any) -> Any:
        items = self._cr_items()
        if isinstance(index, slice):
            return self._cr_part(index)
        return items[_position(index, len(items))]

    def _cr_part(self, index: slice) -> Any:
        raise NotImplementedError

    def __setitem__(self, index: Any, module: Module) -> None:
        names = [name for name, _ in self._cr_entries("module")]
        setattr(self, names[_position(index, len(names))], module)

    def __delitem__(self, index: Any) -> None:
        items = self._cr_items()
        del items[index if isinstance(index, slice) else _position(index, len(items))]
        self._cr_renumber(items)

    def append(self, module: Module) -> Any:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end."""
        if not isinstance(modules, Iterable):
            raise TypeError(
                f"{type(self).__name__}.extend should be called with an iterable, but got {type(modules).__name__}"
            )
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Add a module before position `index`."""
        items = self._cr_items()
        items.insert(index, module)
        self._cr_renumber(items)
        return self

    def pop(self, key: Any) -> Any:
        """Take a module out and return it."""
        module = self[key]
        del self[key]
        return module


class Sequential(_Row):
    """Modules applied one after another: `Sequential(a, b)(x) = b(a(x))`; an OrderedDict names them."""

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            for i, module in enumerate(args):
                self.add_module(str(i), module)

    def forward(self, input: Any) -> Any:
        modules = self._cr_items()
        done = False
        for module, following in zip(modules, [*modules[1:], None]):
            if done:  # together with the batch norm before it
                done = False
            elif joinable(module, following):
                input, done = batch_norm_relu(module, following, input), True
            else:
                input = module(input)
        return input

    def _cr_part(self, index: slice) -> Any:
        return type(self)(dict(self._cr_entries("module")[index]))

    def insert(self, index: int, module: Module) -> Any:
        """Add a module before position `index`."""
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}")
        n = len(self)
        if not -n <= index <= n:
            raise IndexError(f"Index out of range: {index}")
        return super().insert(index + n if index < 0 else index, module)

    def __add__(self, other: Any) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(
                f"add operator supports only objects of Sequential class, but {type(other).__name__} is given."
            )
        return Sequential(*self, *other)

    def __iadd__(self, other: Any) -> Any:
        if not isinstance(other, Sequential):
            raise ValueError(
                f"add operator supports only objects of Sequential class, but {type(other).__name__} is given."
            )
        return self.extend(other)

    def __mul__(self, other: int) -> Sequential:
        if not isinstance(other, int) or other <= 0:
            raise (ValueError if isinstance(other, int) else TypeError)(
                f"a Sequential is repeated a positive number of times, not {other!r}"
            )
        return Sequential(*(list(self) * other))

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Any:
        for module in list(self * other)[len(self) :]:
            self.append(module)
        return self


class ModuleList(_Row):
    """The given modules in a list, registered as children. It has no forward of its own."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def _cr_part(self, index: slice) -> Any:
        return type(self)(self._cr_items()[index])

    def __iadd__(self, modules: Iterable[Module]) -> Any:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        """Equal neighbours in one line: (0-2): 3 x Linear(...)."""
        texts = [repr(m) for m in self]
        if not texts:
            return f"{self._get_name()}()"
        runs: list[list[int]] = []
        for i, text in enumerate(texts):
            if runs and texts[runs[-1][0]] == text:
                runs[-1][1] = i
            else:
                runs.append([i, i])
        lines = [f"({a}): {texts[a]}" if a == b else f"({a}-{b}): {b - a + 1} x {texts[a]}" for a, b in runs]
        return f"{self._get_name()}(\n  " + "\n  ".join(_addindent(line) for line in lines) + "\n)"


class ModuleDict(Module):
    """Modules by name, registered as children, in the order of insertion. It has no forward of its own.

    modules: a dict, or pairs of a name and a module.
    """

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return dict(self._cr_entries("module"))[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._cr_entries("module"))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def clear(self) -> None:
        """Take all out."""
        for key in self.keys():
            delattr(self, key)

    def pop(self, key: str) -> Any:
        """Take one out and return it."""
        module = self[key]
        del self[key]
        return module

    def keys(self) -> Any:
        """The names."""
        return dict(self._cr_entries("module")).keys()

    def items(self) -> Any:
        """(name, module) pairs."""
        return dict(self._cr_entries("module")).items()

    def values(self) -> Any:
        """The modules."""
        return dict(self._cr_entries("module")).values()

    def update(self, modules: Any) -> None:
        """Add or replace modules from a mapping or from (name, module) pairs."""
        if not isinstance(modules, Iterable):
            raise TypeError(
                "ModuleDict.update should be called with an iterable of key/value pairs, but got "
                f"{type(modules).__name__}"
            )
        for key, module in modules.items() if hasattr(modules, "items") else modules:
            self[key] = module


class ParameterList(Module):
    """Parameters in a list, registered. A plain tensor becomes a Parameter; other values are kept as they are."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter([getattr(self, str(i)) for i in range(self._size)])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return getattr(self, str(_position(index, self._size)))

    def __setitem__(self, index: Any, value: Any) -> None:
        setattr(self, str(_position(index, self._size)), _as_parameter(value))

    def append(self, value: Any) -> Any:
        """Add a value at the end."""
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self, values: Iterable[Any]) -> Any:
        """Add values at the end."""
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            raise TypeError(f"ParameterList.extend should be called with an iterable, but got {type(values).__name__}")
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> Any:
        return self.extend(values)

    def extra_repr(self) -> str:
        return "\n".join([f"  ({i}): {_describe(v)}" for i, v in enumerate(self)])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("ParameterList should not be called.")


class ParameterDict(Module):
    """Parameters by name, registered, in the order of insertion. A plain tensor becomes a Parameter.

    parameters: a dict, or pairs of a name and a tensor. The names of a plain dict are taken in alphabetical order, as
    in PyTorch; those of an OrderedDict, of pairs and of another ParameterDict stay in theirs.
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def _cr_attribute(self, key: Any) -> str:
        if not isinstance(key, str):
            raise TypeError(
                "Index given to ParameterDict cannot be used as a key as it is not a string (type is "
                f"{type(key).__name__})"
            )
        return key

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return getattr(self, self._cr_attribute(key))

    def __setitem__(self, key: str, value: Any) -> None:
        if self._cr_attribute(key) not in self._keys:
            self._cr_check_name("parameter", key)  # a key such as "values" would hide the method
        setattr(self, key, _as_parameter(value))
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, self._cr_attribute(key))

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def keys(self) -> Any:
        """The names."""
        return self._keys.keys()

    def values(self) -> Any:
        """The parameters."""
        return [self[k] for k in self._keys]

    def items(self) -> Any:
        """(name, parameter) pairs."""
        return [(k, self[k]) for k in self._keys]

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter called `key`, or `default`."""
        return self[key] if key in self._keys else default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The parameter called `key`, set to `default` where there is none."""
        if key not in self._keys:
            self[key] = default
        return self[key]

    def pop(self, key: str) -> Any:
        """Take one out and return it."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take the last one out and return (name, parameter)."""
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def clear(self) -> None:
        """Take all out."""
        for key in list(self._keys):
            del self[key]

    def copy(self) -> ParameterDict:
        """Another ParameterDict of the same parameters."""
        return ParameterDict(self.items())

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A ParameterDict with the value `default` for each of `keys`."""
        return ParameterDict([(key, default) for key in keys])

    def update(self, parameters: Any) -> None:
        """Add or replace parameters from a mapping or from (name, parameter) pairs."""
        if not isinstance(parameters, Iterable):
            raise TypeError(f"ParameterDict.update takes a mapping or key/value pairs, not {type(parameters).__name__}")
        pairs = parameters.items() if hasattr(parameters, "items") else parameters
        if isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict):
            pairs = sorted(pairs, key=lambda pair: pair[0])
        for key, value in pairs:
            self[key] = value

    def __or__(self, other: Any) -> ParameterDict:
        found = self.copy()
        found.update(other)
        return found

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def extra_repr(self) -> str:
        return "\n".join([f"  ({k}): {_describe(v, typename(v))}" for k, v in self.items()])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("ParameterDict should not be called.")


def _as_parameter(value: Any) -> Any:
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def _describe(value: Any, kind_of_numbers: Any = None) -> str:
    if not isinstance(value, Tensor):
        return f"Object of type: {type(value).__name__}"
    kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
    size = "x".join(map(str, value.shape))
    return f"{kind} containing: [{kind_of_numbers or value.dtype} of size {size}]"
