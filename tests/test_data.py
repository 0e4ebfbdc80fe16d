"""utils.data: data sets, samplers, the DataLoader, its worker processes."""

import collections
import gc
import inspect
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import chainrule
from chainrule.utils import data
from chainrule.utils.data import (
    BatchSampler,
    ChainDataset,
    ClassBalancedSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    OverSampler,
    RandomSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    UnderSampler,
    WeightedRandomSampler,
    get_worker_info,
    random_split,
)


class Numbers(Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        return i


class Counting(IterableDataset):
    """0 to n - 1, divided between the workers."""

    def __init__(self, n, split=True):
        self.n, self.split = n, split

    def __iter__(self):
        info = get_worker_info()
        return iter(range(info.id, self.n, info.num_workers) if info and self.split else range(self.n))

    def __len__(self):
        return self.n


def table(n=10):
    return TensorDataset(chainrule.arange(2.0 * n).reshape(n, 2), chainrule.arange(n))


# -- data sets --------------------------------------------------------------------------------------------------------


def test_module_paths():
    from chainrule.utils.data._utils.collate import default_collate as a
    from chainrule.utils.data.dataloader import default_collate as b
    from chainrule.utils.data.dataset import Dataset as c
    from chainrule.utils.data.distributed import DistributedSampler as d
    from chainrule.utils.data.sampler import Sampler as e

    assert (a, b, c, d, e) == (data.default_collate, a, Dataset, DistributedSampler, data.Sampler)
    assert chainrule.utils.data is data


@pytest.mark.torch
def test_names_and_arguments_are_pytorchs(torch):
    pipes = {"DFIterDataPipe", "DataChunk", "IterDataPipe", "MapDataPipe", "_DatasetKind", "argument_validation"}
    pipes |= {"functional_datapipe", "guaranteed_datapipes_determinism", "non_deterministic"}
    pipes |= {"runtime_validation", "runtime_validation_disabled"}  # DataPipes, which PyTorch has given up
    for name in set(torch.utils.data.__all__) - pipes:
        ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (data, torch.utils.data))
        assert list(ours) == list(theirs), name
        for p in ours:
            if (name, p) != ("random_split", "generator"):  # None there, a constant here: the default generator
                assert (ours[p].default, ours[p].kind) == (theirs[p].default, theirs[p].kind), (name, p)


def test_tensor_dataset():
    d = table()
    assert len(d) == 10
    assert d[3][0].tolist() == [6, 7]
    assert d[-1][1].item() == 9
    with pytest.raises(AssertionError, match="Size mismatch"):
        TensorDataset(chainrule.zeros(2), chainrule.zeros(3))
    with pytest.raises(IndexError):
        d[10]


def test_combinations():
    both = Numbers(3) + Numbers(2)
    assert isinstance(both, ConcatDataset)
    assert [both[i] for i in range(5)] == [0, 1, 2, 0, 1]
    assert both[-1] == 1
    assert both.cumulative_sizes == [3, 5]
    with pytest.raises(IndexError):
        both[5]
    with pytest.raises(ValueError, match="absolute value"):
        both[-6]
    with pytest.raises(AssertionError):
        ConcatDataset([])
    chain = Counting(2) + Counting(3)
    assert isinstance(chain, ChainDataset)
    assert list(chain) == [0, 1, 0, 1, 2]
    assert len(chain) == 5
    assert StackDataset(Numbers(3), table(3))[1][0] == 1
    assert StackDataset(a=Numbers(3), b=Numbers(3)).__getitems__([0, 2]) == [{"a": 0, "b": 0}, {"a": 2, "b": 2}]
    with pytest.raises(ValueError, match="Size mismatch"):
        StackDataset(Numbers(3), Numbers(2))
    part = Subset(Numbers(10), [7, 3])
    assert (part[1], len(part), part.__getitems__([1, 0])) == (3, 2, [3, 7])


def test_random_split():
    g = chainrule.Generator()
    parts = random_split(Numbers(10), [7, 3], generator=g.manual_seed(1))
    assert sorted([*parts[0].indices, *parts[1].indices]) == list(range(10))
    assert parts[0].indices == chainrule.randperm(10, generator=g.manual_seed(1)).tolist()[:7]
    assert [len(p) for p in random_split(Numbers(10), [0.25, 0.25, 0.5])] == [3, 2, 5]
    with pytest.raises(ValueError, match="Sum of input lengths"):
        random_split(Numbers(10), [7, 4])
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(Numbers(1), [0.5, 0.5])


# -- samplers ---------------------------------------------------------------------------------------------------------


def test_random_sampler():
    chainrule.manual_seed(0)
    first = list(RandomSampler(range(100)))
    chainrule.manual_seed(0)
    assert list(RandomSampler(range(100))) == first != sorted(first)
    assert sorted(first) == list(range(100))
    assert len(set(RandomSampler(range(5), num_samples=13))) == 5
    assert len(list(RandomSampler(range(5), num_samples=13))) == 13
    drawn = list(RandomSampler(range(5), replacement=True, num_samples=2000))
    assert len(drawn) == 2000
    assert min(collections.Counter(drawn).values()) > 320
    with pytest.raises(ValueError, match="num_samples should be a positive integer value, but got num_samples=0"):
        DataLoader([], shuffle=True)
    assert list(DataLoader([])) == []
    with pytest.raises(TypeError, match="replacement should be a boolean"):
        RandomSampler(range(5), replacement=1)
    with pytest.raises(ValueError, match="num_samples should be"):
        RandomSampler(range(5), num_samples=-1)


def test_how_far_a_pass_gets_changes_nothing():
    def after(steps):
        chainrule.manual_seed(3)
        order = iter(RandomSampler(range(1000)))
        for _ in range(steps):
            next(order)
        return chainrule.rand(1).item()

    assert after(1) == after(500)


def test_other_samplers():
    assert sorted(SubsetRandomSampler([4, 2, 9])) == [2, 4, 9]
    drawn = list(WeightedRandomSampler([0.0, 3.0, 1.0], 4000))
    assert set(drawn) == {1, 2}
    assert abs(drawn.count(1) / 4000 - 0.75) < 0.03
    assert sorted(WeightedRandomSampler([1, 1, 1], 3, replacement=False)) == [0, 1, 2]
    assert list(BatchSampler(range(5), 2, False)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, True)) == [[0, 1], [2, 3]]
    assert (len(BatchSampler(range(5), 2, False)), len(BatchSampler(range(5), 2, True))) == (3, 2)
    with pytest.raises(ValueError, match="batch_size should be a positive integer"):
        BatchSampler(range(5), 0, False)
    with pytest.raises(ValueError, match="weights should be a 1d sequence"):
        WeightedRandomSampler([[1.0]], 1)


@pytest.mark.parametrize("n", [10, 11, 3])
def test_distributed_sampler(n):
    shares = [list(DistributedSampler(range(n), 4, r, shuffle=True, seed=5)) for r in range(4)]
    assert {len(s) for s in shares} == {-(-n // 4)}
    assert {i for share in shares for i in share} == set(range(n))
    dropped = [list(DistributedSampler(range(n), 4, r, drop_last=True)) for r in range(4)]
    assert {len(s) for s in dropped} == {n // 4}
    assert len({i for share in dropped for i in share}) == n // 4 * 4
    s = DistributedSampler(range(100), 2, 0)
    before = list(s)
    s.set_epoch(1)
    assert list(s) != before
    with pytest.raises(ValueError, match="Invalid rank"):
        DistributedSampler(range(10), 2, 2)
    with pytest.raises(RuntimeError, match="num_replicas"):
        DistributedSampler(range(10))


def test_class_balance():
    labels = np.array(["a"] * 30 + ["b"] * 7 + ["c"] * 3)
    for sampler, each in (
        (OverSampler(labels), 30),
        (UnderSampler(labels), 3),
        (ClassBalancedSampler(labels, 10), 10),
        (ClassBalancedSampler(chainrule.tensor([0] * 30 + [1] * 7 + [2] * 3)), 13),
    ):
        drawn = list(sampler)
        assert len(drawn) == len(sampler) == 3 * each
        assert set(collections.Counter(labels[drawn]).values()) == {each}
    over = collections.Counter(OverSampler(labels))
    assert set(over) == set(range(40))
    assert {over[i] for i in range(30, 37)} == {4, 5}
    assert list(UnderSampler(labels)) != list(UnderSampler(labels))
    with pytest.raises(ValueError, match="labels should be"):
        OverSampler([])


# -- collate ----------------------------------------------------------------------------------------------------------


def test_default_collate():
    Point = collections.namedtuple("Point", "x y")
    collate = data.default_collate
    got = collate([{"a": 1, "b": (2.0, "s"), "c": np.float32(1)}, {"a": 2, "b": (3.0, "t"), "c": np.float32(2)}])
    assert got["a"].tolist() == [1, 2]
    assert got["a"].dtype == chainrule.int64
    assert got["b"][0].dtype == chainrule.float64
    assert got["b"][1] == ("s", "t")
    assert got["c"].dtype == chainrule.float32
    assert isinstance(got["b"], list)
    p = collate([Point(1, np.zeros(2)), Point(2, np.ones(2))])
    assert type(p) is Point
    assert p.y.shape == (2, 2)
    assert collate([True, False]).dtype == chainrule.bool
    ordered = collate([collections.OrderedDict(a=1), collections.OrderedDict(a=2)])
    assert type(ordered) is collections.OrderedDict
    x = chainrule.ones(2, requires_grad=True)
    assert collate([x, x]).requires_grad
    with pytest.raises(RuntimeError, match="each element in list of batch should be of equal size"):
        collate([[1], [1, 2]])
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        collate([chainrule.zeros(1), chainrule.zeros(2)])
    with pytest.raises(TypeError, match="default_collate: batch must contain tensors"):
        collate([object()])
    with pytest.raises(TypeError, match="default_collate: batch must contain tensors"):
        collate([np.array("a")])


def test_default_convert():
    got = data.default_convert({"a": np.zeros(2), "b": [1, np.float64(2)], "c": "x", "d": (np.ones(1),)})
    assert isinstance(got["a"], chainrule.Tensor)
    assert isinstance(got["b"][1], chainrule.Tensor)
    assert (got["b"][0], got["c"]) == (1, "x")
    assert isinstance(got["d"], list)


def test_collate_of_own_types():
    class Mine:
        pass

    from chainrule.utils.data._utils.collate import collate, default_collate_fn_map

    table = default_collate_fn_map | {Mine: lambda batch, *, collate_fn_map=None: len(batch)}
    assert collate([(Mine(), 1), (Mine(), 2)], collate_fn_map=table)[0] == 2


# -- the loader, in this process --------------------------------------------------------------------------------------


def test_batches():
    loader = DataLoader(table(), batch_size=4)
    assert [y.tolist() for _, y in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (len(loader), len(DataLoader(table(), 4, drop_last=True))) == (3, 2)
    assert isinstance(next(iter(loader)), list)
    assert list(DataLoader(Numbers(3), batch_size=None)) == [0, 1, 2]
    assert [b.tolist() for b in DataLoader(Numbers(5), batch_sampler=[[0, 4], [2]])] == [[0, 4], [2]]
    assert [b.tolist() for b in DataLoader(Numbers(5), 2, sampler=[4, 3, 0])] == [[4, 3], [0]]
    assert list(DataLoader(Numbers(4), 2, collate_fn=sum)) == [1, 5]
    assert loader.dataset.tensors[0].shape == (10, 2)
    assert isinstance(loader.batch_sampler, BatchSampler)


def test_shuffle_repeats_with_the_seed():
    def order(generator=None):
        return [i for b in DataLoader(Numbers(50), 8, shuffle=True, generator=generator) for i in b.tolist()]

    chainrule.manual_seed(1)
    first, second = order(), order()
    assert first != second
    chainrule.manual_seed(1)
    assert order() == first
    g = chainrule.Generator()
    assert order(g.manual_seed(2)) == order(g.manual_seed(2))
    assert sorted(first) == list(range(50))


@pytest.mark.torch
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 23])
def test_distributed_sampler_is_pytorchs(torch, n, drop_last):
    for replicas in (1, 2, 3, 8):
        for rank in range(replicas):
            options = {"num_replicas": replicas, "rank": rank, "drop_last": drop_last}
            theirs = torch.utils.data.DistributedSampler(range(n), shuffle=False, **options)
            ours = DistributedSampler(range(n), shuffle=False, **options)
            assert list(ours) == list(theirs)
            assert (len(ours), ours.total_size) == (len(theirs), theirs.total_size)
            # shuffled: the same rule on an order of our own generator
            order = chainrule.randperm(n, generator=chainrule.Generator().manual_seed(3 + 2)).tolist()
            shuffled = DistributedSampler(range(n), seed=3, **options)
            shuffled.set_epoch(2)
            assert list(shuffled) == [order[i] for i in theirs]


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: Subset(Subset(d, range(9, -1, -1)), [1, 4, 2, 7])])
def test_rows_of_tensors_are_the_stacked_samples(wrap):
    d = wrap(TensorDataset(chainrule.randn(10, 3), chainrule.arange(10), chainrule.zeros(10, 0)))
    quick = list(DataLoader(d, 3))
    slow = list(DataLoader(d, 3, collate_fn=lambda samples: data.default_collate(samples)))
    for a, b in zip(quick, slow):
        for x, y in zip(a, b):
            assert x.dtype == y.dtype
            assert np.array_equal(x.numpy(), y.numpy())
    quick[0][0].zero_()
    assert chainrule.count_nonzero(d[0][0]) == 3  # a batch has memory of its own


def test_rows_keep_gradients_and_overridden_samples():
    x = chainrule.ones(4, 2, requires_grad=True)
    (batch,) = next(iter(DataLoader(TensorDataset(x), 2)))
    batch.sum().backward()
    assert x.grad.sum() == 4

    class Doubled(TensorDataset):
        def __getitem__(self, i):
            return super().__getitem__(i)[0] * 2

    assert next(iter(DataLoader(Doubled(chainrule.ones(4)), 2))).tolist() == [2, 2]


def test_iterable():
    loader = DataLoader(Counting(5), 2)
    assert [b.tolist() for b in loader] == [[0, 1], [2, 3], [4]]
    assert len(loader) == 3
    assert [b.tolist() for b in DataLoader(Counting(5), 2, drop_last=True)] == [[0, 1], [2, 3]]
    assert list(DataLoader(Counting(2), batch_size=None)) == [0, 1]
    short = DataLoader(Counting(3), batch_size=None)
    assert len(short) == 3
    short.dataset.n = 4
    with pytest.warns(UserWarning, match="was reported to be 3"):
        list(short)


ARGUMENTS = [
    ({"num_workers": -1}, ValueError, "num_workers option should be non-negative"),
    ({"timeout": -1}, ValueError, "timeout option should be non-negative"),
    ({"prefetch_factor": 2}, ValueError, "prefetch_factor option could only be specified in multiprocessing"),
    ({"num_workers": 1, "prefetch_factor": -1}, ValueError, "prefetch_factor option should be non-negative"),
    ({"persistent_workers": True}, ValueError, "persistent_workers option needs num_workers > 0"),
    ({"sampler": [0], "shuffle": True}, ValueError, "sampler option is mutually exclusive with shuffle"),
    ({"batch_sampler": [[0]], "batch_size": 2}, ValueError, "batch_sampler option is mutually exclusive"),
    ({"batch_size": None, "drop_last": True}, ValueError, "batch_size=None option disables auto-batching"),
    ({"batch_size": 0}, ValueError, "batch_size should be a positive integer value"),
    ({"multiprocessing_context": "fork"}, ValueError, "multiprocessing_context can only be used with"),
    ({"num_workers": 1, "multiprocessing_context": "x"}, ValueError, "should specify a valid start method"),
    ({"num_workers": 1, "multiprocessing_context": 3}, TypeError, "should be a valid context object"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), ARGUMENTS)
def test_arguments_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        DataLoader(Numbers(3), **arguments)


@pytest.mark.torch
@pytest.mark.parametrize(("arguments", "error", "message"), ARGUMENTS)
def test_pytorch_says_the_same(torch, arguments, error, message):
    with pytest.raises(error, match=message):
        torch.utils.data.DataLoader(Numbers(3), **arguments)


def test_arguments_of_iterables_are_checked():
    for arguments in ({"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}):
        with pytest.raises(ValueError, match="DataLoader with IterableDataset: expected unspecified"):
            DataLoader(Counting(3), **arguments)
    loader = DataLoader(Numbers(3))
    with pytest.raises(ValueError, match="batch_size attribute should not be set after DataLoader is initialized"):
        loader.batch_size = 2


class _Repeated:
    def __init__(self, sampler):
        self.sampler = sampler

    def __iter__(self):
        while True:
            yield from iter(self.sampler)


class EndlessLoader(DataLoader):
    """One iterator for all epochs, so that workers stay: as libraries on PyTorch have it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._DataLoader__initialized = False
        self.batch_sampler = _Repeated(self.batch_sampler)
        self._DataLoader__initialized = True
        self.iterator = super().__iter__()

    def __len__(self):
        return len(self.batch_sampler.sampler)

    def __iter__(self):
        for _ in range(len(self)):
            yield next(self.iterator)


def test_derived_loaders_exchange_the_sampler():
    loader = EndlessLoader(Numbers(3), 2)
    assert [[b.tolist() for b in loader] for _ in range(2)] == [[[0, 1], [2]]] * 2


def test_classes_take_type_arguments():
    for cls in (Dataset, IterableDataset, DataLoader, Subset, data.Sampler):
        assert cls[int]


@pytest.mark.skipif(chainrule.cuda.is_available(), reason="there is a GPU")
def test_pin_memory_without_a_gpu_warns():
    with pytest.warns(UserWarning, match="no accelerator is found"):
        assert [b.tolist() for b in DataLoader(Numbers(2), 2, pin_memory=True)] == [[0, 1]]


# -- worker processes -------------------------------------------------------------------------------------------------


@pytest.fixture
def no_process_left():
    """Each test of workers: none is left, and no segment of shared memory."""
    before = set(os.listdir("/dev/shm")) if Path("/dev/shm").exists() else set()
    yield
    gc.collect()  # an iterator that raised is held by its traceback
    assert multiprocessing.active_children() == []
    if Path("/dev/shm").exists():
        assert {f for f in set(os.listdir("/dev/shm")) - before if f.startswith(("psm_", "chainrule"))} == set()


def many_workers(**arguments):
    fork = "fork" if "fork" in multiprocessing.get_all_start_methods() else None  # classes within tests cannot be sent
    return DataLoader(**{"num_workers": 2, "multiprocessing_context": fork} | arguments)


class Big(Dataset):
    def __init__(self, n=12, size=20_000):
        self.n, self.size = n, size

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return {"x": np.full(self.size, i, np.float32), "name": str(i), "empty": chainrule.zeros(0)}


@pytest.mark.usefixtures("no_process_left")
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_workers_give_the_same_batches(context):
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {context}")
    want = list(DataLoader(Big(), 5))
    got = list(many_workers(dataset=Big(), batch_size=5, multiprocessing_context=context))
    for a, b in zip(got, want, strict=True):
        assert np.array_equal(a["x"].numpy(), b["x"].numpy())
        assert (a["name"], a["empty"].shape) == (b["name"], b["empty"].shape)
    got[0]["x"] += 1  # own memory, which can be written into
    assert got[2]["x"][0, 0] == 10


@pytest.mark.usefixtures("no_process_left")
def test_order_and_prefetch():
    class Uneven(Numbers):
        def __getitem__(self, i):
            time.sleep(0.02 if i % 4 == 0 else 0)
            return i

    assert [b.tolist() for b in many_workers(dataset=Uneven(12), batch_size=2)] == [[i, i + 1] for i in range(0, 12, 2)]
    free = [b.item() for b in many_workers(dataset=Uneven(12), in_order=False, prefetch_factor=3)]
    assert sorted(free) == list(range(12))


@pytest.mark.usefixtures("no_process_left")
def test_iterable_workers():
    got = [b.tolist() for b in many_workers(dataset=Counting(11), batch_size=2)]
    assert got == [[0, 2], [1, 3], [4, 6], [5, 7], [8, 10], [9]]
    whole = [b.tolist() for b in many_workers(dataset=Counting(3, split=False), batch_size=2)]
    assert sorted(whole) == [[0, 1], [0, 1], [2], [2]]
    texts = many_workers(dataset=Counting(4), batch_size=None, collate_fn=lambda i: "end")
    assert list(texts) == ["end"] * 4


class Process(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        info = get_worker_info()
        assert info.dataset is self
        return os.getpid(), info.id, info.seed


@pytest.mark.usefixtures("no_process_left")
def test_persistent_workers():
    loader = many_workers(dataset=Process(), persistent_workers=True)
    first, second = (sorted({b[0].item() for b in loader}) for _ in range(2))
    assert first == second
    assert len(first) == 2
    assert os.getpid() not in first
    next(iter(loader))  # a pass that is left before its end
    assert sorted({b[0].item() for b in loader}) == first
    iterated = many_workers(dataset=Counting(5), persistent_workers=True)
    assert [sorted(b.item() for b in iterated) for _ in range(2)] == [list(range(5))] * 2


class Draws(Numbers):
    def __getitem__(self, i):
        return chainrule.rand(()).item(), random.random(), np.random.rand()  # noqa: NPY002


@pytest.mark.usefixtures("no_process_left")
def test_worker_seeds():
    def draws(seed):
        chainrule.manual_seed(seed)
        return [tuple(x.item() for x in b) for b in many_workers(dataset=Draws(6))]

    first = draws(1)
    assert draws(1) == first != draws(2)
    assert len({x for row in first for x in row}) == 18  # workers differ, and so do the three generators
    chainrule.manual_seed(1)
    base = data.sampler.draw_seed()
    child = int(np.random.SeedSequence(base, spawn_key=(1,)).generate_state(1, np.uint64)[0]) >> 1
    chainrule.manual_seed(1)
    seeds = {b[1].item(): b[2].item() for b in many_workers(dataset=Process())}
    assert seeds[1] == child
    assert get_worker_info() is None


def first_word(worker_id):
    random.seed(worker_id)


class Word(Numbers):
    def __getitem__(self, i):
        return random.random()


@pytest.mark.usefixtures("no_process_left")
def test_worker_init_fn():
    got = [b.item() for b in many_workers(dataset=Word(2), worker_init_fn=first_word)]
    assert got == [random.Random(0).random(), random.Random(1).random()]

    def broken(worker_id):
        raise OSError("no such disk")

    with pytest.raises(OSError, match=r"Caught OSError in DataLoader worker process 0\.\nOriginal Traceback"):
        list(many_workers(dataset=Numbers(4), worker_init_fn=broken))


class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


class Broken(Numbers):
    def __init__(self, error):
        super().__init__(8)
        self.error = error

    def __getitem__(self, i):
        if i == 3:
            raise self.error
        return i


@pytest.mark.usefixtures("no_process_left")
@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("bad sample"), ValueError), (KeyError("bad sample"), KeyError), (Odd("bad sample", 1), RuntimeError)],
)
def test_errors_come_with_their_traceback(error, kind):
    iterator = iter(many_workers(dataset=Broken(error), batch_size=2))
    assert next(iterator).tolist() == [0, 1]
    with pytest.raises(kind) as caught:
        next(iterator)
    text = str(caught.value)
    assert f"Caught {type(error).__name__} in DataLoader worker process 1.\nOriginal Traceback (most recent" in text
    assert "raise self.error" in text
    assert "bad sample" in text
    assert [b.tolist() for b in iterator] == [[4, 5], [6, 7]]  # the other batches are there


@pytest.mark.usefixtures("no_process_left")
def test_what_cannot_be_sent_is_an_error():
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError), match="in DataLoader worker process"):
        list(many_workers(dataset=Numbers(2), collate_fn=lambda batch: lambda: None))


class Deadly(Numbers):
    def __getitem__(self, i):
        if i == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.zeros(30_000)


@pytest.mark.usefixtures("no_process_left")
@pytest.mark.parametrize("persistent", [False, True])
def test_killed_worker(persistent):
    loader = many_workers(dataset=Deadly(10), persistent_workers=persistent)
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly.*SIGKILL"):
        list(loader)
    with pytest.raises(RuntimeError, match="exited unexpectedly"):  # and a new pass starts new ones
        list(loader)


class Stuck(Numbers):
    def __getitem__(self, i):
        time.sleep(1000)


@pytest.mark.usefixtures("no_process_left")
def test_timeout(monkeypatch):
    monkeypatch.setattr(data.dataloader, "_GRACE", 0.1)
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.2 seconds"):
        next(iter(many_workers(dataset=Stuck(4), timeout=0.2)))


@pytest.mark.usefixtures("no_process_left")
def test_leaving_early_stops_the_workers():
    for b in many_workers(dataset=Big(50), batch_size=2):
        assert b["x"].shape[0] == 2
        break


def test_too_many_workers_warn():
    with pytest.warns(UserWarning, match="This DataLoader will create 1000 worker processes in total"):
        DataLoader(Numbers(3), num_workers=1000)


def program(body, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(
        textwrap.dedent(
            """
            import os, signal, sys, time
            from chainrule.utils.data import DataLoader, Dataset
            # a shell that runs the tests in the background has them ignore Ctrl-C, and programs inherit that
            signal.signal(signal.SIGINT, signal.default_int_handler)
            class Slow(Dataset):
                def __len__(self): return 1000
                def __getitem__(self, i):
                    time.sleep(PAUSE); return i
            def workers(iterator): print(*[p.pid for p in iterator._workers], flush=True)
            """
        )
        + textwrap.dedent(body)
    )
    return subprocess.Popen(
        [sys.executable, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def gone(pids, seconds=10.0):
    """True when none of the processes runs any more; a zombie that nobody waits for does not run."""

    def runs(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    end = time.monotonic() + seconds
    while any(map(runs, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(runs, pids))


LOOP = """
PAUSE = {pause}
if __name__ == "__main__":
    it = iter(DataLoader(Slow(), num_workers=2, multiprocessing_context="{context}"))
    {first}
    workers(it)
    for x in it: pass
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("context", "how"), [("fork", "INT group"), ("spawn", "INT group"), ("fork", "INT parent"), ("fork", "KILL parent")]
)
def test_signals_leave_nothing_behind(context, how, tmp_path):
    process = program(LOOP.format(pause=0.01, context=context, first="next(it)"), tmp_path)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    number = signal.SIGKILL if "KILL" in how else signal.SIGINT
    (os.killpg if "group" in how else os.kill)(process.pid, number)
    try:
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert gone(pids)
    if number == signal.SIGINT:
        assert errors.count("KeyboardInterrupt") == 1, errors  # the parent's, and no worker's
        assert "resource_tracker" not in errors


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_the_end_of_the_program_ends_the_workers(tmp_path):
    body = LOOP.format(pause=0.01, context="fork", first="next(it)").replace("for x in it: pass", "")
    process = program(body, tmp_path)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
    assert gone(pids)
