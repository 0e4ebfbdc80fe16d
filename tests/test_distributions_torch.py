"""Distributions against PyTorch's: values, gradients, shapes, dtypes, names and errors."""

import functools
import itertools

import numpy as np
import pytest
from distribution_table import IDS, RECORDS, build

import chainrule
import chainrule.distributions

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

MOMENTS = ("mean", "mode", "variance", "stddev", "entropy", "perplexity", "probs", "logits")
MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril", "param_shape")
#: where PyTorch computes in float32, or by a formula of that accuracy
COARSE = ("VonMises", "Multinomial")
#: log(1 - x) of a number above 1; a root of 0 where the density rises towards 0; an attribute that is not there
WRONG_IN_TORCH = {("Kumaraswamy", "mode"), ("Weibull", "mode"), ("Geometric", "param_shape")}


def outcome(f):
    """What a call gives, or the name of its error."""
    try:
        return f()
    except (NotImplementedError, AttributeError, ValueError) as error:
        return type(error).__name__


def kind(x):
    return str(x.dtype).rpartition(".")[2]


def compare(f, coarse=False):
    """f(library) -> (result, leaves) under both; values, then gradients where PyTorch has them."""
    ours, theirs = outcome(lambda: f(chainrule)), outcome(lambda: f(torch))
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs
        return
    (a, leaves_a), (b, leaves_b) = ours, theirs
    if not isinstance(b, torch.Tensor):
        assert tuple(a) == tuple(b)
        return
    tolerance = {"rtol": 2e-6, "atol": 1e-6} if coarse else {"rtol": 1e-8, "atol": 1e-9}
    assert (a.shape, kind(a), a.requires_grad) == (b.shape, kind(b), b.requires_grad)
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), **tolerance)
    if b.requires_grad and b.isfinite().all():
        try:
            expected = torch.autograd.grad(b.sum(), leaves_b, allow_unused=True)
        except NotImplementedError:  # PyTorch has no derivative of the incomplete gamma function
            return
        for g, e in zip(chainrule.autograd.grad(a.sum(), leaves_a, allow_unused=True), expected, strict=True):
            zero = np.zeros(())
            np.testing.assert_allclose(
                zero if g is None else g.numpy(), zero if e is None else e.numpy(), **tolerance, err_msg="gradient"
            )


@pytest.mark.parametrize(("name", "parameters", "value"), RECORDS, ids=IDS)
def test_values_and_gradients(name, parameters, value):
    coarse = name in COARSE

    def call(f):
        def run(library):
            distribution, leaves = build(library, name, parameters)
            at = library.tensor(value, requires_grad=value.dtype == float)
            return f(distribution, at, library), [*leaves, *([at] if at.requires_grad else [])]

        compare(run, coarse)

    def ask(key):
        def f(d, v, _):
            found = getattr(d, key)
            return found() if callable(found) else found

        return f

    call(lambda d, v, _: d.log_prob(v))
    call(lambda d, v, _: d.cdf(v))
    call(lambda d, v, library: d.icdf(library.full((2, 3), 0.3, dtype=library.float64)))
    call(lambda d, v, _: d.enumerate_support())
    call(lambda d, v, _: d.enumerate_support(expand=False))
    call(lambda d, v, _: d.expand((5, *d.batch_shape)).log_prob(v if v.ndim == 2 else v[0]))
    for key in (*MOMENTS, *MATRICES):
        if (name, key) not in WRONG_IN_TORCH and (key, *parameters) != ("precision_matrix", "loc", "scale_tril"):
            call(ask(key))


@pytest.mark.parametrize(("name", "parameters", "value"), RECORDS, ids=IDS)
def test_shapes_names_and_samples(name, parameters, value):
    (ours, _), (theirs, _) = build(chainrule, name, parameters), build(torch, name, parameters)
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    assert (ours.has_rsample, ours.has_enumerate_support) == (theirs.has_rsample, theirs.has_enumerate_support)
    assert repr(ours) == repr(theirs).replace("torch.", "chainrule.")
    assert repr(ours.support).split("tensor")[0] == repr(theirs.support).split("tensor")[0]
    assert outcome(lambda: ours.support.event_dim) == outcome(lambda: theirs.support.event_dim)
    assert ours.support.is_discrete == theirs.support.is_discrete
    for shape, method in itertools.product(((), (4,), (2, 2)), ("sample", "rsample")):
        a, b = (outcome(functools.partial(getattr(d, method), shape)) for d in (ours, theirs))
        if isinstance(b, str):
            assert a == b
        else:
            assert (a.shape, kind(a), a.requires_grad) == (b.shape, kind(b), b.requires_grad)
            assert ours.support.check(a.detach()).all()


DIVERGENCES = list({name: (name, parameters) for name, parameters, _ in RECORDS}.values())


@pytest.mark.parametrize(("name", "parameters"), DIVERGENCES, ids=[name for name, _ in DIVERGENCES])
def test_kl_divergence_from_each_family_to_all(name, parameters):
    for other, its in DIVERGENCES:
        if other == name:  # not the very same
            its = {k: v * 1.1 if isinstance(v, np.ndarray) and k != "temperature" else v for k, v in its.items()}

        def f(library, other=other, its=its):
            p, q = build(library, name, parameters), build(library, other, its)
            return library.distributions.kl_divergence(p[0], q[0]), p[1] + q[1]

        compare(f)


TRANSFORMS = [
    ("ExpTransform", (), (2, 3)),
    ("PowerTransform", (1.7,), (2, 3)),
    ("SigmoidTransform", (), (2, 3)),
    ("SoftplusTransform", (), (2, 3)),
    ("TanhTransform", (), (2, 3)),
    ("AffineTransform", (0.5, -2.0), (2, 3)),
    ("AffineTransform", (0.5, 2.0, 1), (2, 3)),
    ("StickBreakingTransform", (), (2, 3)),
    ("LowerCholeskyTransform", (), (2, 3, 3)),
    ("CorrCholeskyTransform", (), (2, 6)),
    ("ReshapeTransform", ((2, 3), (6,)), (4, 2, 3)),
]


@pytest.mark.parametrize(("name", "arguments", "shape"), TRANSFORMS, ids=[t[0] for t in TRANSFORMS])
def test_transforms(name, arguments, shape):
    start = np.random.default_rng(0).uniform(0.2, 1, shape)

    def parts(library):
        transform = getattr(library.distributions.transforms, name)(*arguments)
        x = library.tensor(start, requires_grad=True)
        y = transform(x)
        jacobian = outcome(lambda: transform.log_abs_det_jacobian(x, y))
        return transform, x, y, jacobian

    def part(i):
        return lambda library: (lambda found: (found[i], [found[1]]))(parts(library))

    t, _, y, jacobian = parts(chainrule)
    compare(part(2))
    if not isinstance(jacobian, str):
        compare(part(3))
    np.testing.assert_allclose(t(t.inv(y)).detach().numpy(), y.detach().numpy(), rtol=1e-6)
    other = parts(torch)[0]
    for key in ("bijective", "domain", "codomain"):
        assert repr(getattr(t, key)) == repr(getattr(other, key))
    assert tuple(t.forward_shape(shape)) == tuple(other.forward_shape(shape)) == tuple(y.shape)
    assert tuple(t.inverse_shape(y.shape)) == tuple(shape)


def test_transformed_distributions():
    loc, scale = np.array([0.3, -1.0, 2.0]), np.array([0.5, 1.5, 1.0])

    def build_it(library):
        d = library.distributions
        base = d.Normal(library.tensor(loc, requires_grad=True), library.tensor(scale, requires_grad=True))
        chain = [d.AffineTransform(1.0, 2.0), d.SigmoidTransform(), d.AffineTransform(-1.0, 2.0)]
        return d.TransformedDistribution(base, chain), [base.loc, base.scale]

    def at(f):
        def run(library):
            distribution, leaves = build_it(library)
            return f(distribution, library.tensor([[0.1, -0.5, 0.9]], dtype=library.float64)), leaves

        return run

    compare(at(lambda d, v: d.log_prob(v)))
    compare(at(lambda d, v: d.cdf(v)))
    compare(at(lambda d, v: d.icdf((v + 1) / 2)))

    def vectors(library):
        d = library.distributions
        base = d.Independent(d.Normal(library.tensor(loc), library.tensor(scale)), 1)
        made = d.TransformedDistribution(base, [d.TanhTransform(cache_size=1)])
        return made, made.log_prob(library.tensor([0.1, -0.5, 0.9], dtype=library.float64))

    (a, x), (b, y) = vectors(chainrule), vectors(torch)
    assert (a.batch_shape, a.event_shape) == (b.batch_shape, b.event_shape)
    assert x.item() == pytest.approx(y.item(), rel=1e-9)


def test_mixtures():
    weights, loc = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]]), np.arange(6.0).reshape(2, 3)

    def mixture(library, events):
        d = library.distributions
        parts = d.Normal(library.tensor(loc, requires_grad=True), 1.5)
        if events:
            parts = d.Independent(d.Normal(library.tensor(np.stack([loc, -loc], -1)), 1.5), 1)
        return d.MixtureSameFamily(d.Categorical(library.tensor(weights)), parts)

    for events, value in ((False, np.array([[0.3, 2.0]])), (True, np.ones((4, 2, 2)))):
        for f in (
            lambda d, v: d.log_prob(v),
            lambda d, v: d.mean,
            lambda d, v: d.variance,
            lambda d, v: d.cdf(v) if not d.event_shape else d.mean,
            lambda d, v: d.expand((4, 2)).log_prob(v),
        ):
            a, b = (f(mixture(lib, events), lib.tensor(value)) for lib in (chainrule, torch))
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9)
        sample = mixture(chainrule, events).sample((3,))
        assert sample.shape == mixture(torch, events).sample((3,)).shape
        assert repr(mixture(chainrule, events)) == repr(mixture(torch, events)).replace("torch.", "chainrule.")


WRONG = [
    lambda l: l.distributions.Normal(0.0, -1.0),
    lambda l: l.distributions.Normal(l.tensor([0.0, float("nan")]), 1.0),
    lambda l: l.distributions.Normal("a", 1.0),
    lambda l: l.distributions.Uniform(1.0, 1.0),
    lambda l: l.distributions.Categorical(),
    lambda l: l.distributions.Categorical(l.ones(2), l.ones(2)),
    lambda l: l.distributions.Categorical(l.tensor(1.0)),
    lambda l: l.distributions.Categorical(l.tensor([-0.1, 1.1])),
    lambda l: l.distributions.Categorical(l.ones(3)).log_prob(l.tensor(3)),
    lambda l: l.distributions.Categorical(l.ones(2, 3)).log_prob(l.tensor([0, 1, 2])),
    lambda l: l.distributions.Normal(0.0, 1.0).log_prob(1.0),
    lambda l: l.distributions.Normal(l.zeros(3), 1.0).log_prob(l.zeros(4)),
    lambda l: l.distributions.Dirichlet(l.tensor(1.0)),
    lambda l: l.distributions.Dirichlet(l.ones(3)).log_prob(l.ones(2)),
    lambda l: l.distributions.Dirichlet(l.ones(3)).log_prob(l.ones(3)),
    lambda l: l.distributions.Beta(1.0, 1.0).log_prob(l.tensor(1.5)),
    lambda l: l.distributions.Bernoulli(0.5).log_prob(l.tensor(0.5)),
    lambda l: l.distributions.Bernoulli(),
    lambda l: l.distributions.Multinomial(l.tensor(2), l.ones(2)),
    lambda l: l.distributions.Binomial(l.tensor([2, 3]), l.tensor([0.5, 0.5])).entropy(),
    lambda l: l.distributions.MultivariateNormal(l.zeros(2)),
    lambda l: l.distributions.LowRankMultivariateNormal(l.zeros(2), l.ones(3, 1), l.ones(2)),
    lambda l: l.distributions.LowRankMultivariateNormal(l.zeros(2), l.ones(2), l.ones(2)),
    lambda l: l.distributions.LowRankMultivariateNormal(l.zeros(2), l.ones(2, 1), l.ones(3)),
    lambda l: l.distributions.LowRankMultivariateNormal(l.tensor(0.0), l.ones(2, 1), l.ones(2)),
    lambda l: l.distributions.MultivariateNormal(l.zeros(2), -l.eye(2)),
    lambda l: l.distributions.MultivariateNormal(l.zeros(2), l.ones(2)),
    lambda l: l.distributions.Independent(l.distributions.Normal(0.0, 1.0), 1),
    lambda l: l.distributions.kl_divergence(l.distributions.Normal(0.0, 1.0), l.distributions.Poisson(1.0)),
    lambda l: l.distributions.Categorical(l.ones(2)).rsample(),
    lambda l: l.distributions.Normal(0.0, 1.0).enumerate_support(),
    lambda l: l.distributions.transform_to(l.distributions.constraints.boolean),
]


@pytest.mark.parametrize("call", WRONG)
def test_errors(call):
    with pytest.raises((ValueError, NotImplementedError, TypeError)) as theirs:
        call(torch)
    with pytest.raises(theirs.type) as ours:
        call(chainrule)
    if theirs.type is ValueError and "Input arguments" not in str(theirs.value):
        expected = str(theirs.value).replace("torch.", "chainrule.").split("found invalid")[0]
        assert str(ours.value).split("found invalid")[0] == expected


CONSTRAINTS = [
    "boolean corr_cholesky lower_cholesky lower_triangular nonnegative nonnegative_integer one_hot positive"
    " positive_definite positive_integer positive_semidefinite real real_vector simplex square symmetric unit_interval"
][0].split()


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints(name):
    ours, theirs = getattr(chainrule.distributions.constraints, name), getattr(torch.distributions.constraints, name)
    rng = np.random.default_rng(1)
    low = np.tril(rng.uniform(0.2, 1, (2, 3, 3)))
    unit = low / np.sqrt((low**2).sum(-1, keepdims=True))
    values = [rng.standard_normal((2, 3, 3)), np.abs(low), unit, low @ low.swapaxes(-1, -2), np.eye(3)[None]]
    values += [np.floor(4 * low), low / low.sum(-1, keepdims=True), np.full((1, 2, 2), np.nan)]
    for value in values:
        a, b = ours.check(chainrule.tensor(value)), theirs.check(torch.tensor(value))
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert (repr(ours), ours.event_dim, ours.is_discrete) == (repr(theirs), theirs.event_dim, theirs.is_discrete)


@pytest.mark.parametrize("registry", ["biject_to", "transform_to"])
@pytest.mark.parametrize(
    "name", [n for n in CONSTRAINTS if n.split("_")[0] in ("positive", "real", "simplex", "unit", "lower", "corr")]
)
def test_registries(registry, name):
    def transform(library):
        constraint = getattr(library.distributions.constraints, name)
        return getattr(library.distributions, registry)(constraint), constraint

    theirs = outcome(lambda: transform(torch))
    if isinstance(theirs, str):
        assert outcome(lambda: transform(chainrule)) == theirs
        return
    (ours, constraint), (theirs, _) = transform(chainrule), theirs
    start = np.random.default_rng(0).standard_normal((2, 3, 3))
    a, b = ours(chainrule.tensor(start)), theirs(torch.tensor(start))
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)
    assert constraint.check(a).all()


def test_names():
    for module in ("", ".constraints", ".transforms", ".utils", ".kl"):
        ours = getattr(chainrule.distributions, module[1:]) if module else chainrule.distributions
        theirs = getattr(torch.distributions, module[1:]) if module else torch.distributions
        missing = set(getattr(theirs, "__all__", ())) - set(dir(ours))
        assert missing <= {"GeneralizedPareto"}, module


def squashed(library):
    """The policy of soft actor-critic programs: a transform and a distribution of their own."""
    D = library.distributions

    class Tanh(D.transforms.Transform):
        domain = D.constraints.real
        codomain = D.constraints.interval(-1.0, 1.0)
        bijective = True
        sign = +1

        def __init__(self, cache_size=1):
            super().__init__(cache_size=cache_size)

        def __eq__(self, other):
            return isinstance(other, Tanh)

        __hash__ = None

        def _call(self, x):
            return x.tanh()

        def _inverse(self, y):
            return 0.5 * (y.log1p() - (-y).log1p())

        def log_abs_det_jacobian(self, x, y):
            return 2.0 * (0.6931471805599453 - x - library.nn.functional.softplus(-2.0 * x))

    class Squashed(D.transformed_distribution.TransformedDistribution):
        def __init__(self, loc, scale):
            self.loc, self.scale = loc, scale
            self.base_dist = D.Normal(loc, scale)
            super().__init__(self.base_dist, [Tanh()])

        @property
        def mean(self):
            mu = self.loc
            for transform in self.transforms:
                mu = transform(mu)
            return mu

    return Squashed(library.tensor([[0.3, -2.0]], requires_grad=True), library.tensor([[0.5, 1.0]]))


def test_a_policy_of_ones_own():
    ours, theirs = squashed(chainrule), squashed(torch)
    at = [[0.2, -0.99]]
    np.testing.assert_allclose(
        ours.log_prob(chainrule.tensor(at)).detach().numpy(),
        theirs.log_prob(torch.tensor(at)).detach().numpy(),
        rtol=2e-5,
    )
    np.testing.assert_allclose(ours.mean.detach().numpy(), theirs.mean.detach().numpy(), rtol=1e-6)
    chainrule.manual_seed(0)
    action = ours.rsample((1000,))
    log_prob = ours.log_prob(action)  # the cache spares the inverse, which is infinite where tanh rounds to 1
    assert log_prob.isfinite().all()
    log_prob.sum().backward()
    assert ours.loc.grad.isfinite().all()


def test_normal_distributions_with_a_matrix_for_all():
    mean, variance = np.ones((3, 2)), np.array([0.5, 2.0])

    def build_it(library):
        mu = library.tensor(mean, requires_grad=True)
        covariance = library.diag(library.tensor(variance)).unsqueeze(0)
        return library.distributions.MultivariateNormal(mu, covariance), [mu]

    compare(lambda library: (lambda d, leaves: (d.log_prob(library.zeros(3, 2).double()), leaves))(*build_it(library)))
    compare(lambda library: (lambda d, leaves: (d.entropy(), leaves))(*build_it(library)))
    from chainrule.distributions.utils import _standard_normal

    assert _standard_normal((2, 3), chainrule.float64, "cpu").dtype == chainrule.float64
