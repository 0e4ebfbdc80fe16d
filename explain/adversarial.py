"""Inputs that differ little from right ones and fool a network.

Every attack keeps to its budget and to the bounds of a pixel. Where a network is so sure that its loss is 0 in the
inputs' precision, the gradient is 0, and an attack by gradients stays where it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from .. import nn
from ..autograd import FUNCTIONS, Tensor, grad, no_grad
from ..nn import functional as F
from .descent import Bounds, Watch, clamp_to, counted, descend
from .scope import leaf, looking

__all__ = ["adversarial_patch", "apply_patch", "fgsm", "pgd"]

#: (output, labels) -> a loss, one of each sample or their sum
Loss: TypeAlias = Callable[[Any, Tensor], Tensor]
#: rows and columns (N, 2), or one of each for all; None: random
Places: TypeAlias = "Tensor | Sequence[Sequence[int]] | tuple[int, int] | None"


def fgsm(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor | Sequence[int] | int | None = None,
    *,
    epsilon: float,
    targeted: bool = False,
    bounds: Bounds = (0.0, 1.0),
    loss: Loss | None = None,
) -> Tensor:
    """The fast gradient sign method: clamp(x + ε sign(∂L(x, y)/∂x)); where targeted, clamp(x - ε sign(∂L(x, y)/∂x)).

    labels: the classes (N,), or one for all; None: what the model says. targeted: they are the classes to be taken for.
    bounds: of the inputs; None: none. loss: (output, labels) -> (N,) or their sum; cross entropy by default.
    Returns the inputs' shape. ValueError for a negative epsilon, inputs outside the bounds, other numbers of labels.
    Source: I. Goodfellow, J. Shlens, C. Szegedy, "Explaining and harnessing adversarial examples", 2014.
    """
    start = _checked(inputs, epsilon, bounds)
    with looking(model):
        classes = _classes(model, start, labels, targeted)
        g = _gradient(model, start, classes, loss, targeted)
    return clamp_to(bounds)(start + epsilon * g.sign())


def pgd(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor | Sequence[int] | int | None = None,
    *,
    epsilon: float,
    steps: int = 10,
    step_size: float | None = None,
    norm: str | float = "inf",
    random_start: bool = True,
    targeted: bool = False,
    bounds: Bounds = (0.0, 1.0),
    loss: Loss | None = None,
    generator: Any = None,
    progress: bool = False,
) -> Tensor:
    """Projected gradient ascent on the loss: after each step back into the ball ‖x' - x‖ ≤ ε and into the bounds.

    norm "inf": steps of sign(∂L/∂x), and each pixel within ε. norm 2: steps of ∂L/∂x / ‖∂L/∂x‖, and each input within ε
    in the Euclidean norm. step_size: 2.5 ε / steps by default. random_start: from a point drawn evenly from the ball.
    The rest as in `fgsm`. Source: A. Madry, A. Makelov, L. Schmidt, D. Tsipras, A. Vladu, "Towards deep learning models
    resistant to adversarial attacks", 2017.
    """
    start = _checked(inputs, epsilon, bounds)
    if norm not in ("inf", float("inf"), 2):
        raise ValueError(f'the norm is "inf" or 2, not {norm!r}')
    if steps < 1:
        raise ValueError(f"{steps} steps change nothing; one at least is needed")
    ball = _Euclidean(epsilon) if norm == 2 else _Largest(epsilon)
    size = 2.5 * epsilon / steps if step_size is None else step_size
    clamp = clamp_to(bounds)
    with looking(model), counted(steps, progress) as tick:
        classes = _classes(model, start, labels, targeted)
        x = clamp(start + ball.draw(start, generator)) if random_start else start
        for _ in range(steps):
            g = _gradient(model, x, classes, loss, targeted)
            x = clamp(start + ball.project(x + size * ball.direction(g) - start))
            tick({})
    return x


class _Largest:
    """The ball of the largest change of a pixel."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def draw(self, like: Tensor, generator: Any) -> Tensor:
        return FUNCTIONS["empty_like"](like).uniform_(-self.epsilon, self.epsilon, generator=generator)

    def direction(self, g: Tensor) -> Tensor:
        return g.sign()

    def project(self, change: Tensor) -> Tensor:
        return change.clamp(-self.epsilon, self.epsilon)


class _Euclidean:
    """The ball of the Euclidean norm of an input's change."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def draw(self, like: Tensor, generator: Any) -> Tensor:
        """Even in the ball of d dimensions: an even direction, and a radius of ε U^(1/d)."""
        direction = self.direction(FUNCTIONS["empty_like"](like).normal_(generator=generator))
        radius = like.new_empty(len(like)).uniform_(generator=generator) ** (1 / (math.prod(like.shape[1:]) or 1))
        return self.epsilon * direction * _for_each(radius, like)

    def direction(self, g: Tensor) -> Tensor:
        norm = _norms(g)
        return g / norm.where(norm > 0, 1)

    def project(self, change: Tensor) -> Tensor:
        norm = _norms(change)
        return change * (self.epsilon / norm.where(norm > 0, 1)).clamp(max=1.0)


def _norms(x: Tensor) -> Tensor:
    return _for_each(x.flatten(1).norm(dim=1), x)


def _for_each(values: Tensor, like: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, ...), to be multiplied with tensors of the shape of `like`."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def _checked(inputs: Tensor, epsilon: float, bounds: Bounds) -> Tensor:
    """The inputs, detached, if they and the budget can be used."""
    if epsilon < 0:
        raise ValueError(f"epsilon is the size of a change, so not {epsilon}")
    start = leaf(inputs).detach()
    if start.dim() < 2:
        raise ValueError(f"an attack takes a batch of inputs (N, ...), not a tensor {tuple(start.shape)}")
    if bounds is not None and start.numel() and not bounds[0] <= start.min().item() <= start.max().item() <= bounds[1]:
        found = f"{start.min().item():.4g} to {start.max().item():.4g}"
        raise ValueError(f"the inputs are {found}, outside the bounds {bounds}; name theirs by bounds=(least, largest)")
    return start


def _classes(model: nn.Module, inputs: Tensor, labels: Any, targeted: bool) -> Tensor:
    """A class for each input, on its device."""
    if labels is None:
        if targeted:
            raise ValueError("a targeted attack needs the classes that the inputs are to be taken for")
        with no_grad():
            return _scores(model(inputs.clone())).argmax(1)
    found = (
        labels.to(inputs.device) if isinstance(labels, Tensor) else FUNCTIONS["tensor"](labels, device=inputs.device)
    )
    if found.dim() == 0:
        found = found.expand(len(inputs))
    if len(found) != len(inputs):
        raise ValueError(f"{len(found)} labels for {len(inputs)} inputs; one of each is needed, or one for all")
    return found


def _scores(output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise TypeError(
            f"the model gives a {type(output).__name__}, not a tensor of scores: name the labels, and what they "
            "cost by loss=(output, labels) -> (N,)"
        )
    return output


def _gradient(model: nn.Module, inputs: Tensor, classes: Tensor, loss: Loss | None, targeted: bool) -> Tensor:
    """Uphill in the loss, or downhill where the classes are those to be reached; of each sample's own loss."""
    x = leaf(inputs)
    output = model(x.clone())  # a model may change its input
    costs = F.cross_entropy(_scores(output), classes, reduction="sum") if loss is None else loss(output, classes).sum()
    (g,) = grad(costs, x)
    return -g if targeted else g


def adversarial_patch(
    model: nn.Module,
    inputs: Tensor,
    target: int,
    *,
    size: int | tuple[int, int],
    steps: int = 200,
    lr: float = 0.05,
    batch: int = 32,
    bounds: tuple[float, float] = (0.0, 1.0),
    generator: Any = None,
    watch: Watch = None,
    progress: bool = False,
) -> tuple[Tensor, Callable[..., Tensor]]:
    """A patch (C, h, w) that makes images (N, C, H, W) be taken for the class `target` wherever it lies on them.

    argmin E[-log p(target | image with the patch)], by Adam over random images of `inputs`, `batch` in a step, and
    random places; it is moved, not turned or scaled. Returns the patch and `apply(images, places=None, *,
    generator=None)`, see `apply_patch`. ValueError for a patch larger than the images. size: h = w, or (h, w). bounds:
    of a pixel. watch: `watch(step, patch, terms)` is called in each step. Source: T. Brown, D. Mané, A. Roy, M. Abadi,
    J. Gilmer, "Adversarial patch", 2017.
    """
    images = _checked(inputs, 0.0, bounds)
    if images.dim() != 4:
        raise ValueError(f"a patch is laid on images (N, C, H, W), not on a tensor {tuple(images.shape)}")
    height, width = (size, size) if isinstance(size, int) else size
    middle, spread = (bounds[0] + bounds[1]) / 2, (bounds[1] - bounds[0]) / 10
    start = images.new_empty(images.shape[1], height, width).normal_(middle, spread, generator=generator)
    count = min(batch, len(images))
    with looking(model):

        def losses(patch: Tensor, step: int) -> dict[str, Tensor]:
            drawn = FUNCTIONS["randint"](0, len(images), (count,), generator=generator, device=images.device)
            output = model(apply_patch(images[drawn], patch, generator=generator))
            return {"loss": F.cross_entropy(output, drawn.new_full((count,), target))}

        patch = descend(
            leaf(clamp_to(bounds)(start)), losses, steps=steps, lr=lr, bounds=bounds, watch=watch, progress=progress
        )

    def apply(images: Tensor, places: Places = None, *, generator: Any = None) -> Tensor:
        return apply_patch(images, patch, places, generator=generator)

    return patch, apply


def apply_patch(images: Tensor, patch: Tensor, places: Places = None, *, generator: Any = None) -> Tensor:
    """Images (N, C, H, W) with the patch (C, h, w) on them; all other pixels are as they were.

    places: the row and column of its upper left corner, one (row, column) for all or (N, 2); None: drawn evenly from
    those where it lies inside. Gradients reach the images and the patch. ValueError for a patch that does not fit.
    """
    (n, channels, height, width), (h, w) = images.shape, patch.shape[1:]
    if patch.shape[0] != channels or not 0 < h <= height or not 0 < w <= width:
        raise ValueError(f"a patch {tuple(patch.shape)} does not fit on images {tuple(images.shape)}")
    most = (height - h, width - w)
    if places is None:
        draws = [FUNCTIONS["randint"](0, m + 1, (n,), generator=generator, device=images.device) for m in most]
        corners = FUNCTIONS["stack"](draws, dim=1)
    else:
        corners = FUNCTIONS["as_tensor"](places, device=images.device).expand(n, 2)
        for corner, m in zip(corners.unbind(1), most, strict=True):
            if n and not 0 <= corner.min().item() <= corner.max().item() <= m:
                raise ValueError(f"a patch {h} x {w} at {places} is not inside images of {height} x {width}")
    rows = FUNCTIONS["arange"](height, device=images.device) - corners[:, :1]
    columns = FUNCTIONS["arange"](width, device=images.device) - corners[:, 1:]
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    laid = patch.to(images.device)[:, rows.clamp(0, h - 1)[:, :, None], columns.clamp(0, w - 1)[:, None, :]]
    return FUNCTIONS["where"](inside[:, None], laid.transpose(0, 1), images)
