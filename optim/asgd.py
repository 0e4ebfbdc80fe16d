"""ASGD: stochastic gradient descent with an average of the iterates."""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, check, descent, number

__all__ = ["ASGD"]


class ASGD(Optimizer):
    """p ← (1 - lambd η) p - η g, with η = lr / (1 + lambd lr t)^alpha of the step before; state "ax" averages p.

    The first η is lr. ax ← ax + μ (p - ax), μ = 1 / max(1, t - t0) of the step before: ax follows p until step t0,
    and is the mean of p from there on. weight_decay adds weight_decay · p to g; maximize climbs. foreach and
    capturable are PyTorch's choices of an implementation: here there is one. differentiable: the step is recorded.
    `swa_utils.AveragedModel` averages any optimizer's iterates.

    Source: B. Polyak, A. Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check({"learning rate": lr, "weight_decay value": weight_decay})
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("ax",)

    def counters(self, group: dict[str, Any]) -> dict[str, float]:
        return {"step": 0.0, "eta": number(group["lr"]), "mu": 1.0}

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        (etas, mus), lr, lambd = rows, number(group["lr"]), group["lambd"]
        eta, mu = etas[0].item(), mus[0].item()
        etas[...] = lr / (1 + lambd * lr * step) ** group["alpha"]
        mus[...] = 1 / max(1, step - group["t0"])
        return {
            "eta": eta,
            "mu": mu,
            "lambd": lambd,
            "weight_decay": group["weight_decay"],
            "maximize": group["maximize"],
        }

    @staticmethod
    def update(
        F: Any,
        p: Any,
        g: Any,
        mean: Any,
        *,
        eta: float,
        mu: float,
        lambd: float,
        weight_decay: float,
        maximize: bool,
    ) -> Any:
        g = descent(p, g, weight_decay, maximize)
        p = (1 - lambd * eta) * p - eta * g
        return p, p if mu == 1 else mean + mu * (p - mean)
