"""Pictures of heat maps: what in an image a score depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .panels import (
    batch_of,
    drawing,
    flattened,
    grid_of,
    height_of,
    limits_of,
    overlay,
    panel,
    pixels_of,
    scale_of,
    several,
    show_image,
    small_title,
    stack_of,
    titled,
    wrapped,
)

__all__ = ["heatmap", "overlays", "saliency"]


@drawing
def heatmap(
    heat: Any,
    image: Any = None,
    *,
    title: Any = None,
    label: str | None = None,
    alpha: float = 0.8,
    percentile: float = 100,
    limits: tuple[float, float] | None = None,
    axes: Any = None,
) -> Any:
    """A heat map (h, w) or (C, h, w), alone or over an image (C, H, W), with its colour bar.

    A map smaller than the image is stretched over it (Grad-CAM, occlusion). Of several channels the largest value is
    drawn, or their sum where there are signs. label: of the colour bar. alpha: how much the map covers the image where
    it is largest; where it is 0 it covers nothing. percentile: magnitudes beyond this percentile are drawn as it is (99
    keeps outliers from hiding the rest).
    """
    flat = flattened(heat)
    pixels = None if image is None else pixels_of(image)
    h, w = (flat if pixels is None else pixels).shape[:2]
    axes = panel(axes, 3.9, 3 * h / w + 0.3)
    low_high = None if pixels is None else limits_of([pixels], limits)
    shown = overlay(axes, flat, pixels, scale_of(flat, percentile=percentile), alpha, low_high)
    axes.figure.colorbar(shown, ax=axes, shrink=0.85, label=label or "")
    titled(axes, title)
    return axes.figure.figure


@drawing
def overlays(
    images: Any,
    heats: Any,
    titles: Sequence[Any] | None = None,
    *,
    title: Any = None,
    label: str | None = None,
    alpha: float = 0.8,
    percentile: float = 100,
    limits: tuple[float, float] | None = None,
    size: float = 1.5,
    figure: Any = None,
) -> Any:
    """Images (N, C, H, W) above, heat maps (N, h, w) or (N, C, h, w) over them below: Grad-CAM, occlusion maps.

    All maps have the same limits, which the colour bar shows; the other arguments are those of `heatmap`.
    """
    found = batch_of(images)
    flat = stack_of(heats, len(found))
    names = several("titles", titles, len(found))
    low_high, scale = limits_of(found, limits), scale_of(*flat, percentile=percentile)
    height = 2 * height_of(found, size) + (0 if titles is None else 0.25)
    figure, panels = grid_of(figure, title, 2, len(found), size * len(found) + 0.8, height)
    for (above, below), pixels, heat, name in zip(panels.T, found, flat, names, strict=True):
        show_image(above, pixels, low_high)
        small_title(above, name)
        shown = overlay(below, heat, pixels, scale, alpha, low_high)
    figure.colorbar(shown, ax=panels, shrink=0.8, label=label or "")
    return figure.figure


@drawing
def saliency(
    images: Any,
    maps: Any,
    titles: Sequence[Any] | None = None,
    *,
    title: Any = None,
    percentile: float = 100,
    limits: tuple[float, float] | None = None,
    size: float = 1.3,
    figure: Any = None,
) -> Any:
    """Images (N, C, H, W) and beside each its map, of one method or, as a dict {name: maps}, of several.

    maps: (N, C, H, W) or (N, H, W), as `saliency`, `integrated_gradients` and the like return them; channels are put
    together as by `heatmap`. Each map has its own limits: what counts is where it is large. titles: one per image.
    size: of a panel in inches, at least what the longest word in the names of the methods needs.
    """
    found = batch_of(images)
    named = dict(maps) if isinstance(maps, Mapping) else {"map": maps}
    stacks = [stack_of(heats, len(found)) for heats in named.values()]
    names = several("titles", titles, len(found))
    low_high = limits_of(found, limits)
    heads, size, more = wrapped(["input", *named], size)
    height = (height_of(found, size) + 0.05) * len(found) + 0.3 + more
    columns = 1 + len(named)
    width = size * columns + (0 if titles is None else 0.3)
    figure, panels = grid_of(figure, title, len(found), columns, width, height)
    for axis, head in zip(panels[0], heads, strict=True):
        small_title(axis, head)
    for i, row in enumerate(panels):
        show_image(row[0], found[i], low_high)
        if names[i] is not None:
            row[0].set_ylabel(str(names[i]), fontsize=8, parse_math=False)
        for axis, heats in zip(row[1:], stacks, strict=True):
            overlay(axis, heats[i], None, scale_of(heats[i], percentile=percentile), 1, None)
    return figure.figure
