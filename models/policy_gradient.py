"""Policy gradients.

Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", 1992 (REINFORCE):
∇J = E[Σ_t ∇log π(a_t | s_t) (G_t - b)], with the return G_t = Σ_k γᵏ r_{t+k}.
Actor-critic (Sutton, Barto, "Reinforcement learning", 2018, chapter 13): the baseline b is a learned value V(s_t).
"""

from collections.abc import Sequence
from typing import Any

from .. import nn
from ..autograd import Tensor
from ..autograd.creation import tensor
from ..autograd.ops.joining import stack
from ..nn import functional as F


def discounted_returns(rewards: Sequence[float], gamma: float) -> list[float]:
    """G_t = r_t + γ G_{t+1}, from the last backwards."""
    out, total = [], 0.0
    for reward in reversed(rewards):
        total = reward + gamma * total
        out.append(total)
    return out[::-1]


class Policy(nn.Module):
    """Observations (..., observation_size) → logits of the actions (..., actions).

    One hidden layer with ReLU. Source: R. Williams, "Simple statistical gradient-following algorithms for
    connectionist reinforcement learning", 1992.
    """

    def __init__(self, observation_size: int, actions: int, hidden: int = 128) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(observation_size, hidden), nn.ReLU(), nn.Linear(hidden, actions))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class ActorCritic(nn.Module):
    """Observations → (logits of the actions (..., actions), value (...)): two heads on one body.

    Observations (..., observation_size); `hidden` units with ReLU.

    Source: R. Sutton, A. Barto, "Reinforcement learning: an introduction", 2018, chapter 13.
    """

    def __init__(self, observation_size: int, actions: int, hidden: int = 128) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(observation_size, hidden), nn.ReLU())
        self.actor, self.critic = nn.Linear(hidden, actions), nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(x)
        return self.actor(x), self.critic(x).squeeze(-1)


def sample_action(logits: Tensor) -> tuple[int, Tensor]:
    """An action drawn from softmax(logits) and its log-probability, which carries the gradient."""
    log_p = F.log_softmax(logits, -1)
    action = int(log_p.detach().exp().multinomial(1).item())
    return action, log_p[action]


def run_episode(model: nn.Module, environment: Any, seed: int | None = None) -> tuple[list[Tensor], list[Tensor], list]:
    """One episode with actions drawn from the model: log-probabilities, values (of an ActorCritic) and rewards.

    environment: with `reset` and `step` as in Gymnasium; `model` gives logits, or (logits, value). Three lists of
    the episode's length; no values from a `Policy`. seed: of the environment.
    """
    observation, _ = environment.reset(seed=seed)
    log_probs, values, rewards = [], [], []
    done = False
    while not done:
        out = model(tensor(observation))
        logits, value = out if isinstance(out, tuple) else (out, None)
        action, log_p = sample_action(logits)
        observation, reward, terminated, truncated, _ = environment.step(action)
        done = terminated or truncated
        log_probs.append(log_p)
        rewards.append(reward)
        if value is not None:
            values.append(value)
    return log_probs, values, rewards


def _standardised(returns: Tensor) -> Tensor:
    spread = returns.std() if len(returns) > 1 else returns.new_ones(())
    return (returns - returns.mean()) / (spread + 1e-6)


def reinforce_loss(log_probs: Sequence[Tensor], rewards: Sequence[float], gamma: float = 0.99) -> Tensor:
    """-Σ_t log π(a_t) Ĝ_t, where Ĝ are the returns of the episode with mean 0 and deviation 1 (a baseline).

    A number. gamma: the discount of `discounted_returns`, G_t = r_t + γ G_{t+1}. Source: R. Williams, "Simple
    statistical gradient-following algorithms for connectionist reinforcement learning", 1992.
    """
    weights = _standardised(tensor(discounted_returns(rewards, gamma)))
    return -(stack(*log_probs) * weights).sum()


def actor_critic_loss(
    log_probs: Sequence[Tensor], values: Sequence[Tensor], rewards: Sequence[float], gamma: float = 0.99
) -> Tensor:
    """-Σ_t log π(a_t) (Ĝ_t - V_t) + Σ_t smooth_l1(V_t, Ĝ_t); no gradient flows through V in the first term.

    Ĝ are the returns of the episode with mean 0 and deviation 1. gamma: the discount γ. Source: R. Sutton, A.
    Barto, "Reinforcement learning: an introduction", 2018, section 13.5 (there with one-step returns).
    """
    returns, found = _standardised(tensor(discounted_returns(rewards, gamma))), stack(*values)
    advantage = returns - found.detach()
    return -(stack(*log_probs) * advantage).sum() + F.smooth_l1_loss(found, returns, reduction="sum")
