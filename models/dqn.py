"""Deep Q-learning: Mnih et al., "Human-level control through deep reinforcement learning", 2015.

Q(s, a) moves towards r + γ max_a' Q⁻(s', a'), where Q⁻ is an older copy of the network, on transitions drawn from a
memory. With `double`, the action is chosen by Q and valued by Q⁻ (van Hasselt, Guez, Silver, 2016).
"""

import copy
import random
from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.creation import tensor
from ..nn import functional as F
from ..optim import Adam, Optimizer


class Transition(NamedTuple):
    """One step: the observation, what was done, the reward, what was seen next, whether that was the end."""

    observation: Sequence[float]
    action: int
    reward: float
    following: Sequence[float]
    terminated: bool


class ReplayMemory:
    """The last `capacity` transitions; `sample` draws some of them without replacement.

    ValueError for a sample of more than there are. seed: of the draws. Source: L. Lin, "Self-improving reactive
    agents based on reinforcement learning, planning and teaching", 1992.
    """

    def __init__(self, capacity: int, seed: int | None = None) -> None:
        self.memory: deque[Transition] = deque(maxlen=capacity)
        self.random = random.Random(seed)

    def push(self, *args: Any) -> None:
        """Remember a Transition, given by its fields."""
        self.memory.append(Transition(*args))

    def sample(self, count: int) -> list[Transition]:
        """`count` different transitions."""
        return self.random.sample(self.memory, count)

    def __len__(self) -> int:
        return len(self.memory)


class QNetwork(nn.Sequential):
    """Observations (N, observation_size) → values of the actions (N, actions).

    Linear layers with ReLU between them, `hidden` their widths. Source: V. Mnih et al., "Human-level control
    through deep reinforcement learning", 2015 (there convolutional, for images).
    """

    def __init__(self, observation_size: int, actions: int, hidden: Sequence[int] = (64, 64)) -> None:
        sizes = [observation_size, *hidden]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), nn.ReLU()]
        super().__init__(*layers, nn.Linear(sizes[-1], actions))


class DQN:
    """An agent: `act(observation)`, `remember(...)`, `learn()`.

    Args:
        network: observations → values of the actions.
        actions: how many there are.
        gamma: discount γ.
        batch_size: transitions per step of learning.
        capacity: of the memory.
        target_every: learning steps between copies to the target network.
        epsilon: (first, last, steps): the probability of a random action falls linearly.
        optimizer: for the network; Adam(lr=1e-3) by default.
        double: choose the next action by the network, value it by the target.
        seed: of the exploration and the memory.

    Sources: V. Mnih et al., "Human-level control through deep reinforcement learning", 2015; double: H. van
    Hasselt, A. Guez, D. Silver, "Deep reinforcement learning with double Q-learning", 2016.
    """

    def __init__(
        self,
        network: nn.Module,
        actions: int,
        gamma: float = 0.99,
        batch_size: int = 64,
        capacity: int = 10_000,
        target_every: int = 200,
        epsilon: tuple[float, float, int] = (1.0, 0.05, 2000),
        optimizer: Optimizer | None = None,
        double: bool = False,
        seed: int | None = None,
    ) -> None:
        self.network, self.target = network, copy.deepcopy(network).eval().requires_grad_(False)
        self.actions, self.gamma, self.batch_size, self.double = actions, gamma, batch_size, double
        self.memory = ReplayMemory(capacity, seed)
        self.random = random.Random(seed)
        self.epsilon, self.target_every = epsilon, target_every
        self.optimizer = optimizer or Adam(network.parameters(), lr=1e-3)
        self.acted = self.learned = 0

    @property
    def device(self) -> Any:
        """Where the network is; observations are brought there."""
        return next(self.network.parameters()).device

    def act(self, observation: Sequence[float], greedy: bool = False) -> int:
        """The best action, or with probability ε a random one."""
        first, last, steps = self.epsilon
        epsilon = 0.0 if greedy else max(last, first + (last - first) * self.acted / steps)
        self.acted += not greedy
        if self.random.random() < epsilon:
            return self.random.randrange(self.actions)
        with no_grad():
            return int(self.network(tensor([list(observation)], device=self.device)).argmax(1).item())

    def remember(self, *args: Any) -> None:
        """Keep a Transition, given by its fields."""
        self.memory.push(*args)

    def loss(self, batch: Sequence[Transition]) -> Tensor:
        """Huber's distance between Q(s, a) and r + γ max Q⁻(s', ·), the latter 0 where the episode ended."""
        seen, actions, rewards, following, ends = map(list, zip(*batch, strict=True))
        device = self.device
        after = tensor(following, device=device)
        with no_grad():
            values = self.target(after)
            if self.double:
                best = values.gather(1, self.network(after).argmax(1, keepdim=True)).squeeze(1)
            else:
                best = values.max(1).values
            wanted = tensor(rewards, device=device) + self.gamma * best * (1 - tensor(ends, device=device).float())
        values = self.network(tensor(seen, device=device))
        found = values.gather(1, tensor(actions, device=device).unsqueeze(1)).squeeze(1)
        return F.smooth_l1_loss(found, wanted)

    def learn(self) -> float | None:
        """One optimizer step; the loss, or None while the memory holds less than a batch."""
        if len(self.memory) < self.batch_size:
            return None
        loss = self.loss(self.memory.sample(self.batch_size))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.learned += 1
        if self.learned % self.target_every == 0:
            self.target.load_state_dict(self.network.state_dict())
        return loss.item()
