"""WGAN with gradient penalty on a ring of Gaussians: two optimizers, several critic steps, a second derivative."""

import math

import torch
import torch.nn as nn
from torch import autograd

LATENT = 4
LAMBDA = 2.0


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Linear") != -1:
        nn.init.xavier_normal_(m.weight.data)
        m.bias.data.fill_(0)


class Generator(nn.Module):
    def __init__(self):
        super().__init__()

        def block(i, o, normalize=True):
            layers = [nn.Linear(i, o)]
            if normalize:
                layers.append(nn.BatchNorm1d(o, 0.8))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            return layers

        self.model = nn.Sequential(*block(LATENT, 24, normalize=False), *block(24, 24), nn.Linear(24, 2))

    def forward(self, z):
        return self.model(z)


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            nn.Linear(2, 32), nn.LeakyReLU(0.1), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1, bias=True)
        )

    def forward(self, x):
        return self.main(x).view(-1)


def sample_real(n):
    angle = torch.randint(0, 8, (n,)).to(torch.get_default_dtype()) * (2 * math.pi / 8)
    centres = torch.stack([angle.cos(), angle.sin()], dim=1) * 2
    return centres + 0.05 * torch.randn(n, 2)


def calc_gradient_penalty(netD, real_data, fake_data):
    alpha = torch.rand(real_data.size(0), 1)
    alpha = alpha.expand(real_data.size())
    interpolates = alpha * real_data + ((1 - alpha) * fake_data)
    interpolates = autograd.Variable(interpolates, requires_grad=True)
    disc_interpolates = netD(interpolates)
    gradients = autograd.grad(
        outputs=disc_interpolates,
        inputs=interpolates,
        grad_outputs=torch.ones(disc_interpolates.size()),
        create_graph=True,
        retain_graph=True,
        only_inputs=True,
    )[0]
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean() * LAMBDA


def build():
    nets = nn.ModuleDict({"G": Generator(), "D": Critic()})
    nets.apply(weights_init)
    return nets


def train(nets, steps=300):
    netG, netD = nets["G"], nets["D"]
    optimizerD = torch.optim.Adam(netD.parameters(), lr=4e-3, betas=(0.5, 0.9))
    optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-3, betas=(0.5, 0.9))
    history = []
    for _ in range(steps):
        for p in netD.parameters():
            p.requires_grad = True
        for _ in range(3):
            netD.zero_grad()
            real = sample_real(48)
            noise = torch.randn(48, LATENT)
            with torch.no_grad():
                fake = netG(noise)
            D_real = netD(real).mean()
            D_fake = netD(fake.detach()).mean()
            penalty = calc_gradient_penalty(netD, real.data, fake.data)
            D_cost = D_fake - D_real + penalty
            D_cost.backward()
            optimizerD.step()
        for p in netD.parameters():
            p.requires_grad = False
        netG.zero_grad()
        G_cost = -netD(netG(torch.randn(48, LATENT))).mean()
        G_cost.backward()
        assert all(p.grad is not None for p in netG.parameters())
        optimizerG.step()
        history.append([D_cost.item(), G_cost.item(), (D_real - D_fake).item()])
    return history


def evaluate(nets):
    """The mean radius of what is generated; the data's is 2."""
    netG = nets["G"].eval()
    with torch.inference_mode():
        points = netG(torch.randn(256, LATENT))
    return points.pow(2).sum(1).sqrt().mean().item()
