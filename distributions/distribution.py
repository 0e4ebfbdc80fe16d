"""`Distribution`, the base of all: shapes, validation, and what follows from `log_prob` and `rsample`."""

from __future__ import annotations

import warnings
from typing import Any

from ..autograd import Size, Tensor, no_grad
from . import constraints
from .utils import lazy_property

__all__ = ["Distribution"]


class Distribution:
    """A probability distribution, or a batch of independent ones.

    batch_shape is the shape of the parameters after broadcasting, event_shape that of one value: () for numbers,
    (K,) for vectors. A sample has the shape sample_shape + batch_shape + event_shape; `log_prob` takes any value
    that broadcasts to batch_shape + event_shape, and gives one number per event. `validate_args` (on by default,
    off under `python -O`) checks parameters against `arg_constraints`, values against `support`, and raises
    ValueError. NotImplementedError: what the distribution has no formula for.

    Source: J. Dillon et al., "TensorFlow Distributions", 2017, whose shapes PyTorch took over.
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Switch validation on or off for all distributions made from now on."""
        if value not in (True, False):
            raise ValueError
        Distribution._validate_args = value

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if not self._validate_args:
            return
        try:
            arg_constraints = self.arg_constraints
        except NotImplementedError:
            arg_constraints = {}
            warnings.warn(
                f"{self.__class__} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or "
                "initialize the distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
        for name, constraint in arg_constraints.items():
            if constraints.is_dependent(constraint):
                continue
            if name not in vars(self) and isinstance(getattr(type(self), name, None), lazy_property):
                continue
            value = getattr(self, name)
            if not constraint.check(value).all():
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution "
                    f"{self!r} to satisfy the constraint {constraint!r}, but found invalid values:\n{value}"
                )

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def batch_shape(self) -> Size:
        """The shape of the batch of distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one sample of one distribution."""
        return self._event_shape

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """The constraint of each parameter."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """The constraint that samples obey."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """The most probable value."""
        raise NotImplementedError(f"{self.__class__} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """The square root of the variance."""
        return self.variance.sqrt()

    # -- what it does ------------------------------------------------------------------------------------------------

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Random values, which carry no gradient. Shape: sample_shape + batch_shape + event_shape."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Random values that are differentiable functions of the parameters (where `has_rsample`)."""
        raise NotImplementedError

    def sample_n(self, n: int) -> Tensor:
        """`sample((n,))`; PyTorch's older form."""
        warnings.warn("sample_n will be deprecated. Use .sample((n,)) instead", UserWarning, stacklevel=2)
        return self.sample(Size((n,)))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density, or of the probability, at `value`: one number per event."""
        raise NotImplementedError

    def cdf(self, value: Tensor) -> Tensor:
        """P(X <= value), of value's shape."""
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of `cdf`: the quantile of the probability `value` in [0, 1]."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values, along a new first dimension; the batch dimensions follow, of size 1 without `expand`."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """-E[log p] in nats, of the batch's shape."""
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """exp(entropy): as many equally likely values are as uncertain."""
        return self.entropy().exp()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with its parameters expanded to `batch_shape`, as `Tensor.expand` does it."""
        new = self._get_checked_instance(type(self), _instance)
        batch_shape, had = Size(batch_shape), len(self._batch_shape)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                value = value.expand(batch_shape + value.shape[had:])
            elif isinstance(value, Distribution):
                value = value.expand(batch_shape)
            vars(new)[name] = value
        new._batch_shape = batch_shape
        return new

    # -- for subclasses ----------------------------------------------------------------------------------------------

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        return Size(sample_shape) + self._batch_shape + self._event_shape

    def _get_checked_instance(self, cls: Any, _instance: Any = None) -> Any:
        return object.__new__(type(self)) if _instance is None else _instance

    def _enumerated(self, values: Tensor, expand: bool) -> Tensor:
        """`values` (n, *event) along a first dimension before the batch's."""
        shaped = values.reshape(values.shape[:1] + (1,) * len(self._batch_shape) + values.shape[1:])
        return shaped.expand(values.shape[:1] + self._batch_shape + values.shape[1:]) if expand else shaped

    def _validate_sample(self, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        begin = value.ndim - len(self._event_shape)
        if value.shape[max(begin, 0) :] != self._event_shape:
            raise ValueError(
                f"The right-most size of value must match event_shape: {value.size()} vs {self._event_shape}."
            )
        expected = self._batch_shape + self._event_shape
        for i, j in zip(reversed(value.shape), reversed(expected), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(
                    f"Value is not broadcastable with batch_shape+event_shape: {value.size()} vs {expected}."
                )
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{self.__class__} does not define `support` to enable sample validation. Please initialize the "
                "distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if not support.check(value).all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the "
                f"support ({support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
            )

    def __repr__(self) -> str:
        names = [name for name in self.arg_constraints if name in vars(self)]
        shown = [f"{name}: {v if v.numel() == 1 else v.size()}" for name, v in ((n, vars(self)[n]) for n in names)]
        return f"{type(self).__name__}({', '.join(shown)})"
