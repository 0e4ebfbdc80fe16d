"""Names of PyTorch's fully sharded training, for programs that ask whether a module is one of its kind: none is.

What takes its place: `nn.parallel.DistributedDataParallel`, and `ZeroRedundancyOptimizer` for the optimizer's state.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, NoReturn

from ..nn import Module

__all__ = [
    "FSDPModule",
    "FullyShardedDataParallel",
    "MixedPrecisionPolicy",
    "ShardingStrategy",
    "StateDictType",
    "fully_shard",
]


def _refused() -> NoReturn:
    raise NotImplementedError(
        "chainrule shards no modules: take DistributedDataParallel, and ZeroRedundancyOptimizer for the state"
    )


class FullyShardedDataParallel(Module):
    """The class of no module: `isinstance(m, FullyShardedDataParallel)` is False. NotImplementedError for a new one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refused()


class FSDPModule:
    """The class of no module, as FullyShardedDataParallel."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        _refused()


def fully_shard(module: Any, **options: Any) -> Any:
    """NotImplementedError: modules are not sharded here."""
    _refused()


@dataclass(frozen=True)
class MixedPrecisionPolicy:
    """PyTorch's settings for `fully_shard`.

    param_dtype, reduce_dtype, output_dtype: of parameters, sums of gradients, results. cast_forward_inputs: whether
    inputs are cast.
    """

    param_dtype: Any = None
    reduce_dtype: Any = None
    output_dtype: Any = None
    cast_forward_inputs: bool = True


class ShardingStrategy(enum.Enum):
    """PyTorch's ways to shard."""

    FULL_SHARD = enum.auto()
    SHARD_GRAD_OP = enum.auto()
    NO_SHARD = enum.auto()
    HYBRID_SHARD = enum.auto()
    _HYBRID_SHARD_ZERO2 = enum.auto()


class StateDictType(enum.Enum):
    """PyTorch's forms of a sharded module's state."""

    FULL_STATE_DICT = enum.auto()
    LOCAL_STATE_DICT = enum.auto()
    SHARDED_STATE_DICT = enum.auto()
