"""Whether one model is better than another by more than chance: paired tests and the correction for many of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..backends import np
from .reports import generator, host, table

__all__ = ["BonferroniReport", "PairedTest", "bonferroni", "paired_t_test", "permutation_test"]


@dataclass(frozen=True)
class PairedTest:
    """A test's result: name, statistic, two-sided p-value (pvalue), mean difference a - b, number of pairs."""

    name: str
    statistic: float
    pvalue: float
    difference: float
    pairs: int

    def significant(self, alpha: float = 0.05) -> bool:
        """Whether p < alpha."""
        return self.pvalue < alpha

    def __str__(self) -> str:
        rows = [(self.name, self.pairs, self.difference, self.statistic, self.pvalue)]
        return table(("test", "pairs", "mean difference", "statistic", "p"), rows)


def _differences(a: Any, b: Any) -> Any:
    a, b = host(a).astype(np.float64).reshape(-1), host(b).astype(np.float64).reshape(-1)
    if a.shape != b.shape or len(a) < 2:
        raise ValueError(f"a paired test needs two lists of one length, 2 or more, not {len(a)} and {len(b)}")
    return a - b


def paired_t_test(a: Any, b: Any) -> PairedTest:
    """Student's t-test of paired results a and b (of the same folds, say): t = d̄ √n / s, n - 1 degrees of freedom.

    a, b: (n), n >= 2 (ValueError); s is the unbiased standard deviation of the differences. The p-value comes from
    SciPy (extra `scipy`). Folds that share training data make it too sure: C. Nadeau, Y. Bengio, "Inference for the
    generalization error", 2003. Source: Student, "The probable error of a mean", 1908.
    """
    try:
        from scipy import stats
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("paired_t_test needs SciPy: pip install chainrule[scipy]", name="scipy") from error

    d = _differences(a, b)
    n, mean, spread = len(d), float(d.mean()), float(d.std(ddof=1))
    if spread == 0:
        t = math.copysign(math.inf, mean) if mean else 0.0
    else:
        t = mean * math.sqrt(n) / spread
    return PairedTest("paired t-test", t, float(2 * stats.t.sf(abs(t), n - 1)), mean, n)


def permutation_test(a: Any, b: Any, permutations: int = 10_000, seed: int | None = None) -> PairedTest:
    """The share of random signs of the differences that make their mean as large: no assumption of normality.

    All 2ⁿ signs are tried where there are at most `permutations`; otherwise that many are drawn, and p = (hits + 1)
    / (draws + 1). seed: of the draws. Source: R. Fisher, "The design of experiments", 1935, section 21.
    """
    d = _differences(a, b)
    n, mean = len(d), float(d.mean())
    exact = 2**n <= permutations
    if exact:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = 1 - 2 * generator(seed).integers(0, 2, (permutations, n))
    as_large = (np.abs(signs @ d) / n >= abs(mean) * (1 - 1e-12)).sum()
    pvalue = as_large / len(signs) if exact else (as_large + 1) / (len(signs) + 1)
    return PairedTest("permutation test", mean, float(pvalue), mean, n)


@dataclass(frozen=True)
class BonferroniReport:
    """Which of n hypotheses, by their pvalues, are rejected at the level alpha / n each."""

    alpha: float
    level: float
    pvalues: tuple[float, ...]
    rejected: tuple[bool, ...]

    def __str__(self) -> str:
        rows = [(i, p, "yes" if r else "no") for i, (p, r) in enumerate(zip(self.pvalues, self.rejected, strict=True))]
        title = f"alpha {self.alpha:g} over {len(rows)} tests: {self.level:g} each"
        return table(("test", "p", "significant"), rows, title)


def bonferroni(pvalues: Any, alpha: float = 0.05) -> BonferroniReport:
    """Bonferroni's correction: of n tests each is held to alpha / n, so the chance of any false alarm is at most alpha.

    ValueError for p-values outside [0, 1]. Source: O. Dunn, "Multiple comparisons among means", 1961.
    """
    found = tuple(float(p) for p in host(pvalues).reshape(-1))
    if not found or not all(0 <= p <= 1 for p in found):
        raise ValueError("bonferroni needs one or more p-values between 0 and 1")
    level = alpha / len(found)
    return BonferroniReport(alpha, level, found, tuple(p < level for p in found))
