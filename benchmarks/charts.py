"""Pictures of a run."""

from report import OURS, to_first_step

COLOURS = {
    "chainrule-capture": "#641e16",
    "chainrule-plain-capture": "#f5cba7",
    "chainrule-fast": "#c0392b",
    "chainrule": "#e59866",
    "torch": "#34495e",
    "torch-tuned": "#7f8c8d",
    "jax": "#2980b9",
    "tinygrad": "#16a085",
    "autograd": "#8e44ad",
    "mygrad": "#27ae60",
    "numpy": "#b7950b",
}


def draw(report, file):
    """The pictures that the report has figures for; `file` makes a path from an ending. Returns the paths."""
    import matplotlib

    matplotlib.use("Agg")
    made = []
    for name, make in (("time", times), ("memory", memories), ("kernels", kernels), ("start", starts)):
        figure = make(report)
        if figure is not None:
            path = file(f"-{name}.png")
            figure.savefig(path, dpi=110, bbox_inches="tight")
            made.append(path)
    return made


def times(report):
    labels = [f"{case['workload']}, {case['case']}" for case in report["cases"]]
    title = f"time of a step / {report['baseline']}'s"
    figure = grouped(labels, ratios(report["cases"], "ratio"), report["baseline"], title)
    if figure:
        bars = [(i, case["bar"]) for i, case in enumerate(report["cases"]) if case["bar"]]
        axes = figure.axes[0]
        for i, bar in bars:
            label = "aim of chainrule-fast" if i == bars[0][0] else None
            axes.plot([bar, bar], [i - 0.45, i + 0.45], color="black", linewidth=2, linestyle=":", label=label)
        legend(axes)
    return figure


def memories(report):
    cases = [case for case in report["cases"] if any("memory_ratio" in r for r in case["engines"].values())]
    labels = [f"{case['workload']}, {case['case']}" for case in cases]
    title = f"peak memory of a step / {report['baseline']}'s"
    return grouped(labels, ratios(cases, "memory_ratio"), report["baseline"], title)


def kernels(report):
    cases = report["kernels"]["cases"] if report["kernels"] else []
    labels = [f"{case['kernel']}: {case['pass']}" for case in cases]
    title = f"time of a kernel / {report['baseline']}'s"
    return grouped(labels, ratios(cases, "ratio"), report["baseline"], title)


def starts(report):
    """Stacked: the parts of the time to the first step, from a warm cache."""
    from matplotlib.figure import Figure

    cases = [case for case in report["starts"] if any(r["status"] == "ok" for r in case["engines"].values())]
    if not cases:
        return None
    rows = sum(len(case["engines"]) for case in cases)
    figure = Figure(figsize=(9, 1.5 + 0.24 * rows))
    axes = figure.subplots()
    parts = {"import": "#34495e", "build": "#95a5a6", "first": "#c0392b"}
    labels, y = [], 0
    for case in cases:
        for engine, result in case["engines"].items():
            if result["status"] != "ok":
                continue
            left = 0
            for part, colour in parts.items():
                axes.barh(y, result["warm"][part], left=left, color=colour, label=None if labels else part)
                left += result["warm"][part]
            cold = to_first_step(result["cold"])
            axes.plot(cold, y, "|", color="black", markersize=9, label=None if labels else "sum, cold cache")
            labels.append(f"{case['workload']}: {engine}")
            y += 1
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel("seconds until the first step is done (less NumPy's own import)")
    axes.grid(axis="x", alpha=0.3)
    legend(axes)
    return figure


def ratios(cases, name):
    """Per engine a ratio for each case, None where there is none."""
    engines = dict.fromkeys(engine for case in cases for engine in case["engines"])
    return {engine: [case["engines"].get(engine, {}).get(name) for case in cases] for engine in engines}


def grouped(labels, values, baseline, title):
    """Horizontal bars on a logarithmic axis that start at 1, where the baseline is: to the left is better."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullFormatter

    engines = [engine for engine in values if engine != baseline and any(values[engine])]
    engines.sort(key=lambda engine: OURS.index(engine) if engine in OURS else len(OURS))
    if not engines:
        return None
    height = 0.8 / len(engines)
    figure = Figure(figsize=(9, 1.5 + len(labels) * (0.12 + 0.1 * len(engines))))
    axes = figure.subplots()
    for k, engine in enumerate(engines):
        drawn = [(i, value) for i, value in enumerate(values[engine]) if value]
        where = [i - 0.4 + (k + 0.5) * height for i, _ in drawn]
        widths = [value - 1 for _, value in drawn]
        axes.barh(where, widths, height, left=1, color=COLOURS.get(engine, "grey"), label=engine)
    axes.axvline(1, color="black", linewidth=1, label=baseline)
    axes.set_xscale("log")
    low = min(value for engine in engines for value in values[engine] if value)
    high = max(value for engine in engines for value in values[engine] if value)
    axes.set_xlim(min(low * 0.8, 0.5), max(high * 1.2, 2))
    steps = [s * 10.0**e for e in range(-3, 4) for s in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator(steps))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel(f"{title} (left of 1 is better)")
    axes.grid(axis="x", alpha=0.3)
    legend(axes)
    return figure


def legend(axes):
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=8, frameon=False)
