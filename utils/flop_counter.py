"""Counting multiplications and additions, with PyTorch's conventions: two FLOPs to a multiply-add, products alone.

Source: the operation counts of the matrix product, 2mnk, and of a convolution, 2 × outputs × inputs per output; in the
backward pass the gradient of each operand costs as much as the product itself.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import defaultdict
from collections.abc import Callable
from math import prod
from typing import Any

from ..autograd import Tensor
from ..autograd.watch import watched
from ..nn import Module
from ..nn.registration import register_module_forward_hook, register_module_forward_pre_hook
from .reports import table

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

    Backward passes inside count too: once more per operand that wants a gradient. Elementwise work is not counted.
    Every count stands under "Global" and under each module that the op runs in: "ResNet", "ResNet.layer1.0", ...

    depth: of the modules that the table names, 1 for the outermost alone; None for all. display: the table is shown
    through `print_function` at the end (PyTorch prints it; here None shows nothing). custom_mapping: for more ops, by
    name, a function(shapes of the inputs, shape of the output, **params) that gives their FLOPs. mods is not needed,
    as in PyTorch.
    """

    def __init__(
        self,
        mods: Any = None,
        depth: int | None = 2,
        display: bool = True,
        custom_mapping: dict[str, Callable[..., int]] | None = None,
        print_function: Callable[[str], Any] | None = None,
    ) -> None:
        if mods is not None:
            warnings.warn("mods argument is not needed anymore, you can stop passing it", stacklevel=2)
        self.depth, self._show = depth, print_function if display else None
        self._formulas = {**_FORMULAS, **(custom_mapping or {})}
        self.flop_counts: dict[str, dict[str, int]] = {}
        self._stack = contextlib.ExitStack()
        self._reset()

    def _reset(self) -> None:
        self.flop_counts = {"Global": defaultdict(int)}
        self._names: dict[Module, str] = {}
        self._inside: list[str] = []  # the modules whose forward is under way

    def __enter__(self) -> FlopCounterMode:
        self._reset()
        self._stack.callback(register_module_forward_pre_hook(self._enter).remove)
        self._stack.callback(register_module_forward_hook(self._leave, always_call=True).remove)
        self._stack.enter_context(watched(self._count))
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stack.close()
        self._names.clear()
        if self._show is not None:
            self._show(self.get_table())

    def _enter(self, module: Module, args: Any) -> None:
        if module not in self._names:
            outer = type(module).__name__
            for name, inner in module.named_modules():
                self._names.setdefault(inner, f"{outer}.{name}" if name else outer)
        self._inside.append(self._names[module])

    def _leave(self, module: Module, args: Any, output: Any) -> None:
        self._inside.pop()

    def _count(self, op: Any, inputs: list[Any], params: dict[str, Any], call: Callable[[], Any]) -> Any:
        out = call()
        formula = self._formulas.get(op.name)
        if formula is None:
            return out
        shapes = [tuple(x.shape) for x in inputs if hasattr(x, "shape")]
        flops = formula(shapes, tuple(out.shape), **params)
        places = {"Global", *self._inside}
        self._add(places, op.name, flops)
        operands = sum(isinstance(x, Tensor) and x.requires_grad for x in inputs[:2])
        if operands and out.requires_grad:
            out.register_hook(lambda g: self._add(places, f"{op.name}.grad", operands * flops))
        return out

    def _add(self, places: set[str], name: str, flops: int) -> None:
        for place in places:
            self.flop_counts.setdefault(place, defaultdict(int))[name] += flops

    def get_total_flops(self) -> int:
        """FLOPs of all ops: twice the number of multiply-adds."""
        return sum(self.flop_counts["Global"].values())

    def get_flop_counts(self) -> dict[str, dict[str, int]]:
        """{module, or "Global": {name of an op: FLOPs}}; the backward pass of an op has `.grad` after its name."""
        return {place: dict(counts) for place, counts in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """FLOPs by module and op, down to `depth` (by default the counter's)."""
        depth = self.depth if depth is None else depth
        total = self.get_total_flops()
        names = [n for n in sorted(self.flop_counts) if n != "Global" and (depth is None or n.count(".") < depth)]
        rows: list[tuple[str, int]] = []
        for name in ["Global", *names]:
            counts, indent = self.flop_counts[name], "  " * (0 if name == "Global" else name.count("."))
            rows.append((indent + name, sum(counts.values())))
            rows += [(f"{indent}  - {op}", flops) for op, flops in sorted(counts.items(), key=lambda item: -item[1])]
        return table(
            ("module", "FLOP", "% total"),
            [(name, f"{flops:,}", f"{100 * flops / max(total, 1):.2f}%") for name, flops in rows],
        )
