"""Model-agnostic meta-learning of sine waves: the outer loss goes through the inner steps."""

import copy
import math
from collections import OrderedDict

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call


class SineModel(nn.Module):
    def __init__(self, hidden=20):
        super().__init__()
        self.net = nn.Sequential(
            OrderedDict(
                [
                    ("l1", nn.Linear(1, hidden)),
                    ("act1", nn.Tanh()),
                    ("l2", nn.Linear(hidden, hidden)),
                    ("act2", nn.Tanh()),
                    ("l3", nn.Linear(hidden, 1)),
                ]
            )
        )

    def forward(self, x):
        return self.net(x)

    def argforward(self, x, weights):
        """The same by hand, with weights of the caller's."""
        x = torch.tanh(F.linear(x, weights[0], weights[1]))
        x = torch.tanh(F.linear(x, weights[2], weights[3]))
        return F.linear(x, weights[4], weights[5])


class SineTask:
    def __init__(self):
        amplitude, phase = torch.rand(2).tolist()
        self.amplitude = 0.5 + 2.0 * amplitude
        self.phase = math.pi * phase

    def sample(self, k):
        x = torch.rand(k, 1) * 10.0 - 5.0
        return x, self.amplitude * torch.sin(x + self.phase)


class MAML:
    def __init__(self, model, inner_lr=0.02, meta_lr=5e-3, k=10, inner_steps=2, tasks_per_batch=3):
        self.model = model
        self.weights = list(model.parameters())
        self.criterion = nn.MSELoss()
        self.meta_optimiser = torch.optim.Adam(self.weights, meta_lr)
        self.inner_lr, self.k, self.inner_steps, self.tasks = inner_lr, k, inner_steps, tasks_per_batch

    def inner_loop(self, task):
        temp_weights = [w.clone() for w in self.weights]
        x, y = task.sample(self.k)
        for _ in range(self.inner_steps):
            loss = self.criterion(self.model.argforward(x, temp_weights), y) / self.k
            grad = torch.autograd.grad(loss, temp_weights, create_graph=True)
            temp_weights = [w - self.inner_lr * g for w, g in zip(temp_weights, grad)]
        x, y = task.sample(self.k)
        return self.criterion(self.model.argforward(x, temp_weights), y)

    def outer_step(self):
        metaloss_sum = 0
        for _ in range(self.tasks):
            metaloss_sum += self.inner_loop(SineTask())
        metagrads = torch.autograd.grad(metaloss_sum, self.weights)
        for w, g in zip(self.weights, metagrads):
            w.grad = g
        self.meta_optimiser.step()
        return metaloss_sum.item() / self.tasks


def adapt(model, x, y, steps, lr):
    """The loss before and after steps with a dictionary of parameters, through functional_call."""
    params = {k: v.detach().clone().requires_grad_() for k, v in model.named_parameters()}
    losses = []
    for _ in range(steps + 1):
        loss = F.mse_loss(functional_call(model, params, (x,)), y)
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, tuple(params.values()))
        with torch.no_grad():
            for p, g in zip(params.values(), grads):
                p.sub_(g, alpha=lr)
    return losses


def build():
    return SineModel()


def train(model, steps=100):
    maml = MAML(model)
    return [maml.outer_step() for _ in range(steps)]


def evaluate(model):
    """The meta-learned start after five steps against a fresh model's."""
    fresh = copy.deepcopy(model)
    for m in fresh.modules():
        if hasattr(m, "reset_parameters"):
            m.reset_parameters()
    ratio = []
    for _ in range(5):
        x, y = SineTask().sample(20)
        ratio.append(adapt(model, x, y, 5, 0.02)[-1] / adapt(fresh, x, y, 5, 0.02)[-1])
    return torch.tensor(ratio).median().item()
