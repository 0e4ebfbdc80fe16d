"""Rprop: steps by the gradient's sign."""

from __future__ import annotations

from typing import Any

from .optimizer import Optimizer, check, number

__all__ = ["Rprop"]


class Rprop(Optimizer):
    """p ← p - η sign(g), each element with a step η of its own, which starts at lr.

    η grows by the factor etas[1] where g has the sign it had before, and shrinks by etas[0] where the sign has changed,
    within step_sizes; there g counts as 0 for once. For gradients of the whole data: it does not average. maximize
    climbs. foreach and capturable are PyTorch's choices of an implementation: here there is one. differentiable: the
    step is recorded (its derivative by g is 0).

    Source: M. Riedmiller, H. Braun, "A direct adaptive method for faster backpropagation learning: the RPROP
    algorithm", 1993.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check({"learning rate": lr})
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "prev", "step_size"

    def init(self, xp: Any, p: Any, group: dict[str, Any]) -> tuple[Any, ...]:
        return xp.zeros(p.shape, p.dtype), xp.full(p.shape, number(group["lr"]), p.dtype)

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        return {"etas": group["etas"], "step_sizes": group["step_sizes"], "maximize": group["maximize"]}

    @staticmethod
    def update(
        F: Any,
        p: Any,
        g: Any,
        before: Any,
        size: Any,
        *,
        etas: tuple[float, float],
        step_sizes: tuple[float, float],
        maximize: bool,
    ) -> Any:
        if maximize:
            g = -g
        agreement = g * before
        size = F.where(agreement > 0, etas[1] * size, F.where(agreement < 0, etas[0] * size, size))
        size = F.clamp(size, step_sizes[0], step_sizes[1])
        g = F.where(agreement < 0, 0 * g, g)
        return p - size * F.sign(g), g, size
