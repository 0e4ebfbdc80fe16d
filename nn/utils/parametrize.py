"""Parametrisations: a parameter computed out of others by a module, each time it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...autograd import Tensor, no_grad
from ..container import ModuleDict, ModuleList
from ..module import Module
from ..parameter import Parameter

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]

_cache: dict[tuple[int, str], Any] = {}
_cached_depth = 0
_CHANGED = "Registering a parametrization may not change the {} of the tensor."


@contextmanager
def cached() -> Iterator[None]:
    """Within this block each parametrised tensor is computed once, and kept until the outermost block ends."""
    global _cached_depth
    _cached_depth += 1
    try:
        yield
    finally:
        _cached_depth -= 1
        if not _cached_depth:
            _cache.clear()


def _register(module: Module, name: str, tensor: Tensor) -> None:
    if isinstance(tensor, Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)


class ParametrizationList(ModuleList):
    """The parametrisations of one tensor, `modules` applied in a row, and what the first one is given.

    `original` holds that tensor; where the first one's `right_inverse` returns several, they are `original0`,
    `original1`, ... `unsafe`: shape and dtype of the result are not checked.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not len(modules):
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        with no_grad():
            value = self._inverted(original)
        self.is_tensor = isinstance(value, Tensor)
        self.ntensors = 1 if self.is_tensor else len(value)
        if self.is_tensor:
            if original.dtype != value.dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {original.dtype}\nright_inverse(original).dtype: {value.dtype}"
                )
            original.data = value.data
            _register(self, "original", original)
        else:
            for i, part in enumerate(value):
                if not isinstance(part, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors. Got element "
                        f"{i} of the sequence with type {type(part).__name__}."
                    )
                keep = Parameter(part.detach(), original.requires_grad) if isinstance(original, Parameter) else part
                _register(self, f"original{i}", keep)
        if not unsafe:
            _check_same(self(), original, _CHANGED)

    def _inverted(self, value: Any) -> Any:
        for module in reversed(list(self)):
            if hasattr(module, "right_inverse"):
                try:
                    value = module.right_inverse(value)
                except NotImplementedError:  # it stands there to say that there is none
                    pass
        if not isinstance(value, (Tensor, Sequence)):
            raise ValueError(
                f"'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(value).__name__}"
            )
        return value

    def _originals(self) -> list[Tensor]:
        return [self.original] if self.is_tensor else [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the result is `value`: what assigning to the tensor does."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                value = module.right_inverse(value)
            values = [value] if self.is_tensor else list(value)
            if len(values) != self.ntensors:
                raise ValueError(
                    f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. Got {len(values)}"
                )
            for original, new in zip(self._originals(), values, strict=True):
                if not self.unsafe:
                    _check_same(new, original, "While assigning: `right_inverse` may not change the {}.")
                original.data = new.data

    def forward(self) -> Tensor:
        """The tensor: each parametrisation applied to the result of the one before."""
        first, *rest = self
        value = first(*self._originals())
        for module in rest:
            value = module(value)
        return value


def _check_same(new: Tensor, old: Tensor, text: str) -> None:
    for what in ("dtype", "shape"):
        one, two = getattr(new, what), getattr(old, what)
        if one != two:
            raise ValueError(f"{text.format(what)} It was {two}, and is {one} now.")


class _Parametrized:
    """What the class of a parametrised module has besides the properties."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class is made anew for the copy, as it exists for one module alone.
        names = tuple(vars(self)["parametrizations"].keys())
        return _bare, (type(self).__bases__[0], names), vars(self)


def _bare(cls: Any, names: tuple[str, ...]) -> Any:
    module = object.__new__(cls)
    _change_class(module)
    for name in names:
        _add_property(type(module), name)
    return module


def _change_class(module: Any) -> None:
    base = type(module)
    body = {"__reduce_ex__": _Parametrized.__reduce_ex__, "__module__": base.__module__}
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), body)


def _add_property(cls: type, name: str) -> None:
    def read(self: Any) -> Any:
        if not _cached_depth:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    def write(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(cls, name, property(read, write))


def register_parametrization(module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False) -> Any:
    """Let `module.tensor_name` be `parametrization(original)` from now on. Returns the module.

    The original, a parameter or buffer, moves to `module.parametrizations.<tensor_name>.original`. A method
    `right_inverse` of the parametrisation gives the original (or several) for a value, so that the tensor keeps its
    value here and can be assigned to. Another one on the same tensor is applied to the result of the former.
    The result has the shape and dtype of the original, unless `unsafe`. ValueError where there is no such tensor.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        row = module.parametrizations[tensor_name]
        if not unsafe:
            with no_grad():
                before = row()
                _check_same(
                    parametrization(before),
                    before,
                    "Registering a parametrization may not change the {} of the tensor.",
                )
                if hasattr(parametrization, "right_inverse"):
                    inverse = parametrization.right_inverse(before)
                    if not isinstance(inverse, Tensor):
                        raise ValueError(
                            "parametrization.right_inverse must return a tensor, as it is not the first. "
                            f"Got: {type(inverse).__name__}"
                        )
                    _check_same(inverse, before, "parametrization.right_inverse may not change the {} of the tensor.")
        row.append(parametrization)
        row.unsafe = row.unsafe or unsafe
    elif tensor_name in module._parameters or tensor_name in module._buffers:
        row = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe=unsafe)
        row.train(module.training)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _change_class(module)
            module.parametrizations = ModuleDict()
        _add_property(type(module), tensor_name)
        module.parametrizations[tensor_name] = row
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
            f"'{tensor_name}'"
        )
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module has parametrisations, or one of its tensor `tensor_name`."""
    found = vars(module).get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Any:
    """Take the parametrisations of a tensor away. Returns the module.

    leave_parametrized: the tensor keeps the value that they give; otherwise it is the original again, which works
    where that is one tensor.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    row = module.parametrizations[tensor_name]
    if not leave_parametrized and not row.is_tensor:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a "
            "sequence of tensors."
        )
    originals = row._originals()
    tensor = originals[0]
    if leave_parametrized:
        with no_grad():
            value = getattr(module, tensor_name)
        if row.is_tensor and value.dtype == tensor.dtype:
            tensor.data = value.data  # the Parameter object stays, and an optimizer that has it
        elif isinstance(tensor, Parameter):
            tensor = Parameter(value.detach(), any(t.requires_grad for t in originals))
        else:
            tensor = value
    base = type_before_parametrizations(module)
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = base
    _register(module, tensor_name, tensor)
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class that a module had before its first parametrisation."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(from_module: Module, to_module: Module, tensor_name: str | None = None) -> Any:
    """Give `to_module` the parametrisations of `from_module` (or those of `tensor_name`) with their tensors.

    Returns `to_module`.
    """
    if not is_parametrized(from_module):
        return to_module
    for name in from_module.parametrizations if tensor_name is None else [tensor_name]:
        row = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach().clone()))
        for parametrization in row:
            register_parametrization(to_module, name, parametrization, unsafe=True)
        target = to_module.parametrizations[name]
        for key, value in [*row.named_parameters(recurse=False), *row.named_buffers(recurse=False)]:
            setattr(target, key, value)
    return to_module
