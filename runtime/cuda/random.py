"""The GPUs' random numbers: each has a default generator."""

from __future__ import annotations

from typing import Any

from ...autograd.random import current_generator
from .devices import device_count, is_available, need

__all__ = [
    "get_rng_state",
    "get_rng_state_all",
    "initial_seed",
    "manual_seed",
    "manual_seed_all",
    "seed",
    "seed_all",
    "set_rng_state",
    "set_rng_state_all",
]


def manual_seed(seed: int) -> None:
    """Seed the current GPU's default generator."""
    if is_available():
        current_generator("cuda").manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the default generators of all GPUs."""
    for i in range(device_count()):
        current_generator(f"cuda:{i}").manual_seed(seed)


def seed() -> None:
    """Seed the current GPU's default generator by chance."""
    if is_available():
        current_generator("cuda").seed()


def seed_all() -> None:
    """Seed the default generators of all GPUs by chance, alike."""
    if is_available():
        manual_seed_all(current_generator("cuda").seed())


def initial_seed() -> int:
    """The seed of the current GPU's default generator."""
    need()
    return current_generator("cuda").initial_seed()


def get_rng_state(device: Any = "cuda") -> Any:
    """The state of a GPU's default generator."""
    return current_generator(f"cuda:{need(device)}").get_state()


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Set the state of a GPU's default generator."""
    current_generator(f"cuda:{need(device)}").set_state(new_state)


def get_rng_state_all() -> list[Any]:
    """A state per GPU; [] without one."""
    return [get_rng_state(i) for i in range(device_count())]


def set_rng_state_all(new_states: Any) -> None:
    """Set the states that `get_rng_state_all` gave."""
    for i, state in enumerate(new_states):
        set_rng_state(state, i)
