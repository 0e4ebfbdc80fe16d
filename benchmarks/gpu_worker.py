"""One setting of one library on a GPU, in one process; commanded like worker.py, by gpu.py.

{"do": "open", "engine": "torch", "device": "cuda", "threads": 4}       versions
{"do": "build", "workload": "gpt2", "params": {...}, "precision": ...}   nothing
{"do": "check", "steps": 20}                                             the losses of the first steps
{"do": "warm", "seconds": 2}                                             seconds of a step, of the first ones
{"do": "time", "steps": 50}                                              seconds per step, by the clock and by events
{"do": "memory", "steps": 3}                                             peak of what tensors hold, device in use
{"do": "kernel", "kernel": "...", "which": "forward"}                    operations, bytes, a number of the result
{"do": "kernel_time", "seconds": 0.2}                                    seconds per call
{"do": "ceilings"}                                                       bytes/s of a copy, operations/s of a product
{"do": "release"}                                                        gives memory back
"""

import functools
import gc
import statistics
import time

import worker
from worker import Worker


class GpuWorker(Worker):
    """The commands, a method each."""

    def open(self, engine, threads, device):
        from engines.gpu import ENGINES

        try:
            self.engine = ENGINES[engine](threads, device, engine)
        except ModuleNotFoundError as error:
            return {"missing": str(error)}
        return {"versions": self.engine.versions}

    def build(self, workload, params, precision):
        from gpu_workloads import WORKLOADS

        spec = WORKLOADS[workload]
        self.engine.precise(precision)
        self.run = None
        data = spec.data(params)
        make = getattr(self.engine, spec.program)
        self.make = lambda check: make(data.replaced(check=check))
        return {}

    def check(self, steps):
        program = self.make(True)
        losses = [program.numbers(program.step()) for _ in range(steps)]
        del program
        self.release(keep=True)
        return {"losses": [number for numbers in losses for number in numbers]}

    def warm(self, seconds):
        """The first steps compile, tune and capture; then until steps have taken `seconds`."""
        self.run, first = self.make(False).step, []
        for _ in range(5):
            begin = time.perf_counter()
            self.engine.wait(self.run())
            first.append(time.perf_counter() - begin)
        count, begin = 0, time.perf_counter()
        while count < 3 or time.perf_counter() - begin < seconds:
            self.run()
            count += 1
            if count % 10 == 0:
                self.engine.wait()
        self.engine.wait()
        return {"seconds": (time.perf_counter() - begin) / count, "first": first}

    def time(self, steps):
        run, engine = self.run, self.engine
        engine.wait()
        gc.collect()
        before, begin = engine.event(), time.perf_counter()
        for _ in range(steps):
            run()
        queued = time.perf_counter() - begin  # how long the host was busy with them
        after = engine.event()
        engine.wait()
        wall = time.perf_counter() - begin
        events = wall if before is None else before.elapsed_time(after) / 1e3
        return {"seconds": wall / steps, "events": events / steps, "host": queued / steps}

    def memory(self, steps):
        self.engine.forget_memory()
        for _ in range(steps):
            self.run()
        self.engine.wait()
        held, taken = self.engine.memory()
        return {"peak": held, "device": taken}

    def kernel(self, kernel, which, tiny=False):
        self.run = None
        self.release(keep=True)
        found = self.engine.kernel(kernel, which, tiny)
        if found is None:
            return {"absent": True}
        self.run, operations, moved, number = found
        return {"operations": operations, "bytes": moved, "numbers": number()}

    def kernel_time(self, seconds):
        return {"seconds": self._each(self.run, seconds)}

    def _each(self, call, seconds):
        """The median time of a call, by events around several."""
        engine, times = self.engine, []
        for _ in range(3):
            call()
        engine.wait()
        begin = time.perf_counter()
        for _ in range(3):
            call()
        engine.wait()
        one = max((time.perf_counter() - begin) / 3, 1e-6)
        repeats = max(1, min(200, round(seconds / one / 5)))
        for _ in range(5):
            before, begin = engine.event(), time.perf_counter()
            for _ in range(repeats):
                call()
            after = engine.event()
            engine.wait()
            spent = time.perf_counter() - begin if before is None else before.elapsed_time(after) / 1e3
            times.append(spent / repeats)
        return statistics.median(times)

    def ceilings(self, tiny=False):
        """What a large copy moves and large products compute in a second; the best of several."""
        lib, place = self.engine.lib, self.engine.place
        n, side = (1 << 12, 16) if tiny else (1 << 28, 8192)
        source, target = (place(lib.ones(n)) for _ in range(2))
        found = {"bytes": 8 * n / self._each(functools.partial(target.copy_, source), 0.2)}
        del source, target
        for name, kind in (("bfloat16", lib.bfloat16), ("tf32", lib.float32)):
            a, b = (place(lib.randn(side, side)).to(kind) for _ in range(2))
            found[name] = 2 * side**3 / self._each(functools.partial(lib.matmul, a, b), 0.2)
        self.release(keep=True)
        return found

    def release(self, keep=False):
        """Give memory back that is held for later; with the program, unless `keep`."""
        if not keep:
            self.run = self.make = None
        gc.collect()
        self.engine.settle()
        return {}


if __name__ == "__main__":
    worker.main(GpuWorker())
