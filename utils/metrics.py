"""Metrics of predictions: classification, ranking, segmentation, language.

Predictions come first, targets second, as tensors, arrays or lists; results are floats and NumPy arrays. Where a
function takes labels, it also takes scores (n, K) and picks the highest. A ratio whose denominator is 0 counts as 0.
ValueError says which lengths or labels do not fit.

Source of the definitions: scikit-learn's documentation, whose numbers the tests compare; sizes are n samples, K
classes.
"""

from __future__ import annotations

import math
from typing import Any

from ..backends import np
from .reports import host

__all__ = [
    "accuracy",
    "auc",
    "average_precision",
    "confusion_matrix",
    "dice",
    "f1",
    "iou",
    "mean_iou",
    "perplexity",
    "precision",
    "precision_recall_curve",
    "recall",
    "roc_auc",
    "roc_curve",
    "specificity",
    "top_k_accuracy",
]


def _labels(input: Any, target: Any) -> tuple[Any, Any]:
    predicted, wanted = host(input), host(target)
    if predicted.ndim == wanted.ndim + 1 and predicted.shape[0] == wanted.shape[0]:
        predicted = predicted.argmax(axis=1)
    if predicted.shape != wanted.shape:
        raise ValueError(
            f"predictions of shape {predicted.shape} do not fit targets of shape {wanted.shape}; "
            "give labels of the targets' shape, or scores with the classes in dimension 1"
        )
    if not wanted.size:
        raise ValueError("there are no predictions to judge")
    for name, array in (("predictions", predicted), ("targets", wanted)):
        if array.dtype.kind not in "iubf" or (array.dtype.kind == "f" and (array != np.floor(array)).any()):
            raise ValueError(f"{name} must be whole-numbered labels; threshold or argmax probabilities first")
    return predicted.reshape(-1).astype(np.int64), wanted.reshape(-1).astype(np.int64)


def _ratio(above: Any, below: Any) -> Any:
    return np.where(below == 0, 0.0, above / np.where(below == 0, 1, below))


def accuracy(input: Any, target: Any) -> float:
    """The share of predictions that are right: (TP + TN) / all, of labels (n) or scores (n, K) and targets (n)."""
    predicted, wanted = _labels(input, target)
    return float((predicted == wanted).mean())


def top_k_accuracy(input: Any, target: Any, k: int = 5) -> float:
    """The share of targets (n) among the k highest of their scores (n, K). Ties count against the target.

    ValueError unless 1 <= k <= K.
    """
    scores, wanted = host(input), host(target).reshape(-1)
    if scores.ndim != 2 or len(scores) != len(wanted):
        raise ValueError(f"scores of shape {scores.shape} do not fit {len(wanted)} targets; they must be (n, classes)")
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k = {k} must lie between 1 and the number of classes, {scores.shape[1]}")
    own = scores[np.arange(len(wanted)), wanted][:, None]
    return float(((scores >= own).sum(axis=1) <= k).mean())


def confusion_matrix(input: Any, target: Any, num_classes: int | None = None) -> Any:
    """Counts (K, K), int64: row i, column j holds how many samples of class i were taken for class j.

    num_classes: K; by default the highest label and 1. ValueError for labels outside 0 to K - 1, or that are not
    whole.
    """
    predicted, wanted = _labels(input, target)
    low, high = min(predicted.min(), wanted.min()), max(predicted.max(), wanted.max())
    k = int(high) + 1 if num_classes is None else num_classes
    if low < 0 or high >= k:
        raise ValueError(f"labels from {low} to {high} do not fit {k} classes, 0 to {k - 1}")
    return np.bincount(wanted * k + predicted, minlength=k * k).reshape(k, k)


def _counts(input: Any, target: Any, average: str, num_classes: int | None) -> tuple[Any, Any, Any, Any]:
    """True positives, false positives, false negatives, true negatives: per class, or of class 1, or all together."""
    if average not in ("binary", "micro", "macro", "weighted", "none"):
        raise ValueError(f"average must be 'binary', 'micro', 'macro', 'weighted' or 'none', not {average!r}")
    matrix = confusion_matrix(input, target, max(2, num_classes or 0) if average == "binary" else num_classes)
    right = np.diag(matrix)
    found, there = matrix.sum(axis=0), matrix.sum(axis=1)
    counts = right, found - right, there - right, matrix.sum() - found - there + right
    if average == "binary":
        return tuple(c[1] for c in counts)  # type: ignore[return-value]
    if average == "micro":
        return tuple(c.sum() for c in counts)  # type: ignore[return-value]
    return counts


def _averaged(value: Any, counts: Any, average: str) -> Any:
    if average == "none":
        return value
    if average == "weighted":
        there = counts[0] + counts[2]
        return float((value * there).sum() / there.sum())
    return float(np.mean(value))


def precision(input: Any, target: Any, average: str = "binary", num_classes: int | None = None) -> Any:
    """TP / (TP + FP): how much of what was found is right.

    average: "binary" (class 1 of labels 0 and 1), "micro" (all classes' counts together), "macro" (mean over classes),
    "weighted" (by how often a class is there), "none" (an array (K), one per class). ValueError for another one.
    num_classes: K, as of `confusion_matrix`. Source: C. van Rijsbergen, "Information retrieval", 1979, chapter 7.
    """
    counts = _counts(input, target, average, num_classes)
    return _averaged(_ratio(counts[0], counts[0] + counts[1]), counts, average)


def recall(input: Any, target: Any, average: str = "binary", num_classes: int | None = None) -> Any:
    """TP / (TP + FN), the sensitivity: how much of what is there was found. `average` as in `precision`.

    Source: C. van Rijsbergen, "Information retrieval", 1979, chapter 7.
    """
    counts = _counts(input, target, average, num_classes)
    return _averaged(_ratio(counts[0], counts[0] + counts[2]), counts, average)


def specificity(input: Any, target: Any, average: str = "binary", num_classes: int | None = None) -> Any:
    """TN / (TN + FP): how much of what is not there was left out. `average` as in `precision`."""
    counts = _counts(input, target, average, num_classes)
    return _averaged(_ratio(counts[3], counts[3] + counts[1]), counts, average)


def f1(input: Any, target: Any, average: str = "binary", num_classes: int | None = None) -> Any:
    """2 · precision · recall / (precision + recall) = 2 TP / (2 TP + FP + FN). `average` as in `precision`.

    The harmonic mean of both. Source: C. van Rijsbergen, "Information retrieval", 1979, chapter 7 (1 - E at β = 1).
    """
    counts = _counts(input, target, average, num_classes)
    return _averaged(_ratio(2 * counts[0], 2 * counts[0] + counts[1] + counts[2]), counts, average)


# -- ranking ----------------------------------------------------------------------------------------------------------


def _ranked(score: Any, target: Any) -> tuple[Any, Any, Any]:
    """Distinct scores, falling, and how many positives and negatives reach each."""
    scores, wanted = host(score).reshape(-1), host(target).reshape(-1)
    if scores.shape != wanted.shape:
        raise ValueError(f"{scores.size} scores do not fit {wanted.size} targets")
    if not np.isin(wanted, (0, 1)).all():
        raise ValueError("targets must be 0 and 1")
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], wanted[order].astype(np.int64)
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(positive)[last]
    return scores[last], hits, last + 1 - hits


def roc_curve(score: Any, target: Any) -> tuple[Any, Any, Any]:
    """False positive rates, true positive rates and thresholds, from (0, 0) to (1, 1), one point per distinct score.

    score (n): higher means class 1; target (n): 0 or 1. Three arrays, thresholds falling from infinity. ValueError
    where a class is missing. Source: T. Fawcett, "An introduction to ROC analysis", 2006.
    """
    thresholds, hits, false = _ranked(score, target)
    if not hits[-1] or not false[-1]:
        raise ValueError("a ROC curve needs targets of both classes")
    return (
        np.append(0.0, false / false[-1]),
        np.append(0.0, hits / hits[-1]),
        np.append(np.inf, thresholds),
    )


def auc(x: Any, y: Any) -> float:
    """The area under the curve through (x, y), x monotone, by trapezoids: Σ |Δx| (y + y') / 2.

    ValueError for fewer than two points, or x that turns.
    """
    x, y = host(x).astype(np.float64), host(y).astype(np.float64)
    steps = np.diff(x)
    if len(x) < 2 or ((steps < 0).any() and (steps > 0).any()):
        raise ValueError("x must be monotone and have two points or more")
    return float(abs((steps * (y[1:] + y[:-1]) / 2).sum()))


def roc_auc(score: Any, target: Any) -> float:
    """The area under the ROC curve: the probability that a positive scores above a negative, ties counting half.

    Source: J. Hanley, B. McNeil, "The meaning and use of the area under a receiver operating characteristic curve",
    1982.
    """
    return auc(*roc_curve(score, target)[:2])


def precision_recall_curve(score: Any, target: Any) -> tuple[Any, Any, Any]:
    """Precisions, recalls and thresholds, one point per distinct score, recalls falling; ends with the point (1, 0).

    score (n), target (n) of 0 and 1; the first two arrays are longer by one. ValueError without a target of class
    1.
    """
    thresholds, hits, false = _ranked(score, target)
    if not hits[-1]:
        raise ValueError("a precision-recall curve needs targets of class 1")
    return np.append((hits / (hits + false))[::-1], 1.0), np.append((hits / hits[-1])[::-1], 0.0), thresholds[::-1]


def average_precision(score: Any, target: Any) -> float:
    """Σ (Rₙ - Rₙ₋₁) Pₙ over the thresholds: the area under the precision-recall curve in steps, not by trapezoids.

    Of scores (n) and targets (n), as `precision_recall_curve`.
    """
    precisions, recalls, _ = precision_recall_curve(score, target)
    return float(-(np.diff(recalls) * precisions[:-1]).sum())


# -- segmentation and language ----------------------------------------------------------------------------------------


def _overlap(input: Any, target: Any, num_classes: int | None, ignore_index: int | None) -> tuple[Any, Any, Any]:
    predicted, wanted = _labels(input, target)
    kept = np.ones(len(wanted), bool) if ignore_index is None else wanted != ignore_index
    matrix = confusion_matrix(predicted[kept], wanted[kept], num_classes)
    return np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)


def iou(input: Any, target: Any, num_classes: int | None = None, ignore_index: int | None = None) -> Any:
    """|A ∩ B| / |A ∪ B| of each class, an array (K); NaN for a class that is neither there nor predicted.

    input: labels of the target's shape, or scores with the classes in dimension 1. ignore_index: targets not to
    judge. num_classes: K, as of `confusion_matrix`. Source: P. Jaccard, "The distribution of the flora in the
    alpine zone", 1912.
    """
    both, found, there = _overlap(input, target, num_classes, ignore_index)
    union = found + there - both
    return np.where(union == 0, np.nan, both / np.where(union == 0, 1, union))


def mean_iou(input: Any, target: Any, num_classes: int | None = None, ignore_index: int | None = None) -> float:
    """The mean of `iou` over the classes that are there or predicted.

    Arguments as of `iou`.
    """
    return float(np.nanmean(iou(input, target, num_classes, ignore_index)))


def dice(input: Any, target: Any, num_classes: int | None = None, ignore_index: int | None = None) -> Any:
    """2 |A ∩ B| / (|A| + |B|) of each class, an array (K); NaN for a class that is neither there nor predicted.

    Arguments as of `iou`; dice = 2 iou / (1 + iou). Source: L. Dice, "Measures of the amount of ecologic
    association between species", 1945.
    """
    both, found, there = _overlap(input, target, num_classes, ignore_index)
    size = found + there
    return np.where(size == 0, np.nan, 2 * both / np.where(size == 0, 1, size))


def perplexity(input: Any, target: Any, ignore_index: int = -100) -> float:
    """exp of the mean cross-entropy (nats) of logits (n, K) or (n, K, ...) and target classes (n) or (n, ...).

    ignore_index: targets that do not count. ValueError where the shapes do not fit. Source: F. Jelinek, R. Mercer, L.
    Bahl, J. Baker, "Perplexity - a measure of the difficulty of speech recognition tasks", 1977.
    """
    logits, wanted = host(input).astype(np.float64), host(target)
    if logits.ndim != wanted.ndim + 1 or logits.shape[:1] + logits.shape[2:] != wanted.shape:
        raise ValueError(f"logits of shape {logits.shape} do not fit targets of shape {wanted.shape}")
    rows, wanted = np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1]), wanted.reshape(-1)
    rows, wanted = rows[wanted != ignore_index], wanted[wanted != ignore_index]
    top = rows.max(axis=1)
    log_total = top + np.log(np.exp(rows - top[:, None]).sum(axis=1))
    return math.exp(float((log_total - rows[np.arange(len(wanted)), wanted]).mean()))
