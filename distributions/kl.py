"""Kullback-Leibler divergences: KL(p || q) = E_p[log p - log q], in closed form.

Most are -entropy(p) - E_p[log q], where q's family says which moments of p it needs: mean and variance, E[log x],
E[log(1 - x)] or E[exp(-x/s)]. Families compared with themselves have forms of their own where those cancel badly.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from ..autograd.ops.activation import softplus
from ._functions import F
from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .categorical import Categorical
from .cauchy import Cauchy
from .continuous_bernoulli import ContinuousBernoulli
from .dirichlet import Dirichlet
from .distribution import Distribution
from .exponential import Exponential
from .gamma import Gamma
from .geometric import Geometric
from .gumbel import Gumbel
from .half_normal import HalfNormal
from .independent import Independent
from .laplace import Laplace
from .lowrank_multivariate_normal import LowRankMultivariateNormal
from .multivariate_normal import MultivariateNormal, half_log_det, solve_lower
from .normal import Normal
from .one_hot_categorical import OneHotCategorical
from .pareto import Pareto
from .poisson import Poisson
from .transformed_distribution import TransformedDistribution
from .uniform import Uniform
from .utils import euler_constant, sum_rightmost
from .wishart import Wishart

__all__ = ["kl_divergence", "register_kl"]

_REGISTRY: dict[tuple[type, type], Callable[[Any, Any], Any]] = {}
_FOUND: dict[tuple[type, type], Any] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Any], Any]:
    """Decorator: a function (p, q) that gives KL(p || q) for two classes of distributions, type_p and type_q, and
    subclasses.

    Of several that fit, the one of the most derived classes is taken. TypeError for what is no distribution.
    """
    for name, kind in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(kind, type) or not issubclass(kind, Distribution):
            raise TypeError(f"Expected {name} to be a subclass of Distribution but got {kind}")

    def register(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        _REGISTRY[type_p, type_q] = function
        _FOUND.clear()
        return function

    return register


def _find(type_p: type, type_q: type) -> Any:
    fits = [(p, q) for p, q in _REGISTRY if issubclass(type_p, p) and issubclass(type_q, q)]
    if not fits:
        return None
    left = min(fits, key=lambda pq: (type_p.__mro__.index(pq[0]), type_q.__mro__.index(pq[1])))
    right = min(fits, key=lambda pq: (type_q.__mro__.index(pq[1]), type_p.__mro__.index(pq[0])))
    if _REGISTRY[left] is not _REGISTRY[right]:
        names = f"{left[0].__name__}, {left[1].__name__}", f"{right[0].__name__}, {right[1].__name__}"
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). Please register_kl({names[0]}) or "
            f"register_kl({names[1]})",
            RuntimeWarning,
            stacklevel=4,
        )
    return _REGISTRY[left]


def kl_divergence(p: Any, q: Any) -> Any:
    """KL(p || q) = E_p[log p - log q] in nats, of the batch's shape; infinite where q is 0 and p is not.

    NotImplementedError where no closed form is registered. Source: S. Kullback, R. Leibler, "On information and
    sufficiency", 1951.
    """
    key = type(p), type(q)
    if key not in _FOUND:
        _FOUND[key] = _find(*key)
    if _FOUND[key] is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {p.__class__.__name__} and q type {q.__class__.__name__}"
        )
    return _FOUND[key](p, q)


def _infinite(p: Any, q: Any) -> Any:
    """Where p has mass that q has not."""
    shape = F.broadcast_shapes(p.batch_shape, q.batch_shape)
    return F.full(shape, math.inf, dtype=p.mean.dtype, device=p.mean.device)


# -- one family -------------------------------------------------------------------------------------------------------


@register_kl(Normal, Normal)
def _normal_normal(p: Any, q: Any) -> Any:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(HalfNormal, HalfNormal)
def _half_normal_half_normal(p: Any, q: Any) -> Any:
    return _normal_normal(p.base_dist, q.base_dist)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli_bernoulli(p: Any, q: Any) -> Any:
    def part(mass: Any, log_p: Any, log_q: Any) -> Any:
        return F.where(mass == 0, 0.0, mass * (log_p - log_q))

    ones = part(p.probs, -softplus(-p.logits), -softplus(-q.logits))
    zeros = part(1 - p.probs, -softplus(p.logits), -softplus(q.logits))
    ones = F.where((q.probs == 0) & (p.probs > 0), math.inf, ones)
    return ones + F.where((q.probs == 1) & (p.probs < 1), math.inf, zeros)


@register_kl(Binomial, Binomial)
def _binomial_binomial(p: Any, q: Any) -> Any:
    if (p.total_count < q.total_count).any():
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    found = p.total_count * (p.probs * (p.logits - q.logits) - softplus(p.logits) + softplus(q.logits))
    return F.where(p.total_count > q.total_count, math.inf, found)


@register_kl(Categorical, Categorical)
def _categorical_categorical(p: Any, q: Any) -> Any:
    found = p.probs * (p.logits - q.logits)
    found = F.where(q.probs == 0, math.inf, found)
    return F.where(p.probs == 0, 0.0, found).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot_one_hot(p: Any, q: Any) -> Any:
    return _categorical_categorical(p._categorical, q._categorical)


@register_kl(Geometric, Geometric)
def _geometric_geometric(p: Any, q: Any) -> Any:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _poisson_poisson(p: Any, q: Any) -> Any:
    return F.xlogy(p.rate, p.rate) - F.xlogy(p.rate, q.rate) - (p.rate - q.rate)


@register_kl(Exponential, Exponential)
def _exponential_exponential(p: Any, q: Any) -> Any:
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


@register_kl(Gamma, Gamma)
def _gamma_gamma(p: Any, q: Any) -> Any:
    a, c = p.concentration, q.concentration
    ratio = q.rate / p.rate
    return c * -ratio.log() + c.lgamma() - a.lgamma() + (a - c) * a.digamma() + a * (ratio - 1)


@register_kl(Beta, Beta)
def _beta_beta(p: Any, q: Any) -> Any:
    a, b, c, d = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    normalisers = (a + b).lgamma() - a.lgamma() - b.lgamma() - (c + d).lgamma() + c.lgamma() + d.lgamma()
    return normalisers + (a - c) * a.digamma() + (b - d) * b.digamma() + (c + d - a - b) * (a + b).digamma()


@register_kl(Dirichlet, Dirichlet)
def _dirichlet_dirichlet(p: Any, q: Any) -> Any:
    a, b = p.concentration, q.concentration
    normalisers = a.sum(-1).lgamma() - b.sum(-1).lgamma() + (b.lgamma() - a.lgamma()).sum(-1)
    return normalisers + ((a - b) * (a.digamma() - a.sum(-1, keepdim=True).digamma())).sum(-1)


@register_kl(Laplace, Laplace)
def _laplace_laplace(p: Any, q: Any) -> Any:
    distance, ratio = (p.loc - q.loc).abs(), p.scale / q.scale
    return -ratio.log() + distance / q.scale + ratio * (-distance / p.scale).exp() - 1


@register_kl(Cauchy, Cauchy)
def _cauchy_cauchy(p: Any, q: Any) -> Any:
    # F. Chyzak, F. Nielsen, "A closed-form formula for the KL divergence between Cauchy distributions", 2019
    return ((p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)).log() - (4 * p.scale * q.scale).log()


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_multivariate(p: Any, q: Any) -> Any:
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot be computed"
        )
    n, low_p, low_q = p.event_shape[0], p._unbroadcasted_scale_tril, q._unbroadcasted_scale_tril
    trace = solve_lower(low_q, low_p).pow(2).sum((-2, -1))
    distance = solve_lower(low_q, (p.loc - q.loc).unsqueeze(-1)).pow(2).sum((-2, -1))
    return half_log_det(low_q) - half_log_det(low_p) + 0.5 * (trace + distance - n)


@register_kl(Wishart, Wishart)
def _wishart_wishart(p: Any, q: Any) -> Any:
    # PyTorch's is negative for some batches; this is the mean of log p - log q over p
    if p.event_shape != q.event_shape:
        raise ValueError("KL-divergence between two Wisharts with different event shapes cannot be computed")
    n = p.event_shape[-1]
    trace = solve_lower(q._low, p._low).pow(2).sum((-2, -1))
    scales = q.df * (half_log_det(q._low) - half_log_det(p._low)) + p.df / 2 * (trace - n)
    gammas = F.mvlgamma(q.df / 2, n) - F.mvlgamma(p.df / 2, n)
    return scales + gammas + (p.df - q.df) / 2 * F.digamma(p._degrees() / 2).sum(-1)


def _log_det(p: Any) -> Any:
    return p._log_det() if isinstance(p, LowRankMultivariateNormal) else 2 * half_log_det(p._unbroadcasted_scale_tril)


def _columns(p: Any) -> Any:
    """A with A Aᵀ = Σ."""
    if not isinstance(p, LowRankMultivariateNormal):
        return p._unbroadcasted_scale_tril
    batch = p.batch_shape + p.event_shape
    return F.cat([p.cov_factor.expand(batch + p.cov_factor.shape[-1:]), F.diag_embed(p.cov_diag.sqrt())], -1)


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, MultivariateNormal)
@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _lowrank_lowrank(p: Any, q: Any) -> Any:
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two (Low Rank) Multivariate Normals with different event shapes cannot be computed"
        )

    def squares(columns: Any) -> Any:
        if isinstance(q, LowRankMultivariateNormal):
            return q._squares(columns)
        return solve_lower(q._unbroadcasted_scale_tril, columns).pow(2).sum((-2, -1))

    distance = squares((p.loc - q.loc).unsqueeze(-1))
    return 0.5 * (_log_det(q) - _log_det(p) + squares(_columns(p)) + distance - p.event_shape[0])


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_continuous(p: Any, q: Any) -> Any:
    return (p.mean - 0.5) * (p.logits - q.logits) - p._log_mass() + q._log_mass()


@register_kl(Independent, Independent)
def _independent_independent(p: Any, q: Any) -> Any:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed_transformed(p: Any, q: Any) -> Any:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    return kl_divergence(p.base_dist, q.base_dist)


# -- across families: -entropy(p) - E_p[log q] ------------------------------------------------------------------------


def _pairs(type_q: type, *types_p: type) -> Callable[[Any], Any]:
    def register(function: Any) -> Any:
        for type_p in types_p:
            register_kl(type_p, type_q)(function)
        return function

    return register


@_pairs(Normal, Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Pareto, Uniform)
def _to_normal(p: Any, q: Any) -> Any:
    spread = p.variance + (p.mean - q.loc).pow(2)
    return -p.entropy() + 0.5 * spread / q.scale.pow(2) + q.scale.log() + 0.5 * math.log(2 * math.pi)


@_pairs(Exponential, Beta, ContinuousBernoulli, Gamma, Pareto, Uniform)
def _to_exponential(p: Any, q: Any) -> Any:
    return _if_positive(p, -p.entropy() - q.rate.log() + q.rate * p.mean)


def _if_positive(p: Any, found: Any) -> Any:
    """Infinite where p reaches below 0."""
    return F.where(p.low < 0, math.inf, found) if isinstance(p, Uniform) else found


def _mean_log(p: Any) -> Any:
    """E[log x]."""
    if isinstance(p, Gamma):
        return p.concentration.digamma() - p.rate.log()
    if isinstance(p, Exponential):
        return -euler_constant - p.rate.log()
    if isinstance(p, Beta):
        return p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma()
    if isinstance(p, Pareto):
        return p.scale.log() + p.alpha.reciprocal()
    low, high = p.low.clamp(min=0.0), p.high.clamp(min=0.0)
    return (F.xlogy(high, high) - F.xlogy(low, low)) / (high - low) - 1


@_pairs(Gamma, Beta, Exponential, Pareto, Uniform)
def _to_gamma(p: Any, q: Any) -> Any:
    normaliser = q.concentration.lgamma() - q.concentration * q.rate.log()
    found = -p.entropy() + normaliser - (q.concentration - 1) * _mean_log(p) + q.rate * p.mean
    return _if_positive(p, found)


@register_kl(Uniform, Beta)
def _uniform_beta(p: Any, q: Any) -> Any:
    a, b = q.concentration1, q.concentration0
    low, high = p.low.clamp(0.0, 1.0), p.high.clamp(0.0, 1.0)
    upper, lower = 1 - low, 1 - high
    log_rest = (F.xlogy(upper, upper) - F.xlogy(lower, lower)) / (high - low) - 1
    normaliser = a.lgamma() + b.lgamma() - (a + b).lgamma()
    found = -p.entropy() + normaliser - (a - 1) * _mean_log(p) - (b - 1) * log_rest
    return F.where((p.low < 0) | (p.high > 1), math.inf, found)


@register_kl(ContinuousBernoulli, Uniform)
@register_kl(Beta, Uniform)
def _unit_uniform(p: Any, q: Any) -> Any:
    found = -p.entropy() + (q.high - q.low).log()
    return F.where((q.low > 0) | (q.high < 1), math.inf, found)


@register_kl(Uniform, ContinuousBernoulli)
def _uniform_continuous(p: Any, q: Any) -> Any:
    found = -p.entropy() - q.logits * (p.mean - 0.5) + q._log_mass()
    return F.where((p.low < 0) | (p.high > 1), math.inf, found)


@register_kl(Beta, ContinuousBernoulli)
def _beta_continuous(p: Any, q: Any) -> Any:
    return -p.entropy() - q.logits * (p.mean - 0.5) + q._log_mass()


@register_kl(Uniform, Uniform)
def _uniform_uniform(p: Any, q: Any) -> Any:
    found = ((q.high - q.low) / (p.high - p.low)).log()
    return F.where((q.low > p.low) | (q.high < p.high), math.inf, found)


@register_kl(Pareto, Pareto)
def _pareto_pareto(p: Any, q: Any) -> Any:
    ratio = q.alpha / p.alpha
    found = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return F.where(p.scale < q.scale, math.inf, found)


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Any, q: Any) -> Any:
    found = -p.entropy() - q.alpha.log() - q.alpha * q.scale.log() + (q.alpha + 1) * _mean_log(p)
    return F.where(p.low < q.scale, math.inf, found)


def _mean_exponential(p: Any, s: Any) -> Any:
    """E[exp(-x / s)]."""
    if isinstance(p, Gamma):
        return (p.concentration * -(1 / (p.rate * s)).log1p()).exp()
    if isinstance(p, Exponential):
        return p.rate / (p.rate + 1 / s)
    if isinstance(p, Normal):
        return (-p.loc / s + 0.5 * (p.scale / s).pow(2)).exp()
    if isinstance(p, Gumbel):
        return (-p.loc / s + (1 + p.scale / s).lgamma()).exp()
    return s / (p.high - p.low) * ((-p.low / s).exp() - (-p.high / s).exp())


@_pairs(Gumbel, Exponential, Gamma, Gumbel, Normal, Uniform)
def _to_gumbel(p: Any, q: Any) -> Any:
    tail = (q.loc / q.scale).exp() * _mean_exponential(p, q.scale)
    return -p.entropy() + q.scale.log() + (p.mean - q.loc) / q.scale + tail


@register_kl(Normal, Laplace)
def _normal_laplace(p: Any, q: Any) -> Any:
    d = p.loc - q.loc
    z = d / (p.scale * math.sqrt(2))
    distance = p.scale * math.sqrt(2 / math.pi) * (-z * z).exp() + d * F.erf(z)
    return -p.entropy() + (2 * q.scale).log() + distance / q.scale


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Any, q: Any) -> Any:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


for _type_p, _type_q in [
    *((Beta, t) for t in (Pareto,)),
    *((ContinuousBernoulli, t) for t in (Pareto,)),
    *((t, u) for t in (Exponential, Gamma, Pareto) for u in (Beta, ContinuousBernoulli, Uniform)),
    *((t, Pareto) for t in (Exponential, Gamma)),
    *(
        (t, u)
        for t in (Gumbel, Laplace, Normal)
        for u in (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)
    ),
    (Poisson, Bernoulli),
    (Poisson, Binomial),
]:
    register_kl(_type_p, _type_q)(_infinite)
