"""Time chainrule beside its peers.

    python benchmarks/run.py                                      # everything
    python benchmarks/run.py --quick                              # the same with fewer rounds and engines
    python benchmarks/run.py --workloads chain:8 mlp --engines chainrule torch --out benchmarks/results/today
    python benchmarks/run.py --kernels conv "max pool" --engines chainrule-fast torch
    python benchmarks/run.py --starts mlp resnet18
    python benchmarks/run.py --device cuda                        # on a GPU: see gpu.py

writes today.json, today.md, today-summary.md (a table of ratios for a README) and charts. A workload can be narrowed to
one of its cases: `chain:8`; a kernel is chosen by a part of its name.
"""

import argparse
import json
import pathlib
import sys

import charts
import harness
import report
from engines import ENGINES, kernels
from tqdm import tqdm
from workloads import WORKLOADS

STARTS = ("mlp", "lenet", "resnet18", "gpt:T 128, 4 heads")
# They share one source with chainrule, and are what a kernel and a quick run are compared with.
CLOSE = ("chainrule", "chainrule-fast", "torch", "torch-tuned")


def main(argv=None):
    given = sys.argv[1:] if argv is None else argv
    if "--device" in given:  # programs, sizes and measures of their own
        import gpu

        return gpu.main(given)
    options = parse(argv)
    plan = harness.Plan(
        options.engines,
        rounds=options.rounds,
        seconds=options.seconds,
        threads=options.threads,
        baseline=options.baseline,
        by=options.by,
        runs=1 if options.quick else harness.RUNS,
    )
    total = harness.work(options.cases, options.kernels, options.starts, plan)
    bar = tqdm(total=total, unit="", disable=options.quiet)

    def tick(text, extra=False):
        bar.total += extra
        bar.set_description(text)
        bar.update()

    plan.tick = tick
    result = plan.heading()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    file = lambda ending: options.out.with_name(options.out.name + ending)
    save = lambda: file(".json").write_text(json.dumps(result, indent=1) + "\n")
    with bar:
        for case in options.cases:
            result["cases"].append(harness.run_case(*case, plan, result["engines"]))
            save()  # a long run that is broken off has not been for nothing
        if options.kernels:
            plan.engines = [engine for engine in options.engines if engine in CLOSE]
            plan.seconds = options.seconds / 5
            result["kernels"] = harness.run_kernels(options.kernels, plan, result["engines"])
        if options.starts:
            plan.engines = options.engines
            result["starts"] = harness.run_starts(options.starts, plan)
            result["sizes"] = harness.sizes(options.engines)
    save()
    pictures = charts.draw(result, file) if options.charts else []
    text = report.markdown(result, [picture.name for picture in pictures])
    file(".md").write_text(text)
    file("-summary.md").write_text(report.summary(result))
    print(text)
    # What is not installed is no error; what broke, or computed something else, is one.
    return 1 if set(report.states(result)) & {"failed", "wrong"} else 0


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workloads", nargs="*", metavar="NAME[:CASE]", help=", ".join(WORKLOADS))
    add("--kernels", nargs="*", metavar="PART", help="single operations whose names have one of these parts in them")
    add("--starts", nargs="*", metavar="NAME[:CASE]", help="time to the first step of workloads, and installed sizes")
    add("--engines", nargs="+", choices=ENGINES, metavar="ENGINE", help=", ".join(ENGINES))
    add("--rounds", type=positive(int), help="how often each engine has its turn (7)")
    add("--seconds", type=positive(float), help="about how long a turn takes (0.5; a kernel's a fifth of it)")
    add("--threads", type=positive(int), default=2, help="threads of each engine (%(default)s)")
    add("--baseline", default="torch", choices=ENGINES, metavar="ENGINE", help="what the ratios refer to (%(default)s)")
    add(
        "--by",
        choices=("seconds", "processor"),
        default="seconds",
        help="what ratios compare: wall time, or processor time, which can be had on a machine that is not quiet",
    )
    add("--quick", action="store_true", help="3 short rounds, memory and start once; the engines " + ", ".join(CLOSE))
    add("--tiny", action="store_true", help="sizes that only show that it all works")
    add("--out", type=pathlib.Path, default=pathlib.Path(__file__).with_name("results") / "latest", metavar="PATH")
    add("--no-charts", dest="charts", action="store_false", help="only JSON and tables")
    add("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(argv)
    options.engines = list(dict.fromkeys(options.engines or (CLOSE if options.quick else ENGINES)))
    options.rounds = options.rounds or (3 if options.quick else 7)
    options.seconds = options.seconds or (0.2 if options.quick else 0.5)
    if options.workloads is options.kernels is options.starts is None:
        options.workloads, options.kernels, options.starts = [], [], []
    options.cases = cases(parser, options.workloads, list(WORKLOADS), options.tiny)
    options.starts = cases(parser, options.starts, list(WORKLOADS) if options.tiny else STARTS, options.tiny)
    table = kernels.TINY if options.tiny else kernels.KERNELS
    parts = options.kernels
    chosen = [] if parts is None else [name for name in table if not parts or any(part in name for part in parts)]
    if parts and not chosen:
        parser.error(f"no kernel has one of {parts} in its name; there are {', '.join(table)}")
    options.kernels = [(name, which, table[name].tolerance) for name in chosen for which in table[name].passes]
    return options


def cases(parser, texts, everything, tiny):
    """The (workload, case, params) that are meant: none for None, `everything` for an empty list."""
    if texts is None:
        return []
    found = []
    for text in texts or everything:
        name, _, wanted = text.partition(":")
        if name not in WORKLOADS:
            parser.error(f"no workload {name!r}; there are {', '.join(WORKLOADS)}")
        sizes = WORKLOADS[name].tiny if tiny else WORKLOADS[name].cases
        if wanted and wanted not in sizes:
            parser.error(f"{name} has no case {wanted!r}; it has {', '.join(map(repr, sizes))}")
        found += [(name, case, params) for case, params in sizes.items() if wanted in ("", case)]
    return found


def positive(kind):
    def convert(text):
        value = kind(text)
        if not value > 0:
            raise ValueError(text)
        return value

    convert.__name__ = f"positive {kind.__name__}"
    return convert


if __name__ == "__main__":
    sys.exit(main())
