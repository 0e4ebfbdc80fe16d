"""Functions of functions, as in torch.func: derivatives of several kinds, vmap, functional_call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import functional
from .dims import wrap_dim
from .errors import OpError
from .modes import MODES, enable_grad
from .op import GRAPH
from .random import get_rng_state, set_rng_state
from .tape import grad as _grad
from .tensor import Tensor

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "stack_module_state",
    "vjp",
    "vmap",
]


def _map(f: Callable[[Tensor], Any], tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return f(tree)
    if isinstance(tree, dict):
        return {k: _map(f, v) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)([_map(f, v) for v in tree])
    return tree


def _leaves(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _map(found.append, tree)
    return found


def grad_and_value(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that returns (gradient of `func` for its arguments `argnums`, value); trees will do.

    has_aux: `func` returns (value, something else), which is passed on.
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        outer = MODES.get().grad
        with enable_grad():
            inner = list(args)
            for i in numbers:
                inner[i] = _map(_fresh, args[i])
            result = func(*inner, **kwargs)
            value, aux = result if has_aux else (result, None)
            if not isinstance(value, Tensor) or value.array.size != 1:
                raise OpError("grad: the function returns one Tensor with a single element")
            xs = _leaves([inner[i] for i in numbers])
            found = iter(
                _grad(value, xs, create_graph=outer and _records(args), allow_unused=True, materialize_grads=True)
            )
            grads = tuple([_map(lambda _: next(found), args[i]) for i in numbers])
        if not (outer and _records(args)):
            value = value.detach()
        g = grads[0] if isinstance(argnums, int) else grads
        return (g, (value, aux)) if has_aux else (g, value)

    return wrapper


def _records(args: Any) -> bool:
    return any(t.requires_grad for t in _leaves(list(args)))


def _fresh(t: Tensor) -> Tensor:
    if t.requires_grad:
        return GRAPH.alias(t)
    return t.detach().requires_grad_()


def grad(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that returns the gradient of the scalar function `func` for its arguments `argnums`.

    has_aux: `func` returns (value, something else), which is passed on.
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        g, value = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return wrapper


def vjp(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(f(x), the function that maps a vector v to v^T J)."""
    with enable_grad():
        xs = tuple([_fresh(p) for p in primals])
        y = func(*xs)

    def pull(*vectors: Any) -> Any:
        ys = y if isinstance(y, tuple) else (y,)
        vs = vectors[0] if len(vectors) == 1 and isinstance(vectors[0], tuple) else vectors
        return _grad(ys, xs, vs, True, allow_unused=True, materialize_grads=True)

    return _map(lambda t: t.detach(), y), pull


def jvp(func: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    """(f(x), J v) for tuples of primals and tangents."""
    return functional.jvp(func, tuple(primals), tuple(tangents))


def _at(
    func: Callable[..., Any], argnums: Any, compute: Callable[[Callable[..., Any], Any], Any]
) -> Callable[..., Any]:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    @functools.wraps(func)
    def wrapper(*args: Any) -> Any:
        def of_those(*xs: Any) -> Any:
            inner = list(args)
            for i, x in zip(numbers, xs, strict=True):
                inner[i] = x
            return func(*inner)

        chosen = tuple([args[i] for i in numbers])
        return compute(of_those, chosen[0] if isinstance(argnums, int) else chosen)

    return wrapper


def _real(name: str, trees: Any, side: str) -> None:
    """RuntimeError for complex tensors: half of their derivatives would be missing in a Jacobian."""
    found: list[Tensor] = []
    _map(found.append, trees)
    if any(x.is_complex() for x in found):
        raise OpError(f"{name}: Expected all {side} to be real but received complex tensor; take .real and .imag")


def _of_reals(name: str, func: Callable[..., Any], xs: Any) -> Callable[..., Any]:
    _real(name, xs, "inputs")

    @functools.wraps(func)
    def checked(*args: Any) -> Any:
        out = func(*args)
        _real(name, out, "outputs")
        return out

    return checked


def jacrev(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The function that returns the Jacobian, one backward pass per element of the output.

    argnums: the argument, or several.
    """
    return _at(
        func, argnums, lambda f, xs: functional.jacobian(_of_reals("jacrev", f, xs), xs, create_graph=_records((xs,)))
    )


def jacfwd(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The function that returns the Jacobian, one pass per element of the input. argnums: the argument, or several."""
    return _at(
        func,
        argnums,
        lambda f, xs: functional.jacobian(
            _of_reals("jacfwd", f, xs), xs, create_graph=_records((xs,)), strategy="forward-mode"
        ),
    )


def hessian(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The function that returns the Hessian of a scalar function. argnums: the argument, or several."""
    return _at(
        func, argnums, lambda f, xs: functional.hessian(_of_reals("hessian", f, xs), xs, create_graph=_records((xs,)))
    )


def _slices(tree: Any, dims: Any, found: list[tuple[Any, int]]) -> Any:
    """`tree` with its mapped tensors as places in `found`, which gets (tensor, dimension)."""
    if isinstance(dims, (tuple, list)) and isinstance(tree, (tuple, list)):
        return type(tree)([_slices(t, d, found) for t, d in zip(tree, dims, strict=True)])
    if isinstance(tree, dict):
        each = dims if isinstance(dims, dict) else dict.fromkeys(tree, dims)
        return {k: _slices(v, each[k], found) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)([_slices(t, dims, found) for t in tree])
    if dims is None or not isinstance(tree, Tensor):
        return tree
    found.append((tree, wrap_dim(dims, len(tree.shape))))
    return _Place(len(found) - 1)


class _Place(int):
    """Where the tensor stands that belongs here."""


def _at_row(tree: Any, mapped: list[tuple[Any, int]], row: int) -> Any:
    if isinstance(tree, _Place):
        tensor, dim = mapped[tree]
        return GRAPH.select(tensor, dim, row)
    if isinstance(tree, dict):
        return {k: _at_row(v, mapped, row) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)([_at_row(t, mapped, row) for t in tree])
    return tree


def _stacked(rows: list[Any], dims: Any) -> Any:
    first = rows[0]
    if isinstance(first, Tensor):
        return first if dims is None else GRAPH.stack(*rows, dim=dims)
    if isinstance(first, dict):
        each = dims if isinstance(dims, dict) else dict.fromkeys(first, dims)
        return {k: _stacked([r[k] for r in rows], each[k]) for k in first}
    if isinstance(first, (tuple, list)):
        parts = dims if isinstance(dims, (tuple, list)) else (dims,) * len(first)
        columns = [_stacked(list(column), d) for column, d in zip(zip(*rows, strict=True), parts, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else type(first)(columns)
    raise ValueError(f"vmap({type(first).__name__}): the function must return tensors, or tuples and dicts of them")


def vmap(
    func: Callable[..., Any], in_dims: Any = 0, out_dims: Any = 0, randomness: str = "error", *, chunk_size: Any = None
) -> Any:
    """Map `func` over a dimension of its arguments and stack the results. It calls `func` once for each element.

    in_dims: the dimension to map over for all arguments, or one for each (None: passed on whole); an argument may be a
    tuple, list or dict of tensors, and its entry a like structure. Keyword arguments are mapped over their first
    dimension. out_dims: where the mapped dimension goes in the results. Random numbers differ between the elements,
    unless randomness is "same". chunk_size: PyTorch's, for less memory; without effect.
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        dims = (in_dims,) * len(args) if in_dims is None or isinstance(in_dims, int) else tuple(in_dims)
        if len(dims) != len(args):
            raise ValueError(f"vmap: in_dims has {len(dims)} entries for {len(args)} arguments")
        mapped: list[tuple[Any, int]] = []
        places = [_slices(a, d, mapped) for a, d in zip(args, dims, strict=True)]
        named = {k: _slices(v, 0, mapped) for k, v in kwargs.items()}
        sizes = {t.shape[d] for t, d in mapped}
        if len(sizes) != 1:
            raise ValueError(
                f"vmap: the mapped dimensions must have one size, got {sorted(sizes) or 'no mapped argument'}"
            )
        (size,) = sizes
        state = get_rng_state() if randomness == "same" else None
        rows = []
        for i in range(size):
            if state is not None:
                set_rng_state(state)
            rows.append(func(*_at_row(places, mapped, i), **_at_row(named, mapped, i)))
        if not rows:
            raise ValueError("vmap: the mapped dimension is empty")
        return _stacked(rows, out_dims)

    return wrapper


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(f(x), the function that maps tangents t to J t at this x)."""
    value = func(*primals)
    return _map(lambda t: t.detach(), value), lambda *tangents: jvp(func, primals, tangents)[1]


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters, buffers) of modules of one structure, by name, stacked along a new first dimension. New leaves."""
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({type(m) for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    if len({m.training for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")

    def gathered(walk: str) -> dict[str, Any]:
        found = {}
        for rows in zip(*[getattr(m, walk)() for m in models], strict=True):
            tensors = [t for _, t in rows]
            together = GRAPH.stack(*[t.detach() for t in tensors], dim=0)
            found[rows[0][0]] = together.requires_grad_(tensors[0].requires_grad)
        return found

    return gathered("named_parameters"), gathered("named_buffers")


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: Any,
    args: Any = None,
    kwargs: Any = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with other parameters and buffers, by name; the module's own come back, come what may.

    parameter_and_buffer_dicts: one dictionary or several. tie_weights: a value for one name of a shared tensor is one
    for its other names too. strict: RuntimeError unless all parameters and buffers are given. KeyError for a name
    that the module does not have.
    """
    dicts = parameter_and_buffer_dicts
    merged: dict[str, Any] = {}
    for part in [dicts] if isinstance(dicts, dict) else dicts:
        merged.update(part)
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    owners = dict(module.named_modules(remove_duplicate=False))
    if tie_weights or strict:
        _complete(module, merged, tie_weights, strict)
    former = []
    try:
        for name, value in merged.items():
            path, _, last = name.rpartition(".")
            if path not in owners or not hasattr(owners[path], last):
                raise KeyError(f"functional_call: the module has no parameter or buffer {name!r}")
            owner = owners[path]
            former.append((owner, last, getattr(owner, last)))
            object.__setattr__(owner, last, value)
        return module(*args, **(kwargs or {}))
    finally:
        for owner, last, value in reversed(former):
            object.__setattr__(owner, last, value)


def _complete(module: Any, given: dict[str, Any], tie_weights: bool, strict: bool) -> None:
    """Add the values of tied names to `given`, and look whether all is there."""
    names: dict[int, list[str]] = {}
    for walk in (module.named_parameters, module.named_buffers):
        for name, tensor in walk(remove_duplicate=False):
            names.setdefault(id(tensor), []).append(name)
    known = {name for group in names.values() for name in group}
    if tie_weights:
        for group in names.values():
            values = [given[name] for name in group if name in given]
            if any(value is not values[0] for value in values[1:]):
                raise ValueError(f"functional_call got multiple values for keys {sorted(group)}, which are tied.")
            if values:
                given.update(dict.fromkeys(group, values[0]))
    if strict:
        unexpected, missing = sorted(given.keys() - known), sorted(known - given.keys())
        if unexpected or missing:
            texts = [
                f"{what} key(s): {', '.join(map(repr, keys))}."
                for what, keys in (("Unexpected", unexpected), ("Missing", missing))
                if keys
            ]
            raise RuntimeError(f"functional_call with strict=True: {' '.join(texts)}")
