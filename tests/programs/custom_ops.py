"""Binary weights by a straight-through Function, gradient reversal, hooks, frozen layers, clamped weights, a buffer."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd import Function


class BinarizeSTE(Function):
    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return input.sign()

    @staticmethod
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        grad_input = grad_output.clone()
        grad_input[input.abs() > 1] = 0
        return grad_input


class GradReverse(Function):
    @staticmethod
    def forward(ctx, x, lambd):
        ctx.lambd = lambd
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.neg() * ctx.lambd, None


class BinaryLinear(nn.Linear):
    def forward(self, input):
        alpha = self.weight.abs().mean(dim=1, keepdim=True).detach()
        return F.linear(input, BinarizeSTE.apply(self.weight) * alpha, self.bias)


class RunningNorm(nn.Module):
    """Subtracts a running mean, kept in a buffer that is changed in place."""

    def __init__(self, features, momentum=0.1):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("count", torch.tensor(0, dtype=torch.long))
        self.gain = nn.Parameter(torch.ones(features))

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                self.mean.lerp_(x.mean(0), self.momentum)
                self.count += 1
        return (x - self.mean) * self.gain


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.features = nn.Sequential()
        self.features.add_module("norm", RunningNorm(16))
        self.features.add_module("binary", BinaryLinear(16, 32))
        self.features.add_module("act", nn.PReLU())
        self.head = nn.Linear(32, 3)
        self.domain = nn.Linear(32, 2)
        for p in self.embed.parameters():
            p.requires_grad = False

    def forward(self, x, lambd=0.1):
        h = self.features(self.embed(x))
        return self.head(h), self.domain(GradReverse.apply(h, lambd))


def batch(n=64):
    domain = torch.randint(0, 2, (n,))
    label = torch.randint(0, 3, (n,))
    x = torch.randn(n, 8)
    x[torch.arange(n), label] += 2.5
    x[:, 7] += 2.0 * domain
    return x, label, domain


def build():
    return Net()


def train(net, steps=80):
    seen, sizes, norms = {}, [], []

    def remember(name):
        def hook(module, inputs, output):
            seen[name] = output.detach()
            sizes.append(tuple(inputs[0].shape))

        return hook

    handles = [m.register_forward_hook(remember(n)) for n, m in net.features.named_children()]
    handles.append(net.head.register_full_backward_hook(lambda m, gin, gout: norms.append(gout[0].norm().item())))
    handles.append(net.head.weight.register_hook(lambda g: g.clamp(-0.05, 0.05)))
    trainable = filter(lambda p: p.requires_grad, net.parameters())
    optimizer = torch.optim.SGD(trainable, lr=0.1, momentum=0.9)
    history = []
    for _ in range(steps):
        x, label, domain = batch()
        logits, d = net(x)
        penalty = sum(p.pow(2).sum() for n, p in net.named_parameters() if "bias" not in n and p.requires_grad)
        loss = F.nll_loss(F.log_softmax(logits, dim=-1), label) + F.cross_entropy(d, domain) + 1e-4 * penalty
        optimizer.zero_grad()
        loss.backward()
        assert net.head.weight.grad.abs().max() <= 0.05
        assert net.embed.weight.grad is None
        optimizer.step()
        net.features.binary.weight.data.clamp_(-1, 1)
        history.append(loss.item())
    for h in handles:
        h.remove()
    assert set(seen) == {"norm", "binary", "act"}
    assert len(norms) == steps
    assert net.features.norm.count == steps
    assert len(sizes) == 3 * steps
    history += [seen["act"].mean().item(), norms[-1], net.features.norm.mean.norm().item()]
    return history


def evaluate(net):
    """Accuracy, with nothing left of the hooks."""
    net.eval()
    x, label, _ = batch(200)
    with torch.no_grad():
        logits, _ = net(x)
    assert net.features.norm.count.item() > 0
    return (logits.argmax(1) == label).double().mean().item()
