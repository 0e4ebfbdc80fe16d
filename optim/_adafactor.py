"""Adafactor: second moments of matrices as products of a column and a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import Tensor, enable_grad, finfo
from ..autograd.op import raw
from ..autograd.storage import as_memory, mark_all_written
from ..autograd.tensor import wrap
from ..autograd.tracking import paused, recording
from .optimizer import Optimizer, number

__all__ = ["Adafactor"]


class Adafactor(Optimizer):
    """p ← (1 - lr · weight_decay) p - α U / max(1, RMS(U) / d), U = g / √v, α = max(eps₂, RMS(p)) min(lr, 1 / √t).

    v is the average of g² with the weight t^beta2_decay of the newest. Of more dimensions than one it is an outer
    product, r cᵀ / mean(r), of the averages r and c of g² over the last dimension and over the last but one; so the
    state takes as much as one row and one column. eps = (eps₁, eps₂), eps₁ = None being the dtype's resolution: bounds
    from below. maximize climbs. foreach is PyTorch's choice of an implementation: here there is one.

    Source: N. Shazeer, M. Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018 (lr is PyTorch's
    addition).
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for name, value in (("Learning rate", number(lr)), ("epsilon1", eps[0] or 0), ("epsilon2", eps[1])):
            if not value >= 0.0:
                raise ValueError(f"{name} should be >= 0 but is: {value}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters that have a gradient, one by one: the formula looks at each as a whole."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        written = []
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._take(p, group)
                    written.append(p.array)
        if written:
            mark_all_written(written)
        return loss

    def _take(self, p: Tensor, group: dict[str, Any]) -> None:
        """The step of one parameter; part of a captured step, too."""
        if p.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        recorder, g = recording(), p.grad.array
        if recorder is None:
            self._step_one(p.array, g, self._started(p, group), group)
            return
        with paused():
            kept = self._started(p, group)
        recorder.guard(lambda: all(self.state[p].get(name) is t for name, t in kept.items()))
        writes = (p.array, *[t.array for t in kept.values()])
        recorder.update("adafactor", self._step_one, p.array, g, kept, group, writes=writes)

    def _started(self, p: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        """The count of steps and the averages of `p`, by their names."""
        as_memory(p)
        F, state = raw(p.array), self.started(p, group)
        names = ("row_var", "col_var") if p.ndim > 1 else ("variance",)
        if any(state.get(name) is None for name in names):
            xp, shape = F.backend.xp, tuple(p.shape)
            row, column = (*shape[:-1], 1), (*shape[:-2], 1, *shape[-1:])
            for name, size in zip(names, (row, column) if p.ndim > 1 else (shape,)):
                state[name] = wrap(xp.zeros(size, p.array.dtype), None)
        return {name: state[name] for name in ("step", *names)}

    def _step_one(self, p: Any, g: Any, kept: dict[str, Tensor], group: dict[str, Any]) -> None:
        count, *averages = [t.array for t in kept.values()]
        count[...] += 1
        new = self.update(
            *(raw(p), p, g, *averages),
            lr=number(group["lr"]),
            step=int(count),
            beta2_decay=group["beta2_decay"],
            eps=(finfo(p.dtype).eps if group["eps"][0] is None else group["eps"][0], group["eps"][1]),
            d=group["d"],
            weight_decay=group["weight_decay"],
            maximize=group["maximize"],
        )
        for old, value in zip((p, *averages), new):
            old[...] = value

    @staticmethod
    def update(
        F: Any,
        p: Any,
        g: Any,
        *averages: Any,
        lr: float,
        step: int,
        beta2_decay: float,
        eps: tuple[float, float],
        d: float,
        weight_decay: float,
        maximize: bool,
    ) -> Any:
        def rms(x: Any) -> Any:
            return F.sqrt(F.mean(x * x))

        newest = step**beta2_decay
        size = F.clamp(rms(p), eps[1], None) * min(lr, 1 / step**0.5)
        p = (1 - lr * weight_decay) * p
        if maximize:
            g = -g
        square = g * g
        if len(averages) == 2:
            means = (F.mean(square, dim=(-1,), keepdim=True), F.mean(square, dim=(-2,), keepdim=True))
            row, column = averages = tuple((1 - newest) * a + newest * m for a, m in zip(averages, means))
            estimate = row @ column / F.clamp(F.mean(row, dim=(-2,), keepdim=True), eps[0], None)
        else:
            estimate = (1 - newest) * averages[0] + newest * square
            averages = (estimate,)
        u = g / F.sqrt(F.clamp(estimate, eps[0] ** 2, None))
        return p - size / F.clamp(rms(u) / d, 1.0, None) * u, *averages
