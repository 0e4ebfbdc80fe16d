"""The content of one picture in the style of another."""

from __future__ import annotations

from .. import nn
from ..autograd import Tensor, no_grad
from ..models.perceptual import gram_matrix
from .descent import Bounds, Watch, descend, penalties, relative
from .maximisation import Layers, weighted
from .scope import leaf, looking, said

__all__ = ["style_transfer"]


def style_transfer(
    model: nn.Module,
    content: Tensor,
    style: Tensor,
    *,
    content_layers: Layers,
    style_layers: Layers,
    content_weight: float = 1.0,
    style_weight: float = 1.0,
    tv: float = 0.0,
    beta: float = 2.0,
    start: Tensor | None = None,
    steps: int = 200,
    optimizer: str = "lbfgs",
    lr: float | None = None,
    bounds: Bounds = None,
    watch: Watch = None,
    progress: bool = False,
) -> Tensor:
    """argmin content_weight Σ ‖F - F₀‖² / ‖F₀‖² + style_weight Σ ‖G - G₀‖² / ‖G₀‖² + tv TV(x): images (N, C, H, W).

    F is what a content layer gives and F₀ what it gives for the content, (N, C, H, W); G = F Fᵀ / (C H W) is the Gram
    matrix of a style layer (`models.gram_matrix`) and G₀ that of the style, one image or N, of any size. The sums are
    over layers, and a dict of layers says the weight of each. As distances are relative, weights do not depend on how
    large a network's activations are. start: the content by default; noise takes more steps. optimizer: "lbfgs", or
    "adam", which keeps to the bounds in each step. lr: 1, and 0.02 of Adam. steps: evaluations of the losses.
    watch: `watch(step, image, terms)` is called at each, the terms "content", "style" and "tv" with their weights.
    progress: show a bar. Source: L. Gatys, A. Ecker, M. Bethge, "A neural algorithm of artistic style", 2015.
    """
    contents, styles = weighted(content_layers), weighted(style_layers)
    for image in (content, style):
        if not isinstance(image, Tensor) or image.dim() != 4:
            raise ValueError("content and style are images (N, C, H, W)")
    if len(style) not in (1, len(content)):
        raise ValueError(f"{len(style)} styles for {len(content)} contents; one is needed, or one of each")
    with looking(model) as look:
        run = look.until(model, [*contents, *styles], tensors=True)
        with no_grad():
            wanted = [f.detach() for f in run(content)[: len(contents)]]
            maps = dict(zip(styles, run(style)[len(contents) :], strict=True))
        for layer, f in maps.items():
            if f.dim() != 4:
                raise ValueError(f"the layer {said(layer)} gives {tuple(f.shape)}, not maps (N, C, H, W)")
        grams = [gram_matrix(f.detach()) for f in maps.values()]

        def losses(x: Tensor, step: int) -> dict[str, Tensor]:
            found = run(x)
            near = zip(contents.values(), found, wanted, strict=False)
            like = zip(styles.values(), found[len(contents) :], grams, strict=True)
            terms = {
                "content": content_weight * sum((w * relative(f, f0) for w, f, f0 in near), x.new_zeros(())),
                "style": style_weight * sum((w * relative(gram_matrix(f), g) for w, f, g in like), x.new_zeros(())),
            }
            return terms | penalties(x, x, tv=tv, beta=beta)

        return descend(
            leaf(content if start is None else start),
            losses,
            steps=steps,
            lr=(1.0 if optimizer == "lbfgs" else 0.02) if lr is None else lr,
            optimizer=optimizer,
            bounds=bounds,
            watch=watch,
            progress=progress,
        )
