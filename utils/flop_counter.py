"""Counting multiplications and additions, with PyTorch's conventions: two FLOPs to a multiply-add, products alone.

Source: the operation counts of the matrix product, 2mnk, and of a convolution, 2 × outputs × inputs per output; in the
backward pass the gradient of each operand costs as much as the product itself.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable
from math import prod
from typing import Any

from ..autograd import Tensor
from ..autograd.watch import watched

__all__ = ["FlopCounterMode"]


def _matmul(shapes: list[Any], out: Any, **params: Any) -> int:
    return 2 * prod(out) * shapes[0][-1]


def _conv(shapes: list[Any], out: Any, **params: Any) -> int:
    return 2 * prod(out) * prod(shapes[1][1:])  # weight (out, in / groups, *kernel)


def _conv_input(shapes: list[Any], out: Any, **params: Any) -> int:
    return 2 * prod(shapes[0]) * prod(shapes[1][1:])  # each element of the smaller image meets a kernel


def _contract(shapes: list[Any], out: Any, subscripts: Any = (), **params: Any) -> int:
    sizes = {label: n for labels, shape in zip(subscripts, shapes) for label, n in zip(labels, shape)}
    return 2 * prod(sizes.values()) * (len(shapes) - 1)  # in one loop; pairwise it can be less


_FORMULAS: dict[str, Callable[..., int]] = {
    "matmul": _matmul,
    "linear": _matmul,
    "conv": _conv,
    "conv_input": _conv_input,
    "contract": _contract,
}


class FlopCounterMode:
    """`with FlopCounterMode() as counter: model(x)`, then `counter.get_total_flops()`: products and convolutions.

    Backward passes inside count too: once more per operand that wants a gradient. With `display` the table is shown
    through `print_function` at the end (PyTorch prints it; here None shows nothing). Elementwise work is not counted.
    """

    def __init__(
        self,
        mods: Any = None,
        depth: int = 2,
        display: bool = True,
        custom_mapping: dict[str, Callable[..., int]] | None = None,
        print_function: Callable[[str], Any] | None = None,
    ) -> None:
        self.depth, self._show = depth, print_function if display else None
        self._formulas = {**_FORMULAS, **(custom_mapping or {})}
        self.flop_counts: dict[str, dict[str, int]] = {}
        self._stack = contextlib.ExitStack()
        self._reset()

    def _reset(self) -> None:
        self.flop_counts = {"Global": defaultdict(int)}

    def __enter__(self) -> FlopCounterMode:
        self._reset()
        self._stack.enter_context(watched(self._count))
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stack.close()
        if self._show is not None:
            self._show(self.get_table())

    def _count(self, op: Any, inputs: list[Any], params: dict[str, Any], call: Callable[[], Any]) -> Any:
        out = call()
        formula = self._formulas.get(op.name)
        if formula is None:
            return out
        shapes = [tuple(x.shape) for x in inputs if hasattr(x, "shape")]
        flops = formula(shapes, tuple(out.shape), **params)
        self.flop_counts["Global"][op.name] += flops
        operands = sum(isinstance(x, Tensor) and x.requires_grad for x in inputs[:2])
        if operands and out.requires_grad:
            counts = self.flop_counts["Global"]

            def backward(g: Any) -> None:
                counts[f"{op.name}.grad"] += operands * flops

            out.register_hook(backward)
        return out

    def get_total_flops(self) -> int:
        """FLOPs of all ops: twice the number of multiply-adds."""
        return sum(self.flop_counts["Global"].values())

    def get_flop_counts(self) -> dict[str, dict[str, int]]:
        """{"Global": {name of an op: FLOPs}}; the backward pass of an op has `.grad` after its name."""
        return {name: dict(counts) for name, counts in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """FLOPs by op, the most first."""
        total = self.get_total_flops()
        rows = sorted(self.flop_counts["Global"].items(), key=lambda item: -item[1])
        lines = [f"{'op':24} {'FLOP':>16} {'% total':>8}"]
        lines += [f"{name:24} {flops:>16,} {100 * flops / max(total, 1):>7.2f}%" for name, flops in rows]
        return "\n".join([*lines, f"{'total':24} {total:>16,}"])
