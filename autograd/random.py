"""Random numbers: generators, the tensors made with them, and the in-place forms.

Each context has a default generator per backend, kept in a ContextVar:

* `manual_seed` in the main thread seeds its generators, and sets the seed from which other threads get theirs.
* A thread that draws without a seed of its own gets a generator derived from that seed and a number: the n-th thread
  to draw after `manual_seed(s)` gets the n-th child of the seed sequence of s. So no thread's numbers depend on how
  many another one draws, and threads that begin in a fixed order repeat their numbers. Turned down: one generator for
  all, as PyTorch has it, where the numbers that a thread gets depend on the scheduling.
* An async task draws from the generator of the context that it was started in, until it calls `manual_seed` or enters
  `fork_rng`; from then on it has its own.

Sources: the Box-Muller and inversion formulas are the textbook ones (Devroye, Non-Uniform Random Variate Generation,
1986); sampling without replacement divides by exponential noise (Efraimidis and Spirakis, 2006).
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
from _thread import get_ident
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from .. import backends
from ..backends import np
from ..backends.recorder import check, host, recording, refused
from . import storage
from .creation import factory, finish, like, shape_of
from .device import place_of
from .dtypes import default_dtype, differentiable, real_of
from .errors import OpError
from .modes import MODES
from .op import OPS
from .ops.assignment import overwrite
from .public import api, function, signed
from .tensor import Tensor, method, wrap

__all__ = [
    "Generator",
    "current_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]

_GENERATOR_SEED = 67280421310721  # that of a new Generator, as in PyTorch


def _seed_number(seed: Any) -> int:
    seed = int(seed)
    if not -(2**63) <= seed < 2**64:
        raise OpError(f"a seed is between -2**63 and 2**64 - 1, not {seed}")
    return seed % 2**64


class Generator:
    """A source of random numbers on a device: `Generator()`, `Generator("cuda")`.

    A new one has a fixed seed; `manual_seed` sets another, `seed` takes one from the system.
    """

    __slots__ = ("__weakref__", "_seed", "device", "source")

    def __init__(self, device: Any = "cpu") -> None:
        self.device = place_of(device)
        self.manual_seed(_GENERATOR_SEED)

    def manual_seed(self, seed: int) -> Generator:
        """Start over from `seed`, an integer between -2**63 and 2**64 - 1. Returns the generator."""
        number, before = _seed_number(seed), (getattr(self, "_seed", 0), getattr(self, "source", None))

        def start() -> None:
            self._seed, self.source = number, self.device.backend.generator(number)

        def undo() -> None:
            self._seed, self.source = before

        host(start, undo)
        return self

    def seed(self) -> int:
        """Start over from a seed that the system gives, and return it."""
        self.manual_seed(_system_seed())
        return self._seed

    def initial_seed(self) -> int:
        """The seed that the numbers started from."""
        return self._seed

    def get_state(self) -> Tensor:
        """What the next numbers follow from, as a uint8 tensor on the host."""
        recorder = recording()
        if recorder is not None:
            return wrap(recorder.state(lambda: self), None)
        data = self._seed.to_bytes(8, "little") + self.source.get_state()
        return wrap(np.frombuffer(data, np.uint8).copy(), None)

    def set_state(self, new_state: Tensor) -> Generator:
        """Go on from a state that `get_state` gave. Returns the generator."""
        if not isinstance(new_state, Tensor) or new_state.array.dtype != np.uint8:
            raise TypeError("expected a uint8 tensor from get_state()")
        recorder = recording()
        if recorder is None:
            self.go_on(new_state.array)
        else:
            recorder.set_state(lambda: self, new_state.array)
        return self

    def go_on(self, state: Any) -> None:
        """`set_state` from the array."""
        data = backends.of(state).to_host(state).tobytes()
        if len(data) < 9:
            raise OpError("this is not a generator's state")
        self.source.set_state(data[8:])
        self._seed = int.from_bytes(data[:8], "little")

    def clone_state(self) -> Generator:
        """Another generator that goes on from the same state."""
        return Generator(self.device).set_state(self.get_state())

    def __reduce__(self) -> Any:
        return _generator_from, (str(self.device), self.get_state().array.tobytes())

    def __repr__(self) -> str:
        return f"<chainrule.Generator on {self.device}>"


def _generator_from(place: str, state: bytes) -> Generator:
    return Generator(place).set_state(wrap(np.frombuffer(state, np.uint8), None))


def _system_seed() -> int:
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0]) >> 1


# -- default generators -----------------------------------------------------------------------------------------------


class _Defaults(dict[str, Generator]):
    """The default generators of one thread, by device: 'cpu', 'cuda:1'."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed, self.thread = seed, get_ident()

    def __missing__(self, kind: str) -> Generator:
        self[kind] = Generator(kind).manual_seed(self.seed)
        return self[kind]


_DEFAULTS: ContextVar[_Defaults | None] = ContextVar("chainrule_generators", default=None)


class _Root:
    """The seed from which threads get theirs, and how many have."""

    def __init__(self, seed: int) -> None:
        self.seed, self._numbers = seed, itertools.count()

    def child(self) -> int:
        children = np.random.SeedSequence(self.seed, spawn_key=(next(self._numbers),))
        return int(children.generate_state(1, np.uint64)[0])


_root: _Root | None = None


def _in_main_thread() -> bool:
    import threading  # a millisecond, which `import chainrule` can do without

    return threading.current_thread() is threading.main_thread()


def _defaults() -> _Defaults:
    global _root
    found = _DEFAULTS.get()
    if found is None or found.thread != get_ident():
        if _root is None:
            _root = _Root(_system_seed())
        found = _Defaults(_root.seed if _in_main_thread() else _root.child())
        _DEFAULTS.set(found)
    return found


def current_generator(kind: str = "cpu") -> Generator:
    """The generator from which this thread draws where it is given none.

    kind: of which device, 'cpu', 'cuda:1' or 'cuda' (the current one).
    """
    if kind == "cuda":
        kind = f"cuda:{backends.by_device(kind).current_device()}"
    if recording() is not None:
        raise refused("what the default generator is asked for on the host")
    return _defaults()[kind]


def __getattr__(name: str) -> Any:
    """default_generator: the CPU's, now."""
    if name == "default_generator":
        return current_generator()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@function
def manual_seed(seed: int) -> Generator:
    """Seed the default generators of all devices, in this context. Returns the CPU's."""
    number, before = _seed_number(seed), _DEFAULTS.get()

    def start() -> Generator:
        global _root
        if _in_main_thread():
            _root = _Root(number)
        _DEFAULTS.set(_Defaults(number))
        return current_generator()

    return host(start, lambda: _DEFAULTS.set(before))


@function
def seed() -> int:
    """Seed the default generators with a number that the system gives, and return it."""
    return manual_seed(_system_seed()).initial_seed()


@function
def initial_seed() -> int:
    """The seed of the CPU's default generator."""
    return current_generator().initial_seed()


@function
def get_rng_state() -> Tensor:
    """The state of the CPU's default generator, a uint8 tensor."""
    recorder = recording()
    return current_generator().get_state() if recorder is None else wrap(recorder.state(current_generator), None)


@function
def set_rng_state(new_state: Tensor) -> None:
    """Let the CPU's default generator go on from a state of `get_rng_state`."""
    recorder = recording()
    if recorder is None:
        current_generator().set_state(new_state)
    else:
        recorder.set_state(current_generator, new_state.array)


@contextlib.contextmanager
def fork_rng(devices: Any = None, enabled: bool = True, device_type: str = "cuda") -> Iterator[None]:
    """A block after which the default generators, of all devices, go on as if nothing had been drawn in it.

    enabled=False does nothing. device_type: PyTorch's, without effect.
    """
    if not enabled:
        yield
        return
    tokens = []

    def enter() -> None:
        mine = _defaults()
        own = _Defaults(mine.seed)
        own.update({kind: g.clone_state() for kind, g in mine.items()})
        tokens.append(_DEFAULTS.set(own))

    host(enter)
    try:
        yield
    finally:
        host(lambda: _DEFAULTS.reset(tokens.pop()))


# -- raw draws --------------------------------------------------------------------------------------------------------


def _source(generator: Any, backend: Any) -> Any:
    """What to draw arrays of `backend` from: the given generator, or the default one."""
    kind = backend.device_type
    if kind != "cpu":
        kind = f"{kind}:{backend.selected()}"
    if generator is not None:
        if not isinstance(generator, Generator):
            raise TypeError(f"expected a chainrule.Generator, not {type(generator).__name__}")
        if str(generator.device) not in (kind, backend.device_type):
            raise OpError(f"expected a generator on {kind!r}, where the tensor is, not on '{generator.device}'")
    recorder = recording()
    if recorder is not None:
        return recorder.source(lambda: (current_generator(kind) if generator is None else generator).source)
    return (current_generator(kind) if generator is None else generator).source


def uniform(source: Any, xp: Any, shape: Any, kind: Any) -> Any:
    """Numbers in [0, 1), with as many bits as the dtype's fraction has; complex ones have two such parts."""
    if kind.kind == "c":
        return uniform(source, xp, (*shape, 2), real_of(kind)).view(kind)[..., 0]
    if kind.itemsize > 2:
        return source.random(shape, kind)
    steps = 2.0 ** (8 if kind.name == "bfloat16" else 11)  # rounding a float32 could give 1
    return (xp.floor(source.random(shape, "float32") * xp.float32(steps)) / xp.float32(steps)).astype(kind)


def standard_normal(source: Any, shape: Any, kind: Any) -> Any:
    """Normal numbers of mean 0 and standard deviation 1; complex ones have parts of variance 1/2."""
    if kind.kind == "c":
        return (standard_normal(source, (*shape, 2), real_of(kind)) * 0.5**0.5).astype(real_of(kind)).view(kind)[..., 0]
    return (
        source.standard_normal(shape, kind)
        if kind.itemsize > 2
        else source.standard_normal(shape, "float32").astype(kind)
    )


def _floating(kind: Any, name: str) -> Any:
    kind = default_dtype() if kind is None else kind
    if not differentiable(kind):
        raise NotImplementedError(f"{name}() makes floating-point numbers, not {kind}")
    return kind


def _integers(source: Any, low: Any, high: Any, shape: Any, kind: Any) -> Any:
    """Integers in [low, high) in a dtype, which must hold them all."""
    low, high = int(low), int(high)
    if low >= high:
        raise OpError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    if kind.kind in "iub":
        limits = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
        for name, value in (("from", low), ("to - 1", high - 1)):
            if not limits[0] <= value <= limits[1]:
                raise OpError(f"{name} is out of bounds for {kind}: {value}")
    return source.integers(low, high, shape).astype(kind, copy=False)


# -- tensors ----------------------------------------------------------------------------------------------------------


@factory
def rand(backend: Any, *sizes: Any, kind: Any, size: Any = None, generator: Any = None) -> Any:
    """Uniform numbers in [0, 1). size: the shape, as numbers or one tuple."""
    return uniform(_source(generator, backend), backend.xp, shape_of(sizes, size, "rand"), _floating(kind, "rand"))


@factory
def randn(backend: Any, *sizes: Any, kind: Any, size: Any = None, generator: Any = None) -> Any:
    """Normal numbers of mean 0 and standard deviation 1. size: the shape, as numbers or one tuple."""
    return standard_normal(_source(generator, backend), shape_of(sizes, size, "randn"), _floating(kind, "randn"))


@factory
def randint(
    backend: Any, *args: Any, low: Any = None, high: Any = None, size: Any = None, kind: Any, generator: Any = None
) -> Any:
    """Integers in [low, high), in int64: `randint(high, size)` or `randint(low, high, size)`; low is 0 unless given."""
    given = list(args)
    try:
        size = given.pop() if size is None else size
        high = given.pop() if high is None else high
    except IndexError:
        raise TypeError("randint() needs high and size") from None
    low = low if low is not None else given.pop() if given else 0
    if given:
        raise TypeError("randint() takes low, high and size")
    kind = np.dtype("int64") if kind is None else kind
    return _integers(_source(generator, backend), low, high, shape_of((), size, "randint"), kind)


@factory
def randperm(backend: Any, n: int, *, kind: Any, generator: Any = None) -> Any:
    """The integers 0 to n - 1 in random order."""
    if n < 0:
        raise OpError(f"randperm: n must be non-negative, got {n}")
    kind = np.dtype("int64") if kind is None else kind
    if kind.kind in "iu" and n - 1 > np.iinfo(kind).max:
        raise OpError(f"value cannot be converted to type {kind} without overflow: randperm({n})")
    return _source(generator, backend).permutation(int(n)).astype(kind, copy=False)


def _floats(x: Any, name: str) -> Any:
    """The array of a Tensor that must be floating."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}(): argument 'input' must be Tensor, not {type(x).__name__}")
    _floating(x.array.dtype, name)
    return x.array


@function
def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    out: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal numbers of a mean and a standard deviation: two numbers and a shape `size`, or tensors that broadcast.

    mean and std get gradients of zero, as in PyTorch; for others write `mean + std * randn_like(mean)`.
    """
    tensors = [x.array for x in (mean, std) if isinstance(x, Tensor)]
    if not tensors:
        if std < 0:
            raise OpError(f"normal expects std >= 0.0, but found std {std}")
        if size is None:
            raise TypeError("normal() of two numbers needs a size")
        draws = randn(size=size, generator=generator, dtype=dtype, device=device).array
        made = finish(draws * std + mean, None, requires_grad)
    else:
        backend, kind = backends.of(tensors[0]), _floating(tensors[0].dtype, "normal")
        m, s = (x.array if isinstance(x, Tensor) else x for x in (mean, std))
        check(_check_deviations, s)
        try:
            shape = np.broadcast_shapes(*(x.shape for x in tensors))
        except ValueError:
            raise OpError(
                f"normal: mean of shape {list(m.shape)} and std of shape {list(s.shape)} do not broadcast"
            ) from None
        made = wrap((standard_normal(_source(generator, backend), shape, kind) * s + m).astype(kind, copy=False), None)
        made = _drawn_from(made, mean, std)
    return made if out is None else storage.deliver(made, out, "normal")


def _drawn_from(made: Tensor, *sources: Any) -> Tensor:
    """`made` with gradients of zero for the tensors that it was drawn from."""
    for x in sources:
        if isinstance(x, Tensor) and x.requires_grad and MODES.get().grad:
            alike = OPS["cast"](x, dtype=made.array.dtype).expand(made.array.shape)
            made = OPS["copy"](alike, made)
    return made


def _check_deviations(s: Any) -> None:
    if (s.min() < 0).item() if hasattr(s, "min") and s.size else not hasattr(s, "min") and s < 0:
        raise OpError("normal expects all elements of std >= 0.0")


@api
def bernoulli(input: Tensor, p: Any = None, *, generator: Any = None, out: Any = None) -> Tensor:
    """1 with the probability that `input` says (or with probability p, for each of its elements), otherwise 0.

    `input` gets a gradient of zero.
    """
    if p is None:
        array = _floats(input, "bernoulli")
        check(_check_probabilities, array)
        p = array
    elif isinstance(p, Tensor):
        raise TypeError("bernoulli(): argument 'p' must be float, not Tensor; the probabilities are the first argument")
    made = _drawn_from(wrap(_coin(input.array, p, generator), None), input)
    return made if out is None else storage.deliver(made, out.resize_(made.shape), "bernoulli")


def _check_probabilities(array: Any) -> None:
    if array.size and not ((array.min() >= 0) & (array.max() <= 1)).item():
        raise OpError("bernoulli expects probabilities between 0 and 1")


def _coin(array: Any, p: Any, generator: Any) -> Any:
    """0 and 1 in the likeness of `array`, 1 with probability p (a number or an array that broadcasts to it)."""
    backend = backends.of(array)
    draws = _source(generator, backend).random(
        array.shape, "float64" if getattr(p, "dtype", None) == np.float64 else "float32"
    )
    return (backend.asarray(draws) < p).astype(array.dtype)


@api
def poisson(input: Tensor, generator: Any = None) -> Tensor:
    """Numbers of the Poisson distribution whose rates `input` gives, in its dtype; it gets a gradient of zero."""
    array = _floats(input, "poisson")
    check(_check_rates, array)
    backend = backends.of(array)
    drawn = backend.xp.asarray(_source(generator, backend).poisson(array)).astype(array.dtype)
    return _drawn_from(wrap(drawn, None), input)


def _check_rates(array: Any) -> None:
    if array.size and not (array.min() >= 0).item():
        raise OpError("invalid Poisson rate, expected rate to be non-negative")


def _check_weights(p: Any) -> None:
    """The rows of weights of a multinomial distribution."""
    xp = backends.of(p).xp
    if not (xp.isfinite(p) & (p >= 0)).all().item():
        raise OpError("probability tensor contains either `inf`, `nan` or element < 0")
    if (p.sum(axis=1) <= 0).any().item():
        raise OpError("invalid multinomial distribution (sum of probabilities <= 0)")


@api
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None, out: Any = None
) -> Tensor:
    """Indices drawn with probabilities in proportion to the rows of `input`, int64.

    input: (n,) or (m, n), not negative, each row with a sum above 0. Result: (num_samples,) or (m, num_samples).
    Without replacement no index of a row comes twice.
    """
    array = _floats(input, "multinomial")
    if array.ndim not in (1, 2):
        raise OpError(f"multinomial: the probabilities must have 1 or 2 dimensions, not {array.ndim}")
    if num_samples <= 0:
        raise OpError(f"cannot sample num_samples={num_samples} <= 0 samples")
    n, backend = array.shape[-1], backends.of(array)
    xp, source = backend.xp, _source(generator, backend)
    if not replacement and num_samples > n:
        raise OpError(f"cannot sample {num_samples} of {n} without replacement")
    p = array.reshape(-1, n).astype("float64")
    check(_check_weights, p)
    total = p.sum(axis=1, keepdims=True)
    rows = len(p)
    if replacement:
        # One search over all rows: row i's cumulative probabilities lie in [i, i + 1].
        row = xp.arange(rows, dtype="float64")[:, None]
        steps = (xp.cumsum(p, axis=1) / total + row).reshape(-1)
        draws = backend.asarray(source.random((rows, num_samples), "float64")) + row
        picked = xp.searchsorted(steps, draws.reshape(-1), side="right").reshape(rows, num_samples)
        picked = picked - n * xp.arange(rows)[:, None]
        last = n - 1 - xp.argmax((p > 0)[:, ::-1], axis=1)  # rounding must not choose an index of probability 0
        picked = xp.minimum(picked, last[:, None])
    else:
        noise = -xp.log1p(-backend.asarray(source.random((rows, n), "float64")))
        picked = xp.argsort(-(p / xp.maximum(noise, 1e-300)), axis=1)[:, :num_samples]
    made = wrap(picked.astype("int64", copy=False).reshape((*array.shape[:-1], num_samples)), None)
    return made if out is None else storage.deliver(made, out.resize_(made.shape), "multinomial")


@like
def rand_like(backend: Any, array: Any, *, generator: Any = None) -> None:
    """Uniform numbers in [0, 1) in the input's shape and dtype."""
    kind = _floating(array.dtype, "rand_like")
    array[...] = backend.asarray(uniform(_source(generator, backend), backend.xp, array.shape, kind))


@like
def randn_like(backend: Any, array: Any, *, generator: Any = None) -> None:
    """Normal numbers of mean 0 and standard deviation 1 in the input's shape and dtype."""
    kind = _floating(array.dtype, "randn_like")
    array[...] = backend.asarray(standard_normal(_source(generator, backend), array.shape, kind))


@like
def randint_like(backend: Any, array: Any, low: Any = 0, high: Any = None, *, generator: Any = None) -> None:
    """Integers in [low, high) in the input's shape and dtype: `randint_like(input, high)` or with low before it."""
    low, high = (0, low) if high is None else (low, high)
    array[...] = backend.asarray(_integers(_source(generator, backend), low, high, array.shape, array.dtype))


# -- in place ---------------------------------------------------------------------------------------------------------


def _drawn(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the in-place method of `draw(array, source, xp, ...)`, which returns the new values."""
    name = draw.__name__

    def method_(self: Tensor, *args: Any, generator: Any = None, **kwargs: Any) -> Tensor:
        if MODES.get().grad and self.leaf and self.node is None:
            storage.check_assignable(self, self, name, True)
        backend = backends.of(self.array)
        if backend.device_type != "cpu":
            backend.select(backend.device_of(self.array)[1])
        values = draw(self.array, _source(generator, backend), backend.xp, *args, **kwargs)
        return overwrite(self, backend.asarray(values), name)

    def build() -> inspect.Signature:
        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        own = list(inspect.signature(draw).parameters.values())[3:]
        generator = inspect.Parameter("generator", inspect.Parameter.KEYWORD_ONLY, default=None)
        return inspect.Signature([itself, *own, generator])

    signed(method_, draw, build)
    return method(method_)


@_drawn
def uniform_(array: Any, source: Any, xp: Any, from_: float = 0.0, to: float = 1.0) -> Any:
    """Fill with uniform numbers in [from_, to)."""
    kind = _floating(array.dtype, "uniform_")
    if not from_ <= to:
        raise OpError(f"uniform_ expects to return a [from, to) range, but found from={from_} > to={to}")
    return uniform(source, xp, array.shape, kind) * (to - from_) + from_


@_drawn
def normal_(array: Any, source: Any, xp: Any, mean: float = 0.0, std: float = 1.0) -> Any:
    """Fill with normal numbers."""
    kind = _floating(array.dtype, "normal_")
    if not std >= 0:
        raise OpError(f"normal expects std >= 0.0, but found std {std}")
    return standard_normal(source, array.shape, kind) * std + mean


@_drawn
def log_normal_(array: Any, source: Any, xp: Any, mean: float = 1.0, std: float = 2.0) -> Any:
    """Fill with exp(n), n normal of the given mean and standard deviation."""
    kind = _floating(array.dtype, "log_normal_")
    if not std > 0:
        raise OpError(f"log_normal_ expects std > 0.0, but found std={std}")
    return xp.exp(standard_normal(source, array.shape, kind) * std + mean)


@_drawn
def bernoulli_(array: Any, source: Any, xp: Any, p: Any = 0.5) -> Any:
    """Fill with 1, with probability p (a number, or a tensor that broadcasts), and 0."""
    if isinstance(p, Tensor):
        p = p.array
    elif not 0 <= p <= 1:
        raise OpError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return xp.asarray(source.random(array.shape, "float32")) < p


@_drawn
def random_(array: Any, source: Any, xp: Any, from_: int | None = None, to: int | None = None) -> Any:
    """Fill with integers in [from_, to): `random_(to)`, `random_(from_, to)`.

    Without bounds: from 0 to the dtype's largest; a floating dtype's up to which it holds every integer.
    """
    kind = array.dtype
    if from_ is not None and to is None:
        from_, to = 0, from_
    if to is None:
        exact = {"float64": 2**53, "float32": 2**24, "float16": 2**11, "bfloat16": 2**8, "bool": 1}
        to = min(exact[kind.name] if kind.name in exact else np.iinfo(kind).max, 2**63 - 2) + 1
    return _integers(source, from_ or 0, to, array.shape, kind)


@_drawn
def exponential_(array: Any, source: Any, xp: Any, lambd: float = 1.0) -> Any:
    """Fill with numbers of the density lambd·exp(-lambd·x), x > 0."""
    kind = _floating(array.dtype, "exponential_")
    if not lambd > 0:
        raise OpError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return -xp.log1p(-_open(source, xp, array.shape, kind)) / lambd


@_drawn
def cauchy_(array: Any, source: Any, xp: Any, median: float = 0.0, sigma: float = 1.0) -> Any:
    """Fill with numbers of the Cauchy distribution, by inversion: median + sigma·tan(π(u - 1/2))."""
    kind = _floating(array.dtype, "cauchy_")
    if not sigma > 0:
        raise OpError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return xp.tan((_open(source, xp, array.shape, kind) - 0.5) * math.pi) * sigma + median


@_drawn
def geometric_(array: Any, source: Any, xp: Any, p: float) -> Any:
    """Fill with the number of trials up to the first success, of probability p: 1, 2, 3, ..."""
    if not 0 < p < 1:
        raise OpError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    trials = xp.ceil(xp.log1p(-_open(source, xp, array.shape, np.dtype("float64"))) / math.log1p(-p))
    return xp.maximum(trials, 1)


def _open(source: Any, xp: Any, shape: Any, kind: Any) -> Any:
    """Uniform numbers in (0, 1): the lowest step of [0, 1) is moved to its middle."""
    draws = uniform(source, xp, shape, kind)
    tiny = {8: 2.0**-54, 4: 2.0**-25}.get(kind.itemsize, 2.0**-9 if kind.name == "bfloat16" else 2.0**-12)
    return xp.where(draws == 0, xp.asarray(tiny, dtype=kind), draws)
