"""Einstein summation: pairs of operands are contracted by a matrix product, the cheapest pair first.

`einsum` reads the equation and settles what is particular to an operand (repeated letters, dots, sizes of 1 that
broadcast) with ops of their own; `contract` does the rest, and its rule is a contraction too.
"""

from __future__ import annotations

from math import prod

from ..errors import OpError
from ..op import op
from ..public import function
from ..tensor import Tensor
from .linalg import matmul
from .rearrange import diagonal
from .shape import reshape

__all__ = ["contract", "einsum"]


@op(types="same")
def contract(xp, *operands, subscripts, output):
    """Σ over all labels that are not in `output` of the product of the operands.

    subscripts: for each operand the labels of its dimensions, each once; output: those of the result.
    """
    terms = [(x, tuple(s)) for x, s in zip(operands, subscripts)]
    sizes = {label: n for x, s in terms for label, n in zip(s, x.shape)}
    while len(terms) > 1:
        i, j = _cheapest(terms, sizes, output)
        b, a = terms.pop(j), terms.pop(i)
        keep = set(output).union(*[s for _, s in terms])
        terms.append(_pair(a, b, keep, sizes))
    x, labels = terms[0]
    lone = tuple([i for i, label in enumerate(labels) if label not in output])
    if lone:
        x, labels = x.sum(axis=lone), tuple([label for label in labels if label in output])
    x = x.transpose([labels.index(label) for label in output])
    return xp.array(x, copy=True) if len(operands) == 1 else x


@contract.grad("*operands")
def _(F, g, operands, subscripts, output, needs):
    grads = []
    for i, need in enumerate(needs):
        if not need:
            grads.append(None)
            continue
        others = [x for j, x in enumerate(operands) if j != i]
        inside = [tuple(output), *[s for j, s in enumerate(subscripts) if j != i]]
        known = set().union(*inside)
        reached = tuple([label for label in subscripts[i] if label in known])
        found = F.contract(g, *others, subscripts=tuple(inside), output=reached)
        shape = operands[i].shape
        if len(reached) < len(shape):  # labels that were summed in this operand alone
            ones = tuple([n if label in known else 1 for n, label in zip(shape, subscripts[i])])
            found = F.expand(F.reshape(found, ones), tuple(shape))
        grads.append(found)
    return tuple(grads)


def _cheapest(terms, sizes, output):
    """The pair whose contraction makes the smallest result beyond what it takes away; the first of equals."""
    if len(terms) == 2:
        return 0, 1

    def growth(pair):
        i, j = pair
        a, b = set(terms[i][1]), set(terms[j][1])
        keep = set(output).union(*[s for k, (_, s) in enumerate(terms) if k not in pair])
        size = lambda labels: prod([sizes[label] for label in labels])
        return size((a | b) & keep) - size(a) - size(b)

    return min([(i, j) for j in range(len(terms)) for i in range(j)], key=growth)


def _pair(a, b, keep, sizes):
    """The contraction of two terms to the labels in `keep`, as one (batched) matrix product."""
    (x, left), (y, right) = _without_lone(a, b, keep), _without_lone(b, a, keep)
    batch = [label for label in left if label in right and label in keep]
    inner = [label for label in left if label in right and label not in keep]
    rows = [label for label in left if label not in right]
    columns = [label for label in right if label not in left]
    size = lambda labels: prod([sizes[label] for label in labels])
    n, k, m = size(rows), size(inner), size(columns)
    lead = [sizes[label] for label in batch]
    x = _matrices(x, left, batch, rows, inner, [*lead, n, k])
    y = _matrices(y, right, batch, inner, columns, [*lead, k, m])
    out = x * y if not inner else matmul.kernels[type(x)](x, y)
    return out.reshape([*lead, *[sizes[label] for label in (*rows, *columns)]]), (*batch, *rows, *columns)


def _without_lone(term, other, keep):
    """A term summed over the labels that only it has."""
    x, labels = term
    lone = tuple([i for i, label in enumerate(labels) if label not in keep and label not in other[1]])
    return (
        (x.sum(axis=lone), tuple([label for label in labels if label in keep or label in other[1]])) if lone else term
    )


def _matrices(x, labels, batch, rows, columns, shape):
    """`x` as a stack of matrices. Where the columns lie before the rows in memory, it is a transposed view."""
    place = {label: i for i, label in enumerate(labels)}
    if rows and columns and place[columns[-1]] < place[rows[0]]:
        turned = x.transpose([place[label] for label in (*batch, *columns, *rows)])
        return turned.reshape([*shape[:-2], shape[-1], shape[-2]]).swapaxes(-1, -2)
    return x.transpose([place[label] for label in (*batch, *rows, *columns)]).reshape(shape)


# -- the equation -----------------------------------------------------------------------------------------------------


@function
def einsum(equation, *operands):
    """Sums of products by Einstein's convention: `einsum("bij,bjk->bik", x, y)`.

    A letter for each dimension; letters that are not right of the arrow are summed. Without an arrow the result has
    the letters that occur once, in alphabetical order. A letter twice in one operand takes its diagonal, dots stand
    for the leading dimensions, which broadcast, and so do sizes of 1. Also `einsum(x, [0, 1], y, [1, 2], [0, 2])`.
    """
    if not isinstance(equation, str):
        subscripts, output, operands = _from_lists((equation, *operands))
    else:
        if len(operands) == 1 and not isinstance(operands[0], Tensor) and not hasattr(operands[0], "dtype"):
            operands = tuple(operands[0])
        subscripts, output = _from_text(equation)
    if len(subscripts) != len(operands):
        raise OpError(
            f"einsum(): the equation {equation!r} is for {len(subscripts)} operands, and there are {len(operands)}"
        )
    subscripts, output = _without_dots(subscripts, output, operands)
    sizes = {}
    for s, x in zip(subscripts, operands):
        for label, n in zip(s, x.shape):
            if sizes.setdefault(label, n) != n and 1 not in (sizes[label], n):
                raise OpError(
                    f"einsum(): operands do not broadcast: the size of {label!r} is {sizes[label]} and {n} "
                    f"(operands {', '.join(str(list(t.shape)) for t in operands)})"
                )
            sizes[label] = n if sizes[label] == 1 else sizes[label]
    prepared = [_prepared(x, s, sizes) for x, s in zip(operands, subscripts)]
    known = {label for _, s in prepared for label in s}
    found = contract.apply(
        [x for x, _ in prepared],
        {"subscripts": tuple([s for _, s in prepared]), "output": tuple([label for label in output if label in known])},
    )
    return found if len(known.intersection(output)) == len(output) else _with_ones(found, output, known)


def _with_ones(x, output, known):
    """`x` with a dimension of size 1 for each label that every operand had in size 1."""
    sizes = iter(x.shape)
    return reshape(x, tuple([next(sizes) if label in known else 1 for label in output]))


def _from_text(equation):
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = [left.split(",")] + ([[right]] if arrow else [])
    for text in [t for part in parts for t in part]:
        letters = text.replace("...", "", 1)
        if letters and not (letters.isalpha() and letters.isascii()):
            raise OpError(
                f"einsum(): invalid subscript in {equation!r}: letters, dots (...), commas and one arrow are allowed"
            )
    split = lambda text: list(text.replace("...", "."))
    return [split(t) for t in parts[0]], split(right) if arrow else None


def _from_lists(args):
    operands, rest = [], list(args)
    subscripts = []
    while len(rest) > 1:
        operands.append(rest.pop(0))
        subscripts.append(["." if label is Ellipsis else label for label in rest.pop(0)])
    output = ["." if label is Ellipsis else label for label in rest[0]] if rest else None
    return subscripts, output, tuple(operands)


def _without_dots(subscripts, output, operands):
    """Labels for the dimensions that the dots stand for, counted from the last; the implicit output."""
    full, widest = [], 0
    for s, x in zip(subscripts, operands):
        extra = len(x.shape) - (len(s) - s.count("."))
        if extra < 0 or (extra and "." not in s):
            raise OpError(
                f"einsum(): the number of subscripts in the equation ({len(s)}) does not match the number of "
                f"dimensions ({len(x.shape)}) for an operand of shape {list(x.shape)}"
            )
        widest = max(widest, extra if "." in s else 0)
        full.append(_spread(s, extra))
    dots = [("dot", i) for i in range(widest, 0, -1)]
    if output is None:
        flat = [label for s in full for label in s]
        output = [*dots, *sorted([label for label in set(flat) - set(dots) if flat.count(label) == 1], key=str)]
    else:
        output = _spread(output, widest)
    known = {label for s in full for label in s}
    for label in output:
        if label not in known or output.count(label) > 1:
            why = "appears more than once in the output" if label in known else "does not appear in any operand"
            raise OpError(f"einsum(): the output subscript {label!r} {why}")
    return full, output


def _spread(s, extra):
    i = s.index(".") if "." in s else None
    return list(s) if i is None else [*s[:i], *[("dot", k) for k in range(extra, 0, -1)], *s[i + 1 :]]


def _prepared(x, labels, sizes):
    """An operand with each label once, without the sizes of 1 that broadcast."""
    labels = list(labels)
    shape = [(label, n) for label, n in zip(labels, x.shape) if n != 1 or sizes[label] == 1]
    if len(shape) < len(labels):
        x, labels = reshape(x, tuple([n for _, n in shape])), [label for label, _ in shape]
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            x = diagonal(x, 0, i, j)
            labels = [v for k, v in enumerate(labels) if k not in (i, j)] + [label]
    return x, tuple(labels)
