"""The binomial distribution."""

from __future__ import annotations

from typing import Any

from ..autograd import no_grad
from ..autograd.dtypes import float64
from ..autograd.ops.activation import softplus
from . import constraints
from ._chances import Chances, one_of
from ._functions import F
from ._gamma import log_gamma_sample
from .utils import broadcast_all

__all__ = ["Binomial"]


def binomial_sample(n: Any, p: Any) -> Any:
    """Successes among `n` trials of probability `p`, two tensors of one shape; in float64.

    The k-th least of the n uniform numbers behind the trials is Beta(k, n + 1 - k); take the median, k = (n + 1) // 2.
    Where it lies above p, the successes are among the k - 1 numbers below it; otherwise k of them are sure, and the
    n - k above are asked. So n halves with each round, until few trials are left, which are made one by one
    (D. A. Relles, "A simple algorithm for generating binomial random variables when N is large", 1972).
    """
    n, p = n.to(float64), p.to(float64)
    found = F.zeros_like(p)
    while n.numel() and n.max().item() > 16:
        large = n > 16
        k = F.where(large, ((n + 1) / 2).floor(), 1.0)
        a, b = log_gamma_sample(k, k.shape), log_gamma_sample(F.where(large, n + 1 - k, 1.0), k.shape)
        median = F.sigmoid(a - b)
        below = median <= p
        found = F.where(large & below, found + k, found)
        rest = F.where(below, (p - median) / (1 - median).clamp(min=1e-300), p / median.clamp(min=1e-300))
        n, p = F.where(large, F.where(below, n - k, k - 1), n), F.where(large, rest.clamp(0.0, 1.0), p)
    for i in range(int(n.max().item()) if n.numel() else 0):
        success = (F.rand(p.shape, dtype=p.dtype, device=p.device) < p) & (i < n)
        found = found + success.to(float64)
    return found


class Binomial(Chances):
    """The number of successes among n = `total_count` trials of probability p = `probs` = σ(`logits`).

    P(k) = n! / (k! (n - k)!) pᵏ (1 - p)ⁿ⁻ᵏ, k = 0, ..., n; mean n p, variance n p (1 - p). `entropy` and
    `enumerate_support` want one total_count for the whole batch (NotImplementedError). Sources: Johnson, Kemp,
    Kotz, 2005, chapter 3; D. Relles, "A simple algorithm for generating binomial random variables when N is large",
    1972.
    """

    arg_constraints = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    has_enumerate_support = True

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        name = one_of(probs, logits)
        self.total_count, value = broadcast_all(total_count, probs if name == "probs" else logits)
        self.total_count = self.total_count.type_as(value)
        vars(self)[name] = value
        super().__init__(value.size(), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:  # type: ignore[override]
        """0 to total_count."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Any:
        return self.total_count * self.probs

    @property
    def mode(self) -> Any:
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self) -> Any:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        with no_grad():
            drawn = binomial_sample(self.total_count.expand(shape), self.probs.expand(shape))
            return drawn.to(self._param.dtype)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        choices = (n + 1).lgamma() - (value + 1).lgamma() - (n - value + 1).lgamma()
        return choices + value * self.logits - n * softplus(self.logits)

    def entropy(self) -> Any:
        n = int(self.total_count.max().item())
        if not (self.total_count == n).all():
            raise NotImplementedError("Inhomogeneous total count not supported by `entropy`.")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(log_prob.exp() * log_prob).sum(0)

    def enumerate_support(self, expand: bool = True) -> Any:
        n = int(self.total_count.max().item())
        if not (self.total_count == n).all():
            raise NotImplementedError("Inhomogeneous total count not supported by `enumerate_support`.")
        return self._enumerated(F.arange(1 + n, dtype=self._param.dtype, device=self._param.device), expand)
