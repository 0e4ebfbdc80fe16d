"""Losses. References are written from the formulas, in NumPy; PyTorch is the second oracle where it has the loss."""

import numpy as np
from scipy import special

from chainrule.testing import OpRecord, Sample, Tie
from chainrule.testing.samples import floats, integers, positive

REDUCTIONS = ("mean", "sum", "none")
KERNEL = "the kernel sums in another order"


def reduced(losses, reduction):
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](losses)


def over(make, also=()):
    """Samples of one call for each reduction, and with the further parameters `also`."""

    def samples():
        found = [Sample(*make(), reduction=r) for r in REDUCTIONS]
        return [*found, *[Sample(*make(), **kwargs) for kwargs in also]]

    return samples


def constant(name, *positions):
    """PyTorch's loss with the arguments at `positions` detached: it refuses gradients for them."""

    def call(*args, **kwargs):
        import torch

        args = [a.detach() if i in positions and hasattr(a, "detach") else a for i, a in enumerate(args)]
        kwargs = {k: v.detach() if k == "pos_weight" and v is not None else v for k, v in kwargs.items()}
        return getattr(torch.nn.functional, name)(*args, **kwargs)

    return call


def signs(shape, seed=0):
    return np.where(integers(shape, 0, 2, seed) == 1, 1, -1)


def labels(shape, seed=0):
    return integers(shape, 0, 2, seed).astype(float)


def _pair():
    return floats((2, 3)), floats((2, 3), seed=1)


def _near_pair():
    """Differences on either side of 0.5 and 1, away from them and from 0."""
    d = np.array([[0.2, -0.4, 0.7], [-0.8, 1.3, -1.6]])
    x = floats((2, 3))
    return x, x - d


# -- classification ---------------------------------------------------------------------------------------------------


def _nll(log_p, target, weight=None, ignore_index=-100, reduction="mean"):
    rank = log_p.ndim
    rows = np.moveaxis(log_p, 0 if rank == 1 else 1, -1)
    kept = target != ignore_index
    safe = np.where(kept, target, 0)
    share = kept * (1.0 if weight is None else weight[safe])
    losses = -np.take_along_axis(rows, safe[..., None], -1)[..., 0] * share
    return losses.sum() / share.sum() if reduction == "mean" else reduced(losses, reduction)


def _nll_samples():
    x, t, w = floats((3, 4)), np.array([1, 3, 0]), positive(4)
    spatial, places = floats((2, 3, 2)), np.array([[0, 1], [2, 1]])
    found = [Sample(x, t, reduction=r) for r in REDUCTIONS]
    found += [Sample(x, t, w), Sample(x, t, w, reduction="none"), Sample(x, t, ignore_index=3)]
    return [
        *found,
        Sample(spatial, places, ignore_index=1),
        Sample(spatial, places, reduction="none"),
        Sample(x[0], np.array(t[0])),
    ]


def _cross_entropy(x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    dim = 0 if x.ndim == 1 else 1
    log_p = np.moveaxis(special.log_softmax(x, dim), dim, -1)
    classes = log_p.shape[-1]
    w = np.ones(classes) if weight is None else weight
    if target.dtype.kind == "f":
        p = np.moveaxis(target, dim, -1)
        losses = -(log_p * (p * (1 - label_smoothing) + label_smoothing / classes) * w).sum(-1)
        return reduced(losses, reduction)
    kept = target != ignore_index
    safe = np.where(kept, target, 0)
    p = np.eye(classes)[safe] * (1 - label_smoothing) + label_smoothing / classes
    losses = -(log_p * p * w).sum(-1) * kept
    return losses.sum() / (w[safe] * kept).sum() if reduction == "mean" else reduced(losses, reduction)


def _cross_entropy_samples():
    p = special.softmax(floats((3, 4), seed=2), 1)
    soft = [Sample(floats((3, 4)), p, reduction=r) for r in REDUCTIONS]
    smooth = {"label_smoothing": 0.2}
    return [
        *_nll_samples(),
        *[Sample(floats((3, 4)), np.array([1, 3, 0]), ignore_index=3, reduction=r) for r in ("sum", "none")],
        *soft,
        Sample(floats((3, 4)), p, positive(4), **smooth),
        Sample(floats((3, 4)), np.array([1, 3, 0]), positive(4), ignore_index=0, **smooth),
        Sample(floats((2, 3, 2)), np.array([[0, 1], [2, 1]]), reduction="none", **smooth),
    ]


def _bce(x, t, weight=None, reduction="mean"):
    losses = -(t * np.log(x) + (1 - t) * np.log1p(-x))
    return reduced(losses if weight is None else losses * weight, reduction)


def _bce_logits(x, t, weight=None, reduction="mean", pos_weight=None):
    losses = -(t * (1 if pos_weight is None else pos_weight) * special.log_expit(x) + (1 - t) * special.log_expit(-x))
    return reduced(losses if weight is None else losses * weight, reduction)


def _probabilities(shape=(2, 3), seed=0):
    return floats(shape, 0.1, 0.9, seed)


def _kl_div(x, t, reduction="mean", log_target=False):
    losses = np.exp(t) * (t - x) if log_target else special.xlogy(t, t) - t * x
    return losses.sum() / len(x) if reduction == "batchmean" else reduced(losses, reduction)


def _focal(x, t, gamma=2.0, alpha=0.25, reduction="mean"):
    p = np.where(t == 1, special.expit(x), special.expit(-x))
    share = 1 if alpha < 0 else np.where(t == 1, alpha, 1 - alpha)
    return reduced(-share * (1 - p) ** gamma * np.log(p), reduction)


def _dice(x, t, smooth=1.0, reduction="mean"):
    x, t = x.reshape(len(x), -1), t.reshape(len(x), -1)
    return reduced(1 - (2 * (x * t).sum(1) + smooth) / (x.sum(1) + t.sum(1) + smooth), reduction)


# -- regression -------------------------------------------------------------------------------------------------------


def _weighted(losses, weight, reduction):
    if weight is None:
        return reduced(losses, reduction)
    return (losses * weight).sum() / weight.sum() if reduction == "mean" else reduced(losses * weight, reduction)


def _smooth_l1(x, t, reduction="mean", beta=1.0):
    d = np.abs(x - t)
    return reduced(np.where(d < beta, 0.5 * d * d / (beta or 1), d - 0.5 * beta), reduction)


def _huber(x, t, reduction="mean", delta=1.0, weight=None):
    d = np.abs(x - t)
    losses = np.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta))
    return reduced(losses if weight is None else losses * weight, reduction)


def _poisson(x, t, log_input=True, full=False, reduction="mean", eps=1e-8):
    losses = np.exp(x) - t * x if log_input else x - t * np.log(x + eps)
    if full:
        losses = losses + np.where(t > 1, t * np.log(t) - t + 0.5 * np.log(2 * np.pi * t), 0)
    return reduced(losses, reduction)


def _gaussian(x, t, var, full=False, eps=1e-6, reduction="mean"):
    var = np.asarray(var)
    var = var[..., None] if 0 < var.ndim < x.ndim else var
    losses = 0.5 * (np.log(np.maximum(var, eps)) + (x - t) ** 2 / np.maximum(var, eps))
    return reduced(losses + 0.5 * np.log(2 * np.pi) * full, reduction)


# -- margins ----------------------------------------------------------------------------------------------------------


def _relu(x):
    return np.maximum(x, 0)


def _shortfalls(x, t, margin):
    picked = np.take_along_axis(x, t[..., None], -1)
    return _relu(margin - picked + x) * (np.arange(x.shape[-1]) != t[..., None])


def _multi_margin(x, t, p=1, margin=1.0, weight=None, reduction="mean"):
    short = _shortfalls(x, t, margin) ** p
    short = short if weight is None else short * weight[t][..., None]
    return reduced(short.sum(-1) / x.shape[-1], reduction)


def _multilabel_margin(x, t, reduction="mean"):
    losses = []
    for scores, listed in zip(np.atleast_2d(x), np.atleast_2d(t), strict=True):
        members = [int(j) for j in listed[: np.argmax(listed < 0)]] if (listed < 0).any() else [int(j) for j in listed]
        others = [i for i in range(len(scores)) if i not in members]
        losses.append(sum(max(0.0, 1 - scores[j] + scores[i]) for j in members for i in others) / len(scores))
    return reduced(np.array(losses) if x.ndim > 1 else np.array(losses[0]), reduction)


def _multilabel_soft_margin(x, t, weight=None, reduction="mean"):
    losses = -(t * special.log_expit(x) + (1 - t) * special.log_expit(-x))
    return reduced((losses if weight is None else losses * weight).mean(-1), reduction)


def _cosine(x1, x2, dim=1, eps=1e-8):
    norm = lambda x: np.maximum(np.sqrt((x * x).sum(dim, keepdims=True)), eps)
    return (x1 / norm(x1) * (x2 / norm(x2))).sum(dim)


def _distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    return (np.abs(x1 - x2 + eps) ** p).sum(-1, keepdims=keepdim) ** (1 / p)


def _cosine_embedding(x1, x2, t, margin=0.0, reduction="mean"):
    cos = _cosine(x1, x2, -1)
    return reduced(np.where(t == 1, 1 - cos, _relu(cos - margin)), reduction)


def _triplet(a, p_, n, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"):
    far = _distance(a, n, p, eps)
    far = np.minimum(far, _distance(p_, n, p, eps)) if swap else far
    return reduced(_relu(_distance(a, p_, p, eps) - far + margin), reduction)


def _triplet_samples():
    three = floats((2, 3)), floats((2, 3), seed=1), floats((2, 3), seed=2)
    return [
        *[Sample(*three, margin=2.0, reduction=r) for r in REDUCTIONS],
        Sample(*three, p=1.0, swap=True, margin=3.0),
        Sample(*[x[0] for x in three], p=3.0),
    ]


# -- connectionist temporal classification ----------------------------------------------------------------------------


def _ctc_nll(log_p, extended, input_lengths, target_lengths, blank=0):
    """By enumeration of all paths."""
    losses = []
    for n, (steps, count) in enumerate(zip(input_lengths, target_lengths, strict=True)):
        wanted = [int(v) for v in extended[n, 1 : 2 * count : 2]]
        total = 0.0
        for path in np.ndindex(*(log_p.shape[2],) * int(steps)):
            merged = [c for i, c in enumerate(path) if i == 0 or c != path[i - 1]]
            if [c for c in merged if c != blank] == wanted:
                total += np.exp(sum(log_p[t, n, c] for t, c in enumerate(path)))
        losses.append(-np.log(total) if total else np.inf)
    return np.array(losses)


def _ctc_samples():
    log_p = special.log_softmax(floats((4, 2, 3)), 2)
    extended = np.array([[0, 1, 0, 1, 0], [0, 2, 0, 0, 0]])
    other = np.array([[2, 0, 2, 1, 2], [2, 2, 2, 2, 2]])
    return [
        Sample(log_p, extended, np.array([4, 3]), np.array([2, 1])),
        Sample(log_p, other, np.array([4, 4]), np.array([2, 0]), blank=2),
        Sample(log_p[:3], extended, np.array([3, 2]), np.array([2, 1])),
        Sample(log_p[:3], extended[:, :1], np.array([0, 3]), np.array([0, 0])),
    ]


def _extended(targets, lengths, longest, blank):
    rows, start = [], 0
    for n, count in enumerate(lengths):
        own = targets[n, :count] if targets.ndim == 2 else targets[start : start + count]
        start += count
        row = [blank] * (2 * longest + 1)
        row[1 : 2 * count : 2] = own
        rows.append(row)
    return np.array(rows)


def _loss(name, reference, make, *also, torch="", **fields):
    return OpRecord(
        name,
        samples=over(make, also=also),
        reference=reference,
        torch=f"nn.functional.{name}" if torch == "" else torch,
        **fields,
    )


RECORDS = [
    OpRecord(
        "checked_target",
        samples=lambda: [Sample(np.array([1, -100, 2]), 3), Sample(np.array([[0, 1], [1, 1]]), 2, ignore_index=1)],
        reference=lambda t, classes, ignore_index=-100: np.where(t == ignore_index, 0, t),
        order=0,
    ),
    OpRecord(
        "class_mask",
        samples=lambda: [Sample(np.array([1, -1, 2, 5]), 3), Sample(np.array(0), classes=2)],
        reference=lambda t, classes: t[..., None] == np.arange(classes),
        order=0,
    ),
    OpRecord(
        "label_list",
        samples=lambda: [Sample(np.array([[1, -1, 2], [0, 1, 2], [-1, -1, 0]])), Sample(np.array([0, 1, -1]))],
        reference=lambda t: np.array(
            [not (row[: i + 1] < 0).any() for row in np.atleast_2d(t) for i in range(len(row))]
        ).reshape(t.shape),
        order=0,
    ),
    OpRecord(
        "log_probability",
        samples=lambda: [Sample(_probabilities()), Sample(_probabilities(), complement=True)],
        reference=lambda p, complement=False: np.log(1 - p) if complement else np.log(p),
        torch=lambda p, complement=False: (1 - p if complement else p).log(),
        ties=[
            Tie(np.array([0.0, 1.0]), grads=[[1e12, 1.0]]),
            Tie(np.array([0.0, 1.0]), True, grads=[[-1.0, -1e12]]),
        ],
    ),
    OpRecord(
        "raised",
        samples=lambda: [Sample(positive((2, 3)), 0.1)],
        reference=lambda x, min: np.maximum(x, min),
        torch=lambda x, min: x.clamp(min=min),
        ties=[Tie(np.array([0.1, 0.5, 2.0]), 0.5, grads=[[1.0, 1.0, 1.0]])],
    ),
    OpRecord(
        "nll_loss", samples=_nll_samples, reference=_nll, torch=constant("nll_loss", 2), differentiable=("input",)
    ),
    OpRecord(
        "cross_entropy",
        samples=_cross_entropy_samples,
        reference=_cross_entropy,
        torch=constant("cross_entropy", 2),
        differentiable=("input", "target"),
        close=KERNEL,
    ),
    _loss(
        "binary_cross_entropy",
        _bce,
        lambda: (_probabilities(), _probabilities(seed=1), positive((2, 3))),
        torch=constant("binary_cross_entropy", 2),
        differentiable=("input", "target"),
    ),
    _loss(
        "binary_cross_entropy_with_logits",
        _bce_logits,
        lambda: (floats((2, 3)), _probabilities(seed=1)),
        {"weight": positive((2, 3)), "pos_weight": positive(3)},
        torch=lambda x, t, weight=None, reduction="mean", pos_weight=None: constant(
            "binary_cross_entropy_with_logits", 2
        )(x, t, weight, reduction=reduction, pos_weight=pos_weight),
        differentiable=("input", "target"),
    ),
    OpRecord(
        "kl_div",  # its mean comes with a warning
        samples=lambda: [
            *[Sample(floats((2, 3)), positive((2, 3)), reduction=r) for r in ("sum", "none", "batchmean")],
            Sample(floats((2, 3)), floats((2, 3), seed=1), reduction="sum", log_target=True),
        ],
        reference=_kl_div,
        torch="nn.functional.kl_div",
    ),
    _loss(
        "focal_loss", _focal, lambda: (floats((2, 3)), integers((2, 3), 0, 2)), {"gamma": 3.0, "alpha": -1}, torch=None
    ),
    _loss("dice_loss", _dice, lambda: (_probabilities((2, 2, 2)), labels((2, 2, 2))), {"smooth": 0.1}, torch=None),
    _loss(
        "mse_loss",
        lambda x, t, reduction="mean", weight=None: _weighted((x - t) ** 2, weight, reduction),
        _pair,
        {"weight": positive((2, 3))},
        close=KERNEL,
    ),
    _loss(
        "l1_loss",
        lambda x, t, reduction="mean", weight=None: _weighted(np.abs(x - t), weight, reduction),
        _near_pair,
        {"weight": positive((2, 3))},
        ties=[Tie(np.array([1.0, 2.0]), np.array([1.0, 3.0]), reduction="sum", grads=[[0.0, -1.0], [0.0, 1.0]])],
    ),
    _loss("smooth_l1_loss", _smooth_l1, _near_pair, {"beta": 0.5}, {"beta": 0.0}),
    _loss("huber_loss", _huber, _near_pair, {"delta": 0.5}, {"weight": positive((2, 3))}),
    _loss(
        "poisson_nll_loss",
        _poisson,
        lambda: (floats((2, 3)), floats((2, 3), 0.2, 3, seed=1, avoid=(1,))),
        {"full": True},
        {"full": True, "reduction": "none"},
    ),
    _loss(
        "gaussian_nll_loss",
        _gaussian,
        lambda: (positive((2, 3), seed=1), positive((2, 3), seed=2), positive((2, 3))),
        {"full": True},
    ),
    _loss(
        "hinge_loss",
        lambda x, t, margin=1.0, reduction="mean": reduced(_relu(margin - t * x), reduction),
        lambda: (floats((2, 3), avoid=(-1, 1)), signs((2, 3))),
        {"margin": 0.4},
        torch=None,
        ties=[Tie(np.array([1.0, 0.5]), np.array([1, 1]), reduction="sum", grads=[[0.0, -1.0]])],
    ),
    _loss(
        "squared_hinge_loss",
        lambda x, t, margin=1.0, reduction="mean": reduced(_relu(margin - t * x) ** 2, reduction),
        lambda: (floats((2, 3), avoid=(-1, 1)), signs((2, 3))),
        torch=None,
    ),
    _loss(
        "perceptron_loss",
        lambda x, t, reduction="mean": reduced(_relu(-t * x), reduction),
        lambda: (floats((2, 3), avoid=(0,)), signs((2, 3))),
        torch=None,
    ),
    _loss(
        "hinge_embedding_loss",
        lambda x, t, margin=1.0, reduction="mean": reduced(np.where(t == 1, x, _relu(margin - x)), reduction),
        lambda: (floats((2, 3), avoid=(1,)), signs((2, 3))),
        {"margin": 0.4},
    ),
    _loss(
        "soft_margin_loss",
        lambda x, t, reduction="mean": reduced(np.log1p(np.exp(-t * x)), reduction),
        lambda: (floats((2, 3)), signs((2, 3))),
    ),
    _loss(
        "margin_ranking_loss",
        lambda a, b, t, margin=0.0, reduction="mean": reduced(_relu(margin - t * (a - b)), reduction),
        lambda: (*_near_pair(), signs((2, 3))),
        {"margin": 0.5},
    ),
    _loss(
        "multi_margin_loss",
        _multi_margin,
        lambda: (floats((3, 4)), np.array([1, 3, 0])),
        {"p": 2, "margin": 0.7},
        {"weight": positive(4)},
        torch=lambda x, t, p=1, margin=1.0, weight=None, reduction="mean": constant("multi_margin_loss", 4)(
            x, t, p, margin, weight, reduction=reduction
        ),
        differentiable=("input",),
    ),
    _loss(
        "multiclass_hinge_loss",
        lambda x, t, margin=1.0, reduction="mean", p=1: reduced((_shortfalls(x, t, margin) ** p).sum(-1), reduction),
        lambda: (floats((3, 4)), np.array([1, 3, 0])),
        {"margin": 0.7},
        {"p": 2},
        torch=None,
    ),
    _loss(
        "multilabel_margin_loss", _multilabel_margin, lambda: (floats((2, 4)), np.array([[3, 0, -1, 1], [-1, 0, 1, 2]]))
    ),
    _loss(
        "multilabel_soft_margin_loss",
        _multilabel_soft_margin,
        lambda: (floats((2, 3)), integers((2, 3), 0, 2)),
        {"weight": positive(3)},
    ),
    OpRecord(
        "cosine_similarity",
        samples=lambda: [Sample(*_pair()), Sample(floats((2, 3)), floats((1, 3), seed=1), dim=-1), Sample(*_pair(), 0)],
        reference=_cosine,
        torch="nn.functional.cosine_similarity",
    ),
    OpRecord(
        "pairwise_distance",
        samples=lambda: [
            Sample(*_near_pair()),
            Sample(*_near_pair(), p=1.0, keepdim=True),
            Sample(floats((2, 3)), floats(3, seed=1)),
        ],
        reference=_distance,
        torch="nn.functional.pairwise_distance",
    ),
    _loss(
        "cosine_embedding_loss",
        _cosine_embedding,
        lambda: (floats((4, 3)), floats((4, 3), seed=1), np.array([1, -1, 1, -1])),
        {"margin": -0.5},
    ),
    OpRecord(
        "triplet_margin_loss", samples=_triplet_samples, reference=_triplet, torch="nn.functional.triplet_margin_loss"
    ),
    OpRecord(
        "ctc_labels",
        samples=lambda: [
            Sample(np.array([[1, 2, 3], [4, 5, 6]]), np.array([2, 3]), 3, 0),
            Sample(np.array([1, 2, 4, 5, 6]), np.array([2, 3]), 3, 9),
            Sample(np.zeros((2, 0), int), np.array([0, 0]), 0, 0),
        ],
        reference=_extended,
        order=0,
    ),
    OpRecord("ctc_nll", samples=_ctc_samples, reference=_ctc_nll, close=KERNEL),
]
