"""Optimizers, GradScaler and clipping on tensors of a GPU: on a real one, or on the fake CuPy with CUDA C simulated."""

import importlib
import sys

import numpy as np
import pytest
from optimizer_table import TABLE

import chainrule
from chainrule import amp, nn, optim
from chainrule.backends import by_name

pytest.importorskip("ml_dtypes")
launch, many = (importlib.import_module(f"chainrule.backends.cupy.{name}") for name in ("launch", "many"))
KERNELS = ["SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "RMSprop", "Adamax", "NAdam", "RAdam", "Lion"]


@pytest.fixture(autouse=True)
def machine(request, monkeypatch):
    """On the fake, kernels run in the simulation."""
    if request.config.getoption("backend") == "fake":
        fake = sys.modules["fake_cupy"]
        monkeypatch.setattr(launch, "machine", launch.machine)
        fake._simulate(launch)
        monkeypatch.setattr(by_name("cupy"), "steps", dict(many.SERVES))
        many._chunks.cache_clear()
    yield
    many._chunks.cache_clear()


def trained(name, options, device, dtype="float32", steps=3, layout=False, **kwargs):
    """(parameters, optimizer) after some steps, the same on any device."""
    random = np.random.default_rng(0)
    shapes = ((3, 4), (5,), (2, 3, 4, 4), (), (0, 3))
    starts = [np.asarray(random.standard_normal(s)).astype("float16") for s in shapes]
    params = [nn.Parameter(chainrule.tensor(a).to(getattr(chainrule, dtype)).to(device)) for a in starts]
    if layout:
        params[2].data = params[2].data.to(memory_format=chainrule.channels_last)
    optimizer = getattr(optim, name)(params, **options, **kwargs)
    for _ in range(steps):
        for p in params:
            g = np.asarray(random.standard_normal(p.shape)).astype("float16")
            p.grad = chainrule.tensor(g).to(p.dtype).to(device)
        optimizer.step()
    return params, optimizer


def close(found, wanted, tolerance=2e-5):
    for p, w in zip(found, wanted, strict=True):
        assert p.dtype == w.dtype
        np.testing.assert_allclose(
            p.detach().cpu().float().numpy(), w.detach().cpu().float().numpy(), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("name", KERNELS)
def test_as_on_the_cpu(name):
    wanted, host = trained(name, TABLE[name][-1], "cpu")
    params, optimizer = trained(name, TABLE[name][-1], "cuda")
    assert type(optimizer._cr_plans[0]).__name__ == "Together"
    close(params, wanted)
    for p, w in zip(params, wanted, strict=True):
        assert set(optimizer.state[p]) == set(host.state[w])
        assert all(t.device.type == "cuda" for t in optimizer.state[p].values())
    close([optimizer.state[params[0]][k] for k in host.state[wanted[0]]], list(host.state[wanted[0]].values()))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_master_weights(dtype):
    wanted, host = trained("AdamW", {}, "cpu", dtype, master_weights=True)
    params, optimizer = trained("AdamW", {}, "cuda", dtype, master_weights=True)
    close(params, wanted, 1e-2)
    close([optimizer.state[params[0]]["master_param"]], [host.state[wanted[0]]["master_param"]])
    with chainrule.no_grad():
        params[1][0] = 7.0
    params[1].grad.zero_()
    before = optimizer.state[params[1]]["master_param"].clone()
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    after = optimizer.state[params[1]]["master_param"]
    assert after[0].item() == 7.0
    assert after[1:].tolist() == before[1:].tolist()


def test_layouts_and_what_lies_apart():
    wanted, _ = trained("AdamW", {}, "cpu", layout=True)
    params, _ = trained("AdamW", {}, "cuda", layout=True)
    close(params, wanted)


def test_one_launch_for_a_group():
    _, optimizer = trained("AdamW", {}, "cuda")
    if hasattr(launch.machine, "launches"):
        launch.machine.launches.clear()
        optimizer.step()
        assert launch.machine.launches == [("adam", ("float32", 0))]


def test_state_goes_to_the_cpu_and_back():
    params, optimizer = trained("NAdam", {}, "cuda")
    saved = optimizer.state_dict()
    on_host = [nn.Parameter(p.detach().cpu()) for p in params]
    other = optim.NAdam(on_host)
    other.load_state_dict(saved)
    back = optim.NAdam(params)
    back.load_state_dict(other.state_dict())
    for p, h in zip(params, on_host, strict=True):
        h.grad = p.grad.cpu()
    back.step()
    other.step()
    close(params, on_host)
    assert other.state[on_host[0]]["step"].item() == back.state[params[0]]["step"].item() == 4


@pytest.mark.parametrize("unscaled", [False, True])
def test_the_scaler_never_asks(unscaled, monkeypatch):
    p = nn.Parameter(chainrule.zeros(3, device="cuda"))
    optimizer = optim.Adam([p], lr=0.1)
    scaler = amp.GradScaler("cuda", init_scale=8.0, growth_interval=2)
    seen = []
    for gradient in (1.0, np.inf, 2.0, 2.0, np.nan):
        x = chainrule.full((3,), gradient, device="cuda")
        with monkeypatch.context() as m:
            m.setattr(chainrule.Tensor, "item", lambda self: pytest.fail("the host read a number"))
            optimizer.zero_grad()
            scaler.scale((p * x).sum()).backward()
            if unscaled:
                scaler.unscale_(optimizer)
            if seen:  # the first step makes the state
                scaler.step(optimizer)
            else:
                m.undo()
                scaler.step(optimizer)
            scaler.update()
        seen.append((optimizer.state[p]["step"].item(), scaler.get_scale(), p.grad[0].item()))
    assert [s[:2] for s in seen] == [(1, 8), (1, 4), (2, 4), (3, 8), (3, 4)]
    assert [s[2] for s in seen][0::2][:2] == [1.0, 2.0]


@pytest.mark.parametrize("order", [2.0, 1.0, float("inf")])
def test_clipping(order):
    random = np.random.default_rng(0)
    grads = [np.asarray(random.standard_normal(s)).astype("float32") for s in ((3, 4), (7,), ())]
    results = []
    for device in ("cpu", "cuda"):
        params = [nn.Parameter(chainrule.zeros(g.shape, device=device)) for g in grads]
        for p, g in zip(params, grads, strict=True):
            p.grad = chainrule.tensor(g, device=device)
        norm = nn.utils.clip_grad_norm_(params, 0.5, order)
        assert norm.shape == ()
        assert norm.device.type == device
        nn.utils.clip_grad_value_(params, 0.1)
        results.append([norm.item(), *[p.grad.cpu().tolist() for p in params]])
    host, gpu = results
    assert gpu[0] == pytest.approx(host[0], rel=1e-6)
    for a, b in zip(host[1:], gpu[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    for p in params:
        p.grad.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)


def test_fused_false_goes_one_by_one():
    wanted, _ = trained("Adam", {}, "cpu")
    params, optimizer = trained("Adam", {}, "cuda", fused=False)
    assert type(optimizer._cr_plans[0]).__name__ == "Plan"
    close(params, wanted)


@pytest.mark.skipif(chainrule.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_devices():
    params = [nn.Parameter(chainrule.ones(3, device=d)) for d in ("cuda:0", "cuda:1", "cuda:0")]
    optimizer, scaler = optim.Adam(params, lr=0.1), amp.GradScaler("cuda")
    for gradient in (1.0, float("inf"), 2.0):
        for p in params:
            p.grad = chainrule.ones_like(p)
        params[1].grad.fill_(gradient)
        scaler.scale(chainrule.ones((), device="cuda:0"))
        scaler.step(optimizer)
        scaler.update()
    nn.utils.clip_grad_norm_(params, 0.1)
    assert [optimizer.state[p]["step"].item() for p in params] == [2, 2, 2]
    assert scaler.get_scale() == 2.0**15
    for p in params:
        assert optimizer.state[p]["exp_avg"].device == p.device
        assert p.tolist() == params[0].tolist() or p is params[1]


def test_gradients_with_gaps_are_unscaled_too():
    p = nn.Parameter(chainrule.zeros(2, 2, device="cuda"))
    p.grad = chainrule.arange(8.0, device="cuda").reshape(2, 4)[:, ::2]
    scaler = amp.GradScaler("cuda", init_scale=2.0)
    scaler.unscale_(optim.SGD([p], lr=1.0))
    assert p.grad.tolist() == [[0, 1], [2, 3]]
