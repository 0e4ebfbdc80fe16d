"""Autocast and GradScaler: which ops compute in a narrow dtype, gradients, states, and PyTorch as the second oracle."""

import math
import pickle
import threading
import warnings

import pytest
from autocast_table import NOT_HERE, OTHERS, TABLE, inputs

import chainrule
from chainrule import amp, nn, optim, testing
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


def test_older_names():
    with pytest.warns(FutureWarning, match="deprecated"):
        guard = chainrule.cpu.amp.autocast(cache_enabled=False)

    @guard
    def product(m):
        return (m @ m).dtype, chainrule.is_autocast_cache_enabled()

    assert product(numbers(2, 2)) == (chainrule.bfloat16, False)
    assert chainrule.is_autocast_cache_enabled()


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


def test_scaler_s_numbers_are_tensors_that_stay():
    p = nn.Parameter(chainrule.zeros(2))
    optimizer = optim.SGD([p], lr=1.0)
    scaler = amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
    assert scaler.get_scale() == 8.0
    scaled = scaler.scale(p.sum().half())
    assert scaled.dtype == chainrule.float32
    held = scaler._scale, scaler._growth_tracker
    scaled_step(scaler, optimizer, p, 0.5)
    scaled_step(scaler, optimizer, p, math.nan)
    scaler.update(chainrule.tensor(3.0))
    assert (scaler._scale, scaler._growth_tracker) == held
    assert held[0].item() == 3.0
    scaler.load_state_dict({**scaler.state_dict(), "scale": 5.0, "_growth_tracker": 1})
    assert [t.item() for t in held] == [5.0, 1]
    again = pickle.loads(pickle.dumps(scaler))
    assert again.get_scale() == 5.0
    assert again.state_dict() == scaler.state_dict()
    with pytest.raises(AssertionError, match="1-element"):
        scaler.update(chainrule.ones(2))
    scaler.scale(p.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(AssertionError, match="beginning of an iteration"):
        pickle.dumps(scaler)


def test_scaler_does_not_grow_to_infinity():
    p = nn.Parameter(chainrule.zeros(2))
    optimizer = optim.SGD([p], lr=1.0)
    scaler = amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1)
    scaled_step(scaler, optimizer, p, 1e-30)
    assert scaler.get_scale() == 2.0**127


def test_scaler_refuses_gradients_in_float16():
    p = nn.Parameter(chainrule.zeros(2, dtype=chainrule.float16))
    optimizer = optim.SGD([p], lr=1.0)
    scaler = amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(p.sum()).backward()
    with pytest.raises(ValueError, match="unscale FP16 gradients"):
        scaler.unscale_(optimizer)


def test_scaler_with_an_optimizer_of_one_s_own():
    seen = []

    class Own(optim.SGD):
        _step_supports_amp_scaling = True

        def step(self, closure=None):
            scale = self.grad_scale
            seen.append((None if scale is None else scale.item(), self.found_inf.item()))

    class Older(optim.SGD):
        _step_supports_amp_scaling = True

        def step(self, closure=None, grad_scaler=None):
            seen.append(grad_scaler)

    p = nn.Parameter(chainrule.zeros(2))
    scaler = amp.GradScaler("cpu", init_scale=8.0)
    optimizer = Own([p], lr=1.0)
    for gradient in (1.0, math.inf):
        scaled_step(scaler, optimizer, p, gradient)
    optimizer.zero_grad()
    scaler.scale(p.sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert seen == [(8, 0), (8, 1), (None, 0)]
    assert "found_inf" not in vars(optimizer)
    scaler.scale(p.sum()).backward()
    with pytest.warns(FutureWarning, match="stop passing itself"):
        scaler.step(Older([p], lr=1.0))
    assert seen[-1] is scaler


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


def test_backward_runs_in_the_state_of_forward():
    seen = []

    class Square(chainrule.autograd.Function):
        @staticmethod
        @amp.custom_fwd(device_type="cpu")
        def forward(ctx, a):
            ctx.save_for_backward(a)
            return a * a

        @staticmethod
        @amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            seen.append((chainrule.is_autocast_cpu_enabled(), chainrule.get_autocast_dtype("cpu")))
            return 2 * ctx.saved_tensors[0] * g

    m = numbers(3, 3).requires_grad_()
    with chainrule.autocast("cpu", dtype=chainrule.float16):
        out = Square.apply(m)
    out.sum().backward()
    with chainrule.autocast("cpu"):
        Square.apply(m).sum().backward()
    Square.apply(m).sum().backward()
    assert seen == [(True, chainrule.float16), (True, chainrule.bfloat16), (False, chainrule.bfloat16)]


# -- PyTorch ----------------------------------------------------------------------------------------------------------

KINDS = [("float32", "float32"), ("{low}", "{low}"), ("{low}", "float32")]
CALLS = [(call, entry) for entry in TABLE for call in entry.calls]
NAMES = [call for call, _ in CALLS]


def dtypes_of(t, call, place, low):
    """The dtypes of a call's result under autocast, for each pair of dtypes of its inputs; "" where it raises."""
    found = []
    for kinds in KINDS:
        names = inputs(t, *[getattr(t, kind.format(low=low)) for kind in kinds])
        try:
            with warnings.catch_warnings(), t.autocast(place, dtype=getattr(t, low)):
                warnings.simplefilter("ignore")
                found.append(str(eval(call, names).dtype).partition(".")[2])
        except (RuntimeError, NotImplementedError, TypeError, ValueError):
            found.append("")
    return found


@pytest.mark.torch
@pytest.mark.parametrize("low", ["bfloat16", "float16"])
@pytest.mark.parametrize("call", NAMES)
def test_dtypes_of_results_are_pytorch_s(call, low):
    torch = pytest.importorskip("torch")
    want, got = dtypes_of(torch, call, "cpu", low), dtypes_of(chainrule, call, "cpu", low)
    assert [g for w, g in zip(want, got, strict=True) if w] == [w for w in want if w]


@pytest.fixture
def cuda_s_lists(monkeypatch):
    """The lists of CUDA, for arrays on the CPU."""
    monkeypatch.setitem(module.LISTS, "cpu", module.LISTS["cuda"])


@pytest.mark.parametrize(("call", "entry"), CALLS, ids=NAMES)
def test_dtypes_of_results_on_cuda(cuda_s_lists, call, entry):
    got = dtypes_of(chainrule, call, "cpu", "float16")
    if entry.cuda == "-":
        return  # what it gives is no matter of autocast; that it is not listed is the next test's
    want = {"narrow": ["float16"] * 3, "wide": ["float32"] * 3, "error": [""] * 3}
    assert got == want.get(entry.cuda, ["float32", "float16", "float32"])


UNLISTED = [call for call, entry in CALLS if entry.cuda == "-" == entry.cpu]


@pytest.mark.parametrize("call", UNLISTED)
def test_other_ops_compute_as_without_autocast(cuda_s_lists, call):
    plain = []
    for kinds in KINDS:
        names = inputs(chainrule, *[getattr(chainrule, kind.format(low="float16")) for kind in kinds])
        plain.append(str(eval(call, names).dtype).partition(".")[2])
    assert dtypes_of(chainrule, call, "cpu", "float16") == plain


@pytest.mark.torch
@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_the_table_has_every_op_that_pytorch_registers(place):
    torch = pytest.importorskip("torch")
    registered = torch._C._dispatch_get_registrations_for_dispatch_key(f"Autocast{place.upper()}")
    names = {name.removeprefix("aten::").partition(".")[0] for name in registered}
    assert len(names) > 80
    entered = {op for entry in TABLE if getattr(entry, place) != "-" for op in entry.ops}
    assert names - entered == (NOT_HERE | OTHERS if place == "cpu" else set())


def test_a_parameter_is_narrowed_once():
    p, x = numbers(4, 4).requires_grad_(), numbers(2, 4)
    with chainrule.autocast("cpu", dtype=chainrule.float16) as outer:
        first = F.linear(x, p)
        cache = module._CACHE.get()
        assert len(cache) == 1
        held = next(iter(cache.values()))[4]
        with chainrule.no_grad(), chainrule.autocast("cpu", dtype=chainrule.float16):
            F.linear(x, p)
        second = F.linear(x, p)
        assert next(iter(cache.values()))[4] is held
        with chainrule.no_grad():
            p.mul_(2)
        third = F.linear(x, p)
        assert outer is not None
    assert module._CACHE.get() is None
    assert chainrule.equal(third, first * 2)
    (first.sum() + second.sum()).backward()
    testing.assert_close(p.grad, 2 * x.half().float().sum(0).expand(4, 4), rtol=2e-3, atol=2e-3)


def test_the_cache_can_be_off_and_a_use_under_no_grad_leaves_no_trace():
    p, x = numbers(4, 4).requires_grad_(), numbers(2, 4)
    assert chainrule.is_autocast_cache_enabled()
    with chainrule.autocast("cpu", cache_enabled=False):
        assert not chainrule.is_autocast_cache_enabled()
        F.linear(x, p)
        assert module._CACHE.get() is None
    with chainrule.autocast("cpu"):
        with chainrule.no_grad():
            F.linear(x, p)
        F.linear(x, p).sum().backward()
        chainrule.clear_autocast_cache()
        assert module._CACHE.get() == {}
    assert p.grad is not None
    chainrule.set_autocast_cache_enabled(False)
    try:
        with chainrule.autocast("cpu"):
            assert module._CACHE.get() is None
    finally:
        chainrule.set_autocast_cache_enabled(True)


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
