"""Small environments for reinforcement learning, with the calls of Gymnasium.

`reset(seed=...)` → (observation, info); `step(action)` → (observation, reward, terminated, truncated, info).
Observations are lists of Python floats.
"""

import math
import random
from typing import Any

Step = tuple[list[float], float, bool, bool, dict[str, Any]]


class CartPole:
    """A pole on a cart, to be kept upright by pushing left (0) or right (1): 1 for each step, at most `max_steps`.

    Barto, Sutton, Anderson, "Neuronlike adaptive elements that can solve difficult learning control problems", 1983,
    with its masses (1 kg, 0.1 kg), pole of 1 m, force of 10 N and time step of 0.02 s. The observation is the place
    (m), the speed (m/s), the angle (rad) and its speed (rad/s); over at 2.4 m or 12 degrees.
    """

    observation_size = 4
    actions = 2

    def __init__(self, max_steps: int = 500) -> None:
        self.max_steps = max_steps
        self.random = random.Random()
        self.state, self.count = [0.0] * 4, 0

    def reset(self, seed: int | None = None) -> tuple[list[float], dict[str, Any]]:
        """Start within 0.05 of upright rest."""
        if seed is not None:
            self.random.seed(seed)
        self.state, self.count = [self.random.uniform(-0.05, 0.05) for _ in range(4)], 0
        return list(self.state), {}

    def step(self, action: int) -> Step:
        """Push for one time step (Euler's method)."""
        gravity, cart, pole, half_length, force, dt = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
        if action not in (0, 1):
            raise ValueError(f"CartPole: the action is 0 or 1, got {action!r}")
        x, v, angle, w = self.state
        push = force if action == 1 else -force
        sine, cosine = math.sin(angle), math.cos(angle)
        part = (push + pole * half_length * w * w * sine) / (cart + pole)
        turn = (gravity * sine - cosine * part) / (half_length * (4 / 3 - pole * cosine**2 / (cart + pole)))
        speed_up = part - pole * half_length * turn * cosine / (cart + pole)
        self.state = [x + dt * v, v + dt * speed_up, angle + dt * w, w + dt * turn]
        self.count += 1
        fallen = abs(self.state[0]) > 2.4 or abs(self.state[2]) > 12 * math.pi / 180
        return list(self.state), 1.0, fallen, self.count >= self.max_steps, {}


class GridWorld:
    """A square with walls around: from the top left corner to the bottom right, by up, down, left, right (0 to 3).

    Each step costs 1 / (4·size), the goal gives 1; truncated after 4·size steps. The observation is one number per
    cell, 1 where the agent stands. After R. Sutton, A. Barto, "Reinforcement learning: an introduction", 2018, example
    3.5.
    """

    actions = 4

    def __init__(self, size: int = 4) -> None:
        self.size, self.observation_size = size, size * size
        self.row = self.column = self.count = 0

    def _observe(self) -> list[float]:
        place = self.row * self.size + self.column
        return [1.0 if i == place else 0.0 for i in range(self.observation_size)]

    def reset(self, seed: int | None = None) -> tuple[list[float], dict[str, Any]]:
        """Back to the corner; nothing is random."""
        self.row = self.column = self.count = 0
        return self._observe(), {}

    def step(self, action: int) -> Step:
        """Move one cell, or stay where there is a wall."""
        if action not in (0, 1, 2, 3):
            raise ValueError(f"GridWorld: the action is 0, 1, 2 or 3, got {action!r}")
        down, right = ((-1, 0), (1, 0), (0, -1), (0, 1))[action]
        self.row = min(max(self.row + down, 0), self.size - 1)
        self.column = min(max(self.column + right, 0), self.size - 1)
        self.count += 1
        done = self.row == self.column == self.size - 1
        reward = (1.0 if done else 0.0) - 1 / (4 * self.size)
        return self._observe(), reward, done, self.count >= 4 * self.size, {}
