"""Programs in which something goes wrong: `python distributed_faults.py <fault>` in each of several processes.

Rank 1 has the fault; the others would wait for it for ten minutes.
"""

import os
import signal
import sys
import threading
import time

import chainrule as cr
import chainrule.distributed as dist


def main(fault):
    dist.init_process_group("gloo" if "RANK" in os.environ else "mpi", timeout=600)
    rank = dist.get_rank()
    t = cr.ones(200_000)
    dist.all_reduce(t)
    if fault == "timeout":
        group = dist.new_group(timeout=1.5)
        if rank != 1:
            dist.all_reduce(t, group=group)
        time.sleep(30)
    if rank == 1:
        if fault == "raise":
            raise KeyError("lost in rank 1")
        if fault == "raise in a thread":  # threads that still run must not keep the process
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
            raise KeyError("lost in rank 1")
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "exit":
            sys.exit(3)
        if fault == "other call":
            dist.broadcast(t, 0)
        if fault == "other shape":
            t = cr.ones(3)
    if fault == "async":
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        work = dist.all_reduce(t, async_op=True)
        work.wait()
    dist.all_reduce(t)
    dist.all_reduce(t)
    time.sleep(1 if fault == "other shape" else 0)


def spawned(rank, fault):
    os.environ.update(RANK=str(rank), WORLD_SIZE="3", MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[2])
    main(fault)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        cr.multiprocessing.spawn(spawned, (sys.argv[1],), nprocs=3)
    else:
        main(sys.argv[1])
