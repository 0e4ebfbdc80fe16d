"""Weight normalisation by a hook: direction and length of the weights as two parameters."""

from __future__ import annotations

from typing import Any

from ...autograd import Tensor
from ...autograd.errors import warn
from ..module import Module
from ..parameter import Parameter, is_lazy

__all__ = ["WeightNorm", "norm_except_dim", "remove_weight_norm", "weight_norm"]


def norm_except_dim(v: Tensor, dim: int | None) -> Tensor:
    """The Euclidean norm of each slice of `v` along `dim`, shaped to broadcast; of all of `v` where dim is None or -1.

    Shapes: v (n_0, ..., n_d, ...) to (1, ..., n_d, ..., 1), or to ().
    """
    if dim is None or dim == -1:
        return v.norm()
    dim = dim % v.ndim
    sizes = [n if i == dim else 1 for i, n in enumerate(v.shape)]
    return v.movedim(dim, 0).reshape(v.shape[dim], -1).norm(dim=1).reshape(sizes)


class WeightNorm:
    """The hook: before each forward `name` is computed out of `name_g` and `name_v`."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Tensor:
        """g v / ‖v‖."""
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        return v * (g / norm_except_dim(v, self.dim))

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        """Give `module` the two parameters in the place of one, and the hook."""
        if _find(module, name) is not None:
            raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
        weight = getattr(module, name)
        if is_lazy(weight):
            raise ValueError(
                "The module passed to `WeightNorm` can't have uninitialized parameters. Make sure to run the dummy "
                "forward before applying weight normalization"
            )
        hook = WeightNorm(name, dim)
        del module._parameters[name]
        module.register_parameter(f"{name}_g", Parameter(norm_except_dim(weight, hook.dim).data))
        module.register_parameter(f"{name}_v", Parameter(weight.data))
        setattr(module, name, hook.compute_weight(module))
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        """One parameter again."""
        weight = self.compute_weight(module)
        for name in (self.name, f"{self.name}_g", f"{self.name}_v"):
            delattr(module, name)
        setattr(module, self.name, Parameter(weight.data))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def _find(module: Module, name: str) -> int | None:
    """The id of the module's hook for `name`."""
    hooks = module._forward_pre_hooks.items()
    return next((key for key, hook in hooks if isinstance(hook, WeightNorm) and hook.name == name), None)


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Any:
    """Weight normalisation: w = g v / ‖v‖, with the parameters `name_g` and `name_v` in the place of `name`.

    The norm is taken over all dimensions but `dim` (None: over all). Returns the module. PyTorch's older form, with its
    FutureWarning; `parametrizations.weight_norm` is the newer.
    Source: T. Salimans, D. P. Kingma, "Weight normalization", 2016.
    """
    warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of `torch.nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
    )
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Any:
    """Undo `weight_norm`: the parameter `name` again, with the value that it has now. Returns the module."""
    key = _find(module, name)
    if key is None:
        raise ValueError(f"weight_norm of '{name}' not found in {module}")
    module._forward_pre_hooks.pop(key).remove(module)
    return module
