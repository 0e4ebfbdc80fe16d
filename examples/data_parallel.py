"""Train the network of examples/digits.py in several processes, each on its own part of every batch.

    python -m chainrule.distributed.run --nproc-per-node 2 examples/data_parallel.py
    mpiexec -n 2 python examples/data_parallel.py
    python -m chainrule.distributed.run --nproc-per-node gpu examples/data_parallel.py --device cuda

What differs from a program for one process is marked. However many processes there are, a batch has 32 images
altogether, and the run makes about the same network.
"""

import argparse

from digits import LeNet, load_data

import chainrule as cr
import chainrule.distributed as dist
from chainrule import nn, optim
from chainrule.nn import functional as F
from chainrule.utils.data import DataLoader, DistributedSampler, TensorDataset


def evaluate(model, images, classes):
    """How many of this process's share of the images are told right, and how many it has."""
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    model.eval()
    with cr.no_grad():
        right = (model(images[mine]).argmax(1) == classes[mine]).sum()
    return cr.tensor([float(right), float(len(classes[mine]))])


def main(argv=None):
    """Train and test; returns the accuracy on the test images."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=10, help="how often to go over the training images (10)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda: each process takes the GPU of its number (cpu)")
    args = parser.parse_args(argv)

    dist.init_process_group()  # 1: meet the other processes
    rank, size = dist.get_rank(), dist.get_world_size()
    local = dist.get_node_local_rank(0)
    device = f"cuda:{local}" if args.device == "cuda" else "cpu"
    (images, classes), _, test = load_data(device)

    cr.manual_seed(rank)  # other dropout in each; the weights will be those of rank 0
    model = nn.parallel.DistributedDataParallel(  # 2: gradients are averaged
        LeNet().to(device), device_ids=[local] if args.device == "cuda" else None
    )
    optimizer = optim.AdamW(model.parameters(), lr=0.003, weight_decay=0.01)
    data = TensorDataset(images, classes)
    sampler = DistributedSampler(data)  # 3: each process goes over its own part of the images
    loader = DataLoader(data, batch_size=max(32 // size, 1), sampler=sampler)
    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)  # 4: another order in each epoch
        model.train()
        total = cr.zeros(())
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.detach().cpu() / len(loader)
        dist.all_reduce(total, dist.ReduceOp.AVG)  # 5: what is shown is the mean of all
        if rank == 0:
            print(f"epoch {epoch + 1}: loss {total.item():.4f}", flush=True)
    counts = evaluate(model.module, *test)
    dist.all_reduce(counts)
    accuracy = counts[0].item() / counts[1].item()
    if rank == 0:
        print(f"test accuracy {accuracy:.2%}, {size} processes")
    dist.destroy_process_group()
    return accuracy


if __name__ == "__main__":
    cr.set_num_threads(1)
    main()
