"""Distributions against SciPy's, samples against distribution functions, and gradients of samples against theory."""

import copy
import pickle

import numpy as np
import pytest
from distribution_table import IDS, RECORDS
from scipy import special, stats

import chainrule as cr
from chainrule import backends
from chainrule import distributions as D
from chainrule.autograd.tensor import wrap
from chainrule.testing import gradcheck, gradgradcheck

#: a distribution, SciPy's counterpart
CONTINUOUS = [
    (D.Normal(0.3, 1.7), stats.norm(0.3, 1.7)),
    (D.Laplace(0.3, 1.7), stats.laplace(0.3, 1.7)),
    (D.Cauchy(0.3, 1.7), stats.cauchy(0.3, 1.7)),
    (D.Gumbel(0.3, 1.7), stats.gumbel_r(0.3, 1.7)),
    (D.LogNormal(0.3, 0.7), stats.lognorm(0.7, scale=np.exp(0.3))),
    (D.HalfNormal(1.7), stats.halfnorm(scale=1.7)),
    (D.HalfCauchy(1.7), stats.halfcauchy(scale=1.7)),
    (D.StudentT(5.5, 0.3, 1.7), stats.t(5.5, 0.3, 1.7)),
    (D.Exponential(1.7), stats.expon(scale=1 / 1.7)),
    (D.Gamma(2.3, 1.7), stats.gamma(2.3, scale=1 / 1.7)),
    (D.Gamma(0.2, 1.7), stats.gamma(0.2, scale=1 / 1.7)),
    (D.Chi2(3.5), stats.chi2(3.5)),
    (D.InverseGamma(3.3, 1.7), stats.invgamma(3.3, scale=1.7)),
    (D.FisherSnedecor(3.3, 6.5), stats.f(3.3, 6.5)),
    (D.Beta(2.3, 0.7), stats.beta(2.3, 0.7)),
    (D.Uniform(-0.7, 2.3), stats.uniform(-0.7, 3.0)),
    (D.Pareto(1.3, 3.7), stats.pareto(3.7, scale=1.3)),
    (D.Weibull(1.3, 1.7), stats.weibull_min(1.7, scale=1.3)),
    (D.VonMises(0.3, 1.7), stats.vonmises(1.7, 0.3)),
    (D.VonMises(0.3, 30.0), stats.vonmises(30.0, 0.3)),
]
DISCRETE = [
    (D.Bernoulli(0.3), stats.bernoulli(0.3)),
    (D.Bernoulli(logits=cr.tensor(-0.5)), stats.bernoulli(special.expit(-0.5))),
    (D.Binomial(9, 0.3), stats.binom(9, 0.3)),
    (D.Binomial(500, 0.3), stats.binom(500, 0.3)),
    (D.Geometric(0.3), stats.geom(0.3, loc=-1)),
    (D.Poisson(3.7), stats.poisson(3.7)),
    (D.NegativeBinomial(4.5, 0.3), stats.nbinom(4.5, 0.7)),
]
NO_ENTROPY = (D.FisherSnedecor, D.VonMises, D.Poisson, D.NegativeBinomial)


def ids(table):
    return [f"{type(d).__name__}-{i}" for i, (d, _) in enumerate(table)]


def close(tensor, array, rtol=2e-5, atol=2e-6):
    np.testing.assert_allclose(tensor.detach().numpy(), array, rtol=rtol, atol=atol)


@pytest.mark.parametrize(("ours", "theirs"), CONTINUOUS, ids=ids(CONTINUOUS))
def test_continuous(ours, theirs):
    q = np.array([0.02, 0.3, 0.5, 0.8, 0.97], dtype=np.float32)
    x = theirs.ppf(q).astype(np.float32)
    close(ours.log_prob(cr.tensor(x)), theirs.logpdf(x))
    for method, given, expected in (("cdf", x, q), ("icdf", q, x)):
        try:
            found = getattr(ours, method)(cr.tensor(given))
        except NotImplementedError:
            assert isinstance(ours, (D.VonMises, D.StudentT, D.FisherSnedecor, D.Beta, D.Gamma, D.InverseGamma))
        else:
            close(found, expected, rtol=2e-4, atol=1e-5)
    if not isinstance(ours, NO_ENTROPY):
        close(ours.entropy(), theirs.entropy())
    if not isinstance(ours, (D.Cauchy, D.HalfCauchy, D.VonMises)):
        close(ours.mean, theirs.mean())
        close(ours.variance, theirs.var(), rtol=1e-4)
        close(ours.stddev, theirs.std(), rtol=1e-4)


@pytest.mark.parametrize(("ours", "theirs"), CONTINUOUS, ids=ids(CONTINUOUS))
def test_continuous_samples(ours, theirs):
    cr.manual_seed(1)
    drawn = ours.sample((4000,)).numpy()
    if isinstance(ours, D.VonMises):  # SciPy's distribution function is that of the whole line
        assert stats.kstest(drawn - 0.3, stats.vonmises(theirs.args[0]).cdf).pvalue > 1e-3 or drawn.max() > np.pi - 0.1
        assert abs(np.angle(np.exp(1j * drawn).mean()) - 0.3) < 0.1
        assert abs(1 - abs(np.exp(1j * drawn).mean()) - ours.variance.item()) < 0.03
    else:
        assert stats.kstest(drawn, theirs.cdf).pvalue > 1e-3


@pytest.mark.parametrize(("ours", "theirs"), DISCRETE, ids=ids(DISCRETE))
def test_discrete(ours, theirs):
    k = np.arange(int(theirs.ppf(0.999)) + 1, dtype=np.float32)
    close(ours.log_prob(cr.tensor(k)), theirs.logpmf(k), rtol=2e-4, atol=1e-4)
    close(ours.mean, theirs.mean())
    close(ours.variance, theirs.var())
    if not isinstance(ours, NO_ENTROPY):
        close(ours.entropy(), theirs.entropy(), rtol=1e-4)
    cr.manual_seed(1)
    drawn = ours.sample((4000,)).numpy()
    edges = np.unique(theirs.ppf(np.linspace(0.05, 0.95, 8)))
    cells = np.searchsorted(edges, drawn)
    expected = np.diff(np.concatenate([[0], theirs.cdf(edges), [1]]))
    observed = np.bincount(cells, minlength=len(expected))
    assert (observed[expected == 0] == 0).all()
    kept = expected > 0
    assert stats.chisquare(observed[kept], 4000 * expected[kept]).pvalue > 1e-3


def test_von_mises_at_all_concentrations():
    k = np.array([1e-3, 0.5, 3.0, 60.0, 199.0, 201.0, 5e3, 1e6])
    zero = cr.zeros(8, dtype=cr.float64)
    d = D.VonMises(zero, cr.tensor(k))
    close(d.log_prob(zero), -np.log(2 * np.pi * special.ive(0, k)), rtol=1e-10)
    close(d.variance, 1 - special.ive(1, k) / special.ive(0, k), rtol=1e-6, atol=1e-10)


def test_vectors_against_scipy():
    a = np.array([0.7, 2.0, 3.5])
    p, counts, x = a / a.sum(), np.array([3.0, 1.0, 2.0]), np.array([0.2, 0.5, 0.3])
    close(D.Dirichlet(cr.tensor(a)).log_prob(cr.tensor(x)), stats.dirichlet(a).logpdf(x), rtol=1e-9)
    close(D.Dirichlet(cr.tensor(a)).entropy(), stats.dirichlet(a).entropy(), rtol=1e-9)
    multinomial = D.Multinomial(6, probs=cr.tensor(a))
    close(multinomial.log_prob(cr.tensor(counts)), stats.multinomial(6, p).logpmf(counts), rtol=1e-9)
    close(multinomial.entropy(), stats.multinomial(6, p).entropy(), rtol=1e-9)
    covariance = np.array([[2.0, 0.3], [0.3, 0.5]])
    normal, theirs = (
        D.MultivariateNormal(cr.zeros(2), cr.tensor(covariance).float()),
        stats.multivariate_normal([0, 0], covariance),
    )
    close(normal.log_prob(cr.tensor([0.3, -1.0])), theirs.logpdf([0.3, -1.0]))
    close(normal.entropy(), theirs.entropy())


def test_sampled_moments_of_vectors():
    cr.manual_seed(0)
    covariance = cr.tensor([[2.0, 0.3], [0.3, 0.5]])
    drawn = D.MultivariateNormal(cr.tensor([1.0, -1.0]), covariance).sample((20000,)).numpy()
    np.testing.assert_allclose(np.cov(drawn.T), covariance.numpy(), atol=0.06)
    for d in (
        D.Dirichlet(cr.tensor([0.05, 2.0, 3.5])),
        D.Multinomial(6, cr.tensor([0.1, 0.2, 0.7])),
        D.OneHotCategorical(cr.tensor([0.1, 0.2, 0.7])),
    ):
        drawn = d.sample((20000,)).numpy()
        assert np.isfinite(drawn).all()
        np.testing.assert_allclose(drawn.mean(0), d.mean.numpy(), atol=0.03)
        np.testing.assert_allclose(drawn.var(0), d.variance.numpy(), atol=0.05)
    frequencies = np.bincount(D.Categorical(cr.tensor([1.0, 0.0, 3.0])).sample((20000,)).numpy(), minlength=3) / 20000
    np.testing.assert_allclose(frequencies, [0.25, 0, 0.75], atol=0.02)
    mixture = D.MixtureSameFamily(D.Categorical(cr.tensor([0.3, 0.7])), D.Normal(cr.tensor([-2.0, 3.0]), 1.0))
    drawn = mixture.sample((20000,)).numpy()
    assert drawn.mean() == pytest.approx(mixture.mean.item(), abs=0.1)
    assert drawn.var() == pytest.approx(mixture.variance.item(), abs=0.3)


@pytest.mark.parametrize("a", [0.02, 0.3, 1.0, 4.0, 50.0, 1e4])
def test_gamma_samples_move_as_their_quantiles_do(a):
    """The implicit gradient is the quantile's, which differences of SciPy's inverse give; likewise the second."""
    cr.manual_seed(0)
    concentration = cr.full((6,), a, dtype=cr.float64, requires_grad=True)
    x = D.Gamma(concentration, cr.tensor(1.0, dtype=cr.float64)).rsample()
    (slope,) = cr.grad(x.log().sum(), concentration, create_graph=True)
    (curve,) = cr.grad(slope.sum(), concentration)
    value = x.detach().numpy()
    kept = (value > 1e-200) & (np.abs(special.gammainc(a, value) - 0.5) < 0.4999)
    q = special.gammainc(a, value)[kept]

    def log_quantile(h):
        return np.log(special.gammaincinv(a + h, q))

    h = 1e-3 * a
    first = (8 * (log_quantile(h) - log_quantile(-h)) - (log_quantile(2 * h) - log_quantile(-2 * h))) / (12 * h)
    np.testing.assert_allclose(slope.detach().numpy()[kept], first, rtol=1e-6)
    second = (log_quantile(h) - 2 * log_quantile(0) + log_quantile(-h)) / h**2
    np.testing.assert_allclose(curve.numpy()[kept], second, rtol=1e-2, atol=1e-6 * abs(second).max())


def test_gamma_distribution_function_has_gradients():
    a = cr.tensor([0.3, 2.0, 9.0], dtype=cr.float64, requires_grad=True)
    x = cr.tensor([0.2, 2.5, 8.0], dtype=cr.float64, requires_grad=True)

    def area(a, x):
        return D.Gamma(a, cr.tensor(1.3, dtype=cr.float64)).cdf(x)

    close(area(a, x), special.gammainc(a.detach().numpy(), 1.3 * x.detach().numpy()), rtol=1e-9)
    assert gradcheck(area, (a, x))
    assert gradgradcheck(area, (a, x))


REPARAMETERISED = [(n, p) for n, p, _ in RECORDS if getattr(D, n).has_rsample is True and n != "VonMises"]


@pytest.mark.parametrize(
    ("name", "parameters"), REPARAMETERISED, ids=[f"{n}-{'-'.join(p)}" for n, p in REPARAMETERISED]
)
def test_samples_carry_gradients(name, parameters):
    leaves = {k: cr.tensor(v, requires_grad=True) if isinstance(v, np.ndarray) else v for k, v in parameters.items()}
    cr.manual_seed(0)
    x = getattr(D, name)(**leaves).rsample((50,))
    assert x.requires_grad
    grads = cr.grad(x.tanh().sum(), [v for v in leaves.values() if isinstance(v, cr.Tensor)], allow_unused=True)
    assert all(g is None or bool(g.isfinite().all()) for g in grads)
    assert any(g is not None and bool((g != 0).any()) for g in grads)


@pytest.mark.parametrize(
    ("make", "at"),
    [
        (lambda t: D.Gamma(t, 1.0), 0.7),
        (lambda t: D.Gamma(2.0, t), 0.7),
        (lambda t: D.Beta(t, 1.5), 0.7),
        (lambda t: D.Chi2(t), 1.7),
        (lambda t: D.StudentT(t), 5.0),
        (lambda t: D.Normal(0.5, t), 1.3),
        (lambda t: D.Laplace(0.5, t), 1.3),
        (lambda t: D.Weibull(1.0, t), 1.3),
        (lambda t: D.ContinuousBernoulli(t), 0.3),
        (lambda t: D.Kumaraswamy(t, 2.0), 1.3),
        (lambda t: D.LogNormal(0.1, t), 0.6),
        (lambda t: D.Pareto(1.0, t), 3.0),
        (lambda t: D.Gumbel(0.1, t), 0.6),
        (lambda t: D.FisherSnedecor(t, 5.0), 3.0),
    ],
)
def test_pathwise_gradients_are_unbiased(make, at):
    """d/dθ E[sin x] by moved samples against a difference of the integral."""
    cr.manual_seed(0)
    theta = cr.tensor(at, dtype=cr.float64, requires_grad=True)
    moved = cr.sin(make(theta).rsample((40000,)))
    (slope,) = cr.grad(moved.mean(), theta)
    h = 1e-3
    span = np.linspace(-60, 60, 400001)

    def expectation(t):
        d = make(cr.tensor(t, dtype=cr.float64))
        d._validate_args = False
        inside = d.support.check(cr.tensor(span)).numpy()
        density = np.where(inside, np.exp(d.log_prob(cr.tensor(np.where(inside, span, 0.5))).numpy()), 0)
        density[~np.isfinite(density)] = 0
        return np.sum(np.sin(span) * density) * (span[1] - span[0]) / (np.sum(density) * (span[1] - span[0]))

    assert slope.item() == pytest.approx((expectation(at + h) - expectation(at - h)) / (2 * h), abs=0.03)


def test_divergence_is_the_mean_of_the_log_ratio():
    cr.manual_seed(0)
    pairs = [
        (D.Normal(0.3, 1.2), D.Normal(-0.5, 2.0)),
        (D.Gamma(2.0, 1.5), D.Gamma(3.0, 1.0)),
        (D.Beta(2.0, 1.5), D.Beta(1.2, 3.0)),
        (D.Gamma(2.0, 1.5), D.Gumbel(0.5, 2.0)),
        (D.Uniform(0.2, 0.9), D.Beta(2.0, 3.0)),
        (D.Normal(0.3, 1.2), D.Laplace(0.0, 1.0)),
        (D.Geometric(0.4), D.Geometric(0.2)),
    ]
    for p, q in pairs:
        x = p.sample((40000,))
        estimate = (p.log_prob(x) - q.log_prob(x)).mean().item()
        assert D.kl_divergence(p, q).item() == pytest.approx(estimate, abs=0.03), (p, q)


def test_register_kl_takes_the_most_derived():
    class Special(D.Normal):
        pass

    @D.register_kl(Special, D.Normal)
    def _(p, q):
        return cr.tensor(7.0)

    try:
        assert D.kl_divergence(Special(0.0, 1.0), D.Normal(0.0, 1.0)).item() == 7
        assert D.kl_divergence(D.Normal(0.0, 1.0), Special(0.0, 1.0)).item() == 0
    finally:
        del D.kl._REGISTRY[Special, D.Normal]
        D.kl._FOUND.clear()
    with pytest.raises(TypeError, match="Expected type_p"):
        D.register_kl(int, D.Normal)
    with pytest.raises(NotImplementedError, match=r"No KL\(p \|\| q\) is implemented for p type Poisson"):
        D.kl_divergence(D.Poisson(1.0), D.Normal(0.0, 1.0))


def test_lazy_parameters_are_recorded_even_where_sampling_asked_first():
    logits = cr.tensor([0.2, 0.5], requires_grad=True)
    d = D.Categorical(logits=logits)
    d.sample()
    (d.probs[0] * 1.0).backward()
    assert logits.grad is not None


def test_validation_can_be_switched_off():
    D.Normal(0.0, -1.0, validate_args=False)
    assert D.Normal(0.0, 1.0, validate_args=False).log_prob(cr.tensor(float("nan"))).isnan()
    D.Distribution.set_default_validate_args(False)
    try:
        D.Normal(0.0, -1.0)
    finally:
        D.Distribution.set_default_validate_args(True)
    with pytest.raises(ValueError, match="Expected parameter scale"):
        D.Normal(0.0, -1.0)


def test_a_subclass_of_ones_own():
    class Triangle(D.Distribution):
        arg_constraints = {}
        support = D.constraints.unit_interval

        def log_prob(self, value):
            self._validate_sample(value)
            return (2 * value).log()

    d = Triangle()
    assert d.log_prob(cr.tensor(0.5)).item() == 0
    with pytest.raises(ValueError, match="to be within the support"):
        d.log_prob(cr.tensor(1.5))
    with pytest.raises(NotImplementedError):
        d.rsample()


def test_module_paths():
    from chainrule.distributions.categorical import Categorical
    from chainrule.distributions.kl import kl_divergence, register_kl
    from chainrule.distributions.normal import Normal
    from chainrule.distributions.utils import broadcast_all, logits_to_probs, probs_to_logits

    assert (Categorical, Normal, kl_divergence, register_kl) == (
        D.Categorical,
        D.Normal,
        D.kl_divergence,
        D.register_kl,
    )
    a, b = broadcast_all(1.0, cr.zeros(2, dtype=cr.float64))
    assert a.shape == b.shape == (2,)
    assert a.dtype == cr.float64
    close(logits_to_probs(probs_to_logits(cr.tensor([0.3, 0.7]))), [0.3, 0.7])
    close(logits_to_probs(probs_to_logits(cr.tensor([0.3, 0.7]), True), True), [0.3, 0.7])


def test_reinforce_moves_towards_the_reward():
    cr.manual_seed(0)
    logits = cr.zeros(3, requires_grad=True)
    optimizer = cr.optim.SGD([logits], lr=0.5)
    for _ in range(60):
        policy = D.Categorical(logits=logits)
        action = policy.sample((16,))
        loss = -(policy.log_prob(action) * (action == 2).float()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert D.Categorical(logits=logits).probs[2] > 0.8


STRICT = backends.by_name("strict")


@pytest.mark.parametrize(("name", "parameters", "value"), RECORDS, ids=IDS)
def test_nothing_is_read_from_a_gpu_unasked(name, parameters, value, monkeypatch):
    """On the stand-in for a GPU's arrays: all is computed there, samples and their gradients too."""
    by_device = backends.by_device
    monkeypatch.setattr(backends, "by_device", lambda kind: STRICT if kind == "cuda" else by_device(kind))

    def there(array):
        return wrap(STRICT.asarray(np.asarray(array)), None)

    made = {k: there(v).requires_grad_() if isinstance(v, np.ndarray) else v for k, v in parameters.items()}
    d = getattr(D, name)(**made)
    calls = [lambda: d.log_prob(there(value)), lambda: d.cdf(there(value)), d.entropy, d.sample, d.rsample]
    calls += [lambda: d.mean, lambda: d.mode, lambda: d.variance, d.enumerate_support]
    served = 0
    with cr.autograd.fork_rng():  # its generator goes with it
        for call in calls:
            try:
                found = call()
            except NotImplementedError:
                continue
            assert found.device.type == "cuda"
            if found.requires_grad:
                found.sum().backward(retain_graph=True)
            served += 1
    assert served >= 2


def test_distributions_that_were_used_are_pickled():
    """A transform that was inverted holds its inverse weakly, which no pickle takes."""
    p = D.TransformedDistribution(
        D.Normal(cr.zeros(2), 1.0), [D.TanhTransform(cache_size=1), D.AffineTransform(1.0, 2.0)]
    )
    for q in (p, D.LogNormal(0.0, 1.0), D.RelaxedBernoulli(cr.tensor(0.5), cr.tensor(0.3))):
        value = q.sample()
        want = q.log_prob(value)
        for again in (pickle.loads(pickle.dumps(q)), copy.deepcopy(q)):
            assert again.log_prob(value).tolist() == want.tolist()


def test_functions_beneath_gamma_and_dirichlet():
    a = cr.tensor([[0.5, 2.0, 4.0]], dtype=cr.float64).repeat(4000, 1).requires_grad_()
    generator = cr.Generator().manual_seed(3)
    state = cr.get_rng_state()
    drawn = cr._standard_gamma(a, generator=generator)
    again = cr._standard_gamma(a, generator=cr.Generator().manual_seed(3))
    assert (drawn == again).all()
    assert (cr.get_rng_state() == state).all()
    assert (drawn.mean(0) - a[0]).abs().max() < 0.2
    drawn.sum().backward()
    assert (a.grad.mean(0) - 1).abs().max() < 0.1  # of a mean that is a
    rows = cr._sample_dirichlet(a.detach().float())
    assert rows.dtype is cr.float32
    assert (rows.sum(1) - 1).abs().max() < 1e-5
    assert (rows.double().mean(0) - a[0] / 6.5).abs().max() < 0.03


@pytest.mark.parametrize("dim", [2, 3, 4])
@pytest.mark.parametrize("concentration", [0.5, 2.0])
def test_correlations_of_lkj_are_alike(dim, concentration):
    """Each is that of a Beta distribution on (-1, 1), so none has more variance than another."""
    cr.manual_seed(0)
    low = D.LKJCholesky(dim, cr.tensor(concentration, dtype=cr.float64)).sample((20000,))
    at = np.tril_indices(dim, -1)
    drawn = (low @ low.mT).numpy()[:, at[0], at[1]]
    assert abs(drawn.mean(0)).max() < 0.03
    np.testing.assert_allclose(drawn.var(0), 1 / (2 * concentration + dim - 1), rtol=0.04)


def test_a_mixture_that_derives_from_ours_pads_as_in_pytorch():
    class Mine(D.MixtureSameFamily):
        def log_prob(self, value):
            parts = self.component_distribution.log_prob(self._pad(value))
            return (parts + self.mixture_distribution.logits).logsumexp(-1)

    cr.manual_seed(0)
    weights = D.Categorical(logits=cr.randn(3, 2))
    parts = D.Independent(D.Normal(cr.randn(3, 2, 4), cr.ones(3, 2, 4)), 1)
    x = cr.randn(3, 4)
    ours = D.MixtureSameFamily(weights, parts)
    cr.testing.assert_close(Mine(weights, parts).log_prob(x), ours.log_prob(x))
    assert ours._pad(x).shape == (3, 1, 4)
    assert ours._pad_mixture_dimensions(weights.probs).shape == (3, 2, 1)
    assert ours._event_ndims == 1
