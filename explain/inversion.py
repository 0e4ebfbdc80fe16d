"""What an input must have been, judging by what a layer says of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from .. import nn
from ..autograd import Tensor, no_grad
from .descent import Bounds, Watch, beginning, clamp_to, descend, penalties, relative, shifted, shifts
from .scope import Layer, leaf, looking

__all__ = ["invert"]


def invert(
    model: nn.Module,
    representation: Tensor | None = None,
    layer: Layer | None = None,
    *,
    image: Tensor | None = None,
    shape: Sequence[int] | None = None,
    start: Tensor | None = None,
    steps: int = 400,
    lr: float = 0.05,
    l2: float = 0.0,
    tv: float = 0.0,
    beta: float = 2.0,
    jitter: int = 0,
    bounds: Bounds = None,
    decoder: Callable[[Tensor], Tensor] | None = None,
    generator: Any = None,
    watch: Watch = None,
    progress: bool = False,
) -> Any:
    """An input with this representation: argmin ‖f(x) - f₀‖² / ‖f₀‖² + l2 ‖x‖² + tv TV(x), by Adam from noise.

    f is the model as far as the layer (None: all of it); f₀ is the representation, (N, ...), or that of `image`, which
    is given in its place. shape: of one input, without the batch, by default the image's; start: inputs to begin with,
    in the place of noise. tv, beta: the weight and the power of `total_variation`. jitter: pixels by which the input
    is rolled at random, up to, in each step. bounds: of a pixel. decoder: a generative prior, code -> input; what is
    looked for is then the code: `shape`, `start` and l2 are the code's, and the result is (inputs, codes).
    watch: `watch(step, input or code, terms)` is called in each step. progress: show a bar. Returns inputs (N, *shape).
    Sources: A. Mahendran, A. Vedaldi, "Understanding deep image representations by inverting them", 2015; A. Nguyen,
    A. Dosovitskiy, J. Yosinski, T. Brox, J. Clune, "Synthesizing the preferred inputs for neurons in neural networks
    via deep generator networks", 2016 (the prior).
    """
    if (representation is None) == (image is None):
        raise TypeError("give either the representation or, as image=, an input that has it")
    if image is not None and shape is None and decoder is None:
        shape = image.shape[1:]
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(looking(model)).until(model, [layer], tensors=True)
        if isinstance(decoder, nn.Module):
            stack.enter_context(looking(decoder))
        if image is not None:
            with no_grad():
                (representation,) = run(image)
        clamp = clamp_to(bounds)
        wanted = leaf(representation).detach()
        held = bounds if decoder is None else None  # bounds are those of pixels, not of a code
        x = beginning(start, shape, count=len(wanted), like=wanted, bounds=held, generator=generator)

        def made(x: Tensor) -> Tensor:
            return x if decoder is None else decoder(x.clone())

        with no_grad():
            moves = shifts(made(x), jitter, steps, generator)

        def losses(x: Tensor, step: int) -> dict[str, Tensor]:
            image = made(x)
            (found,) = run(shifted(image, moves[step]))
            if found.shape != wanted.shape:
                raise ValueError(f"the layer gives {tuple(found.shape)}, the representation is {tuple(wanted.shape)}")
            terms = {"distance": relative(found, wanted)}
            return terms | penalties(x, image, l2=l2, tv=tv, beta=beta)

        x = descend(x, losses, steps=steps, lr=lr, bounds=held, watch=watch, progress=progress)
        if decoder is None:
            return x
        with no_grad():
            image = made(x)
        return clamp(image), x
