"""Master weights, and steps that `found_inf` leaves out: on the CPU, in a captured step, and on the fake GPU."""

import numpy as np
import pytest
from optimizer_table import TABLE

import chainrule
from chainrule import amp, nn, optim

pytest.importorskip("ml_dtypes")

HALVES = [chainrule.float16, chainrule.bfloat16]
WITH = ["SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "RMSprop", "Adamax", "NAdam", "RAdam", "Lion"]


def gradients(steps=4, shapes=((3, 4), (5,))):
    random = np.random.default_rng(0)
    return [[random.standard_normal(s).astype("float16") for s in shapes] for _ in range(steps)]


def trained(name, options, rounds, dtype, device="cpu", **kwargs):
    """(parameters, optimizer) after steps with these gradients, from the same start."""
    random = np.random.default_rng(1)
    starts = [random.standard_normal(g.shape).astype("float16").astype("float32") for g in rounds[0]]
    params = [nn.Parameter(chainrule.tensor(a).to(chainrule.bfloat16).to(dtype).to(device)) for a in starts]
    optimizer = getattr(optim, name)(params, **options, **kwargs)
    for grads in rounds:
        for p, g in zip(params, grads, strict=True):
            p.grad = chainrule.tensor(g).to(chainrule.bfloat16).to(dtype).to(device)
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", WITH)
def test_as_in_float32(name, dtype):
    rounds, options = gradients(), TABLE[name][-1]
    exact, _ = trained(name, options, rounds, chainrule.float32)
    params, optimizer = trained(name, options, rounds, dtype, master_weights=True)
    for p, e in zip(params, exact, strict=True):
        state = optimizer.state[p]
        assert p.dtype == dtype
        assert chainrule.equal(state["master_param"], e)
        assert chainrule.equal(p, e.to(dtype))
        assert {t.dtype for t in state.values()} == {chainrule.float32}


def test_small_steps_add_up():
    p = nn.Parameter(chainrule.ones(1, dtype=chainrule.bfloat16))
    plain = nn.Parameter(chainrule.ones(1, dtype=chainrule.bfloat16))
    kept, lost = optim.SGD([p], lr=1e-3, master_weights=True), optim.SGD([plain], lr=1e-3)
    for _ in range(100):
        p.grad, plain.grad = chainrule.ones_like(p), chainrule.ones_like(plain)
        kept.step()
        lost.step()
    assert plain.item() == 1.0
    assert p.item() == pytest.approx(0.9, abs=2e-3)


def test_state_dict_keeps_them():
    rounds = gradients(6)
    whole, _ = trained("AdamW", {}, rounds, chainrule.bfloat16, master_weights=True)
    params, optimizer = trained("AdamW", {}, rounds[:3], chainrule.bfloat16, master_weights=True)
    saved = optimizer.state_dict()
    copies = [nn.Parameter(p.detach().clone()) for p in params]
    second = optim.AdamW(copies, master_weights=True)
    second.load_state_dict(saved)
    for grads in rounds[3:]:
        for p, g in zip(copies, grads, strict=True):
            p.grad = chainrule.tensor(g).to(p.dtype)
        second.step()
    for p, w in zip(copies, whole, strict=True):
        assert chainrule.equal(p, w)
        assert second.state[p]["exp_avg"].dtype == chainrule.float32
    # a state without copies, as PyTorch's, starts with copies of the parameters
    params, optimizer = trained("AdamW", {}, rounds, chainrule.bfloat16)
    second.load_state_dict({**optimizer.state_dict(), "param_groups": second.state_dict()["param_groups"]})
    second.step()
    assert "master_param" in second.state[copies[0]]


def test_parameters_changed_otherwise_are_followed():
    (p, _), optimizer = trained("SGD", {"lr": 1e-4}, gradients(), chainrule.bfloat16, master_weights=True)
    before = optimizer.state[p]["master_param"].clone()
    with chainrule.no_grad():
        p[0] = 7.0
    p.grad = chainrule.zeros_like(p)
    optimizer.step()
    master = optimizer.state[p]["master_param"]
    assert master[0].tolist() == [7.0] * 4
    assert chainrule.equal(master[1:], before[1:])  # what was not changed keeps all its bits


def test_what_does_not_go_together():
    p = nn.Parameter(chainrule.ones(2))
    with pytest.raises(RuntimeError, match="differentiable"):
        optim.SGD([p], lr=0.1, differentiable=True, master_weights=True)
    optimizer = optim.Adam([p], master_weights=True)
    p.grad = chainrule.ones(2)
    optimizer.step()
    assert "master_param" not in optimizer.state[p]  # it is in float32


@pytest.mark.parametrize("capture", [False, True], ids=["eager", "captured"])
@pytest.mark.parametrize("master", [False, True], ids=["plain", "master"])
@pytest.mark.parametrize("clip", [False, True], ids=["", "clipped"])
def test_steps_left_out(capture, master, clip):
    """A step with an Inf changes nothing and is not counted, whoever leaves it out."""
    kind = chainrule.float16 if master else chainrule.float32
    start = np.linspace(-1, 1, 12).astype("float16")
    data = [chainrule.tensor(np.full(12, v, "float32")) for v in (1, 2, np.inf, 3, np.nan, -1, 0.5)]

    def train(captured, fused):
        p = nn.Parameter(chainrule.tensor(start).to(kind))
        optimizer = optim.Adam([p], lr=0.1, fused=fused, master_weights=master)
        scaler = amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)

        def step(x):
            optimizer.zero_grad(set_to_none=False)
            scaler.scale((p.float() * x).sum()).backward()
            if clip:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_([p], 2.0)
            scaler.step(optimizer)
            scaler.update()

        run = chainrule.capture(step, strict=True) if captured else step
        seen = []
        for x in data:
            run(x)
            seen.append((p.tolist(), optimizer.state[p]["step"].item(), scaler.get_scale()))
        return seen

    reference = train(False, None)
    assert [n for _, n, _ in reference] == [1, 2, 2, 3, 3, 4, 5]
    assert train(capture, True) == reference


def test_found_inf_is_taken_by_whom_it_should():
    p = nn.Parameter(chainrule.ones(2))
    p.grad = chainrule.ones(2)
    assert optim.Adam([p], fused=True)._step_supports_amp_scaling
    assert not optim.Adam([p])._step_supports_amp_scaling
    assert not optim.LBFGS([p])._step_supports_amp_scaling
    assert not optim.Adam([p], differentiable=True, capturable=True)._step_supports_amp_scaling


@pytest.mark.torch
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad"])
def test_fused_with_a_scaler_is_pytorch_s(name):
    torch = pytest.importorskip("torch")
    seen = []
    for t in (torch, chainrule):
        p = t.nn.Parameter(t.linspace(-1, 1, 6))
        optimizer = getattr(t.optim, name)([p], lr=0.1, fused=True)
        scaler = t.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        for gradient in (1.0, float("inf"), 2.0, -1.0, float("nan"), 0.5):
            optimizer.zero_grad()
            scaler.scale((p * gradient).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            step = optimizer.state[p].get("step", t.zeros(())).item()
            seen.append((step, scaler.get_scale(), p.grad.tolist() if gradient == 2.0 else None, p.tolist()))
    half = len(seen) // 2
    for ours, theirs in zip(seen[half:], seen[:half], strict=True):
        assert ours[:3] == theirs[:3]
        np.testing.assert_allclose(ours[3], theirs[3], rtol=1e-5, atol=1e-6)
