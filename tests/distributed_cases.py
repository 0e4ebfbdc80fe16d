"""What the processes of tests/test_distributed.py do: `python distributed_cases.py <case>` in each of them.

Each process knows the numbers of all of them, so each compares with NumPy, or with a training in one process.
"""

import copy
import os
import pickle
import sys
import time

import numpy as np
import pytest

import chainrule as cr
import chainrule.distributed as dist
from chainrule import nn
from chainrule.distributed import ReduceOp
from chainrule.distributed.algorithms.join import Join, Joinable, JoinHook
from chainrule.distributed.optim import ZeroRedundancyOptimizer
from chainrule.nn import functional as F
from chainrule.nn.parallel import DistributedDataParallel as DDP
from chainrule.utils.checkpoint import checkpoint

FLOATS = (cr.float32, cr.float64, cr.float16, cr.bfloat16)
NUMPY = {
    ReduceOp.SUM: np.add,
    ReduceOp.PRODUCT: np.multiply,
    ReduceOp.MIN: np.minimum,
    ReduceOp.MAX: np.maximum,
    ReduceOp.BAND: np.bitwise_and,
    ReduceOp.BOR: np.bitwise_or,
    ReduceOp.BXOR: np.bitwise_xor,
}


def raises(kind, match, call, *args, **kwargs):
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    assert match in str(caught.value)
    return caught.value


def close(a, b, tolerance=2e-6):
    a, b = (x.detach().float().numpy() if isinstance(x, cr.Tensor) else np.asarray(x) for x in (a, b))
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def numbers(rank, shape, dtype=cr.float32):
    """The numbers of a process: small whole ones, which every dtype sums exactly."""
    rng = np.random.default_rng(100 + rank)
    return cr.tensor(rng.integers(1, 4, shape)).to(dtype)


# -- collective calls -------------------------------------------------------------------------------------------------


def reductions(rank, size):
    for dtype in (*FLOATS, cr.int64, cr.int32, cr.uint8, cr.int8, cr.bool):
        for shape in ((5,), (), (0, 3), (2, 3)):
            everybody = [numbers(r, shape, dtype) for r in range(size)]
            for op, ufunc in NUMPY.items():
                t = everybody[rank].clone()
                whole = dtype in (cr.int64, cr.int32, cr.uint8, cr.int8, cr.bool)
                if op in (ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR) and not whole:
                    raises(RuntimeError, "whole numbers", dist.all_reduce, t, op)
                    continue
                arrays = [e.numpy() if whole else e.double().numpy() for e in everybody]
                want = arrays[0]
                for other in arrays[1:]:
                    want = ufunc(want, other)
                dist.all_reduce(t, op)
                assert t.dtype == dtype
                np.testing.assert_array_equal(t.numpy() if whole else t.double().numpy(), want, f"{op} {dtype}")
    t = numbers(rank, (6,))
    dist.all_reduce(t, ReduceOp.AVG)
    close(t, np.mean([numbers(r, (6,)).numpy() for r in range(size)], 0))
    large = cr.arange(300_001, dtype=cr.float32) + rank  # in parts, not all to all
    dist.all_reduce(large)
    close(large, np.arange(300_001) * size + size * (size - 1) / 2)
    strided = cr.zeros(4, 6)
    strided[:, ::2] = rank + 1.0
    dist.all_reduce(strided[:, ::2])  # the view is written into
    close(strided[:, ::2], np.full((4, 3), size * (size + 1) / 2))
    assert strided[:, 1::2].abs().sum() == 0
    raises(RuntimeError, "expanded", dist.all_reduce, cr.zeros(1).expand(3))
    t = numbers(rank, (4,))
    dist.reduce(t, size - 1, ReduceOp.MAX)
    everybody = np.stack([numbers(r, (4,)).numpy() for r in range(size)])
    close(t, everybody.max(0) if rank == size - 1 else everybody[rank])
    part = cr.zeros(2)
    dist.reduce_scatter(part, [numbers(rank, (size, 2))[i] for i in range(size)])
    want = sum(numbers(r, (size, 2)).numpy() for r in range(size))
    close(part, want[rank])
    dist.reduce_scatter_tensor(part, numbers(rank, (size, 2)), ReduceOp.AVG)
    close(part, want[rank] / size)


def copies(rank, size):
    for dtype in (*FLOATS, cr.int16, cr.bool):
        for root in range(size):
            t = numbers(rank, (3, 2), dtype)
            dist.broadcast(t, root)
            assert cr.equal(t, numbers(root, (3, 2), dtype))
        outs = [cr.zeros(3, dtype=dtype) for _ in range(size)]
        dist.all_gather(outs, numbers(rank, (3,), dtype))
        assert all(cr.equal(out, numbers(r, (3,), dtype)) for r, out in enumerate(outs))
        outs = [cr.zeros(3, dtype=dtype) for _ in range(size)] if rank == 0 else None
        dist.gather(numbers(rank, (3,), dtype), outs, dst=0)
        assert outs is None or all(cr.equal(out, numbers(r, (3,), dtype)) for r, out in enumerate(outs))
        t = cr.zeros(3, dtype=dtype)
        root = size - 1
        dist.scatter(t, [numbers(r, (3,), dtype) for r in range(size)] if rank == root else None, src=root)
        assert cr.equal(t, numbers(rank, (3,), dtype))
    scalars = [cr.zeros(()) for _ in range(size)]
    dist.all_gather(scalars, cr.tensor(float(rank)))
    assert [s.item() for s in scalars] == list(range(size))
    out = cr.zeros(size * 2, 3)
    dist.all_gather_into_tensor(out, numbers(rank, (2, 3)))
    close(out, np.concatenate([numbers(r, (2, 3)).numpy() for r in range(size)]))
    raises(ValueError, "world_size times", dist.all_gather_into_tensor, cr.zeros(3), cr.zeros(2))
    raises(ValueError, "has one of each", dist.all_gather, [cr.zeros(1)] * (size + 1), cr.zeros(1))
    raises(ValueError, "different dtypes", dist.all_gather, [cr.zeros(1, dtype=cr.int64)] * size, cr.zeros(1))
    raises(ValueError, f"rank {size} is not in a world", dist.broadcast, cr.zeros(1), size)
    outs = [cr.zeros(r + 1) for r in range(size)]  # as many numbers from each as its rank says
    dist.all_to_all(outs, [cr.full((rank + 1,), 10.0 * rank + r) for r in range(size)])
    assert [o.tolist() for o in outs] == [[10.0 * r + rank] * (r + 1) for r in range(size)]
    flat = cr.zeros(size)
    dist.all_to_all_single(flat, cr.arange(float(size)) + 10 * rank)
    assert flat.tolist() == [10.0 * r + rank for r in range(size)]
    out = cr.zeros(size * (rank + 1))
    dist.all_to_all_single(out, cr.full((size * (size + 1) // 2,), float(rank)), None, [r + 1 for r in range(size)])
    assert out.tolist() == [float(r) for r in range(size) for _ in range(rank + 1)]


def objects(rank, size):
    found = [None] * size
    dist.all_gather_object(found, {"rank": rank, "text": "x" * rank})
    assert found == [{"rank": r, "text": "x" * r} for r in range(size)]
    found = [None] * size if rank == 1 else None
    dist.gather_object((rank, [rank] * rank), found, dst=1)
    assert found is None or found == [(r, [r] * r) for r in range(size)]
    row = [rank, "a", None] if rank == 0 else [None] * 3
    dist.broadcast_object_list(row, src=0)
    assert row == [0, "a", None]
    mine = [None]
    dist.scatter_object_list(mine, [f"for {r}" for r in range(size)] if rank == 0 else None, src=0)
    assert mine == [f"for {rank}"]
    if rank == 0:
        dist.send_object_list(["one", {2: 3}], dst=1)
    elif rank == 1:
        row = [None, None]
        assert dist.recv_object_list(row, src=0) == 0
        assert row == ["one", {2: 3}]


def letters(rank, size):
    after, before = (rank + 1) % size, (rank - 1) % size
    for count in (3, 200_000):
        came = cr.zeros(count)
        wanted = dist.irecv(came, before)  # each receives before it sends, and nobody hangs
        assert dist.isend(cr.full((count,), float(rank)), after).wait()
        wanted.wait()
        assert wanted.is_completed()
        assert came.unique().tolist() == [float(before)]
    if rank == 0:  # tags: the second letter first
        dist.send(cr.tensor([1.0]), 1, tag=1)
        dist.send(cr.tensor([2.0]), 1, tag=2)
        froms = []
        for _ in range(size - 1):
            t = cr.zeros(1)
            froms.append(dist.recv(t))
            assert t.item() == froms[-1]
        assert sorted(froms) == list(range(1, size))
    else:
        if rank == 1:
            t = cr.zeros(1)
            assert dist.recv(t, 0, tag=2) == 0
            assert t.item() == 2
            dist.recv(t, 0, tag=1)
            assert t.item() == 1
        dist.send(cr.tensor([float(rank)]), 0)
    dist.barrier()
    ops = [dist.P2POp(dist.isend, cr.tensor([float(rank)]), after), dist.P2POp(dist.irecv, came[:1], before)]
    for work in dist.batch_isend_irecv(ops):
        work.wait()
    assert came[0].item() == before
    raises(ValueError, "same as the rank", dist.send, cr.zeros(1), rank)


def asynchronous(rank, size):
    tensors = [cr.full((n,), float(rank)) for n in (1, 100_000, 3, 5)]
    works = [dist.all_reduce(t, async_op=True) for t in tensors]
    dist.barrier()  # comes after them
    assert all(work.is_completed() for work in works)
    assert all(work.wait() and work.is_success() for work in works)
    assert [t[-1].item() for t in tensors] == [size * (size - 1) / 2] * 4
    future = dist.all_reduce(cr.ones(2), async_op=True).get_future()
    assert future.then(lambda f: f.value()[0].sum().item()).wait() == 2 * size
    out = cr.zeros(2, 3).t()  # written into, though it is not contiguous
    dist.broadcast(out, 0, async_op=True).wait()
    dist.all_reduce(out.add_(1), async_op=True).wait()
    assert out.tolist() == [[float(size)] * 2] * 3
    if rank == 0:
        time.sleep(0.3)
        dist.barrier()
    else:
        work = dist.barrier(async_op=True)
        assert not work.is_completed()
        work.wait()


def groups(rank, size):
    assert dist.get_world_size() == size
    assert dist.get_process_group_ranks(None) == list(range(size))
    last = dist.new_group([size - 2, size - 1])
    if rank < size - 2:
        assert last == dist.GroupMember.NON_GROUP_MEMBER
        assert (dist.get_rank(last), dist.get_world_size(last)) == (-1, -1)
        assert dist.all_reduce(cr.ones(1), group=last) is None
    else:
        assert dist.get_rank(last) == rank - size + 2
        assert dist.get_global_rank(last, 1) == size - 1
        assert dist.get_group_rank(last, size - 2) == 0
        t = cr.tensor([float(rank)])
        dist.all_reduce(t, group=last)
        assert t.item() == 2 * size - 3
        dist.broadcast(t.fill_(rank), size - 1, group=last)
        assert t.item() == size - 1
        dist.broadcast(t.fill_(rank), group=last, group_src=0)
        assert t.item() == size - 2
    mine, everyone = dist.new_subgroups(size // 2)
    assert len(everyone) == 2
    t = cr.tensor([float(rank)])
    dist.all_reduce(t, group=mine)
    half = size // 2
    start = rank // half * half
    assert t.item() == sum(range(start, start + half))
    backwards = dist.new_group(list(range(size))[::-1], sort_ranks=False)
    assert dist.get_rank(backwards) == size - 1 - rank
    outs = [cr.zeros(1) for _ in range(size)]
    dist.all_gather(outs, cr.tensor([float(rank)]), group=backwards)
    assert [o.item() for o in outs] == list(range(size))[::-1]
    raises(ValueError, "is not in a world", dist.new_group, [size])


# name -> what the calls of all processes give, from the inputs of all; `c` is the world's size
FUNCTIONAL = {
    "all_reduce": (lambda x: dist.nn.all_reduce(x), lambda xs: [sum(xs)] * len(xs)),
    "average": (lambda x: dist.nn.all_reduce(x, ReduceOp.AVG), lambda xs: [sum(xs) / len(xs)] * len(xs)),
    "product": (lambda x: dist.nn.all_reduce(x, ReduceOp.PRODUCT), lambda xs: [np.prod(xs, 0)] * len(xs)),
    "max": (lambda x: dist.nn.all_reduce(x, ReduceOp.MAX), lambda xs: [np.max(xs, 0)] * len(xs)),
    "broadcast": (lambda x: dist.nn.broadcast(x, 1), lambda xs: [xs[1]] * len(xs)),
    "reduce": (
        lambda x: dist.nn.reduce(x, 1),
        lambda xs: [sum(xs) if i == 1 else np.zeros_like(xs[0]) for i in range(len(xs))],
    ),
    "all_gather": (lambda x: cr.cat(dist.nn.all_gather(x)), lambda xs: [np.concatenate(xs)] * len(xs)),
    "gather": (
        lambda x: cr.cat(dist.nn.gather(x, 1)),
        lambda xs: [np.concatenate(xs) * (i == 1) for i in range(len(xs))],
    ),
    "scatter": (
        lambda x: dist.nn.scatter(list(x.chunk(dist.get_world_size())), 1),
        lambda xs: np.split(xs[1], len(xs)),
    ),
    "reduce_scatter": (
        lambda x: dist.nn.reduce_scatter(cr.empty(2), list(x.chunk(dist.get_world_size()))),
        lambda xs: np.split(sum(xs), len(xs)),
    ),
    "all_to_all": (
        lambda x: cr.cat(
            dist.nn.all_to_all(
                [cr.empty(x.numel() // dist.get_world_size())] * dist.get_world_size(),
                list(x.chunk(dist.get_world_size())),
            )
        ),
        lambda xs: [np.concatenate([np.split(x, len(xs))[i] for x in xs]) for i in range(len(xs))],
    ),
    "all_to_all_single": (
        lambda x: dist.nn.functional.all_to_all_single(cr.empty_like(x), x),
        lambda xs: [np.concatenate([np.split(x, len(xs))[i] for x in xs]) for i in range(len(xs))],
    ),
}


def gradients(rank, size):
    """Gradients of order one and two against differences of what all processes get, the sum of all their losses."""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(2 * size) for _ in range(size)]

    def loss(outs):
        return sum(np.sum(np.sin(o) * (i + 1)) for i, o in enumerate(outs))

    def numeric(reference, inputs, which, direction, h):
        moved = [[x + s * h * direction if i == which else x for i, x in enumerate(inputs)] for s in (1, -1)]
        return (loss(reference(moved[0])) - loss(reference(moved[1]))) / (2 * h)

    direction = rng.standard_normal(2 * size)
    for name, (call, reference) in FUNCTIONAL.items():
        x = cr.tensor(inputs[rank], requires_grad=True)
        out = call(x)
        close(out, reference(inputs)[rank], 1e-6)
        mine = (out.sin() * (rank + 1)).sum()
        (g,) = cr.grad(mine, x, create_graph=True)
        want = numeric(reference, inputs, rank, direction, 1e-6)
        assert abs((g.detach().numpy() * direction).sum() - want) < 1e-6, name
        if name == "max":
            continue  # its second derivative has other processes' shares
        (second,) = cr.grad((g * cr.tensor(direction)).sum(), x)
        # d/dx_r of Σ_s <g_s, d>: how the directional slopes of all processes change with this one's input
        h = 1e-4

        def slopes(inputs, reference=reference, h=h):
            return sum(numeric(reference, inputs, s, direction, h) for s in range(size))

        up = [x + h * direction if i == rank else x for i, x in enumerate(inputs)]
        down = [x - h * direction if i == rank else x for i, x in enumerate(inputs)]
        want = (slopes(up) - slopes(down)) / (2 * h)
        assert abs((second.numpy() * direction).sum() - want) < 1e-4 * max(1, abs(want)), name


# -- training ---------------------------------------------------------------------------------------------------------


def part(rank, size, count):
    return slice(rank * count // size, (rank + 1) * count // size)


class Twice(nn.Module):
    """A layer used twice, and one whose weight is another's."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.last.weight = self.first.weight = nn.Parameter(cr.randn(8, 8) * 0.3)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.shared(cr.tanh(self.first(F.pad(x, (0, 2)))))
        return self.head(self.last(cr.tanh(self.shared(x))))


class Attention(nn.Module):
    """A transformer's encoder on sequences of words."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(11, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.encoder(self.words(x)).mean(1))


def mlp():
    return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3))


def with_batch_norm():
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3)),
        *(nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)),
    )


def data(name, count=24):
    g = cr.Generator().manual_seed(5)
    y = cr.randint(0, 3, (count,), generator=g)
    if name == "attention":
        return cr.randint(0, 11, (count, 7), generator=g), y
    return cr.randn(*((count, 2, 6, 6) if name == "batch norm" else (count, 6)), generator=g), y


def train(model, optimizer, x, y, steps=5):
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


MODELS = {"mlp": mlp, "batch norm": with_batch_norm, "attention": Attention, "twice": Twice}


def optimizer_of(model):
    return cr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def training(rank, size):
    """Losses and weights are those of one process on the whole batch."""
    for name, build in MODELS.items():
        cr.manual_seed(1)
        alone = build()
        x, y = data(name)
        want = train(alone, optimizer_of(alone), x, y)
        cr.manual_seed(1 + rank)  # other weights in each: those of rank 0 count
        net = build()
        if name == "batch norm":
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
            assert sum(isinstance(m, nn.SyncBatchNorm) for m in net.modules()) == 3
        model = DDP(net, bucket_cap_mb=0.0003)
        assert len(model.reducer.buckets) > 1
        mine = part(rank, size, len(x))
        losses = cr.tensor(train(model, optimizer_of(model), x[mine], y[mine]))
        dist.all_reduce(losses, ReduceOp.AVG)
        close(losses, want, 5e-6)
        for key, value in alone.state_dict().items():
            close(model.state_dict()[f"module.{key}"], value, 1e-5)
        same_everywhere(net, size)
        for bucket in model.reducer.buckets:  # gradients are views of the buckets
            for p in bucket.params:
                assert np.shares_memory(p.grad.array, bucket.tensor.array)
        first = {id(p) for p in model.reducer.buckets[0].params}
        assert id(next(iter(net.parameters()))) not in first  # the last layer's come first


def spread_state(rank, size):
    """ZeroRedundancyOptimizer: steps as one optimizer would, with a part of its state in each process."""

    def nets(count):
        cr.manual_seed(3)
        first = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Linear(2, 1))
        return [copy.deepcopy(first) for _ in range(count)]

    def grads(net, n):
        net.zero_grad()
        (net(numbers(n, (5, 3))) ** 2).mean().backward()

    alone, net, resumed = nets(3)

    def groups(net):
        return [{"params": net[0].parameters(), "lr": 0.05}, {"params": [*net[2].parameters(), *net[3].parameters()]}]

    want = cr.optim.Adam(groups(alone), lr=0.01)
    got = ZeroRedundancyOptimizer(groups(net), cr.optim.Adam, lr=0.01)
    schedules = [cr.optim.lr_scheduler.StepLR(o, 2, 0.5) for o in (want, got)]
    for n in range(4):
        for m, optimizer in ((alone, want), (net, got)):
            grads(m, n)
            optimizer.step()
        for schedule in schedules:
            schedule.step()
    for a, b in zip(alone.parameters(), net.parameters()):
        close(a, b)
    elements = [p.numel() for p in got.optim.state]
    assert 0 < sum(elements) < sum(p.numel() for p in net.parameters())
    raises(RuntimeError, "consolidate_state_dict", got.state_dict)
    got.consolidate_state_dict(to=size)  # nobody
    raises(RuntimeError, "consolidate_state_dict", got.state_dict)
    got.consolidate_state_dict(to=size - 1)
    saved = [got.state_dict() if rank == size - 1 else None]
    dist.broadcast_object_list(saved, src=size - 1)
    reference = want.state_dict()
    assert [g["lr"] for g in saved[0]["param_groups"]] == [g["lr"] for g in reference["param_groups"]]
    assert list(saved[0]["state"]) == list(reference["state"])
    for i, entry in reference["state"].items():
        for name, value in entry.items():
            close(saved[0]["state"][i][name], value)
    resumed.load_state_dict(net.state_dict())
    again = ZeroRedundancyOptimizer(groups(resumed), cr.optim.Adam)
    again.load_state_dict(saved[0])
    for m, optimizer in ((alone, want), (net, got), (resumed, again)):
        grads(m, 9)
        optimizer.step()
    for a, b, c in zip(alone.parameters(), net.parameters(), resumed.parameters()):
        close(a, b)
        close(a, c)
    more = nn.Parameter(cr.ones(7))
    got.add_param_group({"params": [more], "lr": 1.0})
    more.grad = cr.ones(7)
    got.step()
    close(more, np.zeros(7), 1e-5)
    model = DDP(nn.Linear(3, 1))
    uneven = ZeroRedundancyOptimizer(model.parameters(), cr.optim.SGD, lr=0.1)
    with Join([model, uneven]):
        for n in range(1 + rank):
            model(numbers(n, (2, 3))).sum().backward()
            uneven.step()
    same_everywhere(model.module, size)
    raises(NotImplementedError, "overlap", ZeroRedundancyOptimizer, [more], cr.optim.SGD, overlap_with_ddp=True)


def same_everywhere(net, size):
    """The weights have the same bits in all processes."""
    found = [None] * size
    dist.all_gather_object(found, [p.detach().numpy().tobytes() for p in net.parameters()])
    assert all(f == found[0] for f in found)


def overlap(rank, size):
    """The first buckets are under way before the walk back has reached the first layer."""
    net = mlp()
    model = DDP(net, bucket_cap_mb=0.0001)
    seen = []
    net[0].register_forward_hook(
        lambda m, i, out: out.register_hook(lambda g: seen.append(model.reducer.next)) and None
    )
    x, y = data("mlp")
    for _ in range(2):
        F.cross_entropy(model(x), y).backward()
    assert seen[-1] >= 2, seen


def accumulation(rank, size):
    """Gradients that add up under no_sync, then one average; and zero_grad that keeps them."""
    x, y = data("mlp")
    cr.manual_seed(2)
    alone = mlp()
    model = DDP(mlp())
    model.module.load_state_dict(alone.state_dict())
    mine = part(rank, size, len(x))
    mx, my = x[mine], y[mine]
    half = len(mx) // 2
    for _ in range(2):
        for set_to_none in (True, False):
            alone.zero_grad()
            F.cross_entropy(alone(x), y).backward()
            model.zero_grad(set_to_none)
            with model.no_sync():
                (F.cross_entropy(model(mx[:half]), my[:half]) / 2).backward()
            alone_grads = [p.grad.clone() for p in model.parameters()]
            (F.cross_entropy(model(mx[half:]), my[half:]) / 2).backward()
            for a, b in zip(alone.parameters(), model.parameters()):
                close(b.grad, a.grad)
            assert any(not cr.equal(a, p.grad) for a, p in zip(alone_grads, model.parameters()))
    for m in (alone, model):
        m.zero_grad()
    with model.no_sync():
        loss = F.cross_entropy(model(mx), my)
    model.reducer.prepare_for_backward([])  # after all
    loss.backward()
    F.cross_entropy(alone(x), y).backward()
    for a, b in zip(alone.parameters(), model.parameters()):
        close(b.grad, a.grad)
    with cr.no_grad():
        assert model(mx).shape == (len(mx), 3)
    cr.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    names = [name for name, _ in model.named_parameters()]
    assert names[0] == "module.0.weight"
    fresh = DDP(mlp())
    fresh.load_state_dict(model.state_dict())
    assert cr.equal(fresh.module[0].weight, model.module[0].weight)


class Result:
    """What a model returns may be an object of one's own."""

    def __init__(self, value):
        self.value, self.itself = value, self


class Branches(nn.Module):
    """Which layers take part is said by the call."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 3) for _ in range(4)])
        self.never = nn.Linear(2, 2)

    def forward(self, x, which):
        return {"out": [Result(sum(self.layers[i](x) for i in which))], "none": None}


def unused(rank, size):
    x, y = data("mlp")
    mine = part(rank, size, len(x))

    def loss(model, which):
        return F.cross_entropy(model(x[mine], which)["out"][0].value, y[mine])

    model = DDP(Branches(), find_unused_parameters=True, bucket_cap_mb=0.0001)
    net = model.module
    for _ in range(3):
        model.zero_grad()
        # layer 0 always, 1 in the first process alone, 2 in all but the first, 3 and `never` in none
        which = (0, 1) if rank == 0 else (0, 2)
        alone = []
        for r in range(size):
            rows = part(r, size, len(x))
            out = net(x[rows], (0, 1) if r == 0 else (0, 2))["out"][0].value
            grads = cr.autograd.grad(F.cross_entropy(out, y[rows]), list(net.parameters()), allow_unused=True)
            alone.append([cr.zeros_like(p) if g is None else g for p, g in zip(net.parameters(), grads)])
        loss(model, which).backward()
        for p, *grads in zip(net.parameters(), *alone):
            if all(not g.any() for g in grads):
                assert p.grad is None
            else:
                close(p.grad, sum(g.numpy() for g in grads) / size)
        assert net.layers[3].weight.grad is net.never.weight.grad is None
    static = DDP(Branches(), static_graph=True)
    for _ in range(3):
        static.zero_grad()
        loss(static, (0, 3)).backward()
    assert static.module.layers[1].weight.grad is static.module.never.weight.grad is None
    grads = [cr.zeros_like(static.module.layers[0].weight) for _ in range(size)]
    dist.all_gather(grads, static.module.layers[0].weight.grad)
    assert all(cr.equal(g, grads[0]) for g in grads)


def refusals(rank, size):
    x, _ = data("mlp")
    model = DDP(Branches())
    model(x, (0, 1, 2))["out"][0].value.sum().backward()
    error = raises(RuntimeError, "Expected to have finished reduction in the prior iteration", model, x, (0,))
    assert "layers.3.weight (index 6)" in str(error)
    assert "never.bias (index 9)" in str(error)
    assert "layers.2" not in str(error)
    assert "find_unused_parameters=True" in str(error)
    model = DDP(mlp())
    out = model(x)
    raises(RuntimeError, "create_graph", out.sum().backward, create_graph=True)
    model = DDP(mlp(), bucket_cap_mb=0.0001)
    out = model(x)
    out[:, 0].sum().backward(retain_graph=True)
    out[:, 1].sum().backward()  # as in PyTorch: after the average is made, what comes is this process's own
    dist.barrier()
    raises(RuntimeError, "rank 0 has 0.weight of shape [3, 6]", DDP, nn.Sequential(nn.Linear(6, 3 + rank)))
    raises(RuntimeError, "params, while rank", DDP, nn.Sequential(*[nn.Linear(2, 2) for _ in range(1 + rank)]))
    raises(ValueError, "CPU modules", DDP, mlp(), device_ids=[rank])
    raises(RuntimeError, "require a gradient", DDP, nn.ReLU())
    raises(TypeError, "callable", model.register_comm_hook, None, 3)


def buffers(rank, size):
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    model = DDP(net)
    x, _ = data("mlp")
    for _ in range(3):
        model(x[part(rank, size, len(x))]).sum().backward()
    model(x)  # each had its own statistics; now they are rank 0's, and then those of the same batch
    same = [None] * size
    dist.all_gather_object(same, net[1].running_mean.tolist())
    assert all(s == same[0] for s in same)
    kept = DDP(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), broadcast_buffers=False)
    kept(x[part(rank, size, len(x))]).sum().backward()
    dist.all_gather_object(same, kept.module[1].running_mean.tolist())
    assert same[0] != same[1]
    model.eval()
    with cr.no_grad():
        model(x)


def hooks(rank, size):
    from chainrule.distributed.algorithms.ddp_comm_hooks import default_hooks

    x, y = data("mlp")
    mine = part(rank, size, len(x))
    cr.manual_seed(4)
    plain = DDP(mlp(), bucket_cap_mb=0.002)
    F.cross_entropy(plain(x[mine]), y[mine]).backward()
    seen = []

    def own(state, bucket):
        seen.append((state, bucket.index(), bucket.is_last(), len(bucket.parameters()), len(bucket.gradients())))
        return dist.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda f: f.value()[0] / size)

    for state, hook, tolerance in (
        (None, default_hooks.allreduce_hook, 1e-6),
        (dist.group.WORLD, default_hooks.fp16_compress_hook, 2e-3),
        (None, default_hooks.bf16_compress_hook, 2e-2),
        (None, default_hooks.fp16_compress_wrapper(default_hooks.allreduce_hook), 2e-3),
        ("state", own, 1e-6),
    ):
        model = DDP(mlp(), bucket_cap_mb=0.002)
        model.module.load_state_dict(plain.module.state_dict())
        model.register_comm_hook(state, hook)
        F.cross_entropy(model(x[mine]), y[mine]).backward()
        for a, b in zip(plain.parameters(), model.parameters()):
            close(b.grad, a.grad, tolerance)
        raises(RuntimeError, "only be called once", model.register_comm_hook, None, hook)
    assert [row[:3] for row in seen] == [("state", i, i == len(seen) - 1) for i in range(len(seen))]
    assert len(seen) > 1


def uneven(rank, size):
    """Processes with other numbers of batches: the sum of the gradients is over all that have one."""
    x, y = data("mlp", 8 * size)
    counts = [1 + 2 * r for r in range(size)]
    for by_initial in (True, False):
        cr.manual_seed(6)
        alone, model = mlp(), DDP(mlp(), bucket_cap_mb=0.002)
        model.module.load_state_dict(alone.state_dict())
        optimizer = cr.optim.SGD(alone.parameters(), lr=0.1)
        for step in range(max(counts)):
            active = [r for r in range(size) if counts[r] > step]
            optimizer.zero_grad()
            for r in active:
                rows = part(r, size, len(x))
                share = F.cross_entropy(alone(x[rows]), y[rows]) / (size if by_initial else len(active))
                share.backward()
            optimizer.step()
        optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
        mine = part(rank, size, len(x))
        with model.join(divide_by_initial_world_size=by_initial):
            for _ in range(counts[rank]):
                optimizer.zero_grad()
                F.cross_entropy(model(x[mine]), y[mine]).backward()
                optimizer.step()
        for a, b in zip(alone.parameters(), model.parameters()):
            close(b, a, 1e-5)
        same_everywhere(model.module, size)

    def short():
        with model.join(throw_on_early_termination=True):
            for _ in range(counts[rank]):
                model(x[mine]).sum().backward()

    error = raises(RuntimeError, "exhausted", short)
    assert "Throwing across all ranks" in str(error) or f"Rank {rank} exhausted all inputs" in str(error)
    with model.join(enable=False):
        model(x[mine]).sum().backward()


class Counter(Joinable):
    """What introductions to Join count with: how many inputs all processes have had together."""

    class Hook(JoinHook):
        def __init__(self, counter, sync_max_count):
            self.counter, self.sync_max_count = counter, sync_max_count

        def main_hook(self):
            dist.all_reduce(cr.zeros(1))

        def post_hook(self, is_last_joiner):
            if self.sync_max_count:
                rank = cr.tensor([dist.get_rank() if is_last_joiner else -1])
                dist.all_reduce(rank, op=ReduceOp.MAX)
                dist.broadcast(self.counter.count, src=rank.item())

    def __init__(self):
        super().__init__()
        self.count = cr.zeros(1)

    def __call__(self):
        Join.notify_join_context(self)
        one = cr.ones(1)
        dist.all_reduce(one)
        self.count += one

    def join_hook(self, **kwargs):
        return Counter.Hook(self, kwargs.get("sync_max_count", False))

    join_device = "cpu"
    join_process_group = property(lambda self: dist.group.WORLD)


def counting(rank, size):
    """Join with what is no model, alone and beside one."""
    for beside in (False, True):
        for sync_max_count in (True, False):
            counter, model = Counter(), DDP(mlp())
            x, _ = data("mlp")
            with Join([counter, *([model] if beside else [])], sync_max_count=sync_max_count):
                for _ in range(1 + rank):
                    counter()
                    if beside:
                        model(x).sum().backward()
            seen = range(size) if sync_max_count else range(rank + 1)
            assert counter.count.item() == sum(size - i for i in seen)
    raises(ValueError, "at least one joinable", Join, [])


def captured(rank, size):
    """A captured step does its calls at each replay, and ends with the bits of one that is not captured."""
    x, y = data("mlp")
    mine = part(rank, size, len(x))

    def steps(capture):
        cr.manual_seed(7)
        net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
        model = DDP(net, bucket_cap_mb=0.0002)
        optimizer = cr.optim.Adam(model.parameters())

        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        taken = cr.capture(step, strict=True) if capture else step
        losses = [taken(x[mine] + i, y[mine]).item() for i in range(6)]
        assert not capture or taken.recordings == 1
        return losses, [p.detach().numpy().copy() for p in model.parameters()]

    (losses, weights), (want, expected) = steps(True), steps(False)
    assert losses == want
    assert all(np.array_equal(a, b) for a, b in zip(weights, expected))

    @cr.capture(strict=True)
    def total(t):
        t = t.clone()
        dist.all_reduce(t)
        return t * 1

    for i in range(5):
        assert total(cr.full((3,), float(i + rank))).tolist() == [i * size + size * (size - 1) / 2] * 3
    refused = DDP(Branches(), find_unused_parameters=True)
    step = cr.capture(lambda x: refused(x, (0,))["out"][0].value.sum().backward(), warmup=0, strict=True)
    raises(cr.autograd.capture.CaptureError, "find_unused_parameters", step, x)


class Recomputed(nn.Module):
    """Layers whose activations are computed anew in backward."""

    def __init__(self):
        super().__init__()
        self.a, self.b = mlp(), nn.Linear(3, 3)

    def forward(self, x):
        return self.b(checkpoint(self.a, x, use_reentrant=False))


def checkpointed(rank, size):
    """Recomputed layers, copies of the wrapper, and hooks of the user's own."""
    x, y = data("mlp")
    mine = part(rank, size, len(x))
    cr.manual_seed(8)
    alone = Recomputed()
    F.cross_entropy(alone(x), y).backward()
    model = DDP(Recomputed(), bucket_cap_mb=0.001)
    model.module.load_state_dict(alone.state_dict())
    for wrapped in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        calls = []
        wrapped.module.b.weight.register_hook(lambda g, calls=calls: calls.append(g.shape))
        F.cross_entropy(wrapped(x[mine]), y[mine]).backward()
        assert calls == [(3, 3)]
        for a, b in zip(alone.parameters(), wrapped.parameters()):
            close(b.grad, a.grad)


def idioms(rank, size):
    """Memory formats, 16 bits, autocast, two models against each other, an optimizer with a closure."""
    x, y = data("batch norm")
    mine = part(rank, size, len(x))
    cr.manual_seed(1)
    alone = with_batch_norm()
    net = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(alone)).to(memory_format=cr.channels_last)
    model = DDP(net, bucket_cap_mb=0.0003)
    want = train(alone, optimizer_of(alone), x, y)
    losses = train(model, optimizer_of(model), x[mine].contiguous(memory_format=cr.channels_last), y[mine])
    losses = cr.tensor(losses)
    dist.all_reduce(losses, ReduceOp.AVG)
    close(losses, want, 5e-6)
    assert net[0].weight.array.strides == net[0].weight.grad.array.strides != alone[0].weight.array.strides

    x, y = data("mlp")
    mine = part(rank, size, len(x))
    half = DDP(mlp().to(cr.bfloat16))
    F.cross_entropy(half(x[mine].bfloat16()), y[mine]).backward()
    g = half.module[0].weight.grad
    everybody = [cr.zeros_like(g) for _ in range(size)]
    dist.all_gather(everybody, g)
    assert g.abs().sum() > 0
    assert all(cr.equal(other, g) for other in everybody)

    model, scaler = DDP(mlp()), cr.amp.GradScaler("cpu")
    optimizer = optimizer_of(model)
    for _ in range(3):
        optimizer.zero_grad()
        with cr.autocast("cpu", dtype=cr.bfloat16):
            loss = F.cross_entropy(model(x[mine]), y[mine])
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
    same_everywhere(model.module, size)

    painter, judge = DDP(nn.Linear(4, 6)), DDP(nn.Linear(6, 1))
    paints, judges = cr.optim.Adam(painter.parameters()), cr.optim.Adam(judge.parameters())
    for _ in range(3):
        judges.zero_grad()
        fake = painter(cr.randn(8, 4))
        F.softplus(-judge(cr.randn(8, 6))).mean().backward()
        F.softplus(judge(fake.detach())).mean().backward()
        judges.step()
        paints.zero_grad()
        F.softplus(-judge(fake)).mean().backward()
        paints.step()
    same_everywhere(painter.module, size)
    same_everywhere(judge.module, size)

    model = DDP(mlp())
    optimizer = cr.optim.LBFGS(model.parameters(), max_iter=3)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x[mine]), y[mine])
        loss.backward()
        loss = loss.detach()
        dist.all_reduce(loss, ReduceOp.AVG)
        return loss

    optimizer.step(closure)
    same_everywhere(model.module, size)


def batch_norm(rank, size):
    """Values, gradients and statistics over unequal parts of a batch, in float64."""
    cuts = [0, 5, 12] if size == 2 else [0, 1, 4, 5, 12]
    mine = slice(cuts[rank], cuts[rank + 1])
    for shape, dtype in (((12, 3), cr.float64), ((12, 3, 4), cr.float64), ((12, 3, 2, 3), cr.float32)):
        cr.manual_seed(0)
        x, u = cr.randn(*shape, dtype=dtype) * 3 + 10, cr.randn(*shape, dtype=dtype)
        alone = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](3, dtype=dtype)
        with cr.no_grad():
            alone.weight.copy_(cr.tensor([1.0, -2.0, 3.0]))
        net = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(alone))
        tolerance = 1e-10 if dtype == cr.float64 else 2e-5
        whole, piece = x.clone().requires_grad_(), x[mine].clone().requires_grad_()
        for _ in range(2):
            want, got = alone(whole), net(piece)
            (want * u).sum().backward()
            (got * u[mine]).sum().backward()
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy()[mine], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(piece.grad.numpy(), whole.grad.numpy()[mine], rtol=tolerance, atol=10 * tolerance)
        for name in ("running_mean", "running_var"):
            close(getattr(net, name), getattr(alone, name), max(tolerance, 1e-6))
        grad = net.weight.grad.clone()
        dist.all_reduce(grad)
        np.testing.assert_allclose(grad.numpy(), alone.weight.grad.numpy(), rtol=1e-4)
        assert net.num_batches_tracked.item() == 2
        net.eval()
        alone.eval()
        close(net(piece), alone(whole)[mine], max(tolerance, 1e-6))
    pairs = nn.SyncBatchNorm(3, process_group=dist.new_subgroups(2)[0])
    out = pairs(cr.full((2, 3), float(rank)))
    close(out.abs(), np.full((2, 3), 1.0), 1e-3)


def sampling(rank, size):
    from chainrule.utils.data import DataLoader, DistributedSampler, TensorDataset

    dataset = TensorDataset(cr.arange(21))
    sampler = DistributedSampler(dataset, seed=3)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler)
    orders = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        found = [None] * size
        dist.all_gather_object(found, [i for (batch,) in loader for i in batch.tolist()])
        assert {i for part in found for i in part} == set(range(21))
        assert len({len(part) for part in found}) == 1
        orders.append(found)
    assert orders[0] != orders[1]
    forked = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=2)
    assert [i for (b,) in forked for i in b.tolist()] == [i for (b,) in loader for i in b.tolist()]
    t = cr.ones(1)  # workers have gone, and the world still stands
    dist.all_reduce(t)
    assert t.item() == size


def again(rank, size):
    """A world that was left can be joined anew."""
    dist.destroy_process_group()
    assert not dist.is_initialized()
    start()
    t = cr.ones(1)
    dist.all_reduce(t)
    assert t.item() == size


# -- GPUs, on stand-ins for CuPy and NCCL -----------------------------------------------------------------------------


def on_stand_ins(rank, size):
    """Tensors on a "GPU": collective calls over "NCCL" and through the host, a training, SyncBatchNorm."""
    import fake_nccl

    from chainrule.autograd.collective import device_group

    world = dist.group.WORLD
    fake_nccl.between_processes(world)
    gpu = f"cuda:{rank % 2}"  # which is not made the current one
    for over_nccl in (True, False):
        world.nccl = over_nccl
        t = cr.full((4,), float(rank), device=gpu)
        dist.all_reduce(t)
        assert t.tolist() == [size * (size - 1) / 2] * 4
        assert t.device.type == "cuda"
        columns = cr.zeros(3, 2, device=gpu).t()
        dist.broadcast(columns.add_(rank), 1)
        assert columns.tolist() == [[1.0] * 3] * 2
        outs = [cr.zeros(2, device=gpu) for _ in range(size)]
        dist.all_gather(outs, cr.full((2,), float(rank), device=gpu))
        assert [o.tolist() for o in outs] == [[float(r)] * 2 for r in range(size)]
        share = cr.zeros(1, device=gpu)
        dist.reduce_scatter(share, [cr.tensor([float(i)], device=gpu) for i in range(size)])
        assert share.item() == rank * size
        if rank == 0:
            dist.send(cr.ones(3, device=gpu), 1)
        elif rank == 1:
            got = cr.zeros(3, device=gpu)
            assert dist.recv(got, 0) == 0
            assert got.tolist() == [1.0] * 3
        work = dist.all_reduce(t, async_op=True)
        assert work.get_future().wait()[0] is t
        cr.manual_seed(1)
        alone = with_batch_norm()
        x, y = data("batch norm")
        want = train(alone, optimizer_of(alone), x, y, 3)
        net = nn.SyncBatchNorm.convert_sync_batchnorm(with_batch_norm())
        model = DDP(net.to(gpu), device_ids=[rank % 2], bucket_cap_mb=0.0003)
        cr.manual_seed(1)
        model.module.load_state_dict(with_batch_norm().state_dict())
        mine = part(rank, size, len(x))
        losses = cr.tensor(train(model, optimizer_of(model), x[mine], y[mine].to(gpu), 3))
        dist.all_reduce(losses, ReduceOp.AVG)
        close(losses, want, 5e-6)
        for key, value in alone.state_dict().items():
            close(model.state_dict()[f"module.{key}"].cpu(), value, 1e-5)
        done = device_group(world, rank % 2).comm.calls
        assert bool(done) == over_nccl
        streams = {stream for _, stream in done}
        assert streams == ({device_group(world, rank % 2).stream.ptr} if over_nccl else set())
        done.clear()
    raises(ValueError, "lie on one device", dist.all_gather, [cr.zeros(1)] * size, cr.zeros(1, device=gpu))


CASES = {
    "gpu": (on_stand_ins,),
    "calls": (reductions, copies, objects, letters, asynchronous, groups),
    "gradients": (gradients, batch_norm, sampling),
    "training": (
        training,
        overlap,
        accumulation,
        unused,
        refusals,
        buffers,
        hooks,
        uneven,
        counting,
        captured,
        checkpointed,
        spread_state,
    ),
    "again": (again, again),
}


def start():
    if "RANK" in os.environ:
        dist.init_process_group("gloo", timeout=60)
    else:
        dist.init_process_group("mpi", timeout=60)


def main(case):
    start()
    rank, size = dist.get_rank(), dist.get_world_size()
    for function in CASES[case]:
        function(rank, size)
    dist.barrier()
    if rank == 0:
        print(f"{case} passed in {size} processes")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
