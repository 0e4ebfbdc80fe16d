"""Why a score is what it is: gradients, their integrals, rectified signals, class activation maps, occlusion."""

import threading

import digits_network
import numpy as np
import pytest

import chainrule as cr
from chainrule import explain, nn
from chainrule.autograd.ops.linear import feed_forward
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
    for target in (np.int64(1), cr.tensor(1), [1, 1, 1]):  # variants of all samples in one batch
        found = explain.integrated_gradients(model, x, target, steps=3)
        assert cr.equal(found, explain.integrated_gradients(model, x, 1, steps=3))
    assert explain.grad_cam(model, x, layer="conv1", size=np.int64(5)).shape == (3, 5, 5)
    assert explain.occlusion(model, x, window=np.int64(3)).shape == (3, 7, 6)
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
    with pytest.raises(TypeError, match=r"not of chainrule\.int64: .*name that layer"):
        explain.saliency(model, x.long())
    with pytest.raises(TypeError, match="not ndarray"):
        explain.saliency(model, x.numpy())
    for method in (explain.saliency, lambda model, x: explain.occlusion(model, x, window=1)):
        with pytest.raises(TypeError, match="no inputs to explain"):
            method(model, ())
        with pytest.raises(TypeError, match="not float"):
            method(model, (1.0, 2.0))
    with pytest.raises(TypeError, match="a Module, not a function"):
        explain.saliency(lambda y: y, x)
    with pytest.raises(ValueError, match="no layer 'lstn'; it has lstm, rnn, head"):
        explain.saliency(model, x, layer="lstn")
    with pytest.raises(ValueError, match="no layer a Linear"):
        explain.saliency(model, x, layer=nn.Linear(2, 2))
    with pytest.raises(TypeError, match="gives a tuple, not a tensor: name one that gives a tensor"):
        explain.saliency(model, x, layer="lstm")
    with pytest.raises(ValueError, match="2 scores of 3 inputs"):
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


def test_inputs_by_keyword():
    """A dict of arguments, as `activations` and `summary` take it: attributions come as a dict as well."""
    cr.manual_seed(0)
    model, x, y = Two(), cr.randn(2, 3), cr.randn(2, 4)
    keep = cr.tensor([[True, True], [True, False]])
    for method in (
        explain.saliency,
        explain.input_x_gradient,
        explain.integrated_gradients,
        explain.guided_backprop,
        lambda *given, **more: explain.occlusion(*given, window=1, **more),
        lambda *given: explain.integrated_gradients(*given, return_delta=True)[0],
    ):
        found = method(model, {"keep": keep, "y": y, "x": x}, 1)
        assert list(found) == ["keep", "y", "x"]
        a, b, none = method(model, (x, y, keep), 1)
        assert found["keep"] is none is None
        assert cr.equal(found["x"], a)
        assert cr.equal(found["y"], b)
    found = explain.integrated_gradients(model, {"y": y, "x": x}, 0, baselines={"x": 1.0})
    for name, one in zip("xy", explain.integrated_gradients(model, (x, y), 0, baselines=(1.0, None)), strict=True):
        assert cr.equal(found[name], one)
    assert explain.saliency(model, {"x": x, "y": y}, 1, layer="first").shape == (2, 2)
    with pytest.raises(ValueError, match=r"values for z, which is none of the inputs: x, y"):
        explain.integrated_gradients(model, {"x": x, "y": y}, 0, baselines={"z": 1.0})


def test_a_model_that_changes_its_inputs_in_place():
    model, x = made(Attentive)

    class Scaling(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            x -= 0.5
            return self.model(x.mul_(2.0))

    before = x.clone()
    assert cr.allclose(explain.saliency(Scaling(), x, 1), 2 * explain.saliency(model, 2 * x - 1, 1))
    assert cr.allclose(
        explain.integrated_gradients(Scaling(), x, 1, steps=5),
        explain.integrated_gradients(model, 2 * x - 1, 1, baselines=-1, steps=5),
    )
    assert cr.allclose(
        explain.occlusion(Scaling(), x, 1, window=(1, 8)),
        explain.occlusion(model, 2 * x - 1, 1, window=(1, 8), value=-1),
    )
    assert explain.smooth_grad(Scaling(), x, 1, samples=2).shape == x.shape
    assert explain.guided_backprop(Scaling(), x, 1).shape == x.shape
    assert cr.equal(x, before)


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
    x, target = images[:4], classes[:4]
    with cr.no_grad():
        change = (model(x) - model(cr.zeros_like(x))).gather(1, target[:, None])[:, 0]
    found, delta = explain.integrated_gradients(model, x, target, steps=100, return_delta=True)
    assert cr.allclose(found.sum((1, 2, 3)) - change, delta, atol=1e-4)
    assert (delta.abs() < 0.02 * change.abs()).all()
    in_parts = explain.integrated_gradients(model, x, target, steps=100, batch=1)
    assert cr.allclose(in_parts, found, atol=1e-4)
    by_function = explain.integrated_gradients(model, x, lambda o: o.gather(1, target[:, None])[:, 0], steps=100)
    assert cr.allclose(by_function, found, atol=1e-4)


def test_integrated_gradients_of_a_sum_over_the_batch():
    model, x = made(Attentive)
    found, delta = explain.integrated_gradients(model, x, lambda o: o[:, 1].sum(), return_delta=True, steps=100)
    assert cr.allclose(found, explain.integrated_gradients(model, x, 1, steps=100))
    model.eval()
    with cr.no_grad():
        change = (model(x) - model(cr.zeros_like(x)))[:, 1].sum()
    assert delta.shape == (1,)
    assert cr.allclose(delta, found.sum() - change)


def test_batch_in_the_second_dimension():
    """Of a network that wants (time, batch, features) a function names the scores."""
    cr.manual_seed(0)
    model, x = nn.LSTM(3, 4), cr.randn(5, 2, 3)

    def last(output):
        return output[0][-1, :, 0]

    found, delta = explain.integrated_gradients(model, x, last, return_delta=True)
    assert found.shape == x.shape
    assert delta.shape == (1,)
    assert delta.abs().max() < 1e-5
    with pytest.raises(TypeError, match="gives a tuple: name the score by a function"):
        explain.saliency(model, x)


def test_samples_that_are_normalised_together_stay_together():
    """A batch norm without running statistics: variants of the samples in one batch would change one another's."""
    cr.manual_seed(0)
    norm = nn.BatchNorm1d(4, track_running_stats=False)
    model, x = nn.Sequential(nn.Linear(3, 4), norm, nn.Tanh(), nn.Linear(4, 2)).double(), cr.randn(5, 3).double()
    _, delta = explain.integrated_gradients(model, x, 1, steps=60, baselines=cr.randn(5, 3), return_delta=True)
    assert delta.sum().abs() < 1e-6  # of the batch, the score of which all samples share
    change = explain.occlusion(model, x, 1, window=1)[:, 0]
    covered = x.clone()
    covered[:, 0] = 0
    assert cr.allclose(change, (model(x) - model(covered))[:, 1])


def test_no_samples_at_all():
    model, x = made(Convolutional)
    for method in (explain.saliency, explain.smooth_grad, explain.integrated_gradients, explain.guided_backprop):
        assert method(model, x[:0], 1).shape == (0, 2, 7, 6)
    assert explain.occlusion(model, x[:0], 1, window=3).shape == (0, 7, 6)
    assert explain.grad_cam(model, x[:0], 1, layer="conv1").shape == (0, 7, 6)


def test_wrong_integrals():
    model, x = made(Attentive)
    with pytest.raises(ValueError, match="no rule 'simpson'"):
        explain.integrated_gradients(model, x, method="simpson")
    with pytest.raises(ValueError, match="2 steps or more, not 1"):
        explain.integrated_gradients(model, x, method="riemann_trapezoid", steps=1)
    with pytest.raises(ValueError, match="has to broadcast"):
        explain.integrated_gradients(model, x, baselines=cr.zeros(5))


# -- guided backpropagation and the deconvnet ---------------------------------------------------------------------

RELUS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "functional": F.relu,
    "functional in place": lambda x: F.relu(x, inplace=True),
    "function": cr.relu,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(min=0),
    "clamp in place": lambda x: x.clamp_(0, None),
    "relu6": F.relu6,
    "ReLU6": nn.ReLU6(),
    "recomputed": lambda x: cr.utils.checkpoint.checkpoint(cr.relu, x, use_reentrant=False),
    "recomputed clamp": lambda x: cr.utils.checkpoint.checkpoint(lambda y: y.clamp(min=0.0), x, use_reentrant=False),
}


class TwoLayers(nn.Module):
    def __init__(self, rectifier):
        super().__init__()
        self.first, self.second, self.rectifier = nn.Linear(2, 3, bias=False), nn.Linear(3, 1, bias=False), rectifier
        self.first.weight.data = cr.tensor([[1.0, -1.0], [2.0, 1.0], [-1.0, 1.0]])
        self.second.weight.data = cr.tensor([[1.0, -2.0, 3.0]])

    def forward(self, x):
        return self.second(self.rectifier(self.first(x)))


@pytest.mark.parametrize("name", RELUS)
def test_two_layers_by_hand(name):
    # The ReLUs get f = (1, 5, -1), and g = (1, -2, 3) comes back to them.
    model, x = TwoLayers(RELUS[name]), cr.tensor([[2.0, 1.0]])
    assert explain.saliency(model, x, absolute=False).tolist() == [[-3.0, -3.0]]  # (1, -2, 0) goes on
    assert explain.guided_backprop(model, x).tolist() == [[1.0, -1.0]]  # (1, 0, 0)
    assert explain.deconvnet(model, x).tolist() == [[-2.0, 2.0]]  # (1, 0, 3)
    # At f = 0 and at g = 0 nothing goes on: f = (0, 3, 0), so (0, 0, 0).
    assert explain.guided_backprop(model, cr.tensor([[1.0, 1.0]])).tolist() == [[0.0, 0.0]]
    assert explain.saliency(model, x, absolute=False).tolist() == [[-3.0, -3.0]]  # as before


def test_deconvnet_is_the_transposed_network():
    """Linear layers and convolutions transposed, unpooling by switches, and ReLUs of the signal."""
    model, (images, classes) = digits_network.trained(), digits_network.data()[1]
    x, target = images[:6], classes[:6]
    with cr.no_grad():
        pooled1, switches1 = F.max_pool2d(model.conv1(x).relu(), 2, return_indices=True)
        pooled2, switches2 = F.max_pool2d(model.conv2(pooled1).relu(), 2, return_indices=True)
        top = (model.fc2.weight[target].relu() @ model.fc1.weight).reshape(pooled2.shape)

        def down(signal):
            signal = F.max_unpool2d(signal, switches2, 2).relu()
            signal = F.conv_transpose2d(signal, model.conv2.weight, padding=1)
            return first(F.max_unpool2d(signal, switches1, 2).relu())

        def first(signal):
            return F.conv_transpose2d(signal, model.conv1.weight, padding=1)

        expected = down(top)
        channel = cr.zeros_like(pooled2)
        channel[:, 3] = pooled2[:, 3]
        strongest = cr.zeros_like(pooled2)
        for i in range(6):
            place = divmod(pooled2[i, 3].argmax().item(), pooled2.shape[3])
            strongest[i, 3][place] = pooled2[i, 3][place]
        whole, one, single = down(pooled2), down(channel), down(strongest)
    assert cr.allclose(explain.deconvnet(model, x, target), expected, atol=1e-6)
    assert cr.allclose(explain.deconvnet(model, x, layer="pool2"), whole, atol=1e-5)
    assert cr.allclose(explain.deconvnet(model, x, layer=model.pool2, unit=(3,)), one, atol=1e-5)
    assert cr.allclose(explain.deconvnet(model, x, layer="pool2", unit=3), single, atol=1e-5)
    assert not cr.allclose(one, single, atol=1e-2)
    gradient = explain.saliency(model, x, target, absolute=False)
    assert not cr.allclose(expected, gradient, atol=0.1)
    guided = explain.guided_backprop(model, x, layer="pool2", unit=(3,))
    assert guided.shape == x.shape
    assert not cr.allclose(guided, one, atol=1e-3)


class Smooth(nn.Module):
    """Max pools, tanh and sigmoid, clamps at other bounds, and no ReLU."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.head = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 2), nn.Linear(2, 3)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x).tanh(), 3, 2).clamp(-0.5, 0.5)
        return self.head(cr.maximum(self.conv2(x).sigmoid(), x[:, :2, :-1, :-1]).amax((2, 3)))


def test_without_relu_both_are_the_gradient():
    cr.manual_seed(0)
    model, x = Smooth().double(), cr.randn(2, 1, 10, 10, dtype=cr.float64)
    expected = explain.saliency(model, x, 1, absolute=False)
    assert (expected != 0).any()
    assert cr.allclose(explain.deconvnet(model, x, 1), expected)
    assert cr.allclose(explain.guided_backprop(model, x, 1), expected)
    linear = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 2))
    image = cr.randn(1, 1, 6, 6)
    assert cr.equal(explain.deconvnet(linear, image, 1), explain.saliency(linear, image, 1, absolute=False))


def test_batch_norm_that_is_joined_to_its_relu():
    """A batch norm of the batch's own statistics, with the ReLU behind it, is one kernel outside of these methods."""
    cr.manual_seed(0)
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    x, weight = cr.randn(8, 4, 16, 16), cr.randn(4)
    for middle in (
        nn.Sequential(norm, nn.ReLU()),
        nn.Sequential(norm, nn.ReLU(inplace=True)),
        nn.Sequential(norm, nn.Identity(), nn.ReLU(inplace=True)),
    ):
        model = nn.Sequential(middle, nn.AvgPool2d(16), nn.Flatten(), nn.Linear(4, 1))
        model[3].weight.data = weight[None]
        leaf = x.clone().requires_grad_()
        out = norm(leaf)
        for method, mask in ((explain.guided_backprop, out > 0), (explain.deconvnet, cr.ones_like(out))):
            g = (weight / 256).relu()[:, None, None] * mask
            (expected,) = cr.autograd.grad(out, leaf, g, retain_graph=True)
            assert cr.allclose(method(model, x), expected, atol=1e-7)


def test_relus_inside_of_layers():
    cr.manual_seed(0)
    rnn, head = nn.RNN(3, 4, nonlinearity="relu", batch_first=True), nn.Linear(4, 1)
    for p in (*rnn.parameters(), *head.parameters()):
        nn.init.normal_(p, 0.3)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = rnn, head

        def forward(self, x):
            return self.head(self.rnn(x)[0][:, -1])

    class Steps(Whole):
        def forward(self, x):
            h = x.new_zeros(len(x), 4)
            for t in range(x.shape[1]):
                h = (F.linear(x[:, t], rnn.weight_ih_l0, rnn.bias_ih_l0) + F.linear(h, rnn.weight_hh_l0)).add(
                    rnn.bias_hh_l0
                )
                h = F.relu(h)
            return head(h)

    x = cr.randn(3, 5, 3) * 3
    for method in (explain.guided_backprop, explain.deconvnet):
        found = method(Whole(), x)
        assert (found != 0).any()
        assert cr.allclose(found, method(Steps(), x), atol=1e-5)

    class Feed(nn.Module):
        def __init__(self, joined):
            super().__init__()
            self.joined, self.first, self.second = joined, nn.Linear(6, 5), nn.Linear(5, 1)

        def forward(self, x):
            if not self.joined:
                return self.second(F.relu(self.first(x)))
            return feed_forward(x, self.first.weight, self.second.weight, self.first.bias, self.second.bias)

    one, other = Feed(True), Feed(False)
    other.load_state_dict(one.state_dict())
    x = cr.randn(4, 6)
    for method in (explain.guided_backprop, explain.deconvnet):
        assert cr.allclose(method(one, x), method(other, x), atol=1e-6)
    model, x = made(Attentive)
    assert not cr.allclose(explain.guided_backprop(model, x, 0), explain.saliency(model, x, 0, absolute=False))


@pytest.mark.parametrize(
    "other",
    [
        *(kind() for kind in (nn.LeakyReLU, nn.GELU, nn.ELU, nn.SELU, nn.PReLU, nn.SiLU, nn.Mish, nn.Softplus)),
        nn.Hardswish(),
        nn.Threshold(0.0, 0.0),
        lambda x: np.maximum(x, 0),
    ],
    ids=lambda f: type(f).__name__,
)
def test_other_rectifiers_are_refused(other):
    for method in (explain.guided_backprop, explain.deconvnet):
        with pytest.raises(ValueError, match="one for ReLUs, and this model has"):
            method(TwoLayers(other), cr.ones(1, 2))
        # of a layer before it, it does not matter
        found = method(TwoLayers(other), cr.tensor([[2.0, 1.0]]), layer="first", unit=1)
        assert found.tolist() == [[10.0, 5.0]]


def test_wrong_units():
    model, x = made(Convolutional)
    with pytest.raises(ValueError, match="not from both"):
        explain.deconvnet(model, x, 1, layer="conv1")
    with pytest.raises(ValueError, match="a class is a target"):
        explain.deconvnet(model, x, unit=1)
    with pytest.raises(IndexError):
        explain.deconvnet(model, x, layer="conv1", unit=9)
    with pytest.raises(TypeError, match="gives a tuple"):
        explain.deconvnet(*made(Recurrent), layer="lstm")
    with pytest.raises(ValueError, match="no layer 'conv3'"):
        explain.guided_backprop(model, x, layer="conv3")


def test_other_threads_and_later_passes_keep_their_rule():
    model, x = TwoLayers(F.relu), cr.tensor([[2.0, 1.0]])
    seen = []

    class Slow(TwoLayers):
        def forward(self, y):
            out = super().forward(y)
            if not seen:
                thread = threading.Thread(target=lambda: seen.append(plain()))
                thread.start()
                thread.join()
                seen.append(plain())
            return out

    def plain():
        leaf = x.clone().requires_grad_()
        model(leaf).backward()
        return leaf.grad.tolist()

    assert explain.deconvnet(Slow(F.relu), x).tolist() == [[-2.0, 2.0]]
    assert seen == [[[-3.0, -3.0]]] * 2


# -- Grad-CAM -----------------------------------------------------------------------------------------------------


def test_grad_cam_by_its_formula():
    model, (images, classes) = digits_network.trained(), digits_network.data()[1]
    x, target = images[:5], classes[:5]
    maps = model.relu2(model.conv2(model.pool1(model.relu1(model.conv1(x))))).detach().requires_grad_()
    score = model.fc2(model.relu3(model.fc1(model.pool2(maps).flatten(1))))[range(5), target].sum()
    slope = cr.autograd.grad(score, maps)[0].numpy()
    alpha = slope.mean((2, 3))
    raw = np.einsum("nk,nkhw->nhw", alpha, maps.detach().numpy())
    found = explain.grad_cam(model, x, target, layer="relu2", relu=False)
    np.testing.assert_allclose(found.numpy(), raw, atol=1e-5)
    heat = explain.grad_cam(model, x, target, layer="relu2")
    np.testing.assert_allclose(heat.numpy(), raw.clip(0), atol=1e-5)
    large = explain.grad_cam(model, x, target, layer="relu2", size="input")
    expected = F.interpolate(heat[:, None], (8, 8), mode="bilinear", align_corners=False)[:, 0]
    assert cr.allclose(large, expected)
    assert explain.grad_cam(model, x, layer=model.conv1, size=(20, 10)).shape == (5, 20, 10)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_grad_cam_of_a_global_average_is_the_class_activation_map(dims):
    """With a mean over the P places and a linear layer, α = w / P: the map is Σ wₖ Aₖ / P (Zhou et al., 2016)."""
    cr.manual_seed(dims)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](2, 4, 3)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = conv, nn.Linear(4, 3)

        def forward(self, x):
            return self.head(F.relu(self.conv(x), inplace=True).flatten(2).mean(2))

    model, x = Net(), cr.randn(1, 2, *(6, 5, 4)[:dims])
    channels = conv(x).detach()
    places = channels[0, 0].numel()
    weights = (model.head.weight[2] / places).reshape(1, 4, *(1,) * dims)
    active = (channels > 0).float().flatten(2).mean(2).reshape(1, 4, *(1,) * dims)  # the layer is before the ReLU
    expected = (weights * active * channels).sum(1).relu()
    assert cr.allclose(explain.grad_cam(model, x, 2, layer="conv"), expected, atol=1e-6)
    assert explain.grad_cam(model, x, 2, layer="conv", size="input").shape == (1, *x.shape[2:])


def test_grad_cam_wants_places():
    model, x = made(Convolutional)
    with pytest.raises(ValueError, match=r"gives \(2, 3\), not \(N, C, places\)"):
        explain.grad_cam(model, x, layer="head")
    with pytest.raises(ValueError, match="no layer 'conv7'"):
        explain.grad_cam(model, x, layer="conv7")
    for size in ("inputs", (3,), 0):
        with pytest.raises(ValueError, match=r'2 sizes of 1 or more, one for all, "input" or None, not'):
            explain.grad_cam(model, x, layer="conv1", size=size)
    tokens = nn.Sequential(nn.Embedding(4, 6), nn.Conv1d(3, 2, 1), nn.Flatten(), nn.Linear(12, 2))
    found = explain.grad_cam(tokens, cr.tensor([[1, 2, 3]]), layer="1")  # no gradient for the inputs, and none needed
    assert found.shape == (1, 6)


# -- a network that sees a patch ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted():
    """(a network that tells images with a cross from images without, images with it, the cross' corners)."""
    cr.manual_seed(0)
    rng = np.random.default_rng(0)
    cross = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], np.float32)

    def batch(n):
        images = rng.random((n, 1, 12, 12), np.float32) * 0.5
        corners, there = rng.integers(0, 10, (n, 2)), rng.integers(0, 2, n)
        for image, (r, c), yes in zip(images, corners, there, strict=True):
            if yes:
                image[0, r : r + 3, c : c + 3] = cross
        return cr.tensor(images), cr.tensor(there), corners

    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(inplace=True))
    model = nn.Sequential(*model, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    optimizer = cr.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        images, there, _ = batch(64)
        optimizer.zero_grad()
        F.cross_entropy(model(images), there).backward()
        optimizer.step()
    images, there, corners = batch(60)
    assert (model(images).argmax(1) == there).float().mean() > 0.97
    yes = there.tolist()
    chosen = [i for i, t in enumerate(yes) if t]
    return model, images[chosen], corners[chosen]


def hits(heat, corners):
    """The share of maps that are largest inside of the cross."""
    places = [divmod(int(m.argmax()), m.shape[1]) for m in heat.detach().cpu().numpy()]
    return np.mean([0 <= p - r < 3 and 0 <= q - c < 3 for (p, q), (r, c) in zip(places, corners, strict=True)])


def test_maps_find_the_planted_patch(planted):
    model, images, corners = planted
    assert len(images) > 20
    covered = explain.occlusion(model, images, 1, window=3, stride=1, value=0.25)
    assert hits(covered, corners) > 0.9
    assert hits(explain.grad_cam(model, images, 1, layer="3"), corners) > 0.9
    integrated = explain.integrated_gradients(model, images, 1, baselines=0.25)[:, 0]
    inside = [m[r : r + 3, c : c + 3].sum() / m.sum() for m, (r, c) in zip(integrated, corners, strict=True)]
    assert np.median([float(i) for i in inside]) > 0.5  # of 6 % of the image


# -- occlusion ----------------------------------------------------------------------------------------------------


def brute_force(model, x, target, window, stride, value):
    """For each place the mean drop over windows, one window and one sample at a time."""
    places = x.shape[-len(window) :]
    total, times = np.zeros((len(x), *places)), np.zeros(places)
    starts = []
    for n, side, step in zip(places, window, stride, strict=True):
        at = [0]
        while at[-1] + side < n:
            at.append(at[-1] + step)
        starts.append(at)
    model.eval()
    with cr.no_grad():
        for corner in np.ndindex(*map(len, starts)):
            begin = [s[i] for s, i in zip(starts, corner, strict=True)]
            place = tuple(slice(b, b + side) for b, side in zip(begin, window, strict=True))
            times[place] += 1
            for i in range(len(x)):
                covered = x[i : i + 1].clone()
                covered[(..., *place)] = value
                drop = explain.scores(model(x[i : i + 1]), target) - explain.scores(model(covered), target)
                total[(i, *place)] += drop.item()
    return total / times


@pytest.mark.parametrize(
    ("shape", "given", "window", "stride"),
    [
        ((2, 7, 6), 3, (3, 3), None),
        ((2, 7, 6), (2, 3), (2, 3), (1, 2)),
        ((2, 7, 6), 20, (20, 20), None),  # all of it
        ((3, 9), 4, (4,), 3),
        ((2, 4, 5, 3), 2, (2, 2, 2), 1),
        ((8,), 3, (3,), 2),  # features of a table
        ((4, 6), (1, 6), (1, 6), None),  # tokens, each with all its features
    ],
)
def test_occlusion_is_the_brute_force_loop(shape, given, window, stride):
    cr.manual_seed(0)
    size = int(np.prod(shape))
    model = nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    x = cr.randn(2, *shape, dtype=cr.float64)
    steps = window if stride is None else stride if isinstance(stride, tuple) else (stride,) * len(window)
    expected = brute_force(model, x, 1, window, steps, 0.3)
    for batch in (1, 7, 1000):
        found = explain.occlusion(model.train(), x, 1, window=given, stride=stride, value=0.3, batch=batch)
        assert found.dtype == cr.float64
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    assert model.training


def test_occlusion_of_a_linear_model():
    """The drop is the sum of w (x - value) over the window; with windows of 1 it is input x gradient."""
    cr.manual_seed(0)
    model, x = nn.Linear(5, 2), cr.randn(3, 5)
    assert cr.allclose(explain.occlusion(model, x, 1, window=1), explain.input_x_gradient(model, x, 1), atol=1e-6)
    value = cr.randn(5)
    found = explain.occlusion(model, x, 1, window=1, value=value)
    assert cr.allclose(found, (x - value) * model.weight[1], atol=1e-6)
    hard = nn.Sequential(model)
    hard.forward = lambda x: (model(x) > 0).float()  # no gradient, and none needed
    assert explain.occlusion(hard, x, 1, window=2).shape == (3, 5)


def test_occlusion_of_tokens():
    cr.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 5), nn.Flatten(), nn.Linear(20, 3))
    tokens = cr.tensor([[1, 2, 3, 3], [0, 6, 5, 1]])
    found = explain.occlusion(model, tokens, 2, window=1, value=4)
    for i in range(4):
        covered = tokens.clone()
        covered[:, i] = 4
        assert cr.allclose(found[:, i], (model(tokens) - model(covered))[:, 2], atol=1e-6)
    for value in (0.5, cr.ones(4)):
        with pytest.raises(TypeError, match=r"a value of floats for inputs of chainrule\.int64: name an integer"):
            explain.occlusion(model, tokens, 2, window=1, value=value)


def test_occlusion_of_several_inputs():
    cr.manual_seed(0)
    model, x, y = Two(), cr.randn(2, 3), cr.randn(2, 4)
    keep = cr.tensor([[True, True], [True, False]])
    a, b, none = explain.occlusion(model, (x, y, keep), 0, window=1, value=(0.5, 0, None))
    assert none is None
    model.eval()
    for i in range(3):
        covered = x.clone()
        covered[:, i] = 0.5
        assert cr.allclose(a[:, i], (model(x, y) - model(covered, y))[:, 0], atol=1e-6)
    assert b.shape == (2, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "a window of 0"),
        ({"window": (1, 1, 1, 1)}, r"a window of \(1, 1, 1, 1\) for inputs \(2, 2, 7, 6\)"),
        ({"window": 2, "stride": 3}, "leaves gaps"),
        ({"window": 2, "stride": (1,)}, "a stride of"),
        ({"window": 2, "value": cr.ones(5)}, r"a value \(5,\) for inputs \(2, 2, 7, 6\): it has to broadcast"),
    ],
)
def test_wrong_windows(options, message):
    model, x = made(Convolutional)
    with pytest.raises(ValueError, match=message):
        explain.occlusion(model, x, **options)


# -- against PyTorch ----------------------------------------------------------------------------------------------


@pytest.mark.torch
def test_against_hooks_in_pytorch(torch):
    """The same network there, with rules put on its ReLUs by backward hooks, and Grad-CAM by its autograd."""
    ours, (images, classes) = digits_network.trained(), digits_network.data()[1]
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 32, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(128, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 10),
    ).eval()
    values = [torch.tensor(v.cpu().numpy()) for v in ours.state_dict().values()]
    theirs.load_state_dict(dict(zip(theirs.state_dict(), values, strict=True)))
    x, target = images[:16], classes[:16]
    labels = torch.tensor(target.cpu().numpy())[:, None]

    def run(rule=None):
        leaf = torch.tensor(x.cpu().numpy(), requires_grad=True)
        handles = [m.register_full_backward_hook(rule) for m in theirs if rule and isinstance(m, torch.nn.ReLU)]
        kept = theirs[4].register_forward_hook(lambda module, given, out: (seen.append(out), out.retain_grad())[0])
        seen = []
        score = theirs(leaf).gather(1, labels).sum()
        score.backward()
        for handle in (*handles, kept):
            handle.remove()
        return leaf.grad.numpy(), seen[0]

    gradient, maps = run()
    guided, _ = run(lambda module, g_in, g_out: (g_in[0].clamp(min=0),))
    signal, _ = run(lambda module, g_in, g_out: (g_out[0].clamp(min=0),))
    cam = (maps.grad.mean((2, 3), keepdim=True) * maps).sum(1).relu().detach().numpy()
    for found, expected in (
        (explain.saliency(ours, x, target, absolute=False), gradient),
        (explain.guided_backprop(ours, x, target), guided),
        (explain.deconvnet(ours, x, target), signal),
        (explain.grad_cam(ours, x, target, layer="relu2"), cam),
    ):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found.cpu().numpy(), expected, atol=2e-5)


# -- nothing is left behind ---------------------------------------------------------------------------------------


def state_of(model):
    return (
        [(m.training, m._cr_hooks) for m in model.modules()],
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
    "guided_backprop": lambda model, x, target: explain.guided_backprop(model, x, target),
    "deconvnet": lambda model, x, target: explain.deconvnet(model, x, target),
    "grad_cam": lambda model, x, target: explain.grad_cam(model, x, target, layer="conv2"),
    "occlusion": lambda model, x, target: explain.occlusion(model, x, target, window=3),
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


def test_a_backward_pass_that_waits_is_not_disturbed():
    model, x = made(Convolutional)
    model.eval()
    loss, again = model(x).sum(), model(x).sum()
    loss.backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    explain.guided_backprop(model, x, 0)
    explain.grad_cam(model, x, 0, layer="conv1")
    assert all(p.grad is None for p in model.parameters())
    again.backward()
    assert all(cr.equal(p.grad, g) for p, g in zip(model.parameters(), expected, strict=True))


def test_layers_inside_of_recomputed_regions():
    model, x = made(Attentive)
    inner = model.layer.forward

    def recomputed(*given):
        return cr.utils.checkpoint.checkpoint(inner, *given, use_reentrant=False)

    for layer in (None, "layer.linear1"):
        found = []
        for forward in (inner, recomputed):
            model.layer.forward = forward
            found.append(explain.saliency(model, x, 1, layer=layer))
            found.append(explain.smooth_grad(model, x, 1, layer=layer, noise=0, samples=1, absolute=True))
        assert all(cr.equal(found[0], other) for other in found[1:])
    leaf, found = x.clone().requires_grad_(), []
    for forward in (inner, recomputed):
        model.layer.forward = forward
        with explain.looking(model) as look:
            hidden, out = look.until(model, ["layer.linear1", "head"])(leaf)
            found.append(cr.autograd.grad(hidden.sum() + out.sum(), leaf)[0])
    assert cr.equal(*found)


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
