"""Transforms: invertible maps with the logarithm of their Jacobian's determinant, for `TransformedDistribution`.

y = transform(x), x = transform.inv(y), log|det dy/dx| = transform.log_abs_det_jacobian(x, y), one number per event. The
names and arguments are those of `torch.distributions.transforms`; the idea is that of J. Dillon et al., "TensorFlow
Distributions", 2017 (there: bijectors).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

from ..autograd import Size, finfo
from ..autograd.ops.activation import softplus
from . import constraints
from ._functions import F
from .utils import broadcast_all, sum_rightmost, tril_matrix_to_vec, vec_to_tril_matrix

__all__ = [
    "AbsTransform",
    "AffineTransform",
    "CatTransform",
    "ComposeTransform",
    "CorrCholeskyTransform",
    "CumulativeDistributionTransform",
    "ExpTransform",
    "IndependentTransform",
    "LowerCholeskyTransform",
    "PositiveDefiniteTransform",
    "PowerTransform",
    "ReshapeTransform",
    "SigmoidTransform",
    "SoftmaxTransform",
    "SoftplusTransform",
    "StackTransform",
    "StickBreakingTransform",
    "TanhTransform",
    "Transform",
    "identity_transform",
]


class Transform:
    """A map from `domain` to `codomain`. Subclasses define `_call`, `_inverse` and `log_abs_det_jacobian`.

    Maps of numbers keep the shape (...); maps of vectors or matrices take (..., *event) and say by `forward_shape`
    what comes out. bijective: whether the inverse is one, so that densities can be carried over. cache_size: 1
    keeps the last pair (x, y), so that the inverse of a result is the very input; 0 keeps nothing; ValueError for
    others. sign: +1 or -1 for a monotone map of numbers.
    """

    bijective = False
    domain: Any
    codomain: Any

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in (0, 1):
            raise ValueError("cache_size must be 0 or 1")
        self._cache_size = cache_size
        self._inv: Any = None
        self._cached: Any = (None, None)

    @property
    def event_dim(self) -> int:
        """The dimensions of one event, where domain and codomain agree; otherwise ValueError."""
        if self.domain.event_dim == self.codomain.event_dim:
            return self.domain.event_dim
        raise ValueError("Please use either .domain.event_dim or .codomain.event_dim")

    @property
    def inv(self) -> Any:
        """The inverse transform, whose own inverse is this one."""
        found = self._inv() if self._inv is not None else None
        if found is None:
            found = _InverseTransform(self)
            self._inv = weakref.ref(found)
        return found

    @property
    def sign(self) -> int:
        """+1 where the map rises, -1 where it falls; NotImplementedError for maps that are not monotone."""
        raise NotImplementedError

    def with_cache(self, cache_size: int = 1) -> Any:
        """The same transform with that size of cache."""
        if self._cache_size == cache_size:
            return self
        new = object.__new__(type(self))
        vars(new).update(vars(self))
        Transform.__init__(new, cache_size)
        return new

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_inv": None}  # made anew when it is asked for

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __call__(self, x: Any) -> Any:
        if self._cache_size == 0:
            return self._call(x)
        if x is self._cached[0]:
            return self._cached[1]
        y = self._call(x)
        self._cached = x, y
        return y

    def _inv_call(self, y: Any) -> Any:
        if self._cache_size == 0:
            return self._inverse(y)
        if y is self._cached[1]:
            return self._cached[0]
        x = self._inverse(y)
        self._cached = x, y
        return x

    def _call(self, x: Any) -> Any:
        raise NotImplementedError

    def _inverse(self, y: Any) -> Any:
        raise NotImplementedError

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        """log |det dy / dx| at x with y = transform(x), without the event's dimensions."""
        raise NotImplementedError

    def forward_shape(self, shape: Any) -> Any:
        """The shape of the output for an input's."""
        return shape

    def inverse_shape(self, shape: Any) -> Any:
        """The shape of the input for an output's."""
        return shape

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _InverseTransform(Transform):
    def __init__(self, transform: Transform) -> None:
        super().__init__(cache_size=transform._cache_size)
        self._forward = transform

    @property
    def domain(self) -> Any:  # type: ignore[override]
        return self._forward.codomain

    @property
    def codomain(self) -> Any:  # type: ignore[override]
        return self._forward.domain

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        return self._forward.bijective

    @property
    def sign(self) -> int:
        return self._forward.sign

    @property
    def inv(self) -> Any:
        return self._forward

    def with_cache(self, cache_size: int = 1) -> Any:
        return self._forward.with_cache(cache_size).inv

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _InverseTransform) and self._forward == other._forward

    __hash__ = object.__hash__

    def __call__(self, x: Any) -> Any:
        return self._forward._inv_call(x)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return -self._forward.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Any) -> Any:
        return self._forward.inverse_shape(shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self._forward.forward_shape(shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._forward!r})"


class ComposeTransform(Transform):
    """Several transforms, `parts`, the first one first: y = tₙ(...t₁(x)); log-Jacobians add up."""

    def __init__(self, parts: Sequence[Transform], cache_size: int = 0) -> None:
        if cache_size:
            parts = [p.with_cache(cache_size) for p in parts]
        super().__init__(cache_size)
        self.parts = list(parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ComposeTransform) and self.parts == other.parts

    __hash__ = object.__hash__

    @property
    def domain(self) -> Any:  # type: ignore[override]
        """The first part's, over as many dimensions as later parts need."""
        if not self.parts:
            return constraints.real
        domain, dim = self.parts[0].domain, self.parts[-1].codomain.event_dim
        for part in reversed(self.parts):
            dim = max(dim + part.domain.event_dim - part.codomain.event_dim, part.domain.event_dim)
        return constraints.independent(domain, dim - domain.event_dim) if dim > domain.event_dim else domain

    @property
    def codomain(self) -> Any:  # type: ignore[override]
        """The last part's, over as many dimensions as earlier parts need."""
        if not self.parts:
            return constraints.real
        codomain, dim = self.parts[-1].codomain, self.parts[0].domain.event_dim
        for part in self.parts:
            dim = max(dim + part.codomain.event_dim - part.domain.event_dim, part.codomain.event_dim)
        return constraints.independent(codomain, dim - codomain.event_dim) if dim > codomain.event_dim else codomain

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        """Whether all parts are."""
        return all(p.bijective for p in self.parts)

    @property
    def sign(self) -> int:
        return math.prod(p.sign for p in self.parts)

    @property
    def inv(self) -> Any:
        return _InverseTransform(self) if not self.parts else ComposeTransform([p.inv for p in reversed(self.parts)])

    def with_cache(self, cache_size: int = 1) -> Any:
        return self if self._cache_size == cache_size else ComposeTransform(self.parts, cache_size=cache_size)

    def __call__(self, x: Any) -> Any:
        for part in self.parts:
            x = part(x)
        return x

    def _inv_call(self, y: Any) -> Any:
        for part in reversed(self.parts):
            y = part.inv(y)
        return y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        if not self.parts:
            return F.zeros_like(x)
        points = [x]
        for part in self.parts[:-1]:
            points.append(part(points[-1]))
        points.append(y)
        total: Any = 0.0
        dim = self.domain.event_dim
        for part, a, b in zip(self.parts, points[:-1], points[1:], strict=True):
            total = total + sum_rightmost(part.log_abs_det_jacobian(a, b), dim - part.domain.event_dim)
            dim += part.codomain.event_dim - part.domain.event_dim
        return total

    def forward_shape(self, shape: Any) -> Any:
        for part in self.parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: Any) -> Any:
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return shape

    def __repr__(self) -> str:
        lines = ",\n    ".join(repr(p) for p in self.parts)
        return f"{type(self).__name__}(\n    {lines}\n)"


identity_transform = ComposeTransform([])


class IndependentTransform(Transform):
    """`base_transform` with `reinterpreted_batch_ndims` more dimensions in its events; log-Jacobians are summed."""

    def __init__(self, base_transform: Transform, reinterpreted_batch_ndims: int, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.base_transform = base_transform.with_cache(cache_size)
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims

    @property
    def domain(self) -> Any:  # type: ignore[override]
        """The base's, over more dimensions."""
        return constraints.independent(self.base_transform.domain, self.reinterpreted_batch_ndims)

    @property
    def codomain(self) -> Any:  # type: ignore[override]
        """The base's, over more dimensions."""
        return constraints.independent(self.base_transform.codomain, self.reinterpreted_batch_ndims)

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base_transform.bijective

    @property
    def sign(self) -> int:
        return self.base_transform.sign

    def _call(self, x: Any) -> Any:
        if x.dim() < self.domain.event_dim:
            raise ValueError("Too few dimensions on input")
        return self.base_transform(x)

    def _inverse(self, y: Any) -> Any:
        if y.dim() < self.codomain.event_dim:
            raise ValueError("Too few dimensions on input")
        return self.base_transform.inv(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return sum_rightmost(self.base_transform.log_abs_det_jacobian(x, y), self.reinterpreted_batch_ndims)

    def forward_shape(self, shape: Any) -> Any:
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self.base_transform.inverse_shape(shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_transform!r}, {self.reinterpreted_batch_ndims})"


class ReshapeTransform(Transform):
    """(..., *in_shape) to (..., *out_shape); log-Jacobian 0. ValueError where the numbers of elements differ."""

    bijective = True

    def __init__(self, in_shape: Any, out_shape: Any, cache_size: int = 0) -> None:
        self.in_shape, self.out_shape = Size(in_shape), Size(out_shape)
        if self.in_shape.numel() != self.out_shape.numel():
            raise ValueError("in_shape, out_shape have different numbers of elements")
        super().__init__(cache_size)

    @property
    def domain(self) -> Any:  # type: ignore[override]
        """Real tensors of in_shape."""
        return constraints.independent(constraints.real, len(self.in_shape))

    @property
    def codomain(self) -> Any:  # type: ignore[override]
        """Real tensors of out_shape."""
        return constraints.independent(constraints.real, len(self.out_shape))

    def _call(self, x: Any) -> Any:
        return x.reshape(x.shape[: x.dim() - len(self.in_shape)] + self.out_shape)

    def _inverse(self, y: Any) -> Any:
        return y.reshape(y.shape[: y.dim() - len(self.out_shape)] + self.in_shape)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return F.zeros(x.shape[: x.dim() - len(self.in_shape)], dtype=x.dtype, device=x.device)

    def forward_shape(self, shape: Any) -> Any:
        return _replaced(shape, self.in_shape, self.out_shape)

    def inverse_shape(self, shape: Any) -> Any:
        return _replaced(shape, self.out_shape, self.in_shape)


def _replaced(shape: Any, old: Any, new: Any) -> Any:
    if len(shape) < len(old):
        raise ValueError("Too few dimensions on input")
    cut = len(shape) - len(old)
    if Size(shape[cut:]) != old:
        raise ValueError(f"Shape mismatch: expected {shape[cut:]} but got {old}")
    return Size(shape[:cut]) + new


class _Plain(Transform):
    """A map of numbers without parameters."""

    bijective = True
    domain: Any = constraints.real

    @property
    def sign(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    __hash__ = object.__hash__


class ExpTransform(_Plain):
    """y = exp(x), onto the positive numbers; log-Jacobian x."""

    codomain = constraints.positive

    def _call(self, x: Any) -> Any:
        return x.exp()

    def _inverse(self, y: Any) -> Any:
        return y.log()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return x


class PowerTransform(Transform):
    """y = x^exponent, on positive numbers; log-Jacobian log |exponent y / x|."""

    bijective = True
    domain = codomain = constraints.positive

    def __init__(self, exponent: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        (self.exponent,) = broadcast_all(exponent)

    @property
    def sign(self) -> Any:
        return self.exponent.sign()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PowerTransform) and bool((self.exponent == other.exponent).all())

    __hash__ = object.__hash__

    def _call(self, x: Any) -> Any:
        return x.pow(self.exponent)

    def _inverse(self, y: Any) -> Any:
        return y.pow(1 / self.exponent)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return (self.exponent * y / x).abs().log()

    def forward_shape(self, shape: Any) -> Any:
        return F.broadcast_shapes(shape, self.exponent.shape)

    def inverse_shape(self, shape: Any) -> Any:
        return F.broadcast_shapes(shape, self.exponent.shape)


class SigmoidTransform(_Plain):
    """y = 1 / (1 + exp(-x)), kept inside (0, 1); log-Jacobian log y + log(1 - y), by softplus."""

    codomain = constraints.unit_interval

    def _call(self, x: Any) -> Any:
        about = finfo(x.dtype)
        return F.sigmoid(x).clamp(min=about.tiny, max=1.0 - about.eps)

    def _inverse(self, y: Any) -> Any:
        about = finfo(y.dtype)
        y = y.clamp(min=about.tiny, max=1.0 - about.eps)
        return y.log() - (-y).log1p()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return -softplus(-x) - softplus(x)


class SoftplusTransform(_Plain):
    """y = log(1 + exp(x)), onto the positive numbers; log-Jacobian log σ(x)."""

    codomain = constraints.positive

    def _call(self, x: Any) -> Any:
        return softplus(x)

    def _inverse(self, y: Any) -> Any:
        return (-y).expm1().neg().log() + y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return -softplus(-x)


class TanhTransform(_Plain):
    """y = tanh(x), log-Jacobian log(1 - y²). Where y rounds to ±1 the inverse is infinite: use the cache."""

    codomain = constraints.interval(-1.0, 1.0)

    def _call(self, x: Any) -> Any:
        return x.tanh()

    def _inverse(self, y: Any) -> Any:
        return F.atanh(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return 2.0 * (math.log(2.0) - x - softplus(-2.0 * x))  # log(1 - tanh²), without its rounding


class AbsTransform(_Plain):
    """y = |x|; not a bijection, the inverse is y itself, and there is no log-Jacobian."""

    bijective = False
    codomain = constraints.positive

    @property
    def sign(self) -> int:
        raise NotImplementedError

    def _call(self, x: Any) -> Any:
        return x.abs()

    def _inverse(self, y: Any) -> Any:
        return y


class AffineTransform(Transform):
    """y = loc + scale · x, elementwise, for numbers (event_dim 0), vectors (1) or more; log-Jacobian Σ log |scale|."""

    bijective = True

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.loc, self.scale, self._event_dim = loc, scale, event_dim

    @property
    def event_dim(self) -> int:
        return self._event_dim

    @property
    def domain(self) -> Any:  # type: ignore[override]
        """All numbers."""
        return constraints.independent(constraints.real, self._event_dim) if self._event_dim else constraints.real

    @property
    def codomain(self) -> Any:  # type: ignore[override]
        """All numbers."""
        return self.domain

    @property
    def sign(self) -> Any:
        return self.scale.sign() if hasattr(self.scale, "sign") else int(math.copysign(1, self.scale))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AffineTransform):
            return False
        pairs = ((self.loc, other.loc), (self.scale, other.scale))
        return all(bool(F.as_tensor(a == b).all()) for a, b in pairs)

    __hash__ = object.__hash__

    def _call(self, x: Any) -> Any:
        return self.loc + self.scale * x

    def _inverse(self, y: Any) -> Any:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        log_scale = F.as_tensor(self.scale, dtype=x.dtype, device=x.device).abs().log()
        return sum_rightmost(log_scale.expand(F.broadcast_shapes(x.shape, log_scale.shape)), self._event_dim)

    def forward_shape(self, shape: Any) -> Any:
        return F.broadcast_shapes(shape, getattr(self.loc, "shape", ()), getattr(self.scale, "shape", ()))

    def inverse_shape(self, shape: Any) -> Any:
        return self.forward_shape(shape)


class _Vector(_Plain):
    """A map of vectors."""

    @property
    def sign(self) -> int:
        raise NotImplementedError


class SoftmaxTransform(_Vector):
    """y = softmax(x) over the last dimension (..., K); the inverse is log(y). Not a bijection.

    For densities use StickBreakingTransform.
    """

    bijective = False
    domain, codomain = constraints.real_vector, constraints.simplex

    def _call(self, x: Any) -> Any:
        return F.softmax(x, -1)

    def _inverse(self, y: Any) -> Any:
        return y.log()


class StickBreakingTransform(_Vector):
    """K - 1 numbers (..., K - 1) to K parts (..., K) of a stick: each takes σ(xᵢ - log(K - i)) of what is left of it.

    The last part is what remains; x = 0 gives equal parts. Log-Jacobian Σ log yᵢ + log(1 - share i). Source: Stan
    Development Team, "Stan reference manual", section "Unit simplex".
    """

    domain, codomain = constraints.real_vector, constraints.simplex

    def _shares(self, x: Any) -> Any:
        left = F.arange(x.shape[-1], 0, -1, dtype=x.dtype, device=x.device)
        return x - left.log()

    def _call(self, x: Any) -> Any:
        offset = self._shares(x)
        taken, kept = F.sigmoid(offset), F.sigmoid(-offset)
        one = F.ones((*x.shape[:-1], 1), dtype=x.dtype, device=x.device)
        return F.cat([taken, one], -1) * F.cat([one, kept.cumprod(-1)], -1)

    def _inverse(self, y: Any) -> Any:
        head = y[..., :-1]
        left = (1 - head.cumsum(-1)).clamp(min=finfo(y.dtype).tiny)
        count = F.arange(head.shape[-1], 0, -1, dtype=y.dtype, device=y.device)
        return head.log() - left.log() + count.log()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        # dyᵢ/dxᵢ = yᵢ (1 - share i), and the matrix is triangular
        return (-softplus(self._shares(x)) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        return _last_dim(shape, 1)

    def inverse_shape(self, shape: Any) -> Any:
        return _last_dim(shape, -1)


def _last_dim(shape: Any, more: int) -> Any:
    if len(shape) < 1:
        raise ValueError("Too few dimensions on input")
    return Size((*shape[:-1], shape[-1] + more))


class LowerCholeskyTransform(_Vector):
    """A matrix (..., n, n) to a lower triangle with a positive diagonal: exp of the diagonal, 0 above it."""

    bijective = False
    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _call(self, x: Any) -> Any:
        return x.tril(-1) + F.diag_embed(x.diagonal(dim1=-2, dim2=-1).exp())

    def _inverse(self, y: Any) -> Any:
        return y.tril(-1) + F.diag_embed(y.diagonal(dim1=-2, dim2=-1).log())


class PositiveDefiniteTransform(_Vector):
    """A matrix (..., n, n) to a positive definite one, L Lᵀ with L by LowerCholeskyTransform."""

    bijective = False
    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def _call(self, x: Any) -> Any:
        low = LowerCholeskyTransform()(x)
        return low @ low.mT

    def _inverse(self, y: Any) -> Any:
        return LowerCholeskyTransform().inv(F.cholesky(y))


class CorrCholeskyTransform(_Vector):
    """n (n - 1) / 2 numbers to the Cholesky factor (..., n, n) of a correlation matrix: rows of length 1.

    z = tanh(x) are partial correlations; row i is zᵢⱼ √Π_{k<j} (1 - zᵢₖ²) (D. Lewandowski, D. Kurowicka, H. Joe,
    "Generating random correlation matrices based on vines and extended onion method", 2009).
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky

    def _call(self, x: Any) -> Any:
        eps = finfo(x.dtype).eps
        z = vec_to_tril_matrix(F.tanh(x).clamp(min=-1 + eps, max=1 - eps), diag=-1)
        root = (1 - z * z).sqrt().cumprod(-1)
        one = F.eye(z.shape[-1], dtype=z.dtype, device=z.device)
        left = F.cat([F.ones_like(root[..., :1]), root[..., :-1]], -1)
        return (z + one) * left

    def _inverse(self, y: Any) -> Any:
        left = 1 - (y * y).cumsum(-1)
        before = F.cat([F.ones_like(left[..., :1]), left[..., :-1]], -1)
        z = tril_matrix_to_vec(y, -1) / tril_matrix_to_vec(before, -1).clamp(min=finfo(y.dtype).tiny).sqrt()
        return F.atanh(z)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        left = 1 - (y * y).cumsum(-1)
        below = tril_matrix_to_vec(left, -2)
        stretched = 0.5 * below.log().sum(-1)
        squeezed = -2 * (x + softplus(-2 * x) - math.log(2.0)).sum(-1)
        return stretched + squeezed

    def forward_shape(self, shape: Any) -> Any:
        if len(shape) < 1:
            raise ValueError("Too few dimensions on input")
        n = round((0.25 + 2 * shape[-1]) ** 0.5 + 0.5)
        if n * (n - 1) // 2 != shape[-1]:
            raise ValueError("Input is not a flattened lower-diagonal number")
        return Size((*shape[:-1], n, n))

    def inverse_shape(self, shape: Any) -> Any:
        if len(shape) < 2:
            raise ValueError("Too few dimensions on input")
        if shape[-2] != shape[-1]:
            raise ValueError("Input is not square")
        n = shape[-1]
        return Size((*shape[:-2], n * (n - 1) // 2))


class CatTransform(Transform):
    """Transform i of `tseq` on the i-th of the parts of given `lengths` (1 each) along `dim`."""

    def __init__(
        self, tseq: Sequence[Transform], dim: int = 0, lengths: Sequence[int] | None = None, cache_size: int = 0
    ) -> None:
        super().__init__(cache_size)
        self.transforms = [t.with_cache(cache_size) for t in tseq]
        self.dim, self.lengths = dim, [1] * len(self.transforms) if lengths is None else list(lengths)

    @property
    def domain(self) -> Any:  # type: ignore[override]
        """Each part's own."""
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @property
    def codomain(self) -> Any:  # type: ignore[override]
        """Each part's own."""
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        """Whether all are."""
        return all(t.bijective for t in self.transforms)

    @property
    def length(self) -> int:
        """The size of the dimension `dim`."""
        return sum(self.lengths)

    def _call(self, x: Any) -> Any:
        return F.cat([t(v) for t, v in zip(self.transforms, x.split(self.lengths, self.dim), strict=True)], self.dim)

    def _inverse(self, y: Any) -> Any:
        parts = zip(self.transforms, y.split(self.lengths, self.dim), strict=True)
        return F.cat([t.inv(v) for t, v in parts], self.dim)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        parts = zip(self.transforms, x.split(self.lengths, self.dim), y.split(self.lengths, self.dim), strict=True)
        found = [t.log_abs_det_jacobian(a, b) for t, a, b in parts]
        most = max(t.domain.event_dim for t in self.transforms)
        found = [sum_rightmost(v, most - t.domain.event_dim) for v, t in zip(found, self.transforms, strict=True)]
        dim = self.dim if self.dim < 0 else self.dim - x.dim()
        return F.cat(found, dim + most) if dim + most < 0 else sum(found)


class StackTransform(Transform):
    """Transform i of `tseq` on the i-th slice along `dim`, of which there are as many as transforms."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.transforms, self.dim = [t.with_cache(cache_size) for t in tseq], dim

    @property
    def domain(self) -> Any:  # type: ignore[override]
        """Each slice's own."""
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @property
    def codomain(self) -> Any:  # type: ignore[override]
        """Each slice's own."""
        return constraints.stack([t.codomain for t in self.transforms], self.dim)

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        """Whether all are."""
        return all(t.bijective for t in self.transforms)

    def _call(self, x: Any) -> Any:
        return F.stack([t(x.select(self.dim, i)) for i, t in enumerate(self.transforms)], self.dim)

    def _inverse(self, y: Any) -> Any:
        return F.stack([t.inv(y.select(self.dim, i)) for i, t in enumerate(self.transforms)], self.dim)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        slices = ((t, x.select(self.dim, i), y.select(self.dim, i)) for i, t in enumerate(self.transforms))
        return F.stack([t.log_abs_det_jacobian(a, b) for t, a, b in slices], self.dim)


class CumulativeDistributionTransform(Transform):
    """y = distribution.cdf(x), in [0, 1]; log-Jacobian distribution.log_prob(x). The inverse is `icdf`."""

    bijective = True
    codomain = constraints.unit_interval

    def __init__(self, distribution: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.distribution = distribution

    @property
    def domain(self) -> Any:  # type: ignore[override]
        """The distribution's support."""
        return self.distribution.support

    @property
    def sign(self) -> int:
        return 1

    def _call(self, x: Any) -> Any:
        return self.distribution.cdf(x)

    def _inverse(self, y: Any) -> Any:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return self.distribution.log_prob(x)
