"""One engine in one process. Reads a command per line from stdin, answers each with a line of JSON on stdout.

    {"do": "open", "engine": "torch", "threads": 2}                    versions
    {"do": "build", "workload": "mlp", "params": {...}, "dtype": ...}  nothing
    {"do": "check", "steps": 5}                                        the losses of the first steps
    {"do": "calibrate", "seconds": 0.5, "most": 400}                   how many steps a round takes
    {"do": "time", "steps": 400}                                       seconds per step, and what others did
    {"do": "memory", "steps": 4}                                       growth of the peak over these steps, in bytes

Each of the last four starts again from the initial weights, so that every round does the same work.
"""

import ctypes
import gc
import json
import os
import pathlib
import resource
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent
WARM_UP = 3


class Worker:
    """The commands, a method each."""

    def open(self, engine, threads):
        from engines import open_engine

        try:
            self.engine = open_engine(engine, threads)
        except ModuleNotFoundError as error:
            if not error.name or "." in error.name:  # the library is there, and a part of it is not
                raise
            return {"missing": f"{error.name} is not installed"}
        return {"versions": self.engine.versions | numpy_versions()}

    def build(self, workload, params, dtype=None):
        from workloads import WORKLOADS

        make = getattr(self.engine, workload, None)
        if make is None:
            return {"missing": "this engine has no program for this workload"}
        data = WORKLOADS[workload].data(params)
        if dtype:
            data = data.astype(dtype)
        self.make = lambda: make(data)
        return {}

    def check(self, steps):
        program = self.make()
        return {"losses": [number for _ in range(steps) for number in program.numbers(program.step())]}

    def calibrate(self, seconds, most):
        step = self.make().step
        step()
        count, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds / 2 and count < most:
            step()
            count += 1
        return {"steps": max(1, min(most, round(seconds * count / spent)))}

    def time(self, steps):
        step = self.make().step
        for _ in range(WARM_UP):
            step()
        gc.collect()
        busy, processor, start = machine_busy(), time.process_time(), time.perf_counter()
        for _ in range(steps):
            step()
        wall, processor = time.perf_counter() - start, time.process_time() - processor
        others = max(0.0, machine_busy() - busy - processor) / wall
        return {"seconds": wall / steps, "processor": processor / steps, "others": others}

    def memory(self, steps):
        step = self.make().step
        return measure_memory(step, steps)


def measure_memory(step, steps):
    """The peak of the resident memory during the first steps, above what was resident before them.

    `growth` is that in full. Part of it are pages of libraries that these steps touch for the first time; a page of
    code is no tensor, so `data` is the growth without what the file-backed pages grew by.
    """
    gc.collect()
    give_back_free_memory()
    before = status()
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        how = "VmHWM, reset before the first step"
    except OSError:
        how = "ru_maxrss, never reset: a lower bound"
    base = before.get("VmRSS") if how.startswith("VmHWM") else None
    if base is None:
        base = max_rss()
    for _ in range(steps):
        step()
    after = status()
    peak = after["VmHWM"] if how.startswith("VmHWM") else max_rss()
    growth = max(0, peak - base)
    code = after.get("RssFile", 0) - before.get("RssFile", 0)
    return {"growth": growth, "data": max(0, growth - max(0, code)), "resident_before": base, "how": how}


def machine_busy():
    """Seconds that all processors together have worked since the machine started; always 0 where that is unknown."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _idle, _wait, irq, soft, steal = map(int, file.readline().split()[1:9])
    except (OSError, ValueError):
        return 0.0
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def status():
    """The fields of /proc/self/status that are sizes, in bytes; empty where there is no such file."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in fields}


def max_rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def give_back_free_memory():
    """What the C library holds free from building the program would hide the memory of the first step."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        pass


def numpy_versions():
    import numpy

    blas = numpy.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return {"numpy": numpy.__version__, "blas of numpy": f"{blas.get('name', '?')} {blas.get('version', '')}".strip()}


def main():
    # The answers have a channel of their own: whatever a library prints goes to stderr.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # From the repository root, `autograd` would be ours and not HIPS's.
    sys.path[:] = [p for p in sys.path if pathlib.Path(p or ".").resolve() != ROOT]
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command.pop("do"))(**command)
        except Exception as error:
            traceback.print_exc()
            answer = {"failed": f"{type(error).__name__}: {error}"}
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


if __name__ == "__main__":
    main()
