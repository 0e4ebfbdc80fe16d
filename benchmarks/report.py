"""The Markdown pages of a run: all tables, and the ratios alone for a README."""

# The order of the columns in the summary, and what is told of an engine beside its ratio.
OURS = ("chainrule-capture", "chainrule-fast", "chainrule")


def markdown(report, pictures=()):
    """A table per case, per family of kernels, of the starts; behind a paragraph on the machine."""
    machine = report["machine"]
    memory = f"{machine['memory'] / 2**30:.0f} GiB, " if machine["memory"] else ""
    compared = "of the time" if report["by"] == "seconds" else "of the processor's time, all threads together,"
    lines = [
        "# Benchmarks",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {memory}{machine['system']}, Python {machine['python']}; "
        f"{report['threads']} threads per engine; {report['rounds']} interleaved rounds; commit {report['commit']}; "
        f"{report['date']}.",
        "",
        "Time per step: the median over the rounds, the best round, and that of the processor, all threads together. "
        f"Ratio: {compared} to {report['baseline']} within a round, median (smallest to largest); below 1 is faster. "
        "Memory: how far the peak of the resident memory rises during the first four steps, without what stays when "
        "the program is gone: program code, compiled kernels (in parentheses: with them).",
        "",
    ]
    lines += [
        f"* {engine}: " + ", ".join(f"{name} {version}" for name, version in versions.items())
        for engine, versions in report["engines"].items()
    ]
    for picture in pictures:
        lines += ["", f"![{picture}]({picture})"]
    if report["cases"]:
        lines += ["", "## Summary", "", summary(report).rstrip()]
    for case in report["cases"]:
        lines += [
            "",
            f"## {case['workload']}, {case['case']}",
            "",
            f"{case['title']}. {rounds(case)}",
            "",
            f"| engine | time | best | processor | ratio to {report['baseline']} | memory, MB | memory ratio |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        lines += [row(engine, result) for engine, result in case["engines"].items()]
    if report["kernels"]:
        lines += kernels(report)
    if report["starts"]:
        lines += starts(report)
    return "\n".join(lines) + "\n"


def row(engine, result):
    if result["status"] != "ok":
        return f"| {engine} | **{result['status']}**: {reason(result)} | | | | | |"
    ratio = memory_ratio = "-"
    if "ratio" in result:
        low, high = result["ratio_range"]
        ratio = f"**{result['ratio']:.2f}** ({low:.2f} to {high:.2f})"
    if "memory_ratio" in result:
        memory_ratio = f"{result['memory_ratio']:.2f}"
    memory = f"{result['memory']['data'] / 1e6:.1f} ({result['memory']['growth'] / 1e6:.1f})"
    times = " | ".join(duration(result[name]) for name in ("median", "best", "processor"))
    return f"| {engine} | {times} | {ratio} | {memory} | {memory_ratio} |"


def reason(result):
    return " ".join(result["reason"].replace("|", "\\|").split())[:300]


def rounds(case):
    used, taken = len(case["rounds_used"]), case["rounds_taken"]
    if not case["quiet"]:
        return (
            f"**The machine was busy with other programs during most of the {taken} rounds: do not trust the times.**"
        )
    return f"Rounds that count: {used} of {taken}."


def summary(report):
    """A line per case: our ratios, the bar where there is one, the memory, the other engines. Losses are marked."""
    cases = report["cases"]
    present = dict.fromkeys((*OURS, *(engine for case in cases for engine in case["engines"])))
    tried = {engine for case in cases for engine in case["engines"]} - {report["baseline"]}
    engines = [engine for engine in present if engine in tried]
    ours = [engine for engine in OURS if engine in tried]
    if not cases:
        return ""
    unit = "time" if report["by"] == "seconds" else "processor time"
    lines = [
        f"Ratios of {unit} per step to {report['baseline']}, {report['threads']} threads, commit {report['commit']}; "
        "below 1 is faster. **Bold**: slower than it, or above the bar. Memory: peak of "
        f"{' and '.join(ours) or 'none'} to that of {report['baseline']}.",
        "",
        "| workload | bar | " + " | ".join(engines) + " | memory |",
        "|---|---:|" + "---:|" * (len(engines) + 1),
    ]
    for case in cases:
        results, bar = case["engines"], case["bar"]
        cells = [f"{bar:.2f}" if bar else ""]
        for engine in engines:
            limit = bar if bar and engine in OURS[:2] else 1.0
            cells.append(cell(results.get(engine, {}), "ratio", limit, mark=engine in OURS))
        cells.append(" / ".join(cell(results.get(engine, {}), "memory_ratio", 1.0) for engine in ours))
        doubt = "" if case["quiet"] else " (machine was busy)"
        lines.append(f"| {case['workload']}, {case['case']}{doubt} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(result, name, limit, mark=True):
    """A ratio, bold where it is a loss."""
    if name not in result:
        return {"missing": "-", "ok": "-"}.get(result.get("status"), result.get("status", "-"))
    text = f"{result[name]:.2f}"
    return f"**{text}**" if mark and result[name] > limit else text


def kernels(report):
    """One table: time and ratio of each engine, and what our fastest comes to of the machine's peak."""
    kernels, baseline = report["kernels"], report["baseline"]
    cases, peak = kernels["cases"], kernels["peak"]
    engines = list(dict.fromkeys(engine for case in cases for engine in case["engines"]))
    best = next((engine for engine in OURS if engine in engines), engines[0])
    lines = ["", "## Kernels", ""]
    if peak["operations"]:
        lines += [
            f"Peak, as measured in this run by the engine that did best: {peak['operations'] / 1e9:.0f} GFLOP/s "
            f"(product of two 2048 x 2048 matrices), {peak['bytes'] / 1e9:.0f} GB/s (copy of 256 MB, read and "
            f"written). Rates are those of {best}: of the operations of the plain algorithm (Winograd's needs fewer, "
            "so it can pass 1), or else of the bytes of all operands and results, each counted once (arrays that fit a "
            "cache can pass 1).",
            "",
        ]
    lines += [
        "| kernel | pass | " + " | ".join(engines) + " | rate | of peak |",
        "|---|---|" + "---:|" * (len(engines) + 2),
    ]
    for case in cases:
        cells = []
        for engine in engines:
            result = case["engines"][engine]
            if result["status"] != "ok":
                cells.append(result["status"])
                continue
            ratio = "" if engine == baseline or "ratio" not in result else f" ({cell(result, 'ratio', 1.0)})"
            cells.append(duration(result["median"]) + ratio)
        result = case["engines"][best]
        if result["status"] == "ok":
            what, unit = ("operations", "GFLOP/s") if case["operations"] else ("bytes", "GB/s")
            rate = case[what] / result["median"]
            cells.append(f"{rate / 1e9:.0f} {unit}")
            cells.append(f"{rate / peak[what]:.2f}" if peak[what] else "-")
        else:
            cells += ["-", "-"]
        lines.append(f"| {case['kernel']} | {case['pass']} | " + " | ".join(cells) + " |")
    broken = [
        f"* {case['kernel']}, {case['pass']}, {engine}: **{result['status']}**: {reason(result)}"
        for case in cases
        for engine, result in case["engines"].items()
        if result["status"] in ("failed", "wrong")
    ]
    return [*lines, "", *broken] if broken else lines


def starts(report):
    """Seconds from an empty process to the end of the first step."""
    lines = [
        "",
        "## Start",
        "",
        "Until the first step is done, in a new process: importing the engine (behind NumPy, whose own import is shown "
        "apart), building the program, the step. Cold: without kernels that an earlier process compiled and stored.",
    ]
    for case in report["starts"]:
        lines += [
            "",
            f"| {case['workload']}, {case['case']} | NumPy | import | build | first step | second step | "
            "to the first step, cold | warm |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for engine, result in case["engines"].items():
            if result["status"] != "ok":
                lines.append(f"| {engine} | **{result['status']}**: {reason(result)} | | | | | | |")
                continue
            parts = [duration(result["warm"][name]) for name in ("numpy", "import", "build", "first", "second")]
            totals = [duration(to_first_step(result[name])) for name in ("cold", "warm")]
            lines.append(f"| {engine} | " + " | ".join(parts + totals) + " |")
    lines += ["", "| engine | on disk, with what it depends on |", "|---|---:|"]
    for engine, size in report["sizes"].items():
        lines.append(f"| {engine} | {f'{size / 1e6:.0f} MB' if size else 'not installed'} |")
    return lines


def to_first_step(parts):
    return parts["import"] + parts["build"] + parts["first"]


def states(report):
    """The status of each engine in each case."""
    kernels = report["kernels"]["cases"] if report["kernels"] else []
    return [r["status"] for case in (*report["cases"], *kernels, *report["starts"]) for r in case["engines"].values()]


def duration(seconds):
    """Three digits with a unit that suits."""
    value, unit = (seconds * 1e6, "µs") if seconds < 1e-3 else (seconds * 1e3, "ms")
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"
