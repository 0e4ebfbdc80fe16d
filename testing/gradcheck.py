"""`gradcheck` and `gradgradcheck` with the arguments of `torch.autograd.gradcheck`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import backends
from ..autograd import OPS, Tensor, functional, grad
from ..autograd.tensor import wrap
from ..backends import np
from .calls import host
from .properties import GradcheckError

__all__ = ["gradcheck", "gradgradcheck"]


def _tuple(x: Any) -> tuple[Any, ...]:
    return (x,) if isinstance(x, Tensor) else tuple(x)


def _roots(func: Callable[..., Any], inputs: Sequence[Any]) -> list[Tensor]:
    return [t for t in _tuple(func(*inputs)) if isinstance(t, Tensor) and t.requires_grad]


def _in_parts(func: Callable[..., Any], given: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The same function of real numbers: complex tensors, inputs and outputs, are pairs of parts."""

    def parts(x: Any) -> Any:
        return OPS["view_as_real"](x) if isinstance(x, Tensor) and x.is_complex() else x

    def leaf(x: Any) -> Any:
        return parts(x.detach()).clone().requires_grad_(x.requires_grad) if parts(x) is not x else x

    def real(*args: Any) -> Any:
        whole = [OPS["view_as_complex"](a) if was else a for a, was in zip(args, paired, strict=True)]
        out = func(*whole)
        return parts(out) if isinstance(out, Tensor) else tuple([parts(x) for x in out])

    paired = [parts(x) is not x for x in given]
    return real, tuple([leaf(x) for x in given])


def _one(like: Tensor, index: tuple[int, ...], value: float = 1.0) -> Tensor:
    seed = np.zeros(like.array.shape, host(like).dtype)
    seed[index] = value
    return wrap(backends.of(like.array).asarray(seed), None)


def _detached(x: Any) -> Any:
    """A leaf of its own with a copy of the data, so that nothing is added to the caller's tensors."""
    if not isinstance(x, Tensor):
        return x
    return wrap(backends.of(x.array).asarray(host(x).copy()), None).requires_grad_(x.requires_grad)


def _analytic(func: Callable[..., Any], inputs: Sequence[Any], live: Sequence[int]) -> list[list[Any]]:
    """The Jacobian of each output for each live input, as matrices (input elements, output elements)."""
    outputs = _roots(func, inputs)
    found = []
    for out in outputs:
        columns: list[list[Any]] = [[] for _ in live]
        for index in np.ndindex(out.array.shape):
            seed = _one(out, index)
            grads = grad(out, [inputs[i] for i in live], seed, retain_graph=True, allow_unused=True)
            for column, i, g in zip(columns, live, grads, strict=True):
                column.append(np.zeros(inputs[i].array.size) if g is None else host(g).reshape(-1))
        found.append(
            [np.stack(c, 1) if c else np.zeros((inputs[i].array.size, 0)) for c, i in zip(columns, live, strict=True)]
        )
    return found


def _forward(func: Callable[..., Any], inputs: Sequence[Any], live: Sequence[int]) -> list[list[Any]]:
    """The same by forward mode."""
    xs, ys = tuple([inputs[i] for i in live]), tuple(_roots(func, inputs))
    table = functional.blocks(xs, ys, False, False, True)
    return [
        [host(block).reshape(y.array.size, x.array.size).T for x, block in zip(xs, row, strict=True)]
        for y, row in zip(ys, table, strict=True)
    ]


def _numeric(func: Callable[..., Any], inputs: Sequence[Any], live: Sequence[int], eps: float) -> list[list[Any]]:
    """The same by central differences."""
    rows: list[list[list[Any]]] = []

    def values(i: int, index: tuple[int, ...], move: float) -> list[Any]:
        changed = host(inputs[i]).copy()
        changed[index] += move
        at = list(inputs)
        at[i] = wrap(backends.of(inputs[i].array).asarray(changed), None).requires_grad_()
        return [host(t).astype(np.float64).reshape(-1) for t in _roots(func, at)]

    for i in live:
        rows.append([])
        for index in np.ndindex(inputs[i].array.shape):
            above, below = values(i, index, eps), values(i, index, -eps)
            rows[-1].append([(a - b) / (2 * eps) for a, b in zip(above, below, strict=True)])
    count = len(_roots(func, inputs))
    sizes = [t.array.size for t in _roots(func, inputs)]
    return [
        [np.stack([r[k] for r in part]) if part else np.zeros((0, sizes[k])) for part in rows] for k in range(count)
    ]


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """True when the gradients of `func` equal central differences, element by element: |a - n| <= atol + rtol |n|.

    inputs: a Tensor or a tuple; those with requires_grad=True are differentiated and should be float64.
    eps: the step. nondet_tol: how far two backward passes may differ. check_undefined_grad: an output that gets no
    gradient must count as one that gets zeros. check_grad_dtypes: gradients have their input's dtype.
    check_batched_grad: is_grads_batched gives the gradients one by one. check_forward_ad: forward mode gives them,
    too, by a Function's `jvp` where it has one. check_backward_ad=False: no backward pass is made, and what would
    check one is left out. fast_mode: one random projection instead of all elements. check_batched_forward_grad,
    masked: PyTorch's, without effect. Raises GradcheckError (RuntimeError) where it fails, or returns False with
    raise_exception=False; ValueError where no input requires grad. Complex numbers are checked as pairs of parts.
    As `torch.autograd.gradcheck`.
    """
    if not (check_forward_ad or check_backward_ad):
        raise ValueError("at least one of check_forward_ad or check_backward_ad must be True")
    func, given = _in_parts(func, _tuple(inputs))
    live = [i for i, x in enumerate(given) if isinstance(x, Tensor) and x.requires_grad]
    if not live:
        raise ValueError("gradcheck expects at least one input tensor with requires_grad=True")
    fixed = [_detached(x) for x in given]
    try:
        for i in live:
            if host(fixed[i]).dtype != np.float64:
                raise GradcheckError(
                    f"input {i} is {host(fixed[i]).dtype}: differences need float64, or rounding drowns them"
                )
        if check_forward_ad:
            _check_jacobians(_forward, func, fixed, live, eps, atol, rtol)
        if check_backward_ad:
            if fast_mode:
                _check_fast(func, fixed, live, eps, atol, rtol)
            else:
                _check_jacobians(_analytic, func, fixed, live, eps, atol, rtol)
            _check_repeats(func, fixed, live, nondet_tol)
            if check_undefined_grad:
                _check_undefined(func, fixed, live)
            if check_grad_dtypes:
                _check_dtypes(func, fixed, live)
            if check_batched_grad:
                _check_batched(func, fixed, live)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check_jacobians(
    found: Callable[..., Any], func: Any, inputs: Any, live: Any, eps: float, atol: float, rtol: float
) -> None:
    analytic, numeric = found(func, inputs, live), _numeric(func, inputs, live, eps)
    for o, (have, want) in enumerate(zip(analytic, numeric, strict=True)):
        for i, a, n in zip(live, have, want, strict=True):
            if not np.allclose(a, n, rtol=rtol, atol=atol):
                raise GradcheckError(
                    f"Jacobian mismatch for output {o} with respect to input {i},\nnumerical:\n{n}\nanalytical:\n{a}"
                )


def _check_fast(func: Any, inputs: Any, live: Any, eps: float, atol: float, rtol: float) -> None:
    random = np.random.default_rng(0)
    moves = {i: random.standard_normal(inputs[i].array.shape) for i in live}
    for o, out in enumerate(_roots(func, inputs)):
        weight = random.standard_normal(out.array.shape)
        seed = wrap(backends.of(out.array).asarray(weight.astype(host(out).dtype)), None)
        grads = grad(out, [inputs[i] for i in live], seed, retain_graph=True, allow_unused=True)
        a = sum(float((host(g) * moves[i]).sum()) for i, g in zip(live, grads, strict=True) if g is not None)

        def value(t: float, o: int = o, weight: Any = weight) -> float:
            at = [
                wrap(backends.of(x.array).asarray(host(x) + t * moves[i]), None).requires_grad_() if i in moves else x
                for i, x in enumerate(inputs)
            ]
            return float((host(_roots(func, at)[o]) * weight).sum())

        n = (value(eps) - value(-eps)) / (2 * eps)
        if abs(a - n) > atol * max(1.0, np.sqrt(weight.size)) + rtol * abs(n):
            raise GradcheckError(
                f"gradients failed to match for output {o} in fast mode: numerical {n}, analytical {a}"
            )


def _check_repeats(func: Any, inputs: Any, live: Any, tolerance: float) -> None:
    first, second = _analytic(func, inputs, live), _analytic(func, inputs, live)
    for o, (one, two) in enumerate(zip(first, second, strict=True)):
        for i, a, b in zip(live, one, two, strict=True):
            if a.size and np.abs(a - b).max() > tolerance:
                raise GradcheckError(
                    f"backward is not repeatable: two runs differ by {np.abs(a - b).max()} (output {o}, input {i}), "
                    f"more than nondet_tol={tolerance}"
                )


def _check_undefined(func: Any, inputs: Any, live: Any) -> None:
    outputs = _roots(func, inputs)
    leaves = [inputs[i] for i in live]
    for o, out in enumerate(outputs):
        weights = [np.ones(t.array.shape, host(t).dtype) * (k == o) for k, t in enumerate(outputs)]
        seeds = [wrap(backends.of(t.array).asarray(w), None) for t, w in zip(outputs, weights, strict=True)]
        alone = grad(out, leaves, seeds[o], retain_graph=True, allow_unused=True)
        zeros = grad(outputs, leaves, seeds, retain_graph=True, allow_unused=True)
        for i, a, b in zip(live, alone, zeros, strict=True):
            a, b = (np.zeros(inputs[i].array.shape) if g is None else host(g) for g in (a, b))
            if not np.allclose(a, b, equal_nan=True):
                raise GradcheckError(
                    f"outputs without a gradient and with one of zeros differ for input {i} (output {o})"
                )


def _check_dtypes(func: Any, inputs: Any, live: Any) -> None:
    for o, out in enumerate(_roots(func, inputs)):
        seed = wrap(backends.of(out.array).asarray(np.ones(out.array.shape, host(out).dtype)), None)
        grads = grad(out, [inputs[i] for i in live], seed, retain_graph=True, allow_unused=True)
        for i, g in zip(live, grads, strict=True):
            if g is not None and g.dtype != inputs[i].dtype:
                raise GradcheckError(
                    f"the gradient of output {o} for input {i} is {g.dtype}, the input {inputs[i].dtype}"
                )


def _check_batched(func: Any, inputs: Any, live: Any) -> None:
    for o, out in enumerate(_roots(func, inputs)):
        rows = np.random.default_rng(0).standard_normal((3, *out.array.shape)).astype(host(out).dtype)
        place, leaves = backends.of(out.array).asarray, [inputs[i] for i in live]
        found = grad(out, leaves, wrap(place(rows), None), retain_graph=True, allow_unused=True, is_grads_batched=True)
        for k, row in enumerate(rows):
            single = grad(out, leaves, wrap(place(row), None), retain_graph=True, allow_unused=True)
            for i, b, s in zip(live, found, single, strict=True):
                if (b is None) != (s is None) or (b is not None and not np.allclose(host(b)[k], host(s))):
                    raise GradcheckError(
                        f"the batched gradient of output {o} for input {i} differs from the single ones"
                    )


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """True when the gradients of `func`'s gradients equal central differences, with respect to inputs and grad_outputs.

    grad_outputs: one tensor per output; random ones if not given (with `gen_non_contig_grad_outputs` in strided
    memory). check_fwd_over_rev, check_rev_over_rev: by forward mode of the gradients, by their gradients. The other
    arguments are `gradcheck`'s. As `torch.autograd.gradgradcheck`.

    Second derivatives: the first ones are taken with create_graph=True.
    """
    func, given = _in_parts(func, _tuple(inputs))
    if grad_outputs is not None:
        grad_outputs = _in_parts(func, _tuple(grad_outputs))[1]
    outputs = _roots(func, given)
    if grad_outputs is None:
        random, made = np.random.default_rng(0), []
        for t in outputs:
            value = random.standard_normal(t.array.shape).astype(host(t).dtype)
            if gen_non_contig_grad_outputs and value.ndim:
                value = np.repeat(value, 2, axis=-1)[..., ::2]
            made.append(wrap(backends.of(t.array).asarray(value), None).requires_grad_())
        grad_outputs = made
    seeds = _tuple(grad_outputs)
    live = [i for i, x in enumerate(given) if isinstance(x, Tensor) and x.requires_grad]

    def first(*args: Any) -> tuple[Any, ...]:
        at, weights = args[: len(given)], args[len(given) :]
        found = grad(_roots(func, at), [at[i] for i in live], weights, create_graph=True, allow_unused=True)
        return tuple([g for g in found if g is not None])

    return gradcheck(
        first,
        (*given, *seeds),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad,
        check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev,
        fast_mode=fast_mode,
    )
