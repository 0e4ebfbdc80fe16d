"""Autocast and GradScaler: which ops compute in a narrow dtype, gradients, states, and PyTorch as the second oracle."""

import math
import threading
import warnings

import pytest

import chainrule
from chainrule import amp, nn, optim
from chainrule.autograd import autocast as module
from chainrule.nn import functional as F

pytest.importorskip("ml_dtypes")


def numbers(*shape):
    chainrule.manual_seed(0)
    return chainrule.randn(*shape)


def test_products_are_narrow_and_the_rest_is_not():
    m, x = numbers(4, 4), numbers(1, 2, 5, 5)
    with chainrule.autocast("cpu"):
        assert (m @ m).dtype == chainrule.bfloat16
        assert F.linear(m, m, m[0]).dtype == chainrule.bfloat16
        assert F.conv2d(x, numbers(3, 2, 3, 3), numbers(3)).dtype == chainrule.bfloat16
        assert F.conv_transpose2d(x, numbers(2, 3, 3, 3)).dtype == chainrule.bfloat16
        assert chainrule.addmm(m, m, m).dtype == chainrule.bfloat16
        assert chainrule.einsum("ij,jk", m, m).dtype == chainrule.bfloat16
        assert (m + m).dtype == m.exp().dtype == m.softmax(-1).dtype == chainrule.float32
        assert F.mse_loss((m @ m), m).dtype == chainrule.float32
        assert (m.double() @ m.double()).dtype == chainrule.float64
        assert (m.long() @ m.long()).dtype == chainrule.int64
    assert (m @ m).dtype == chainrule.float32


def test_values_are_those_of_narrowed_operands():
    m = numbers(4, 4)
    with chainrule.autocast("cpu"):
        got = m @ m
    assert chainrule.equal(got, m.bfloat16() @ m.bfloat16())
    with chainrule.autocast("cpu", dtype=chainrule.float16):
        assert chainrule.equal(m @ m, m.half() @ m.half())


def test_gradients_have_the_parameters_dtype():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 8), nn.LayerNorm(8)
    )
    x, labels = numbers(6, 1, 5, 5), chainrule.arange(6)
    exact = chainrule.autograd.grad(F.cross_entropy(model(x), labels), model.parameters())
    with chainrule.autocast("cpu"):
        out = model(x)
        loss = F.cross_entropy(out, labels)
    assert loss.dtype == chainrule.float32
    loss.backward()
    for p, g in zip(model.parameters(), exact, strict=True):
        assert p.grad.dtype == g.dtype == chainrule.float32
    got, want = (
        nn.utils.parameters_to_vector([p.grad for p in model.parameters()]),
        nn.utils.parameters_to_vector(exact),
    )
    assert F.cosine_similarity(got, want, dim=0) > 0.98


def test_a_training_goes_down():
    chainrule.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)), numbers(32, 4)
    y = x.sum(1, keepdim=True).sin()
    optimizer, losses = optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(30):
        optimizer.zero_grad()
        with chainrule.autocast(device_type="cpu", dtype=chainrule.bfloat16):
            loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_states_nest_and_are_told():
    assert not chainrule.is_autocast_enabled("cpu")
    with chainrule.autocast("cpu"):
        assert chainrule.is_autocast_cpu_enabled()
        assert not chainrule.is_autocast_enabled()  # of the GPU
        assert chainrule.get_autocast_dtype("cpu") == chainrule.bfloat16
        with chainrule.autocast("cpu", dtype=chainrule.float16):
            assert chainrule.get_autocast_cpu_dtype() == chainrule.float16
            with chainrule.autocast("cpu", enabled=False):
                assert not chainrule.is_autocast_cpu_enabled()
            assert chainrule.is_autocast_cpu_enabled()
    assert not chainrule.is_autocast_cpu_enabled()
    chainrule.set_autocast_enabled("cpu", True)
    assert chainrule.is_autocast_cpu_enabled()
    chainrule.set_autocast_cpu_enabled(False)
    assert not chainrule.is_autocast_cpu_enabled()


def test_default_dtype_can_be_set():
    chainrule.set_autocast_dtype("cpu", chainrule.float16)
    try:
        with chainrule.autocast("cpu"):
            assert (numbers(2, 2) @ numbers(2, 2)).dtype == chainrule.float16
    finally:
        chainrule.set_autocast_dtype("cpu", chainrule.bfloat16)
    with pytest.raises(RuntimeError):
        chainrule.set_autocast_dtype("cpu", chainrule.float64)


def test_decorator_and_threads():
    seen = []

    @chainrule.autocast("cpu")
    def product(m):
        thread = threading.Thread(target=lambda: seen.append(chainrule.is_autocast_cpu_enabled()))
        thread.start()
        thread.join()
        return m @ m

    assert product(numbers(2, 2)).dtype == chainrule.bfloat16
    assert seen == [False]
    assert not chainrule.is_autocast_cpu_enabled()


def test_composites_compute_in_what_they_get():
    x, w = numbers(3, 4), numbers(2, 4, 4)
    with chainrule.autocast("cpu"):
        assert F.bilinear(x, x, w).dtype == chainrule.float32
        assert F.layer_norm(x.bfloat16(), (4,), x[0], x[1]).dtype == chainrule.bfloat16
        q = numbers(1, 2, 3, 4)
        assert F.scaled_dot_product_attention(q, q, q).dtype == chainrule.bfloat16


def test_wrong_devices_and_dtypes():
    with pytest.raises(RuntimeError, match="unsupported autocast device_type 'tpu'"):
        chainrule.autocast("tpu")
    with pytest.raises(ValueError, match="Expected `device_type` of type `str`"):
        chainrule.autocast(True)
    with pytest.warns(UserWarning, match="target dtype is not supported"):
        guard = chainrule.autocast("cpu", dtype=chainrule.float64)
    with guard:
        assert not chainrule.is_autocast_cpu_enabled()


@pytest.mark.skipif(chainrule.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_s_without_one():
    with pytest.warns(UserWarning, match="CUDA is not available. Disabling"):
        guard = chainrule.autocast("cuda", dtype=chainrule.float16)
    with guard:
        assert (numbers(2, 2) @ numbers(2, 2)).dtype == chainrule.float32
    with chainrule.autocast("cuda", enabled=False):
        assert not chainrule.is_autocast_enabled()
    with pytest.warns(FutureWarning, match="deprecated"), pytest.warns(UserWarning, match="not available"):
        chainrule.cuda.amp.autocast()
    with pytest.warns(UserWarning, match="not available"):
        scaler = amp.GradScaler("cuda")
    assert not scaler.is_enabled()
    assert scaler.get_scale() == 1.0
    assert scaler.state_dict() == {}
    p = nn.Parameter(chainrule.ones(2))
    optimizer = optim.SGD([p], lr=1.0)
    scaler.scale(p.sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert p.tolist() == [0, 0]


def test_nothing_is_asked_when_it_is_off(monkeypatch):
    def cast(*args):
        raise AssertionError("autocast was asked")

    monkeypatch.setattr(module._State, "cast", cast)
    m = numbers(2, 2).requires_grad_()
    (m @ m).sum().backward()
    with pytest.raises(AssertionError, match="was asked"), chainrule.autocast("cpu"):
        m @ m


# -- GradScaler -------------------------------------------------------------------------------------------------------


def scaled_step(scaler, optimizer, p, gradient):
    optimizer.zero_grad()
    scaler.scale((p * gradient).sum()).backward()
    scaler.step(optimizer)
    scaler.update()


def test_scaler_steps_grows_and_backs_off():
    p = nn.Parameter(chainrule.zeros(2))
    optimizer = optim.SGD([p], lr=1.0)
    scaler = amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    scaled_step(scaler, optimizer, p, 0.5)
    assert p.tolist() == [-0.5, -0.5]
    assert scaler.get_scale() == 8.0
    scaled_step(scaler, optimizer, p, 0.5)
    assert scaler.get_scale() == 16.0
    scaled_step(scaler, optimizer, p, math.inf)
    assert p.tolist() == [-1.0, -1.0]  # the step was left out
    assert scaler.get_scale() == 8.0
    scaler.update(new_scale=3.0)
    assert scaler.get_scale() == 3.0


def test_scaler_refuses_a_wrong_order():
    p = nn.Parameter(chainrule.zeros(2))
    optimizer = optim.SGD([p], lr=1.0)
    scaler = amp.GradScaler("cpu")
    with pytest.raises(AssertionError, match="No inf checks"):
        scaler.update()
    scaler.scale(p.sum()).backward()
    scaler.unscale_(optimizer)
    assert p.grad.tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="after step"):
        scaler.unscale_(optimizer)
    with pytest.raises(ValueError, match="growth factor"):
        amp.GradScaler("cpu", growth_factor=1.0)


def test_scaler_state():
    first, second = amp.GradScaler("cpu", init_scale=4.0, growth_interval=7), amp.GradScaler("cpu")
    second.load_state_dict(first.state_dict())
    assert second.get_scale() == 4.0
    assert second.get_growth_interval() == 7
    with pytest.raises(RuntimeError, match="empty"):
        second.load_state_dict({})
    assert [type(x) for x in first.scale([chainrule.ones(1), (chainrule.ones(1),)])] == [chainrule.Tensor, tuple]


def test_custom_functions():
    class Product(chainrule.autograd.Function):
        @staticmethod
        @amp.custom_fwd(device_type="cpu", cast_inputs=chainrule.float32)
        def forward(ctx, a, b):
            assert not chainrule.is_autocast_cpu_enabled()
            ctx.save_for_backward(a, b)
            return a @ b

        @staticmethod
        @amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            a, b = ctx.saved_tensors
            return g @ b.T, a.T @ g

    m = numbers(3, 3).requires_grad_()
    with chainrule.autocast("cpu"):
        out = Product.apply(m.bfloat16(), m)
    assert out.dtype == chainrule.float32
    out.sum().backward()
    assert m.grad.dtype == chainrule.float32


# -- PyTorch ----------------------------------------------------------------------------------------------------------

CALLS = """
m@m | t.mm(m,m) | t.bmm(b,b) | t.addmm(m,m,m) | t.baddbmm(b,b,b) | t.addbmm(m,b,b) | F.linear(m,m,v)
F.conv1d(b,b[:,:,:3]) | F.conv2d(x,k) | F.conv_transpose2d(x,k.transpose(0,1)) | t.einsum('ij,jk->ik',m,m)
F.scaled_dot_product_attention(b,b,b) | F.bilinear(m,m,b) | F.softmax(h,-1) | F.log_softmax(h,-1)
F.layer_norm(h,(4,)) | F.layer_norm(h,(4,),v,v) | F.layer_norm(m,(4,)) | F.group_norm(y,2) | F.batch_norm(y,v,v*v)
h.sum() | h.prod() | h.cumsum(0) | h.exp() | h.pow(2) | h.mean() | F.mse_loss(h,m) | F.l1_loss(h,h)
F.smooth_l1_loss(h,h) | F.huber_loss(h,h) | F.cross_entropy(h,l) | F.nll_loss(h,l)
F.binary_cross_entropy(h.sigmoid(),h.sigmoid()) | F.binary_cross_entropy_with_logits(h,h)
F.kl_div(h,h,reduction='sum')
F.hinge_embedding_loss(h,h) | F.cosine_embedding_loss(h,h,t.ones(4)) | F.soft_margin_loss(h,h)
F.triplet_margin_loss(h,h,h) | F.multi_margin_loss(h,l) | F.multilabel_soft_margin_loss(h,h) | F.poisson_nll_loss(h,h)
F.gaussian_nll_loss(h,h,h.abs()) | F.cosine_similarity(h,h) | t.cdist(h,h) | t.cat([m,h]) | t.stack([m,h]) | m+h
F.prelu(m,v) | F.interpolate(y,scale_factor=2) | F.avg_pool2d(y,2) | t.linalg.inv(h) | t.linalg.vector_norm(h)
t.nn.GRU(4,3)(b)[0] | t.nn.LSTM(4,3)(b)[0] | t.nn.RNN(4,3)(b)[0] | m.double()@m.double()
t.nn.MultiheadAttention(4,2)(b,b,b)[0]
"""


@pytest.mark.torch
@pytest.mark.parametrize("call", [c.strip() for line in CALLS.strip().splitlines() for c in line.split("|")])
def test_dtypes_of_results_are_pytorch_s(call):
    torch = pytest.importorskip("torch")
    kinds = []
    for t in (torch, chainrule):
        t.manual_seed(0)
        m, v, b, x, k = t.randn(4, 4), t.randn(4), t.randn(2, 4, 4), t.randn(2, 4, 8, 8), t.randn(3, 4, 3, 3)
        names = {"t": t, "F": t.nn.functional, "m": m, "v": v, "b": b, "x": x, "k": k}
        names.update(h=m.to(t.bfloat16), y=x.to(t.bfloat16), l=t.arange(4))
        with warnings.catch_warnings(), t.autocast("cpu"):
            warnings.simplefilter("ignore")
            kinds.append(str(eval(call, names).dtype).partition(".")[2])
    assert kinds[0] == kinds[1]


@pytest.mark.torch
def test_scaler_is_pytorch_s():
    torch = pytest.importorskip("torch")
    scales = []
    for t in (torch, chainrule):
        p = t.nn.Parameter(t.zeros(2))
        optimizer = t.optim.SGD([p], lr=0.1)
        scaler = t.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
        for gradient in (1.0, math.inf, 1.0, 1.0, 1.0, math.nan, 2.0):
            scaled_step(scaler, optimizer, p, gradient)
            scales.append((scaler.get_scale(), scaler.state_dict()["_growth_tracker"], p.tolist()))
    half = len(scales) // 2
    assert scales[:half] == scales[half:]
