"""Start a program in several processes, as torchrun does.

    python -m chainrule.distributed.run --nproc-per-node 4 train.py --epochs 10
    python -m chainrule.distributed.run --nnodes 2 --node-rank 0 --nproc-per-node 4 \\
        --master-addr 10.0.0.1 --master-port 29500 train.py       # on each machine, with its own --node-rank

Each process gets RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, GROUP_RANK, MASTER_ADDR and MASTER_PORT, which
`init_process_group()` reads. When one of them fails, the others on this machine are ended and the error of the one that
failed first is shown; with --max-restarts all are started anew that many times.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from types import FrameType
from typing import Any

from ..backends.communication import TCPStore

__all__ = ["main"]

#: seconds that processes have to end by themselves when one has failed, and then after they were asked to
_NOTICE, _PATIENCE = 1.0, 5.0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "chainrule.distributed.run", description="Start a program in several processes.", allow_abbrev=False
    )

    def option(name: str, **more: Any) -> None:
        parser.add_argument(f"--{name}", *([f"--{name.replace('-', '_')}"] if "-" in name else []), **more)

    option("nproc-per-node", default="1", help="processes on this machine: a number, 'cpu', 'gpu' or 'auto'")
    option("nnodes", default="1", help="number of machines (1)")
    option("node-rank", type=int, default=0, help="the number of this machine, from 0")
    option("master-addr", default=None, help="address of machine 0 (127.0.0.1)")
    option("master-port", type=int, default=None, help="port of machine 0 at which all meet (any free one; 29500)")
    option("standalone", action="store_true", help="one machine, any free port: the default of one machine")
    option("rdzv-endpoint", default="", help="host:port, as --master-addr and --master-port")
    option("rdzv-backend", default="static", help="taken for torchrun's sake")
    option("rdzv-id", default="none", help="the name of this run")
    option("rdzv-conf", default="", help="taken for torchrun's sake")
    option("max-restarts", type=int, default=0, help="start all anew so many times when one fails (0)")
    option("monitor-interval", type=float, default=0.1, help="seconds between looks at the processes (0.1)")
    option("log-dir", default=None, help="write each process's output into a file of this folder")
    parser.add_argument("-m", "--module", action="store_true", help="the program is a module, as for python -m")
    option("no-python", action="store_true", help="the program is run as it is, not by Python")
    option("run-path", action="store_true", help="taken for torchrun's sake")
    parser.add_argument("program", help="the program, and what follows are its arguments")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser.parse_args(argv)


def _processes(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    if text in ("gpu", "auto"):
        from ..runtime import cuda

        if cuda.is_available():
            return cuda.device_count()
        if text == "gpu":
            raise SystemExit("--nproc-per-node gpu: there is no GPU")
    if text in ("cpu", "auto"):
        return os.cpu_count() or 1
    raise SystemExit(f"--nproc-per-node: a number, 'cpu', 'gpu' or 'auto', not {text!r}")


class _Launch:
    """The processes of this machine."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.count = _processes(options.nproc_per_node)
        self.nodes = int(str(options.nnodes).split(":")[-1])
        host, _, port = options.rdzv_endpoint.partition(":")
        self.host = options.master_addr or host or "127.0.0.1"
        self.port = options.master_port or int(port or (29500 if self.nodes > 1 else 0))
        self.running: list[subprocess.Popen[bytes]] = []
        self.store: TCPStore | None = None
        if options.node_rank == 0:  # the launcher serves the store: no two programs can want one port
            self.store = TCPStore(self.host, self.port, is_master=True, wait_for_workers=False)
            self.port = self.store.port

    def command(self) -> list[str]:
        options = self.options
        if options.no_python:
            return [options.program, *options.arguments]
        return [sys.executable, "-u", *(["-m"] if options.module else []), options.program, *options.arguments]

    def start(self, attempt: int, folder: str) -> None:
        """Start all processes of this machine."""
        size = self.count * self.nodes
        self.errors, self.running = [], []
        for local in range(self.count):
            rank = self.options.node_rank * self.count + local
            self.errors.append(os.path.join(folder, f"{attempt}-{rank}.json"))
            environment = {
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": str(size),
                "LOCAL_RANK": str(local),
                "LOCAL_WORLD_SIZE": str(self.count),
                "GROUP_RANK": str(self.options.node_rank),
                "GROUP_WORLD_SIZE": str(self.nodes),
                "MASTER_ADDR": self.host,
                "MASTER_PORT": str(self.port),
                "TORCHELASTIC_RUN_ID": self.options.rdzv_id,
                "TORCHELASTIC_RESTART_COUNT": str(attempt),
                "TORCHELASTIC_MAX_RESTARTS": str(self.options.max_restarts),
                "TORCHELASTIC_USE_AGENT_STORE": "True",
                "CHAINRULE_STORE": f"{self.host}:{self.port}",
                "TORCHELASTIC_ERROR_FILE": self.errors[-1],
            }
            if self.count > 1:  # or each would take all processors for its matrices
                environment.setdefault("OMP_NUM_THREADS", "1")
                environment.setdefault("OPENBLAS_NUM_THREADS", environment["OMP_NUM_THREADS"])
            output = None
            if self.options.log_dir:
                os.makedirs(self.options.log_dir, exist_ok=True)
                output = open(os.path.join(self.options.log_dir, f"{attempt}-{rank}.log"), "wb")  # noqa: SIM115
            self.running.append(
                subprocess.Popen(self.command(), env=environment, stdout=output, stderr=output and subprocess.STDOUT)
            )
            if output is not None:
                output.close()

    def wait(self) -> list[int]:
        """Wait until all have ended well, or one has not; the local numbers of those that failed."""
        while True:
            codes = [p.poll() for p in self.running]
            failed = [i for i, code in enumerate(codes) if code not in (None, 0)]
            if failed:
                end = time.monotonic() + _NOTICE  # the others notice, and say so
                while any(p.poll() is None for p in self.running) and time.monotonic() < end:
                    time.sleep(0.02)
                failed = [i for i, p in enumerate(self.running) if p.returncode not in (None, 0)]
            if failed or all(code == 0 for code in codes):
                return failed
            time.sleep(self.options.monitor_interval)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End those that still run."""
        for p in self.running:
            if p.poll() is None:
                p.send_signal(number)
        end = time.monotonic() + _PATIENCE
        for p in self.running:
            try:
                p.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()

    def report(self, failed: list[int]) -> str:
        """What is said of a failure: the process whose error came first, and its traceback."""
        told = {}
        for i, path in enumerate(self.errors):
            if os.path.exists(path):
                try:
                    with open(path) as file:
                        told[i] = json.load(file)
                except ValueError:
                    pass  # it was ended while it wrote
        causes = [i for i in told if not told[i].get("secondary")] or list(told)
        first = min(causes, key=lambda i: told[i]["time"]) if causes else failed[0]
        silent = [i for i in failed if i not in told]  # killed, or ended by exit()
        if silent and (not told or all(entry.get("secondary") for entry in told.values())):
            first = silent[0]
        code = self.running[first].returncode
        how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        rank = self.options.node_rank * self.count + first
        text = f"rank {rank} failed first ({how}, pid {self.running[first].pid}); the others were ended"
        return text + (f"\n{told[first]['message']}" if first in told else "")


def main(argv: list[str] | None = None) -> None:
    """The program; `argv` is the command line without its first word. SystemExit with the code of the first failure."""
    options = _arguments(argv)
    launch = _Launch(options)

    def stop(number: int, frame: FrameType | None) -> None:
        launch.stop(number)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with tempfile.TemporaryDirectory() as folder:
        for attempt in range(options.max_restarts + 1):
            launch.start(attempt, folder)
            failed = launch.wait()
            if not failed:
                return
            launch.stop()
            sys.stderr.write(f"chainrule.distributed.run: {launch.report(failed)}\n")
    raise SystemExit(1)


if __name__ == "__main__":
    main()
