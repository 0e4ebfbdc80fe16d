"""Sizes per dimension, and how a layer shows its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["consume_prefix_in_state_dict_if_present", "ntuple", "pair", "shown", "single", "triple"]


def ntuple(value: Any, n: int) -> tuple[Any, ...]:
    """`value` for each of `n` dimensions: a number stands for all of them, a sequence is taken as it is."""
    return tuple(value) if hasattr(value, "__iter__") else (value,) * n


def single(value: Any) -> tuple[Any, ...]:
    """A number as a 1-tuple."""
    return ntuple(value, 1)


def pair(value: Any) -> tuple[Any, ...]:
    """A number as a pair."""
    return ntuple(value, 2)


def triple(value: Any) -> tuple[Any, ...]:
    """A number as a triple."""
    return ntuple(value, 3)


def _reverse_repeat_tuple(t: Any, n: int) -> tuple[Any, ...]:
    """The elements of `t` from the last to the first, each `n` times: paddings in the order of `F.pad`."""
    return tuple([x for x in reversed(t) for _ in range(n)])


def _list_with_default(out_size: Any, defaults: list[int]) -> Any:
    """`out_size`, with the last of `defaults` where it says None."""
    if isinstance(out_size, int):
        return out_size
    if len(defaults) <= len(out_size):
        raise ValueError(f"Input dimension should be at least {len(out_size) + 1}")
    return [d if v is None else v for v, d in zip(out_size, defaults[-len(out_size) :], strict=True)]


def consume_prefix_in_state_dict_if_present(state_dict: Any, prefix: str) -> None:
    """Take `prefix` off the keys of a state dict, in place: "module.", say, of one that DataParallel saved."""
    for key in [key for key in state_dict if key.startswith(prefix)]:
        state_dict[key[len(prefix) :]] = state_dict.pop(key)
    metadata: Any = getattr(state_dict, "_metadata", {})
    for key in list(metadata):
        if key and (key == prefix.rstrip(".") or key.startswith(prefix)):
            metadata[key[len(prefix) :]] = metadata.pop(key)


def shown(module: Any, *names: str) -> str:
    """The named attributes as `a=1, b=2`, for `extra_repr`."""
    return ", ".join([f"{name}={getattr(module, name)}" for name in names])


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple[Any, ...]]:
    """The function that makes an n-tuple: PyTorch's form, which layers written for it import."""

    def parse(value: Any) -> tuple[Any, ...]:
        return ntuple(value, n)

    parse.__name__ = name
    return parse


_single, _pair, _triple, _quadruple = single, pair, triple, _ntuple(4, "_quadruple")
