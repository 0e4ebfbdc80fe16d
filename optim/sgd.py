"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, check, check_fused, number, rate

__all__ = ["SGD"]


class SGD(Optimizer):
    """p ← p - lr d, where d is the gradient, or with momentum μ the velocity b ← μ b + (1 - dampening) g (first b = g).

    nesterov: d = g + μ b. weight_decay adds weight_decay · p to the gradient; maximize climbs instead. foreach and
    fused are PyTorch's choices of an implementation: here there is one. differentiable: the step is recorded.

    The velocity holds no lr: v ← μ v - lr g, p ← p + v of some texts is the same only while lr does not change.

    master_weights: parameters in 16 bits have float32 copies (see `Optimizer`).

    Sources: B. Polyak, 1964; I. Sutskever et al., "On the importance of initialization and momentum in deep learning",
    2013.
    """

    kernel = "sgd"
    takes_sparse = True
    counts = False

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        master_weights: bool = False,
    ) -> None:
        check({"learning rate": lr, "momentum value": momentum, "weight_decay value": weight_decay})
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        check_fused(fused, foreach, differentiable)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults, master_weights)

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        return {
            "lr": rate(group),
            "momentum": group["momentum"],
            "dampening": group["dampening"],
            "weight_decay": number(group["weight_decay"]),
            "nesterov": group["nesterov"],
            "maximize": group["maximize"],
            "first": step == 1,
        }

    @staticmethod
    def update(
        F: Any,
        p: Any,
        g: Any,
        buffer: Any = None,
        *,
        lr: float,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
        maximize: bool,
        first: bool,
    ) -> Any:
        if maximize:
            g = -g
        if weight_decay:
            g = g + weight_decay * p
        if buffer is None:
            return p - lr * g
        buffer = g if first else momentum * buffer + (1 - dampening) * g
        return p - lr * (g + momentum * buffer if nesterov else buffer), buffer
