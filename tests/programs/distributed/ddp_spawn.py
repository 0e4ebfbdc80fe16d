"""Distributed data parallel as introductions show it: processes by spawn, a checkpoint that rank 0 writes, gloo."""

import os
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn as nn
import torch.optim as optim
from torch.nn.parallel import DistributedDataParallel as DDP


def setup(rank, world_size):
    os.environ["MASTER_ADDR"] = "localhost"
    os.environ["MASTER_PORT"] = sys.argv[1]
    dist.init_process_group("gloo", rank=rank, world_size=world_size)


def cleanup():
    dist.destroy_process_group()


class ToyModel(nn.Module):
    def __init__(self):
        super(ToyModel, self).__init__()
        self.net1 = nn.Linear(10, 10)
        self.relu = nn.ReLU()
        self.net2 = nn.Linear(10, 5)

    def forward(self, x):
        return self.net2(self.relu(self.net1(x)))


def demo_basic(rank, world_size):
    setup(rank, world_size)
    model = ToyModel()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.arange(p.numel(), dtype=torch.float32).sin().reshape(p.shape) * (0.3 + rank))
    ddp_model = DDP(model)
    loss_fn = nn.MSELoss()
    optimizer = optim.SGD(ddp_model.parameters(), lr=0.01)
    inputs = torch.arange(200, dtype=torch.float32).reshape(20, 10).sin()
    labels = torch.arange(100, dtype=torch.float32).reshape(20, 5).cos()
    rows = slice(rank * 20 // world_size, (rank + 1) * 20 // world_size)
    for _ in range(10):
        optimizer.zero_grad()
        outputs = ddp_model(inputs[rows])
        loss = loss_fn(outputs, labels[rows])
        loss.backward()
        optimizer.step()
    dist.all_reduce(loss := loss.detach(), op=dist.ReduceOp.SUM)
    if rank == 0:
        print(f"basic {loss.item() / world_size:.6f}")
    cleanup()


def demo_checkpoint(rank, world_size):
    setup(rank, world_size)
    torch.manual_seed(rank)
    ddp_model = DDP(ToyModel())
    path = tempfile.gettempdir() + f"/model-{sys.argv[1]}.checkpoint"
    if rank == 0:
        torch.save(ddp_model.state_dict(), path)
    dist.barrier()
    with torch.no_grad():
        for p in ddp_model.parameters():
            p.zero_()
    ddp_model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    total = sum(p.abs().sum() for p in ddp_model.parameters()).detach()
    everybody = [torch.zeros(()) for _ in range(world_size)]
    dist.all_gather(everybody, total)
    dist.barrier()
    if rank == 0:
        os.remove(path)
        print("checkpoint", len({t.item() for t in everybody}) == 1, total.item() > 0)
    cleanup()


def run_demo(demo_fn, world_size):
    mp.spawn(demo_fn, args=(world_size,), nprocs=world_size, join=True)


if __name__ == "__main__":
    run_demo(demo_basic, 2)
    run_demo(demo_checkpoint, 2)
