"""Charts as SVG, for pages that open without a network: lines, ranges by layer, histograms over time.

Colours and text are the page's (`STYLE`), so a chart follows its light or dark scheme and the reader's fonts. Turned
down: matplotlib's SVG, whose text is drawn outlines, whose colours are fixed, and which the base install lacks.
Each chart says in data attributes what its pixels mean: `data-x` and `data-y` are the ends of its axes.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from ..backends import np
from .history import Histograms
from .images import png

__all__ = ["STYLE", "Line", "heat", "legend", "lines", "ranges"]

#: drawn at about this size; a phone shows it nearly as it is
WIDTH = 400
#: more points of a line than this are drawn as the mean of neighbours, in the band between their extremes
POINTS = 300

STYLE = """
.chart { width: 100%; height: auto; display: block; }
.chart text { font-size: 12px; fill: var(--soft); }
.chart .tick { stroke: var(--line); stroke-width: 1; }
.chart .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.chart .raw { stroke-width: 1; opacity: .3; }
.chart .spread { stroke: none; opacity: .18; }
.chart .band { fill: var(--good); opacity: .13; }
.chart .fault { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 4 3; }
.chart .whisker { stroke-width: 6; stroke-linecap: round; opacity: .35; }
.chart image { image-rendering: pixelated; }
.legend { display: flex; flex-wrap: wrap; gap: .15rem .9rem; margin: .3rem 0 0; padding: 0; list-style: none; }
.legend li { font-size: .8rem; color: var(--soft); overflow-wrap: anywhere; }
.legend i { display: inline-block; width: .8rem; height: .25rem; border-radius: 2px; margin-right: .35rem;
  vertical-align: middle; }
"""


class Line(NamedTuple):
    """A curve: what it is called, its places, its values, and its colour in CSS."""

    name: str
    x: Any
    y: Any
    color: str


class _Axis(NamedTuple):
    """Values from low to high on pixels from start to end."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: Any) -> Any:
        low, high, value = (np.log10(v) for v in (self.low, self.high, value)) if self.log else (*self[:2], value)
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers on the axis: powers of 10 on a logarithmic one."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            every = max(-(-(last - first) // 6), 1)
            return [10.0**k for k in range(first, last + 1, every)]
        rough = (self.high - self.low) / 4 or 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * 0.999)
        count = math.floor(self.high / step + 1e-9)
        return [k * step for k in range(math.ceil(self.low / step - 1e-9), count + 1)]


def _number(value: float) -> str:
    """A number on an axis: 0.01, 250, 20k, 1e-5."""
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value / 1000:g}k" if size >= 1e4 else f"{value:.6g}"


def _axis_of(values: Any, start: float, end: float, log: bool, include: Sequence[float] = ()) -> _Axis:
    """An axis that holds all values, with some room at its ends."""
    values = values[np.isfinite(values)]
    if log:
        values = values[values > 0]
    values = np.concatenate([values, np.asarray(include, np.float64)])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.1, 1.0)
    if log:
        low, high = low / 1.3, high * 1.3
        if high / low < 10:
            middle = math.sqrt(low * high)
            low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    else:
        if low == high == 0:
            high = 1.0
        least = 0.01 * max(abs(low), abs(high))  # what moves by less looks flat, as it is, and has short numbers
        room = (high - low) * 0.05 if high - low > least else least
        low, high = (0.0 if 0 <= low < 0.3 * high else low - room), high + room
    return _Axis(low, high, start, end, log)


def _open(height: float, name: str, x: _Axis, y: _Axis) -> str:
    kinds = f'data-x="{x.low!r} {x.high!r}" data-y="{y.low!r} {y.high!r}" data-scale="{"log" if y.log else "linear"}"'
    place = f'data-box="{x.start} {x.end} {y.start} {y.end}"'
    said = escape(name, quote=True)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{said}" {kinds} {place}>'


def _grid(x: _Axis, y: _Axis) -> list[str]:
    """Ticks and their numbers: of steps below, of values on the left."""
    parts = []
    for value in y.ticks():
        place = y(value)
        parts.append(f'<line class="tick" x1="{x.start}" x2="{x.end}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(f'<text x="{x.start - 6}" y="{place + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    bottom = max(y.start, y.end)
    for i, value in enumerate(v for v in x.ticks() if v == int(v)):
        place, anchor = (x(value), "middle") if x(value) < x.end - 10 else (x.end + 9, "end")  # not beyond the picture
        said = f"{'' if i else 'step '}{_number(value)}"
        parts.append(f'<text x="{place:.1f}" y="{bottom + 17}" text-anchor="{anchor}">{said}</text>')
    return parts


def _path(x: Any, y: Any) -> str:
    """The d of a path through the points that are finite."""
    parts, pen = [], "M"
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        if math.isfinite(b):
            parts.append(f"{pen}{a:.2f} {b:.2f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


def _running_mean(values: Any, span: int) -> Any:
    """The mean over `span` values around each."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, last = np.maximum(places - span // 2, 0), np.minimum(places + span // 2 + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def lines(
    curves: Sequence[Line],
    name: str,
    *,
    log: bool = False,
    smooth: bool = False,
    band: tuple[float, float] | None = None,
) -> str:
    """Curves over steps. smooth: noisy curves pale, with their running mean; band: values shown as healthy.

    Where a value is not finite the curve has a gap, and the first such place a dashed line.
    """
    x = _steps([c.x for c in curves], 50.0, WIDTH - 10.0)
    every = np.concatenate([c.y for c in curves]) if curves else np.zeros(0)
    y = _axis_of(every, 204.0, 8.0, log, band or ())
    parts = [_open(230, name, x, y)]
    if band:
        top, bottom = y(band[1]), y(band[0])
        parts.append(f'<rect class="band" x="{x.start}" y="{top:.1f}" width="{x.end - x.start}" ')
        parts.append(f'height="{bottom - top:.1f}"><title>healthy: {band[0]:g} to {band[1]:g}</title></rect>')
    parts += _grid(x, y)
    for curve in curves:
        parts += _curve(curve, x, y, smooth)
    return "".join([*parts, "</svg>"])


def _steps(places: Sequence[Any], start: float, end: float) -> _Axis:
    ends = [(float(p[0]), float(p[-1])) for p in places if len(p)] or [(0.0, 1.0)]
    low, high = min(a for a, _ in ends), max(b for _, b in ends)
    return _Axis(low, high if high > low else low + 1, start, end)


def _curve(curve: Line, x: _Axis, y: _Axis, smooth: bool) -> list[str]:
    steps, values = curve.x.astype(np.float64), curve.y
    shown = np.where(np.isfinite(values) & ((values > 0) | (not y.log)), values, np.nan)
    bad = np.flatnonzero(~np.isfinite(values))
    last = values[np.isfinite(values)]
    said = f"{curve.name}: {last[-1]:.4g} at the end" if last.size else curve.name
    title, style = f"<title>{escape(said)}</title>", f'style="stroke:{curve.color}"'
    parts = []
    if bad.size:
        place = x(steps[bad[0]])
        top, bottom = sorted((y.start, y.end))
        word = escape(f"{curve.name} is not finite from step {int(steps[bad[0]])} on")
        ends = f'x1="{place:.1f}" x2="{place:.1f}" y1="{top}" y2="{bottom}"'
        parts.append(f'<line class="fault" {ends}><title>{word}</title></line>')
    whole = not np.isnan(shown).any()
    if len(steps) > POINTS:
        size = -(-len(steps) // POINTS)
        groups = [shown[i : i + size] for i in range(0, len(shown), size)]
        centres = np.array([steps[i : i + size].mean() for i in range(0, len(steps), size)])
        used = np.array([not np.isnan(g).all() for g in groups])
        groups = [g for g, u in zip(groups, used, strict=True) if u]
        low, high, shown = (np.array([f(g) for g in groups]) for f in (np.nanmin, np.nanmax, np.nanmean))
        steps = centres[used]
        around = _path(x(np.concatenate([steps, steps[::-1]])), y(np.concatenate([high, low[::-1]])))
        parts.append(f'<path class="spread" style="fill:{curve.color}" d="{around}"/>')
    if smooth and whole and len(shown) >= 60:
        parts.append(f'<path class="curve raw" data-name="{escape(curve.name, quote=True)}" {style} ')
        parts.append(f'd="{_path(x(steps), y(shown))}"/>')
        span = max(len(shown) // 25, 3)
        mean = np.exp(_running_mean(np.log(shown), span)) if y.log else _running_mean(shown, span)
        mean = _path(x(steps), y(mean))
        return [*parts, f'<path class="curve" {style} d="{mean}">{title}</path>']
    if np.isfinite(shown).sum() == 1:
        i = int(np.flatnonzero(np.isfinite(shown))[0])
        dot = f'cx="{x(steps[i]):.1f}" cy="{y(shown[i]):.1f}"'
        return [*parts, f'<circle {dot} r="3" style="fill:{curve.color}">{title}</circle>']
    label = f'data-name="{escape(curve.name, quote=True)}"'
    return [*parts, f'<path class="curve" {label} {style} d="{_path(x(steps), y(shown))}">{title}</path>']


def legend(curves: Sequence[Line]) -> str:
    """The names of curves beside their colours; of more than 8 the first and the last."""
    shown = list(curves) if len(curves) <= 8 else [curves[0], curves[-1]]
    items = [f'<li><i style="background:{c.color}"></i>{escape(c.name)}</li>' for c in shown]
    if len(shown) < len(curves):
        items.insert(1, f"<li>… {len(curves) - 2} between them …</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def ranges(rows: Sequence[Line], name: str, *, band: tuple[float, float] | None = None) -> str:
    """One row for each layer, from the input down: the median over time as a dot, 10 to 90 % as a bar; logarithmic."""
    pitch, top, left = 21, 8, 132.0
    height = top + pitch * len(rows) + 26
    used = [r.y[np.isfinite(r.y) & (r.y > 0)] for r in rows]
    x = _axis_of(np.concatenate([*used, np.zeros(0)]), left, WIDTH - 12.0, True, band or ())
    y = _Axis(0.0, float(max(len(rows), 1)), float(top), float(height - 26))
    parts = [_open(height, name, x, y)]
    if band:
        start, end = x(band[0]), x(band[1])
        parts.append(f'<rect class="band" x="{start:.1f}" y="{top}" width="{end - start:.1f}" ')
        parts.append(f'height="{pitch * len(rows)}"><title>healthy: {band[0]:g} to {band[1]:g}</title></rect>')
    for value in x.ticks():
        place = f'x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{top}" y2="{y.end}"'
        parts.append(f'<line class="tick" {place}/>')
        parts.append(f'<text x="{x(value):.1f}" y="{height - 8}" text-anchor="middle">{_number(value)}</text>')
    for i, (row, values) in enumerate(zip(rows, used, strict=True)):
        middle = y(i + 0.5)
        short = row.name.removesuffix(".weight")
        short = short if len(short) <= 17 else f"…{short[-16:]}"
        parts.append(f'<text x="{left - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(short)}')
        parts.append(f"<title>{escape(row.name)}</title></text>")
        if values.size:
            low, centre, high = (float(v) for v in np.quantile(values, (0.1, 0.5, 0.9)))
            said = f"<title>{escape(row.name)}: median {centre:.3g}, 10 to 90 %: {low:.3g} to {high:.3g}</title>"
            ends = f'x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{middle:.1f}" y2="{middle:.1f}"'
            parts.append(f'<line class="whisker" style="stroke:{row.color}" {ends}>{said}</line>')
            parts.append(
                f'<circle cx="{x(centre):.1f}" cy="{middle:.1f}" r="4" style="fill:{row.color}">{said}</circle>'
            )
    return "".join([*parts, "</svg>"])


def rebinned(histograms: Histograms, bins: int = 48) -> tuple[Any, Any]:
    """Histograms with edges of their own on common ones: shares (T, bins) and edges (bins + 1,).

    The common edges hold all but 0.2 % of all values on either side. Within a bin values are taken to lie evenly.
    """
    counts, edges = histograms.counts.astype(np.float64), _narrowed(*histograms[1:])
    middles, weights = ((edges[:, 1:] + edges[:, :-1]) / 2).ravel(), counts.ravel()
    order = np.argsort(middles)
    share = np.cumsum(weights[order]) / max(weights.sum(), 1.0)
    first, last = np.searchsorted(share, (0.002, 0.998))
    last = min(int(last), len(order) - 1)
    low, high = float(edges[:, :-1].ravel()[order[first]]), float(edges[:, 1:].ravel()[order[last]])
    if not high > low:
        low, high = float(edges.min()), float(edges.max())
    common = np.linspace(low, high, bins + 1)
    totals = np.maximum(counts.sum(1), 1.0)
    rows = [
        np.diff(np.interp(common, e, np.concatenate([[0.0], np.cumsum(c)]))) / n
        for c, e, n in zip(counts, edges, totals, strict=True)
    ]
    return np.stack(rows), common


def _narrowed(counts: Any, edges: Any) -> Any:
    """Edges where a histogram of one value (0, say, 300 times), which is 1 wide, is as narrow as a line."""
    filled, spans = np.count_nonzero(counts, axis=1), edges[:, -1:] - edges[:, :1]
    if not (filled > 1).any():
        return edges
    middle, width = edges.mean(1, keepdims=True), spans[filled > 1].min() / 100
    return np.where((filled == 1)[:, None], middle + (edges - middle) * (width / spans), edges)


def heat(histograms: Histograms, name: str) -> str:
    """Histograms over time: a column for each, more opaque where there are more values (by the square root)."""
    shares, edges = rebinned(histograms)
    size = -(-len(shares) // 200)  # neighbours of a long run share a column
    shares = np.stack([shares[i : i + size].mean(0) for i in range(0, len(shares), size)])
    top = float(np.quantile(shares[shares > 0], 0.98)) if (shares > 0).any() else 1.0
    pixels = np.zeros((*shares.T.shape, 4), np.uint8)
    pixels[..., :3] = (52, 120, 206)
    pixels[..., 3] = np.round(255 * np.sqrt(np.clip(shares.T[::-1] / top, 0, 1)))
    x = _steps([histograms.steps], 50.0, WIDTH - 10.0)
    y = _Axis(float(edges[0]), float(edges[-1]), 126.0, 6.0)
    data = base64.b64encode(png(pixels)).decode()
    box = f'x="{x.start}" y="{y.end}" width="{x.end - x.start}" height="{y.start - y.end}"'
    picture = f'<image {box} preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'
    return "".join([_open(150, name, x, y), *_grid(x, y), picture, "</svg>"])
