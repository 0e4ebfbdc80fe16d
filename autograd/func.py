"""Functions of functions, as in torch.func: derivatives of several kinds, vmap, functional_call."""

from __future__ import annotations

import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from . import functional
from .dims import wrap_dim
from .errors import OpError
from .function import pushing
from .modes import MODES, enable_grad
from .op import GRAPH
from .random import get_rng_state, set_rng_state
from .tape import grad as _grad
from .tape import mapping, reachable, zeros_for
from .tensor import Node, Tensor

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
    """`tree` with f(t) in place of each tensor t: tuples, lists and dicts, named and ordered ones, too."""
    if isinstance(tree, Tensor):
        return f(tree)
    if isinstance(tree, dict):
        found = {k: _map(f, v) for k, v in tree.items()}
        return OrderedDict(found) if isinstance(tree, OrderedDict) else found
    if isinstance(tree, (tuple, list)):
        return _like(tree, [_map(f, v) for v in tree])
    return tree


def _like(tree: Any, values: list[Any]) -> Any:
    return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)


def _leaves(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _map(found.append, tree)
    return found


class _Level:
    """One call of a transform: while it is open, its fresh leaves are variables to the transforms inside it."""

    def __init__(self, args: Any, numbers: tuple[int, ...]) -> None:
        self.open = True
        #: the arguments, fresh ones at `numbers`
        self.inner = list(args)
        for i in numbers:
            self.inner[i] = _map(self._fresh, args[i])
        #: the tensors to differentiate by
        self.xs = _leaves([self.inner[i] for i in numbers])

    def _fresh(self, t: Tensor) -> Tensor:
        """`t` to differentiate by: attached to what it was computed from, if anything."""
        return GRAPH.alias(t) if t.requires_grad else own_leaf(t, self)

    def close(self, tree: Any) -> bool:
        """Whether results depend on what lies outside: a parameter of a closure, what an argument was made of."""
        self.open = False
        return reaches_out(_leaves(tree))


def reaches_out(ys: list[Tensor]) -> bool:
    """Whether results depend on a leaf that is no transform's own, or on one of a transform that is under way."""
    if any(y.node is None and y.leaf and _outside(y) for y in ys):
        return True
    nodes = reachable([y.node for y in ys if y.node is not None])
    return any(p is not None and type(p) is not Node and _outside(p) for n in nodes for p in n.parents)


def own_leaf(t: Tensor, level: Any) -> Tensor:
    """`t` as a leaf of a transform's own; `level.open`: whether the transform is under way."""
    t = t.detach().requires_grad_()
    t.level = level  # type: ignore[attr-defined]
    return t


def _outside(leaf: Tensor) -> bool:
    level = leaf.__dict__.get("level")
    return level is None or level.open


def _kept(tree: Any, outer: bool) -> Any:
    """What a function returned, as the caller gets it: recorded only where it depends on what lies outside."""
    return tree if outer and reaches_out(_leaves(tree)) else _map(lambda t: t.detach(), tree)


def _numbers(argnums: Any) -> tuple[int, ...]:
    return (argnums,) if isinstance(argnums, int) else tuple(argnums)


def _parted(name: str, result: Any, has_aux: bool) -> tuple[Any, Any]:
    """(the value, what comes with it) of a function's result."""
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise OpError(f"{name}: with has_aux the function returns a tuple of two, (output, aux)")
    return result


def _tensors(name: str, tree: Any) -> list[Tensor]:
    """The tensors of a function's output, which must be nothing else."""

    def check(part: Any) -> None:
        if isinstance(part, dict):
            part = tuple(part.values())
        if isinstance(part, (tuple, list)):
            for p in part:
                check(p)
        elif not isinstance(part, Tensor):
            raise OpError(f"{name}: Expected the function to return only tensors, got unexpected type {type(part)}")

    check(tree)
    return _leaves(tree)


def grad_and_value(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that returns (gradient of `func` for its arguments `argnums`, value); trees will do.

    has_aux: `func` returns (value, something else), which is passed on.
    """
    numbers = _numbers(argnums)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        outer = MODES.get().grad
        with enable_grad():
            level = _Level(args, numbers)
            value, aux = _parted("grad", func(*level.inner, **kwargs), has_aux)
            if not isinstance(value, Tensor) or value.array.size != 1:
                raise OpError("grad: the function returns one Tensor with a single element")
            xs, records = level.xs, level.close(value) and outer
            found = iter(
                _grad(value, xs, create_graph=records, allow_unused=True, materialize_grads=True)
                if value.requires_grad
                else [zeros_for(x) for x in xs]
            )
            grads = tuple([_map(lambda _: next(found), args[i]) for i in numbers])
        g = grads[0] if isinstance(argnums, int) else grads
        value = value if records else value.detach()
        return (g, (value, _kept(aux, outer))) if has_aux else (g, value)

    return wrapper


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


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(f(x), the function that maps a vector v to v^T J), for trees of tensors, too; v is like the output.

    The function gives one result for each of the primals: a tuple, where there are several. has_aux: `func` returns
    (output, something else), which is the third result here.
    """
    outer = MODES.get().grad
    with enable_grad():
        level = _Level(primals, tuple(range(len(primals))))
        y, aux = _parted("vjp", func(*level.inner), has_aux)
    ys, reaches = _tensors("vjp", y), level.close(y)

    def pull(*vectors: Any) -> Any:
        vs = _leaves(list(vectors))
        if len(vs) != len(ys):
            raise OpError(f"vjp: the vector is built like the output, of {len(ys)} tensors, not {len(vs)}")
        records = MODES.get().grad and (reaches or any(v.requires_grad for v in vs))
        found = iter(functional.pull(ys, level.xs, vs, records, False, True))
        return tuple([_map(lambda _: next(found), p) for p in primals])

    value = _kept(y, outer)
    return (value, pull, _kept(aux, outer)) if has_aux else (value, pull)


def _pushing(name: str, func: Callable[..., Any], primals: Any, has_aux: bool) -> tuple[Any, Any, Callable[..., Any]]:
    """(f(x), what comes with it, the function that maps tangents t to J t), by functional.jvp's construction."""
    outer = MODES.get().grad
    with enable_grad():
        level = _Level(primals, tuple(range(len(primals))))
        y, aux = _parted(name, func(*level.inner), has_aux)
        xs, ys, reaches = level.xs, _tensors(name, y), level.close(y)
        ws = [zeros_for(v).requires_grad_() for v in ys]
        with pushing():
            pulled = functional.pull(ys, xs, ws, True, False)

    def push(tangents: Any) -> Any:
        vs = _leaves(tangents)
        if len(vs) != len(xs):
            raise OpError(f"{name}: tangents are built like the primals, of {len(xs)} tensors, not {len(vs)}")
        for x, v in zip(xs, vs, strict=True):
            if x.array.shape != v.array.shape:
                raise OpError(f"{name}: a tangent has shape {list(v.shape)}, and should have {list(x.shape)}")
        records = MODES.get().grad and (reaches or any(v.requires_grad for v in vs))
        with enable_grad():
            found = iter(functional.pull(pulled, ws, vs, records, False, True))
        return _map(lambda t: next(found) if records else next(found).detach(), y)

    return _kept(y, outer), _kept(aux, outer), push


def jvp(func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """(f(x), J v) for tuples of primals and tangents, which may be trees of tensors.

    has_aux: `func` returns (output, something else), which is the third result. strict: PyTorch's, without effect.
    """
    for what in (primals, tangents):
        if not isinstance(what, tuple):
            raise OpError(f"jvp: Expected primals and tangents to be tuples, got {type(what).__name__}")
    value, aux, push = _pushing("jvp", func, primals, has_aux)
    return (value, push(tangents), aux) if has_aux else (value, push(tangents))


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(f(x), the function that maps tangents t to J t at this x)."""
    value, _, push = _pushing("linearize", func, primals, False)
    return value, lambda *tangents: push(tangents)


def _real(name: str, tensors: list[Tensor], side: str) -> None:
    """RuntimeError for complex tensors: half of their derivatives would be missing in a Jacobian."""
    if any(x.is_complex() for x in tensors):
        raise OpError(f"{name}: Expected all {side} to be real but received complex tensor; take .real and .imag")


def _jacobian(name: str, func: Callable[..., Any], argnums: Any, has_aux: bool, forward: bool | None) -> Any:
    """The function that returns the Jacobian: as the output is built, with blocks as the inputs are built.

    forward: one pass per element of the inputs, not of the outputs; None: what is less.
    """
    numbers = _numbers(argnums)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        outer = MODES.get().grad
        with enable_grad():
            level = _Level(args, numbers)
            _real(name, level.xs, "inputs")
            y, aux = _parted(name, func(*level.inner, **kwargs), has_aux)
            xs, ys, records = level.xs, _tensors(name, y), level.close(y) and outer
            _real(name, ys, "outputs")
            columns = forward
            if columns is None:
                columns = sum([x.array.size for x in xs]) < sum([t.array.size for t in ys])
            found = functional.blocks(tuple(xs), tuple(ys), records, False, columns)
        rows = iter([iter(row) for row in found])

        def block(_: Tensor) -> Any:
            row = next(rows)
            each = tuple([_map(lambda _: next(row), args[i]) for i in numbers])
            return each[0] if isinstance(argnums, int) else each

        result = _map(block, y)
        return (result, _kept(aux, outer)) if has_aux else result

    return wrapper


def jacrev(
    func: Callable[..., Any], argnums: Any = 0, *, has_aux: bool = False, chunk_size: int | None = None
) -> Callable[..., Any]:
    """The function that returns the Jacobian, one backward pass per element of the output.

    argnums: the argument, or several. Outputs and arguments may be trees of tensors: each tensor of the output becomes
    the tree of its blocks, of shape output.shape + input.shape. has_aux: `func` returns (output, something else), and
    the function (Jacobian, something else). chunk_size: PyTorch's, for less memory; without effect.
    """
    return _jacobian("jacrev", func, argnums, has_aux, False)


def jacfwd(
    func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """The function that returns the Jacobian, one pass per element of the input. Options and results as in `jacrev`.

    randomness: PyTorch's, without effect.
    """
    return _jacobian("jacfwd", func, argnums, has_aux, True)


def hessian(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """The function that returns the Hessian, the Jacobian of the Jacobian: of a scalar, or of each element of a tensor.

    argnums: the argument, or several: then a tuple of tuples.
    """
    return _jacobian("hessian", _jacobian("hessian", func, argnums, False, False), argnums, False, None)


def _slices(tree: Any, dims: Any, found: list[tuple[Any, int]]) -> Any:
    """`tree` with its mapped tensors as places in `found`, which gets (tensor, dimension)."""
    if isinstance(dims, (tuple, list)) and isinstance(tree, (tuple, list)):
        return _like(tree, [_slices(t, d, found) for t, d in zip(tree, dims, strict=True)])
    if isinstance(tree, dict):
        each = dims if isinstance(dims, dict) else dict.fromkeys(tree, dims)
        return {k: _slices(v, each[k], found) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return _like(tree, [_slices(t, dims, found) for t in tree])
    if dims is None or not isinstance(tree, Tensor):
        return tree
    if not -tree.array.ndim <= dims < tree.array.ndim:
        raise ValueError(f"vmap: Got in_dim={dims} for a tensor of {tree.array.ndim} dimensions")
    found.append((tree, wrap_dim(dims, tree.array.ndim)))
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
        return _like(tree, [_at_row(t, mapped, row) for t in tree])
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
        return _like(first, columns)
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
            with mapping() if i < size - 1 else contextlib.nullcontext():
                rows.append(func(*_at_row(places, mapped, i), **_at_row(named, mapped, i)))
        if not rows:
            raise ValueError("vmap: the mapped dimension is empty")
        return _stacked(rows, out_dims)

    return wrapper


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
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with replaced(module, parameter_and_buffer_dicts, tie_weights, strict):
        return module(*args, **(kwargs or {}))


@contextlib.contextmanager
def replaced(module: Any, dicts: Any, tie_weights: bool, strict: bool) -> Iterator[None]:
    """A block in which a module has other parameters and buffers, as in `functional_call`."""
    merged: dict[str, Any] = {}
    for part in [dicts] if isinstance(dicts, dict) else dicts:
        merged.update(part)
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
            old = getattr(owner, last)
            former.append((owner, last, old, vars(owner).get("_cr_declared")))
            object.__setattr__(owner, last, value)
            if type(old) is not Tensor and not isinstance(value, type(old)) and not owner._cr_declared_as(last):
                owner._cr_declare(last, "parameter")  # a plain tensor, which the walk would not take for one
        yield
    finally:
        for owner, last, old, declared in reversed(former):
            object.__setattr__(owner, last, old)
            object.__setattr__(owner, "_cr_declared", declared)


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
