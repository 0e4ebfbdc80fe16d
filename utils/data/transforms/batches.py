"""What works on many samples: mixtures of a batch, statistics of the training data, synthetic samples."""

from __future__ import annotations

import math
from typing import Any

from .... import backends
from ....autograd import FUNCTIONS, Generator, Tensor
from ....autograd.random import current_generator
from ....autograd.tensor import wrap
from ....backends import np
from ..dataset import IterableDataset
from . import images
from .base import Normalize

__all__ = ["CutMix", "MixUp", "Mixup", "Standardize", "fit_normalize", "smote"]


def _beta(alpha: float) -> float:
    """A number of the distribution Beta(alpha, alpha), from the default generator."""
    seed = images.integer(2**62)
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def _one_hot(labels: Tensor, num_classes: int | None, like: Tensor) -> Tensor:
    if labels.ndim == 2 and labels.is_floating_point():
        return labels
    if num_classes is None:
        raise ValueError("labels that are class indices need num_classes, to become probabilities")
    return FUNCTIONS["one_hot"](labels, num_classes).to(like.dtype)


class MixUp:
    """A batch (images, labels) mixed with its own mirror: x = λ x + (1 - λ) x', with λ from Beta(alpha, alpha).

    Labels become probabilities (N, num_classes), mixed alike; `cross_entropy` takes them. x' is the batch rolled by
    one. Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2017.

    Images (N, ...), labels (N) with num_classes, or (N, num_classes). ValueError for alpha that is not positive.
    """

    def __init__(self, *, alpha: float = 1.0, num_classes: int | None = None) -> None:
        if alpha <= 0:
            raise ValueError(f"alpha should be positive, not {alpha}")
        self.alpha, self.num_classes = float(alpha), num_classes

    def __call__(self, *inputs: Any) -> tuple[Any, Any]:
        batch, labels = inputs if len(inputs) == 2 else inputs[0]
        if batch.ndim < 2 or len(labels) != len(batch):
            raise ValueError(f"expected a batch and its labels, not shapes {list(batch.shape)}, {list(labels.shape)}")
        share = _beta(self.alpha)
        mixed, share = self._mixed(batch, FUNCTIONS["roll"](batch, 1, 0), share)
        hot = _one_hot(labels, self.num_classes, batch)
        return mixed, hot * share + FUNCTIONS["roll"](hot, 1, 0) * (1 - share)

    def _mixed(self, batch: Any, other: Any, share: float) -> tuple[Any, float]:
        return batch * share + other * (1 - share), share

    def __repr__(self) -> str:
        return f"{type(self).__name__}(alpha={self.alpha}, num_classes={self.num_classes})"


Mixup = MixUp


class CutMix(MixUp):
    """A rectangle of each image from another one of the batch; the labels are mixed by the shares of the area.

    Images (N, C, H, W). The rectangle has the share 1 - λ, λ from Beta(alpha, alpha), its middle anywhere, and is cut
    off at the border. num_classes: as of MixUp. Source: S. Yun et al., "CutMix: regularization strategy to train strong
    classifiers with localizable features", 2019.
    """

    def _mixed(self, batch: Any, other: Any, share: float) -> tuple[Any, float]:
        if batch.ndim != 4:
            raise ValueError(f"CutMix needs images of shape (N, C, H, W), not {list(batch.shape)}")
        h, w = batch.shape[-2:]
        y, x, half = images.integer(h), images.integer(w), 0.5 * math.sqrt(1 - share)
        top, bottom = max(int(y - half * h), 0), min(int(y + half * h), h)
        left, right = max(int(x - half * w), 0), min(int(x + half * w), w)
        mixed = batch.clone()
        mixed[..., top:bottom, left:right] = other[..., top:bottom, left:right]
        return mixed, 1 - (bottom - top) * (right - left) / (h * w)


# -- statistics of the training data ----------------------------------------------------------------------------------


class Standardize:
    """(x - mean) / std with the numbers of the data that `fit` got, and of no others: give it training data alone.

    `dim`: the dimensions of the data (the number of the sample is the first) over which numbers are shared. Default: 0,
    so each feature has its own; for images (N, C, H, W) (0, 2, 3), so each channel has. `mean` and `std` broadcast
    against a sample, or a batch of them. std is the biased one; a constant feature is only centred.

    >>> import chainrule
    >>> train, test = chainrule.tensor([[1.0], [3.0]]), chainrule.tensor([[5.0]])
    >>> scale = Standardize().fit(train)
    >>> scale(test)
    tensor([[3.]])

    Source: Y. LeCun, L. Bottou, G. Orr, K. Müller, "Efficient backprop", 1998, section 4.3.
    """

    def __init__(self, dim: int | tuple[int, ...] | None = None) -> None:
        self.dim = (dim,) if isinstance(dim, int) else dim
        self.mean: Any = None
        self.std: Any = None

    def fit(self, data: Any) -> Standardize:
        """Take the statistics of an array or tensor (N, ...), or of a data set's samples (of tuples their first).

        A data set is read once, sample by sample: it need not fit into memory. Sums are in float64. Returns self.
        """
        count, mean, squares = 0, 0.0, 0.0
        for part in _parts(data):
            dim = self.dim or ((0, 2, 3) if part.ndim == 4 else (0,))
            if max(dim) >= part.ndim:
                raise ValueError(
                    f"samples of shape {part.shape[1:]} are no images (C, H, W): dim={dim} of a batch of them"
                )
            n = math.prod(part.shape[i] for i in dim)
            if not n:
                continue
            own = part.mean(dim, keepdims=True)
            # mean and sum of squares of two parts, joined: Chan, Golub and LeVeque (1979)
            delta, total = own - mean, count + n
            squares = squares + ((part - own) ** 2).sum(dim, keepdims=True) + delta**2 * (count * n / total)
            mean, count = mean + delta * (n / total), total
        if not count:
            raise ValueError("Standardize.fit got no sample")
        std = np.sqrt(np.asarray(squares)[0] / count)
        self.mean = np.asarray(mean, np.float64)[0].astype(np.float32)
        self.std = np.where(std == 0, 1, std).astype(np.float32)
        return self

    def __call__(self, x: Any) -> Any:
        """A sample or a batch, standardised."""
        if self.mean is None:
            raise RuntimeError("Standardize has no statistics yet: call fit(training_data) first")
        if isinstance(x, Tensor):
            return (x - wrap(self.mean, None).to(x.device)) / wrap(self.std, None).to(x.device)
        return (x - self.mean) / self.std

    def inverse(self, x: Any) -> Any:
        """Back from standardised data: x * std + mean."""
        if isinstance(x, Tensor):
            return x * wrap(self.std, None).to(x.device) + wrap(self.mean, None).to(x.device)
        return x * self.std + self.mean

    def __repr__(self) -> str:
        return f"Standardize(dim={self.dim})"


def _host(x: Any) -> Any:
    if isinstance(x, Tensor):
        return backends.of(x.array).to_host(x.detach().array)
    return np.asarray(x)


def _parts(data: Any) -> Any:
    """Arrays (n, ...) in float64 that the data consist of."""
    if isinstance(data, (Tensor, np.ndarray)):
        yield np.asarray(_host(data), np.float64)
        return
    for sample in data if isinstance(data, IterableDataset) else (data[i] for i in range(len(data))):
        yield np.asarray(_host(sample[0] if isinstance(sample, (tuple, list)) else sample), np.float64)[None]


def fit_normalize(data: Any) -> Normalize:
    """The transform Normalize with the channels' means and deviations of training data: samples (C, H, W)."""
    fitted = Standardize((0, 2, 3)).fit(data)
    return Normalize(tuple(map(float, fitted.mean.ravel())), tuple(map(float, fitted.std.ravel())))


# -- more samples of a small class ------------------------------------------------------------------------------------


def smote(samples: Any, labels: Any, k: int = 5, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
    """The samples (N, ...) and labels with synthetic ones behind them, so that all classes are as large as the largest.

    A synthetic sample lies at a random place on the line from a sample of a smaller class to one of its k nearest
    neighbours in the class. Only training data should be given. A class of one sample raises ValueError.
    Source: Chawla et al., "SMOTE: Synthetic Minority Over-sampling Technique", 2002.
    """
    x, y = _host(samples), _host(labels)
    if y.ndim != 1 or len(x) != len(y):
        raise ValueError(f"smote needs samples (N, ...) and labels (N,), not shapes {x.shape}, {y.shape}")
    if x.dtype.kind != "f":
        x = x.astype(np.float32)
    rows = x.reshape(len(x), -1)
    source = (generator or current_generator()).source
    classes, counts = np.unique(y, return_counts=True)
    made, made_labels = [x], [y]
    for label, count in zip(classes, counts):
        missing = int(counts.max() - count)
        if not missing:
            continue
        if count == 1:
            raise ValueError(f"class {label} has one sample, which has no neighbour to interpolate to")
        own = rows[y == label]
        squares = (own.astype(np.float64) ** 2).sum(1)
        distances = squares[:, None] + squares - 2 * own.astype(np.float64) @ own.T.astype(np.float64)
        np.fill_diagonal(distances, np.inf)
        near = np.argsort(distances, 1, kind="stable")[:, : min(k, int(count) - 1)]
        start = np.asarray(source.integers(0, int(count), (missing,)))
        end = near[start, np.asarray(source.integers(0, near.shape[1], (missing,)))]
        share = np.asarray(source.random((missing, 1), "float64"))
        points = own[start] + share * (own[end] - own[start])
        made.append(points.reshape(missing, *x.shape[1:]).astype(x.dtype))
        made_labels.append(np.full(missing, label, y.dtype))
    return wrap(np.concatenate(made), None), wrap(np.concatenate(made_labels), None)
