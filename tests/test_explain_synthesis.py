"""Inputs that are made or found: maximal activation, dreams, inversion, style, the strongest of a data set."""

import digits_network
import numpy as np
import pytest

import chainrule as cr
from chainrule import explain, nn
from chainrule.models import gram_matrix
from chainrule.nn import functional as F
from chainrule.utils.data import DataLoader, Dataset, TensorDataset

pytestmark = pytest.mark.usefixtures("backend")


def generator(seed=0):
    return cr.Generator(cr.get_default_device()).manual_seed(seed)


def digits_model():
    return digits_network.trained().to(cr.get_default_device())


def digit_images(count):
    return digits_network.data()[1][0][:count].to(cr.get_default_device())


def maps(seed=0):
    """Two convolutions, a unit of which sees 5 x 5 pixels; the dense layer behind them fits images of 8 x 8 alone."""
    cr.manual_seed(seed)
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1), nn.Flatten(), nn.Linear(192, 5)]
    return nn.Sequential(*layers)


def smooth_images(n=1, size=16):
    """A few waves in two channels, from 0 to 1."""
    rows, columns = np.indices((size, size)) / size
    waves = [[np.sin(2 * np.pi * (rows * (k + 1) + columns * c + k)) for c in range(2)] for k in range(n)]
    return cr.tensor((0.5 + 0.4 * np.array(waves)).astype(np.float32))


class Record:
    """What `watch` is called with."""

    def __init__(self):
        self.steps, self.images, self.terms = [], [], []

    def __call__(self, step, image, terms):
        self.steps.append(step)
        self.images.append(image)
        self.terms.append({name: value.item() for name, value in terms.items()})

    def of(self, name):
        return [terms[name] for terms in self.terms]


# -- total variation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [1, 2, 3.5])
def test_total_variation_is_its_formula(beta):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    expected = np.zeros(2)
    for n, c, i, j in np.ndindex(*x.shape):
        down = x[n, c, i + 1, j] - x[n, c, i, j] if i < 3 else 0
        right = x[n, c, i, j + 1] - x[n, c, i, j] if j < 4 else 0
        expected[n] += (down**2 + right**2) ** (beta / 2)
    found = explain.total_variation(cr.tensor(x), beta=beta)
    assert np.allclose(found.cpu().numpy(), expected, rtol=1e-12)
    assert np.allclose(explain.total_variation(cr.tensor(x[:, 0]), beta=2).cpu().numpy().shape, (2,))


def test_total_variation_has_gradients_also_where_it_is_flat():
    x = cr.rand(1, 1, 4, 4, dtype=cr.float64, requires_grad=True)
    assert cr.autograd.gradcheck(lambda t: explain.total_variation(t), x)
    flat = cr.ones(2, 1, 4, 4, requires_grad=True)
    (g,) = cr.autograd.grad(explain.total_variation(flat).sum(), flat)
    assert (g == 0).all()


def test_total_variation_wants_images():
    with pytest.raises(ValueError, match="beta of 1 or more"):
        explain.total_variation(cr.ones(1, 1, 2, 2), beta=0.5)
    with pytest.raises(ValueError, match=r"not of a tensor \(2, 2\)"):
        explain.total_variation(cr.ones(2, 2))


# -- activation maximisation ------------------------------------------------------------------------------------------


def test_a_linear_unit_under_an_l2_penalty_has_its_closed_form():
    cr.manual_seed(0)
    model = nn.Linear(7, 3).double()
    found = explain.activation_maximization(model, None, 1, shape=(7,), l2=0.4, steps=400, generator=generator())
    assert found.shape == (1, 7)
    assert (found - model.weight[1].detach() / 0.8).abs().max() < 1e-4
    with cr.no_grad():
        value = (model(found)[0, 1] - model.bias[1]).item()
    assert value == pytest.approx((model.weight[1] ** 2).sum().item() / 0.8, rel=1e-6)  # w · w / (2 l2)


def test_a_list_of_units_gives_an_input_for_each_as_if_alone():
    cr.manual_seed(0)
    model = nn.Linear(4, 3).double()
    start = cr.zeros(2, 4, dtype=cr.float64)
    both = explain.activation_maximization(model, None, [2, 0], start=start, l2=0.5, steps=50)
    for row, unit in zip(both, (2, 0), strict=True):
        alone = explain.activation_maximization(model, None, unit, start=start[:1], l2=0.5, steps=50)
        assert (alone[0] - row).abs().max() < 1e-12
    assert (start == 0).all()


def test_digits_that_the_network_is_surest_of():
    model = digits_model()
    found = explain.activation_maximization(
        model, None, list(range(10)), shape=(1, 8, 8), bounds=(0, 1), tv=0.02, steps=100, generator=generator()
    )
    assert found.shape == (10, 1, 8, 8)
    assert 0 <= found.min() <= found.max() <= 1
    with cr.no_grad():
        assert model(found).argmax(1).tolist() == list(range(10))
        real = model(digit_images(300)).amax(0)
        assert (model(found).diagonal() > real).all()  # above all that real digits reach


def test_a_channel_counts_by_its_mean_over_places():
    model, start = maps(), smooth_images(1, 8)
    watch = Record()
    explain.activation_maximization(model, "2", 1, start=start, steps=2, watch=watch)
    with cr.no_grad():
        assert watch.of("activation")[0] == pytest.approx(model[:3](start)[0, 1].mean().item(), rel=1e-5)
        value = model[:3](start)[0, 1, 3, 4].item()
    explain.activation_maximization(model, "2", (1, 3, 4), start=start, steps=2, watch=watch)
    assert watch.of("activation")[2] == pytest.approx(value, rel=1e-5)
    explain.activation_maximization(model, model[2], lambda maps: maps[:, 1, 3, 4], start=start, steps=2, watch=watch)
    assert watch.of("activation")[4] == pytest.approx(value, rel=1e-5)


def test_units_as_numbers_of_numpy_and_as_tensors():
    model, start = maps(), smooth_images(2, 8)

    def found(unit):
        return explain.activation_maximization(model, "2", unit, shape=(2, 8, 8), steps=2, generator=generator())

    for unit in (np.int64(1), cr.tensor(1), [1]):
        assert cr.equal(found(unit), found(1))
    assert cr.equal(found(np.array([2, 0])), found([2, 0]))
    for k in (np.int64(1), cr.tensor(1)):
        for one, other in zip(explain.top_inputs(model, start, "2", k), explain.top_inputs(model, start, "2", 1)):
            assert isinstance(one, tuple) or cr.equal(one, other)
        dream = explain.deep_dream(model, start, "2", unit=k, octaves=1, steps=1, jitter=0)
        assert cr.equal(dream, explain.deep_dream(model, start, "2", unit=1, octaves=1, steps=1, jitter=0))


def test_a_unit_changes_what_it_sees_alone():
    model, start = maps(), smooth_images(1, 8)
    found = explain.activation_maximization(model, "2", (0, 4, 4), start=start, steps=5)
    changed = ((found - start).abs().amax(1)[0] > 0).nonzero()
    assert changed.amin(0).tolist() == [2, 2]
    assert changed.amax(0).tolist() == [6, 6]


def test_penalties_make_smaller_and_smoother_images():
    model = maps()

    def found(**penalty):
        image = explain.activation_maximization(model, "2", 0, shape=(2, 8, 8), generator=generator(), **penalty)
        return (image**2).sum().item(), explain.total_variation(image, beta=2).item()

    free, small, smooth, blurred = found(), found(l2=0.01), found(tv=0.01), found(blur=1.0)
    assert small[0] < 0.1 * free[0]
    assert smooth[1] < 0.1 * free[1]
    assert blurred[1] < 0.5 * free[1]


def test_jitter_evens_out_places():
    """Under shifts by any number of pixels a unit at one place asks for the same at all places."""
    model, start = maps(), cr.zeros(1, 2, 8, 8)
    still = explain.activation_maximization(model, "2", (0, 4, 4), start=start, steps=60)
    moved = explain.activation_maximization(
        model, "2", (0, 4, 4), start=start, steps=60, jitter=4, generator=generator()
    )
    assert ((still.abs().amax(1) > 0).sum().item(), (moved.abs().amax(1) > 0).sum().item()) == (25, 64)


def test_octaves_end_at_the_size_asked_for():
    model, watch = maps(), Record()
    found = explain.activation_maximization(
        model, "2", 0, shape=(2, 12, 20), octaves=3, octave_scale=2, steps=2, watch=watch, generator=generator()
    )
    assert found.shape == (1, 2, 12, 20)  # the dense layer behind, which does not fit, is never reached
    assert [tuple(image.shape[2:]) for image in watch.images] == [(3, 5)] * 2 + [(6, 10)] * 2 + [(12, 20)] * 2
    assert watch.steps == [0, 1] * 3


def test_the_blur_is_a_gaussian():
    from chainrule.explain.descent import blurred

    image = cr.zeros(1, 2, 15, 15, dtype=cr.float64)
    image[0, 1, 7, 7] = 1
    found = blurred(image, 1.5)
    assert (found[0, 0] == 0).all()
    assert found.sum().item() == pytest.approx(1)
    at = np.arange(15) - 7
    expected = np.exp(-(at**2) / (2 * 1.5**2)) * (abs(at) <= 5)
    expected /= expected.sum()
    assert np.allclose(found[0, 1].cpu().numpy(), np.outer(expected, expected), atol=1e-12)
    assert (blurred(cr.ones(1, 1, 4, 4), 2.0) - 1).abs().max() < 1e-6  # edges are no darker


# -- dreams -----------------------------------------------------------------------------------------------------------


def ascended(model, image, channels=slice(None), lr=0.02):
    """One step up ‖activation‖² of a layer, by hand."""
    x = image.clone().requires_grad_()
    norm = (model[:3](x)[:, channels] ** 2).sum()
    (g,) = cr.autograd.grad(norm, x)
    return image + lr * g / g.abs().mean(dim=(1, 2, 3), keepdim=True), norm.item()


def test_a_dream_of_one_step_is_gradient_ascent_by_hand():
    model, image, watch = maps(), smooth_images(2), Record()
    expected, norm = ascended(model, image)
    found = explain.deep_dream(model, image, "2", steps=1, octaves=1, jitter=0, lr=0.02, watch=watch)
    assert (found - expected).abs().max() < 1e-6
    assert ((found - image).abs().mean(dim=(1, 2, 3)) - 0.02).abs().max() < 1e-6  # lr is the mean change of a pixel
    assert watch.of("activation")[0] == pytest.approx(norm, rel=1e-5)
    again = explain.deep_dream(model, image, "2", steps=1, octaves=1, jitter=0, lr=0.02, bounds=(0.4, 0.6))
    assert cr.equal(again, found.clamp(0.4, 0.6))


def test_what_an_octave_adds_is_put_on_the_next_one():
    model, image = maps(), smooth_images(2)
    small = F.interpolate(image, (8, 8), mode="bilinear", antialias=True)
    added = F.interpolate(ascended(model, small)[0] - small, (16, 16), mode="bilinear", antialias=True)
    expected, _ = ascended(model, image + added)
    found = explain.deep_dream(model, image, "2", steps=1, octaves=2, octave_scale=2, jitter=0, lr=0.02)
    assert (found - expected).abs().max() < 1e-5


def test_a_dream_raises_the_norm_at_each_octave():
    model, image, watch = maps(), smooth_images(1, 32), Record()
    given = {"steps": 6, "lr": 0.02, "octaves": 3, "jitter": 4}
    found = explain.deep_dream(model, image, "2", watch=watch, generator=generator(), **given)
    assert found.shape == image.shape
    sizes = [tuple(i.shape[2:]) for i in watch.images]
    assert sorted(set(sizes)) == [(16, 16), (23, 23), (32, 32)]
    for octave in range(3):
        norms = watch.of("activation")[6 * octave : 6 * octave + 6]
        assert norms[-1] > 1.05 * norms[0]
    with cr.no_grad():
        assert (model[:3](found) ** 2).sum() > 1.2 * (model[:3](image) ** 2).sum()
    assert cr.equal(found, explain.deep_dream(model, image, "2", generator=generator(), **given))
    assert not cr.equal(found, explain.deep_dream(model, image, "2", generator=generator(1), **given))


def test_dreams_of_several_layers_and_of_single_channels():
    model, image = maps(), smooth_images()

    def dream(layers, **options):
        return explain.deep_dream(model, image, layers, steps=3, octaves=1, jitter=0, **options)

    assert cr.equal(dream(["0", "2"]), dream({"0": 1.0, model[2]: 1.0}))
    assert cr.equal(dream({"0": 0.0, "2": 1.0}), dream(model[2]))
    assert not cr.equal(dream({"0": 5.0, "2": 1.0}), dream(["0", "2"]))
    assert cr.equal(dream("2", unit=[0, 1, 2]), dream("2"))
    for unit in (1, [1], [2, 0]):
        found = explain.deep_dream(model, image, "2", unit=unit, steps=1, octaves=1, jitter=0, lr=0.02)
        channels = [unit] if isinstance(unit, int) else unit
        assert (found - ascended(model, image, channels)[0]).abs().max() < 1e-6


def test_a_layer_that_is_silent_leaves_the_image():
    model = maps()
    with cr.no_grad():
        model[0].bias.fill_(-100.0)
    image = smooth_images()
    assert cr.equal(explain.deep_dream(model, image, "1", octaves=1, jitter=3, generator=generator()), image)


# -- inversion --------------------------------------------------------------------------------------------------------


def test_inversion_of_an_orthogonal_layer_recovers_the_input():
    cr.manual_seed(0)
    model = nn.Linear(6, 6)
    nn.init.orthogonal_(model.weight)
    x = cr.randn(3, 6)
    with cr.no_grad():
        code = model(x)
    found = explain.invert(model, code, shape=(6,), generator=generator())
    assert (found - x).abs().max() < 1e-3
    assert (explain.invert(model, image=x, generator=generator()) - x).abs().max() < 1e-3


def test_inversion_of_an_invertible_convolution_recovers_the_image():
    cr.manual_seed(0)
    layer = nn.Conv2d(2, 2, 1)
    nn.init.orthogonal_(layer.weight)
    model = nn.Sequential(layer, nn.LeakyReLU(0.5), nn.Flatten(), nn.Linear(512, 2))
    x = smooth_images(2)
    watch = Record()
    found = explain.invert(model, image=x, layer="1", bounds=(0, 1), watch=watch, generator=generator())
    assert (found - x).abs().max() < 1e-3
    # relative: ‖f(x) - f₀‖² / ‖f₀‖² of each, summed over the batch
    with cr.no_grad():
        of = model[:2](watch.images[0]), model[:2](x)
    expected = (((of[0] - of[1]) ** 2).sum(dim=(1, 2, 3)) / (of[1] ** 2).sum(dim=(1, 2, 3))).sum().item()
    assert watch.of("distance")[0] == pytest.approx(expected, rel=1e-5)


def test_penalties_choose_among_inputs_with_one_representation():
    """The mean of each 2 x 2 square leaves 48 of 64 numbers free: least norm is blocks, least variation is smooth."""
    model, x = nn.AvgPool2d(2), smooth_images(1, 8)[:, :1]
    with cr.no_grad():
        code = model(x)

    def found(**penalty):
        image = explain.invert(model, code, shape=(1, 8, 8), steps=600, generator=generator(), **penalty)
        assert (model(image) - code).abs().max() < 0.02
        return image

    blocks = F.interpolate(code, scale_factor=2)
    start = found(start=None)
    least, smooth = found(l2=1e-4), found(tv=1e-3)
    assert (least - blocks).abs().max() < 0.04
    variation = {name: explain.total_variation(i, beta=2).item() for name, i in (("l2", least), ("tv", smooth))}
    assert variation["tv"] < 0.7 * variation["l2"]
    assert (smooth - x).abs().mean() < 0.7 * (blocks - x).abs().mean()  # and is nearer to the image itself
    assert start.shape == x.shape


def test_a_decoder_is_searched_in_its_code():
    cr.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 16))
    model = nn.Linear(16, 5)  # loses most of the 16 numbers; the code has two
    with cr.no_grad():
        code = cr.tensor([[0.6, -0.9]])
        image = decoder.eval()(code)
        representation = model(image)
    decoder.train()
    found, at = explain.invert(
        model, representation, decoder=decoder, start=cr.tensor([[0.3, -0.3]]), steps=800, lr=0.05
    )
    assert found.shape == (1, 16)
    assert (at - code).abs().max() < 1e-2
    assert (found - image).abs().max() < 1e-2
    free = explain.invert(model, representation, shape=(16,), generator=generator())
    assert (free - image).abs().max() > 0.05  # without the prior any input with the representation will do
    assert decoder.training
    assert all(p.requires_grad and p.grad is None for p in decoder.parameters())
    _, small = explain.invert(model, representation, decoder=decoder, shape=(2,), l2=10.0, generator=generator())
    assert small.norm() < 0.1 * code.norm()  # l2 is the code's
    explain.invert(model, representation, decoder=lambda x: decoder(x), shape=(2,), steps=2, generator=generator())
    assert all(p.grad is None for p in decoder.parameters())


def test_jitter_of_an_inversion_is_felt():
    model, x = nn.Conv2d(2, 2, 1), smooth_images()
    plain = explain.invert(model, image=x, steps=3, generator=generator())
    moved = explain.invert(model, image=x, steps=3, jitter=4, generator=generator())
    assert not cr.equal(plain, moved)
    assert cr.equal(moved, explain.invert(model, image=x, steps=3, jitter=4, generator=generator()))


# -- style ------------------------------------------------------------------------------------------------------------


def test_style_transfer_begins_at_the_content_and_comes_near_the_style():
    model, content, style = maps(), smooth_images(1, 16), cr.rand(1, 2, 20, 12)
    watch = Record()
    found = explain.style_transfer(
        model, content, style, content_layers="2", style_layers=["0", "1"], style_weight=10, steps=40, watch=watch
    )
    assert found.shape == content.shape
    assert watch.of("content")[0] == 0  # it starts where the content is
    assert cr.equal(watch.images[0], content)
    total = [sum(terms.values()) for terms in watch.terms]
    assert min(total) < 0.1 * total[0]
    assert len(total) <= 40
    with cr.no_grad():
        for layer in (1, 2):
            wanted, before, after = (gram_matrix(model[:layer](x)) for x in (style, content, found))
            assert (after - wanted).norm() < 0.3 * (before - wanted).norm()
        f, f0 = model[:3](watch.images[5]), model[:3](content)
        assert watch.of("content")[5] == pytest.approx((((f - f0) ** 2).sum() / (f0**2).sum()).item(), rel=1e-4)
        grams = [(gram_matrix(model[:n](watch.images[5])), gram_matrix(model[:n](style))) for n in (1, 2)]
        relative = sum((((g - g0) ** 2).sum() / (g0**2).sum()).item() for g, g0 in grams)
        assert watch.of("style")[5] == pytest.approx(10 * relative, rel=1e-4)


def test_weights_of_content_and_style():
    model, content, style = maps(), smooth_images(1, 16), cr.rand(1, 2, 16, 16)

    def found(optimizer="lbfgs", **options):
        given = {"content_layers": "2", "style_layers": "1", "steps": 25, "optimizer": optimizer} | options
        return explain.style_transfer(model, content, style, **given)

    assert cr.equal(found(style_weight=0), content)  # nothing to do
    assert cr.equal(found("adam", style_weight=0), content)
    assert cr.equal(found(style_layers={"1": 2.0}, style_weight=0.5), found(style_layers=["1"], style_weight=1.0))
    near, far = (found(style_weight=w) for w in (0.01, 100.0))
    assert (near - content).norm() < 0.5 * (far - content).norm()
    rough, smooth = (found("adam", tv=t) for t in (0.0, 1.0))
    assert explain.total_variation(smooth) < 0.7 * explain.total_variation(rough)
    inside = found("adam", bounds=(0.2, 0.7))
    assert 0.2 <= inside.min() <= inside.max() <= 0.7
    inside = found(bounds=(0.2, 0.7))
    assert 0.2 <= inside.min() <= inside.max() <= 0.7


def test_one_style_for_several_contents_and_one_for_each():
    model, contents, style = maps(), smooth_images(2, 16), cr.rand(1, 2, 16, 16)
    given = {"content_layers": "2", "style_layers": "1", "steps": 5, "optimizer": "adam"}
    both = explain.style_transfer(model, contents, style, **given)
    each = explain.style_transfer(model, contents, style.expand(2, 2, 16, 16), **given)
    alone = explain.style_transfer(model, contents[1:], style, **given)
    assert (both - each).abs().max() < 1e-5
    assert (both[1:] - alone).abs().max() < 1e-5


# -- the strongest inputs of a data set -------------------------------------------------------------------------------


class Pictures(Dataset):
    """Images without labels."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i]


@pytest.mark.parametrize(
    "kind", ["tensor", "dataset", "labelled dataset", "loader", "labelled loader", "batches", "pair"]
)
def test_top_inputs_are_those_of_brute_force(kind):
    model, images = digits_model(), digit_images(100)
    labelled = TensorDataset(images, cr.arange(100))
    data = {
        "tensor": images,
        "dataset": Pictures(images),
        "labelled dataset": labelled,
        "loader": DataLoader(Pictures(images), batch_size=7),
        "labelled loader": DataLoader(labelled, batch_size=7),
        "batches": list(images.split(9)),
        "pair": (images, cr.arange(100)),
    }[kind]
    found = explain.top_inputs(model, data, "conv2", 5, k=6, batch=16)
    with cr.no_grad():
        maps = model.conv2(model.pool1(model.relu1(model.conv1(images))))[:, 5].cpu().numpy()
    best = maps.max(axis=(1, 2))
    order = np.argsort(-best, kind="stable")[:6]
    assert found.indices.tolist() == order.tolist()
    assert np.allclose(found.values.cpu().numpy(), best[order], rtol=1e-5)
    assert cr.equal(found.inputs, images[found.indices])
    assert found.places.tolist() == [list(np.unravel_index(maps[i].argmax(), maps[i].shape)) for i in order]
    assert not found.values.requires_grad


def test_top_inputs_of_a_class_a_place_and_a_function():
    model, images = digits_model(), digit_images(50)
    with cr.no_grad():
        scores = model(images)
        maps = model.conv1(images)
    found = explain.top_inputs(model, images, unit=3, k=4)
    assert found.indices.tolist() == scores[:, 3].argsort(descending=True)[:4].tolist()
    assert found.places.shape == (4, 0)
    place = explain.top_inputs(model, images, "conv1", (2, 4, 4), k=50)
    assert place.indices.tolist() == maps[:, 2, 4, 4].argsort(descending=True, stable=True).tolist()
    least = explain.top_inputs(model, images, model.conv1, lambda out: -out[:, 2, 4, 4], k=1)
    assert least.indices.item() == maps[:, 2, 4, 4].argmin().item()


def test_top_inputs_of_few_and_of_equal_ones():
    model = nn.Linear(2, 1)
    assert explain.top_inputs(model, cr.rand(5, 2), k=9, batch=2).indices.sort().values.tolist() == [0, 1, 2, 3, 4]
    found = explain.top_inputs(model, cr.ones(200, 2), k=150, batch=120)
    assert found.indices.tolist() == list(range(150))  # the first of equal ones first
    for bad, error, message in (
        (cr.ones(0, 2), ValueError, "no inputs in the data"),
        (3, TypeError, "data is a tensor"),
    ):
        with pytest.raises(error, match=message):
            explain.top_inputs(model, bad)
    with pytest.raises(ValueError, match="one at least"):
        explain.top_inputs(model, cr.ones(5, 2), k=0)


def test_crops_are_all_that_the_unit_saw():
    model, images = digits_model(), digit_images(60)
    for layer, unit in (("conv1", 3), ("conv2", 5)):
        found = explain.top_inputs(model, images, layer, unit, k=8, crop=True)
        assert cr.equal(found.indices, explain.top_inputs(model, images, layer, unit, k=8).indices)
        for image, value, place, crop in zip(
            found.inputs, found.values, found.places.tolist(), found.crops, strict=True
        ):
            rows, columns = ([max(0, i - 1), i + 2] for i in place)
            if layer == "conv2":  # 3 x 3 of a pool of 2 x 2 behind 3 x 3: 8 pixels, from 2 i - 3 on
                rows, columns = ([max(0, 2 * i - 3), 2 * i + 5] for i in place)
            assert cr.equal(crop, image[:, slice(*rows), slice(*columns)])
            hidden = cr.full_like(image, 0.5)
            hidden[:, slice(*rows), slice(*columns)] = crop
            again = explain.top_inputs(model, hidden[None], layer, (unit, *place))
            assert again.values.item() == pytest.approx(value.item(), rel=1e-4)
    with pytest.raises(ValueError, match="this unit has none"):
        explain.top_inputs(model, images, crop=True)


# -- all of them ------------------------------------------------------------------------------------------------------

CALLS = {
    "maximise": lambda model, x, **more: explain.activation_maximization(model, "2", 0, start=x, steps=2, **more),
    "dream": lambda model, x, **more: explain.deep_dream(model, x, "2", steps=2, octaves=1, **more),
    "invert": lambda model, x, **more: explain.invert(model, image=x, layer="2", steps=2, **more),
    "style": lambda model, x, **more: explain.style_transfer(
        model, x, x.flip(3), content_layers="2", style_layers="0", steps=2, **more
    ),
    "top": lambda model, x, **more: explain.top_inputs(model, x, "2", 0, **more),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_image_are_left_as_they_were(name, fails):
    model, x = maps(), smooth_images(2)
    model.insert(2, nn.Dropout(0.5))
    model[2], model[3] = model[3], model[2]  # conv, relu, conv, dropout
    model[0].eval()
    before = x.clone()
    if fails:
        handle = model[2].register_forward_hook(lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            CALLS[name](model, x)
        handle.remove()
    else:
        found = CALLS[name](model, x)
        assert not (found.inputs if name == "top" else found).requires_grad
    assert [m.training for m in model] == [False, True, True, True, True, True]
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model)
    assert cr.equal(x, before)
    assert not x.requires_grad


@pytest.mark.parametrize("name", CALLS)
def test_progress_is_a_bar_where_it_is_asked_for(name, capsys, monkeypatch):
    CALLS[name](maps(), smooth_images(2))
    assert capsys.readouterr() == ("", "")
    CALLS[name](maps(), smooth_images(2), progress=True)
    written = capsys.readouterr()
    assert written.out == ""
    assert "1" in written.err


@pytest.mark.parametrize("name", CALLS)
def test_a_model_that_changes_its_input(name):
    model, x = nn.Sequential(nn.ReLU(inplace=True), nn.ReLU(), maps()[0]), smooth_images(2) - 0.5
    before = x.clone()
    CALLS[name](model, x)
    assert cr.equal(x, before)


def test_a_relu_in_place_behind_a_layer_does_not_reach_it():
    model = maps()
    model[1] = nn.ReLU(inplace=True)
    x, watch = smooth_images(), Record()
    explain.deep_dream(model, x, ["0", "2"], steps=1, octaves=1, jitter=0, watch=watch)
    with cr.no_grad():
        expected = (model[0](x) ** 2).sum() + (model[:3](x) ** 2).sum()
    assert watch.of("activation")[0] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, "either the shape", lambda m, x: explain.activation_maximization(m)),
        (TypeError, "either the shape", lambda m, x: explain.activation_maximization(m, start=x, shape=(2, 8, 8))),
        (ValueError, "no layer 'conv'", lambda m, x: explain.activation_maximization(m, "conv", start=x)),
        (IndexError, "index 7", lambda m, x: explain.activation_maximization(m, "2", 7, start=x)),
        (ValueError, "0 steps", lambda m, x: explain.activation_maximization(m, start=x[:, :, :8, :8], steps=0)),
        (ValueError, "a jitter of -1", lambda m, x: explain.activation_maximization(m, start=x, jitter=-1)),
        (ValueError, "a blur of -1", lambda m, x: explain.activation_maximization(m, start=x, blur=-1)),
        (ValueError, "scale above 1", lambda m, x: explain.activation_maximization(m, "2", start=x, octave_scale=1)),
        (ValueError, "leave nothing", lambda m, x: explain.deep_dream(m, x, "2", octaves=20)),
        (ValueError, "0 steps", lambda m, x: explain.deep_dream(m, x, "2", steps=0)),
        (ValueError, "no layer is named", lambda m, x: explain.deep_dream(m, x, [])),
        (ValueError, "images", lambda m, x: explain.deep_dream(m, x[0], "2")),
        (TypeError, "tensor of floats", lambda m, x: explain.deep_dream(m, x.long(), "2")),
        (TypeError, "either the representation", lambda m, x: explain.invert(m)),
        (TypeError, "either the representation", lambda m, x: explain.invert(m, x, image=x)),
        (TypeError, "give the shape", lambda m, x: explain.invert(m, x)),
        (ValueError, "the representation is", lambda m, x: explain.invert(m, cr.ones(1, 4), "2", start=x)),
        (ValueError, '"adam" or "lbfgs"', lambda m, x: style(m, x, x, optimizer="sgd")),
        (ValueError, r"images \(N, C, H, W\)", lambda m, x: style(m, x, x[0])),
        (ValueError, "2 styles for 1 contents", lambda m, x: style(m, x, x.expand(2, 2, 16, 16))),
        (
            ValueError,
            r"'4' gives \(1, 5\), not maps \(N, C, H, W\)",
            lambda m, x: style(m, x[..., :8, :8], x[..., :8, :8], "4"),
        ),
        (TypeError, "'2' gives a tuple, not a tensor", lambda m, x: explain.deep_dream(tuples(m), x, "2")),
        (TypeError, "'2' gives a tuple, not a tensor", lambda m, x: explain.invert(tuples(m), x, "2", start=x)),
        (TypeError, "'2' gives a tuple, not a tensor", lambda m, x: style(tuples(m), x, x)),
        (ValueError, r"bounds are \(least, largest\), not", lambda m, x: explain.deep_dream(m, x, "2", bounds=(1, 0))),
        (ValueError, r"bounds are \(least", lambda m, x: explain.invert(m, image=x, layer="2", bounds=(1, 0))),
        (ValueError, r"bounds are \(least", lambda m, x: style(m, x, x, bounds=(1, 0))),
        (TypeError, "layer gives a tuple: name the score", lambda m, x: explain.top_inputs(tuples(m), x, "2")),
        (TypeError, "a tensor of floats, not of", lambda m, x: explain.invert(m, cr.ones(1, 4).long(), start=x)),
    ],
)
def test_bad_calls(error, message, call):
    with pytest.raises(error, match=message):
        call(maps(), smooth_images())


def style(model, content, style, style_layers="1", **options):
    return explain.style_transfer(model, content, style, content_layers="2", style_layers=style_layers, **options)


def tuples(model):
    """The model, whose layer "2" gives its maps in a tuple."""
    model[2].register_forward_hook(lambda module, arguments, output: (output,))
    return model
