"""PyTorch's functions beneath the gamma and Dirichlet distributions, as libraries call them."""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor, finfo
from ..autograd.random import get_rng_state, set_rng_state
from ._functions import F
from ._gamma import log_gamma_sample

__all__ = ["_sample_dirichlet", "_standard_gamma"]


def _logarithms(concentration: Tensor, generator: Any) -> Tensor:
    if generator is None:
        return log_gamma_sample(concentration, concentration.shape)
    state = get_rng_state()
    set_rng_state(generator.get_state())
    try:
        return log_gamma_sample(concentration, concentration.shape)
    finally:
        generator.set_state(get_rng_state())
        set_rng_state(state)


def _standard_gamma(input: Tensor, generator: Any = None) -> Tensor:
    """Samples of the gamma distribution of rate 1 with concentrations `input`, differentiable in them."""
    drawn = _logarithms(input, generator).exp().to(input.dtype)
    return drawn.clamp(min=finfo(drawn.dtype).tiny)


def _sample_dirichlet(input: Tensor, generator: Any = None) -> Tensor:
    """Samples of the Dirichlet distribution: input (..., K) holds concentrations, and each row comes to a sum of 1."""
    return F.softmax(_logarithms(input, generator), -1).to(input.dtype)
