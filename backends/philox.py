"""A random generator for any array namespace: Philox4x32-10, numbers as a function of a key and a counter.

The state is two integers on the host, so it can be saved, restored and replayed where the array library's own
generators cannot (CuPy's have no way to read their state), and the same seed gives the same numbers on every device.

Source: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

__all__ = ["CounterGenerator", "philox"]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW, _WORD = 0xFFFFFFFF, 2**64


def philox(xp: Any, counter: Sequence[Any], key: Sequence[int], rounds: int = 10) -> tuple[Any, ...]:
    """Philox4x32: four uint64 arrays of 32-bit words from four such arrays (the counter) and two 32-bit key words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        p, q = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (q >> 32) ^ c1 ^ k0, q & _LOW, (p >> 32) ^ c3 ^ k1, p & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


def _count(size: Any) -> int:
    return math.prod(size) if isinstance(size, (tuple, list)) else int(size)


class CounterGenerator:
    """Random arrays of the namespace `xp`. Each call uses up the counters that it needs, four words each."""

    def __init__(self, xp: Any, seed: int | None) -> None:
        self.xp = xp
        self.key = int.from_bytes(os.urandom(8), "little") if seed is None else seed % _WORD
        self.counter = 0

    def get_state(self) -> bytes:
        """What the next numbers follow from: key and counter, 8 bytes each."""
        return self.key.to_bytes(8, "little") + self.counter.to_bytes(8, "little")

    def set_state(self, state: bytes) -> None:
        """Go on from where `get_state` was called. ValueError for bytes of another length."""
        if len(state) != 16:
            raise ValueError(f"a state of this generator has 16 bytes, not {len(state)}")
        self.key, self.counter = int.from_bytes(state[:8], "little"), int.from_bytes(state[8:], "little")

    def _words(self, count: int) -> Any:
        """`count` words of 32 random bits, as uint64."""
        xp, blocks = self.xp, -(-count // 4)
        position = xp.arange(blocks, dtype="uint64") + self.counter
        self.counter = (self.counter + blocks) % _WORD
        zero = xp.zeros(blocks, "uint64")
        words = philox(xp, (position & _LOW, position >> 32, zero, zero), (self.key & _LOW, self.key >> 32))
        return xp.stack(words, axis=1).reshape(-1)[:count]

    def seed_of_hash(self) -> int:
        """64 random bits, as an int: computed on the host, so no device is waited for."""
        position, self.counter = self.counter, (self.counter + 1) % _WORD
        low, high, _, _ = philox(None, (position & _LOW, position >> 32, 0, 0), (self.key & _LOW, self.key >> 32))
        return low | high << 32

    def _pairs(self, count: int) -> tuple[Any, Any]:
        words = self._words(2 * count).reshape(count, 2)
        return words[:, 0], words[:, 1]

    def random(self, size: Any, dtype: Any = "float64") -> Any:
        """Uniform numbers in [0, 1): multiples of 2**-24 in float32, of 2**-53 in float64."""
        count = _count(size)
        if str(dtype) == "float32":
            return ((self._words(count) >> 8).astype("float32") * 2.0**-24).reshape(size)
        high, low = self._pairs(count)
        bits = ((high >> 5) << 26) + (low >> 6)
        return (bits.astype("float64") * 2.0**-53).reshape(size).astype(dtype, copy=False)

    def standard_normal(self, size: Any, dtype: Any = "float64") -> Any:
        """Normal numbers with mean 0 and standard deviation 1, by Box and Muller's formula."""
        xp, count = self.xp, _count(size)
        half = -(-count // 2)
        uniform = self.random((2, half), dtype)
        radius = xp.sqrt(-2 * xp.log(1 - uniform[0]))
        angle = 2 * math.pi * uniform[1]
        both = xp.concatenate((radius * xp.cos(angle), radius * xp.sin(angle)))
        return both[:count].reshape(size)

    def integers(self, low: int, high: int, size: Any) -> Any:
        """Integers in [low, high), int64: 64 random bits modulo the range, uneven by less than range / 2**64."""
        if high <= low:
            raise ValueError(f"integers: high ({high}) is not above low ({low})")
        first, second = self._pairs(_count(size))
        bits = (first << 32) | second
        return ((bits % (high - low)).view("int64") + low).reshape(size)

    def permutation(self, n: int) -> Any:
        """0, ..., n - 1 in random order, int64."""
        first, second = self._pairs(n)
        return self.xp.argsort((first << 32) | second)
