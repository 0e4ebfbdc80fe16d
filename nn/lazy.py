"""Layers that learn the size of their input at the first call, and are plain layers from then on."""

from __future__ import annotations

from typing import Any

from . import conv, linear, normalization
from .module import Module
from .parameter import UninitializedBuffer, UninitializedParameter, is_lazy

__all__ = [
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
    "LazyLinear",
]


class LazyModuleMixin(Module):
    """Sizes its parameters by the first input, then changes its class to the plain layer's.

    A subclass gives the parameters a size in `initialize_parameters`, which gets what forward will get, and names the
    plain class in `cls_to_become` (None: it stays). The Parameter objects stay the same, so an optimizer made before
    the first call has the right ones.
    """

    cls_to_become: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.initialize_parameters(*args, **kwargs)
        if self.has_uninitialized_params():
            raise RuntimeError(f"module {self._get_name()} has not been fully initialized")
        if self.cls_to_become is None:
            return super().__call__(*args, **kwargs)
        self.__class__ = self.cls_to_become
        return self(*args, **kwargs)

    def has_uninitialized_params(self) -> bool:
        """True until the first call, or until a state dict is loaded."""
        return any(is_lazy(t) for t in (*self.parameters(recurse=False), *self.buffers(recurse=False)))

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give the parameters a size, by what forward will get."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")


class LazyLinear(LazyModuleMixin, linear.Linear):
    """`Linear` whose in_features is the last size of its first input: (*, H) to (*, out_features)."""

    cls_to_become = linear.Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, 0, False)
        self.out_features = out_features
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the parameters anew, once they have a size."""
        if self.in_features:
            super().reset_parameters()

    def initialize_parameters(self, input: Any) -> None:  # type: ignore[override]
        """Set in_features."""
        fresh = self.has_uninitialized_params()
        self.in_features = input.shape[-1] if fresh else self.weight.shape[1]
        if fresh:
            self.weight.materialize((self.out_features, self.in_features))  # type: ignore[attr-defined]
            if self.bias is not None:
                self.bias.materialize((self.out_features,))  # type: ignore[attr-defined]
            self.reset_parameters()


class _LazyConv(LazyModuleMixin):
    bias: Any

    def __init__(self, out_channels: int, kernel_size: Any, *args: Any, **kwargs: Any) -> None:
        device, dtype = kwargs.get("device"), kwargs.get("dtype")
        # The plain constructor does the rest, for the fewest channels that it accepts.
        groups = self._groups(args, kwargs)
        super().__init__(groups, out_channels, kernel_size, *args, **kwargs)
        self.in_channels = 0
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if self.bias is not None:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def _groups(self, args: Any, kwargs: Any) -> int:
        return kwargs.get("groups", args[3] if len(args) > 3 else 1)

    def initialize_parameters(self, input: Any) -> None:  # type: ignore[override]
        """Set in_channels."""
        n: Any = self
        dims = n.dims
        if input.ndim not in (dims + 1, dims + 2):
            raise RuntimeError(
                f"expected {dims + 1}D or {dims + 2}D input to {type(self).__name__}, but got {input.ndim}D"
            )
        n.in_channels = input.shape[-dims - 1]
        if n.in_channels % n.groups:
            raise ValueError("in_channels must be divisible by groups")
        if self.has_uninitialized_params():
            one, two = n.in_channels // n.groups, n.out_channels // n.groups
            channels = (n.in_channels, two) if n.transposed else (n.out_channels, one)
            n.weight.materialize((*channels, *n.kernel_size))
            if n.bias is not None:
                n.bias.materialize((n.out_channels,))
            self.reset_parameters()


class LazyConv1d(_LazyConv, conv.Conv1d):
    """`Conv1d` whose in_channels come from its first input; the other arguments are its own."""

    cls_to_become = conv.Conv1d


class LazyConv2d(_LazyConv, conv.Conv2d):
    """`Conv2d` whose in_channels come from its first input; the other arguments are its own."""

    cls_to_become = conv.Conv2d


class LazyConv3d(_LazyConv, conv.Conv3d):
    """`Conv3d` whose in_channels come from its first input; the other arguments are its own."""

    cls_to_become = conv.Conv3d


class LazyConvTranspose1d(_LazyConv, conv.ConvTranspose1d):
    """`ConvTranspose1d` whose in_channels come from its first input; the other arguments are its own."""

    cls_to_become = conv.ConvTranspose1d


class LazyConvTranspose2d(_LazyConv, conv.ConvTranspose2d):
    """`ConvTranspose2d` whose in_channels come from its first input; the other arguments are its own."""

    cls_to_become = conv.ConvTranspose2d


class LazyConvTranspose3d(_LazyConv, conv.ConvTranspose3d):
    """`ConvTranspose3d` whose in_channels come from its first input; the other arguments are its own."""

    cls_to_become = conv.ConvTranspose3d


class _LazyNorm(LazyModuleMixin, normalization._NormBase):
    dims = 0

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: Any = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        for name in ("weight", "bias"):
            if getattr(self, name) is not None:
                setattr(self, name, UninitializedParameter(device=device, dtype=dtype))
        for name in ("running_mean", "running_var"):
            if getattr(self, name) is not None:
                self.register_buffer(name, UninitializedBuffer(device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """Scale 1, shift 0, no batches seen, once there is a size."""
        if self.num_features:
            super().reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the batches seen, once there is a size."""
        if self.num_features:
            super().reset_running_stats()

    def initialize_parameters(self, input: Any) -> None:  # type: ignore[override]
        """Set num_features."""
        self.num_features = input.shape[1 if self.dims == 0 or input.ndim == self.dims + 2 else 0]
        if self.has_uninitialized_params():
            for name in ("weight", "bias", "running_mean", "running_var"):
                if getattr(self, name) is not None:
                    getattr(self, name).materialize((self.num_features,))
            self.reset_parameters()


class LazyBatchNorm1d(_LazyNorm, normalization.BatchNorm1d):
    """`BatchNorm1d` whose num_features come from its first input; the other arguments are its own."""

    cls_to_become = normalization.BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, normalization.BatchNorm2d):
    """`BatchNorm2d` whose num_features come from its first input; the other arguments are its own."""

    cls_to_become = normalization.BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, normalization.BatchNorm3d):
    """`BatchNorm3d` whose num_features come from its first input; the other arguments are its own."""

    cls_to_become = normalization.BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, normalization.InstanceNorm1d):
    """`InstanceNorm1d` whose num_features come from its first input; the other arguments are its own."""

    cls_to_become, dims = normalization.InstanceNorm1d, 1


class LazyInstanceNorm2d(_LazyNorm, normalization.InstanceNorm2d):
    """`InstanceNorm2d` whose num_features come from its first input; the other arguments are its own."""

    cls_to_become, dims = normalization.InstanceNorm2d, 2


class LazyInstanceNorm3d(_LazyNorm, normalization.InstanceNorm3d):
    """`InstanceNorm3d` whose num_features come from its first input; the other arguments are its own."""

    cls_to_become, dims = normalization.InstanceNorm3d, 3
