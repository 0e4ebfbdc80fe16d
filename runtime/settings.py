"""PyTorch's global settings that are functions of the package: what they say is kept, and what can obey, does.

The CPU's results do not depend on chance or on the number of threads beyond the BLAS's, and its float32 products are
exact to rounding whatever precision is allowed.
"""

from __future__ import annotations

from typing import Any

from ..autograd.errors import warn
from ..backends import cuda, determinism

__all__ = [
    "are_deterministic_algorithms_enabled",
    "compiled_with_cxx11_abi",
    "get_deterministic_debug_mode",
    "get_float32_matmul_precision",
    "get_num_interop_threads",
    "is_deterministic_algorithms_warn_only_enabled",
    "is_warn_always_enabled",
    "set_deterministic_debug_mode",
    "set_float32_matmul_precision",
    "set_flush_denormal",
    "set_num_interop_threads",
    "set_warn_always",
    "use_deterministic_algorithms",
]

_kept: dict[str, Any] = {
    "deterministic": False,
    "warn_only": False,
    "interop": 1,
    "warn_always": False,
}


def set_float32_matmul_precision(precision: str) -> None:
    """'highest', 'high' or 'medium': the least precision of float32 products. On a GPU the latter two mean TF32.

    The CPU computes all of them with the highest. As `chainrule.backends.cuda.matmul.allow_tf32` has it.
    """
    if precision not in ("highest", "high", "medium"):
        warn(f"{precision} is not one of 'highest', 'high', or 'medium'; the current setting was not changed")
        return
    cuda.matmul.allow_tf32 = precision != "highest"
    cuda.matmul._precision = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was given; 'highest' at first."""
    return cuda.matmul._precision


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for the same results from run to run. The CPU gives them always, and no op refuses; on a GPU, sums at indices
    (gradients of embeddings and of indexing, scatter_add) are then made in the order of the indices, which is slower.

    warn_only: kept, and told by `is_deterministic_algorithms_warn_only_enabled`.
    """
    _kept["deterministic"], _kept["warn_only"] = bool(mode), bool(warn_only)
    determinism.want(mode)


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was given."""
    return _kept["deterministic"]


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """The `warn_only` that `use_deterministic_algorithms` was given."""
    return _kept["warn_only"]


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """`use_deterministic_algorithms` by a number or name: 0 'default', 1 'warn', 2 'error'."""
    names = ("default", "warn", "error")
    if isinstance(debug_mode, str):
        if debug_mode not in names:
            raise RuntimeError(f"invalid value of debug_mode, expected one of {', '.join(names)}, got {debug_mode}")
        debug_mode = names.index(debug_mode)
    if debug_mode not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, or 2, but got {debug_mode}")
    use_deterministic_algorithms(debug_mode > 0, warn_only=debug_mode == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2; see `set_deterministic_debug_mode`."""
    return (1 if _kept["warn_only"] else 2) if _kept["deterministic"] else 0


def set_flush_denormal(mode: bool) -> bool:
    """False: how the processor treats denormal numbers is not changed."""
    return False


def get_num_interop_threads() -> int:
    """The number that was set; ops run one after another."""
    return _kept["interop"]


def set_num_interop_threads(n: int) -> None:
    """Keep the number; ops run one after another. RuntimeError for less than one."""
    if n < 1:
        raise RuntimeError(f"set_num_interop_threads expects a positive integer, got {n}")
    _kept["interop"] = n


def set_warn_always(b: bool) -> None:
    """Keep the wish; warnings are repeated as Python's filters say."""
    _kept["warn_always"] = bool(b)


def is_warn_always_enabled() -> bool:
    """What `set_warn_always` was given."""
    return _kept["warn_always"]


def compiled_with_cxx11_abi() -> bool:
    """True, PyTorch's answer today; nothing here is compiled by a C++ compiler."""
    return True
