"""Transfer and several tasks: fine-tuning, cached features, hard and soft sharing, auxiliary tasks."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import functional as F
from chainrule.utils import early_stopping, transfer
from chainrule.utils.data import DataLoader, TensorDataset


@pytest.fixture(autouse=True)
def _seed():
    cr.manual_seed(0)


def body():
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5))


def parameters(*modules):
    return [p for m in modules for p in m.parameters()]


def steps(loss, over, count, lr=1e-2):
    optimizer, losses = optim.Adam(over, lr=lr), []
    for _ in range(count):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def test_replace_the_head_and_fine_tune_some_layers():
    """η = 0 for the first layers by freezing, a smaller rate for the last, the full rate for the new head."""
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    transfer.freeze(model[0])
    model[4] = nn.Linear(16, 2)
    x, y = cr.randn(40, 6), cr.randint(0, 2, (40,))
    groups = [{"params": parameters(model[2]), "lr": 1e-4}, {"params": parameters(model[4])}]
    optimizer = optim.SGD(groups, lr=0.1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    F.cross_entropy(model(x), y).backward()
    assert model[0].weight.grad is None
    optimizer.step()
    moved = {k: (v - before[k]).abs().max().item() for k, v in model.state_dict().items()}
    assert moved["0.weight"] == 0
    assert 0 < moved["2.weight"] < 0.02 * moved["4.weight"]


def test_cached_features_are_what_the_frozen_body_gives():
    base, head = body(), nn.Linear(16, 2)
    x = cr.randn(50, 6)
    y = (x[:, 0] > 0).long()
    calls = []
    base.register_forward_hook(lambda *args: calls.append(1))
    cached = transfer.cached_features(base, DataLoader(TensorDataset(x, y), batch_size=20))
    assert len(calls) == 3
    assert base.training
    features, targets = cached.tensors
    assert cr.equal(targets, y)
    assert not features.requires_grad
    np.testing.assert_allclose(features.numpy(), base.eval()(x).detach().numpy(), rtol=1e-6)
    batches = DataLoader(cached, batch_size=25, shuffle=True)
    first = F.cross_entropy(head(features), targets).item()
    optimizer = optim.Adam(head.parameters(), lr=5e-2)
    for _ in range(20):
        for f, t in batches:
            optimizer.zero_grad()
            F.cross_entropy(head(f), t).backward()
            optimizer.step()
    assert F.cross_entropy(head(features), targets).item() < 0.8 * first
    assert len(calls) == 4  # three batches once, and the comparison above
    with pytest.raises(ValueError, match="no batches"):
        transfer.cached_features(base, [])


def test_hard_sharing_adds_weighted_losses():
    """Σ λ_k L_k of heads on one body: the body's gradient is the weighted sum of the tasks' own."""
    base, heads, weights = nn.Linear(6, 8), [nn.Linear(8, 3), nn.Linear(8, 1)], (1.0, 0.3)
    x, label, value = cr.randn(10, 6), cr.randint(0, 3, (10,)), cr.randn(10, 1)

    def losses():
        h = base(x).tanh()
        return F.cross_entropy(heads[0](h), label), F.mse_loss(heads[1](h), value)

    total = sum(w * loss for w, loss in zip(weights, losses(), strict=True))
    (joint,) = cr.autograd.grad(total, [base.weight])
    alone = [cr.autograd.grad(loss, [base.weight], retain_graph=True)[0] for loss in losses()]
    np.testing.assert_allclose(joint.numpy(), (alone[0] + 0.3 * alone[1]).numpy(), rtol=1e-5, atol=1e-7)


def test_an_auxiliary_task_helps_where_labels_are_few():
    """The direction that decides the class is what the auxiliary values, of which there are many, are made of."""
    direction = cr.randn(20)
    x, test = cr.randn(200, 20), cr.randn(500, 20)
    few = slice(0, 12)

    def errors(weight):
        cr.manual_seed(1)
        base, main, auxiliary = nn.Linear(20, 2, bias=False), nn.Linear(2, 1), nn.Linear(2, 1)

        def loss():
            own = F.binary_cross_entropy_with_logits(main(base(x[few]))[:, 0], (x[few] @ direction > 0).float())
            return own + weight * F.mse_loss(auxiliary(base(x))[:, 0], x @ direction)

        steps(loss, parameters(base, main, auxiliary), 150, 3e-2)
        return ((main(base(test))[:, 0] > 0) != (test @ direction > 0)).float().mean().item()

    assert errors(1.0) < 0.6 * errors(0.0)


def test_soft_sharing_by_its_formulas():
    nets = [nn.Linear(3, 2).double() for _ in range(3)]
    a, b, c = ([p.detach().numpy() for p in net.parameters()] for net in nets)
    pairs = sum(
        ((p - q) ** 2).sum() for first, second in ((a, b), (a, c), (b, c)) for p, q in zip(first, second, strict=True)
    )
    assert transfer.soft_sharing(nets).item() == pytest.approx(pairs)
    trace = sum(
        np.linalg.svd(np.stack([p.ravel() for p in same]), compute_uv=False).sum() for same in zip(a, b, c, strict=True)
    )
    assert transfer.soft_sharing(nets, "trace").item() == pytest.approx(trace)
    transfer.soft_sharing(nets[:2]).backward()
    np.testing.assert_allclose(nets[0].weight.grad.numpy(), 2 * (a[0] - b[0]), rtol=1e-12)
    with pytest.raises(ValueError, match="same shapes"):
        transfer.soft_sharing([nn.Linear(3, 2), nn.Linear(2, 3)])
    with pytest.raises(ValueError, match='"l2" or "trace"'):
        transfer.soft_sharing(nets, "l1")


@pytest.mark.parametrize("norm", ["l2", "trace"])
def test_soft_sharing_brings_networks_together(norm):
    x, truth = cr.randn(30, 4), cr.randn(4, 1)
    targets = [x @ truth + 0.1 * cr.randn(30, 1), x @ (truth + 0.5 * cr.randn(4, 1))]

    def trained(weight):
        cr.manual_seed(2)
        nets = [nn.Linear(4, 1, bias=False) for _ in range(2)]

        def loss():
            fit = sum(F.mse_loss(net(x), y) for net, y in zip(nets, targets, strict=True))
            return fit + weight * transfer.soft_sharing(nets, norm)

        steps(loss, parameters(*nets), 150, 5e-2)
        return nets

    second = [cr.linalg.svdvals(cr.cat([n.weight for n in trained(w)]).detach())[1].item() for w in (0.0, 2.0)]
    assert second[1] < 0.5 * second[0]


def test_task_wise_early_stopping():
    """A task whose validation loss rises is taken out of the sum; the others go on."""
    curves = {"a": [1.0, 0.8, 0.9, 0.95, 0.99, 1.1], "b": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]}
    stops = {task: early_stopping.EarlyStopping(patience=2) for task in curves}
    active = {task: [] for task in curves}
    for epoch in range(6):
        for task, stop in stops.items():
            if not stop.stopped:
                active[task].append(epoch)
                stop.step(curves[task][epoch])
    assert active == {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3, 4, 5]}
