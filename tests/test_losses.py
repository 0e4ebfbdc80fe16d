"""What the tables cannot say of the losses: extras of ours by their formulas, pieces, errors, CTC's gradient."""

import tracemalloc
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F
from chainrule.testing.samples import floats, positive


def leaf(array):
    return cr.tensor(np.asarray(array, dtype=np.float64), requires_grad=True)


# -- extras of ours ---------------------------------------------------------------------------------------------------


def test_hinge_losses_by_hand():
    x, y = leaf([0.3, -0.5, 2.0]), cr.tensor([1.0, 1.0, -1.0])
    np.testing.assert_allclose(nn.HingeLoss(reduction="none")(x, y).detach().numpy(), [0.7, 1.5, 3.0])
    np.testing.assert_allclose(nn.SquaredHingeLoss(reduction="none")(x, y).detach().numpy(), [0.49, 2.25, 9.0])
    np.testing.assert_allclose(nn.PerceptronLoss("none")(x, y).detach().numpy(), [0.0, 0.5, 2.0])
    scores, c = leaf([[1.0, 2.0, -0.5]]), cr.tensor([0])
    assert nn.MulticlassHingeLoss()(scores, c).item() == pytest.approx(2.0)
    assert nn.MulticlassHingeLoss(p=2)(scores, c).item() == pytest.approx(4.0)
    assert nn.MulticlassHingeLoss(p=2)(scores, c).item() == 3 * nn.MultiMarginLoss(p=2)(scores, c).item()
    with pytest.raises(ValueError, match="only p == 1 and p == 2 supported"):
        nn.MulticlassHingeLoss(p=3)


def test_dice_loss_by_hand():
    x, y = leaf([[1.0, 0.5, 0.0, 0.0], [0, 0, 0, 0]]), cr.tensor([[1.0, 1.0, 0.0, 0.0], [0, 0, 0, 0]]).double()
    found = nn.DiceLoss(reduction="none")(x, y).detach().numpy()
    np.testing.assert_allclose(found, [1 - (2 * 1.5 + 1) / (1.5 + 2 + 1), 0.0])
    assert nn.DiceLoss(smooth=0.0)(x[:1], y[:1]).item() == pytest.approx(1 - 3 / 3.5)


def test_focal_loss_without_focus_is_cross_entropy():
    x, y = leaf(floats((3, 4))), cr.tensor((floats((3, 4), seed=1) > 0).astype(float))
    plain = nn.FocalLoss(gamma=0.0, alpha=-1)(x, y)
    np.testing.assert_allclose(plain.item(), nn.BCEWithLogitsLoss()(x, y).item())
    assert nn.FocalLoss(alpha=-1)(x, y).item() < plain.item()


# -- PyTorch's rarer ones ---------------------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ctc_after_log_softmax_like_torch(torch, reduction):
    logits, targets = floats((6, 2, 4)), np.array([[1, 2, 2], [3, 1, 0]])
    x, y = cr.tensor(logits, requires_grad=True), torch.tensor(logits, requires_grad=True)
    lengths = [6, 5], [3, 2]
    got = nn.CTCLoss(reduction=reduction)(x.log_softmax(2), cr.tensor(targets), *map(cr.tensor, lengths))
    expected = torch.nn.CTCLoss(reduction=reduction)(
        y.log_softmax(2), torch.tensor(targets), *map(torch.tensor, lengths)
    )
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-10)
    got.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-8, atol=1e-12)


@pytest.mark.torch
def test_adaptive_softmax_like_torch(torch):
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(4, 9, [2, 5], 2.0, True).double()
    ours = nn.AdaptiveLogSoftmaxWithLoss(4, 9, [2, 5], 2.0, True).double()
    ours.load_state_dict({k: cr.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    x = 5 * floats((20, 4))
    got, expected = ours.log_prob(cr.tensor(x)), theirs.log_prob(torch.tensor(x))
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-9)
    np.testing.assert_array_equal(ours.predict(cr.tensor(x)).numpy(), theirs.predict(torch.tensor(x)).numpy())
    assert (ours.cutoffs, ours.head_size, ours.n_clusters) == (theirs.cutoffs, theirs.head_size, theirs.n_clusters)


def test_adaptive_softmax_is_a_distribution():
    layer = nn.AdaptiveLogSoftmaxWithLoss(4, 9, [3, 6], 2.0).double()
    x = cr.tensor(floats((5, 4)))
    full = layer.log_prob(x)
    np.testing.assert_allclose(full.exp().sum(1).detach().numpy(), 1.0)
    target = cr.tensor([0, 8, 4, 3, 6])
    out = layer(x, target)
    np.testing.assert_allclose(out.output.detach().numpy(), full.detach().numpy()[range(5), target.numpy()])
    assert out.loss.item() == pytest.approx(-out.output.mean().item())
    for bad, message in (
        (([0, 9, 0, 0, 0],), r"Target values should be in \[0, 8\], but values in range \[0, 9\]"),
        (([0, 1],), "same size in the batch dimension"),
        ((0,), "0D target tensor expects 1D"),
        (([[0, 1]],), "multi-target not supported"),
    ):
        with pytest.raises(RuntimeError, match=message):
            layer(x, cr.tensor(*bad))
    for cutoffs in ([], [3, 2], [0, 3], [3, 9], [2, 2]):
        with pytest.raises(ValueError, match="cutoffs should be a sequence"):
            nn.AdaptiveLogSoftmaxWithLoss(4, 9, cutoffs)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_linear_cross_entropy_in_pieces(reduction, weighted):
    x, w, b = leaf(floats((7, 3))), leaf(floats((5, 3), seed=1)), leaf(floats(5, seed=2))
    t = cr.tensor([0, 4, -100, 2, 2, 1, 3])
    settings = {"linear_bias": b, "reduction": reduction, "label_smoothing": 0.1}
    if weighted:
        settings["weight"] = cr.tensor(positive(5))
    whole = F.linear_cross_entropy(x, w, t, **settings)
    pieces = F.linear_cross_entropy(x, w, t, **settings, options=nn.LinearCrossEntropyOptions(batch_chunk_size=2))
    np.testing.assert_allclose(pieces.detach().numpy(), whole.detach().numpy(), rtol=1e-12)
    one, two = (cr.autograd.grad((y * y).sum(), [x, w, b]) for y in (whole, pieces))
    for g, h in zip(one, two, strict=True):
        np.testing.assert_allclose(h.numpy(), g.numpy(), rtol=1e-10, atol=1e-13)


def test_linear_cross_entropy_in_pieces_needs_less_memory():
    def peak(options):
        x, w = cr.zeros(400, 8, requires_grad=True), cr.zeros(2000, 8, requires_grad=True)
        target = cr.zeros(400).long()
        tracemalloc.start()
        F.linear_cross_entropy(x, w, target, options=options).backward()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    logits = 4 * 400 * 2000
    assert peak(None) > logits
    assert peak(nn.LinearCrossEntropyOptions()) < 0.2 * logits


def test_linear_cross_entropy_settings():
    with pytest.raises(ValueError, match="batch_chunk_size must be positive int or None, got 0"):
        nn.LinearCrossEntropyOptions(batch_chunk_size=0)
    with pytest.raises(ValueError, match="invalid chunking_method: 'x'"):
        nn.LinearCrossEntropyOptions(chunking_method="x")
    with pytest.raises(ValueError, match="invalid acc_policy: 'x'"):
        nn.LinearCrossEntropyOptions(acc_policy="x")
    loss = nn.LinearCrossEntropyLoss(3, 4, out_features=(2,), options=nn.LinearCrossEntropyOptions())
    with pytest.raises(RuntimeError, match="requires batched input"):
        loss(cr.zeros(3), cr.zeros(2).long())
    assert loss(cr.zeros(1, 3), cr.zeros(1, 2).long()).item() == pytest.approx(np.log(4))


def test_older_arguments_and_names_warn():
    with pytest.warns(UserWarning, match="reduction='sum'") as seen:
        assert nn.MSELoss(size_average=False).reduction == "sum"
    assert seen[0].filename == __file__
    with pytest.warns(FutureWarning, match="`NLLLoss2d` has been deprecated"):
        nn.NLLLoss2d()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.MSELoss(reduction="sum")


def test_class_weights_and_smoothing_of_cross_entropy():
    """Against the formulas: weighted mean over the targets' weights; (1 - ε) δ + ε / K in place of δ."""
    x, t, w = leaf(floats((3, 4))), cr.tensor([1, 0, 3]), positive(4)
    log_p = np.asarray(F.log_softmax(x, 1).detach().numpy())
    picked = log_p[range(3), [1, 0, 3]]
    share = w[[1, 0, 3]]
    found = nn.CrossEntropyLoss(weight=cr.tensor(w))(x, t).item()
    assert found == pytest.approx(-(picked * share).sum() / share.sum())
    q = 0.9 * np.eye(4)[[1, 0, 3]] + 0.1 / 4
    assert nn.CrossEntropyLoss(label_smoothing=0.1)(x, t).item() == pytest.approx(-(q * log_p).sum(1).mean())
    assert nn.CrossEntropyLoss()(x, cr.tensor(q)).item() == pytest.approx(-(q * log_p).sum(1).mean())
