"""Why a score is what it is: gradients, their integrals, rectified signals, class activation maps, occlusion."""

import threading

import digits_network
import numpy as np
import pytest

import chainrule as cr
from chainrule import explain, nn
from chainrule.explain.scope import layer_of
from chainrule.nn import functional as F


class Convolutional(nn.Module):
    """A ReLU of each kind, dropout, batch norm: (N, 2, 7, 6) → (N, 3)."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 3, 3)
        self.norm, self.dropout = nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        x = self.relu(self.norm(self.conv1(x)))
        x = F.relu(self.conv2(F.max_pool2d(x, 2)), inplace=True)
        return self.head(self.dropout(x.mean((2, 3)).relu()))


class Recurrent(nn.Module):
    """(N, 4, 3) → (N, 3): an LSTM, and an Elman network with ReLU behind it."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.rnn = nn.RNN(5, 4, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.rnn(self.lstm(x)[0])[0][:, -1])


class Attentive(nn.Module):
    """(N, 4, 8) → (N, 3): an encoder layer, whose scores are of the first place."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.layer(x)[:, 0])


SHAPES = {Convolutional: (2, 7, 6), Recurrent: (4, 3), Attentive: (4, 8)}


def made(kind, n=2):
    """A model in float64 and in training mode, and inputs for it."""
    cr.manual_seed(0)
    model = kind().double()
    for p in model.parameters():  # no bias is 0
        cr.nn.init.normal_(p, std=0.4)
    return model, cr.randn(n, *SHAPES[kind], dtype=cr.float64)


def differences(model, x, target, h=1e-6):
    """Central differences of the score of each sample, by each element of its input."""
    model.eval()
    found = np.zeros(x.shape)
    with cr.no_grad():
        for place in np.ndindex(*x.shape):
            values = []
            for step in (h, -h):
                moved = x.clone()
                moved[place] += step
                values.append(explain.scores(model(moved), target)[place[0]].item())
            found[place] = (values[0] - values[1]) / (2 * h)
    return found


# -- by the gradient ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SHAPES)
def test_saliency_is_the_gradient(kind):
    model, x = made(kind)
    target = cr.tensor([2, 0])
    signed = explain.saliency(model, x, target, absolute=False)
    assert all(module.training for module in model.modules())
    expected = differences(model, x, target)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(signed.numpy(), expected, rtol=1e-5, atol=1e-8)
    assert cr.equal(explain.saliency(model, x, target), signed.abs())
    assert cr.equal(explain.input_x_gradient(model, x, target), x * signed)
    assert not signed.requires_grad


def test_targets():
    model, x = made(Convolutional, 3)
    model.eval()
    output = model(x)
    chosen = output.argmax(1)
    expected = explain.saliency(model, x, chosen)
    for target in (None, chosen.tolist(), lambda o: o.gather(1, chosen[:, None])[:, 0], lambda o: o.amax(1).sum()):
        assert cr.allclose(explain.saliency(model, x, target), expected)
    for target in (1, (1,), cr.tensor(1), -2, np.int64(1), [1, 1, 1], lambda o: o[:, 1]):
        assert cr.allclose(explain.saliency(model, x, target), explain.saliency(model, x, cr.tensor([1, 1, 1])))
    one = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)).double()
    assert explain.saliency(one, cr.randn(4, 3, dtype=cr.float64)).shape == (4, 3)


@pytest.mark.parametrize(
    ("target", "kind", "message"),
    [
        (3, IndexError, "out of bounds"),
        ([0, 7], IndexError, "class 7 of an output of 3 classes"),
        ([0, -4], IndexError, "class -4"),
        ([0, 1, 2], ValueError, "3,. classes as target of 2 samples"),
        ([0.0, 1.0], TypeError, "a class, an integer, not of"),
        ((), ValueError, "no place"),
        (lambda o: o, ValueError, "one score a sample"),
        (lambda o: o.argmax(1), ValueError, "no gradient"),
    ],
)
def test_wrong_targets(target, kind, message):
    model, x = made(Convolutional)
    with pytest.raises(kind, match=message):
        explain.saliency(model, x, target)
    assert model.conv1.weight.requires_grad


def test_wrong_inputs():
    model, x = made(Recurrent)
    with pytest.raises(TypeError, match="tensor of floats, not chainrule"):
        explain.saliency(model, x.long())
    with pytest.raises(TypeError, match="not ndarray"):
        explain.saliency(model, x.numpy())
    with pytest.raises(TypeError, match="a Module, not a function"):
        explain.saliency(lambda y: y, x)
    with pytest.raises(ValueError, match="no layer 'lstn'; it has lstm, rnn, head"):
        explain.saliency(model, x, layer="lstn")
    with pytest.raises(ValueError, match="no layer a Linear"):
        explain.saliency(model, x, layer=nn.Linear(2, 2))
    with pytest.raises(TypeError, match="not tuple"):
        explain.saliency(model, x, layer="lstm")
    with pytest.raises(ValueError, match="for one of them: x"):
        explain.saliency(nn.Linear(3, 2), cr.zeros(3))
    with pytest.raises(ValueError, match="name a place"):
        explain.saliency(nn.Conv2d(2, 3, 1).double(), cr.zeros(1, 2, 4, 4, dtype=cr.float64))


class Two(nn.Module):
    """Scores of two tensors and a mask: each of its own length."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 2), nn.Linear(4, 2)

    def forward(self, x, y, keep=None):
        out = self.first(x).tanh() * self.second(y)
        return out if keep is None else out * keep


def test_several_inputs():
    cr.manual_seed(0)
    model, x, y = Two(), cr.randn(2, 3), cr.randn(2, 4)
    keep = cr.tensor([[True, True], [True, False]])
    a, b, none = explain.saliency(model, (x, y, keep), 1)
    assert a.shape == (2, 3)
    assert b.shape == (2, 4)
    assert none is None
    assert (a[1] == 0).all()
    assert (a[0] > 0).all()
    found = explain.smooth_grad(model, (x, y), 1, noise=0.0, samples=2, absolute=True)
    for one, other in zip(found, explain.saliency(model, (x, y), 1), strict=True):
        assert cr.allclose(one, other)
    baselines = (cr.ones(3), 0.5)
    attributions, delta = explain.integrated_gradients(model, (x, y), 0, baselines=baselines, return_delta=True)
    with cr.no_grad():
        change = model(x, y)[:, 0] - model(cr.ones(2, 3), cr.full((2, 4), 0.5))[:, 0]
    assert cr.allclose(sum(a.sum(1) for a in attributions), change, atol=1e-5)
    assert delta.abs().max() < 1e-5
    with pytest.raises(ValueError, match="1 values for 2 inputs"):
        explain.integrated_gradients(model, (x, y), 0, baselines=(0.0,))


def test_tokens_by_their_embeddings():
    cr.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 5), nn.Flatten(), nn.Linear(20, 3)).double()
    tokens = cr.tensor([[1, 2, 3, 3], [0, 6, 5, 1]])
    slope = explain.saliency(model, tokens, 2, layer="0", absolute=False)
    assert cr.allclose(slope, model[2].weight[2].reshape(1, 4, 5).expand(2, 4, 5))
    vectors = model[0](tokens).detach()
    assert cr.allclose(explain.input_x_gradient(model, tokens, 2, layer=model[0]), vectors * slope)
    found, delta = explain.integrated_gradients(model, tokens, 2, layer="0", return_delta=True)
    assert cr.allclose(found, vectors * slope)
    assert delta.abs().max() < 1e-12
    assert explain.smooth_grad(model, tokens, layer="0").shape == (2, 4, 5)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(self.layer(x))

    with pytest.raises(ValueError, match="once in a run of the model, not 2"):
        explain.saliency(Twice(), cr.ones(1, 2), layer="layer")


# -- SmoothGrad ---------------------------------------------------------------------------------------------------


def test_smooth_grad_without_noise_is_saliency():
    model, x = made(Convolutional)
    for options in ({}, {"absolute": True}):
        found = explain.smooth_grad(model, x, noise=0, samples=3, **options)
        assert cr.allclose(found, explain.saliency(model, x, absolute="absolute" in options))
    squared = explain.smooth_grad(model, x, noise=0, samples=3, squared=True)
    assert cr.allclose(squared, explain.saliency(model, x) ** 2)


class Cubes(nn.Module):
    """Σ x³, whose gradient 3 x² has the mean 3 (x² + σ²) under noise."""

    def forward(self, x):
        return (x**3).sum(1, keepdim=True)


def test_smooth_grad_is_the_mean_under_noise():
    cr.manual_seed(0)
    x = cr.tensor([[0.0, 1.0, -1.0], [0.0, 10.0, 2.0]], dtype=cr.float64)
    found = explain.smooth_grad(Cubes(), x, samples=20000, noise=0.1, batch=4096)
    sigma = cr.tensor([[0.2], [1.0]], dtype=cr.float64)  # of the range of each sample
    expected = 3 * (x**2 + sigma**2)
    error = 3 * (4 * x**2 * sigma**2 + 2 * sigma**4).sqrt() / 20000**0.5
    assert ((found - expected).abs() < 4 * error).all()
    squares = explain.smooth_grad(Cubes(), x, samples=20000, noise=0.1, squared=True, batch=4096)
    fourth = 9 * (x**4 + 6 * x**2 * sigma**2 + 3 * sigma**4)
    assert ((squares - fourth).abs() < 0.1 * fourth).all()
    once, again = (explain.smooth_grad(Cubes(), x, samples=5, generator=cr.Generator().manual_seed(s)) for s in (1, 1))
    assert cr.equal(once, again)
    with pytest.raises(ValueError, match="samples of 1 or more"):
        explain.smooth_grad(Cubes(), x, samples=0)


def test_smooth_grad_keeps_the_class():
    """The class is that of the input, though noise would change which one has the largest score."""
    model = nn.Linear(2, 2, bias=False)
    with cr.no_grad():
        model.weight.copy_(cr.tensor([[1.0, 0.0], [0.0, 1.0]]))
    found = explain.smooth_grad(model, cr.tensor([[1.0, 0.99]]), noise=50.0, samples=40)
    assert found.tolist() == [[1.0, 0.0]]


# -- integrated gradients -----------------------------------------------------------------------------------------


class Polynomial(nn.Module):
    """x y² + 3 x of inputs (x, y); another form of the same function where `other`."""

    def __init__(self, other=False):
        super().__init__()
        self.other = other

    def forward(self, p):
        x, y = p[:, :1], p[:, 1:]
        return x * (y + 1) ** 2 - 2 * x * y + 2 * x if self.other else x * y * y + 3 * x


@pytest.mark.parametrize("other", [False, True])
def test_integrated_gradients_by_hand(other):
    # From (0, 0) to (x, y): ∫ x (α² y² + 3) dα = x y² / 3 + 3 x, and ∫ y 2 α² x y dα = 2 x y² / 3.
    model = Polynomial(other)
    x = cr.tensor([[2.0, 3.0], [-1.0, 2.0]], dtype=cr.float64)
    found, delta = explain.integrated_gradients(model, x, steps=2, return_delta=True)
    assert cr.allclose(found, cr.tensor([[12.0, 12.0], [-13 / 3, -8 / 3]], dtype=cr.float64))
    assert delta.shape == (2,)
    assert delta.abs().max() < 1e-12
    # From (1, 1) to (2, 3): ∫ (1 + 2α)² + 3 dα = 13/3 + 3, and 2 ∫ 2 (1 + α) (1 + 2α) dα = 2 (2 + 3 + 4/3).
    base = cr.tensor([1.0, 1.0], dtype=cr.float64)
    found = explain.integrated_gradients(model, x[:1], baselines=base, steps=2)
    assert cr.allclose(found, cr.tensor([[13 / 3 + 3, 4 + 6 + 8 / 3]], dtype=cr.float64))


def test_integrated_gradients_of_a_linear_model_are_exact():
    cr.manual_seed(0)
    model, x, base = nn.Linear(4, 3).double(), cr.randn(5, 4).double(), cr.randn(5, 4).double()
    for method in ("gausslegendre", "riemann_left", "riemann_middle", "riemann_right", "riemann_trapezoid"):
        found, delta = explain.integrated_gradients(
            model, x, 1, baselines=base, steps=2, method=method, return_delta=True
        )
        assert cr.allclose(found, (x - base) * model.weight[1])
        assert delta.abs().max() < 1e-12


@pytest.mark.parametrize("kind", [Recurrent, Attentive])
def test_integrated_gradients_are_complete(kind):
    model, x = made(kind)
    model.eval()
    with cr.no_grad():
        change = model(x)[:, 1] - model(cr.zeros_like(x))[:, 1]
    found, delta = explain.integrated_gradients(model, x, 1, steps=300, return_delta=True)
    error = found.sum((1, 2)) - change
    assert cr.allclose(delta, error, atol=1e-12)
    assert (delta.abs() < 5e-3 * change.abs()).all()
    rough = explain.integrated_gradients(model, x, 1, steps=4, method="riemann_right", return_delta=True)[1]
    assert (rough.abs() > 10 * delta.abs()).all()


def test_completeness_on_the_digits_network():
    model, (images, classes) = digits_network.trained(), digits_network.data()[1]
    x, target = images[:8], classes[:8]
    with cr.no_grad():
        change = (model(x) - model(cr.zeros_like(x))).gather(1, target[:, None])[:, 0]
    found, delta = explain.integrated_gradients(model, x, target, steps=300, return_delta=True)
    assert cr.allclose(found.sum((1, 2, 3)) - change, delta, atol=1e-4)
    assert (delta.abs() < 0.01 * change.abs()).all()
    in_parts = explain.integrated_gradients(model, x, target, steps=300, batch=1)
    assert cr.allclose(in_parts, found, atol=1e-4)
    by_function = explain.integrated_gradients(model, x, lambda o: o.gather(1, target[:, None])[:, 0], steps=300)
    assert cr.allclose(by_function, found, atol=1e-4)


def test_integrated_gradients_of_a_sum_over_the_batch():
    model, x = made(Attentive)
    found, delta = explain.integrated_gradients(model, x, lambda o: o[:, 1].sum(), return_delta=True, steps=100)
    assert cr.allclose(found, explain.integrated_gradients(model, x, 1, steps=100))
    assert delta.shape == (1,)


def test_wrong_integrals():
    model, x = made(Attentive)
    with pytest.raises(ValueError, match="no rule 'simpson'"):
        explain.integrated_gradients(model, x, method="simpson")
    with pytest.raises(ValueError, match="2 steps or more, not 1"):
        explain.integrated_gradients(model, x, method="riemann_trapezoid", steps=1)
    with pytest.raises(ValueError, match="has to broadcast"):
        explain.integrated_gradients(model, x, baselines=cr.zeros(5))


# -- nothing is left behind ---------------------------------------------------------------------------------------


def state_of(model):
    return (
        [(m.training, m._hooks) for m in model.modules()],
        [(p.requires_grad, p.grad) for p in model.parameters()],
        {k: v.clone() for k, v in model.state_dict().items()},
    )


def assert_same(before, after):
    assert before[:2] == after[:2]
    assert all(cr.equal(v, after[2][k]) for k, v in before[2].items())


class Failing(Exception):
    pass


def fail(*_):
    raise Failing


def fail_in(layer, model, x):
    with explain.looking(layer) as look:
        look.hook(layer, fail)
        return model(x)


METHODS = {
    "saliency": lambda model, x, target: explain.saliency(model, x, target),
    "saliency of a layer": lambda model, x, target: explain.saliency(model, x, target, layer="conv1"),
    "smooth_grad": lambda model, x, target: explain.smooth_grad(model, x, target, samples=2),
    "integrated_gradients": lambda model, x, target: explain.integrated_gradients(model, x, target, steps=2),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("failing", [False, True])
def test_the_model_stays_as_it_was(name, failing):
    model, x = made(Convolutional)
    model.norm.eval()
    model.conv2.requires_grad_(False)
    model.head.weight.grad = cr.ones_like(model.head.weight)
    before = state_of(model)
    if failing:
        with pytest.raises(Failing):
            METHODS[name](model, x, fail)
    else:
        METHODS[name](model, x, 0)
    assert_same(before, state_of(model))
    assert not x.requires_grad
    assert cr.is_grad_enabled()


def test_looking_nests_and_records_under_no_grad():
    model, x = made(Convolutional)
    before = state_of(model)
    with cr.no_grad(), explain.looking(model) as outer:
        seen = outer.outputs(model.conv1)
        with pytest.raises(Failing):
            fail_in(model.conv1, model, x)
        assert not model.conv1.weight.requires_grad
        assert not model.training
        assert cr.equal(explain.saliency(model, x, 0), explain.saliency(model, x, 0))
        assert cr.is_grad_enabled()
        assert not model.conv1.weight.requires_grad
    assert len(seen) == 3
    assert not cr.is_inference_mode_enabled()
    assert_same(before, state_of(model))
    with cr.inference_mode():
        found = explain.saliency(model, x, 0)
    assert cr.equal(found, explain.saliency(model, x, 0))


def test_training_mode_keeps_the_running_statistics():
    model, x = made(Convolutional)
    before = state_of(model)
    with explain.looking(model, training=True):
        assert model.dropout.training
        model(x)
        assert model.norm.num_batches_tracked.item() == 1
    assert_same(before, state_of(model))


def test_what_a_layer_gave_is_not_changed_in_place():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(inplace=True))
    with cr.no_grad():
        model[0].weight.copy_(cr.eye(2))
    x = cr.tensor([[-1.0, 2.0]])
    with explain.looking(model) as look:
        seen = look.outputs(model[0])
        run = look.until(model, ["0", None])
        assert model(x).tolist() == [[0.0, 2.0]]
        assert [y.tolist() for y in run(x)] == [[[-1.0, 2.0]], [[0.0, 2.0]]]
    assert [y.tolist() for y in seen] == [[[-1.0, 2.0]]] * 2


def test_a_model_is_run_as_far_as_a_layer():
    calls = []
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(3, 3))  # the last does not fit
    model[2].register_forward_pre_hook(lambda *_: calls.append(1))
    with explain.looking(model) as look:
        run = look.until(model, [model[1], "0"])
        tanh, linear = run(cr.ones(1, 2))
        assert cr.allclose(tanh, linear.tanh())
        unused = nn.Module()
        unused.used, unused.spare, unused.forward = nn.Tanh(), nn.Tanh(), lambda x: unused.used(x)
        with explain.looking(unused) as other:
            run = other.until(unused, ["used", "spare"])
            with pytest.raises(ValueError, match="does not call 'spare'"):
                run(cr.ones(1))
    assert not calls


def test_threads_look_at_one_model_together():
    model, x = made(Convolutional, 6)
    before = state_of(model)
    expected = [explain.saliency(model, x[i : i + 1], 0) for i in range(6)]
    barrier, found, errors = threading.Barrier(6), [None] * 6, []

    def look(i):
        try:
            barrier.wait()
            for _ in range(5):
                found[i] = explain.saliency(model, x[i : i + 1], 0, layer=None)
                explain.saliency(model, x[i : i + 1], 0, layer="conv1")  # whose hook is this thread's alone
                with explain.looking(model) as looking:
                    seen = looking.outputs(model.conv2)
                    model(x[i : i + 1])
                    assert len(seen) == 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=look, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert all(cr.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert_same(before, state_of(model))


def test_layers_by_name_and_by_object():
    model = Convolutional()
    assert layer_of(model, "conv2") is model.conv2
    assert layer_of(model, model.conv2) is model.conv2
    assert layer_of(model, model) is model
    shared = nn.Sequential(model.conv1, model.conv1)
    assert layer_of(shared, "1") is model.conv1
