"""One training as one HTML page: what it shows in plain words, curves, layers, histograms, settings.

    recorder.report("run.html", title="LeNet on digits", config={"lr": 0.1})

The page is one file without scripts, and its Content-Security-Policy forbids it to fetch anything, so it opens without
a network and nothing in a name can act. It follows the reader's light or dark scheme and fits a phone. (Not to be
confused with `reports`: tables of plain text, which the reports of other calls share.)
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..autograd.serialization import replacing
from ..backends import np
from .charts import STYLE, Line, heat, legend, lines, ranges
from .history import Curves, HistogramCurves, History
from .measures import HEALTHY
from .verdicts import UNSEEN, verdicts, words

__all__ = ["page", "write_report"]

_COLORS = ("var(--c0)", "var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)")
#: so many layers have their histograms shown at once; those of the others are folded up
_OPEN = 12
#: and so many have rows of their own in the charts by layer
_ROWS = 16

_PAGE_STYLE = """
:root { color-scheme: light dark; --page: #f7f7f5; --card: #ffffff; --ink: #1d2127; --soft: #5f6873; --line: #e3e5e8;
  --accent: #2a6fbb; --good: #23864f; --note: #a76400; --bad: #c02b23;
  --c0: #2a6fbb; --c1: #d8701b; --c2: #2f8f5b; --c3: #8a4fbf; --c4: #b3261e; --c5: #4b8f99; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1c2026; --ink: #e7e9ec; --soft: #a3abb5;
  --line: #313740; --accent: #6aa9ee; --good: #4fbf82; --note: #e0a040; --bad: #f07167;
  --c0: #6aa9ee; --c1: #f2994a; --c2: #57c28a; --c3: #b98be8; --c4: #f07167; --c5: #79c3cf; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .2rem; }
h3 { font-size: .95rem; margin: 0 0 .5rem; font-weight: 600; overflow-wrap: anywhere; }
p { margin: .2rem 0 .8rem; }
.soft { color: var(--soft); }
h2 + p { max-width: 48rem; font-size: .92rem; }
.facts { display: flex; flex-wrap: wrap; gap: .4rem 2rem; margin: 1rem 0 0; padding: 0; }
.facts div { margin: 0; }
.facts dt { font-size: .78rem; color: var(--soft); }
.facts dd { margin: 0; font-size: 1.05rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.verdicts { list-style: none; margin: 1.5rem 0 0; padding: 0; display: grid; gap: .5rem; }
.verdicts li { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--kind);
  border-radius: 6px; padding: .6rem .9rem; overflow-wrap: anywhere; }
.verdicts b { color: var(--kind); margin-right: .5rem; }
.bad { --kind: var(--bad); } .note { --kind: var(--note); } .good { --kind: var(--good); }
.cards { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1rem; min-width: 0; }
.card * + h3 { margin-top: 1rem; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
th { font-weight: 600; color: var(--soft); }
th:first-child, td:first-child { text-align: left; }
table.words td { white-space: normal; text-align: left; overflow-wrap: anywhere; }
table.words td:first-child { color: var(--soft); width: 30%; min-width: 7rem; }
details { margin: .8rem 0; }
summary { cursor: pointer; color: var(--accent); padding: .3rem 0; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1rem; margin: .5rem 0;
  overflow-x: auto; font-size: .82rem; line-height: 1.45; }
footer { margin-top: 2.5rem; font-size: .82rem; color: var(--soft); }
@media print { .card, .verdicts li { break-inside: avoid; } body { background: none; } }
"""


def write_report(
    history: History,
    path: Any,
    title: str = "Training",
    *,
    summary: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write `page(...)` to a file, whole or not at all; its folder is made. Returns the path.

    Arguments as of `page`.
    """
    path = Path(path)
    text = page(history, title, summary=summary, config=config)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(text.encode())
    return path


def page(
    history: History, title: str = "Training", *, summary: str | None = None, config: Mapping[str, Any] | None = None
) -> str:
    """The page as HTML. title: its headline.

    summary: a text about the model. config: settings of the run, shown as a table.
    """
    sections = [
        _head(history, title),
        _learning(history),
        _layers(history),
        _dead(history),
        _histograms(
            "Outputs of layers over time",
            "Each column is a histogram, stronger in colour where there are more values. A healthy layer keeps its "
            "width; where values gather at 0, or at the ends of an activation function, little passes.",
            history.activations,
            history.info.get("layers", {}),
        ),
        _histograms(
            "Gradients over time",
            "Gradients of weights, each column a histogram. They become smaller as the loss does; they should be of "
            "about one size in all layers.",
            history.gradient_histograms,
        ),
        _costs(history),
        _numbers(history),
        _settings(history, summary, config or {}),
    ]
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{_PAGE_STYLE}{STYLE}</style></head>\n'
        f"<body><main>\n{''.join(sections)}</main></body></html>\n"
    )


# -- parts of a page --------------------------------------------------------------------------------------------------


def _section(title: str, text: str, *parts: str) -> str:
    body = f"<p class=soft>{escape(text)}</p>" if text else ""
    return f"<section><h2>{escape(title)}</h2>{body}{''.join(parts)}</section>\n"


def _cards(cards: Iterable[tuple[str, str]]) -> str:
    named = [(f"<h3>{escape(title)}</h3>" if title else "", body) for title, body in cards]
    found = [f'<div class="card">{title}{body}</div>' for title, body in named]
    return f'<div class="cards">{"".join(found)}</div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of texts, which is scrolled sideways where it is too wide."""
    names = f"<tr>{''.join(f'<th>{escape(h)}</th>' for h in head)}</tr>" if any(head) else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table class="{kind}">{names}{body}</table></div>'


def _plotted(curves: Curves, among: Sequence[str] | None = None) -> list[Line]:
    """Curves of layers (of those in `among`), in colours from the first one's blue to the last one's orange."""
    names = list(curves) if among is None else list(among)
    hues = {name: 220 + 160 * i / max(len(names) - 1, 1) for i, name in enumerate(names)}
    found = [(n, curves[n], f"hsl({hues[n] % 360:.0f} 62% 55%)") for n in names if n in curves]
    return [Line(n, series.steps, series.values, color) for n, series, color in found]


def _figure(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"


# -- sections ---------------------------------------------------------------------------------------------------------


def _head(history: History, title: str) -> str:
    facts = [("steps", str(history.steps))]
    looked = max((len(series.steps) for series in history.weights.values()), default=0)
    if looked:
        facts.append(("looked at", f"{looked} of them"))
    if "seconds" in history.costs:
        seconds = history.costs["seconds"].values
        facts += [("time", _duration(float(seconds.sum()))), ("median step", _duration(float(np.median(seconds))))]
    if history.info.get("parameters"):
        facts.append(("parameters", f"{history.info['parameters']:,}"))
    for name, series in history.rates.items():
        if not np.ptp(series.values):  # one that changes has a chart
            facts.append(("learning rate" if name == "lr" else name, _figure(float(series.values[0]))))
    facts += [(f"last {name}", _figure(float(history[name].values[-1]))) for name in list(history.values)[:4]]
    shown = "".join(f"<div><dt>{escape(n)}</dt><dd>{escape(v)}</dd></div>" for n, v in facts)
    said = "".join(f'<li class="{v.kind}"><b>{v.sign}</b>{escape(v.text)}</li>' for v in verdicts(history))
    return f'<h1>{escape(title)}</h1><dl class="facts">{shown}</dl><ul class="verdicts">{said}</ul>\n'


def family(name: str) -> str:
    """What a logged number is a kind of: val_loss and train/loss are losses."""
    kind = [word for word in words(name) if word not in UNSEEN | {"train", "training"}]
    return "loss" if kind[-1:] == ["loss"] else "_".join(kind) or name


def _learning(history: History) -> str:
    families: dict[str, list[str]] = {}
    for name in history.values:
        families.setdefault(family(name), []).append(name)
    cards = []
    for kind in sorted(families, key=lambda f: "loss" not in f):
        names = families[kind]
        curves = [Line(n, *history[n], _COLORS[i % len(_COLORS)]) for i, n in enumerate(names)]
        cards.append(
            (", ".join(names), _chart(curves, ", ".join(names), log=spans_decades(*(c.y for c in curves)), smooth=True))
        )
    rates = [
        Line(n, series.steps, series.values, _COLORS[i % len(_COLORS)])
        for i, (n, series) in enumerate(history.rates.items())
    ]
    if any(np.ptp(line.y) for line in rates):
        cards.append(("learning rate", _chart(rates, "learning rate", log=spans_decades(*(c.y for c in rates)))))
    return _section("Learning", "", _cards(cards)) if cards else ""


def _chart(curves: Sequence[Line], name: str, **options: Any) -> str:
    """Lines over steps, and whose they are."""
    return lines(curves, name, **options) + (legend(curves) if len(curves) > 1 else "")


def spans_decades(*curves: Any) -> bool:
    """Whether a logarithmic axis shows more of these values."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    return bool(values.size and values.min() > 0 and values.max() > 50 * values.min())


def _layers(history: History) -> str:
    weights = list(history.ratios) or list(history.gradients)
    flow, ratios = _plotted(history.gradients, weights), _plotted(history.ratios, weights)
    some = sorted({round(i * (len(weights) - 1) / (_ROWS - 1)) for i in range(_ROWS)})
    shown = {weights[i] for i in some} if len(weights) > _ROWS else set(weights)
    few = f" ({len(shown)} of {len(weights)})" if len(shown) < len(weights) else ""
    over_time, by_layer = [], []
    if flow:
        drawn = ranges([line for line in flow if line.name in shown], "gradient norm by layer")
        by_layer.append(f"<h3>Gradient norm by layer{few}, input at the top</h3>{drawn}")
        drawn = _chart(flow, "gradient norm over time", log=True, smooth=True)
        over_time.append(f"<h3>Gradient norm over time</h3>{drawn}")
    if ratios:
        drawn = ranges([line for line in ratios if line.name in shown], "update over weight by layer", band=HEALTHY)
        by_layer.append(f"<h3>Update / weight by layer{few}</h3>{drawn}")
        drawn = _chart(ratios, "update over weight over time", log=True, smooth=True, band=HEALTHY)
        over_time.append(f"<h3>Update / weight over time</h3>{drawn}")
    if not by_layer:
        return ""
    # of the two kinds of charts, those of about half the other's height share a card
    deep = len(shown) > 8
    cards = [("", "".join(over_time)), *[("", c) for c in by_layer]] if deep else [("", c) for c in over_time]
    cards += [] if deep else [("", "".join(by_layer))]
    text = (
        "Gradients as the optimizer sees them, and by how much a step changes a layer's weights, relative to their "
        "norm. The green band, 0.0001 to 0.01, is healthy. Dots are medians over time, bars hold 10 to 90 % of it."
    )
    names = list(dict.fromkeys([*history.gradients, *history.weights]))
    rows = [[n, *[_median(c, n) for c in (history.gradients, history.weights, history.ratios)]] for n in names]
    table = _table(("parameter", "gradient norm", "weight norm", "update / weight"), rows)
    folded = f"<details><summary>All {len(names)} parameters, medians over time</summary>{table}</details>"
    return _section("Gradients and updates by layer", text, _cards(cards), folded)


def _median(curves: Curves, name: str) -> str:
    return _figure(float(np.median(curves[name].values))) if name in curves else ""


def _dead(history: History) -> str:
    """Dead units over time, and the outputs of all layers as a table."""
    parts = []
    if history.dead:
        curves = [line._replace(y=100 * line.y / history.units[line.name].values) for line in _plotted(history.dead)]
        zeros = [line._replace(y=100 * line.y) for line in _plotted(history.zeros, list(history.dead))]
        cards = [
            ("Dead units, % of each layer's", _chart(curves, "dead units in percent")),
            ("Zeros among the outputs, %", _chart(zeros, "zeros in percent")),
        ]
        parts.append(_cards(cards))
    if history.means:
        head = ("layer", "mean", "standard deviation", "at the first look", "zeros", "dead units")
        rows = []
        for name in history.means:
            mean, deviation, zeros = (c[name].values for c in (history.means, history.deviations, history.zeros))
            dead = ""
            if name in history.dead:
                dead = f"{history.dead[name].values[-1]:.0f} of {history.units[name].values[-1]:.0f}"
            numbers = [_figure(float(v)) for v in (mean[-1], deviation[-1], deviation[0])]
            rows.append([name, *numbers, f"{zeros[-1]:.1%}", dead])
        parts.append(
            f"<details><summary>Outputs of {len(rows)} layers, last look</summary>{_table(head, rows)}</details>"
        )
    if not parts:
        return ""
    text = (
        "A unit is dead where a rectifier gives 0 for all samples of a step: no gradient passes, and it learns nothing "
        "in that step."
    )
    return _section("Rectifiers and outputs", text, *parts) if history.dead else _section("Outputs", "", *parts)


def _histograms(title: str, text: str, curves: HistogramCurves, kinds: Mapping[str, str] | None = None) -> str:
    """A heat map for each layer, under its name and the name of its class."""
    if not curves:
        return ""
    names = {n: f"{n} · {kinds[n]}" if kinds and n in kinds else n for n in curves}
    cards = [(names[n], heat(h, f"{title}: {n}")) for n, h in curves.items()]
    shown, folded = cards[:_OPEN], cards[_OPEN:]
    more = f"<details><summary>{len(folded)} more layers</summary>{_cards(folded)}</details>" if folded else ""
    return _section(title, text, _cards(shown), more)


def _costs(history: History) -> str:
    cards = []
    if "seconds" in history.costs:
        steps, seconds = history.costs["seconds"]
        looked = np.isin(steps, next((series.steps for series in history.weights.values()), []))
        parts = {"steps between looks": ~looked, "steps with a look at the model": looked}
        curves = [
            Line(name, steps[part], seconds[part] * 1000, color)
            for (name, part), color in zip(parts.items(), _COLORS, strict=False)
            if part.any()
        ]
        cards.append(
            ("Milliseconds a step", _chart(curves, "milliseconds a step", log=spans_decades(*(c.y for c in curves))))
        )
    if "memory" in history.costs:
        series = history.costs["memory"]
        line = Line("memory", series.steps, series.values / 2**20, _COLORS[2])
        cards.append(("Memory, MiB", lines([line], "memory in MiB")))
    text = "Time from one step's end to the next one's, without the recorder's reading. Looks at the model take longer."
    return _section("Time and memory", text, _cards(cards)) if cards else ""


def _numbers(history: History) -> str:
    """What was logged, as a table of about 100 rows: of more steps every k-th."""
    names = [*history.values, *history.rates]
    if not names:
        return ""
    columns = [
        dict(zip(series.steps.tolist(), series.values.tolist(), strict=True))
        for curves in (history.values, history.rates)
        for series in curves.values()
    ]
    steps = sorted(set().union(*columns))
    shown = steps[:: -(-len(steps) // 100)]
    shown += [steps[-1]] if shown[-1] != steps[-1] else []
    rows = [[str(s), *[_figure(c[s]) if s in c else "" for c in columns]] for s in shown]
    table = _table(("step", *names), rows)
    return _section("Numbers", "", f"<details><summary>{len(shown)} of {len(steps)} steps</summary>{table}</details>")


def _settings(history: History, summary: str | None, config: Mapping[str, Any]) -> str:
    rows = [(str(k), v if isinstance(v, str) else repr(v)) for k, v in config.items()]
    rows += [(k, v if isinstance(v, str) else repr(v)) for k, v in history.info.items() if k != "layers"]
    model = f"<details open><summary>Model</summary><pre>{escape(summary)}</pre></details>" if summary else ""
    now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    foot = f"<footer>Written {now} by chainrule.utils.run_report. This page needs no network.</footer>"
    return _section("Settings", "", _table(("", ""), rows, "words"), model) + foot
