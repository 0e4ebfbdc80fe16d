"""Metrics and significance against scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as theirs

import chainrule as cr
from chainrule.utils import metrics, significance

rng = np.random.default_rng(0)
TARGET, GUESS = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
GUESS[::2] = TARGET[::2]
BINARY = rng.integers(0, 2, 100)
SCORE = np.round(BINARY * 0.4 + rng.random(100), 1)  # with ties


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("wrap", [cr.tensor, np.asarray, list], ids=["tensor", "array", "list"])
def test_labels(wrap):
    close(metrics.accuracy(wrap(GUESS), wrap(TARGET)), theirs.accuracy_score(TARGET, GUESS))
    close(metrics.confusion_matrix(wrap(GUESS), wrap(TARGET)), theirs.confusion_matrix(TARGET, GUESS))


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none"])
def test_averages(average):
    named = None if average == "none" else average
    for ours, other in ((metrics.precision, theirs.precision_score), (metrics.recall, theirs.recall_score)):
        close(ours(GUESS, TARGET, average=average), other(TARGET, GUESS, average=named))
    close(metrics.f1(GUESS, TARGET, average=average), theirs.f1_score(TARGET, GUESS, average=named))
    guess = np.where(GUESS == 2, 1, GUESS)  # class 2 is never predicted: its precision counts as 0
    expected = theirs.precision_score(TARGET, guess, average=named, zero_division=0)
    close(metrics.precision(guess, TARGET, average=average), expected)


def test_binary():
    guess = SCORE > 0.7
    close(metrics.precision(guess, BINARY), theirs.precision_score(BINARY, guess))
    close(metrics.recall(guess, BINARY), theirs.recall_score(BINARY, guess))
    close(metrics.specificity(guess, BINARY), theirs.recall_score(1 - BINARY, ~guess))
    close(metrics.f1(guess, BINARY), theirs.f1_score(BINARY, guess))
    assert metrics.recall([0, 0], [0, 0]) == metrics.f1([0, 0], [0, 0]) == 0.0


def test_curves():
    fpr, tpr, thresholds = metrics.roc_curve(cr.tensor(SCORE), cr.tensor(BINARY))
    for ours, other in zip(
        (fpr, tpr, thresholds), theirs.roc_curve(BINARY, SCORE, drop_intermediate=False), strict=True
    ):
        close(ours, other)
    close(metrics.auc(fpr, tpr), theirs.auc(fpr, tpr))
    close(metrics.roc_auc(SCORE, BINARY), theirs.roc_auc_score(BINARY, SCORE))
    close(metrics.average_precision(SCORE, BINARY), theirs.average_precision_score(BINARY, SCORE))
    for ours, other in zip(
        metrics.precision_recall_curve(SCORE, BINARY), theirs.precision_recall_curve(BINARY, SCORE), strict=True
    ):
        close(ours, other)


def test_top_k():
    scores = rng.random((200, 4))
    for k in (1, 2, 3):
        close(metrics.top_k_accuracy(cr.tensor(scores), TARGET, k), theirs.top_k_accuracy_score(TARGET, scores, k=k))
    assert metrics.top_k_accuracy(scores, TARGET, 4) == 1
    close(metrics.accuracy(scores, TARGET), metrics.top_k_accuracy(scores, TARGET, 1))


def test_segmentation():
    close(
        metrics.iou(GUESS.reshape(2, 10, 10), TARGET.reshape(2, 10, 10)),
        theirs.jaccard_score(TARGET, GUESS, average=None),
    )
    close(metrics.mean_iou(GUESS, TARGET), theirs.jaccard_score(TARGET, GUESS, average="macro"))
    close(metrics.dice(GUESS, TARGET), theirs.f1_score(TARGET, GUESS, average=None))
    assert np.isnan(metrics.iou([0, 1], [0, 1], num_classes=3)[2])
    assert metrics.mean_iou([0, 1], [0, 1], num_classes=3) == 1
    assert metrics.mean_iou([0, 1, 0], [0, 1, 255], ignore_index=255) == 1


def test_perplexity():
    logits, target = cr.randn(5, 7, 3), cr.randint(0, 7, (5, 3))
    expected = cr.nn.functional.cross_entropy(logits, target).exp().item()
    assert metrics.perplexity(logits, target) == pytest.approx(expected, rel=1e-5)
    assert metrics.perplexity(np.zeros((4, 10)), np.arange(4)) == pytest.approx(10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy([1, 2], [1]), "do not fit targets"),
        (lambda: metrics.accuracy([], []), "no predictions"),
        (lambda: metrics.accuracy([0.3], [1]), "whole-numbered"),
        (lambda: metrics.accuracy(["cat"], ["dog"]), "whole-numbered"),
        (lambda: metrics.precision([0, 2], [0, 1]), "do not fit 2 classes"),
        (lambda: metrics.precision([0, 1], [0, 1], average="mean"), "average must be"),
        (lambda: metrics.confusion_matrix([0, 5], [0, 1], num_classes=3), "do not fit 3 classes"),
        (lambda: metrics.top_k_accuracy(np.ones((2, 3)), [0, 1], k=4), "k = 4"),
        (lambda: metrics.roc_curve([0.1, 0.2], [1, 1]), "both classes"),
        (lambda: metrics.roc_curve([0.1, 0.2], [1, 2]), "0 and 1"),
        (lambda: metrics.auc([0, 1, 0.5], [0, 1, 1]), "monotone"),
        (lambda: metrics.perplexity(np.ones((2, 3)), np.ones(3)), "do not fit"),
        (lambda: significance.paired_t_test([1.0], [2.0]), "2 or more"),
        (lambda: significance.bonferroni([1.5]), "between 0 and 1"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_paired_t_test():
    a, b = rng.random(8), rng.random(8)
    found, expected = significance.paired_t_test(cr.tensor(a), cr.tensor(b)), stats.ttest_rel(a, b)
    close((found.statistic, found.pvalue), (expected.statistic, expected.pvalue))
    assert found.significant(found.pvalue * 1.1)
    assert not found.significant(found.pvalue)
    assert significance.paired_t_test([1.0, 2.0], [1.0, 2.0]).pvalue == 1
    assert significance.paired_t_test([2.0, 3.0], [1.0, 2.0]).pvalue == 0
    assert "paired t-test" in str(found)


def test_permutation_test():
    a, b = rng.random(8), rng.random(8)
    expected = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    close(significance.permutation_test(a, b).pvalue, expected.pvalue)
    drawn = significance.permutation_test(a, b, permutations=200, seed=0)
    assert drawn.pvalue == pytest.approx(expected.pvalue, abs=0.12)
    assert drawn == significance.permutation_test(a, b, permutations=200, seed=0)
