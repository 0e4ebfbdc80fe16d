"""Random bits as a function of a seed and of where an element stands: what is dropped need not be stored.

A mask follows from 64 bits of seed and the number of an element in its array (as in C order, whatever the order in
memory), so backward computes it anew, any number of threads gives the same one, and so do NumPy, CuPy and compiled
kernels (compiled/mathematics.py has the same formula).

Source of the multipliers and shifts: C. Wellons, "Prospecting for hash functions", 2018 (its `lowbias32`), into the
midst of which the second half of the seed goes.
"""

from __future__ import annotations

from typing import Any

__all__ = ["GOLDEN", "MULTIPLIERS", "hashed", "limit", "words"]

#: 2^32 divided by the golden ratio, odd: neighbours go far from one another
GOLDEN = 0x9E3779B1
MULTIPLIERS = (0x7FEB352D, 0x846CA68B)


def words(seed: int) -> tuple[int, int]:
    """The two halves of a seed of 64 bits."""
    return seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF


def hashed(index: Any, seed: int) -> Any:
    """32 random bits for each element of `index` (uint32, no scalar), which is overwritten."""
    low, high = words(seed)
    index *= GOLDEN
    index ^= low
    index ^= index >> 16
    index *= MULTIPLIERS[0]
    index ^= high
    index ^= index >> 15
    index *= MULTIPLIERS[1]
    index ^= index >> 16
    return index


def limit(p: float) -> int:
    """Hashes from this number on are kept, where elements are dropped with probability p < 1."""
    return min(round(p * 2**32), 2**32 - 1)
