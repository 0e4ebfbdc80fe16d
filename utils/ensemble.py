"""Ensembles: votes, mean probabilities, averaged checkpoints."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..autograd import FUNCTIONS, Tensor, no_grad
from ..nn import Module, ModuleList

__all__ = ["Ensemble", "average_checkpoints", "average_probabilities", "ensemble_error", "majority_vote"]


def majority_vote(predictions: Sequence[Tensor]) -> Tensor:
    """The label that most members chose, of labels (n) per member, or scores (n, K); the least label of a tie.

    ValueError without a member. int64 (n). Source: L. Hansen, P. Salamon, "Neural network ensembles", 1990.
    """
    labels = [p.argmax(1) if p.ndim == 2 and p.is_floating_point() else p for p in predictions]
    if not labels:
        raise ValueError("a vote needs one member or more")
    votes = FUNCTIONS["stack"]([FUNCTIONS["one_hot"](v, int(max(u.max().item() for u in labels)) + 1) for v in labels])
    return votes.sum(0).argmax(-1)


def average_probabilities(logits: Sequence[Tensor]) -> Tensor:
    """(1/M) Σ softmax(logits), (n, K), over M members' logits (n, K)."""
    return FUNCTIONS["stack"]([FUNCTIONS["softmax"](v, 1) for v in logits]).mean(0)


class Ensemble(Module):
    """Several models as one: the mean of their probabilities (n, K), or with `vote` the label of the majority.

    Each model gets the same arguments and gives logits (n, K). Source: L. Hansen, P. Salamon, "Neural network
    ensembles", 1990.
    """

    def __init__(self, models: Iterable[Module], vote: bool = False) -> None:
        super().__init__()
        self.models, self.vote = ModuleList(models), vote

    def forward(self, *args: Any) -> Tensor:
        found = [model(*args) for model in self.models]
        return majority_vote(found) if self.vote else average_probabilities(found)


def average_checkpoints(states: Sequence[Any]) -> dict[str, Any]:
    """The mean of several state dicts (or of files that hold them), floats averaged, counters as in the last one.

    Of one run's snapshots this is Polyak's averaging; the running statistics of batch normalisation are averaged too,
    and better recomputed. ValueError where names or shapes differ.
    """
    loaded: list[Mapping[str, Any]] = [FUNCTIONS["load"](s) if isinstance(s, (str, os.PathLike)) else s for s in states]
    if not loaded:
        raise ValueError("there are no checkpoints to average")
    first = loaded[0]
    made: dict[str, Any] = {}
    for state in loaded[1:]:
        if state.keys() != first.keys():
            odd = sorted(map(str, state.keys() ^ first.keys()))
            raise ValueError(f"checkpoints differ in their entries: {', '.join(odd)}")
    with no_grad():
        for name in first:
            values = [state[name] for state in loaded]
            if len({tuple(v.shape) for v in values}) > 1:
                raise ValueError(f"{name} has different shapes: {[tuple(v.shape) for v in values]}")
            made[name] = FUNCTIONS["stack"](values).mean(0) if values[0].is_floating_point() else values[-1].clone()
    return made


def ensemble_error(members: int, p: float) -> float:
    """The error of a majority of N independent members that each err with probability p.

    Σ_{k > N/2} C(N, k) pᵏ (1-p)ᴺ⁻ᵏ, which falls with odd N where p < 1/2.

    Source: L. Hansen, P. Salamon, "Neural network ensembles", 1990, equation 1.
    """
    if members < 1 or not 0 <= p <= 1:
        raise ValueError("an ensemble needs one member or more, and p between 0 and 1")
    terms = range(members // 2 + 1, members + 1)
    return math.fsum(math.comb(members, k) * p**k * (1 - p) ** (members - k) for k in terms)
