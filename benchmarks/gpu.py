"""Time chainrule beside PyTorch on a GPU: `python benchmarks/run.py --device cuda`, or `make bench-gpu`.

    python benchmarks/run.py --device cuda                                  # everything, in order of importance
    python benchmarks/run.py --device cuda --workloads mlp gpt2 --limit 120 # two workloads, two minutes each at most
    python benchmarks/run.py --device cuda --kernels attention conv         # single operations against their floor
    python benchmarks/run.py --device cpu --tiny                            # a rehearsal of all that without a GPU

Each setting of each library has a process of its own; round by round all of them have their turn. The losses of the
first 20 steps, from the same weights and data, are compared with PyTorch's in strict float32: ours may stray as far
as PyTorch's own in the same precision do, twice. All is written after each case, so that a run which is
broken off leaves what it had: `<out>.json` and `<out>.md`.
"""

import argparse
import contextlib
import json
import math
import pathlib
import statistics
import time

import harness
from engines.gpu import ENGINES
from engines.gpu_kernels import KERNELS
from gpu_workloads import WORKLOADS
from harness import Failure, Process

BASELINE = "torch"
DEFAULT = ["chainrule-captured", "chainrule", "torch", "torch-compile", "torch-reduce"]
#: relative difference of losses that is let pass beside twice PyTorch's own
LET_PASS = {"ieee": 1e-4, "tf32": 5e-3, "float16": 1e-2, "bfloat16": 2e-2}
SHOWN = (1, 2, 5, 10, 20)  # steps of the loss curves in the page; the JSON has them all


def main(argv=None):
    options = parse(argv)
    bench = Bench(options)
    try:
        bench.run()
    finally:
        bench.close()
    print(bench.file(".md").read_text())
    return 1 if set(states(bench.report)) & {"failed", "differs"} else 0


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", default="cuda", help="cuda, cuda:1, or cpu for a rehearsal (%(default)s)")
    add("--workloads", nargs="*", metavar="NAME[:CASE]", help=", ".join(WORKLOADS))
    add("--kernels", nargs="*", metavar="PART", help="single operations whose names have one of these parts in them")
    add("--engines", nargs="+", choices=ENGINES, default=DEFAULT, metavar="ENGINE", help=", ".join(ENGINES))
    add("--rounds", type=int, default=7, help="how often each setting has its turn (%(default)s)")
    add("--seconds", type=float, default=1.0, help="about how long a turn takes (%(default)s)")
    add("--limit", type=float, default=600, help="seconds for a case, after which no round begins (%(default)s)")
    add("--total", type=float, default=math.inf, help="seconds for everything, after which no case begins")
    add("--threads", type=int, default=4, help="threads of the host for each setting (%(default)s)")
    add("--append", action="store_true", help="add to the report that is there; a case that it has is left out")
    add("--tiny", action="store_true", help="sizes that only show that it all works")
    add("--out", type=pathlib.Path, metavar="PATH", help="without ending (benchmarks/results/gpu-<device>)")
    options = parser.parse_args(argv)
    chosen = options.workloads
    if chosen is None:
        chosen = list(WORKLOADS) if options.kernels is None else []
    options.cases = [found for text in chosen or WORKLOADS for found in cases(parser, text, options.tiny)]
    if not chosen:
        options.cases = [] if options.workloads is None else options.cases
    if options.kernels is None:
        options.kernels = list(KERNELS) if options.workloads is None else []
    else:
        options.kernels = [n for n in KERNELS if not options.kernels or any(part in n for part in options.kernels)]
    return options


def cases(parser, text, tiny):
    """The (workload, case, precision, params) that a name means."""
    name, _, wanted = text.partition(":")
    if name not in WORKLOADS:
        parser.error(f"no workload {name!r}; there are {', '.join(WORKLOADS)}")
    sizes = WORKLOADS[name].tiny if tiny else WORKLOADS[name].cases
    if wanted and wanted not in sizes:
        parser.error(f"{name} has no case {wanted!r}; it has {', '.join(map(repr, sizes))}")
    return [(name, case, *how) for case, how in sizes.items() if wanted in ("", case)]


class Bench:
    """One run: the processes, and the report as it grows."""

    def __init__(self, options):
        self.options, self.processes, self.begin = options, {}, time.monotonic()
        if options.append and options.out is not None and self.file(".json").exists():
            self.report = json.loads(self.file(".json").read_text())
            self.report["cases"] = [case for case in self.report["cases"] if case["complete"]]
            return
        self.report = {
            "date": harness.datetime.datetime.now(harness.datetime.UTC).isoformat(timespec="seconds"),
            "machine": harness.machine(),
            "commit": harness.commit(),
            "device": options.device,
            "rounds": options.rounds,
            "engines": {},
            "failures": {},
            "cases": [],
            "kernels": None,
        }

    def run(self):
        """All that was asked for, in order."""
        for engine in self.options.engines:
            self.noted(engine, lambda engine=engine: self.process(engine))
        if not self.processes:
            raise SystemExit("nothing can be measured on this device, for the reasons above")
        self.save()
        for case in self.options.cases:
            if self.over():
                break
            if case[:2] in [(known["workload"], known["case"]) for known in self.report["cases"]]:
                continue
            self.case(*case)
            self.save()
        if self.options.kernels and not self.over():
            self.kernels()
            self.save()

    def spent(self):
        return time.monotonic() - self.begin

    def over(self):
        """Whether the time for everything has run out."""
        return self.spent() > self.options.total

    def say(self, text):
        print(f"[{self.spent():6.1f} s] {text}", flush=True)

    def process(self, engine):
        """The one of this setting, or a new one where it has died."""
        if engine not in self.processes or self.processes[engine].popen.poll() is not None:
            options = {"device": self.options.device, "script": "gpu_worker.py"}
            self.processes[engine] = Process(engine, self.options.threads, **options)
            self.report["engines"][engine] = self.processes[engine].versions
        return self.processes[engine]

    def noted(self, engine, work):
        """What `work` gives; None after a failure, which is kept: the first in full."""
        try:
            return work()
        except Failure as failure:
            self.report["failures"].setdefault(engine, []).append(f"{failure.status}: {failure}")
            self.say(f"{engine}: {failure.status}: {failure}")
            return failure

    def file(self, ending):
        out = self.options.out
        if out is None:
            names = [v["device"] for v in self.report["engines"].values() if "device" in v]
            name = "".join(c if c.isalnum() else "-" for c in (names or [self.options.device])[0]).lower()
            out = pathlib.Path(__file__).with_name("results") / f"gpu-{name}"
        out.parent.mkdir(parents=True, exist_ok=True)
        return out.with_name(out.name + ending)

    def save(self):
        self.file(".json").write_text(json.dumps(self.report, indent=1) + "\n")
        self.file(".md").write_text(markdown(self.report))

    def close(self):
        for process in self.processes.values():
            process.close()

    # -- a workload ---------------------------------------------------------------------------------------------------

    def case(self, workload, case, precision, params):
        """One workload in one size and precision, in all settings."""
        spec, started = WORKLOADS[workload], self.spent()
        build = {"workload": workload, "params": params}
        self.say(f"{workload}, {case}: losses")
        reference = Failure("missing", "PyTorch does not take part")
        if BASELINE in self.options.engines:
            reference = self.noted(BASELINE, lambda: self.losses(BASELINE, build, "ieee", spec.steps))
        results = {}
        result = {
            "workload": workload,
            "case": case,
            "title": spec.title,
            "precision": precision,
            "params": params,
            "aim": spec.aim,
            "complete": False,
            "reference": None if isinstance(reference, Failure) else reference,
            "engines": results,
        }
        self.report["cases"].append(result)
        for engine in self.options.engines:
            results[engine] = {"status": "ok", "rounds": []}

            def prepare(engine=engine):
                found = results[engine]
                found["losses"] = self.losses(engine, build, precision, spec.steps)
                if engine == BASELINE:
                    result["baseline_losses"] = found["losses"]
                self.say(f"{workload}, {case}: {engine} warms up")
                found |= self.processes[engine].ask("warm", seconds=self.options.seconds / 2)
                self.processes[engine].ask("release", keep=True)

            self.failing(results, engine, prepare)
            self.save()
        judge(result)
        for number in range(self.options.rounds):
            live = [engine for engine in results if results[engine]["status"] != "failed"]
            live = [engine for engine in live if results[engine]["status"] != "missing"]
            if number and (self.spent() - started > self.options.limit or self.over()):
                break
            self.say(f"{workload}, {case}: round {number + 1}")
            turn = number % max(len(live), 1)
            for engine in live[turn:] + live[:turn]:
                self.failing(results, engine, lambda engine=engine: self.turn(engine, results[engine]))
            summarise(results)
            self.save()
        for engine in results:
            if results[engine]["rounds"]:
                self.failing(results, engine, lambda engine=engine: self.memory(engine, results[engine]))
        for process in self.processes.values():
            with contextlib.suppress(Failure):
                process.ask("release")
        result["complete"] = True

    def failing(self, results, engine, work):
        """A failure ends the part of this setting alone."""
        if isinstance(found := self.noted(engine, work), Failure):
            results[engine] |= {"status": found.status, "reason": str(found)}

    def losses(self, engine, build, precision, steps):
        process = self.process(engine)
        process.ask("build", precision=precision, **build)
        return process.ask("check", steps=steps)["losses"]

    def turn(self, engine, result):
        process = self.processes[engine]
        process.ask("time", steps=3)  # takes memory again that the last turn gave back
        steps = max(3, round(self.options.seconds / result["seconds"]))
        result["rounds"].append(process.ask("time", steps=steps))
        process.ask("release", keep=True)

    def memory(self, engine, result):
        result["memory"] = self.processes[engine].ask("memory", steps=3)

    # -- single operations --------------------------------------------------------------------------------------------

    def kernels(self):
        engines = [engine for engine in self.options.engines if engine in ("chainrule", BASELINE)]
        found = self.report["kernels"] = self.report["kernels"] or {"ceilings": {}, "cases": []}
        known = {(case["kernel"], case["pass"]) for case in found["cases"]}
        for engine in engines:
            given = self.noted(
                engine, lambda engine=engine: self.process(engine).ask("ceilings", tiny=self.options.tiny)
            )
            if not isinstance(given, Failure):
                found["ceilings"][engine] = given
        for kernel in self.options.kernels:
            for which in ("forward", "backward"):
                if self.over():
                    return
                if (kernel, which) in known:
                    continue
                self.say(f"{kernel}, {which}")
                case = {"kernel": kernel, "pass": which, "engines": {}}
                for engine in engines:
                    case["engines"][engine] = {"status": "ok"}
                    self.failing(
                        case["engines"],
                        engine,
                        lambda engine=engine: self.measure(case, kernel, which, engine),  # noqa: B023
                    )
                if any("seconds" in r or r["status"] != "ok" for r in case["engines"].values()):
                    found["cases"].append(case)
                self.save()

    def measure(self, case, kernel, which, engine):
        process, result = self.process(engine), case["engines"][engine]
        given = process.ask("kernel", kernel=kernel, which=which, tiny=self.options.tiny)
        if "absent" in given:
            return
        case |= {"operations": given["operations"], "bytes": given["bytes"]}
        result["numbers"] = given["numbers"]
        result |= process.ask("kernel_time", seconds=self.options.seconds / 5)


# -- numbers ----------------------------------------------------------------------------------------------------------


def distance(losses, reference):
    """The mean relative difference of two curves; infinite where one is not finite."""
    if len(losses) != len(reference) or not all(math.isfinite(a) for a in losses):
        return math.inf
    return statistics.fmean(abs(a - b) / max(abs(b), 1e-9) for a, b in zip(losses, reference))


def judge(result):
    """How far the losses stray from those in strict float32, and whether that is more than PyTorch's do."""
    reference, engines = result["reference"], result["engines"]
    if reference is None:
        return
    for found in engines.values():
        if "losses" in found:
            found["distance"] = distance(found["losses"], reference)
    theirs = engines.get(BASELINE, {}).get("distance", 0.0)
    for engine, found in engines.items():
        if found["status"] == "ok" and not engine.startswith("torch"):
            found["allowed"] = 2 * theirs + LET_PASS[result["precision"]]
            if found["distance"] > found["allowed"]:
                found["status"] = "differs"


def summarise(results):
    """Medians, and PyTorch's time over each in the same round."""
    base = results.get(BASELINE, {}).get("rounds", [])
    for found in results.values():
        if rounds := found["rounds"]:
            for name in ("seconds", "events", "host"):
                found[f"median_{name}"] = statistics.median(r[name] for r in rounds)
            if base:
                ratios = sorted(b["seconds"] / r["seconds"] for b, r in zip(base, rounds))
                found["ratio"], found["ratio_range"] = statistics.median(ratios), [ratios[0], ratios[-1]]


def states(report):
    """The status of each setting in each case."""
    kernels = report["kernels"]["cases"] if report["kernels"] else []
    return [found["status"] for case in (*report["cases"], *kernels) for found in case["engines"].values()]


# -- the page ---------------------------------------------------------------------------------------------------------


def markdown(report):
    """The page of a report, whole or in the making."""
    names = [v["device"] for v in report["engines"].values() if "device" in v]
    lines = [
        f"# Benchmarks on {names[0] if names else report['device']}",
        "",
        f"{report['machine']['cpu']}, {report['machine']['cores']} cores, Python {report['machine']['python']}; commit "
        f"{report['commit']}; {report['date']}; {report['rounds']} interleaved rounds. PyTorch has channels-last, "
        "cudnn.benchmark, TF32 or autocast, fused optimizers and its own choice of attention. Ratio: PyTorch eager's "
        "time over the setting's in the same round, so more is quicker; median (smallest to largest).",
        "",
    ]
    lines += [
        f"* {engine}: " + ", ".join(f"{name} {version}" for name, version in versions.items())
        for engine, versions in report["engines"].items()
    ]
    lines += [f"* {engine}: **{texts[0]}**" for engine, texts in report["failures"].items()]
    if report["cases"]:
        lines += ["", "## Summary", "", *summary(report)]
    for case in report["cases"]:
        lines += [
            "",
            f"## {case['workload']}, {case['case']}",
            "",
            f"{case['title']}.",
            "",
            *table(case),
            "",
            *curves(case),
        ]
    if report["kernels"]:
        lines += ["", "## Kernels", "", *kernel_table(report["kernels"])]
    return "\n".join(lines) + "\n"


def summary(report):
    """A line per case: the ratios, bold where they miss the aim."""
    engines = [e for e in ENGINES if any(e in case["engines"] for case in report["cases"]) and e != BASELINE]
    lines = [
        "| workload | aim | " + " | ".join(engines) + " | peak memory, captured / PyTorch |",
        "|---|---:|" + "---:|" * (len(engines) + 1),
    ]
    for case in report["cases"]:
        cells = []
        for engine in engines:
            found = case["engines"].get(engine, {"status": "-"})
            missed = engine == "chainrule-captured" and case["aim"] and found.get("ratio", 0) < case["aim"]
            text = f"{found['ratio']:.2f}" if "ratio" in found else found["status"]
            text += " (losses differ)" if "ratio" in found and found["status"] == "differs" else ""
            cells.append(f"**{text}**" if missed else text)
        peaks = [case["engines"].get(e, {}).get("memory", {}).get("peak") for e in ("chainrule-captured", BASELINE)]
        cells.append(f"{peaks[0] / peaks[1]:.2f}" if all(peaks) else "-")
        aim = f"{case['aim']:.1f}" if case["aim"] else ""
        lines.append(f"| {case['workload']}, {case['case']} | {aim} | " + " | ".join(cells) + " |")
    return lines


def table(case):
    lines = [
        "| setting | step | by events | host busy | first step | ratio | peak of tensors | losses stray by |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for engine, found in case["engines"].items():
        if "median_seconds" not in found:
            lines.append(
                f"| {engine} | **{found['status']}**: {' '.join(found.get('reason', '').split())[:300]} | | | | | | |"
            )
            continue
        times = [duration(found[f"median_{n}"]) for n in ("seconds", "events", "host")] + [duration(found["first"][0])]
        ratio = "-"
        if "ratio" in found:
            low, high = found["ratio_range"]
            ratio = f"**{found['ratio']:.2f}** ({low:.2f} to {high:.2f})"
        memory = f"{found['memory']['peak'] / 1e9:.2f} GB" if "memory" in found else "-"
        stray = f"{found['distance']:.1e}" if "distance" in found else "-"
        stray = f"**{stray}**" if found["status"] == "differs" else stray
        lines.append(f"| {engine} | " + " | ".join([*times, ratio, memory, stray]) + " |")
    return lines


def curves(case):
    """Losses of some steps; where a step has several, of the first."""
    longest = max((len(found.get("losses") or []) for found in case["engines"].values()), default=0)
    per_step = max(longest // WORKLOADS[case["workload"]].steps, 1)
    lines = ["| loss of step | " + " | ".join(map(str, SHOWN)) + " |", "|---|" + "---:|" * len(SHOWN)]
    rows = {"PyTorch, strict float32": case["reference"]}
    rows |= {engine: found.get("losses") for engine, found in case["engines"].items()}
    for name, losses in rows.items():
        if losses:
            picked = [losses[(s - 1) * per_step] if (s - 1) * per_step < len(losses) else math.nan for s in SHOWN]
            lines.append(f"| {name} | " + " | ".join(f"{x:.4f}" for x in picked) + " |")
    return lines


def kernel_table(kernels):
    ceilings = kernels["ceilings"]
    best = {name: max((c[name] for c in ceilings.values()), default=0) for name in ("bytes", "bfloat16", "tf32")}
    lines = []
    if best["bytes"]:
        lines += [
            f"Ceilings, measured here: {best['bytes'] / 1e12:.2f} TB/s (copy of 1 GB), {best['bfloat16'] / 1e12:.0f} "
            f"TFLOP/s in bfloat16 and {best['tf32'] / 1e12:.0f} in TF32 (product of 8192 x 8192). Reached: the least "
            "bytes (or operations) of the pass, over our time, and what that is of the ceiling.",
            "",
        ]
    lines += ["| kernel | pass | ours | PyTorch | ratio | reached | of ceiling |", "|---|---|---:|---:|---:|---:|---:|"]
    for case in kernels["cases"]:
        ours, theirs = (case["engines"].get(e, {"status": "-"}) for e in ("chainrule", BASELINE))
        cells = [duration(r["seconds"]) if "seconds" in r else r["status"] for r in (ours, theirs)]
        both = "seconds" in ours and "seconds" in theirs
        cells.append(f"{theirs['seconds'] / ours['seconds']:.2f}" if both else "-")
        if "seconds" in ours and (case["bytes"] or case["operations"]):
            what = (
                "bytes"
                if case["bytes"]
                else "tf32"
                if "TF32" in case["kernel"] or "LSTM" in case["kernel"]
                else "bfloat16"
            )
            rate = (case["bytes"] or case["operations"]) / ours["seconds"]
            cells.append(f"{rate / 1e12:.2f} {'TB/s' if case['bytes'] else 'TFLOP/s'}")
            cells.append(f"{rate / best[what]:.2f}" if best[what] else "-")
        else:
            cells += ["-", "-"]
        lines.append(f"| {case['kernel']} | {case['pass']} | " + " | ".join(cells) + " |")
    return lines


def duration(seconds):
    """Three digits with a unit that suits."""
    value, unit = (seconds * 1e6, "µs") if seconds < 1e-3 else (seconds * 1e3, "ms") if seconds < 1 else (seconds, "s")
    return f"{value:.{max(0, 3 - len(str(int(value))))}f} {unit}"
