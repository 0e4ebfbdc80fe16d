"""REINFORCE with a baseline on a corridor of cells: log-probabilities by gather, returns, entropy."""

from collections import deque

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

LENGTH = 6
EPS = np.finfo(np.float32).eps.item()


class Corridor:
    """Start left; the actions are left, stay, right; a step costs 0.1, the right end gives 1."""

    def reset(self):
        self.place, self.time = 0, 0
        return self.observe()

    def observe(self):
        state = np.zeros(LENGTH, dtype=np.float32)
        state[self.place] = 1.0
        return state

    def step(self, action):
        self.place = min(max(self.place + action - 1, 0), LENGTH - 1)
        self.time += 1
        goal = self.place == LENGTH - 1
        return self.observe(), 1.0 if goal else -0.1, goal or self.time == 20


class Policy(nn.Module):
    def __init__(self):
        super(Policy, self).__init__()
        self.affine1 = nn.Linear(LENGTH, 32)
        self.dropout = nn.Dropout(p=0.0)
        self.action_head = nn.Linear(32, 3)
        self.value_head = nn.Linear(32, 1)

    def forward(self, x):
        x = F.relu(self.dropout(self.affine1(x)))
        return F.softmax(self.action_head(x), dim=-1), self.value_head(x)


def select_action(policy, state):
    state = torch.from_numpy(state).to(torch.get_default_dtype()).unsqueeze(0)
    probs, value = policy(state)
    action = torch.multinomial(probs.detach(), 1)
    log_prob = torch.log(probs.gather(1, action)).squeeze()
    entropy = -(probs * (probs + EPS).log()).sum()
    return action.item(), log_prob, value.squeeze(), entropy


def run_episode(env, policy):
    state, done = env.reset(), False
    log_probs, values, entropies, rewards = [], [], [], []
    while not done:
        action, log_prob, value, entropy = select_action(policy, state)
        state, reward, done = env.step(action)
        log_probs.append(log_prob)
        values.append(value)
        entropies.append(entropy)
        rewards.append(reward)
    return log_probs, values, entropies, rewards


def finish_episode(optimizer, episode, gamma=0.97):
    log_probs, values, entropies, rewards = episode
    R = 0
    returns = deque()
    for r in rewards[::-1]:
        R = r + gamma * R
        returns.appendleft(R)
    returns = torch.tensor(returns)
    policy_loss = []
    for log_prob, R, value in zip(log_probs, returns, values):
        advantage = R - value.item()
        policy_loss.append(-log_prob * advantage)
    value_loss = F.smooth_l1_loss(torch.stack(values), returns)
    optimizer.zero_grad()
    loss = torch.stack(policy_loss).sum() + value_loss - 0.01 * torch.stack(entropies).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def build():
    return Policy()


def train(policy, steps=150):
    env = Corridor()
    optimizer = optim.Adam(policy.parameters(), lr=1e-2)
    history = []
    for _ in range(steps):
        episode = run_episode(env, policy)
        loss = finish_episode(optimizer, episode)
        history.append([loss, sum(episode[-1])])
    return history


def evaluate(policy):
    """The return of the greedy policy; the best is 1 - 0.1 * (LENGTH - 2)."""
    env, total, done = Corridor(), 0.0, False
    state = env.reset()
    while not done:
        with torch.no_grad():
            probs, _ = policy(torch.as_tensor(state, dtype=torch.get_default_dtype()))
        state, reward, done = env.step(int(torch.argmax(probs)))
        total += reward
    return total
