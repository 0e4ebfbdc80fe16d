"""einops (https://einops.rocks) on tensors: `rearrange`, `reduce`, `repeat`, `einsum`, `pack` and `unpack`.

einops asks the classes that derive from its AbstractBackend whose tensor it was given. This module has ours, and is
imported with einops, so programs import einops alone. `einops.layers.chainrule` has the layers, as
`einops.layers.torch` has PyTorch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops._backends import AbstractBackend

from ..autograd import FUNCTIONS, Tensor

__all__ = ["ChainruleBackend"]


class ChainruleBackend(AbstractBackend):  # type: ignore[misc]
    """What einops does to a tensor, as calls of ours."""

    framework_name = __name__.partition(".")[0]

    def is_appropriate_type(self, tensor: Any) -> bool:
        """Whether `tensor` is one of ours."""
        return isinstance(tensor, Tensor)

    def from_numpy(self, x: Any) -> Tensor:
        """The array as a tensor; one of floats wants a gradient."""
        t: Tensor = FUNCTIONS["from_numpy"](x)
        return t.requires_grad_(self.is_float_type(t))

    def to_numpy(self, x: Tensor) -> Any:
        """The tensor's values as an array of NumPy's."""
        return x.detach().cpu().numpy()

    def arange(self, start: int, stop: int) -> Tensor:
        """start, start + 1, ..., stop - 1."""
        return FUNCTIONS["arange"](start, stop)

    def reduce(self, x: Tensor, operation: str, reduced_axes: Sequence[int]) -> Tensor:
        """min, max, sum, mean, prod, any or all over several dimensions."""
        name = {"min": "amin", "max": "amax"}.get(operation, operation)
        if name != "prod":
            return getattr(x, name)(dim=tuple(reduced_axes))
        for dim in sorted(reduced_axes, reverse=True):
            x = x.prod(dim=dim)
        return x

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """The dimensions in another order."""
        return x.permute(tuple(axes))

    def stack_on_zeroth_dimension(self, tensors: list[Tensor]) -> Tensor:
        """The tensors of a list as one."""
        return FUNCTIONS["stack"](tensors)

    def add_axis(self, x: Tensor, new_position: int) -> Tensor:
        """A new dimension of size 1."""
        return x.unsqueeze(new_position)

    def add_axes(self, x: Tensor, n_axes: int, pos2len: dict[int, int]) -> Tensor:
        """New dimensions, {position: size}, along which the values repeat; no memory of their own."""
        sizes = [-1] * n_axes
        for position, size in pos2len.items():
            x = x.unsqueeze(position)
            sizes[position] = size
        return x.expand(sizes)

    def tile(self, x: Tensor, repeats: Sequence[int]) -> Tensor:
        """The tensor so many times along each dimension."""
        return x.repeat(tuple(repeats))

    def concat(self, tensors: list[Tensor], axis: int) -> Tensor:
        """The tensors one behind the other."""
        return FUNCTIONS["cat"](tensors, dim=axis)

    def einsum(self, pattern: str, *x: Tensor) -> Tensor:
        """Sums of products, in einsum's notation."""
        return FUNCTIONS["einsum"](pattern, *x)

    def is_float_type(self, x: Tensor) -> bool:
        """Whether the elements are floats; einops refuses the mean of others."""
        return x.dtype.is_floating_point

    def layers(self) -> Any:
        """The module with the layers."""
        from . import einops_layers

        return einops_layers
