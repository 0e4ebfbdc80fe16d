"""Pictures of images: side by side, in rows, of growing size, and before and after an attack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...backends import np
from ...utils.reports import host
from .panels import (
    INK,
    RED,
    SIGNED,
    bare,
    batch_of,
    drawing,
    grid_of,
    height_of,
    limits_of,
    panel,
    pixels_of,
    several,
    show_image,
    small_title,
    titled,
)

__all__ = ["attack", "image", "images", "octaves", "rows"]


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
    height = height_of(found, size) + (0 if titles is None else 0.22)
    figure, panels = grid_of(figure, title, rows, columns, size * columns, height * rows)
    for axis in panels.flat:
        bare(axis)
    for axis, pixels, name in zip(panels.flat, found, names, strict=False):
        show_image(axis, pixels, low_high)
        small_title(axis, name)
    return figure.figure


@drawing
def rows(
    named: Mapping[str, Any],
    titles: Sequence[Any] | Mapping[str, Sequence[Any]] | None = None,
    *,
    title: Any = None,
    limits: tuple[float, float] | None = None,
    size: float = 1.1,
    figure: Any = None,
) -> Any:
    """Rows of images, {name of the row: images (N, C, H, W) or a list}: originals above reconstructions, units below
    one another. Titles: of the columns, or {name of the row: titles of its images}. Rows may have different lengths
    and limits.
    """
    found = {name: batch_of(x) for name, x in named.items()}
    if not found:
        raise ValueError("there is no row to draw")
    columns = max(map(len, found.values()))
    given = titles if isinstance(titles, Mapping) else {} if titles is None else {next(iter(found)): titles}
    if not set(given) <= set(found):
        raise ValueError(f"titles of the rows {list(given)}; the rows are {list(found)}")
    lengths = {name: len(row) if given is titles else columns for name, row in found.items()}
    above = {name: several("titles", given.get(name), n) for name, n in lengths.items()}
    heights = [height_of(row, size) + (0.25 if name in given else 0.05) for name, row in found.items()]
    height = sum(heights)
    width = size * columns + 0.09 * max(len(str(name)) for name in found) + 0.1
    figure, panels = grid_of(figure, title, len(found), columns, width, height, height_ratios=heights)
    for line, (name, row) in zip(panels, found.items(), strict=True):
        low_high = limits_of(row, limits)
        for axis in line:
            bare(axis)
        for axis, pixels in zip(line, row, strict=False):
            show_image(axis, pixels, low_high)
        line[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center", parse_math=False)
        for axis, text in zip(line, above[name], strict=False):
            small_title(axis, text)
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
    """Images of growing size side by side, all at the same scale: the octaves of a dream.

    titles: by default sizes. height: of the largest image in inches.
    """
    found = batch_of(x)
    names = [f"{p.shape[1]} × {p.shape[0]}" for p in found] if titles is None else titles
    names = several("titles", names, len(found))
    low_high = limits_of(found, limits)
    tall = max(p.shape[0] for p in found)
    widths = [p.shape[1] for p in found]
    width = height * sum(widths) / tall + 0.1 * len(found)
    figure, panels = grid_of(figure, title, 1, len(found), width, height + 0.25, width_ratios=widths)
    for axis, pixels, name in zip(panels.flat, found, names, strict=True):
        show_image(axis, pixels, low_high)
        axis.set_anchor("S")
        small_title(axis, name)
    return figure.figure


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
    tall = height_of(first, size) + (0.2 if scores_before is None else 0.36)
    figure, panels = grid_of(figure, title, n, 3, 3 * size + 0.2, tall * n + 0.1)
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
