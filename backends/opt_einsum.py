"""`chainrule.backends.opt_einsum`: whether the library of that name orders the products of `einsum`."""

from __future__ import annotations

__all__ = ["enabled", "get_opt_einsum", "is_available", "strategy"]

enabled = False
strategy: str | None = None


def is_available() -> bool:
    """False: `einsum` multiplies its operands as its own rules say."""
    return False


def get_opt_einsum() -> None:
    """None: the library is not used."""
