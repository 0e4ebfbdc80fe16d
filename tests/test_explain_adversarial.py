"""Attacks: what they do to a linear model by hand, that they keep to their budget, and that they fool networks."""

import functools
import itertools

import digits_network
import numpy as np
import pytest

import chainrule as cr
from chainrule import explain, nn
from chainrule.nn import functional as F

pytestmark = pytest.mark.usefixtures("backend")


def generator(seed=0):
    return cr.Generator(cr.get_default_device()).manual_seed(seed)


def digits(count=100):
    """The trained network, and those of the first test images that it gets right."""
    model, (images, classes) = digits_network.trained(), digits_network.data()[1]
    device = cr.get_default_device()
    model, images, classes = model.to(device), images[:count].to(device), classes[:count].to(device)
    with cr.no_grad():
        right = model(images).argmax(1) == classes
    return model, images[right], classes[right]


def share(condition):
    return condition.float().mean().item()


def taken_for(model, inputs):
    with cr.no_grad():
        return model(inputs).argmax(1)


@pytest.fixture
def line():
    """A linear score w x + b of five inputs, as the loss; in double precision."""
    cr.manual_seed(3)
    return nn.Linear(5, 1).double(), cr.rand(4, 5, dtype=cr.float64) * 0.5 + 0.25


def score(output, labels):
    return output[:, 0]


# -- the fast gradient sign method --------------------------------------------------------------------------------


def test_fgsm_is_a_step_of_the_signs():
    model, images, classes = digits(20)
    x = images.clone().requires_grad_()
    F.cross_entropy(model(x), classes).backward()
    found = explain.fgsm(model, images, classes, epsilon=0.1, bounds=None)
    assert cr.equal(found, images + 0.1 * x.grad.sign())
    assert cr.equal(
        explain.fgsm(model, images, classes, epsilon=0.1, targeted=True, bounds=None), images - 0.1 * x.grad.sign()
    )
    inside = explain.fgsm(model, images, classes, epsilon=0.1)
    assert cr.equal(inside, found.clamp(0, 1))
    assert inside.min() == 0
    assert not inside.requires_grad


def test_fgsm_on_a_linear_score_gains_epsilon_times_the_norm_of_the_weights(line):
    model, x = line
    labels = cr.zeros(4, dtype=cr.long)
    gain = 0.1 * model.weight.abs().sum().item()
    with cr.no_grad():
        for targeted, sign in ((False, 1), (True, -1)):
            found = explain.fgsm(model, x, labels, epsilon=0.1, loss=score, targeted=targeted)
            assert ((model(found) - model(x)) - sign * gain).abs().max() < 1e-12
    nothing = explain.fgsm(model, x, labels, epsilon=0.0, loss=score)
    assert cr.equal(nothing, x)


def test_fgsm_fools_the_digits_network():
    model, images, classes = digits()
    found = explain.fgsm(model, images, classes, epsilon=0.2)
    assert share(taken_for(model, found) != classes) > 0.8
    assert (found - images).abs().max() <= 0.2 + 1e-6
    noise = (images + 0.2 * cr.empty_like(images).normal_(generator=generator()).sign()).clamp(0, 1)
    assert share(taken_for(model, noise) != classes) < 0.3  # the direction does it, not the size


def test_labels():
    model, images, classes = digits(10)
    one = explain.fgsm(model, images, classes, epsilon=0.1)
    assert cr.equal(
        explain.fgsm(model, images, epsilon=0.1), one
    )  # the classes that the model says, here the right ones
    assert cr.equal(explain.fgsm(model, images, classes.tolist(), epsilon=0.1), one)
    threes = cr.full((len(images),), 3)
    assert cr.equal(explain.fgsm(model, images, 3, epsilon=0.1), explain.fgsm(model, images, threes, epsilon=0.1))


# -- projected gradients --------------------------------------------------------------------------------------------


def test_pgd_of_one_step_without_a_random_start_is_fgsm():
    model, images, classes = digits(20)
    found = explain.pgd(model, images, classes, epsilon=0.1, steps=1, step_size=0.1, random_start=False)
    assert (found - explain.fgsm(model, images, classes, epsilon=0.1)).abs().max() < 1e-6


@pytest.mark.parametrize(("norm", "epsilon"), [("inf", 0.2), (2, 1.0)])
def test_pgd_stays_inside_and_fools_the_digits_network(norm, epsilon):
    model, images, classes = digits()
    found = explain.pgd(model, images, classes, epsilon=epsilon, norm=norm, generator=generator())
    change = (found - images).flatten(1)
    assert (change.abs().amax(1) if norm == "inf" else change.norm(dim=1)).max() <= epsilon + 1e-5
    assert 0 <= found.min() <= found.max() <= 1
    assert share(taken_for(model, found) != classes) > 0.9
    assert cr.equal(found, explain.pgd(model, images, classes, epsilon=epsilon, norm=norm, generator=generator()))


def test_pgd_is_stronger_than_one_step():
    model, images, classes = digits()
    once = explain.fgsm(model, images, classes, epsilon=0.2)
    often = explain.pgd(model, images, classes, epsilon=0.2, steps=20, generator=generator())
    with cr.no_grad():
        assert F.cross_entropy(model(often), classes) > 1.2 * F.cross_entropy(model(once), classes)


@pytest.mark.parametrize(("norm", "epsilon"), [("inf", 0.3), (2, 2.0)])
def test_targeted_pgd_reaches_the_class(norm, epsilon):
    model, images, classes = digits()
    wanted = (classes + 1) % 10
    found = explain.pgd(
        model, images, wanted, epsilon=epsilon, norm=norm, steps=20, targeted=True, generator=generator()
    )
    assert share(taken_for(model, found) == wanted) > 0.85


def test_euclidean_steps_and_projection_by_hand(line):
    model, x = line
    labels, w = cr.zeros(4, dtype=cr.long), model.weight.detach()
    one = explain.pgd(
        model, x, labels, epsilon=5.0, steps=1, step_size=0.1, norm=2, random_start=False, bounds=None, loss=score
    )
    assert (one - (x + 0.1 * w / w.norm())).abs().max() < 1e-12
    edge = explain.pgd(
        model, x, labels, epsilon=0.3, steps=7, step_size=0.2, norm=2, random_start=False, bounds=None, loss=score
    )
    assert (edge - (x + 0.3 * w / w.norm())).abs().max() < 1e-12  # too far, and back to the edge of the ball


@pytest.mark.parametrize("norm", ["inf", 2])
def test_random_starts_fill_the_ball(norm):
    flat = nn.Linear(2, 1)
    x = cr.zeros(4000, 2)
    found = explain.pgd(
        flat,
        x,
        cr.zeros(4000, dtype=cr.long),
        epsilon=1.0,
        steps=1,
        step_size=0.0,
        norm=norm,
        bounds=None,
        loss=lambda output, labels: output * 0,
        generator=generator(),
    )
    size = found.abs().amax(1) if norm == "inf" else found.norm(dim=1)
    assert size.max() <= 1 + 1e-6
    assert share(size < 0.5**0.5) == pytest.approx(0.5, abs=0.03)  # half of the area of a square, and of a disc
    assert found.mean(0).abs().max() < 0.05


def test_a_loss_without_slope_moves_nothing():
    x = cr.rand(3, 5)
    for norm in ("inf", 2):
        found = explain.pgd(
            nn.Linear(5, 2), x, 0, epsilon=0.1, norm=norm, random_start=False, loss=lambda output, labels: output * 0
        )
        assert cr.equal(found, x)


# -- a patch --------------------------------------------------------------------------------------------------------


def textures(count, source):
    """Stripes along, stripes across, or a chequerboard, faint under noise: images (N, 1, 16, 16) and classes (N,)."""
    rows, columns = np.indices((16, 16)) // 2 % 2
    patterns = np.stack([rows, columns, rows ^ columns])
    classes = source.integers(0, 3, count)
    images = 0.5 + 0.2 * (patterns[classes] - 0.5) + 0.1 * source.normal(size=(count, 16, 16))
    return cr.tensor(images.clip(0, 1).astype(np.float32)[:, None]), cr.tensor(classes)


@functools.cache
def texture_network(device):
    """A network that tells the textures apart by means over places, so that no place matters more than another."""
    cr.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 4, padding="same", padding_mode="circular"),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    optimizer, source = cr.optim.Adam(model.parameters(), lr=0.02), np.random.default_rng(0)
    for _ in range(150):
        images, classes = textures(64, source)
        optimizer.zero_grad()
        F.cross_entropy(model(images), classes).backward()
        optimizer.step()
    return model.eval()


def test_a_patch_flips_images_wherever_it_lies():
    model = texture_network(str(cr.get_default_device()))
    images, classes = textures(200, np.random.default_rng(1))
    assert share(taken_for(model, images) == classes) > 0.97
    patch, apply = explain.adversarial_patch(model, images, 1, size=6, generator=generator())
    assert patch.shape == (1, 6, 6)
    assert 0 <= patch.min() <= patch.max() <= 1
    held_out, classes = textures(200, np.random.default_rng(2))
    others = held_out[classes != 1]
    for corner in itertools.product((0, 5, 10), repeat=2):
        assert share(taken_for(model, apply(others, corner)) == 1) > 0.9, corner
    assert share(taken_for(model, apply(others, generator=generator())) == 1) > 0.9
    noise = cr.empty_like(patch).uniform_(generator=generator())
    assert share(taken_for(model, explain.apply_patch(others, noise, generator=generator())) == 1) < 0.1


def test_a_patch_on_the_digits_network():
    model, images, classes = digits(397)
    patch, apply = explain.adversarial_patch(model, images, 4, size=4, lr=0.1, generator=generator())
    others, labels = images[classes != 4], classes[classes != 4]
    noise = cr.empty_like(patch).uniform_(generator=generator())
    fooled = taken_for(model, apply(others, generator=generator(1)))
    by_noise = taken_for(model, explain.apply_patch(others, noise, generator=generator(1)))
    assert share(fooled != labels) > 0.5
    assert share(fooled == 4) > 2 * share(by_noise == 4)


def test_apply_patch_changes_only_its_place():
    images, patch = cr.rand(3, 2, 5, 6), -cr.ones(2, 2, 3)
    corners = [(0, 0), (3, 3), (1, 2)]
    found = explain.apply_patch(images, patch, corners)
    expected = images.clone()
    for image, (row, column) in zip(expected, corners, strict=True):
        image[:, row : row + 2, column : column + 3] = patch
    assert cr.equal(found, expected)
    same = explain.apply_patch(images, patch, (1, 2))
    assert cr.equal(same, explain.apply_patch(images, patch, cr.tensor([(1, 2)] * 3)))
    for image in explain.apply_patch(images.expand(3, 2, 5, 6), patch, generator=generator()):
        rows, columns = (image[0] == -1).nonzero().unbind(1)
        assert len(rows) == 6
        assert (rows.max() - rows.min(), columns.max() - columns.min()) == (1, 2)


def test_random_places_of_a_patch_reach_the_edges():
    images, patch = cr.zeros(400, 1, 3, 4), cr.ones(1, 2, 2)
    found = explain.apply_patch(images, patch, generator=generator())
    hits = found.sum(0)[0]
    assert found.sum() == 1600
    assert hits[0, 0].item() == pytest.approx(400 / 6, abs=25)  # one of two rows and of three columns
    assert hits[-1, -1].item() == pytest.approx(400 / 6, abs=25)


def test_gradients_reach_the_patch_and_the_images():
    images, patch = cr.zeros(2, 1, 3, 3, requires_grad=True), cr.zeros(1, 2, 2, requires_grad=True)
    explain.apply_patch(images, patch, [(0, 0), (1, 1)]).sum().backward()
    assert (patch.grad == 2).all()
    assert images.grad[0, 0].tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 1]]


# -- all of them ----------------------------------------------------------------------------------------------------


class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 2)

    def forward(self, x):
        raise ArithmeticError("as asked")


def test_the_model_is_left_as_it_was():
    for model, run in itertools.product((nn.Linear(5, 2), Fails()), (explain.fgsm, explain.pgd)):
        model.train()
        try:
            run(model, cr.rand(2, 5), 0, epsilon=0.1)
        except ArithmeticError:
            assert isinstance(model, Fails)
        assert all(module.training for module in model.modules())
        assert all(p.requires_grad and p.grad is None for p in model.parameters())
        assert cr.is_grad_enabled()
    with cr.no_grad():  # gradients are recorded within, whatever holds outside
        assert (explain.fgsm(nn.Linear(5, 2), cr.rand(2, 5), 0, epsilon=0.1, bounds=None)).shape == (2, 5)


def test_a_model_that_changes_its_input():
    cr.manual_seed(0)
    model, x = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 2)), cr.rand(3, 5) - 0.5
    before = x.clone()
    for attack in (explain.fgsm, explain.pgd):
        found = attack(model, x, epsilon=0.1, bounds=None)
        assert cr.equal(x, before)
        assert (found - x).abs().max() <= 0.1 + 1e-6


def test_dropout_is_off():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 2))
    x = cr.rand(1, 50)
    assert cr.equal(explain.fgsm(model, x, 0, epsilon=0.1), explain.fgsm(model, x, 0, epsilon=0.1))


@pytest.mark.parametrize("norm", ["inf", 2])
def test_no_inputs_at_all(norm):
    x = cr.rand(0, 3, 4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    assert explain.pgd(model, x, epsilon=0.1, norm=norm).shape == (0, 3, 4)
    assert explain.fgsm(model, x, epsilon=0.1).shape == (0, 3, 4)


class Named(nn.Module):
    """Scores in a dictionary."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 2)

    def forward(self, x):
        return {"logits": self.linear(x)}


def test_a_model_that_gives_no_tensor():
    model, x = Named(), cr.rand(3, 5)

    def loss(output, labels):
        return F.cross_entropy(output["logits"], labels, reduction="none")

    assert cr.equal(explain.fgsm(model, x, 1, epsilon=0.1, loss=loss), explain.fgsm(model.linear, x, 1, epsilon=0.1))
    for attack in (explain.fgsm, explain.pgd):
        with pytest.raises(TypeError, match="gives a dict, not a tensor of scores: name the labels"):
            attack(model, x, epsilon=0.1, loss=loss)
        with pytest.raises(TypeError, match=r"gives a dict, not a tensor of scores: .* loss=\(output, labels\)"):
            attack(model, x, 1, epsilon=0.1)


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "so not -0.1", {"epsilon": -0.1}),
        (ValueError, "outside the bounds", {"epsilon": 0.1, "bounds": (0.0, 0.5)}),
        (ValueError, "3 labels for 2 inputs", {"epsilon": 0.1, "labels": [0, 1, 1]}),
        (ValueError, "the classes that the inputs", {"epsilon": 0.1, "labels": None, "targeted": True}),
        (TypeError, "tensor of floats", {"epsilon": 0.1, "inputs": [[1.0]]}),
        (ValueError, "a batch of inputs", {"epsilon": 0.1, "inputs": cr.ones(5)}),
    ],
)
def test_bad_attacks(error, message, options):
    given = {"inputs": cr.ones(2, 5, device=cr.get_default_device()), "labels": 0} | options
    for attack in (explain.fgsm, explain.pgd):
        with pytest.raises(error, match=message):
            attack(nn.Linear(5, 2), **given)


def test_bad_steps_norms_and_patches():
    model, x = nn.Linear(5, 2), cr.rand(2, 5)
    with pytest.raises(ValueError, match='"inf" or 2, not 1'):
        explain.pgd(model, x, 0, epsilon=0.1, norm=1)
    with pytest.raises(ValueError, match="0 steps change nothing"):
        explain.pgd(model, x, 0, epsilon=0.1, steps=0)
    with pytest.raises(ValueError, match=r"laid on images \(N, C, H, W\)"):
        explain.adversarial_patch(model, x, 0, size=1)
    images = cr.rand(2, 3, 4, 4)
    for patch, places, message in (
        (cr.ones(3, 5, 2), None, "does not fit"),
        (cr.ones(1, 2, 2), None, "does not fit"),
        (cr.ones(3, 0, 2), None, "does not fit"),
        (cr.ones(3, 2, 2), (3, 0), "is not inside"),
        (cr.ones(3, 2, 2), [(0, 0), (0, -1)], "is not inside"),
    ):
        with pytest.raises(ValueError, match=message):
            explain.apply_patch(images, patch, places)
