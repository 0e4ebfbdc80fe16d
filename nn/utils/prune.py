"""Pruning: parameters multiplied by masks of zeros and ones.

A pruned parameter `name` becomes the parameter `name_orig` and the buffer `name_mask`; a hook sets `name` to their
product before each forward. Methods are applied one after another: each sees what the former ones left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...autograd import FUNCTIONS, Tensor
from ..module import Module
from ..parameter import Parameter

__all__ = [
    "BasePruningMethod",
    "CustomFromMask",
    "Identity",
    "L1Unstructured",
    "LnStructured",
    "PruningContainer",
    "RandomStructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]


class BasePruningMethod:
    """A way to make masks, and the hook that applies them. A subclass defines `compute_mask` and PRUNING_TYPE.

    PRUNING_TYPE: "unstructured" (elements), "structured" (slices) or "global" (all parameters as one vector); it says
    what of an already pruned tensor the method is shown.
    """

    PRUNING_TYPE: str = ""
    _tensor_name: str

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask for importances `t`, whose former mask is `default_mask`."""
        raise NotImplementedError

    def apply_mask(self, module: Module) -> Tensor:
        """`name_orig` times `name_mask`."""
        if not getattr(self, "_tensor_name", None):
            raise AssertionError(f"Module {module} has to be pruned")
        mask, original = getattr(module, f"{self._tensor_name}_mask"), getattr(module, f"{self._tensor_name}_orig")
        return mask.to(dtype=original.dtype) * original

    @classmethod
    def apply(cls, module: Module, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any) -> Any:
        """Prune `module.name` by a new method of this class, made with the arguments. Returns the method."""
        method = cls(*args, **kwargs)
        method._tensor_name = name
        former = _methods(module, name)
        if len(former) > 1:
            raise AssertionError(f"Avoid adding multiple pruning hooks to the same tensor {name} of module {module}.")
        hook: Any = method
        for key, old in former:
            hook = PruningContainer(old)
            hook.add_pruning_method(method)
            del module._forward_pre_hooks[key]
        tensor = getattr(module, name)
        if importance_scores is None:
            importance_scores = tensor
        elif importance_scores.shape != tensor.shape:
            raise AssertionError(f"importance_scores should have the same shape as parameter {name} of {module}")
        if former:
            default = getattr(module, f"{name}_mask").detach().clone()
            mask = hook.compute_mask(importance_scores.detach(), default_mask=default)
        else:
            mask = method.compute_mask(importance_scores.detach(), default_mask=FUNCTIONS["ones_like"](tensor.detach()))
            original = tensor if isinstance(tensor, Parameter) else Parameter(tensor)
            del module._parameters[name]
            module.register_parameter(f"{name}_orig", original)
        module.register_buffer(f"{name}_mask", mask)
        setattr(module, name, hook.apply_mask(module))
        module.register_forward_pre_hook(hook)
        return hook

    def prune(self, t: Tensor, default_mask: Any = None, importance_scores: Any = None) -> Tensor:
        """A tensor with this method's mask applied to it."""
        if importance_scores is None:
            importance_scores = t
        elif importance_scores.shape != t.shape:
            raise AssertionError("importance_scores should have the same shape as tensor t")
        default_mask = FUNCTIONS["ones_like"](t) if default_mask is None else default_mask
        return t * self.compute_mask(importance_scores, default_mask=default_mask)

    def remove(self, module: Module) -> None:
        """One parameter again, with the zeros in it."""
        name = self._tensor_name
        weight = self.apply_mask(module)
        original = getattr(module, f"{name}_orig")
        original.data = weight.data
        for part in (name, f"{name}_orig", f"{name}_mask"):
            delattr(module, part)
        setattr(module, name, original)


def _methods(module: Module, name: str) -> list[tuple[int, BasePruningMethod]]:
    """(hook id, method) of the pruning of one tensor."""
    return [
        (key, hook)
        for key, hook in module._forward_pre_hooks.items()
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name
    ]


class PruningContainer(BasePruningMethod):
    """Several methods on one tensor, each applied to what the ones before it left."""

    def __init__(self, *args: Any) -> None:
        self._pruning_methods: tuple[Any, ...] = ()
        methods = list(args[0]) if len(args) == 1 and isinstance(args[0], Iterable) else list(args)
        if methods:
            self._tensor_name = methods[0]._tensor_name
        for method in methods:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: Any) -> None:
        """Append a method for the same tensor."""
        if not isinstance(method, BasePruningMethod) and method is not None:
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        name = getattr(self, "_tensor_name", None)
        if method is not None and name != getattr(method, "_tensor_name", None):
            raise ValueError(
                "Can only add pruning methods acting on the parameter named "
                f"'{name}' to PruningContainer {self}. Found '{getattr(method, '_tensor_name', None)}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Any:
        return iter(self._pruning_methods)

    def __getitem__(self, index: Any) -> Any:
        return self._pruning_methods[index]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of the last method, for what `default_mask` leaves, with that mask."""
        method = self._pruning_methods[-1]
        mask = default_mask.to(dtype=t.dtype).clone()
        if method.PRUNING_TYPE == "unstructured":
            part: Any = mask == 1
        elif method.PRUNING_TYPE == "structured":
            dim = method.dim % t.ndim  # type: ignore[attr-defined]
            alive = mask.movedim(dim, 0).reshape(t.shape[dim], -1).sum(1) != 0
            part = (*[slice(None)] * dim, alive)
        elif method.PRUNING_TYPE == "global":
            part = (slice(None),) * t.ndim
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        mask[part] = method.compute_mask(t[part], default_mask=mask[part]).to(dtype=mask.dtype)
        return mask


class Identity(BasePruningMethod):
    """Prunes nothing: the parameter gets a mask of ones."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The former mask."""
        return default_mask

    @classmethod
    def apply(cls, module: Module, name: str) -> Any:  # type: ignore[override]
        """Prune nothing of `module.name`."""
        return super().apply(module, name)


def _check_amount(amount: Any) -> None:
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or (isinstance(amount, float) and amount > 1.0):
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def _count(amount: Any, size: int) -> int:
    """How many of `size` to prune: `amount` itself, or that fraction, rounded."""
    if isinstance(amount, int) and amount > size:
        raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
    return amount if isinstance(amount, int) else round(amount * size)


class _Amount(BasePruningMethod):
    """Methods that prune an amount: a number of elements or slices (int), or a fraction of them (float in [0, 1])."""

    def __init__(self, amount: Any) -> None:
        _check_amount(amount)
        self.amount = amount


class _Unstructured(_Amount):
    PRUNING_TYPE = "unstructured"

    def _ranks(self, t: Tensor) -> Tensor:
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The former mask, with zeros at the elements to prune."""
        count = _count(self.amount, t.numel())
        mask = default_mask.clone()
        if count:
            lowest = self._ranks(t).reshape(-1).topk(count, largest=False).indices
            flat = mask.reshape(-1)
            flat[lowest] = 0
            mask = flat.reshape(mask.shape)
        return mask


class RandomUnstructured(_Unstructured):
    """Prunes elements at random. amount: a number of them (int), or their share (float in [0, 1])."""

    def _ranks(self, t: Tensor) -> Tensor:
        return FUNCTIONS["rand_like"](t)

    @classmethod
    def apply(cls, module: Module, name: str, amount: Any) -> Any:  # type: ignore[override]
        """Prune an amount of `module.name`."""
        return super().apply(module, name, amount=amount)


class L1Unstructured(_Unstructured):
    """Prunes the elements of the smallest magnitude.

    amount: a number of them (int), or their share (float in [0, 1]).
    """

    def _ranks(self, t: Tensor) -> Tensor:
        return t.abs()

    @classmethod
    def apply(cls, module: Module, name: str, amount: Any, importance_scores: Any = None) -> Any:  # type: ignore[override]
        """Prune an amount of `module.name`."""
        return super().apply(module, name, amount=amount, importance_scores=importance_scores)


class _Structured(_Amount):
    PRUNING_TYPE = "structured"

    def __init__(self, amount: Any, dim: int = -1) -> None:
        super().__init__(amount)
        self.dim = dim

    def _ranks(self, t: Tensor) -> Tensor:
        """A number per slice; the slices of the lowest are pruned."""
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The former mask, with zeros in the slices to prune."""
        if t.ndim <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. Found tensor of shape "
                f"{t.shape} with {t.ndim} dims"
            )
        if not -t.ndim <= self.dim < t.ndim:
            raise IndexError(f"Invalid index {self.dim} for tensor of size {t.shape}")
        count = _count(self.amount, t.shape[self.dim])
        if not count:
            return default_mask
        kept = FUNCTIONS["ones"](t.shape[self.dim], dtype=default_mask.dtype, device=default_mask.device)
        kept[self._ranks(t).topk(count, largest=False).indices] = 0
        return default_mask * kept.reshape([-1 if i == self.dim % t.ndim else 1 for i in range(t.ndim)])


class RandomStructured(_Structured):
    """Prunes slices along `dim` at random. amount: a number of them (int), or their share (float in [0, 1])."""

    def _ranks(self, t: Tensor) -> Tensor:
        return FUNCTIONS["rand"](t.shape[self.dim], device=t.device)

    @classmethod
    def apply(cls, module: Module, name: str, amount: Any, dim: int = -1) -> Any:  # type: ignore[override]
        """Prune an amount of the slices of `module.name`."""
        return super().apply(module, name, amount=amount, dim=dim)


class LnStructured(_Structured):
    """Prunes the slices along `dim` of the smallest norm of order `n`.

    amount: a number of them (int), or their share (float in [0, 1]).
    """

    def __init__(self, amount: Any, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = n

    def _ranks(self, t: Tensor) -> Tensor:
        return t.movedim(self.dim, 0).reshape(t.shape[self.dim], -1).norm(self.n, dim=1)

    @classmethod
    def apply(  # type: ignore[override]
        cls, module: Module, name: str, amount: Any, n: Any, dim: int, importance_scores: Any = None
    ) -> Any:
        """Prune an amount of the slices of `module.name`."""
        return super().apply(module, name, amount=amount, n=n, dim=dim, importance_scores=importance_scores)


class CustomFromMask(BasePruningMethod):
    """Prunes what a given mask says."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Both masks together."""
        if default_mask.shape != self.mask.shape:
            raise AssertionError(f"mask of shape {self.mask.shape} does not fit a tensor of shape {default_mask.shape}")
        return default_mask * self.mask.to(dtype=default_mask.dtype)

    @classmethod
    def apply(cls, module: Module, name: str, mask: Tensor) -> Any:  # type: ignore[override]
        """Prune what `mask` says of `module.name`."""
        return super().apply(module, name, mask=mask)


def identity(module: Module, name: str) -> Any:
    """Give a parameter a mask of ones. Returns the module, as all of these do."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: Any) -> Any:
    """Set `amount` elements of a parameter (a number, or a fraction in [0, 1]), chosen at random, to zero."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: Any, importance_scores: Any = None) -> Any:
    """Set the `amount` elements of the smallest magnitude (or importance) to zero.

    importance_scores: a tensor of its shape, in the magnitudes' place.
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: Any, dim: int) -> Any:
    """Set `amount` slices along `dim`, chosen at random, to zero."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module: Module, name: str, amount: Any, n: Any, dim: int, importance_scores: Any = None) -> Any:
    """Set the `amount` slices along `dim` of the smallest norm of order `n` to zero.

    importance_scores: a tensor of its shape, whose norms count instead.
    """
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Any:
    """Multiply a parameter by `mask`."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]], pruning_method: Any, importance_scores: Any = None, **kwargs: Any
) -> None:
    """Prune all of `parameters`, (module, name) pairs, as one vector by an unstructured method.

    importance_scores: a dictionary from such pairs to tensors of the parameters' shapes. kwargs: the method's
    arguments, e.g. `amount`.
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    parameters = list(parameters)
    scores = {} if importance_scores is None else importance_scores
    if not isinstance(scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    values = [scores.get((module, name), getattr(module, name)).detach() for module, name in parameters]
    masks = [
        getattr(module, f"{name}_mask", FUNCTIONS["ones_like"](value)).reshape(-1)
        for (module, name), value in zip(parameters, values, strict=True)
    ]
    container = PruningContainer()
    container._tensor_name = "temp"
    method = pruning_method(**kwargs)
    method._tensor_name = "temp"
    container.add_pruning_method(method)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. '
            f"Found method {pruning_method} of type {method.PRUNING_TYPE}"
        )
    flat = FUNCTIONS["cat"]([v.reshape(-1) for v in values])
    mask = container.compute_mask(flat, FUNCTIONS["cat"](masks))
    start = 0
    for (module, name), value in zip(parameters, values, strict=True):
        custom_from_mask(module, name, mask[start : start + value.numel()].view_as(value))
        start += value.numel()


def remove(module: Module, name: str) -> Any:
    """Make the pruning of a parameter permanent: the parameter `name` again, with its zeros."""
    for key, method in _methods(module, name):
        method.remove(module)
        del module._forward_pre_hooks[key]
        return module
    raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")


def is_pruned(module: Module) -> bool:
    """Whether anything inside has a pruning hook."""
    return any(isinstance(hook, BasePruningMethod) for m in module.modules() for hook in m._forward_pre_hooks.values())
