"""The CuPy backend's random generator: Philox on array operations, whose state can be saved and restored."""

from __future__ import annotations

from typing import Any

import cupy

from ..philox import CounterGenerator

__all__ = ["DeviceGenerator"]


class DeviceGenerator(CounterGenerator):
    """As `CounterGenerator`; what has no formula of fixed length comes from CuPy, seeded from the counter."""

    def poisson(self, lam: Any) -> Any:
        """Poisson numbers of the means `lam`, int64."""
        block = self.counter
        self.counter += 1
        seed = (self.key ^ (block * 0x9E3779B97F4A7C15)) % 2**64
        return cupy.random.Generator(cupy.random.XORWOW(seed)).poisson(lam).astype("int64")
