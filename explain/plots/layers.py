"""Pictures of what layers hold: maps, kernels, activations, attention."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...backends import np
from ...utils.reports import host
from .panels import bare, drawing, grid_of, interpolation, scale_of, several, small_title, ticks, titled, whole
from .pixels import images

__all__ = ["activations", "attention", "gallery", "kernels"]


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
    height = (size * x.shape[1] / x.shape[2] + 0.2) * rows
    figure, panels = grid_of(figure, title, rows, columns, size * columns + (0.8 if shared else 0), height)
    for axis in panels.flat:
        bare(axis)
    for axis, one, name in zip(panels.flat, x, names, strict=False):
        shown = axis.imshow(one, interpolation=interpolation(axis, one), **scale_of(x if shared else one))
        titled(axis, name, fontsize=7, loc="center", pad=2)
    if shared:
        figure.colorbar(shown, ax=panels, shrink=0.8, label=label or "")
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
    figure = whole(figure, title, max(size * maps + 1.6, 5), sum(heights))
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
    width, height = side * columns + 1.2, (side * min(max(t / s, 0.3), 2.5) + 0.5) * rows
    figure, panels = grid_of(figure, title, rows, columns, width, height)
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
    return figure.figure
