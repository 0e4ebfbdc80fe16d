"""The pictures: one function for each kind of result, drawn by matplotlib (extra `explain`).

Every function takes tensors (of any device), arrays or lists, and returns the matplotlib `Figure`; none shows it or
touches pyplot. What is one panel takes `axes=` to be drawn into axes that are there; what is several takes `figure=`, a
figure or a part of one (`Figure.subfigures`). A picture is kept by `figure.savefig(path)`; a notebook shows it as the
last value of a cell.

Colours: what has a sign is drawn from blue through white to red with limits that are symmetric around 0, what has none
from black to yellow; over an image, red and blue cover it the more the larger the value. Images with values from 0 to 1
are drawn as they are, others between their least and largest value, over all images of the picture; `limits` says
otherwise. title, titles: above the picture, and above each panel. size: the width of a panel in inches. xlabel, ylabel:
of the axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..backends import np
from ..utils.reports import host
from .panels import (
    BLUE,
    INK,
    ORANGE,
    RED,
    SIGNED,
    bare,
    batch_of,
    drawing,
    flattened,
    grid_of,
    heading,
    limits_of,
    new_figure,
    overlay,
    palette,
    panel,
    pixels_of,
    scale_of,
    several,
    show_image,
    small_title,
    stack_of,
    ticks,
    titled,
)

__all__ = [
    "activations",
    "attack",
    "attention",
    "codes",
    "confusion",
    "curves",
    "decision",
    "gallery",
    "heatmap",
    "image",
    "images",
    "kernels",
    "octaves",
    "overlays",
    "rows",
    "saliency",
]

# -- images -----------------------------------------------------------------------------------------------------------


@drawing
def image(x: Any, *, title: Any = None, limits: tuple[float, float] | None = None, axes: Any = None) -> Any:
    """One image (H, W), (C, H, W) or (1, C, H, W) with 1, 3 or 4 channels."""
    pixels = pixels_of(x)
    axes = panel(axes, 3, 3 * pixels.shape[0] / pixels.shape[1] + 0.3)
    show_image(axes, pixels, limits_of([pixels], limits))
    titled(axes, title)
    return axes.figure.figure


@drawing
def images(
    x: Any,
    titles: Sequence[Any] | None = None,
    *,
    columns: int = 8,
    title: Any = None,
    limits: tuple[float, float] | None = None,
    size: float = 1.1,
    figure: Any = None,
) -> Any:
    """Images (N, C, H, W), or a list of images of any sizes, in rows of `columns`, each with its title.

    size: width of a panel in inches. limits: the values drawn black and white, the same for all images.
    """
    found = batch_of(x)
    names = several("titles", titles, len(found))
    low_high = limits_of(found, limits)
    columns = min(columns, len(found))
    rows = math.ceil(len(found) / columns)
    height = size * max(p.shape[0] / p.shape[1] for p in found) + (0 if titles is None else 0.22)
    figure, panels = grid_of(figure, rows, columns, size * columns, height * rows + (0 if title is None else 0.3))
    for axis in panels.flat:
        bare(axis)
    for axis, pixels, name in zip(panels.flat, found, names, strict=False):
        show_image(axis, pixels, low_high)
        small_title(axis, name)
    heading(figure, title)
    return figure.figure


@drawing
def rows(
    named: Mapping[str, Any],
    titles: Sequence[Any] | None = None,
    *,
    title: Any = None,
    limits: tuple[float, float] | None = None,
    size: float = 1.1,
    figure: Any = None,
) -> Any:
    """Rows of images, {name of the row: images (N, C, H, W) or a list}: originals above reconstructions, units below
    one another. Titles: of the columns. Rows may have different lengths and limits.
    """
    found = {name: batch_of(x) for name, x in named.items()}
    if not found:
        raise ValueError("there is no row to draw")
    columns = max(map(len, found.values()))
    names = several("titles", titles, columns)
    heights = [size * max((p.shape[0] / p.shape[1] for p in row), default=1) + 0.05 for row in found.values()]
    extra = 0.25 * (titles is not None) + 0.3 * (title is not None)
    width = size * columns + 0.09 * max(len(str(name)) for name in found) + 0.1
    figure, panels = grid_of(figure, len(found), columns, width, sum(heights) + extra, height_ratios=heights)
    for line, (name, row) in zip(panels, found.items(), strict=True):
        low_high = limits_of(row, limits)
        for axis in line:
            bare(axis)
        for axis, pixels in zip(line, row, strict=False):
            show_image(axis, pixels, low_high)
        line[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center", parse_math=False)
    for axis, name in zip(panels[0], names, strict=True):
        small_title(axis, name)
    heading(figure, title)
    return figure.figure


@drawing
def octaves(
    x: Sequence[Any],
    titles: Sequence[Any] | None = None,
    *,
    title: Any = None,
    limits: tuple[float, float] | None = None,
    height: float = 3.0,
    figure: Any = None,
) -> Any:
    """Images of growing size side by side, all at the same scale: the octaves of a dream. Titles: by default sizes."""
    found = batch_of(x)
    names = [f"{p.shape[1]} × {p.shape[0]}" for p in found] if titles is None else titles
    names = several("titles", names, len(found))
    low_high = limits_of(found, limits)
    tall = max(p.shape[0] for p in found)
    widths = [p.shape[1] for p in found]
    width = height * sum(widths) / tall + 0.1 * len(found)
    figure, panels = grid_of(figure, 1, len(found), width, height + 0.4, width_ratios=widths)
    for axis, pixels, name in zip(panels.flat, found, names, strict=True):
        show_image(axis, pixels, low_high)
        axis.set_anchor("S")
        small_title(axis, name)
    heading(figure, title)
    return figure.figure


# -- heat maps --------------------------------------------------------------------------------------------------------


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
    tall = size * max(p.shape[0] / p.shape[1] for p in found)
    extra = 0.25 * (titles is not None) + 0.3 * (title is not None)
    figure, panels = grid_of(figure, 2, len(found), size * len(found) + 0.8, 2 * tall + extra)
    for (above, below), pixels, heat, name in zip(panels.T, found, flat, names, strict=True):
        show_image(above, pixels, low_high)
        small_title(above, name)
        shown = overlay(below, heat, pixels, scale, alpha, low_high)
    figure.colorbar(shown, ax=panels, shrink=0.8, label=label or "")
    heading(figure, title)
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
    """
    found = batch_of(images)
    named = dict(maps) if isinstance(maps, Mapping) else {"map": maps}
    stacks = [stack_of(heats, len(found)) for heats in named.values()]
    names = several("titles", titles, len(found))
    low_high = limits_of(found, limits)
    tall = size * max(p.shape[0] / p.shape[1] for p in found) + 0.05
    columns = 1 + len(named)
    heights = tall * len(found) + 0.3 + 0.3 * (title is not None)
    figure, panels = grid_of(figure, len(found), columns, size * columns + (titles is not None) * 0.3, heights)
    for axis, name in zip(panels[0], ["input", *named], strict=True):
        small_title(axis, name)
    for i, row in enumerate(panels):
        show_image(row[0], found[i], low_high)
        if names[i] is not None:
            row[0].set_ylabel(str(names[i]), fontsize=8, parse_math=False)
        for axis, heats in zip(row[1:], stacks, strict=True):
            overlay(axis, heats[i], None, scale_of(heats[i], percentile=percentile), 1, None)
    heading(figure, title)
    return figure.figure


# -- what layers hold -------------------------------------------------------------------------------------------------


@drawing
def gallery(
    maps: Any,
    titles: Sequence[Any] | None = None,
    *,
    columns: int = 8,
    title: Any = None,
    label: str | None = None,
    shared: bool = True,
    size: float = 0.9,
    figure: Any = None,
) -> Any:
    """Maps (K, H, W) or (K, 1, H, W), such as one sample's activations in a layer, in rows of `columns`.

    Titles are by default the numbers from 0. shared: the same limits for all, with a colour bar, which `label` names;
    otherwise each map has its own.
    """
    x = host(maps)
    x = x[0] if x.ndim == 4 and len(x) == 1 else x[:, 0] if x.ndim == 4 and x.shape[1] == 1 else x
    if x.ndim != 3 or not x.size:
        raise ValueError(f"a gallery takes maps (K, H, W) or (K, 1, H, W), not {host(maps).shape}")
    names = several("titles", range(len(x)) if titles is None else titles, len(x))
    columns = min(columns, len(x))
    rows = math.ceil(len(x) / columns)
    height = (size * x.shape[1] / x.shape[2] + 0.2) * rows + 0.35 * (title is not None)
    figure, panels = grid_of(figure, rows, columns, size * columns + (0.8 if shared else 0), height)
    for axis in panels.flat:
        bare(axis)
    for axis, one, name in zip(panels.flat, x, names, strict=False):
        shown = axis.imshow(one, **scale_of(x if shared else one))
        titled(axis, name, fontsize=7, loc="center", pad=2)
    if shared:
        figure.colorbar(shown, ax=panels, shrink=0.8, label=label or "")
    heading(figure, title)
    return figure.figure


@drawing
def kernels(weight: Any, *, columns: int = 8, title: Any = None, size: float = 0.9, figure: Any = None) -> Any:
    """The kernels (K, C, h, w) of a layer: of one channel in blue and red, of three as colour images around gray.

    Colour images have the limits ±max|w| of all kernels, gray being 0. ValueError for another number of channels: take
    one of them, `weight[:, 3:4]`.
    """
    x = host(weight)
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            f"kernels are drawn of 1 or 3 channels, (K, C, h, w); {x.shape} is neither: take weight[:, 3:4]"
        )
    if x.shape[1] == 1:
        return gallery(x, columns=columns, title=title, label="weight", size=size, figure=figure)
    top = float(np.abs(x).max()) or 1.0
    return images(x, range(len(x)), columns=columns, title=title, limits=(-top, top), size=size, figure=figure)


@drawing
def activations(
    found: Mapping[str, Any],
    sample: int = 0,
    *,
    maps: int = 8,
    title: Any = None,
    size: float = 0.9,
    figure: Any = None,
) -> Any:
    """What `activations` found, a row a layer: the first `maps` maps of (N, C, H, W), or a strip of values of (N, F).

    sample: which of the batch. Limits are those of the layer. Values of other shapes are left out; ValueError where
    none is left.
    """
    layers = {name: host(x)[sample] for name, x in found.items() if hasattr(x, "shape") and len(x.shape) in (2, 4)}
    if not layers:
        raise ValueError("there is no activation of shape (N, C, H, W) or (N, features) to draw")
    maps = max([min(maps, len(x)) for x in layers.values() if x.ndim == 3], default=1)
    heights = [size if x.ndim == 3 else size / 2 for x in layers.values()]
    figure = (
        new_figure(max(size * maps + 1.6, 5), sum(heights) + 0.35 * (title is not None)) if figure is None else figure
    )
    grid = figure.add_gridspec(len(layers), maps + 1, height_ratios=heights, width_ratios=[*[1] * maps, 0.12])
    for i, (name, x) in enumerate(layers.items()):
        places = [grid[i, j] for j in range(min(maps, len(x)))] if x.ndim == 3 else [grid[i, :-1]]
        panels = [figure.add_subplot(place) for place in places]
        for axis, one in zip(panels, x if x.ndim == 3 else [x[None]], strict=False):
            bare(axis)
            shown = axis.imshow(one, aspect="equal" if x.ndim == 3 else "auto", **scale_of(x))
        shape = " × ".join(map(str, x.shape))
        panels[0].set_ylabel(f"{name}\n{shape}", fontsize=8, rotation=0, ha="right", va="center", parse_math=False)
        bar = figure.colorbar(shown, cax=figure.add_subplot(grid[i, -1], label="<colorbar>"))
        bar.ax.tick_params(labelsize=6)
    heading(figure, title)
    return figure.figure


@drawing
def attention(
    weights: Any,
    tokens: Sequence[Any] | None = None,
    keys: Sequence[Any] | None = None,
    *,
    columns: int = 4,
    titles: Sequence[Any] | None = None,
    title: Any = None,
    size: float = 2.2,
    figure: Any = None,
) -> Any:
    """Attention (T, S), or (heads, T, S) with a panel a head: row i holds how much query i looks at each key.

    tokens: labels of the T queries, and of the keys as well where `keys` names no others. columns: at most so many
    panels in a row.
    """
    x = host(weights)
    given = x.shape
    x = x[0] if x.ndim == 4 and len(x) == 1 else x[None] if x.ndim == 2 else x
    if x.ndim != 3 or not x.size:
        raise ValueError(
            f"attention to draw has shape (T, S) or (heads, T, S), not {given}; take one sample of a batch"
        )
    heads, t, s = x.shape
    keys = tokens if keys is None and tokens is not None and s == t else keys
    for what, labels, n in (("tokens", tokens, t), ("keys", keys, s)):
        if labels is not None and len(labels) != n:
            raise ValueError(f"{len(labels)} {what} for attention of shape {(t, s)}")
    names = several("titles", [f"head {i}" for i in range(heads)] if heads > 1 and titles is None else titles, heads)
    side = max(size, 0.16 * max(t, s)) if tokens is not None or keys is not None else size
    columns = max(1, min(columns, heads, int(10 / side)))
    rows = math.ceil(heads / columns)
    width, height = side * columns + 1.2, (side * min(max(t / s, 0.3), 2.5) + 0.5) * rows + 0.3 * (title is not None)
    figure, panels = grid_of(figure, rows, columns, width, height)
    for axis in panels.flat[heads:]:
        axis.set_visible(False)
    for i, (axis, one, name) in enumerate(zip(panels.flat, x, names, strict=False)):
        shown = axis.imshow(one, cmap="Blues", vmin=0, vmax=float(x.max()) or 1.0, aspect="auto")
        axis.tick_params(length=0)
        small_title(axis, name)
        if keys is not None:
            ticks(axis, "x", keys, fontsize=7)
        if tokens is not None:
            ticks(axis, "y", tokens if i % columns == 0 else [""] * t, fontsize=7)
    for axis in panels[:, 0]:
        axis.set_ylabel("query")
    for axis in panels[-1]:
        axis.set_xlabel("key")
    figure.colorbar(shown, ax=panels, shrink=0.8, label="weight")
    heading(figure, title)
    return figure.figure


# -- codes and classes ------------------------------------------------------------------------------------------------


@drawing
def codes(
    points: Any, classes: Any = None, *, names: Sequence[Any] | None = None, title: Any = None, axes: Any = None
) -> Any:
    """Points (N, 2) of `pca` or `tsne`, coloured by class (N,). names: of the classes 0, 1, ..."""
    x = host(points)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"codes are drawn in two dimensions, (N, 2), not {x.shape}: pca(x, 2) makes them so")
    axes = panel(axes, 4.8 if classes is None else 5.4, 4.2)
    if classes is None:
        axes.scatter(*x.T, s=10, color=BLUE, linewidths=0)
    else:
        _scatter(axes, x, classes, names, s=10, linewidths=0)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=1.8, handletextpad=0.2)
    axes.set(xticks=[], yticks=[])
    titled(axes, title)
    return axes.figure.figure


def _scatter(axes: Any, points: Any, classes: Any, names: Sequence[Any] | None, **options: Any) -> None:
    """The points of each class in its colour, with a label for the legend."""
    labels = host(classes).reshape(-1).astype(np.int64)
    if len(labels) != len(points):
        raise ValueError(f"{len(labels)} classes for {len(points)} points")
    colours = palette(int(labels.max()) + 1 if names is None else len(names))
    for k in np.unique(labels):
        of_class = points[labels == k]
        axes.scatter(*of_class.T, color=[colours[k]], label=str(k if names is None else names[k]), **options)


@drawing
def confusion(
    matrix: Any, names: Sequence[Any] | None = None, *, counts: bool | None = None, title: Any = None, axes: Any = None
) -> Any:
    """Counts (K, K), row the true class, column the answer; shade: the share of the row. names: of the classes.

    counts: write the numbers into the cells (None: up to 20 classes). The title says by default how many are right.
    """
    x = host(matrix)
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        raise ValueError(f"a confusion matrix is square, (K, K), not {x.shape}")
    k = len(x)
    labels = several("names", range(k) if names is None else names, k)
    share = x / np.maximum(x.sum(1, keepdims=True), 1e-12)
    written = k <= 20 if counts is None else counts
    side = min(max(0.42 * k + 0.8, 3.2), 9)
    axes = panel(axes, side if written else side + 0.8, side)
    shown = axes.imshow(share, cmap="Blues", vmin=0, vmax=1.15 if written else 1)
    if not written:
        axes.figure.colorbar(shown, ax=axes, shrink=0.8, label="share of the class")
    else:
        for i, j in zip(*np.nonzero(x), strict=True):
            colour = "white" if share[i, j] > 0.6 else INK if i == j else RED
            axes.text(j, i, f"{x[i, j]:g}", ha="center", va="center", color=colour, fontsize=8)
    ticks(axes, "x", labels)
    ticks(axes, "y", labels)
    axes.set(xlabel="answer", ylabel="class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    titled(axes, f"{np.trace(x):g} of {x.sum():g} right" if title is None else title)
    return axes.figure.figure


@drawing
def decision(
    xs: Any,
    ys: Any,
    scores: Any,
    *,
    points: Any = None,
    classes: Any = None,
    names: Sequence[Any] | None = None,
    threshold: float = 0.0,
    title: Any = None,
    axes: Any = None,
) -> Any:
    """Where a model of two inputs decides what: the result of `decision_grid`, and points (N, 2) with their classes.

    scores (len(ys), len(xs), K): each place has the colour of the class with the largest score, and the boundaries are
    lines. scores (len(ys), len(xs)), of one output: from blue to red, with the line where it equals `threshold` (0 for
    logits, 0.5 for probabilities).
    """
    from matplotlib.colors import ListedColormap

    xs, ys, scores = host(xs), host(ys), host(scores)
    scores = scores[:, :, 0] if scores.ndim == 3 and scores.shape[2] == 1 else scores
    if scores.ndim not in (2, 3) or scores.shape[:2] != (len(ys), len(xs)):
        raise ValueError(f"scores of shape {scores.shape} do not fit a grid of {len(ys)} by {len(xs)} points")
    axes = panel(axes, 5, 4.2)
    place: dict[str, Any] = {"extent": (*_edges(xs), *_edges(ys)), "origin": "lower", "aspect": "auto"}
    if scores.ndim == 2:
        top = float(np.abs(scores - threshold).max()) or 1.0
        shown = axes.imshow(scores, cmap=SIGNED, vmin=threshold - top, vmax=threshold + top, alpha=0.8, **place)
        axes.figure.colorbar(shown, ax=axes, shrink=0.85, label="score")
        _boundary(axes, xs, ys, scores - threshold)
        n = 2
    else:
        n = scores.shape[2]
        axes.imshow(scores.argmax(2), cmap=ListedColormap(palette(n)), vmin=-0.5, vmax=n - 0.5, alpha=0.3, **place)
        for k in range(n if n > 2 else 1):
            others = np.delete(scores, k, 2).max(2)
            _boundary(axes, xs, ys, scores[:, :, k] - others)
    if points is not None:
        found = host(points)
        if classes is None:
            axes.scatter(*found.T, s=14, color=INK, linewidths=0)
        else:
            named = names if names is not None else range(max(n, int(host(classes).max()) + 1))
            _marks(axes, found, classes, named, signed=scores.ndim == 2)
    axes.set(xlim=_edges(xs), ylim=_edges(ys), xlabel="x₁", ylabel="x₂")
    titled(axes, title)
    return axes.figure.figure


def _marks(axes: Any, points: Any, classes: Any, names: Sequence[Any], signed: bool) -> None:
    """Points with a white edge over the regions; beside a colour bar class 0 is blue and class 1 red."""
    options: dict[str, Any] = {"s": 22, "edgecolors": "white", "linewidths": 0.6}
    if signed and len(names) == 2:
        labels = host(classes).reshape(-1).astype(np.int64)
        for k, colour in enumerate((BLUE, RED)):
            axes.scatter(*points[labels == k].T, color=colour, label=str(names[k]), **options)
    else:
        _scatter(axes, points, classes, names, **options)
    axes.legend(loc="best", framealpha=0.9, edgecolor="none", handletextpad=0.2)


def _edges(x: Any) -> tuple[float, float]:
    """The outer edges of cells around evenly spaced points."""
    half = float(x[-1] - x[0]) / max(len(x) - 1, 1) / 2
    return float(x[0]) - half, float(x[-1]) + half


def _boundary(axes: Any, xs: Any, ys: Any, margin: Any) -> None:
    if (margin > 0).any() and (margin < 0).any():
        axes.contour(xs, ys, margin, levels=[0.0], colors=INK, linewidths=1)


# -- attacks and curves -----------------------------------------------------------------------------------------------


@drawing
def attack(
    before: Any,
    after: Any,
    scores_before: Any = None,
    scores_after: Any = None,
    *,
    names: Sequence[Any] | None = None,
    title: Any = None,
    limits: tuple[float, float] | None = None,
    size: float = 1.5,
    figure: Any = None,
) -> Any:
    """Images (N, C, H, W) before and after an attack, and between them the difference, a row each.

    scores_before, scores_after: probabilities (N, K), or logits, of which the softmax is taken; the largest stands
    above the image, red where the attack changed the answer. names: of the classes. The difference is drawn with limits
    that are symmetric around gray (one channel: blue and red), the largest being written above it.
    """
    first, second = batch_of(before), batch_of(after)
    if [p.shape for p in first] != [p.shape for p in second]:
        raise ValueError(f"{len(first)} images before the attack and {len(second)} after it, or of other shapes")
    told = [_answers(scores, len(first), names) for scores in (scores_before, scores_after)]
    low_high = limits_of([*first, *second], limits)
    n = len(first)
    tall = size * max(p.shape[0] / p.shape[1] for p in first) + (0.2 if scores_before is None else 0.36)
    figure, panels = grid_of(figure, n, 3, 3 * size + 0.2, tall * n + 0.1 + 0.3 * (title is not None))
    for i, (left, middle, right) in enumerate(panels):
        change = second[i].astype(np.float64) - first[i].astype(np.float64)
        top = float(np.abs(change).max())
        (was, sure), (is_now, now_sure) = told[0][i], told[1][i]
        show_image(left, first[i], low_high)
        small_title(left, f"before{sure}")
        show_image(middle, change, (-top or -1.0, top or 1.0), cmap=SIGNED)
        small_title(middle, f"difference\nup to {top:.2g}")
        show_image(right, second[i], low_high)
        small_title(right, f"after{now_sure}", color=INK if None in (was, is_now) or was == is_now else RED)
    heading(figure, title)
    return figure.figure


def _answers(scores: Any, n: int, names: Sequence[Any] | None) -> list[tuple[int | None, str]]:
    """(answer, line that says it and how sure it is) for each row of scores; (None, "") where there are no scores."""
    if scores is None:
        return [(None, "")] * n
    p = host(scores).astype(np.float64)
    if p.ndim != 2 or len(p) != n:
        raise ValueError(f"scores of shape {p.shape} for {n} images; they have shape (N, classes)")
    if (p < 0).any() or not np.allclose(p.sum(1), 1, atol=1e-3):
        p = np.exp(p - p.max(1, keepdims=True))
        p = p / p.sum(1, keepdims=True)
    best = [int(k) for k in p.argmax(1)]
    return [(k, f"\n{k if names is None else names[k]}, {row[k]:.0%}") for k, row in zip(best, p, strict=True)]


@drawing
def curves(
    lines: Any,
    x: Any = None,
    *,
    xlabel: str = "step",
    ylabel: str = "",
    log: bool = False,
    title: Any = None,
    axes: Any = None,
) -> Any:
    """Curves over steps: {name: values}, or one sequence of values. x: their places, by default 0, 1, 2, ...

    log: a logarithmic axis of values. What an ascent, an inversion or a style transfer reports of its steps.
    """
    named = dict(lines) if isinstance(lines, Mapping) else {None: lines}
    axes = panel(axes, 5, 3.2)
    for (name, values), colour in zip(named.items(), _colours(len(named)), strict=True):
        y = host(values)
        if y.ndim != 1:
            raise ValueError(f"a curve is a sequence of numbers, (steps,), not of shape {y.shape}")
        axes.plot(range(len(y)) if x is None else host(x), y, color=colour, label=name, linewidth=1.4)
    if any(name is not None for name in named):
        axes.legend(frameon=False)
    if log:
        axes.set_yscale("log")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    titled(axes, title)
    return axes.figure.figure


def _colours(n: int) -> list[Any]:
    return [BLUE, ORANGE, RED, INK][:n] if n <= 4 else palette(n)
