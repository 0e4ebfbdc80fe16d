"""Muon: momentum whose matrices are made orthogonal."""

from __future__ import annotations

import math
from typing import Any

from .optimizer import Optimizer, number

__all__ = ["Muon"]


class Muon(Optimizer):
    """p ← (1 - lr · weight_decay) p - lr' O for matrices p, with O near the orthogonal factor of the momentum.

    b ← μ b + (1 - μ) g, or with nesterov (1 - μ) g + μ b of that in its place, is divided by its norm (at least eps)
    and goes through `ns_steps` Newton-Schulz iterations X ← a X + (b A + c A²) X with A = X Xᵀ and ns_coefficients
    (a, b, c), in the parameter's precision (PyTorch: bfloat16). For a matrix of shape (m, n) lr' is lr √max(1, m / n)
    ("original", None), or 0.2 lr √max(m, n) ("match_rms_adamw"), by adjust_lr_fn. Other parameters than matrices,
    embeddings and the last layer go to AdamW.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; J. Liu et al., "Muon is
    scalable for LLM training", 2025.
    """

    elementwise = False
    counts = False

    def __init__(
        self,
        params: Any,
        lr: Any = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        if getattr(lr, "ndim", 0) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        for name, value in (("Learning rate", lr), ("momentum", momentum), ("weight decay", weight_decay)):
            if not number(value) >= 0.0:
                raise ValueError(f"{name} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {p.shape}"
                    )

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",)

    def numbers(self, group: dict[str, Any], step: int, *rows: Any) -> dict[str, Any]:
        if group["ns_steps"] >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        names = ("weight_decay", "momentum", "nesterov", "eps", "ns_steps")
        return {
            "lr": number(group["lr"]),
            "coefficients": group["ns_coefficients"],
            "match_adamw": group["adjust_lr_fn"] == "match_rms_adamw",
            **{name: group[name] for name in names},
        }

    @staticmethod
    def update(
        F: Any,
        p: Any,
        g: Any,
        buffer: Any,
        *,
        lr: float,
        coefficients: tuple[float, float, float],
        match_adamw: bool,
        weight_decay: float,
        momentum: float,
        nesterov: bool,
        eps: float,
        ns_steps: int,
    ) -> Any:
        buffer = momentum * buffer + (1 - momentum) * g
        x = (1 - momentum) * g + momentum * buffer if nesterov else buffer
        rows, columns = p.shape
        if rows > columns:  # the smaller of the two Gram matrices
            x = x.T
        x = x / F.clamp(F.sqrt(F.sum(x * x)), eps, None)
        a, b, c = coefficients
        for _ in range(ns_steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * (gram @ gram)) @ x
        if rows > columns:
            x = x.T
        ratio = 0.2 * math.sqrt(max(rows, columns)) if match_adamw else math.sqrt(max(1, rows / columns))
        return (1 - lr * weight_decay) * p - lr * ratio * x, buffer
