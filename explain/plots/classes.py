"""Pictures of codes and classes: points, confusions, boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...backends import np
from ...utils.reports import host
from .panels import BLUE, INK, RED, SIGNED, drawing, palette, panel, several, ticks, titled

__all__ = ["codes", "confusion", "decision"]


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
    logits, 0.5 for probabilities). names: of the classes of the points, by default 0, 1, ...
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
