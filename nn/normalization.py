"""Normalisation: activations brought to mean 0 and variance 1, then scaled and shifted by learned numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..autograd import Tensor, no_grad
from ..autograd.creation import empty, ones, tensor, zeros
from ..autograd.errors import warn
from ..autograd.modes import MODES
from ..autograd.ops.dropout import drawn_seed
from ..autograd.ops.normalisation import add_layer_norm, batch_norm_then_relu
from . import functional as F
from . import init
from .activation import ReLU
from .dropout import Dropout
from .module import Module, _note_place
from .parameter import Parameter
from .tuples import shown

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "CrossMapLRN2d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LocalResponseNorm",
    "RMSNorm",
    "SyncBatchNorm",
]


def _affine(module: Module, shape: Any, weight: bool, bias: bool, device: Any, dtype: Any) -> None:
    """Give a module a weight and a bias of `shape`, or none."""
    for name, wanted in (("weight", weight), ("bias", bias)):
        module.register_parameter(name, Parameter(empty(shape, device=device, dtype=dtype)) if wanted else None)


def _reset_affine(module: Module) -> None:
    if module.weight is not None:
        init.ones_(module.weight)
    if module.bias is not None:
        init.zeros_(module.bias)


class _NormBase(Module):
    """Batch and instance norm: per-channel parameters and running statistics."""

    _version = 2

    if TYPE_CHECKING:
        num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        _affine(self, num_features, affine, affine and bias, device, dtype)
        if track_running_stats:
            self.register_buffer("running_mean", zeros(num_features, device=device, dtype=dtype))
            self.register_buffer("running_var", ones(num_features, device=device, dtype=dtype))
            self.register_buffer("num_batches_tracked", tensor(0, device=device))
        else:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, None)
        _reset_affine(self)

    def reset_running_stats(self) -> None:
        """Forget the batches seen: mean 0, variance 1."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()  # type: ignore[union-attr]

    def reset_parameters(self) -> None:
        """Scale 1, shift 0, no batches seen."""
        self.reset_running_stats()
        _reset_affine(self)

    def _check_input_dim(self, input: Tensor) -> None:
        raise NotImplementedError

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        key = prefix + "num_batches_tracked"
        if local_metadata.get("version") in (None, 1) and self.track_running_stats and key not in state_dict:
            state_dict[key] = self.num_batches_tracked  # files older than the counter
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def extra_repr(self) -> str:
        bias = f", bias={self.bias is not None}, "
        return (
            f"{self.num_features}, {shown(self, 'eps', 'momentum', 'affine')}{bias}{shown(self, 'track_running_stats')}"
        )


def _check_dims(module: Module, input: Tensor, *allowed: int) -> None:
    if input.ndim not in allowed:
        raise ValueError(f"expected {' or '.join(f'{n}D' for n in allowed)} input (got {input.ndim}D input)")


class _BatchNorm(_NormBase):
    def forward(self, input: Tensor) -> Tensor:
        return self._cr_applied(input, F.batch_norm)

    def _cr_applied(self, input: Tensor, function: Any, **more: Any) -> Tensor:
        self._check_input_dim(input)
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            with no_grad():
                self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / self.num_batches_tracked.item()
        use_batch = self.training or (self.running_mean is None and self.running_var is None)
        keep = not self.training or self.track_running_stats
        mean, variance = (self.running_mean, self.running_var) if keep else (None, None)
        return function(input, mean, variance, self.weight, self.bias, use_batch, factor, self.eps, **more)


class BatchNorm1d(_BatchNorm):
    """y = γ (x - mean) / √(var + eps) + β, with mean and variance of each channel over the batch.

    Shapes: (N, C) or (N, C, L); γ and β (C), C = num_features, not there without `affine`. Training uses the batch's
    biased variance and moves the running statistics by `momentum` (None: their plain average) towards mean and unbiased
    variance; evaluation uses the running ones, or without track_running_stats the batch's.
    Source: S. Ioffe, C. Szegedy, "Batch normalization", 2015.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        _check_dims(self, input, 2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (N, C, H, W); see BatchNorm1d."""

    def _check_input_dim(self, input: Tensor) -> None:
        _check_dims(self, input, 4)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W); see BatchNorm1d."""

    def _check_input_dim(self, input: Tensor) -> None:
        _check_dims(self, input, 5)


def joinable(norm: Any, relu: Any) -> bool:
    """Whether `relu(norm(x))` may be computed in one pass: nobody can look at, or change, what is between."""
    return (
        type(norm) in (BatchNorm1d, BatchNorm2d, BatchNorm3d)
        and type(relu) is ReLU
        and norm._cr_hooks is None
        and relu._cr_hooks is None
        and not {"forward", "_cr_applied"} & (norm.__dict__.keys() | relu.__dict__.keys())
    )


def batch_norm_relu(norm: Any, relu: Any, input: Tensor, shortcut: Callable[[], Tensor] | None = None) -> Tensor:
    """relu(norm(input) + shortcut()), in one pass where norm and ReLU are `joinable`."""
    if joinable(norm, relu):
        other = None if shortcut is None else shortcut()
        try:
            return norm._cr_applied(input, batch_norm_then_relu, other=other)
        except Exception as error:
            _note_place(error, norm)
            raise
    out = norm(input)
    if shortcut is not None:
        out += shortcut()
    return relu(out)


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation of (N, C, *) over the batches of all processes of a group; see BatchNorm1d.

    In training mean and variance, and their gradients, are those of all processes' inputs together, which may have
    different numbers of elements. In a world of one, in evaluation, and where no world was joined it is BatchNorm, on a
    CPU too. process_group: default all processes.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least 2D input (got {input.ndim}D input)")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training and self.running_mean is not None:
            return super().forward(input)
        from ..autograd.collective import sync_batch_norm, world_group  # many programs never need it

        group = world_group(self.process_group)
        if group is None or len(group.ranks) == 1:
            return super().forward(input)
        return self._cr_applied(input, sync_batch_norm, group=group)

    @classmethod
    def convert_sync_batchnorm(cls, module: Any, process_group: Any = None) -> Any:
        """The module with a SyncBatchNorm, on the same tensors, in the place of each batch norm inside."""
        found = module
        if isinstance(module, _BatchNorm):
            found = cls(
                *(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats),
                process_group,
                bias=module.bias is not None,
            )
            found.training = module.training
            for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(found, name, getattr(module, name))
        for name, child in module.named_children():
            setattr(found, name, cls.convert_sync_batchnorm(child, process_group))
        return found


class _InstanceNorm(_NormBase):
    dims = 0

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        _check_dims(self, input, self.dims + 1, self.dims + 2)
        channels = input.shape[-self.dims - 1]
        if channels != self.num_features:
            dim = input.ndim - self.dims - 1
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={dim} to match num_features ({self.num_features}), but got: "
                    f"{channels}."
                )
            warn(
                f"input's size at dim={dim} does not match num_features. You can silence this warning by not passing "
                "in num_features, which is not used because affine=False"
            )
        alone = input.ndim == self.dims + 1
        out = F.instance_norm(
            input.unsqueeze(0) if alone else input,
            *(self.running_mean, self.running_var, self.weight, self.bias),
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return out.squeeze(0) if alone else out


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each example normalised over its own elements: (N, C, L) or (C, L), C = num_features.

    y = γ (x - mean) / √(var + eps) + β; γ and β only with `affine`. track_running_stats, momentum: evaluation uses
    running statistics, as in `BatchNorm1d`.
    Source: D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance normalization", 2016.
    """

    dims = 1


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of (N, C, H, W) or (C, H, W); see InstanceNorm1d."""

    dims = 2


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (N, C, D, H, W) or (C, D, H, W); see InstanceNorm1d."""

    dims = 3


class LayerNorm(Module):
    """y = γ (x - mean) / √(var + eps) + β over the last dimensions, whose sizes are `normalized_shape`.

    γ and β have that shape, and are not there without `elementwise_affine`.
    Source: J. Ba, J. Kiros, G. Hinton, "Layer normalization", 2016.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        _affine(self, self.normalized_shape, elementwise_affine, elementwise_affine and bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, {shown(self, 'eps', 'elementwise_affine')}, bias={self.bias is not None}"


def add_norm(norm: Any, input: Tensor, other: Tensor, dropout: Any = None) -> tuple[Tensor, Tensor]:
    """(norm(total), total) of total = input + dropout(other), in one pass where nobody looks into the modules."""
    if (
        type(norm) is LayerNorm
        and (dropout is None or type(dropout) is Dropout)
        and all(m is None or (m._cr_hooks is None and "forward" not in m.__dict__) for m in (norm, dropout))
        and input.shape == other.shape
        and (input.dtype.itemsize > 2 or MODES.get().autocast is None)  # which may want the norm alone in float32
    ):
        given = (input, other, norm.normalized_shape, norm.weight, norm.bias)
        if dropout is None:
            return add_layer_norm(*given, eps=norm.eps)
        if dropout.p < 1 or not dropout.training:
            seed = drawn_seed(other, dropout.p, dropout.training)
            return add_layer_norm(*given, eps=norm.eps, seed=seed, p=dropout.p)
    total = input + (other if dropout is None else dropout(other))
    return norm(total), total


class RMSNorm(Module):
    """y = γ x / √(mean(x²) + eps) over the last dimensions, whose sizes are `normalized_shape`.

    γ has that shape, and is not there without `elementwise_affine`. eps None: the machine epsilon of the dtype.
    Source: B. Zhang, R. Sennrich, "Root mean square layer normalization", 2019.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps, self.elementwise_affine = eps, elementwise_affine
        weight = Parameter(empty(self.normalized_shape, device=device, dtype=dtype)) if elementwise_affine else None
        self.register_parameter("weight", weight)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, " + shown(self, "eps", "elementwise_affine")


class GroupNorm(Module):
    """The num_channels C in `num_groups` groups, each normalised together with its positions, per example: (N, C, *).

    y = γ (x - mean) / √(var + eps) + β with γ and β (C), not there without `affine`.
    Source: Y. Wu, K. He, "Group normalization", 2018.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        _affine(self, num_channels, affine, affine and bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        settings = f"{shown(self, 'eps', 'affine')}, bias={self.bias is not None}"
        return f"{self.num_groups}, {self.num_channels}, {settings}"


class LocalResponseNorm(Module):
    """y[c] = x[c] / (k + α/size Σ x[c']²)^β over `size` neighbouring channels c': (N, C, *); α = alpha, β = beta.

    Source: A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural networks",
    2012 (where α is not divided by the size).
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, " + shown(self, "alpha", "beta", "k")


class CrossMapLRN2d(LocalResponseNorm):
    """`LocalResponseNorm` (size, alpha, beta, k) under its former name, for (N, C, H, W).

    PyTorch's forgets to take the first channel out of the sum again.
    """
