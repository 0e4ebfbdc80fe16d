"""The NumPy backend's random generator: NumPy's own, with its state as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["HostGenerator"]


class HostGenerator(np.random.Generator):
    """PCG64 with the state as 37 bytes: state and increment (128 bits each), and the half word that waits."""

    def __init__(self, seed: int | None) -> None:
        super().__init__(np.random.PCG64(seed))

    def seed_of_hash(self) -> int:
        """64 random bits, as an int."""
        return self.bit_generator.random_raw()  # type: ignore[return-value]

    def get_state(self) -> bytes:
        """What the next numbers follow from."""
        full: Any = self.bit_generator.state
        words = full["state"]["state"].to_bytes(16, "little") + full["state"]["inc"].to_bytes(16, "little")
        return words + bytes([full["has_uint32"]]) + full["uinteger"].to_bytes(4, "little")

    def set_state(self, state: bytes) -> None:
        """Go on from where `get_state` was called. ValueError for bytes of another length."""
        if len(state) != 37:
            raise ValueError(f"a state of this generator has 37 bytes, not {len(state)}")
        numbers = {"state": int.from_bytes(state[:16], "little"), "inc": int.from_bytes(state[16:32], "little")}
        self.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": numbers,
            "has_uint32": state[32],
            "uinteger": int.from_bytes(state[33:], "little"),
        }
