"""Module: a function with parameters, and with modules inside it.

A module's parameters, buffers and children are plain attributes, found by walking `__dict__` in the order of
definition. So reading one costs nothing extra, and a subclass works with and without `super().__init__()`. Two things
an attribute cannot say by itself are kept in `_declared`, which exists where it is needed: that a plain tensor is a
buffer, and what an attribute that is None stands for. Turned down: dictionaries of each kind beside `__dict__` and a
`__getattr__` that searches them, which makes every `self.weight` three lookups. `_parameters`, `_buffers` and
`_modules` exist as live views.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..autograd import Tensor, no_grad
from ..autograd.dtypes import is_floating, to_numpy_dtype
from ..autograd.hooks import RemovableHandle
from .hooks import Hooks, call_with_hooks
from .parameter import Buffer, Parameter, is_lazy

__all__ = ["Module"]

_EXTRA = "_extra_state"
_TRANSIENT = "transient buffer"
_EXPECTED = {
    "parameter": "as parameter {name!r} (chainrule.nn.Parameter or None expected)",
    "module": "as child module {name!r} (chainrule.nn.Module or None expected)",
    "buffer": "as buffer {name!r} (chainrule.nn.Buffer, chainrule.Tensor or None expected)",
}


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` found missing, and what it did not expect."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"

    def __str__(self) -> str:
        return repr(self)


def _kind(value: Any) -> str:
    """What an attribute is by its value alone."""
    if isinstance(value, Parameter):
        return "parameter"
    return "module" if isinstance(value, Module) else ""


class _View(MutableMapping[str, Any]):
    """The attributes of one kind of a module, by name, None among them: `_parameters`, `_buffers`, `_modules`."""

    def __init__(self, module: Module, kind: str) -> None:
        self.module, self.kind = module, kind

    def __getitem__(self, name: str) -> Any:
        return dict(self.module._entries(self.kind))[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if value is None or self.kind == "buffer":
            self.module._declare(name, self.kind)
        self.module.__dict__[name] = value

    def __delitem__(self, name: str) -> None:
        self[name]
        self.module.__delattr__(name)

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self.module._entries(self.kind)])

    def __len__(self) -> int:
        return len(self.module._entries(self.kind))

    def __repr__(self) -> str:
        return repr(dict(self))


class Module:
    """Base of all layers and networks.

    A subclass sets parameters (`Parameter`), buffers (`register_buffer`) and other modules as attributes, and defines
    `forward`. `module(x)` runs the hooks and `forward`; an error inside gets a note that says where in the module it
    arose.
    """

    training: bool = True
    call_super_init = False
    dump_patches = False
    _version = 1
    _hooks: Hooks | None = None
    _declared: dict[str, str] | None = None

    forward: Callable[..., Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Nothing to set up; arguments are an error, unless another base class is to have them.
        if self.call_super_init:
            super().__init__(*args, **kwargs)
        elif args or kwargs:
            given = f"{len(args)} positional arguments" if args else f"keyword argument {next(iter(kwargs))!r}"
            raise TypeError(f"{type(self).__name__}.__init__() got unexpected {given}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if self._hooks is None:
                return self.forward(*args, **kwargs)
            return call_with_hooks(self, self._hooks, args, kwargs)
        except Exception as error:
            _note_place(error, self)
            raise

    if not TYPE_CHECKING:

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            """Compute the module's result. Every subclass defines it."""
            raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    # -- attributes -----------------------------------------------------------------------------------------------

    def _entries(self, kind: str) -> list[tuple[str, Any]]:
        """(name, value) of the attributes of one kind, in the order of definition; the value may be None."""
        declared = self._declared
        if declared is None:
            return [(n, v) for n, v in self.__dict__.items() if _kind(v) == kind] if kind != "buffer" else []
        found = [(n, v, declared.get(n) or _kind(v)) for n, v in self.__dict__.items()]
        return [(n, v) for n, v, k in found if k == kind or (kind == "buffer" and k == _TRANSIENT)]

    def _declare(self, name: str, kind: str) -> None:
        if self._declared is None:
            self.__dict__["_declared"] = {}
        self._declared[name] = kind  # type: ignore[index]

    def __setattr__(self, name: str, value: Any) -> None:
        values, declared = self.__dict__, self._declared
        old = declared.get(name, "") if declared is not None else ""
        if not old and name in values:
            old = _kind(values[name])
        new = _kind(value)
        if isinstance(value, Buffer):
            new = "buffer" if value.persistent else _TRANSIENT
        if new:
            if old != new:
                values.pop(name, None)  # of another kind: it is defined anew, at the end
                if declared is not None:
                    declared.pop(name, None)
                if isinstance(value, Buffer):
                    self._declare(name, new)
            elif declared is not None and new in ("parameter", "module"):
                declared.pop(name, None)
        elif old:
            kind = "buffer" if old == _TRANSIENT else old
            if value is None:
                self._declare(name, old)
            elif kind != "buffer" or not isinstance(value, Tensor):
                raise TypeError(f"cannot assign {type(value).__name__!r} {_EXPECTED[kind].format(name=name)}")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        if self._declared is not None:
            self._declared.pop(name, None)

    @property
    def _parameters(self) -> MutableMapping[str, Parameter | None]:
        return _View(self, "parameter")

    @property
    def _buffers(self) -> MutableMapping[str, Tensor | None]:
        return _View(self, "buffer")

    @property
    def _modules(self) -> MutableMapping[str, Module | None]:
        return _View(self, "module")

    @property
    def _non_persistent_buffers_set(self) -> set[str]:
        return {n for n, kind in (self._declared or {}).items() if kind == _TRANSIENT}

    def _check_name(self, kind: str, name: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name!r}')
        if not name:
            raise KeyError(f'{kind} name can\'t be empty string ""')
        declared = (self._declared or {}).get(name, "")
        known = (declared or _kind(self.__dict__.get(name))).removeprefix("transient ")
        if known != kind and hasattr(self, name):
            raise KeyError(f"attribute {name!r} already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Set a parameter as attribute `name`; None: there is none, and `state_dict` leaves it out."""
        self._check_name("parameter", name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign {type(param).__name__!r} object to parameter {name!r} (Parameter or None required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"cannot assign non-leaf Tensor to parameter {name!r}: parameters are made outside the graph"
            )
        if param is None:
            self._declare(name, "parameter")
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Set a tensor that is state but not trained as attribute `name`; `persistent`: it is in `state_dict`."""
        self._check_name("buffer", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign {type(tensor).__name__!r} object to buffer {name!r} (Tensor or None required)"
            )
        self._declare(name, "buffer" if persistent else _TRANSIENT)
        object.__setattr__(self, name, tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Set a child module as attribute `name`."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_name("module", name)
        if module is None:
            self._declare(name, "module")
        setattr(self, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """Alias of `add_module`."""
        self.add_module(name, module)

    # -- walking --------------------------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """(path, module) of this module (path "") and all inside it; each once, unless `remove_duplicate=False`."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._entries("module"):
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules directly inside, each once."""
        seen = set()
        for name, child in self._entries("module"):
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """The modules directly inside, each once."""
        return (child for _, child in self.named_children())

    def _named(self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        owners = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in owners:
            for name, value in module._entries(kind):
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter) of all parameters, in the order of definition."""
        return self._named("parameter", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once; `recurse=False`: this module's own."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """(path, tensor) of all buffers."""
        return self._named("buffer", prefix, recurse, remove_duplicate)

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

    def set_submodule(self, target: str, module: Module) -> None:
        """Put `module` at the path `target`."""
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError("Cannot set the submodule without a target name!")
        owner = self.get_submodule(path)
        if not isinstance(getattr(owner, name, None), Module):
            raise AttributeError(f"{type(owner).__name__} has no module `{name}`")
        setattr(owner, name, module)

    def _get(self, target: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if not hasattr(owner, name):
            raise AttributeError(f"{type(owner).__name__} has no attribute `{name}`")
        if name not in dict(owner._entries(kind)):
            raise AttributeError(f"`{name}` is not a {kind}")
        return getattr(owner, name)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at the path `target`."""
        return self._get(target, "parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at the path `target`."""
        return self._get(target, "buffer")

    def apply(self, fn: Callable[[Module], Any]) -> Any:
        """Call `fn` with every module inside, children first, and with this one. Returns the module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # -- state ----------------------------------------------------------------------------------------------------

    def get_extra_state(self) -> Any:
        """What a subclass wants in `state_dict` besides tensors; `set_extra_state` takes it back."""
        raise RuntimeError(
            "get_extra_state() has no counterpart unless a subclass defines it together with set_extra_state()"
        )

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` gave."""
        raise RuntimeError("set_extra_state() is defined by the subclass that defines get_extra_state()")

    def _has_extra_state(self, method: str = "get_extra_state") -> bool:
        return getattr(type(self), method) is not getattr(Module, method)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        skipped = self._non_persistent_buffers_set
        for name, value in [*self._entries("parameter"), *self._entries("buffer")]:
            if value is not None and name not in skipped:
                destination[prefix + name] = value if keep_vars or is_lazy(value) else value.detach()
        if self._has_extra_state():
            destination[prefix + _EXTRA] = self.get_extra_state()

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """An ordered dictionary of all parameters and persistent buffers by path, on the module's own memory.

        keep_vars: the Parameters themselves instead of detached tensors.
        """
        if args:  # PyTorch's former positional form
            given: Any = (*args, *(destination, prefix, keep_vars)[len(args) :])
            destination, prefix, keep_vars = given
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local
        hooks = self._hooks
        for hook in list(hooks.state_dict_pre.values()) if hooks else ():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._entries("module"):
            if child is not None:
                child.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in list(hooks.state_dict_post.values()) if hooks else ():
            result = hook(self, destination, prefix, local)
            if result is not None:
                destination = result
        return destination

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        hooks = self._hooks
        for hook in list(hooks.load_pre.values()) if hooks else ():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        skipped = self._non_persistent_buffers_set
        for name, old in [*self._entries("parameter"), *self._entries("buffer")]:
            key = prefix + name
            if old is None or name in skipped:
                continue
            if key not in state_dict:
                if strict:
                    missing_keys.append(key)
                continue
            new = state_dict[key]
            if not isinstance(new, Tensor):
                error_msgs.append(
                    f'While copying the parameter named "{key}", expected a Tensor from the checkpoint but received '
                    f"{type(new).__name__}"
                )
                continue
            if is_lazy(old):
                if not is_lazy(new):
                    old.materialize(new.shape)
            elif len(old.shape) == 0 and tuple(new.shape) == (1,):
                new = new.reshape(())  # numbers were kept as one-element vectors once
            if is_lazy(new):
                continue
            if tuple(new.shape) != tuple(old.shape):
                error_msgs.append(
                    f"size mismatch for {key}: copying a param with shape {new.shape} from checkpoint, the shape in "
                    f"current model is {old.shape}."
                )
                continue
            if not assign:
                with no_grad():
                    old.copy_(new)
            elif isinstance(old, Parameter) and not isinstance(new, Parameter):
                setattr(self, name, Parameter(new.detach(), requires_grad=old.requires_grad))
            else:
                setattr(self, name, new)
        extra = prefix + _EXTRA
        if self._has_extra_state("set_extra_state"):
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        if strict:
            own = set(self.__dict__)
            for key in state_dict:
                if key.startswith(prefix) and key != extra:
                    name, dot, _ = key[len(prefix) :].partition(".")
                    value = self.__dict__.get(name)
                    known = isinstance(value, Module) if dot else name in own and self._is_state(name, value)
                    if not known:
                        unexpected_keys.append(key)

    def _is_state(self, name: str, value: Any) -> bool:
        kind = (self._declared or {}).get(name) or _kind(value)
        return value is not None and kind in ("parameter", "buffer")

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy parameters and buffers out of a `state_dict`.

        strict: RuntimeError unless the keys are exactly the module's. Sizes must match in any case.
        assign: take the tensors themselves instead of copying their values.
        Returns (missing_keys, unexpected_keys).
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict).__name__}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        state = OrderedDict(state_dict)
        if metadata is not None:
            state._metadata = metadata  # type: ignore[attr-defined]

        def load(module: Module, local_state: Any, prefix: str) -> None:
            local = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
            local["assign_to_params_buffers"] = assign
            module._load_from_state_dict(local_state, prefix, local, True, missing, unexpected, errors)
            for name, child in module._entries("module"):
                if child is not None:
                    inner = f"{prefix}{name}."
                    load(child, {k: v for k, v in local_state.items() if k.startswith(inner)}, inner)
            found = IncompatibleKeys(missing, unexpected)
            for hook in list(module._hooks.load_post.values()) if module._hooks else ():
                if hook(module, found) is not None:
                    raise AssertionError("a load_state_dict post hook changes the lists in place and returns None")

        load(self, state, "")
        if strict:
            for text, keys in (("Unexpected", unexpected), ("Missing", missing)):
                if keys:
                    names = ", ".join(f'"{k}"' for k in keys)
                    errors.insert(0, f"{text} key(s) in state_dict: {names}. ")
        if errors:
            raise RuntimeError(
                "Error(s) in loading state_dict for {}:\n\t{}".format(type(self).__name__, "\n\t".join(errors))
            )
        return IncompatibleKeys(missing, unexpected)

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
        for _, p in self._entries("parameter"):
            if p is not None:
                grad = p.grad
                p.data = fn(p.data)
                if grad is not None:
                    p.grad = fn(grad.detach()).requires_grad_(grad.requires_grad)
        for name, b in self._entries("buffer"):
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
        if dtype is not None and not is_floating(to_numpy_dtype(dtype)):
            raise TypeError(f"Module.to only accepts floating point dtypes, but got desired dtype={dtype}")

        def move(t: Tensor) -> Tensor:
            floating = dtype is not None and is_floating(t.array.dtype)
            options = dict(rest)
            if "memory_format" in options and t.array.ndim not in (4, 5):
                del options["memory_format"]
            return t.to(device=device, dtype=dtype if floating else None, **options)

        return self._apply(move)

    def _cast(self, dtype: str) -> Any:
        return self._apply(lambda t: t.to(dtype=dtype) if is_floating(t.array.dtype) else t)

    def cpu(self) -> Any:
        """Move to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device: Any = None) -> Any:
        """Move to a GPU."""
        return self._apply(lambda t: t.cuda(device))

    def float(self) -> Any:
        """Cast floating parameters and buffers to float32."""
        return self._cast("float32")

    def double(self) -> Any:
        """Cast floating parameters and buffers to float64."""
        return self._cast("float64")

    def half(self) -> Any:
        """Cast floating parameters and buffers to float16."""
        return self._cast("float16")

    def bfloat16(self) -> Any:
        """Cast floating parameters and buffers to bfloat16."""
        return self._cast("bfloat16")

    def type(self, dst_type: Any) -> Any:
        """Cast all parameters and buffers to `dst_type`."""
        return self._apply(lambda t: t.type(dst_type))

    def to_empty(self, *, device: Any, recurse: bool = True) -> Any:
        """Move to a device without copying: the new memory is not initialised."""
        return self._apply(lambda t: t.new_empty(t.shape, device=device), recurse)

    def share_memory(self) -> Any:
        """Move parameters and buffers into memory that forked processes share."""
        return self._apply(lambda t: t.share_memory_())

    # -- hooks ----------------------------------------------------------------------------------------------------

    def _add_hook(self, slot: str, hook: Callable[..., Any], prepend: bool = False, **options: Any) -> RemovableHandle:
        if not callable(hook):
            raise TypeError(f"a hook is a function, not {type(hook).__name__}")
        if self._hooks is None:
            self._hooks = Hooks()
        return self._hooks.add(slot, hook, prepend, **options)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before forward; what it returns replaces the arguments.

        with_kwargs: `hook(module, args, kwargs)`, which returns None or (args, kwargs).
        """
        return self._add_hook("forward_pre", hook, prepend, with_kwargs=with_kwargs)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after forward; what it returns replaces the output.

        with_kwargs: `hook(module, args, kwargs, output)`. always_call: also when forward raises, with output None.
        """
        return self._add_hook("forward", hook, prepend, with_kwargs=with_kwargs, always_call=always_call)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` before the gradients of the module; what it returns replaces grad_output."""
        return self._add_hook("backward_pre", hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the module's inputs are there.

        Both are tuples with an entry per positional argument and per output, None for what carries no gradient. What
        the hook returns replaces grad_input.
        """
        return self._add_hook("backward", hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """The same as `register_full_backward_hook`: the older form gave the gradients of the last op alone."""
        return self._add_hook("backward", hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before `state_dict` collects."""
        return self._add_hook("state_dict_pre", hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after `state_dict` collected; it may change it."""
        return self._add_hook("state_dict_post", hook)

    _register_state_dict_hook = register_state_dict_post_hook

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)` before loading."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        return self._add_hook("load_pre", WithModule(hook, self) if with_module else hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading; it may change the two lists in place."""
        return self._add_hook("load_post", hook)

    @property
    def _forward_hooks(self) -> dict[int, Any]:
        return {} if self._hooks is None else self._hooks.forward

    @property
    def _forward_pre_hooks(self) -> dict[int, Any]:
        return {} if self._hooks is None else self._hooks.forward_pre

    @property
    def _backward_hooks(self) -> dict[int, Any]:
        return {} if self._hooks is None else self._hooks.backward

    # -- text -----------------------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses: a subclass's settings."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {_indent(repr(child))}" for name, child in self._entries("module")]
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({lines[0]})"
        inside = "\n  ".join([*lines, *children])
        return f"{self._get_name()}(\n  {inside}\n)" if inside else f"{self._get_name()}()"


class WithModule:
    """A hook that gets its module first; it can be copied with the module, as a closure could not."""

    def __init__(self, hook: Callable[..., Any], module: Module) -> None:
        self.hook, self.module = hook, module

    def __call__(self, *args: Any) -> Any:
        return self.hook(self.module, *args)


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


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")


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
