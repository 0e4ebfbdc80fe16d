"""`chainrule.__future__`: two switches of PyTorch's on how a module's parameters are converted.

Here a conversion always keeps the Parameter objects, with their gradients and whoever holds them, whichever way the
switches stand: `load_state_dict`, `to`, `half` and their kin write into the objects that are there.
"""

from __future__ import annotations

__all__ = [
    "get_overwrite_module_params_on_conversion",
    "get_swap_module_params_on_conversion",
    "set_overwrite_module_params_on_conversion",
    "set_swap_module_params_on_conversion",
]

_overwrite = _swap = False


def set_overwrite_module_params_on_conversion(value: bool) -> None:
    """Remember `value` for `get_overwrite_module_params_on_conversion`; parameters stay the same objects."""
    global _overwrite
    _overwrite = value


def get_overwrite_module_params_on_conversion() -> bool:
    """What was set last; False at first."""
    return _overwrite


def set_swap_module_params_on_conversion(value: bool) -> None:
    """Remember `value` for `get_swap_module_params_on_conversion`; parameters stay the same objects."""
    global _swap
    _swap = value


def get_swap_module_params_on_conversion() -> bool:
    """What was set last; False at first."""
    return _swap
