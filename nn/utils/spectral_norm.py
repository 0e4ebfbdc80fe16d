"""Spectral normalisation by a hook: weights divided by their largest singular value."""

from __future__ import annotations

from typing import Any

from ...autograd import Tensor, no_grad
from ...autograd.creation import empty
from .. import functional as F
from ..conv import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ..module import Module
from ..parameter import Parameter, is_lazy

__all__ = ["SpectralNorm", "remove_spectral_norm", "spectral_norm"]


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """A weight with `dim` as its rows, and all other dimensions as its columns."""
    return weight.movedim(dim, 0).reshape(weight.shape[dim], -1)


def output_dim(module: Module) -> int:
    """The dimension of a module's weight that counts its outputs."""
    return 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0


def unit_like(weight: Tensor, size: int, eps: float) -> Tensor:
    """A random vector of length 1, where `weight` lives."""
    return F.normalize(empty(size, dtype=weight.dtype, device=weight.device).normal_(0, 1), dim=0, eps=eps)


class SpectralNorm:
    """The hook: before each forward `name` becomes `name_orig` divided by its estimated largest singular value.

    n_power_iterations, dim, eps: as in `spectral_norm`.
    """

    _version = 1

    def __init__(self, name: str = "weight", n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.name, self.n_power_iterations, self.dim, self.eps = name, n_power_iterations, dim, eps

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """W / (uᵀ W v), after some steps of the power iteration v = Wᵀu / ‖Wᵀu‖, u = Wv / ‖Wv‖ in the buffers."""
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(F.normalize(matrix.t().mv(u), dim=0, eps=self.eps))
                    u.copy_(F.normalize(matrix.mv(v), dim=0, eps=self.eps))
            u, v = u.clone(), v.clone()  # a later forward moves the buffers, and this one's gradient needs its own
        return weight / u.dot(matrix.mv(v))

    @staticmethod
    def apply(module: Module, name: str, n_power_iterations: int, dim: int, eps: float) -> SpectralNorm:
        """Give `module` the raw weight as a parameter, the two vectors as buffers, and the hook."""
        if _find(module, name) is not None:
            raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
        hook = SpectralNorm(name, n_power_iterations, dim, eps)
        weight = module._parameters[name]
        if weight is None:
            raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
        if is_lazy(weight):
            raise ValueError(
                "The module passed to `SpectralNorm` can't have uninitialized parameters. Make sure to run the dummy "
                "forward before applying spectral normalization"
            )
        rows, columns = as_matrix(weight, dim).shape
        del module._parameters[name]
        module.register_parameter(f"{name}_orig", weight)
        setattr(module, name, weight.data)
        module.register_buffer(f"{name}_u", unit_like(weight, rows, eps))
        module.register_buffer(f"{name}_v", unit_like(weight, columns, eps))
        module.register_forward_pre_hook(hook)
        module._register_state_dict_hook(hook.note_version)
        return hook

    def note_version(self, module: Module, state_dict: Any, prefix: str, local_metadata: Any) -> None:
        """Say in the metadata of a state dict which form of the buffers it holds, as PyTorch does."""
        local_metadata.setdefault("spectral_norm", {})[f"{self.name}.version"] = self._version

    def remove(self, module: Module) -> None:
        """The parameter `name` again, normalised as it is now."""
        with no_grad():
            weight = self.compute_weight(module, do_power_iteration=False)
        for name in (self.name, f"{self.name}_u", f"{self.name}_v", f"{self.name}_orig"):
            delattr(module, name)
        module.register_parameter(self.name, Parameter(weight.detach()))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, do_power_iteration=module.training))


def _find(module: Module, name: str) -> int | None:
    """The id of the module's hook for `name`."""
    hooks = module._forward_pre_hooks.items()
    return next((key for key, hook in hooks if isinstance(hook, SpectralNorm) and hook.name == name), None)


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Any:
    """Spectral normalisation: w = W / σ(W), with the parameter `name_orig` and the buffers `name_u`, `name_v`.

    σ, the largest singular value of W with `dim` as its rows (default: 0, and 1 for transposed convolutions), is
    estimated by `n_power_iterations` steps per forward in training. Returns the module. PyTorch's older form;
    `parametrizations.spectral_norm` is the newer. name: of the parameter. eps: added to the norms that it divides by.
    Source: T. Miyato et al., "Spectral normalization for generative adversarial networks", 2018.
    """
    SpectralNorm.apply(module, name, n_power_iterations, output_dim(module) if dim is None else dim, eps)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Any:
    """Undo `spectral_norm`: the parameter `name` again, with the value that it has now. Returns the module."""
    key = _find(module, name)
    if key is None:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    hook = module._forward_pre_hooks.pop(key)
    hook.remove(module)
    notes = module._state_dict_hooks
    for key in [key for key, note in notes.items() if getattr(note, "__self__", None) is hook]:
        del notes[key]
    return module
