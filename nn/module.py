"""Module: a function with parameters, and with modules inside it.

A module's parameters, buffers and children are plain attributes, found by walking `__dict__` in the order of
definition. So reading one costs nothing extra, and a subclass works with and without `super().__init__()`. Two things
an attribute cannot say by itself are kept in `_cr_declared`, which exists where it is needed: that a plain tensor is a
buffer, and what an attribute that is None stands for. `_cr_assigned` has the names that were assigned: what a program
puts into `__dict__` itself, or by `object.__setattr__`, is hidden from the walk, as in PyTorch. Turned down:
dictionaries of each kind beside `__dict__` and a `__getattr__` that searches them, which makes every `self.weight`
three lookups. `_parameters`, `_buffers` and `_modules` exist as live views. Other private names begin with `_cr_`: a
program's subclasses have `_hooks`, `_name` and the like for themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..autograd import Tensor, no_grad
from ..autograd.dtypes import differentiable, is_floating, to_numpy_dtype
from .hooks import GLOBAL, Hooks, call_with_hooks
from .parameter import Buffer, Parameter
from .registration import (
    HookMethods,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from .state import StateMethods

__all__ = [
    "Module",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

_ROOT = __name__.partition(".")[0]
_TRANSIENT = "transient buffer"
_BUFFERS = ("buffer", _TRANSIENT)
_EXPECTED = {
    "parameter": "as parameter {name!r} (chainrule.nn.Parameter or None expected)",
    "module": "as child module {name!r} (chainrule.nn.Module or None expected)",
    "buffer": "as buffer {name!r} (chainrule.nn.Buffer, chainrule.Tensor or None expected)",
}


def _kind(value: Any) -> str:
    """What an attribute is by its value alone."""
    if isinstance(value, Parameter):
        return "parameter"
    return "module" if isinstance(value, Module) else ""


class _View(MutableMapping[str, Any]):
    """The attributes of one kind of a module, by name, None among them: `_parameters`, `_buffers`, `_modules`."""

    def __init__(self, module: Module, kind: str) -> None:
        self.module, self.kind = module, kind

    def copy(self) -> dict[str, Any]:
        """A dictionary of them as they are now."""
        return dict(self.module._cr_entries(self.kind))

    def keys(self) -> Any:
        """The names, as a dictionary's: they can be reversed."""
        return self.copy().keys()

    def values(self) -> Any:
        """The attributes, as a dictionary's."""
        return self.copy().values()

    def items(self) -> Any:
        """Pairs of names and attributes, as a dictionary's."""
        return self.copy().items()

    def __reversed__(self) -> Any:
        return reversed(self.copy())

    def __getitem__(self, name: str) -> Any:
        return self.copy()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if _kind(value) != self.kind and self.module._cr_declared_as(name) != self.kind:
            self.module._cr_declare(name, self.kind)  # by its value alone it would not be one: None, a plain tensor
        self.module._cr_name(name)
        self.module.__dict__[name] = value

    def __delitem__(self, name: str) -> None:
        self[name]
        self.module.__delattr__(name)

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self.module._cr_entries(self.kind)])

    def __len__(self) -> int:
        return len(self.module._cr_entries(self.kind))

    def __repr__(self) -> str:
        return repr(self.copy())


class _Views:
    """The attribute `_parameters`, `_buffers` or `_modules` of Module: reading gives a view, writing replaces all."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __get__(self, module: Any, owner: Any = None) -> Any:
        return self if module is None else _View(module, self.kind)

    def __set__(self, module: Any, values: Mapping[str, Any]) -> None:
        view, values, transient = _View(module, self.kind), dict(values), module._non_persistent_buffers_set
        view.clear()
        view.update(values)
        for name in transient & values.keys() if self.kind == "buffer" else ():
            module._cr_declare(name, _TRANSIENT)


#: what PyTorch's modules have beside what ours have
_TABLES = frozenset(
    f"_{name}"
    for name in (
        *("parameters", "buffers", "modules", "non_persistent_buffers_set", "is_full_backward_hook", "flat_weights"),
        *("backward_hooks", "backward_pre_hooks", "forward_hooks", "forward_hooks_with_kwargs", "forward_pre_hooks"),
        *("forward_hooks_always_called", "forward_pre_hooks_with_kwargs", "state_dict_hooks", "state_dict_pre_hooks"),
        *("load_state_dict_pre_hooks", "load_state_dict_post_hooks"),
    )
)


def _from_pytorch(state: dict[str, Any]) -> dict[str, Any]:
    """What a module that PyTorch saved as a whole holds, as ours hold it, but for its hooks."""
    members: dict[str, Any] = {}
    declared: dict[str, str] = {}
    for table, kind in (("_parameters", "parameter"), ("_buffers", "buffer"), ("_modules", "module")):
        for name, value in state[table].items():
            members[name] = value
            if kind == "buffer" or value is None:
                declared[name] = _TRANSIENT if name in state.get("_non_persistent_buffers_set", ()) else kind
    kept = {name: value for name, value in state.items() if name not in _TABLES and name not in members}
    return {**kept, **members, "_cr_declared": declared or None}


def _found(self: Module, name: str) -> Any:
    """`__getattr__` where a program's class needs one: wrappers call it by name, as super().__getattr__("module"); what
    was assigned is found where a property of its name fails. Other attributes are missing, as this says.
    """
    values = self.__dict__
    return values[name] if name in values else object.__getattribute__(self, name)


class Module(HookMethods, StateMethods):
    """Base of all layers and networks.

    A subclass sets parameters (`Parameter`), buffers (`register_buffer`) and other modules as attributes, and defines
    `forward`. `module(x)` runs the hooks and `forward`; an error inside gets a note that says where in the module it
    arose.
    """

    training: bool = True
    call_super_init = False
    dump_patches = False
    #: PyTorch's list for its compiler; subclasses in programs add to it
    __constants__: list[str] = []
    _cr_declared: dict[str, str] | None = None

    if TYPE_CHECKING:  # libraries evaluate a module's annotations among names of their own
        forward: Callable[..., Any]
        _cr_assigned: Mapping[str, None]
    else:
        _cr_assigned = MappingProxyType({})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Nothing to set up; arguments are an error, unless another base class is to have them.
        if self.call_super_init:
            super().__init__(*args, **kwargs)
        elif args or kwargs:
            given = f"{len(args)} positional arguments" if args else f"keyword argument {next(iter(kwargs))!r}"
            raise TypeError(f"{type(self).__name__}.__init__() got unexpected {given}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            hooks = self._cr_hooks  # read once: another thread may take the last one out
            if hooks is None:
                return self.forward(*args, **kwargs)
            return call_with_hooks(self, hooks, args, kwargs)
        except Exception as error:
            _note_place(error, self)
            raise

    _call_impl = _wrapped_call_impl = __call__

    if not TYPE_CHECKING:

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            """Compute the module's result. Every subclass defines it."""
            raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Attributes are found more quickly, and missing ones much more, where there is no `__getattr__`. So it is there
        # for a class with properties, which may fail, and on Module itself once a class may call it by super().
        super().__init_subclass__(**kwargs)
        if cls.__module__.partition(".")[0] == _ROOT:
            return
        foreign = [vars(c) for c in cls.__mro__ if c.__module__.partition(".")[0] != _ROOT]
        if any(names.get("__getattr__", _found) is not _found for names in foreign):
            Module.__getattr__ = _found  # type: ignore[method-assign]
        elif any(isinstance(x, property) for names in foreign for x in names.values()):
            cls.__getattr__ = _found  # type: ignore[method-assign]

    # -- attributes -----------------------------------------------------------------------------------------------

    def _cr_entries(self, kind: str) -> list[tuple[str, Any]]:
        """(name, value) of the attributes of one kind, in the order of definition; the value may be None."""
        declared = self._cr_declared
        if kind == "buffer":
            if declared is None:
                return []
            return [(n, v) for n, v in self.__dict__.items() if declared.get(n) in _BUFFERS]
        cls, assigned = (Parameter if kind == "parameter" else Module), self._cr_assigned
        if declared is None:
            return [(n, v) for n, v in self.__dict__.items() if isinstance(v, cls) and n in assigned]
        return [
            (n, v)
            for n, v in self.__dict__.items()
            if (declared[n] == kind if n in declared else isinstance(v, cls) and n in assigned)
        ]

    def _cr_name(self, name: str) -> None:
        """Note that the attribute was assigned."""
        assigned = self.__dict__.get("_cr_assigned")
        if assigned is None:
            self.__dict__["_cr_assigned"] = {name: None}  # in place of a set, which no file may hold
        else:
            assigned[name] = None

    def _cr_declare(self, name: str, kind: str | None) -> None:
        """Note what the attribute is, whatever its value; None: forget it."""
        # A new dict each time: a program's copy of a module, made from a copy of its __dict__, shares the old one.
        declared = {n: k for n, k in (self._cr_declared or {}).items() if n != name}
        self.__dict__["_cr_declared"] = declared if kind is None else {**declared, name: kind}

    def _cr_declared_as(self, name: str) -> str:
        return (self._cr_declared or {}).get(name, "").removeprefix("transient ")

    def __setattr__(self, name: str, value: Any) -> None:
        values, declared = self.__dict__, self._cr_declared
        old = declared.get(name, "") if declared is not None else ""
        if not old and name in values:
            old = _kind(values[name])
        new = _kind(value)
        if isinstance(value, Buffer):
            new = "buffer" if value.persistent else _TRANSIENT
        if new:
            value = GLOBAL.registered("buffer" if new == _TRANSIENT else new, self, name, value)
            if name not in self._cr_assigned:
                self._cr_name(name)
            if old != new:
                values.pop(name, None)  # of another kind: it is defined anew, at the end
                if isinstance(value, Buffer):
                    self._cr_declare(name, new)
                elif declared is not None and name in declared:
                    self._cr_declare(name, None)
            elif declared is not None and name in declared and new in ("parameter", "module"):
                self._cr_declare(name, None)
        elif old:
            kind = "buffer" if old == _TRANSIENT else old
            if value is None:
                self._cr_declare(name, old)
            elif kind != "buffer" or not isinstance(value, Tensor):
                raise TypeError(f"cannot assign {type(value).__name__!r} {_EXPECTED[kind].format(name=name)}")
        else:
            object.__setattr__(self, name, value)
            return
        if new == "module" or old == "module":
            values[name] = value  # as in PyTorch, also beside a property of the class
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if self._cr_declared is not None and name in self._cr_declared:
            self._cr_declare(name, None)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # For the subclasses that bring older files up to date and call this one.
        hooks = state if "_modules" in state else {}  # of PyTorch's, in a file that it wrote
        if hooks:
            state = _from_pytorch(state)
        vars(self).update(state)
        for kind in ("forward_pre", "forward"):
            for number, hook in hooks.get(f"_{kind}_hooks", {}).items():
                keywords = number in hooks.get(f"_{kind}_hooks_with_kwargs", ())
                getattr(self, f"register_{kind}_hook")(hook, with_kwargs=keywords)
        if "_cr_assigned" not in state:  # a file of an older version
            vars(self)["_cr_assigned"] = {name: None for name, value in state.items() if _kind(value)}
            if isinstance(state.get("_declared"), dict):
                vars(self)["_cr_declared"] = vars(self).pop("_declared")
            if isinstance(state.get("_hooks"), Hooks):
                vars(self)["_cr_hooks"] = vars(self).pop("_hooks")

    _parameters = _Views("parameter")
    _buffers = _Views("buffer")
    _modules = _Views("module")

    @property
    def _non_persistent_buffers_set(self) -> set[str]:
        declared = self._cr_declared
        return {n for n, kind in declared.items() if kind == _TRANSIENT} if declared else set()

    def _cr_check_name(self, kind: str, name: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name!r}')
        if not name:
            raise KeyError(f'{kind} name can\'t be empty string ""')
        known = self._cr_declared_as(name) or _kind(self.__dict__.get(name))
        if known != kind and hasattr(self, name):
            raise KeyError(f"attribute {name!r} already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Set a parameter as attribute `name`; None: there is none, and `state_dict` leaves it out."""
        self._cr_check_name("parameter", name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign {type(param).__name__!r} object to parameter {name!r} (Parameter or None required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"cannot assign non-leaf Tensor to parameter {name!r}: parameters are made outside the graph"
            )
        if param is None:
            self._cr_declare(name, "parameter")
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Set a tensor that is state but not trained as attribute `name`; `persistent`: it is in `state_dict`."""
        self._cr_check_name("buffer", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign {type(tensor).__name__!r} object to buffer {name!r} (Tensor or None required)"
            )
        self._cr_declare(name, "buffer" if persistent else _TRANSIENT)
        object.__setattr__(self, name, GLOBAL.registered("buffer", self, name, tensor))

    def add_module(self, name: str, module: Module | None) -> None:
        """Set a child module as attribute `name`."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._cr_check_name("module", name)
        if module is None:
            self._cr_declare(name, "module")
        setattr(self, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """Alias of `add_module`."""
        self.add_module(name, module)

    # -- walking --------------------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(path, module) of this module (path "") and all inside it; each once, unless `remove_duplicate=False`."""
        # A stack in the place of recursion: nested generators would hand each module up through all levels.
        memo = set() if memo is None else memo
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if module is not self and type(module).named_modules is not Module.named_modules:  # a subclass has its own
                yield from module.named_modules(memo, path, remove_duplicate)
                continue
            if module in memo:
                continue
            if remove_duplicate:
                memo.add(module)
            yield path, module
            children = module._cr_entries("module")
            children.reverse()
            stack += [(f"{path}.{n}" if path else n, child) for n, child in children if child is not None]

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all inside it, each once, unless `remove_duplicate=False`."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules directly inside, each once."""
        seen = set()
        for name, child in self._cr_entries("module"):
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules directly inside, each once."""
        return (child for _, child in self.named_children())

    def _cr_named(self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        return self._named_members(lambda module: module._cr_entries(kind), prefix, recurse, remove_duplicate)

    def _named_members(
        self,
        get_members_fn: Callable[[Module], Any],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        """(path, member) of what a function finds in each module, each once; subclasses in programs call it."""
        seen: set[int] = set()
        see = seen.add
        owners = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in owners:
            for name, value in get_members_fn(module):
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    see(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter) of all parameters, in the order of definition."""
        return self._cr_named("parameter", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once; `recurse=False`: this module's own."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(path, tensor) of all buffers."""
        return self._cr_named("buffer", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, each once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at the path `target`, e.g. "features.0"; "" is this one. AttributeError where there is none."""
        module = self
        for name in target.split(".") if target else ():
            found = getattr(module, name, None)
            if found is None and not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            if not isinstance(found, Module):
                raise AttributeError(f"`{name}` is not a Module")
            module = found
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put `module` at the path `target`, whose modules before the last exist.

        strict: AttributeError unless a module is there already.
        """
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError("Cannot set the submodule without a target name!")
        owner = self.get_submodule(path)
        if strict and not hasattr(owner, name):
            raise AttributeError(f"{type(owner).__name__} has no attribute `{name}`")
        if hasattr(owner, name) and not isinstance(getattr(owner, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        setattr(owner, name, module)

    def _cr_get(self, target: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if not hasattr(owner, name):
            raise AttributeError(f"{type(owner).__name__} has no attribute `{name}`")
        if name not in dict(owner._cr_entries(kind)):
            raise AttributeError(f"`{name}` is not a {kind}")
        return getattr(owner, name)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at the path `target`."""
        return self._cr_get(target, "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at the path `target`."""
        return self._cr_get(target, "buffer")

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """PyTorch's call to a compiler; there is none here, so the module runs as it did."""

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call `fn` with every module inside, children first, and with this one. Returns the module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # -- modes, dtype, device ---------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Any:
        """Set training mode here and inside: dropout drops, batch norm uses the batch. Returns the module."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Any:
        """Set evaluation mode: `train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Say whether the parameters are trained. Returns the module."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros."""
        for p in self.parameters():
            clear_grad(p, set_to_none)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Let every parameter, gradient and buffer hold `fn` of it; the Parameter objects stay the same."""
        if recurse:
            for child in self.children():
                child._apply(fn)
        for _, p in self._cr_entries("parameter"):
            if p is not None:
                grad = p.grad
                p.data = fn(p.data)
                if grad is not None:
                    p.grad = fn(grad.detach()).requires_grad_(grad.requires_grad)
        for name, b in self._cr_entries("buffer"):
            if isinstance(b, Buffer):
                b.data = fn(b.data)
            elif b is not None:
                self.__dict__[name] = fn(b)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move to a device, cast floating parameters and buffers to a dtype: `to(device)`, `to(dtype)`, `to(tensor)`.

        In place; returns the module. Integer buffers keep their dtype.
        """
        device, dtype, rest = kwargs.pop("device", None), kwargs.pop("dtype", None), {}
        for key in ("non_blocking", "copy", "memory_format"):
            if key in kwargs:
                rest[key] = kwargs.pop(key)
        if kwargs:
            raise TypeError(f"to() got an unexpected keyword {next(iter(kwargs))!r}")
        for a in args:
            if isinstance(a, Tensor):
                device, dtype = a.device, a.dtype
            elif isinstance(a, bool):
                rest["non_blocking"] = a
            elif isinstance(a, (str, int)) or (hasattr(a, "type") and hasattr(a, "index")):
                device = a
            elif a is not None:
                dtype = a
        if dtype is not None and not differentiable(to_numpy_dtype(dtype)):
            raise TypeError(f"Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}")

        def move(t: Tensor) -> Tensor:
            floating = dtype is not None and differentiable(t.array.dtype)
            options = dict(rest)
            if "memory_format" in options and t.array.ndim not in (4, 5):
                del options["memory_format"]
            return t.to(device=device, dtype=dtype if floating else None, **options)

        return self._apply(move)

    def _cr_cast(self, dtype: str) -> Any:
        return self._apply(lambda t: t.to(dtype=dtype) if is_floating(t.array.dtype) else t)

    def cpu(self) -> Any:
        """Move to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device: Any = None) -> Any:
        """Move to a GPU."""
        return self._apply(lambda t: t.cuda(device))

    def float(self) -> Any:
        """Cast floating parameters and buffers to float32."""
        return self._cr_cast("float32")

    def double(self) -> Any:
        """Cast floating parameters and buffers to float64."""
        return self._cr_cast("float64")

    def half(self) -> Any:
        """Cast floating parameters and buffers to float16."""
        return self._cr_cast("float16")

    def bfloat16(self) -> Any:
        """Cast floating parameters and buffers to bfloat16."""
        return self._cr_cast("bfloat16")

    def type(self, dst_type: Any) -> Any:
        """Cast all parameters and buffers to `dst_type`."""
        return self._apply(lambda t: t.type(dst_type))

    def to_empty(self, *, device: Any, recurse: bool = True) -> Any:
        """Move to a device without copying: the new memory is not initialised."""
        return self._apply(lambda t: t.new_empty(t.shape, device=device), recurse)

    def share_memory(self) -> Any:
        """Move parameters and buffers into memory that forked processes share."""
        return self._apply(lambda t: t.share_memory_())

    # -- text -----------------------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses: a subclass's settings."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {_addindent(repr(child))}" for name, child in self._cr_entries("module")]
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({lines[0]})"
        inside = "\n  ".join([*lines, *children])
        return f"{self._get_name()}(\n  {inside}\n)" if inside else f"{self._get_name()}()"


def clear_grad(p: Tensor, set_to_none: bool) -> None:
    """Drop the gradient of `p`, or fill it with zeros."""
    if p.grad is None:
        return
    if set_to_none:
        p.grad = None
        return
    p.grad = p.grad.detach() if p.grad.requires_grad else p.grad
    with no_grad():
        p.grad.zero_()


def _addindent(s_: str, numSpaces: int = 2) -> str:
    """A text whose lines after the first are indented: PyTorch's name, which programs with a __repr__ import."""
    return s_.replace("\n", "\n" + " " * numSpaces)


def _note_place(error: Exception, module: Module) -> None:
    """Say in a note where in `module` the error arose; each module around it makes the path longer."""
    kind = type(module).__name__
    inner, index, path, culprit = getattr(error, "_place", (None, None, "", kind))
    if inner is module:  # a module that calls itself
        return
    if inner is not None:
        name = next((name for name, m in module.named_modules() if m is inner), "")
        path = f"{name}.{path}" if name and path else name or path
    note = (
        f"in {kind}" if inner is None else f"in {kind}, at {path} ({culprit})" if path else f"in {kind}, in {culprit}"
    )
    notes = [*getattr(error, "__notes__", ())]
    if index is None:
        index = len(notes)
        notes.append(note)
    else:
        notes[index] = note
    error.__notes__ = notes
    error._place = (module, index, path, culprit)  # type: ignore[attr-defined]
