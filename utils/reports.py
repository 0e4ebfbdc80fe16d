"""What the reports of `utils` share: data as host arrays, seeded randomness, and tables of plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .. import backends
from ..autograd import FUNCTIONS, Tensor
from ..backends import np

__all__ = ["generator", "host", "table"]


def host(x: Any) -> Any:
    """A tensor, an array of any backend, or nested lists, as a NumPy array."""
    if isinstance(x, Tensor):
        x = x.array
        return np.asarray(backends.of(x).to_host(x))
    return np.asarray(x)


def generator(seed: int | None) -> Any:
    """NumPy's generator for `seed`; without one it follows `chainrule.manual_seed`."""
    return np.random.default_rng(int(FUNCTIONS["randint"](0, 2**62, ()).item()) if seed is None else seed)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> str:
    """Rows under a head, in columns; floats to four digits."""
    cells = [[f"{c:.4g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in ([*head], *cells)]
    return "\n".join([title, *lines] if title else lines)
