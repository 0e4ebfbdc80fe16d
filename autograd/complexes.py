"""Complex tensors: what of the engine is different for them.

The gradient of a real loss L for z = x + iy is ∂L/∂x + i ∂L/∂y, so that `z - rate * grad` goes downhill; it is twice
Wirtinger's derivative for the conjugate of z, and PyTorch's convention. For a holomorphic w = f(z) that makes
grad z = grad w · conj(f'(z)). The rules are written for real numbers: they compute g · f' out of what they keep by
operations that are themselves holomorphic, with real coefficients. So the same rule, given the conjugates of what it
keeps, computes g · conj(f'), to every order; no rule is written twice. Ops that are not holomorphic (`real`, `conj`,
Fourier transforms with their complex coefficients) say so by `conjugated=False` and have rules of their own; others
are compositions of these (`abs` is the hypotenuse of both parts). An op is for complex numbers where the table below
says so, and every other one refuses them. Backends' kernels serve real numbers; complex ones take the generic forwards.

Turned down: conjugates in each rule, which real numbers would pay for and every author of a rule would have to know.

Sources: W. Wirtinger, "Zur formalen Theorie der Funktionen von mehr komplexen Veränderlichen", 1927; K. Kreutz-Delgado,
"The complex gradient operator and the CR-calculus", 2009.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import backends
from .errors import OpError
from .namespaces import GRAPH, OPS
from .plan import Plan
from .tensor import Tensor

if TYPE_CHECKING:
    from .op import Op

__all__ = [
    "COMPOSED",
    "INSTEAD",
    "SERVED",
    "ComplexPlan",
    "NotForComplex",
    "complex_kernel",
    "instead",
    "is_complex",
    "refuse",
]

_SERVED = (
    "add sub mul div neg reciprocal square lerp pow matmul linear contract conv conv_input conv_weight "
    "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sigmoid "
    "sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
    "sum mean prod cumsum cumprod linear_scan shift "
    "inv solve solve_triangular det cofactor determined lu_parts matrix_exp "
    "alias clone cast bitcast zeros_of copy fill to_device "
    "reshape unsqueeze squeeze flatten unflatten permute transpose expand view_assign "
    "flip roll repeat diagonal diagonal_adjoint tril triu windows windows_adjoint as_strided as_strided_adjoint "
    "slicing slicing_adjoint index index_adjoint index_put last_put concat stack split unbind "
    "gather scatter_add scatter last_scattered where constant_pad_nd axis_map im2col col2im embedding embedding_grad "
    "eq ne isclose isnan isinf isfinite logical_not logical_and logical_or logical_xor any all count_nonzero nonzero"
)
#: real op -> the composite that stands for it on complex numbers
INSTEAD = {
    "abs": "complex_abs",
    "cholesky": "complex_cholesky",
    "eigh": "complex_eigh",
    "logdet": "complex_logdet",
    "pinv": "complex_pinv",
    "qr": "complex_qr",
    "sign": "complex_sign",
    "slogdet": "complex_slogdet",
    "std": "complex_std",
    "svd": "complex_svd",
    "var": "complex_var",
    "vector_norm": "complex_norm",
}
#: composites that say what they do of complex numbers, too
COMPOSED = frozenset(
    {
        *{"addcdiv", "addcmul", "bilinear", "channel_shuffle", "cross", "index_select", "l1_loss", "masked_fill"},
        *{"narrow", "normalize", "pad", "pairwise_distance", "pixel_shuffle", "pixel_unshuffle", "select"},
        *{"softsign", "tanhshrink", "complex_angle", *INSTEAD.values()},
    }
)
#: ops that are holomorphic where they are differentiable, and those that have no gradient
SERVED = frozenset(_SERVED.split())


class NotForComplex(OpError, NotImplementedError):
    """An op that is for real numbers alone was given complex ones."""


def instead(name: str) -> Op:
    """What stands for the op `name` on complex numbers."""
    if INSTEAD[name] not in OPS:
        from .ops import complex_decompositions  # noqa: F401  late: few programs factorise complex matrices
    return OPS[INSTEAD[name]]


def is_complex(x: Any) -> bool:
    """True for an array of complex numbers, and for such a number."""
    kind = getattr(x, "dtype", None)
    return type(x) is complex if kind is None else kind.kind == "c"


def _generic(op: Op, backend: backends.Backend) -> Callable[..., Any]:
    """The forward of an op as it is written, without a backend's kernels for real numbers."""
    if not hasattr(op, "compose"):
        return backend.guarded(backend.generic(op.forward))
    return partial(op.forward, _generic_namespace(backend))


class _Generic:
    """`F` of a rule on raw complex arrays: forwards as they are written."""

    def __init__(self, backend: backends.Backend) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        try:
            found = _generic(OPS[name], self.backend)
        except KeyError:
            raise AttributeError(f"there is no op {name!r}") from None
        if name in INSTEAD:
            found = _either(found, _generic(instead(name), self.backend))
        setattr(self, name, found)
        return found


def _either(real: Callable[..., Any], complex: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: (complex if any(map(is_complex, args)) else real)(*args, **kwargs)


_namespaces: dict[str, _Generic] = {}


def _generic_namespace(backend: backends.Backend) -> _Generic:
    return _namespaces.setdefault(backend.name, _Generic(backend))


def complex_kernel(op: Op, like: Any, arrays: list[Any]) -> Callable[..., Any]:
    """What computes `op` on complex arrays, on the backend of `like`. NotImplementedError where it is for real ones."""
    if op.conjugated and op.name not in SERVED:
        refuse(op, arrays)
    return getattr(_generic_namespace(backends.of(like)), op.name)


def refuse(op: Op, arrays: list[Any]) -> None:
    """NotImplementedError: complex arrays among those of an op that is for real numbers."""
    double = any(getattr(x, "dtype", None) == "complex128" for x in arrays)
    kind = "ComplexDouble" if double else "ComplexFloat"
    raise NotForComplex(
        f"\"{op.name}\" not implemented for '{kind}': it is for real numbers; take .real, .imag or .abs() first"
    )


class ComplexPlan(Plan):
    """The plan of a call on complex numbers: rules get the conjugates of what was kept."""

    __slots__ = ()

    def __missing__(self, F: Any) -> tuple[Any, ...]:
        namespace = F if F is GRAPH else _generic_namespace(F.backend)
        found = []
        for targets, rule, start, count in self.rules:
            function = _on_conjugates(rule.function, namespace, self.op)
            found.append((targets, function, start, count, False))
        result = self[F] = tuple(found)
        return result


def _on_conjugates(rule: Callable[..., Any], F: Any, op: Op) -> Callable[..., Any]:
    several = op.outputs != 1

    def function(namespace: Any, g: Any, *values: Any) -> Any:
        given = g.complete(F) if several else g
        return rule(F, given, *([_conjugate(v) for v in values] if op.conjugated else values))

    return function


def _conjugate(x: Any) -> Any:
    if type(x) is tuple or type(x) is list:
        return type(x)([_conjugate(v) for v in x])
    if isinstance(x, Tensor):
        return OPS["conj"](x) if is_complex(x.array) else x
    return x.conjugate() if is_complex(x) else x
