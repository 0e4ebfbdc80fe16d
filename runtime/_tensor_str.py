"""`chainrule._tensor_str`: the options of printing, and a tensor's numbers as text, for libraries that write files."""

from __future__ import annotations

from typing import Any

from .. import backends
from ..autograd import FUNCTIONS, Tensor
from ..autograd.printing import numbers_of

__all__ = ["PRINT_OPTS"]


class _Options:
    """What holds now of the options that `set_printoptions` sets: precision, threshold, edgeitems, linewidth, sci_mode.

    An assignment sets one.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return FUNCTIONS["get_printoptions"]()[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        FUNCTIONS["set_printoptions"](**{name: value})


PRINT_OPTS = _Options()


def _tensor_str(self: Tensor, indent: int) -> str:
    """The numbers of a tensor in nested brackets; lines begin after `indent` places."""
    return numbers_of(backends.of(self.array).to_host(self.array), indent) if self.numel() else "[]"
