"""Memory in which the arrays of a recorded step take turns.

A replay makes the same calls in the same order as the recording. So what an array died before in the recording may lie
in the array's memory in every replay, and the step needs no more memory than it did without a tape to keep things.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["LEAST", "Arena"]

#: bytes from which an array's memory is used again
LEAST = 4096


class Arena:
    """Blocks of bytes, some of them free. `taken`: those that were handed out since it was last cleared."""

    def __init__(self) -> None:
        self.blocks: dict[int, Any] = {}
        self.taken: list[Any] = []
        self._free: dict[int, Any] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return sum([block.nbytes for block in self.blocks.values()])

    def empty(self, shape: Any, dtype: Any, size: int) -> Any:
        """A C-contiguous array of `size` bytes, whose base is its block: the smallest free one that will do."""
        fitting = [b for b in self._free.values() if size <= b.nbytes <= 4 * size]
        if fitting:
            block = min(fitting, key=len)
            del self._free[id(block)]
        else:
            block = np.empty(size, np.uint8)
            self.blocks[id(block)] = block
        self.taken.append(block)
        return np.ndarray(shape, dtype, block)

    def copy(self, array: Any) -> Any:
        """A copy of an array without gaps, its dimensions in the same order in memory."""
        order = sorted(range(array.ndim), key=lambda d: -array.strides[d])
        made = self.empty([array.shape[d] for d in order], array.dtype, array.nbytes)
        made = made.transpose(sorted(range(array.ndim), key=order.__getitem__))
        np.copyto(made, array)
        return made

    def give_back(self, block: Any) -> None:
        """Let a block be taken again."""
        self._free[id(block)] = block
