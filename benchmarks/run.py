"""Time chainrule beside its peers.

    python benchmarks/run.py --workloads chain mlp --engines chainrule torch --rounds 7 --out benchmarks/results/today

writes today.json and today.md. A workload can be narrowed to one of its cases: `chain:8`.
"""

import argparse
import json
import pathlib
import sys

import harness
import report
from engines import ENGINES
from tqdm import tqdm
from workloads import WORKLOADS


def main(argv=None):
    options = parse(argv)
    bar = tqdm(total=harness.work(options.cases, options.engines, options.rounds), unit="", disable=options.quiet)

    def tick(text, extra=False):
        bar.total += extra
        bar.set_description(text)
        bar.update()

    with bar:
        result = harness.run(
            options.cases,
            options.engines,
            rounds=options.rounds,
            seconds=options.seconds,
            threads=options.threads,
            baseline=options.baseline,
            tick=tick,
        )
    text = report.markdown(result)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_name(options.out.name + ".json").write_text(json.dumps(result, indent=1) + "\n")
    options.out.with_name(options.out.name + ".md").write_text(text)
    print(text)
    # What is not installed is no error; what broke, or computed something else, is one.
    states = {r["status"] for case in result["cases"] for r in case["engines"].values()}
    return 1 if states & {"failed", "wrong"} else 0


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workloads", nargs="+", default=list(WORKLOADS), metavar="NAME[:CASE]", help=", ".join(WORKLOADS))
    add("--engines", nargs="+", default=list(ENGINES), choices=ENGINES, metavar="ENGINE", help=", ".join(ENGINES))
    add("--rounds", type=positive(int), default=7, help="how often each engine has its turn (%(default)s)")
    add("--seconds", type=positive(float), default=0.5, help="about how long a turn takes (%(default)s)")
    add("--threads", type=positive(int), default=2, help="threads of each engine (%(default)s)")
    add("--baseline", default="torch", choices=ENGINES, metavar="ENGINE", help="what the ratios refer to (%(default)s)")
    add("--tiny", action="store_true", help="sizes that only show that it all works")
    add("--out", type=pathlib.Path, default=pathlib.Path(__file__).with_name("results") / "latest", metavar="PATH")
    add("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(argv)
    options.engines = list(dict.fromkeys(options.engines))
    options.cases = []
    for text in options.workloads:
        name, _, wanted = text.partition(":")
        if name not in WORKLOADS:
            parser.error(f"no workload {name!r}; there are {', '.join(WORKLOADS)}")
        cases = WORKLOADS[name].tiny if options.tiny else WORKLOADS[name].cases
        if wanted and wanted not in cases:
            parser.error(f"{name} has no case {wanted!r}; it has {', '.join(map(repr, cases))}")
        options.cases += [(name, case, params) for case, params in cases.items() if wanted in ("", case)]
    return options


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
