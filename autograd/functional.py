"""Derivatives of functions: vjp, jvp, jacobian, hessian, hvp, vhp, with PyTorch's signatures.

Forward mode needs no second set of rules. A rule is linear in the incoming gradient: with w a vector at y = f(x) and
g(w) = J^T w, which one backward pass computes, the gradient of <g(w), v> with respect to w is J v.
Source of the construction: J. Townsend, "A new trick for calculating Jacobian vector products", 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import OpError
from .function import pushing
from .modes import enable_grad
from .op import GRAPH
from .tape import grad, zeros_for
from .tensor import Tensor, wrap

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _inputs(inputs: Any, create_graph: bool) -> tuple[bool, tuple[Tensor, ...]]:
    """(were they one tensor, tensors to differentiate by): detached unless the caller wants a graph of it all."""
    single = isinstance(inputs, Tensor)
    found = []
    for x in (inputs,) if single else tuple(inputs):
        if not isinstance(x, Tensor):
            raise TypeError(f"the inputs are Tensors, not {type(x).__name__}")
        if create_graph and x.requires_grad:
            found.append(GRAPH.alias(x))
        else:
            t = wrap(x.array, None)
            t.requires_grad = True
            found.append(t)
    return single, tuple(found)


def _outputs(outputs: Any, name: str) -> tuple[bool, tuple[Tensor, ...]]:
    single = isinstance(outputs, Tensor)
    tensors = (outputs,) if single else tuple(outputs)
    for y in tensors:
        if not isinstance(y, Tensor):
            raise TypeError(f"{name}: the function returns Tensors, not {type(y).__name__}")
    return single, tensors


def _vectors(v: Any, like: tuple[Tensor, ...], name: str) -> tuple[Tensor, ...]:
    if v is None:
        if len(like) != 1 or like[0].array.size != 1:
            raise OpError(f"{name}: the vector v can only be None where there is a single element")
        return (zeros_for(like[0]) + 1,)
    vectors = (v,) if isinstance(v, Tensor) else tuple(v)
    if len(vectors) != len(like) or any(a.array.shape != b.array.shape for a, b in zip(vectors, like, strict=True)):
        raise OpError(
            f"{name}: v has shapes {[list(a.shape) for a in vectors]}, and should have {[list(b.shape) for b in like]}"
        )
    return vectors


def pull(
    outputs: Any, inputs: Any, vectors: Any, create_graph: bool, strict: bool, retain: bool | None = None
) -> tuple[Tensor, ...]:
    """v^T J for each input, zeros where nothing depends on it; strict: RuntimeError there."""
    live = [(y, v) for y, v in zip(outputs, vectors, strict=True) if y.requires_grad]
    if not live:
        if strict:
            raise OpError("the output does not depend on the inputs")
        return tuple([zeros_for(x) for x in inputs])
    ys, vs = zip(*live, strict=True)
    found = grad(ys, inputs, vs, retain, create_graph, allow_unused=True)
    if strict and any(g is None for g in found):
        raise OpError(f"the output does not depend on input {[g is None for g in found].index(True)}")
    return tuple([zeros_for(x) if g is None else g for x, g in zip(inputs, found, strict=True)])


def _unwrap(single: bool, values: tuple[Any, ...]) -> Any:
    return values[0] if single else values


def _detached(values: tuple[Tensor, ...], create_graph: bool) -> tuple[Tensor, ...]:
    return values if create_graph else tuple([wrap(y.array, None) for y in values])


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(f(x), v^T J): the product of a vector with the Jacobian of `func` at `inputs`. One backward pass.

    create_graph: the result can be differentiated again. strict: RuntimeError where an output does not depend on an
    input.
    """
    with enable_grad():
        one_in, xs = _inputs(inputs, create_graph)
        one_out, ys = _outputs(func(*xs), "vjp")
        found = pull(ys, xs, _vectors(v, ys, "vjp"), create_graph, strict)
    return _unwrap(one_out, _detached(ys, create_graph)), _unwrap(one_in, found)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(f(x), J v): the derivative of `func` at `inputs` in the direction v. Two backward passes (see the module).

    create_graph and strict: as in `vjp`.
    """
    with enable_grad():
        _, xs = _inputs(inputs, create_graph)
        vs = _vectors(v, xs, "jvp")
        one_out, ys = _outputs(func(*xs), "jvp")
        ws = tuple([zeros_for(y) for y in ys])
        for w in ws:
            w.requires_grad = True
        with pushing():
            pulled = pull(ys, xs, ws, True, strict)
        found = pull(pulled, ws, vs, create_graph, False)
    return _unwrap(one_out, _detached(ys, create_graph)), _unwrap(one_out, _detached(found, create_graph))


def _jacobian_rows(y: Tensor, xs: tuple[Tensor, ...], create_graph: bool, strict: bool) -> tuple[Tensor, ...]:
    """d y / d x for each x, of shape y.shape + x.shape: one backward pass for each element of y."""
    size, shape = y.array.size, tuple(y.array.shape)
    flat = GRAPH.reshape(y, (size,))
    rows = [pull((flat[i],), xs, (zeros_for(flat[i]) + 1,), create_graph, strict, retain=True) for i in range(size)]
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in xs]
    found = []
    for x, column in zip(xs, columns, strict=True):
        whole = GRAPH.stack(*column, dim=0) if column else GRAPH.zeros_of(x, (0, *x.array.shape), x.array.dtype)
        found.append(GRAPH.reshape(whole, (*shape, *x.array.shape)))
    return tuple(found)


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of `func` at `inputs`: for each output and input a tensor of shape output.shape + input.shape.

    A single tensor, a tuple, or a tuple of tuples, as the function takes and returns one or several. `strategy`:
    "reverse-mode" makes one pass per element of the output, "forward-mode" one per element of the input. create_graph,
    strict: as in `vjp`. vectorize: PyTorch's, without effect.
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError(f"jacobian: strategy is 'reverse-mode' or 'forward-mode', not {strategy!r}")
    with enable_grad():
        one_in, xs = _inputs(inputs, create_graph)
        one_out, ys = _outputs(func(*xs), "jacobian")
        if any(y.is_complex() for y in ys):
            raise OpError("jacobian: the outputs must be real, got complex ones; take .real and .imag")
        rows = blocks(xs, ys, create_graph, strict, strategy == "forward-mode")
    return _unwrap(one_out, tuple([_unwrap(one_in, row) for row in rows]))


def blocks(xs: tuple[Tensor, ...], ys: tuple[Tensor, ...], create_graph: bool, strict: bool, forward: bool) -> Any:
    """For each y the blocks of the Jacobian, one for each x. forward: one pass for each element of the xs."""
    if forward:
        return _jacobian_columns(xs, ys, create_graph)
    return tuple([_detached(_jacobian_rows(y, xs, create_graph, strict), create_graph) for y in ys])


def _jacobian_columns(xs: tuple[Tensor, ...], ys: tuple[Tensor, ...], create_graph: bool) -> Any:
    ws = tuple([zeros_for(y) for y in ys])
    for w in ws:
        w.requires_grad = True
    with pushing():
        pulled = pull(ys, xs, ws, True, False)
    table = []
    for x, p in zip(xs, pulled, strict=True):
        rows = _jacobian_rows(p, ws, create_graph, False) if p.requires_grad else tuple([None] * len(ws))
        table.append((x, rows))
    found = []
    for j, y in enumerate(ys):
        row = []
        for x, rows in table:
            shape = (*y.array.shape, *x.array.shape)
            if rows[j] is None:
                row.append(GRAPH.zeros_of(x, shape, x.array.dtype))
                continue
            n = x.array.ndim
            order = (*range(n, n + y.array.ndim), *range(n))
            row.append(GRAPH.permute(rows[j], order) if order else rows[j])
        found.append(_detached(tuple(row), create_graph))
    return tuple(found)


def _scalar(func: Callable[..., Any], name: str) -> Callable[..., Tensor]:
    def checked(*xs: Any) -> Tensor:
        y = func(*xs)
        if not isinstance(y, Tensor) or y.array.size != 1:
            raise OpError(f"{name}: the function returns one Tensor with a single element")
        return GRAPH.reshape(y, ())

    return checked


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The Hessian of a scalar function: for each pair of inputs a tensor of shape first.shape + second.shape.

    create_graph and strict: as in `vjp`; vectorize and outer_jacobian_strategy: as in `jacobian`.
    """
    scalar, single = _scalar(func, "hessian"), isinstance(inputs, Tensor)

    def slope(*xs: Tensor) -> Any:
        y = scalar(*xs)
        return _unwrap(single, pull((y,), xs, (zeros_for(y) + 1,), True, strict))

    return jacobian(slope, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(f(x), H v): the Hessian of a scalar function times a vector. As `vhp`, the Hessian being symmetric.

    create_graph and strict: as in `vjp`.
    """
    return vhp(func, inputs, v, create_graph, strict)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(f(x), v^T H): a vector times the Hessian of a scalar function, in two backward passes, without the Hessian.

    create_graph and strict: as in `vjp`.
    """
    scalar = _scalar(func, "vhp")
    with enable_grad():
        one_in, xs = _inputs(inputs, create_graph)
        y = scalar(*xs)
        vs = _vectors(v, xs, "vhp")
        slopes = pull((y,), xs, (zeros_for(y) + 1,), True, strict)
        found = pull(slopes, xs, vs, create_graph, False)
    return _detached((y,), create_graph)[0], _unwrap(one_in, _detached(found, create_graph))


# -- PyTorch's own helpers, which libraries import ---------------------------------------------------------------------


def _as_tuple(inp: Any, arg_name: str | None = None, fn_name: str | None = None) -> tuple[bool, tuple[Tensor, ...]]:
    """(whether `inp` is a tuple, its tensors as one). TypeError, which names argument and function, for others."""
    found = inp if isinstance(inp, tuple) else (inp,)
    for x in found:
        if not isinstance(x, Tensor):
            what = f"the {arg_name} of {fn_name}" if arg_name else "what is given"
            raise TypeError(f"{what} must be a Tensor or a tuple of Tensors, and holds a {type(x).__name__}")
    return isinstance(inp, tuple), found


def _grad_preprocess(inputs: tuple[Tensor, ...], create_graph: bool, need_graph: bool) -> tuple[Tensor, ...]:
    """New handles on tensors: in their graph with `create_graph`, else cut from it, and leaves with `need_graph`."""
    found = []
    for x in inputs:
        t = GRAPH.alias(x) if create_graph and x.requires_grad else x.detach()
        found.append(t if t.requires_grad else t.requires_grad_(need_graph))
    return tuple(found)


def _grad_postprocess(inputs: Any, create_graph: bool) -> Any:
    """Tensors, in tuples or tuples of tuples, cut from their graph unless `create_graph`."""
    if isinstance(inputs, Tensor):
        return inputs if create_graph else inputs.detach()
    return tuple([_grad_postprocess(x, create_graph) for x in inputs])


def _tuple_postprocess(res: Any, to_unpack: Any) -> Any:
    """The one element of `res` where `to_unpack` says False: that it stands for no tuple; of two, outer and inner."""
    if isinstance(to_unpack, tuple):
        outer, inner = to_unpack
        res = res if inner else tuple([x[0] for x in res])
        return res if outer else res[0]
    return res if to_unpack else res[0]


def _construct_standard_basis_for(tensors: tuple[Tensor, ...], tensor_numels: tuple[int, ...]) -> tuple[Tensor, ...]:
    """The unit vectors of all elements of `tensors` together, as rows: (Σ numels, numel) for each, of its dtype.

    Libraries that work out Jacobians by `_vmap` import it.
    """
    if len(tensors) != len(tensor_numels) or not tensors:
        raise OpError("_construct_standard_basis_for needs tensors, and the number of elements of each")
    rows, found, start = sum(tensor_numels), [], 0
    for t, n in zip(tensors, tensor_numels, strict=True):
        part = t.new_zeros((rows, n))
        part.diagonal(-start).fill_(1)
        found.append(part)
        start += n
    return tuple(found)
