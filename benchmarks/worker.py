"""One engine in one process. Reads a command per line from stdin, answers each with a line of JSON on stdout.

    {"do": "open", "engine": "torch", "threads": 2}                    versions
    {"do": "build", "workload": "mlp", "params": {...}, "dtype": ...}  nothing
    {"do": "check", "steps": 5}                                        the losses of the first steps
    {"do": "calibrate", "seconds": 0.5, "most": 400}                   how many steps a round takes
    {"do": "time", "steps": 400, "warm_up": 3}                         seconds per step, and what others did
    {"do": "memory", "steps": 4}                                       growth of the peak over these steps, in bytes
    {"do": "start", "engine": ..., "threads": 2, "workload": ...}      seconds until the first step is done, in parts
    {"do": "kernel", "kernel": "ReLU, 2M", "which": "forward"}         what a pass has to do at least
    {"do": "peak"}                                                     what a product and a copy of large arrays reach

`check` to `memory` start again from the initial weights each time, so that every round does the same work; behind
`kernel` too there may be `check`, `calibrate`, `time`. `start` is the first and only command of its process.
"""

import ctypes
import dataclasses
import gc
import json
import os
import pathlib
import resource
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROBE = 2048  # side of the matrices whose product shows what the processor can do
COPIED = 1 << 28  # bytes of the array whose copy shows what the memory can do


class Worker:
    """The commands, a method each."""

    def open(self, engine, threads, versions=True):
        from engines import open_engine

        try:
            self.engine = open_engine(engine, threads)
        except ModuleNotFoundError as error:
            if not error.name or "." in error.name:  # the library is there, and a part of it is not
                raise
            return {"missing": f"{error.name} is not installed"}
        return {"versions": self.engine.versions | numpy_versions()} if versions else {}

    def build(self, workload, params, dtype=None):
        from workloads import WORKLOADS

        make = getattr(self.engine, workload, None)
        if make is None:
            return {"missing": "this engine has no program for this workload"}
        data = WORKLOADS[workload].data(params)
        if dtype:
            data = data.astype(dtype)
        self.make = lambda check=False: make(dataclasses.replace(data, check=check))
        return {}

    def kernel(self, kernel, which, dtype="float32"):
        make = lambda check=False: self.engine.kernel(kernel, which, dtype)
        program, work, moved = make()
        self.make = lambda check=False: program  # nothing is learnt: it can be used again
        return {"operations": work, "bytes": moved}

    def check(self, steps):
        program = self.make(check=True)
        return {"losses": [number for _ in range(steps) for number in program.numbers(program.step())]}

    def calibrate(self, seconds, most):
        step = self.make().step
        start = time.perf_counter()
        for _ in range(3):  # some compile in the first steps
            self.engine.wait(step())
            if time.perf_counter() - start > 1:
                break
        count, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds / 2 and count < most:
            self.engine.wait(step())
            count += 1
        return {"steps": max(1, min(most, round(seconds * count / spent))), "seconds": spent / count}

    def time(self, steps, warm_up):
        step = self.make().step
        for _ in range(warm_up):
            step()
        gc.collect()
        busy, processor, start = machine_busy(), time.process_time(), time.perf_counter()
        for _ in range(steps):
            last = step()
        self.engine.wait(last)
        wall, processor = time.perf_counter() - start, time.process_time() - processor
        others = max(0.0, machine_busy() - busy - processor) / wall
        return {"seconds": wall / steps, "processor": processor / steps, "others": others}

    def memory(self, steps):
        # Built once and thrown away, so that what building loads is no part of what stays after the steps.
        self.make()
        self.settle()
        empty = resident()
        program = self.make()
        self.settle()
        measured = measure_memory(program.step, steps)
        del program
        self.settle()
        measured["kept"] = max(measured["kept"], resident() - empty)
        measured["data"] = max(0, measured["growth"] - measured["kept"])
        return measured

    def start(self, engine, threads, workload, params):
        begin = time.perf_counter()
        import numpy  # noqa: F401  the engines' own imports of it are free then

        parts = {"numpy": time.perf_counter() - begin}
        begin = time.perf_counter()
        answer = self.open(engine, threads, versions=False)
        parts["import"] = time.perf_counter() - begin
        if "missing" in answer:
            return answer
        answer = self.build(workload, params)
        if "missing" in answer:
            return answer
        begin = time.perf_counter()
        program = self.make()
        parts["build"] = time.perf_counter() - begin
        for name in ("first", "second"):
            begin = time.perf_counter()
            program.numbers(program.step())
            parts[name] = time.perf_counter() - begin
        return parts

    def peak(self):
        lib = self.engine.lib
        a, b = (lib.ones((PROBE, PROBE), dtype=lib.float32) for _ in range(2))
        source, target = (lib.ones((COPIED // 4,), dtype=lib.float32) for _ in range(2))
        product = best(lambda: a @ b)
        copy = best(lambda: target.copy_(source))
        return {"operations": 2 * PROBE**3 / product, "bytes": 2 * COPIED / copy}

    def settle(self):
        """Give back what was freed."""
        gc.collect()
        self.engine.settle()
        give_back_free_memory()


def best(work, times=5):
    """The shortest time."""
    work()
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        spent.append(time.perf_counter() - begin)
    return min(spent)


def measure_memory(step, steps):
    """The peak of the resident memory during the first steps, above what was resident before them.

    `growth` is that in full. A part of it is no tensor: pages of libraries that these steps touch for the first time,
    kernels that they compile. `kept` is at least the former, and at least what stays when the program is gone.
    """
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
    code = max(0, after.get("RssFile", 0) - before.get("RssFile", 0))
    return {"growth": max(0, peak - base), "kept": code, "resident_before": base, "how": how}


def resident():
    """Bytes of this process that are in memory; 0 where that is unknown."""
    return status().get("VmRSS", 0)


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


def main(worker):
    """Obey until stdin ends."""
    # The answers have a channel of their own: whatever a library prints goes to stderr.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # From the repository root, `autograd` would be ours and not HIPS's.
    sys.path[:] = [p for p in sys.path if pathlib.Path(p or ".").resolve() != ROOT]
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
    main(Worker())
