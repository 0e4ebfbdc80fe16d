"""What the methods that make images share: the loop, penalties, shifts and sizes.

A method says what an image costs, and an optimizer moves the image. Costs are sums over the batch and steps are taken
by element, so that under Adam each image of a batch ends where it would have ended alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from ..autograd import FUNCTIONS, Tensor, grad, no_grad
from ..nn import functional as F
from ..optim import LBFGS, Adam
from ..optim.lr_scheduler import CosineAnnealingLR
from ..utils.progress import Progress
from .scope import leaf

__all__ = [
    "Bounds",
    "Watch",
    "beginning",
    "blurred",
    "clamp_to",
    "counted",
    "descend",
    "octave_sizes",
    "penalties",
    "relative",
    "resized",
    "shifted",
    "shifts",
    "total_variation",
]

#: the least and the largest value of a pixel; None: any value
Bounds: TypeAlias = "tuple[float, float] | None"
#: called in each step with its number, the image as it is, and the terms of what is optimised at that image
Watch: TypeAlias = "Callable[[int, Tensor, dict[str, Tensor]], Any] | None"


def descend(
    image: Tensor,
    losses: Callable[[Tensor, int], dict[str, Tensor]],
    *,
    steps: int,
    lr: float,
    optimizer: str = "adam",
    raised: str = "",
    bounds: Bounds = None,
    after: Callable[[Tensor, int], Tensor] | None = None,
    watch: Watch = None,
    progress: bool = False,
) -> Tensor:
    """Move a leaf towards the least sum of `losses(image, step)`, and return it detached.

    optimizer: "adam", whose rate falls from lr to 0 along half a cosine, so that the last steps settle; or "lbfgs" with
    a line search, where a step is an evaluation of the losses. raised: the term that is to grow. bounds: kept after
    each step of Adam and at the end of L-BFGS. after: gives the next image in the place of what a step of Adam made.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps change nothing; one at least is needed")
    if optimizer not in ("adam", "lbfgs"):
        raise ValueError(f'the optimizer is "adam" or "lbfgs", not {optimizer!r}')
    clamp = clamp_to(bounds)
    done = 0
    with counted(steps, progress) as tick:

        def closure() -> Tensor:
            nonlocal done
            terms = losses(image, done)
            total = sum((-term if name == raised else term for name, term in terms.items()), image.new_zeros(()))
            (image.grad,) = grad(total, image)  # and nobody else's
            if watch is not None:
                watch(done, image.detach().clone(), {name: term.detach() for name, term in terms.items()})
            done += 1
            tick(terms)
            return total

        if optimizer == "lbfgs":
            LBFGS([image], lr=lr, max_iter=steps, max_eval=steps, line_search_fn="strong_wolfe").step(closure)
        else:
            adam = Adam([image], lr=lr)
            rate = CosineAnnealingLR(adam, steps)
            for step in range(steps):
                closure()
                adam.step()
                rate.step()
                with no_grad():
                    image.copy_(clamp(image if after is None else after(image, step)))
    return clamp(image.detach())


def clamp_to(bounds: Bounds) -> Callable[[Tensor], Tensor]:
    """The function that keeps values within the bounds. ValueError for bounds of which the first is not the least."""
    if bounds is None:
        return lambda x: x
    least, largest = bounds
    if not least <= largest:
        raise ValueError(f"bounds are (least, largest), not {bounds}")
    return lambda x: x.clamp(least, largest)


@contextlib.contextmanager
def counted(steps: int | None, progress: bool) -> Iterator[Callable[[dict[str, Tensor]], None]]:
    """A block whose steps are counted by calls with what to show; shown only where `progress` is true."""
    if not progress:
        yield lambda figures: None
        return
    with Progress(steps) as shown:
        yield lambda figures: shown.update(**{name: f"{value.item():.4g}" for name, value in figures.items()})


def total_variation(x: Tensor, *, beta: float = 1.0) -> Tensor:
    """Σ (Δ↓² + Δ→²)^(beta/2) of each image, over all places and channels: (N, ..., H, W) -> (N,).

    Δ↓ and Δ→ are the differences to the pixel below and to the right, 0 at the last ones. beta = 1 keeps edges (L.
    Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal algorithms", 1992), beta = 2 is the sum
    of squares. At a flat place the gradient is 0. ValueError for beta < 1 and for fewer than three dimensions.
    """
    if beta < 1:
        raise ValueError(f"total variation takes a beta of 1 or more, not {beta}")
    if x.dim() < 3:
        raise ValueError(f"total variation is that of images (N, ..., H, W), not of a tensor {tuple(x.shape)}")
    down = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
    right = F.pad(x[..., 1:] - x[..., :-1], (0, 1))
    if beta == 2:
        return (down * down + right * right).flatten(1).sum(1)
    return (FUNCTIONS["stack"]([down, right]).norm(dim=0) ** beta).flatten(1).sum(1)


def penalties(x: Tensor, image: Tensor, *, l2: float = 0.0, tv: float, beta: float) -> dict[str, Tensor]:
    """l2 ‖x‖² of what is moved and tv TV(image) of what it makes, summed over the batch: those that have a weight."""
    terms = {}
    if l2:
        terms["l2"] = l2 * (x * x).sum()
    if tv:
        terms["tv"] = tv * total_variation(image, beta=beta).sum()
    return terms


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    """Σ ‖found - wanted‖² / ‖wanted‖² over the batch; of what is wanted one, or one of each; 0 is divided by 1."""
    size = (wanted * wanted).flatten(1).sum(1)
    return (((found - wanted) ** 2).flatten(1).sum(1) / size.where(size > 0, 1)).sum()


def beginning(
    start: Tensor | None,
    shape: Sequence[int] | None,
    *,
    count: int,
    like: Tensor,
    bounds: Bounds,
    generator: Any,
) -> Tensor:
    """A leaf to begin with: the start, or little noise about 0, or about the middle of the bounds, `count` times shape.

    Noise has the dtype and the device of `like`. TypeError where neither is given.
    """
    if start is not None:
        return leaf(start)
    if shape is None:
        raise TypeError("give the shape of one input, of one code where there is a decoder, or a start")
    clamp = clamp_to(bounds)
    middle, deviation = (0.0, 0.01) if bounds is None else ((bounds[0] + bounds[1]) / 2, (bounds[1] - bounds[0]) / 100)
    return leaf(clamp(like.new_empty(count, *shape).normal_(middle, deviation, generator=generator)))


def shifts(image: Tensor, jitter: int, steps: int, generator: Any = None) -> list[tuple[int, int]]:
    """For each step, how far to roll the image down and to the right: -jitter to jitter; read from the device once."""
    if jitter < 0:
        raise ValueError(f"a jitter of {jitter} pixels; it is 0 or more")
    if jitter == 0:
        return [(0, 0)] * steps
    if image.dim() != 4:
        raise ValueError(f"jitter moves images (N, C, H, W), not a tensor {tuple(image.shape)}")
    drawn = FUNCTIONS["randint"](-jitter, jitter + 1, (steps, 2), generator=generator, device=image.device)
    return [(down, right) for down, right in drawn.tolist()]


def shifted(image: Tensor, shift: tuple[int, int]) -> Tensor:
    """The image rolled down and to the right; what leaves on one side comes back on the other."""
    return image if shift == (0, 0) else FUNCTIONS["roll"](image, shift, (-2, -1))


def octave_sizes(image: Tensor, octaves: int, scale: float) -> list[tuple[int, ...]]:
    """The heights and widths of `octaves` copies of an image (N, C, H, W), each `scale` times the one before it.

    The last is the image's own; for one octave an input may have any shape. ValueError where one has no pixels left.
    """
    if octaves < 1 or scale <= 1:
        raise ValueError(f"{octaves} octaves of a scale of {scale}; at least one is needed, and a scale above 1")
    if octaves == 1:
        return [tuple(image.shape[2:])]
    if image.dim() != 4:
        raise ValueError(f"octaves are those of images (N, C, H, W), not of a tensor {tuple(image.shape)}")
    sizes = [tuple(round(n / scale**k) for n in image.shape[2:]) for k in range(octaves)]
    if min(sizes[-1]) < 1:
        raise ValueError(f"{octaves} octaves of a scale of {scale} leave nothing of {tuple(image.shape[2:])} pixels")
    return sizes[::-1]


def resized(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """The image at that height and width, by bilinear interpolation; as it is where it has them already."""
    if tuple(image.shape[2:]) == size:
        return image
    return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Images (N, C, H, W) under a Gaussian of `sigma` pixels, the edges' pixels repeated behind them."""
    if image.dim() != 4:
        raise ValueError(f"a blur is one of images (N, C, H, W), not of a tensor {tuple(image.shape)}")
    radius, channels = max(1, math.ceil(3 * sigma)), image.shape[1]
    x = FUNCTIONS["arange"](-radius, radius + 1, dtype=image.dtype, device=image.device)
    weights = (-0.5 * (x / sigma) ** 2).exp()
    weights = (weights / weights.sum()).expand(channels, 1, -1)
    wide = F.pad(image, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(wide, weights[:, :, :, None], groups=channels), weights[:, :, None], groups=channels)
