"""Splits of a data set: holdout, k folds, plain and stratified; and weights of classes that are rare.

Splits are index tensors, for `Subset(data, indices)` or `x[indices]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..autograd import FUNCTIONS, Tensor
from ..backends import np
from .reports import generator, host

__all__ = ["KFold", "StratifiedKFold", "class_weights", "train_val_test_split"]


def _tensor(indices: Any) -> Tensor:
    return FUNCTIONS["as_tensor"](np.sort(indices))


class KFold:
    """k folds of which each is the validation set once.

    >>> from chainrule.utils.validation import KFold
    >>> for train, validation in KFold(3).split(range(7)):
    ...     print(train.tolist(), validation.tolist())
    [3, 4, 5, 6] [0, 1, 2]
    [0, 1, 2, 5, 6] [3, 4]
    [0, 1, 2, 3, 4] [5, 6]

    shuffle: at random, by `seed`. ValueError for fewer than two folds, or more than samples. n_splits: k. Source: M.
    Stone, "Cross-validatory choice and assessment of statistical predictions", 1974.
    """

    def __init__(self, n_splits: int = 5, shuffle: bool = False, seed: int | None = None) -> None:
        if n_splits < 2:
            raise ValueError(f"k-fold validation needs 2 folds or more, not {n_splits}")
        self.n_splits, self.shuffle, self.seed = n_splits, shuffle, seed

    def split(self, data: Any, labels: Any = None) -> Iterator[tuple[Tensor, Tensor]]:
        """n_splits pairs (train, validation) of int64 index tensors, for data that has a length."""
        fold_of = self._folds(len(data), labels)
        for k in range(self.n_splits):
            yield _tensor(np.flatnonzero(fold_of != k)), _tensor(np.flatnonzero(fold_of == k))

    def _folds(self, n: int, labels: Any) -> Any:
        """The fold of each sample."""
        if n < self.n_splits:
            raise ValueError(f"{n} samples do not fill {self.n_splits} folds")
        sizes = [len(part) for part in np.array_split(np.arange(n), self.n_splits)]
        fold_of = np.repeat(np.arange(self.n_splits), sizes)
        return generator(self.seed).permutation(fold_of) if self.shuffle else fold_of


class StratifiedKFold(KFold):
    """k folds with the classes in each as in the whole, to within one sample of a class.

    `split(data, labels)`; ValueError without labels, or for a class of fewer samples than folds. Arguments as of
    `KFold`. Source: R. Kohavi, "A study of cross-validation and bootstrap for accuracy estimation and model
    selection", 1995.
    """

    def _folds(self, n: int, labels: Any) -> Any:
        if labels is None:
            raise ValueError("StratifiedKFold.split needs the labels: split(data, labels)")
        wanted = host(labels).reshape(-1)
        if len(wanted) != n:
            raise ValueError(f"{len(wanted)} labels do not fit {n} samples")
        fold_of, source, start = np.empty(n, np.int64), generator(self.seed) if self.shuffle else None, 0
        for label, count in zip(*np.unique(wanted, return_counts=True), strict=True):
            if count < self.n_splits:
                raise ValueError(f"class {label} has {count} samples, fewer than the {self.n_splits} folds")
            members = np.flatnonzero(wanted == label)
            if source is not None:
                members = source.permutation(members)
            fold_of[members] = (start + np.arange(count)) % self.n_splits
            start += count  # the next class goes on where this one ended, so that folds are of one size
        return fold_of


def train_val_test_split(
    data: Any, fractions: Sequence[float] = (0.7, 0.15, 0.15), labels: Any = None, seed: int | None = None
) -> tuple[Tensor, ...]:
    """Shuffled, disjoint index tensors of the given fractions: train, validation, test (or as many as there are).

    data: anything with a length. labels: with them each class is split by the fractions. What the test part is, `seed`
    fixes; keep it in the vault until the end. ValueError where the fractions do not sum to 1.
    """
    if abs(sum(fractions) - 1) > 1e-6 or min(fractions) < 0:
        raise ValueError(f"fractions {tuple(fractions)} must not be negative and must sum to 1")
    n, source = len(data), generator(seed)
    wanted = np.zeros(n, np.int64) if labels is None else host(labels).reshape(-1)
    if len(wanted) != n:
        raise ValueError(f"{len(wanted)} labels do not fit {n} samples")
    parts: list[list[Any]] = [[] for _ in fractions]
    for label in np.unique(wanted):
        members = source.permutation(np.flatnonzero(wanted == label))
        cuts = np.round(np.cumsum(fractions)[:-1] * len(members)).astype(np.int64)
        for part, piece in zip(parts, np.split(members, cuts), strict=True):
            part.append(piece)
    return tuple(_tensor(np.concatenate(part)) if part else _tensor(np.zeros(0, np.int64)) for part in parts)


def class_weights(labels: Any, num_classes: int | None = None) -> Tensor:
    """n / (K · nₖ) of each class k, float32: losses weighted so count every class alike. 0 for a class without samples.

    >>> from chainrule.utils.validation import class_weights
    >>> class_weights([0, 0, 0, 1])
    tensor([0.6667, 2.0000])

    num_classes: K, by default the highest label and 1. Source: G. King, L. Zeng, "Logistic regression in rare events
    data", 2001.
    """
    counts = np.bincount(host(labels).reshape(-1).astype(np.int64), minlength=num_classes or 0)
    if not counts.sum():
        raise ValueError("there are no labels to weigh")
    weights = np.where(counts == 0, 0.0, counts.sum() / (len(counts) * np.maximum(counts, 1)))
    return FUNCTIONS["as_tensor"](weights.astype(np.float32))
