"""The CuPy backend's random generator: Philox, a kernel for each draw, the state two integers on the host.

The numbers are those of `philox.CounterGenerator`, bit for bit where no logarithm or cosine is taken. A captured step
draws from a `LiveSource`: its kernels read key and counter in the device's memory, where each replay finds what the
host's generator has counted on to. So a replay draws what an eager step would have drawn, and the state can be saved
and restored between replays. It has not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy

from ..philox import CounterGenerator
from . import launch
from .launch import Source, blocks, new, signed

__all__ = ["DeviceGenerator", "LiveSource"]

_SOURCE = Source("random.cu")
_INTEGERS = _SOURCE.kernel("random_integers")
#: (uniform, normal) by dtype
_KERNELS = {kind: [_SOURCE.kernel(f"{what}_{kind}") for what in ("uniform", "normal")] for kind in ("float", "double")}
_BLOCKS = 4096


class _Draws:
    """Arrays of random numbers, from key and counter that `_take` gives as numbers or as arrays of one int64."""

    def _take(self, count: int) -> tuple[Any, Any]:
        """The key, and the counter of the next `count` blocks of four words, which are used up."""
        raise NotImplementedError

    def _launch(self, kernel: Any, out: Any, words: int, threads: int, *args: Any) -> Any:
        key, counter = self._take(-(-words // 4))
        given = (key, counter, None, None) if isinstance(key, int) else (0, 0, key, counter)
        kernel[()](blocks(threads, 256, _BLOCKS), 256, out, out.size, *args, *given)
        return out

    def random(self, size: Any, dtype: Any = "float64") -> Any:
        """Uniform numbers in [0, 1): multiples of 2**-24 in float32, of 2**-53 in float64."""
        return self._floats(0, size, dtype)

    def standard_normal(self, size: Any, dtype: Any = "float64") -> Any:
        """Normal numbers with mean 0 and standard deviation 1, by Box and Muller's formula."""
        return self._floats(1, size, dtype)

    def _floats(self, normal: int, size: Any, dtype: Any) -> Any:
        single = str(dtype) == "float32"
        out = new(size, "float32" if single else "float64")
        numbers = out.size + out.size % 2 if normal else out.size
        kernel = _KERNELS["float" if single else "double"][normal]
        self._launch(kernel, out, numbers if single else 2 * numbers, numbers // 2 or 1)
        return out.astype(dtype, copy=False)

    def integers(self, low: int, high: int, size: Any) -> Any:
        """Integers in [low, high), int64: 64 random bits modulo the range, uneven by less than range / 2**64."""
        if high <= low:
            raise ValueError(f"integers: high ({high}) is not above low ({low})")
        out = new(size, "int64")
        return self._launch(_INTEGERS, out, 2 * out.size, out.size, low, signed(high - low))

    def permutation(self, n: int) -> Any:
        """0, ..., n - 1 in random order, int64."""
        out = new((n,), "int64")
        return launch.machine.xp.argsort(self._launch(_INTEGERS, out, 2 * n, n, 0, 0).view("uint64"))


class DeviceGenerator(_Draws, CounterGenerator):
    """As `CounterGenerator`; what has no formula of fixed length comes from CuPy, seeded from the counter."""

    def _take(self, count: int) -> tuple[int, int]:
        taken = signed(self.key), signed(self.counter)
        self.counter = (self.counter + count) % 2**64
        return taken

    def poisson(self, lam: Any) -> Any:
        """Poisson numbers of the means `lam`, int64."""
        block = self.counter
        self.counter += 1
        seed = (self.key ^ (block * 0x9E3779B97F4A7C15)) % 2**64
        return cupy.random.Generator(cupy.random.XORWOW(seed)).poisson(lam).astype("int64")


class LiveSource(_Draws):
    """The generator that `find()` gives, as a captured step draws from it.

    `live` is a recorder's: it turns the int64 that a function gives into arrays on the device, which hold at each
    replay what the function gives then. There is no `poisson`: CuPy's cannot be captured.
    """

    def __init__(self, find: Callable[[], DeviceGenerator], live: Callable[..., Any]) -> None:
        self._find, self._live = find, live

    def _take(self, count: int) -> tuple[Any, Any]:
        return self._live(lambda: self._find()._take(count))

    def seed_of_hash(self) -> Any:
        """64 random bits, as an array of one int64."""
        return self._live(lambda: signed(self._find().seed_of_hash()))
