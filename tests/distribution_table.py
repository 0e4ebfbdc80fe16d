"""The distributions under test: one record for each class and way of giving its parameters."""

import numpy as np

_rng = np.random.default_rng(0)
_rng2 = np.random.default_rng(1)  # of what came later: the older records keep their numbers


def _positive(*shape):
    return _rng.uniform(0.3, 2.5, shape)


def _real(*shape):
    return _rng.standard_normal(shape)


def _unit(*shape):
    return _rng.uniform(0.1, 0.9, shape)


def _simplex(*shape):
    x = _rng.uniform(0.2, 1, shape)
    return x / x.sum(-1, keepdims=True)


def _counts(*shape, high=8):
    return _rng.integers(0, high, shape).astype(float)


def _definite(n, *batch):
    a = _rng.standard_normal((*batch, n, n))
    return a @ a.swapaxes(-1, -2) + n * np.eye(n)


ONE_HOT = np.eye(4)[[1, 3]]
#: class, parameters (arrays are differentiated), a value in the support
RECORDS = [
    ("Normal", {"loc": _real(2, 3), "scale": _positive(3)}, _real(4, 2, 3)),
    ("Laplace", {"loc": _real(2, 3), "scale": _positive(3)}, _real(2, 3)),
    ("Cauchy", {"loc": _real(2, 3), "scale": _positive(3)}, _real(2, 3)),
    ("Gumbel", {"loc": _real(2, 3), "scale": _positive(3)}, _real(2, 3)),
    ("LogNormal", {"loc": _real(2, 3), "scale": _positive(3)}, _positive(2, 3)),
    ("HalfNormal", {"scale": _positive(2, 3)}, _positive(2, 3)),
    ("HalfCauchy", {"scale": _positive(2, 3)}, _positive(2, 3)),
    ("StudentT", {"df": _positive(3) + 2, "loc": _real(2, 3), "scale": _positive(3)}, _real(2, 3)),
    ("Exponential", {"rate": _positive(2, 3)}, _positive(2, 3)),
    ("Gamma", {"concentration": _positive(2, 3), "rate": _positive(3)}, _positive(2, 3)),
    ("InverseGamma", {"concentration": _positive(2, 3) + 2, "rate": _positive(3)}, _positive(2, 3)),
    ("Chi2", {"df": _positive(2, 3)}, _positive(2, 3)),
    ("FisherSnedecor", {"df1": _positive(2, 3) + 2, "df2": _positive(3) + 4}, _positive(2, 3)),
    ("Beta", {"concentration1": _positive(2, 3), "concentration0": _positive(3)}, _unit(2, 3)),
    ("Kumaraswamy", {"concentration1": _positive(2, 3) + 1, "concentration0": _positive(3) + 1}, _unit(2, 3)),
    ("Dirichlet", {"concentration": _positive(2, 3)}, _simplex(2, 3)),
    ("Uniform", {"low": -_positive(2, 3), "high": _positive(3)}, _unit(2, 3) * 0.3),
    ("Pareto", {"scale": _positive(2, 3), "alpha": _positive(3) + 2}, _positive(2, 3) + 2.5),
    ("Weibull", {"scale": _positive(2, 3), "concentration": _positive(3)}, _positive(2, 3)),
    ("Bernoulli", {"probs": _unit(2, 3)}, _counts(4, 2, 3, high=2)),
    ("Bernoulli", {"logits": _real(2, 3)}, _counts(2, 3, high=2)),
    ("ContinuousBernoulli", {"probs": _unit(2, 3)}, _unit(2, 3)),
    ("ContinuousBernoulli", {"logits": 3 * _real(2, 3)}, _unit(2, 3)),
    ("Geometric", {"probs": _unit(2, 3)}, _counts(2, 3)),
    ("Geometric", {"logits": _real(2, 3)}, _counts(2, 3)),
    ("Binomial", {"total_count": 7, "probs": _unit(2, 3)}, _counts(2, 3)),
    ("Binomial", {"total_count": 7, "logits": _real(2, 3)}, _counts(2, 3)),
    ("NegativeBinomial", {"total_count": 5.0, "probs": _unit(2, 3)}, _counts(2, 3)),
    ("NegativeBinomial", {"total_count": 5.0, "logits": _real(2, 3)}, _counts(2, 3)),
    ("Poisson", {"rate": _positive(2, 3)}, _counts(2, 3)),
    ("Categorical", {"probs": _positive(2, 4)}, _rng.integers(0, 4, (5, 2))),
    ("Categorical", {"logits": _real(2, 4)}, _rng.integers(0, 4, (5, 2))),
    ("OneHotCategorical", {"probs": _positive(2, 4)}, ONE_HOT),
    ("OneHotCategoricalStraightThrough", {"logits": _real(2, 4)}, ONE_HOT),
    ("Multinomial", {"total_count": 6, "probs": _positive(2, 3)}, np.array([[1.0, 2, 3], [6, 0, 0]])),
    ("Multinomial", {"total_count": 6, "logits": _real(2, 3)}, np.array([[1.0, 2, 3], [6, 0, 0]])),
    ("MultivariateNormal", {"loc": _real(2, 3), "covariance_matrix": _definite(3)}, _real(4, 2, 3)),
    ("MultivariateNormal", {"loc": _real(3), "scale_tril": np.linalg.cholesky(_definite(3, 2))}, _real(4, 2, 3)),
    ("MultivariateNormal", {"loc": _real(2, 3), "precision_matrix": _definite(3)}, _real(4, 2, 3)),
    (
        "LowRankMultivariateNormal",
        {
            "loc": _rng2.standard_normal((2, 3)),
            "cov_factor": _rng2.standard_normal((3, 2)),
            "cov_diag": _rng2.uniform(0.5, 2, 3),
        },
        _rng2.standard_normal((4, 2, 3)),
    ),
    ("VonMises", {"loc": _real(2, 3), "concentration": _positive(3)}, _real(2, 3)),
    ("RelaxedBernoulli", {"temperature": np.array(0.7), "probs": _unit(2, 3)}, _unit(2, 3)),
    ("RelaxedBernoulli", {"temperature": np.array(0.7), "logits": _real(2, 3)}, _unit(2, 3)),
    ("RelaxedOneHotCategorical", {"temperature": np.array(0.7), "probs": _positive(2, 3)}, _simplex(2, 3)),
    ("RelaxedOneHotCategorical", {"temperature": np.array(0.7), "logits": _real(2, 3)}, _simplex(2, 3)),
    (
        "LKJCholesky",
        {"dim": 3, "concentration": _rng2.uniform(0.5, 2, 2)},
        np.linalg.cholesky(np.array([[1, 0.4, -0.2], [0.4, 1, 0.3], [-0.2, 0.3, 1]])),
    ),
    ("LogisticNormal", {"loc": _real(2, 2), "scale": _positive(2)}, _simplex(2, 3)),
]
IDS = [f"{name}-{'-'.join(parameters)}" for name, parameters, _ in RECORDS]


def build(library, name, parameters):
    """The distribution in a library (chainrule or torch), and its differentiable parameters."""
    made = {
        key: library.tensor(value, requires_grad=True) if isinstance(value, np.ndarray) else value
        for key, value in parameters.items()
    }
    leaves = [value for value in made.values() if hasattr(value, "requires_grad")]
    return getattr(library.distributions, name)(**made), leaves
