"""The continuous Bernoulli distribution."""

from __future__ import annotations

from typing import Any

from . import constraints
from ._chances import Chances
from ._functions import F
from .utils import clamp_probs

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(Chances):
    """p(x) = C pˣ (1 - p)¹⁻ˣ on [0, 1], that is C' exp(λ x) with λ = `logits` = log(p / (1 - p)).

    For pixels between 0 and 1, of which Bernoulli's likelihood is no density. Mean 1 / (1 - exp(-λ)) - 1 / λ, which
    is not p. lims: where p lies between these, functions of λ are computed by their Taylor series about λ = 0.
    `rsample` inverts the cdf. ValueError unless one of probs and logits is given.

    Source: G. Loaiza-Ganem, J. Cunningham, "The continuous Bernoulli", 2019.
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self,
        probs: Any = None,
        logits: Any = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        self._take_chances(probs, logits)
        if probs is not None:
            # the checks come before the clamping
            if validate_args is not False and not constraints.unit_interval.check(self.probs).all():
                raise ValueError("The parameter probs has invalid values")
            vars(self)["probs"] = clamp_probs(self.probs)
        self._lims = lims
        super().__init__(self._param.size(), validate_args=validate_args)

    def _split(self) -> tuple[Any, Any, Any]:
        """Whether λ is near 0, λ with 1 in the place of those, and λ with 0 in the place of the others."""
        near = (self.probs > self._lims[0]) & (self.probs < self._lims[1])
        return near, F.where(near, 1.0, self.logits), F.where(near, self.logits, 0.0)

    def _log_mass(self) -> Any:
        """log ∫₀¹ exp(λ (x - 1/2)) dx = log(sinh(λ/2) / (λ/2))."""
        near, far, small = self._split()
        size = far.abs()
        closed = size / 2 + (-(-size).expm1()).log() - size.log()
        return F.where(near, small.pow(2) / 24 - small.pow(4) / 2880, closed)

    @property
    def mean(self) -> Any:
        near, far, small = self._split()
        closed = 1 / (-(-far).expm1()) - 1 / far
        return F.where(near, 0.5 + small / 12 - small.pow(3) / 720, closed)

    @property
    def variance(self) -> Any:
        near, far, small = self._split()
        closed = 1 / far.pow(2) - 1 / (4 * F.sinh(far / 2).pow(2))
        return F.where(near, 1 / 12 - small.pow(2) / 240 + small.pow(4) / 6048, closed)

    @property
    def stddev(self) -> Any:
        return self.variance.sqrt()

    def rsample(self, sample_shape: Any = ()) -> Any:
        u = F.rand(self._extended_shape(sample_shape), dtype=self._param.dtype, device=self._param.device)
        return self.icdf(u)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        return self.logits * (value - 0.5) - self._log_mass()

    def cdf(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        near, far, small = self._split()
        inside = value.clamp(0.0, 1.0)
        series = inside + small * inside * (inside - 1) / 2
        return F.where(near, series, (far * inside).expm1() / far.expm1()).clamp(0.0, 1.0)

    def icdf(self, value: Any) -> Any:
        near, far, small = self._split()
        series = value - small * value * (value - 1) / 2
        # log(1 + u (exp(λ) - 1)) / λ, for λ > 0 by way of 1 - u, which does not overflow
        size = far.abs()
        share = F.where(far > 0, 1 - value, value)
        closed = -(share * (-size).expm1()).log1p() / size
        return F.where(near, series, F.where(far > 0, 1 - closed, closed))

    def entropy(self) -> Any:
        return self._log_mass() - self.logits * (self.mean - 0.5)
