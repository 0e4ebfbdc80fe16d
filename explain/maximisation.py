"""What a unit would like to see most, and images in which a layer sees more of what it sees: DeepDream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from .. import nn
from ..autograd import FUNCTIONS, Tensor, grad, no_grad
from .descent import (
    Bounds,
    Watch,
    beginning,
    blurred,
    clamp_to,
    counted,
    descend,
    octave_sizes,
    penalties,
    resized,
    shifted,
    shifts,
)
from .scope import Layer, leaf, looking
from .scores import Target, plain, scores

__all__ = ["Layers", "activation_maximization", "deep_dream", "weighted"]

#: a layer, several of them, or the weight of each
Layers: TypeAlias = Layer | Sequence[Layer] | Mapping[Any, float]


def activation_maximization(
    model: nn.Module,
    layer: Layer | None = None,
    unit: Target = 0,
    *,
    shape: Sequence[int] | None = None,
    start: Tensor | None = None,
    steps: int = 256,
    lr: float = 0.05,
    l2: float = 0.0,
    tv: float = 0.0,
    beta: float = 2.0,
    jitter: int = 0,
    blur: float = 0.0,
    blur_every: int = 4,
    octaves: int = 1,
    octave_scale: float = 1.4,
    bounds: Bounds = None,
    generator: Any = None,
    watch: Watch = None,
    progress: bool = False,
) -> Tensor:
    """The input that excites a unit most: argmax a(x) - l2 ‖x‖² - tv TV(x), by Adam from noise.

    layer, unit: a channel of a layer's maps (N, C, ...) counts by its mean over places; see `Target` for classes,
    places and functions. None is the model's own output. A list of units gives an input for each of them.
    shape: of one input, without the batch; noise of deviation 0.01 about 0, or about the middle of the bounds.
    start: inputs (N, ...) to begin with, in the place of shape. steps: in each octave. tv, beta: the weight and the
    power of `total_variation`. jitter: pixels by which the image is rolled at random, up to, in each step. blur: the
    deviation in pixels of a Gaussian over the image after each `blur_every`th step but the last ones. octaves: sizes,
    the next `octave_scale` times the one before; the model is run as far as the layer, and what stands behind it may be
    of a fixed size. watch: `watch(step, image, terms)` is called in each step, with the terms "activation", "l2" and
    "tv" as they are summed. progress: show a bar. A unit behind a ReLU that is silent where it begins has no gradient
    there and stays so: take the layer before. Returns the inputs (N, *shape). Sources: D. Erhan,
    Y. Bengio, A. Courville, P. Vincent, "Visualizing higher-layer features of a deep network", 2009; K. Simonyan, A.
    Vedaldi, A. Zisserman, "Deep inside convolutional networks", 2013 (l2); J. Yosinski et al., "Understanding neural
    networks through deep visualization", 2015 (blur).
    """
    if (shape is None) == (start is None):
        raise TypeError("give either the shape of one input or the inputs to start from")
    like = next((p for p in model.parameters() if p.is_floating_point()), FUNCTIONS["zeros"](()))
    unit = plain(unit)
    count = len(unit) if isinstance(unit, Tensor) else 1
    image = beginning(start, shape, count=count, like=like, bounds=bounds, generator=generator)
    if blur < 0 or blur_every < 1:
        raise ValueError(f"a blur of {blur} pixels every {blur_every} steps; it takes 0 or more, every 1 or more")

    def after(image: Tensor, step: int) -> Tensor:
        return blurred(image, blur) if (step + 1) % blur_every == 0 and step + blur_every < steps else image

    with looking(model) as look:
        run = look.until(model, [layer])
        for size in octave_sizes(image, octaves, octave_scale):
            image = leaf(resized(image, size))
            moves = shifts(image, jitter, steps, generator)

            def losses(x: Tensor, step: int, moves: Any = moves) -> dict[str, Tensor]:
                (output,) = run(shifted(x, moves[step]))
                terms = {"activation": _unit_scores(output, unit).sum()}
                return terms | penalties(x, x, l2=l2, tv=tv, beta=beta)

            image = descend(
                image,
                losses,
                steps=steps,
                lr=lr,
                raised="activation",
                bounds=bounds,
                after=after if blur else None,
                watch=watch,
                progress=progress,
            )
    return image


def _unit_scores(output: Any, unit: Target) -> Tensor:
    """As `scores`, and for a channel (one, or one of each sample) of maps (N, C, ...) the mean over its places."""
    maps = isinstance(output, Tensor) and output.dim() > 2
    return scores(output.flatten(2).mean(2) if maps and isinstance(unit, int | Tensor) else output, unit)


def weighted(layers: Layers) -> dict[Any, float]:
    """Layers with their weights, 1 where none is said."""
    if isinstance(layers, Mapping):
        found = dict(layers)
    elif isinstance(layers, str | nn.Module):
        found = {layers: 1.0}
    else:
        found = dict.fromkeys(layers, 1.0)
    if not found:
        raise ValueError("no layer is named; one at least is needed")
    return found


def deep_dream(
    model: nn.Module,
    image: Tensor,
    layers: Layers,
    *,
    unit: int | Sequence[int] | None = None,
    steps: int = 10,
    lr: float = 0.005,
    octaves: int = 4,
    octave_scale: float = 1.4,
    jitter: int = 16,
    bounds: Bounds = None,
    generator: Any = None,
    watch: Watch = None,
    progress: bool = False,
) -> Tensor:
    """Ascent on Σ w ‖activation‖² of the layers, from images (N, C, H, W): x ← x + lr · g / mean |g|.

    lr is so the mean change of a pixel in a step. layers: one, several, or a dict of their weights. unit: only these
    channels. octaves: the image is changed at the smallest size first; what was added is enlarged and put on the image
    of the next size. jitter, bounds, watch: as in `activation_maximization`. Returns images of the same shape.
    Source: A. Mordvintsev, C. Olah, M. Tyka, "Inceptionism: going deeper into neural networks", 2015, and its notebook.
    """
    weights, clamp = weighted(layers), clamp_to(bounds)
    channels = None if unit is None else FUNCTIONS["as_tensor"](unit).reshape(-1).tolist()
    image = leaf(image).detach()
    if image.dim() != 4:
        raise ValueError(f"dreams are made of images (N, C, H, W), not of a tensor {tuple(image.shape)}")
    if steps < 1:
        raise ValueError(f"{steps} steps change nothing; one at least is needed")
    x = added = FUNCTIONS["zeros_like"](image)
    with looking(model) as look, counted(steps * octaves, progress) as tick:
        run = look.until(model, list(weights), tensors=True)
        for size in octave_sizes(image, octaves, octave_scale):
            base = resized(image, size)
            x = base + resized(added, size)
            moves = shifts(image, jitter, steps, generator)
            for step in range(steps):
                x = leaf(x)
                outputs = run(shifted(x, moves[step]))
                chosen = outputs if channels is None else [o[:, channels] for o in outputs]
                norm = sum((w * (a * a).sum() for w, a in zip(weights.values(), chosen, strict=True)), x.new_zeros(()))
                (g,) = grad(norm, x)
                tick({"activation": norm})
                if watch is not None:
                    watch(step, x.detach().clone(), {"activation": norm.detach()})
                with no_grad():
                    mean = g.abs().mean(dim=(1, 2, 3), keepdim=True)
                    x = clamp(x + lr * g / mean.where(mean > 0, 1))
            added = x - base
    return x
