"""What the pictures have in common: figures without pyplot, arrays of images and heat maps, scales of colours."""

from __future__ import annotations

import functools
import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ...backends import np
from ...utils.reports import host

__all__ = [
    "BLUE",
    "GREEN",
    "INK",
    "ORANGE",
    "RED",
    "SIGNED",
    "bare",
    "batch_of",
    "drawing",
    "flattened",
    "grid_of",
    "height_of",
    "limits_of",
    "new_figure",
    "overlay",
    "palette",
    "panel",
    "pixels_of",
    "scale_of",
    "several",
    "show_image",
    "small_title",
    "stack_of",
    "ticks",
    "titled",
    "whole",
    "wrapped",
]

INK, BLUE, ORANGE, RED, GREEN = "#333333", "#2a6fbb", "#e07b28", "#b3261e", "#2f8f5b"
SIGNED, UNSIGNED, OVER = "RdBu_r", "inferno", ["#1f6fe0", "#e8112d"]
STYLE: dict[Any, Any] = {
    "figure.dpi": 130,
    "savefig.dpi": 130,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
}
#: inches that a letter of a small title takes
LETTER = 0.062
_Drawing = TypeVar("_Drawing", bound=Callable[..., Any])


def drawing(function: _Drawing) -> _Drawing:
    """A function that draws: in the style of this module, whatever the program's own is."""

    @functools.wraps(function)
    def styled(*args: Any, **kwargs: Any) -> Any:
        try:
            import matplotlib
        except ImportError:
            raise ImportError("pictures need matplotlib: pip install 'chainrule[explain]'") from None
        with matplotlib.rc_context(STYLE):
            return function(*args, **kwargs)

    return styled  # type: ignore[return-value]


# -- figures ----------------------------------------------------------------------------------------------------------


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=figure.dpi)  # which may have been changed by set_dpi
    return file.getvalue()


def new_figure(width: float, height: float) -> Any:
    """A figure of this size in inches, which notebooks show."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure._repr_png_ = functools.partial(_png, figure)  # type: ignore[attr-defined]  # for notebooks that have not imported pyplot
    return figure


def panel(axes: Any, width: float, height: float) -> Any:
    """The axes that are given, or those of a new figure."""
    return new_figure(width, height).add_subplot() if axes is None else axes


def whole(figure: Any, title: Any, width: float, height: float) -> Any:
    """The figure that is given, or a new one of this size in inches and what the title takes; with the title on it."""
    if figure is None:
        figure = new_figure(max(width, 2.4), height + (0 if title is None else 0.3))
    if title is not None:
        figure.suptitle(str(title), fontsize=10, parse_math=False)
    return figure


def grid_of(
    figure: Any, title: Any, rows: int, columns: int, width: float, height: float, **options: Any
) -> tuple[Any, Any]:
    """`whole` and its panels, an array (rows, columns)."""
    figure = whole(figure, title, width, height)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def bare(axis: Any) -> None:
    """Axes without lines and ticks."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def titled(axis: Any, title: Any, **options: Any) -> None:
    """The title of axes, where there is one; nothing in it is read as mathematics."""
    if title is not None:
        axis.set_title(str(title), parse_math=False, **options)


def small_title(axis: Any, title: Any, **options: Any) -> None:
    """A title as it stands over one of many panels."""
    titled(axis, title, fontsize=8, loc="center", pad=3, **options)


def ticks(axis: Any, which: str, labels: Sequence[Any], **options: Any) -> None:
    """A label at each of 0, 1, 2, ...; long ones stand upright beneath their columns."""
    texts = [str(label) for label in labels]
    turned = 90 if which == "x" and max(map(len, texts)) > 2 else 0
    place = axis.set_xticks if which == "x" else axis.set_yticks
    place(range(len(texts)), texts, rotation=turned, parse_math=False, **options)


def wrapped(names: Sequence[Any], size: float) -> tuple[list[Any], float, float]:
    """Names in lines that fit over panels of that width, the width that their longest word needs, and how much higher
    the lines beyond the first are."""
    texts = [None if name is None else str(name) for name in names]
    words = [word for text in texts if text for word in text.split()]
    size = max([size, *(LETTER * len(word) for word in words)])
    lines = [text and "\n".join(textwrap.wrap(text, int(size / LETTER + 0.01))) for text in texts]
    return lines, size, 0.13 * max([text.count("\n") for text in lines if text], default=0)


def several(what: str, given: Any, n: int) -> list[Any]:
    """`n` titles or names, or none of them."""
    found = [None] * n if given is None else list(given)
    if len(found) != n:
        raise ValueError(f"{len(found)} {what} for {n} panels")
    return found


# -- arrays -----------------------------------------------------------------------------------------------------------


def pixels_of(x: Any) -> Any:
    """An image (H, W), (C, H, W) or (1, C, H, W) as (H, W) or, in colours, (H, W, 3 or 4)."""
    x = host(x)
    given = x.shape
    if x.ndim == 4 and len(x) == 1:
        x = x[0]
    if x.ndim == 3 and x.shape[0] in (1, 3, 4):
        return x[0] if len(x) == 1 else np.moveaxis(x, 0, -1)
    if x.ndim != 2:
        raise ValueError(f"an image has shape (H, W) or (C, H, W) with 1, 3 or 4 channels, not {given}")
    return x


def batch_of(x: Any) -> list[Any]:
    """Images (N, C, H, W), one image, or a list of images, each as `pixels_of` gives it."""
    if isinstance(x, (list, tuple)):
        return [pixels_of(one) for one in x]
    x = host(x)
    return [pixels_of(one) for one in x] if x.ndim == 4 else [pixels_of(x)]


def height_of(pixels: Sequence[Any], width: float) -> float:
    """How high panels of that width are that hold these images."""
    return width * max((x.shape[0] / x.shape[1] for x in pixels), default=1)


def limits_of(pixels: Sequence[Any], limits: tuple[float, float] | None) -> tuple[float, float]:
    """The values that are drawn black and white."""
    if limits is not None:
        return limits
    if not pixels or not all(x.size for x in pixels):
        raise ValueError("there is no image to draw")
    if all(x.dtype == np.uint8 for x in pixels):
        return 0, 255
    low, high = (float(f([f(x) for x in pixels])) for f in (np.min, np.max))
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def show_image(axis: Any, pixels: Any, limits: tuple[float, float], cmap: str = "gray", **options: Any) -> Any:
    """An image that `pixels_of` made, with these values black and white (in colours: 0 and 1)."""
    low, high = limits
    if pixels.ndim == 3:
        pixels = np.clip((pixels.astype(np.float64) - low) / ((high - low) or 1), 0, 1)
    bare(axis)
    return axis.imshow(pixels, cmap=cmap, vmin=low, vmax=high, interpolation=interpolation(axis, pixels), **options)


def interpolation(axis: Any, pixels: Any) -> str:
    """How to draw pixels in axes: enlarged, they stay squares; made smaller, their means are drawn.

    (matplotlib's "auto" smooths what is enlarged less than three times.) How wide axes in a grid become is known when
    they are drawn; here what the grid leaves them at most is taken.
    """
    spec, figure = axis.get_subplotspec(), axis.figure
    room = [axis.bbox.width, axis.bbox.height]
    if spec is not None:
        grid = spec.get_gridspec()
        sides = (grid.get_width_ratios(), spec.colspan), (grid.get_height_ratios(), spec.rowspan)
        parts = [sum(ratios[span.start : span.stop]) / sum(ratios) for ratios, span in sides]
        room = [figure.bbox.width * parts[0], figure.bbox.height * parts[1]]
    scale = min(room[0] / pixels.shape[1], room[1] / pixels.shape[0])
    return "nearest" if scale > 1.1 else "auto"


def flattened(heat: Any) -> Any:
    """A heat map (H, W) of (H, W) or (C, H, W): over channels the largest value, or with signs the sum."""
    heat = host(heat)
    given = heat.shape
    if heat.ndim == 4 and len(heat) == 1:
        heat = heat[0]
    if heat.ndim == 3:
        heat = heat.sum(0) if (heat < 0).any() else heat.max(0)
    if heat.ndim != 2:
        raise ValueError(f"a heat map has shape (H, W) or (C, H, W), not {given}")
    return heat


def scale_of(*heats: Any, percentile: float = 100) -> dict[str, Any]:
    """Colour map and limits for heat maps: symmetric around 0 where there are values below it."""
    values = np.concatenate([np.asarray(h).reshape(-1) for h in heats])
    if not values.size:
        raise ValueError("there is no heat map to draw")
    top = float(np.percentile(np.abs(values), percentile)) or 1.0
    if (values < 0).any():
        return {"cmap": SIGNED, "vmin": -top, "vmax": top}
    return {"cmap": UNSIGNED, "vmin": 0.0, "vmax": top}


def stack_of(heats: Any, n: int) -> list[Any]:
    """`n` heat maps of (N, H, W), (N, C, H, W) or a list, each (H, W)."""
    found = list(heats) if isinstance(heats, (list, tuple)) else list(host(heats))
    if len(found) != n:
        raise ValueError(f"{len(found)} heat maps for {n} images")
    return [flattened(heat) for heat in found]


def palette(n: int) -> list[Any]:
    """A colour for each of n classes."""
    import matplotlib

    if n <= 20:
        return [matplotlib.colormaps["tab10" if n <= 10 else "tab20"](i) for i in range(n)]
    return [matplotlib.colormaps["hsv"](i / n) for i in range(n)]


def overlay(axis: Any, heat: Any, pixels: Any, scale: dict[str, Any], alpha: float, limits: Any) -> Any:
    """A heat map stretched over an image, red (below 0 blue) and the more opaque the larger; or alone, without image.

    What the colour bar is to show is returned. Turned down: the colours of a map alone, of which the light ones are
    taken for the image.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize

    bare(axis)
    if pixels is None:
        return axis.imshow(heat, interpolation=interpolation(axis, heat), **scale)
    show_image(axis, pixels, limits)
    h, w = pixels.shape[:2]
    low, top = scale["vmin"], scale["vmax"]
    hues = OVER[low == 0 :]
    axis.imshow(
        heat,
        alpha=alpha * np.clip(np.abs(heat) / top, 0, 1),
        extent=(-0.5, w - 0.5, h - 0.5, -0.5),
        interpolation="nearest",
        **{**scale, "cmap": ListedColormap(hues)},
    )
    return ScalarMappable(
        Normalize(low, top), LinearSegmentedColormap.from_list("over", [*hues[:-1], "white", hues[-1]])
    )
