"""How much each element of an input has to do with a score: methods that use its gradient as it is.

All take inputs (N, ...), or a tuple or dict of the model's arguments, and give attributions in the same form, None for
what is no tensor of floats; a target as in `explain.Target`; and `layer`, to explain what that layer gives instead of
the inputs (the embedding of tokens, say).
"""

from __future__ import annotations

from typing import Any

from .. import nn
from ..autograd import FUNCTIONS, Tensor, no_grad
from ..backends import np
from .entry import Entry, gradients
from .scope import Layer, Looking, looking
from .scores import Target

__all__ = ["input_x_gradient", "integrated_gradients", "saliency", "smooth_grad"]


def saliency(
    model: nn.Module, inputs: Any, target: Target = None, *, absolute: bool = True, layer: Layer | None = None
) -> Any:
    """|∂score/∂x|, of the inputs' shape: what changes the score most where it is changed least.

    absolute=False: with its sign. layer: of this layer's output instead. Source: K. Simonyan, A. Vedaldi, A. Zisserman,
    "Deep inside convolutional networks: visualising image classification models and saliency maps", 2013.
    """
    with looking(model) as look:
        entry = Entry(look, model, inputs, target, layer)
        found = gradients(entry.score, entry.values)
    return entry.result([g.abs() if absolute else g for g in found])


def input_x_gradient(model: nn.Module, inputs: Any, target: Target = None, *, layer: Layer | None = None) -> Any:
    """x · ∂score/∂x, of the inputs' shape; their sum is the score itself where it is linear in x.

    layer: of this layer's output instead.

    Source: A. Shrikumar, P. Greenside, A. Shcherbina, A. Kundaje, "Not just a black box: learning important features
    through propagating activation differences", 2016.
    """
    with looking(model) as look:
        entry = Entry(look, model, inputs, target, layer)
        found = gradients(entry.score, entry.values)
    return entry.result([x.detach() * g for x, g in zip(entry.values, found, strict=True)])


def smooth_grad(
    model: nn.Module,
    inputs: Any,
    target: Target = None,
    *,
    samples: int = 50,
    noise: float = 0.15,
    absolute: bool = False,
    squared: bool = False,
    batch: int = 64,
    generator: Any = None,
    layer: Layer | None = None,
) -> Any:
    """The mean of ∂score/∂x over `samples` inputs x + σε, ε normal, σ = noise · (max x - min x) of each sample.

    It has the inputs' shape. The class is the one that the input itself has, where no target is named. absolute: the
    mean's absolute value. squared: the mean of the squares. batch: about how many inputs the model gets at once. layer:
    of this layer's output instead. Sources: D. Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017; S.
    Hooker et al., "A benchmark for interpretability methods in deep neural networks", 2019 (squares).
    """
    if samples < 1 or noise < 0:
        raise ValueError(f"smooth_grad takes samples of 1 or more and noise of 0 or more, not {samples} and {noise}")
    with looking(model) as look:
        entry, ends = _unrecorded(look, model, inputs, target, layer)
        scales = [noise * _range(x) for x in ends]
        totals = [FUNCTIONS["zeros_like"](x) for x in ends]
        for start, end in entry.parts(samples, batch):
            stacks = []
            for x, scale in zip(ends, scales, strict=True):
                epsilon = x.new_empty(end - start, *x.shape).normal_(generator=generator)
                stacks.append((x + scale * epsilon).requires_grad_())
            found = gradients(entry.variants(stacks), stacks)
            totals = [t + (g * g if squared else g).sum(0) for t, g in zip(totals, found, strict=True)]
    means = [total / samples for total in totals]
    return entry.result([m.abs() if absolute else m for m in means])


def _unrecorded(look: Looking, *given: Any) -> tuple[Entry, list[Tensor]]:
    """An entry whose own scores need no gradient, and what is explained there."""
    with no_grad():
        entry = Entry(look, *given)
    return entry, [x.detach() for x in entry.values]


def _range(x: Tensor) -> Tensor:
    """max - min of each sample, to broadcast against x."""
    dims = tuple(range(1, x.dim()))
    return x.amax(dims, keepdim=True) - x.amin(dims, keepdim=True)


def integrated_gradients(
    model: nn.Module,
    inputs: Any,
    target: Target = None,
    *,
    baselines: Any = None,
    steps: int = 50,
    method: str = "gausslegendre",
    batch: int = 64,
    return_delta: bool = False,
    layer: Layer | None = None,
) -> Any:
    """(x - x') · ∫₀¹ ∂score/∂x (x' + α (x - x')) dα, of the inputs' shape.

    Attributions of a sample sum to score(x) - score(x') but for the error of the integral, which `return_delta` gives
    as well, (N,): sum of attributions minus difference of scores; (1,) where one score is that of all samples. It falls
    with `steps`, and is 0 but for rounding where the score is a polynomial of degree up to 2 · steps along the path
    ("gausslegendre").

    baselines: x', where nothing is to be seen: a number, a tensor that broadcasts against the inputs, a tuple or dict
    of those for several inputs; None: zeros. method: "gausslegendre", "riemann_left", "riemann_middle",
    "riemann_right" or "riemann_trapezoid". batch: about how many inputs the model gets at once. layer: of this layer's
    output instead. Source: M. Sundararajan, A. Taly, Q. Yan, "Axiomatic attribution for deep networks", 2017.
    """
    places, weights = _rule(method, steps)
    with looking(model) as look:
        entry, ends = _unrecorded(look, model, inputs, target, layer)
        starts = entry.filled("a baseline", baselines)
        means = [FUNCTIONS["zeros_like"](x) for x in ends]
        for first, last in entry.parts(steps, batch):
            stacks = []
            for x, start in zip(ends, starts, strict=True):
                alpha = x.new_tensor(places[first:last]).reshape(-1, *(1,) * x.dim())
                stacks.append((start + alpha * (x - start)).requires_grad_())
            found = gradients(entry.variants(stacks), stacks)
            for i, g in enumerate(found):
                weight = g.new_tensor(weights[first:last]).reshape(-1, *(1,) * (g.dim() - 1))
                means[i] = means[i] + (weight * g).sum(0)
        answers = [(x - start) * mean for x, start, mean in zip(ends, starts, means, strict=True)]
        if not return_delta:
            return entry.result(answers)
        with no_grad():
            before = entry.at(starts)
        change = entry.score - before
        if any(len(a) != len(change) for a in answers):  # a score of all samples together
            return entry.result(answers), sum(a.sum() for a in answers).reshape(1) - change.sum()
        return entry.result(answers), sum(a[..., None].flatten(1).sum(1) for a in answers) - change


def _rule(method: str, steps: int) -> tuple[list[float], list[float]]:
    """Places in [0, 1] and weights of an integral."""
    least = 2 if method == "riemann_trapezoid" else 1
    if steps < least:
        raise ValueError(f"{method} takes {least} steps or more, not {steps}")
    shifts = {"riemann_left": 0.0, "riemann_middle": 0.5, "riemann_right": 1.0}
    if method in shifts:
        return [(k + shifts[method]) / steps for k in range(steps)], [1 / steps] * steps
    if method == "riemann_trapezoid":
        inner = 1 / (steps - 1)
        return [k * inner for k in range(steps)], [inner / 2, *[inner] * (steps - 2), inner / 2]
    if method == "gausslegendre":
        places, weights = np.polynomial.legendre.leggauss(steps)
        return ((places + 1) / 2).tolist(), (weights / 2).tolist()
    known = ", ".join(["gausslegendre", *shifts, "riemann_trapezoid"])
    raise ValueError(f"there is no rule {method!r} for the integral; there are {known}")
