"""Runs workloads in engines, each engine in a process of its own, and gathers what they report.

The processes of a case live side by side and are commanded over pipes, one at a time: round 1 in every engine, then
round 2 in every engine, and so on. A machine that slows down for a minute slows all of them alike, and a ratio is taken
within a round before its median is taken over the rounds. Memory is measured in further processes, fresh ones, so that
nothing freed by earlier work can hide what a step needs; so is the time from the start to the first step.

`run_case` measures a workload, `run_kernels` single operations (side by side and checked like workloads, but in one
process per engine), `run_starts` the start. Each returns a part of the report.
"""

import contextlib
import dataclasses
import datetime
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from engines import installed_size
from workloads import WORKLOADS

HERE = pathlib.Path(__file__).resolve().parent
# Threads of a BLAS or of OpenMP spin for a while after their last call; the next engine waits until they sleep.
PAUSE = 0.05
# A round is disturbed when other programs took more than this of one processor while some engine had its turn. It is
# repeated, up to as many times as there are rounds; the results come from the quiet rounds, if these are the majority.
DISTURBED = 0.15
MEMORY_STEPS = 4
RUNS = 3  # of what has a process of its own each time: memory, the start
# Steps before the clock runs, and how many are enough where one takes more than SLOW seconds.
WARM_UP, FEW, SLOW = 3, 1, 0.2
# Growth below this is what the allocator and the interpreter do, and a ratio of two such numbers says nothing.
LEAST_MEMORY = 1e6


class Failure(Exception):
    """An engine that cannot do what it was asked to: `status` is missing, failed or wrong; the text says why."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


class Process:
    """One engine's worker."""

    def __init__(self, engine, threads, timeout=600, *, environment=None, open_now=True, script="worker.py", **options):
        self.engine, self.threads, self.timeout = engine, threads, timeout
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (close() closes it)
        self.folder = tempfile.TemporaryDirectory()
        variables = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")
        # Some environments force a kind of processor on OpenBLAS (OPENBLAS_CORETYPE), which would slow all but PyTorch.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
        self.popen = subprocess.Popen(
            [sys.executable, str(HERE / script)],
            cwd=self.folder.name,
            env=inherited | {f"{name}_NUM_THREADS": str(threads) for name in variables} | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        try:
            self.versions = self.ask("open", engine=engine, threads=threads, **options)["versions"] if open_now else {}
        except BaseException:
            self.close()
            raise

    def ask(self, do, **arguments):
        """Send a command and wait for the answer."""
        alarm = threading.Timer(self.timeout, self.popen.kill)
        alarm.start()
        try:
            self.popen.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.popen.stdin.flush()
            line = self.popen.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            alarm.cancel()
        if not line:
            self.errors.seek(0)
            last = self.errors.read().strip().splitlines()[-1:] or ["no message"]
            raise Failure("failed", f"the process ended in `{do}` with status {self.popen.wait()}: {last[0]}")
        answer = json.loads(line)
        for status in ("missing", "failed"):
            if status in answer:
                raise Failure(status, answer[status])
        return answer

    def close(self):
        """End the process."""
        for pipe in (self.popen.stdin, self.popen.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self.errors.close()
        self.folder.cleanup()


@dataclasses.dataclass
class Plan:
    """What is measured, in which engines, how thoroughly."""

    engines: list
    rounds: int = 7
    seconds: float = 0.5
    threads: int = 2
    baseline: str = "torch"
    by: str = "seconds"  # or "processor": what a ratio compares; processor time needs no quiet machine
    runs: int = RUNS
    tick: Callable = lambda text, extra=False: None  # called before each piece of work; `extra`: it was not foreseen

    def heading(self):
        """What a report begins with."""
        return {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "commit": commit(),
            "threads": self.threads,
            "rounds": self.rounds,
            "baseline": self.baseline,
            "by": self.by,
            "engines": {},
            "cases": [],
            "kernels": [],
            "starts": [],
        }


def work(cases, kernels, starts, plan):
    """How often `tick` will be called if nothing disturbs the rounds."""
    engines = len(plan.engines)
    one = 1 + engines * (plan.rounds + 1)
    return len(cases) * (one + engines) + len(kernels) * one + len(starts) * engines


def run_case(workload, case, params, plan, versions):
    """One workload in one size, in all engines."""
    spec = WORKLOADS[workload]
    name = f"{workload} {case}"
    build = {"workload": workload, "params": params}
    results = {engine: {"status": "ok"} for engine in plan.engines}
    plan.tick(f"{name}: reference")
    try:
        reference = reference_losses(build, spec)
    except Failure as failure:  # then nothing can be checked, and what is not checked gets no time
        reference = failure
    with contextlib.ExitStack() as stack:
        processes = {}
        for engine in plan.engines:
            plan.tick(f"{name}: {engine} starts")
            with noted(results, engine):
                if isinstance(reference, Failure):
                    raise Failure("failed", f"there is no reference: {reference}")
                process = processes[engine] = stack.enter_context(contextlib.closing(Process(engine, plan.threads)))
                versions[engine] = process.versions
                process.ask("build", **build)
                results[engine]["check"] = check(process, spec.check_steps, spec.tolerance, reference)
                results[engine] |= calibrate(process, plan.seconds, spec.most_steps)
        measured, quiet = take_rounds(name, processes, results, plan)
    for engine in plan.engines:
        plan.tick(f"{name}: {engine} memory")
        with noted(results, engine):
            if results[engine]["status"] == "ok":
                results[engine]["memory"] = take_memory(engine, plan, build)
    return {
        "workload": workload,
        "case": case,
        "title": spec.title,
        "params": params,
        "bar": spec.bars.get(case),
        **gathered(results, measured, quiet, plan),
    }


def run_kernels(kernels, plan, versions):
    """Measure `kernels`, a list of (kernel, pass, tolerance); the peaks, and a result for each."""
    cases, processes = [], {}
    with contextlib.ExitStack() as stack:

        def process(engine, threads=plan.threads):
            """The one of this engine, or a new one where it has died."""
            if (engine, threads) not in processes or processes[engine, threads].popen.poll() is not None:
                opened = stack.enter_context(contextlib.closing(Process(engine, threads)))
                processes[engine, threads] = opened
            return processes[engine, threads]

        for kernel, which, tolerance in kernels:
            name = f"{kernel}, {which}"
            ask = {"kernel": kernel, "which": which}
            results = {engine: {"status": "ok"} for engine in plan.engines}
            plan.tick(f"{name}: reference")
            reference = None
            for engine in ("torch", "chainrule"):
                with contextlib.suppress(Failure):
                    process(engine, 1).ask("kernel", dtype="float64", **ask)
                    reference = process(engine, 1).ask("check", steps=1)["losses"]
                    break
            work = {"operations": 0, "bytes": 0}
            for engine in plan.engines:
                plan.tick(f"{name}: {engine} starts")
                with noted(results, engine):
                    versions[engine] = process(engine).versions
                    work = process(engine).ask("kernel", **ask)
                    results[engine]["check"] = check(process(engine), 1, tolerance, reference or [])
                    results[engine] |= calibrate(process(engine), plan.seconds, 10_000)
            live = {engine: process(engine) for engine in plan.engines if results[engine]["status"] == "ok"}
            measured, quiet = take_rounds(name, live, results, plan)
            result = {"kernel": kernel, "pass": which, **work, **gathered(results, measured, quiet, plan)}
            cases.append(result)
        peaks = {}
        for engine in plan.engines:
            with contextlib.suppress(Failure):
                peaks[engine] = process(engine).ask("peak")
    peak = {name: max((p[name] for p in peaks.values()), default=None) for name in ("operations", "bytes")}
    return {"peaks": peaks, "peak": peak, "cases": cases}


def run_starts(cases, plan):
    """From nothing to the first step of (workload, case, params): once without compiled kernels on disk, then with."""
    results = []
    for workload, case, params in cases:
        name = f"{workload} {case}"
        engines = {}
        for engine in plan.engines:
            plan.tick(f"{name}: {engine} starts")
            with noted(engines, engine), tempfile.TemporaryDirectory() as folder:
                # Where the libraries keep what they compile.
                caches = dict.fromkeys(("CHAINRULE_CACHE", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"), folder)
                runs = []
                for _ in range(plan.runs + 1):
                    fresh = Process(engine, plan.threads, environment=caches, open_now=False)
                    with contextlib.closing(fresh):
                        ask = {"engine": engine, "threads": plan.threads, "workload": workload, "params": params}
                        runs.append(fresh.ask("start", **ask))
                cold, *warm = runs
                middle = sorted(warm, key=lambda run: sum(run.values()))[len(warm) // 2]
                engines[engine] = {"status": "ok", "cold": cold, "warm": middle}
        results.append({"workload": workload, "case": case, "engines": engines})
    return results


def sizes(engines):
    """Bytes on disk of what each engine needs: itself and its dependencies."""
    return {engine: installed_size(engine) for engine in engines}


def gathered(results, measured, quiet, plan):
    """The rounds of all engines, and how they compare."""
    number = max(map(len, measured.values()), default=0)
    used = quiet if len(quiet) > plan.rounds / 2 or plan.by == "processor" else list(range(number))
    for engine, result in results.items():
        if result["status"] == "ok":
            results[engine] |= summary(measured[engine], used)
    add_ratios(results, plan.baseline, plan.by)
    return {"rounds_taken": number, "rounds_used": used, "quiet": used == quiet, "engines": results}


def calibrate(process, seconds, most):
    """Steps of a round, and before it."""
    answer = process.ask("calibrate", seconds=seconds, most=most)
    return {"steps": answer["steps"], "warm_up": FEW if answer["seconds"] > SLOW else WARM_UP}


@contextlib.contextmanager
def noted(results, engine):
    """An engine that fails gets a line that says so, and the others go on."""
    try:
        yield
    except Failure as failure:
        results[engine] = {"status": failure.status, "reason": str(failure)}


def take_rounds(name, processes, results, plan):
    """What each engine reports of each round, and which rounds count as quiet."""
    engines = list(results)
    measured = {engine: [] for engine in engines}
    quiet, number = [], 0
    while number < plan.rounds or (len(quiet) < plan.rounds and number < 2 * plan.rounds):
        turn = number % len(engines)
        for engine in engines[turn:] + engines[:turn]:
            plan.tick(f"{name}: {engine} round {number + 1}", extra=number >= plan.rounds)
            with noted(results, engine):
                if results[engine]["status"] == "ok":
                    time.sleep(PAUSE)
                    steps = {key: results[engine][key] for key in ("steps", "warm_up")}
                    measured[engine].append(processes[engine].ask("time", **steps))
        turns = [taken[number] for taken in measured.values() if len(taken) > number]
        if not turns:
            break
        if plan.by == "processor" or all(turn["others"] <= DISTURBED for turn in turns):
            quiet.append(number)
        number += 1
    return measured, quiet


def take_memory(engine, plan, build):
    """The median run of several, each in a new process."""
    runs = []
    for _ in range(plan.runs):
        with contextlib.closing(Process(engine, plan.threads)) as process:
            process.ask("build", **build)
            runs.append(process.ask("memory", steps=MEMORY_STEPS))
    return sorted(runs, key=lambda run: run["data"])[plan.runs // 2]


def reference_losses(build, spec):
    """The losses of the first steps in float64, from the first engine of the workload's references that there is."""
    for engine in spec.references:
        try:
            with contextlib.closing(Process(engine, 1)) as process:
                process.ask("build", dtype="float64", **build)
                return process.ask("check", steps=spec.check_steps)["losses"]
        except Failure as failure:
            last = failure
            if failure.status != "missing":
                break
    raise last


def check(process, steps, tolerance, reference):
    """The losses of an engine's first steps, compared with the reference."""
    losses = process.ask("check", steps=steps)["losses"]
    if len(losses) != len(reference):
        raise Failure("wrong", f"{len(losses)} losses, while the reference has {len(reference)}")
    worst = max(
        (abs(a - b) / abs(b) if math.isfinite(a) else math.inf for a, b in zip(losses, reference, strict=True) if b),
        default=math.inf,
    )
    if worst > tolerance:
        raise Failure("wrong", f"its losses {losses} differ from the reference {reference} by {worst:.1e}")
    return {"losses": losses, "reference": reference, "relative_difference": worst}


def summary(rounds, used):
    """What the rounds of one engine come to, in seconds per step."""
    times = [rounds[i]["seconds"] for i in used]
    return {
        "rounds": rounds,
        "seconds": times,
        "median": statistics.median(times),
        "best": min(times),
        "processors": [rounds[i]["processor"] for i in used],
        "processor": statistics.median(rounds[i]["processor"] for i in used),
    }


def add_ratios(results, baseline, by="seconds"):
    """Compare with the baseline: time round by round, memory once."""
    base = results.get(baseline, {})
    for result in results.values():
        if result["status"] == base.get("status") == "ok":
            ratios = sorted(a / b for a, b in zip(compared(result, by), compared(base, by)))
            result["ratio"] = statistics.median(ratios)
            result["ratio_range"] = [ratios[0], ratios[-1]]
            if base.get("memory", {}).get("data", 0) >= LEAST_MEMORY:
                result["memory_ratio"] = result["memory"]["data"] / base["memory"]["data"]


def compared(result, by):
    return result["seconds"] if by == "seconds" else result["processors"]


def machine():
    """What the numbers were taken on."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    memory = None
    with contextlib.suppress(ValueError, OSError, AttributeError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory": memory,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def commit():
    """The commit that was measured, with a + if files have changed since."""
    git = ["git", "-C", str(HERE.parent)]
    try:
        name = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return name.stdout.strip() + ("+" if changed.stdout.strip() else "")
