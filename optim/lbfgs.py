"""L-BFGS, with a line search for the strong Wolfe conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ..autograd import FUNCTIONS, Tensor, enable_grad, no_grad
from ..autograd.op import OPS
from .optimizer import Optimizer, check, number

__all__ = ["LBFGS"]

_dot, _cat, _zeros_like = FUNCTIONS["dot"], FUNCTIONS["cat"], FUNCTIONS["zeros_like"]


class LBFGS(Optimizer):
    """p ← p + t d with d = -H g, H the inverse Hessian's estimate from the last `history_size` changes of p and g.

    `step(closure)` makes up to max_iter such iterations, and up to max_eval (None: 1.25 max_iter) calls of `closure`,
    which clears the gradients, computes the loss and its gradients, and returns the loss; the step returns the first
    loss. t is lr (in the first iteration lr · min(1, 1 / Σ|g|)), or with line_search_fn "strong_wolfe" a length, tried
    from there on, that has f(t) ≤ f(0) + 10⁻⁴ t f'(0) and |f'(t)| ≤ 0.9 |f'(0)|. It stops early where max |g| ≤
    tolerance_grad, or where d · t or the loss changes by less than tolerance_change. One group of parameters only; its
    state is that of the first one.

    Sources: D. Liu, J. Nocedal, "On the limited memory BFGS method for large scale optimization", 1989; J. Nocedal,
    S. Wright, "Numerical optimization", 2006, algorithms 3.5, 3.6 and 7.4.
    """

    def __init__(
        self,
        params: Any,
        lr: Any = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check({"learning rate": lr})
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Iterate, and return the loss as it was before."""
        with no_grad():
            return self._iterate(closure)

    def _iterate(self, closure: Callable[[], Any]) -> Any:
        group, params = self.param_groups[0], self.param_groups[0]["params"]
        lr, search = number(group["lr"]), group["line_search_fn"]
        if search not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")
        state = self.state[params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        def evaluate() -> tuple[Any, float, Tensor]:
            with enable_grad():
                loss = closure()
            state["func_evals"] += 1
            return loss, float(loss), _flat_gradient(params)

        def along(start: list[Tensor], t: float, d: Tensor) -> tuple[float, Tensor]:
            _move(params, t, d)
            _, loss, gradient = evaluate()
            for p, x in zip(params, start):
                p.copy_(x)
            return loss, gradient

        first, loss, gradient = evaluate()
        before = state["func_evals"] - 1
        small = _largest(gradient) <= group["tolerance_grad"]
        for i in range(1, group["max_iter"] + 1):
            if small:
                break
            state["n_iter"] += 1
            d = state["d"] = _direction(state, gradient, group["history_size"])
            t = lr if state["n_iter"] > 1 else min(1.0, 1.0 / gradient.abs().sum().item()) * lr
            state["prev_flat_grad"], state["prev_loss"], state["t"] = gradient.clone(), loss, t
            slope, loss_before = _dot(gradient, d).item(), loss
            if slope > -group["tolerance_change"]:
                break
            if search:
                start = [p.detach().clone() for p in params]
                t, loss, gradient = _search(
                    lambda t, start=start, d=d: along(start, t, d),  # type: ignore[misc]
                    *(t, _Point(0.0, loss, gradient, slope), d),
                )
                state["t"] = t
                _move(params, t, d)
            else:
                _move(params, t, d)
                if i < group["max_iter"]:
                    _, loss, gradient = evaluate()
            small = _largest(gradient) <= group["tolerance_grad"]
            if (
                state["func_evals"] - before >= group["max_eval"]
                or _largest(d) * abs(t) <= group["tolerance_change"]
                or abs(loss - loss_before) < group["tolerance_change"]
            ):
                break
        return first


def _flat_gradient(params: list[Tensor]) -> Tensor:
    return _cat([_parts(_zeros_like(p) if p.grad is None else p.grad.detach()).reshape(-1) for p in params])


def _parts(x: Tensor) -> Tensor:
    """Real and imaginary parts of complex numbers, as numbers of their own: a view."""
    return OPS["view_as_real"](x) if x.is_complex() else x


def _move(params: list[Tensor], t: float, d: Tensor) -> None:
    """p ← p + t d, for d flat over all parameters."""
    end = 0
    for p in map(_parts, params):
        start, end = end, end + p.numel()
        p.add_(d[start:end].reshape(p.shape), alpha=t)


def _largest(x: Tensor) -> float:
    return x.abs().max().item()


def _direction(state: dict[str, Any], gradient: Tensor, history_size: int) -> Tensor:
    """-H g by the two loops over the history, which takes up what the last step taught."""
    if state["n_iter"] == 1:
        state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
        return -gradient
    changes, moves, inverses = state["old_dirs"], state["old_stps"], state["ro"]
    change, move = gradient - state["prev_flat_grad"], state["d"] * state["t"]
    curvature = _dot(change, move)
    if curvature.item() > 1e-10:  # otherwise H would not stay positive definite
        if len(changes) == history_size:
            for history in (changes, moves, inverses):
                del history[0]
        changes.append(change)
        moves.append(move)
        inverses.append(1.0 / curvature)
        state["H_diag"] = curvature / _dot(change, change)
    weights = state["al"] = [None] * history_size  # PyTorch keeps them in the state as well
    d = -gradient
    for i in reversed(range(len(changes))):
        weights[i] = _dot(moves[i], d) * inverses[i]
        d = d - changes[i] * weights[i]
    d = d * state["H_diag"]
    for change, move, inverse, weight in zip(changes, moves, inverses, weights):
        d = d + move * (weight - _dot(change, d) * inverse)
    return d


class _Point(NamedTuple):
    """A step length, with the loss there, its gradient, and its slope along the direction."""

    t: float
    loss: float
    gradient: Tensor
    slope: float


def _cubic(a: _Point, b: _Point, low: float, high: float) -> float:
    """Where the cubic through both points with both slopes is least, within [low, high]; the middle if nowhere."""
    if a.t > b.t:
        a, b = b, a
    mean = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = mean * mean - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    root = math.sqrt(square)
    span = b.slope - a.slope + 2 * root
    if span == 0:
        return (low + high) / 2
    return min(max(b.t - (b.t - a.t) * ((b.slope + root - mean) / span), low), high)


def _search(
    f: Callable[[float], tuple[float, Tensor]],
    t: float,
    origin: _Point,
    d: Tensor,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance: float = 1e-9,
    tries: int = 25,
) -> tuple[float, float, Tensor]:
    """A step length that fulfils the strong Wolfe conditions, or the best of `tries`; its loss and gradient."""

    def at(t: float) -> _Point:
        loss, gradient = f(t)
        return _Point(t, loss, gradient.clone(), _dot(gradient, d).item())

    def high(x: _Point) -> bool:
        return x.loss > origin.loss + c1 * x.t * origin.slope

    def flat(x: _Point) -> bool:
        return abs(x.slope) <= -c2 * origin.slope

    # forward until two points have an acceptable one between them
    before, now, tried = origin, at(t), 0
    while tried < tries:
        if high(now) or (tried > 1 and now.loss >= before.loss):
            break
        if flat(now):
            return now.t, now.loss, now.gradient
        if now.slope >= 0:
            break
        t = _cubic(before, now, now.t + 0.01 * (now.t - before.t), 10 * now.t)
        before, now, tried = now, at(t), tried + 1
    else:
        before = origin
    # narrow the bracket: the lower of its points has fulfilled the first condition
    best, other = (before, now) if before.loss <= now.loss else (now, before)
    slow, reach = False, _largest(d)
    while tried < tries and abs(other.t - best.t) * reach >= tolerance:
        low, top = min(best.t, other.t), max(best.t, other.t)
        t, margin = _cubic(best, other, low, top), 0.1 * (top - low)
        if min(top - t, t - low) < margin:  # close to an end twice, or at it: away from it
            if slow or t >= top or t <= low:
                t, slow = (top - margin if abs(t - top) < abs(t - low) else low + margin), False
            else:
                slow = True
        else:
            slow = False
        now, tried = at(t), tried + 1
        if high(now) or now.loss >= best.loss:
            best, other = (best, now) if best.loss <= now.loss else (now, best)
            continue
        if flat(now):
            best = now
            break
        if now.slope * (other.t - best.t) >= 0:
            other = best
        best = now
    return best.t, best.loss, best.gradient


# -- under PyTorch's names, for optimizers of others -------------------------------------------------------------------


def _cubic_interpolate(
    x1: float, f1: Any, g1: Any, x2: float, f2: Any, g2: Any, bounds: tuple[float, float] | None = None
) -> float:
    """Where the cubic through (x1, f1) and (x2, f2) with slopes g1 and g2 is least within the bounds, (low, high)."""
    low, high = bounds or (min(x1, x2), max(x1, x2))
    return _cubic(_Point(x1, float(f1), g1, float(g1)), _Point(x2, float(f2), g2, float(g2)), low, high)


def _strong_wolfe(
    obj_func: Callable[[Any, float, Tensor], tuple[float, Tensor]],
    x: Any,
    t: float,
    d: Tensor,
    f: Any,
    g: Tensor,
    gtd: Any,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_ls: int = 25,
) -> tuple[float, Tensor, float, int]:
    """(loss, gradient, t, number of calls) of a step x + t d that fulfils the strong Wolfe conditions, or the best one.

    obj_func(x, t, d): loss and gradient there. t: the first length to try. f, g, gtd: loss, gradient and slope g · d
    at x. c1, c2: of the conditions on loss and slope. tolerance_change: the least width of the bracket. max_ls: the
    most steps.
    """
    calls = 0

    def at(t: float) -> tuple[float, Tensor]:
        nonlocal calls
        calls += 1
        return obj_func(x, t, d)

    origin = _Point(0.0, f, g, float(gtd))
    t, loss, gradient = _search(at, t, origin, d, c1, c2, tolerance_change, max_ls)
    return loss, gradient, t, calls
