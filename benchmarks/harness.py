"""Runs workloads in engines, each engine in a process of its own, and gathers what they report.

The processes of a case live side by side and are commanded over pipes, one at a time: round 1 in every engine, then
round 2 in every engine, and so on. A machine that slows down for a minute slows all of them alike, and a ratio is taken
within a round before its median is taken over the rounds. Memory is measured in further processes, fresh ones, so that
nothing freed by earlier work can hide what a step needs.
"""

import contextlib
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

from workloads import WORKLOADS

HERE = pathlib.Path(__file__).resolve().parent
# Threads of a BLAS or of OpenMP spin for a while after their last call; the next engine waits until they sleep.
PAUSE = 0.05
# A round is disturbed when other programs took more than this of one processor while some engine had its turn. It is
# repeated, up to as many times as there are rounds; the results come from the quiet rounds, if these are the majority.
DISTURBED = 0.15
MEMORY_STEPS = 4
MEMORY_RUNS = 3
# Growth below this is what the allocator and the interpreter do, and a ratio of two such numbers says nothing.
LEAST_MEMORY = 1e6


class Failure(Exception):
    """An engine that cannot do what it was asked to: `status` is missing, failed or wrong; the text says why."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


class Process:
    """One engine's worker."""

    def __init__(self, engine, threads, timeout=600):
        self.engine, self.timeout = engine, timeout
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (close() closes it)
        self.folder = tempfile.TemporaryDirectory()
        variables = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")
        # Some environments force a kind of processor on OpenBLAS (OPENBLAS_CORETYPE), which would slow all but PyTorch.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
        self.popen = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py")],
            cwd=self.folder.name,
            env=inherited | {f"{name}_NUM_THREADS": str(threads) for name in variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        try:
            self.versions = self.ask("open", engine=engine, threads=threads)["versions"]
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


def run(cases, engines, *, rounds=7, seconds=0.5, threads=2, baseline="torch", tick=lambda text, extra=False: None):
    """Measure `cases`, a list of (workload, case, params), in `engines`.

    `tick` is called before each piece of work, with `extra` where `work` did not foresee it.
    """
    report = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "commit": commit(),
        "threads": threads,
        "rounds": rounds,
        "baseline": baseline,
        "engines": {},
        "cases": [],
    }
    for workload, case, params in cases:
        result = run_case(workload, case, params, engines, rounds, seconds, threads, baseline, report["engines"], tick)
        report["cases"].append(result)
    return report


def work(cases, engines, rounds):
    """How often `run` will call `tick` if nothing disturbs it."""
    return len(cases) * (1 + len(engines) * (rounds + 2))


def run_case(workload, case, params, engines, rounds, seconds, threads, baseline, versions, tick):
    """One workload in one size, in all engines."""
    spec = WORKLOADS[workload]
    name = f"{workload} {case}"
    build = {"workload": workload, "params": params}
    results = {engine: {"status": "ok"} for engine in engines}
    tick(f"{name}: reference")
    reference = reference_losses(build, spec.check_steps)
    with contextlib.ExitStack() as stack:
        processes = {}
        for engine in engines:
            tick(f"{name}: {engine} starts")
            with noted(results, engine):
                process = processes[engine] = stack.enter_context(contextlib.closing(Process(engine, threads)))
                versions[engine] = process.versions
                process.ask("build", **build)
                results[engine]["check"] = check(process, spec, reference)
                results[engine]["steps"] = process.ask("calibrate", seconds=seconds, most=spec.most_steps)["steps"]
        measured, quiet = take_rounds(name, processes, results, rounds, tick)
    number = max(map(len, measured.values()))
    used = quiet if len(quiet) > rounds / 2 else list(range(number))
    for engine in engines:
        tick(f"{name}: {engine} memory")
        with noted(results, engine):
            if results[engine]["status"] == "ok":
                results[engine]["memory"] = take_memory(engine, threads, build)
                results[engine] |= summary(measured[engine], used)
    add_ratios(results, baseline)
    return {
        "workload": workload,
        "case": case,
        "title": spec.title,
        "params": params,
        "rounds_taken": number,
        "rounds_used": used,
        "quiet": used == quiet,
        "engines": results,
    }


@contextlib.contextmanager
def noted(results, engine):
    """An engine that fails gets a line that says so, and the others go on."""
    try:
        yield
    except Failure as failure:
        results[engine] = {"status": failure.status, "reason": str(failure)}


def take_rounds(name, processes, results, rounds, tick):
    """What each engine reports of each round, and which rounds were quiet."""
    engines = list(results)
    measured = {engine: [] for engine in engines}
    quiet, number = [], 0
    while number < rounds or (len(quiet) < rounds and number < 2 * rounds):
        turn = number % len(engines)
        for engine in engines[turn:] + engines[:turn]:
            tick(f"{name}: {engine} round {number + 1}", extra=number >= rounds)
            with noted(results, engine):
                if results[engine]["status"] == "ok":
                    time.sleep(PAUSE)
                    measured[engine].append(processes[engine].ask("time", steps=results[engine]["steps"]))
        turns = [taken[number] for taken in measured.values() if len(taken) > number]
        if not turns:
            break
        if all(turn["others"] <= DISTURBED for turn in turns):
            quiet.append(number)
        number += 1
    return measured, quiet


def take_memory(engine, threads, build):
    """The median run of several, each in a new process."""
    runs = []
    for _ in range(MEMORY_RUNS):
        with contextlib.closing(Process(engine, threads)) as process:
            process.ask("build", **build)
            runs.append(process.ask("memory", steps=MEMORY_STEPS))
    return sorted(runs, key=lambda run: run["data"])[MEMORY_RUNS // 2]


def reference_losses(build, steps):
    """The losses of the first steps in float64."""
    with contextlib.closing(Process("numpy", 1)) as process:
        process.ask("build", dtype="float64", **build)
        return process.ask("check", steps=steps)["losses"]


def check(process, spec, reference):
    """The losses of an engine's first steps, compared with the reference."""
    losses = process.ask("check", steps=spec.check_steps)["losses"]
    worst = max(
        (abs(a - b) / abs(b) if math.isfinite(a) else math.inf for a, b in zip(losses, reference, strict=True)),
        default=math.inf,
    )
    if worst > spec.tolerance:
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
        "processor": statistics.median(rounds[i]["processor"] for i in used),
    }


def add_ratios(results, baseline):
    """Compare with the baseline: time round by round, memory once."""
    base = results.get(baseline, {})
    for result in results.values():
        if result["status"] == base.get("status") == "ok":
            ratios = sorted(a / b for a, b in zip(result["seconds"], base["seconds"]))
            result["ratio"] = statistics.median(ratios)
            result["ratio_range"] = [ratios[0], ratios[-1]]
            if base["memory"]["data"] >= LEAST_MEMORY:
                result["memory_ratio"] = result["memory"]["data"] / base["memory"]["data"]


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
