"""The Markdown page of a run."""


def markdown(report):
    """One table per case, behind a paragraph on the machine."""
    machine = report["machine"]
    memory = f"{machine['memory'] / 2**30:.0f} GiB, " if machine["memory"] else ""
    lines = [
        "# Benchmarks",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {memory}{machine['system']}, Python {machine['python']}; "
        f"{report['threads']} threads per engine; {report['rounds']} interleaved rounds; commit {report['commit']}; "
        f"{report['date']}.",
        "",
        "Time per step: the median over the rounds, the best round, and that of the processor, all threads together. "
        f"Ratio: to {report['baseline']} within a round, median (smallest to largest); below 1 is faster. "
        "Memory: how far the peak of the resident memory rises during the first four steps, without pages of program "
        "code (in parentheses: with them).",
        "",
    ]
    lines += [
        f"* {engine}: " + ", ".join(f"{name} {version}" for name, version in versions.items())
        for engine, versions in report["engines"].items()
    ]
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
    return "\n".join(lines) + "\n"


def row(engine, result):
    if result["status"] != "ok":
        reason = " ".join(result["reason"].replace("|", "\\|").split())
        return f"| {engine} | **{result['status']}**: {reason} | | | | | |"
    ratio = memory_ratio = "-"
    if "ratio" in result:
        low, high = result["ratio_range"]
        ratio = f"**{result['ratio']:.2f}** ({low:.2f} to {high:.2f})"
    if "memory_ratio" in result:
        memory_ratio = f"{result['memory_ratio']:.2f}"
    memory = f"{result['memory']['data'] / 1e6:.1f} ({result['memory']['growth'] / 1e6:.1f})"
    times = " | ".join(duration(result[name]) for name in ("median", "best", "processor"))
    return f"| {engine} | {times} | {ratio} | {memory} | {memory_ratio} |"


def rounds(case):
    used, taken = len(case["rounds_used"]), case["rounds_taken"]
    if not case["quiet"]:
        return (
            f"**The machine was busy with other programs during most of the {taken} rounds: do not trust the times.**"
        )
    return f"Quiet rounds: {used} of {taken}."


def duration(seconds):
    """Three digits with a unit that suits."""
    value, unit = (seconds * 1e6, "µs") if seconds < 1e-3 else (seconds * 1e3, "ms")
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"
