"""The allocator's thresholds: set before the first walk, unless the user forbids it; the pool of large blocks."""

import ctypes
import gc
import os
import pathlib
import subprocess
import sys
import threading
import tracemalloc
import types

import numpy as np
import pytest

import chainrule
from chainrule.backends.numpy import choice, memory


@pytest.fixture
def calls(monkeypatch):
    made = []
    libc = types.SimpleNamespace(gnu_get_libc_version=None, mallopt=lambda key, value: made.append((key, value)))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)
    return made


def test_freed_memory_is_kept(calls, monkeypatch):
    monkeypatch.delenv("CHAINRULE_KEEP_MEMORY", raising=False)
    memory.keep_freed_memory()
    assert calls == [(-3, 32 << 20), (-1, 256 << 20)]


def test_the_user_may_forbid_it(calls, monkeypatch):
    monkeypatch.setenv("CHAINRULE_KEEP_MEMORY", "0")
    memory.keep_freed_memory()
    assert calls == []


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.delenv("CHAINRULE_KEEP_MEMORY", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: types.SimpleNamespace())
    memory.keep_freed_memory()


def test_only_the_first_walk_asks_for_it():
    program = (
        "from chainrule.backends.numpy import BACKEND\n"
        "import chainrule as cr\n"
        "n = []\n"
        "BACKEND.before_training = lambda: n.append(1)\n"
        "x = cr.ones(3, requires_grad=True)\n"
        "y = (x * 2).sum()\n"
        "assert not n\n"
        "y.backward()\n"
        "(x * 2).sum().backward()\n"
        "assert len(n) == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# -- the pool of large blocks -----------------------------------------------------------------------------------------

SIZE = 1 << 21  # of the arrays below: a class of its own


@pytest.fixture
def pool(monkeypatch):
    """The pool, empty, for arrays of a megabyte and more on every system."""
    monkeypatch.setattr(memory, "LARGE", 1 << 20)
    gc.collect()
    memory.POOL.clear()
    return memory.POOL


def filled(number, size=SIZE):
    array = memory.empty(size, np.uint8)
    array.fill(number)
    return array


def test_memory_of_the_dead_serves_again(pool):
    before = chainrule.cpu.memory_stats()
    first = filled(1)
    address = first.ctypes.data
    assert first.flags.c_contiguous
    assert first.flags.writeable
    del first
    again = filled(2, (2, SIZE // 2))
    after = chainrule.cpu.memory_stats()
    assert again.ctypes.data == address
    assert after["num_device_alloc"] - before["num_device_alloc"] == 1
    assert after["num_reused"] - before["num_reused"] == 1
    assert after["allocated_bytes.all.current"] - before["allocated_bytes.all.current"] == SIZE
    assert after["reserved_bytes.all.current"] - before["reserved_bytes.all.current"] == SIZE


def test_zeros_are_zero_in_used_memory(pool):
    assert not memory.zeros(SIZE, np.uint8).any()
    del_me = filled(7)
    address = del_me.ctypes.data
    del del_me
    zeros = memory.zeros((SIZE,), np.uint8)
    assert zeros.ctypes.data == address
    assert not zeros.any()


def test_memory_in_use_is_never_given_twice(pool):
    kept = [filled(i) for i in range(5)]
    views = [kept.pop()[5:10], memoryview(kept.pop()), kept.pop().reshape(2, -1).T.view(np.int8)]
    numbers = [4, 3, 2]
    more = [filled(9) for _ in range(5)]
    assert [int(np.asarray(v).flat[0]) for v in views] == numbers
    assert [int(a[-1]) for a in kept] == [0, 1]
    assert not any(np.may_share_memory(a, b) for a in more for b in [*kept, *map(np.asarray, views)])
    views[0].base.base[2:].copy()  # arrays of the class that owns the memory, which are not its owner
    assert pool.stats()["allocated_bytes.all.current"] >= 10 * SIZE


def test_blocks_serve_what_is_a_little_smaller(pool):
    address = filled(0, 5 * SIZE).ctypes.data
    assert filled(0, 4 * SIZE + 1).ctypes.data == address
    assert filled(0, 4 * SIZE).ctypes.data == address
    before = pool.mapped
    filled(0, 3 * SIZE)
    assert pool.mapped == before + 1


def test_what_lies_free_is_bounded():
    pool = memory.Pool(10 * SIZE)
    blocks = [pool.take(SIZE)[0] for _ in range(16)]
    assert (pool.in_use, pool.free) == (16 * SIZE, 0)
    while blocks:
        pool.returned.append(blocks.pop())
        pool.settle()
        assert pool.free <= pool.limit
    assert (pool.in_use, pool.free, pool.unmapped) == (0, 10 * SIZE, 6)
    pool.clear()
    assert (pool.free, pool.unmapped, pool.most_in_use) == (0, 16, 16 * SIZE)


def test_the_pool_does_not_raise_the_peak():
    pool = memory.Pool(1 << 40)
    for size in (3, 7, 2, 5, 1, 4, 6, 7, 3):
        block, zero = pool.take(size * SIZE)
        assert len(block) >= size * SIZE
        assert zero or pool.reused
        assert pool.in_use + pool.free <= pool.most_in_use
        pool.returned.append(block)
        del block
        pool.settle()
    assert pool.most == pool.most_in_use == 7 * SIZE


def resident():
    fields = pathlib.Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="only Linux tells the resident size in a file")
def test_empty_cache_gives_memory_back(pool):
    size = 64 << 20
    base = resident()
    array = filled(1, size)
    assert resident() - base > 0.9 * size
    del array
    assert resident() - base > 0.9 * size
    chainrule.cpu.empty_cache()
    assert resident() - base < 0.1 * size
    assert chainrule.cpu.memory_reserved() == chainrule.cpu.memory_allocated()


def test_peaks_are_counted_anew(pool):
    del_me = [filled(0), filled(0)]
    chainrule.cpu.reset_peak_memory_stats()
    assert chainrule.cpu.max_memory_allocated() == chainrule.cpu.memory_allocated() >= 2 * SIZE
    del del_me
    chainrule.cpu.reset_peak_memory_stats()
    filled(0)
    assert chainrule.cpu.max_memory_allocated() == chainrule.cpu.memory_allocated() + SIZE
    assert chainrule.cpu.max_memory_reserved() == chainrule.cpu.memory_reserved()


def test_threads_share_the_pool(pool):
    wrong, before = [], pool.stats()["allocated_bytes.all.current"]

    def work(number):
        for i in range(40):
            mine = [filled(number, SIZE + i), filled(number + 100, 2 * SIZE)]
            if mine[0].min() != number or mine[1].min() != number + 100 or mine[0].max() != number:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert pool.stats()["allocated_bytes.all.current"] == before
    assert pool.reused > 100


def test_nobody_waits_for_the_pool_in_a_finalizer(pool):
    """Garbage collection may run in the midst of the pool's own code, and finalizers may drop or make arrays."""
    dies = filled(1)
    with pool._lock:
        del dies
        made = filled(2)
    assert made.base is None
    assert len(pool.returned) == 1
    chainrule.cpu.memory_stats()
    assert not pool.returned


def test_order_of_dimensions_is_kept(pool):
    x = np.moveaxis(memory.empty((2, 100, 90, 64), np.float32), -1, 1)
    like = memory.empty_like(x)
    assert (like.shape, like.strides, like.dtype) == (x.shape, x.strides, x.dtype)
    assert isinstance(like.base.base, memory.Memory)
    assert memory.empty_like(x[:, :1, :2]).shape == (2, 1, 2, 90)
    wide = memory.empty_like(x, np.float64)
    assert (wide.shape, wide.strides, wide.dtype) == (x.shape, tuple(2 * s for s in x.strides), np.float64)


def test_a_choice_keeps_the_order_of_its_condition(pool, monkeypatch):
    monkeypatch.setattr(choice, "LARGE", 1 << 20)
    x = np.moveaxis(np.linspace(-1, 1, 2 * 64 * 64 * 64, dtype=np.float32).reshape(2, 64, 64, 64), -1, 1)
    found = choice.CHOICE["where"](x > 0, x, 0.0)
    assert found.strides == x.strides
    assert np.array_equal(found, np.where(x > 0, x, 0))
    assert np.array_equal(choice.CHOICE["relu"](x), np.maximum(x, 0))


def test_a_fork_starts_with_no_free_blocks():
    program = (
        "import os, threading, chainrule\n"
        "from chainrule.backends.numpy import choice, memory\n"
        "memory.LARGE = 1 << 20\n"
        "kept, free = memory.zeros(1 << 21, 'u1'), memory.zeros(1 << 22, 'u1')\n"
        "del free\n"
        "assert memory.POOL.stats()['reserved_bytes.all.current'] == 3 << 21\n"
        "memory.POOL._lock.acquire()  # as a thread that is at it when the process forks\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    kept[:] = 1\n"
        "    good = memory.POOL.stats()['reserved_bytes.all.current'] == 1 << 21\n"
        "    other = memory.empty(1 << 21, 'u1')\n"
        "    good &= isinstance(other.base, memory.Memory)\n"
        "    os._exit(0 if good else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert not kept.any()\n"
        "memory.POOL._lock.release()\n"
        "assert memory.POOL.stats()['reserved_bytes.all.current'] == 3 << 21\n"
    )
    if hasattr(os, "fork"):
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_arrays_outlive_everything():
    program = (
        "import chainrule, numpy\n"
        "from chainrule.backends.numpy import choice, memory\n"
        "class Late:\n"
        "    def __init__(self):\n"
        "        self.me, self.array = self, memory.empty(1 << 26, 'u1')\n"
        "    def __del__(self):\n"
        "        self.array[:] = 1\n"
        "late = Late()\n"
        "numpy.late = memory.empty(1 << 26, 'u1')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True)
    assert not done.stderr


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("1000", 1000), ("2G", 2 << 30), ("1.5 mb", 3 << 19)])
def test_the_bound_is_the_users(monkeypatch, text, size):
    monkeypatch.setenv("CHAINRULE_KEEP_MEMORY", text)
    assert memory._bound() == size


def test_a_bound_that_is_no_number(monkeypatch):
    monkeypatch.setenv("CHAINRULE_KEEP_MEMORY", "much")
    with pytest.raises(ValueError, match="CHAINRULE_KEEP_MEMORY='MUCH'"):
        memory._bound()
    monkeypatch.delenv("CHAINRULE_KEEP_MEMORY")
    assert memory._bound() > 1 << 28


def test_no_pool_where_the_user_wants_none(pool, monkeypatch):
    monkeypatch.setattr(pool, "limit", 0)
    assert filled(1).base is None
    assert not memory.zeros((3, SIZE), np.uint8).any()


def test_training_uses_the_pool(pool):
    net = chainrule.nn.Sequential(
        chainrule.nn.Conv2d(3, 16, 3), chainrule.nn.BatchNorm2d(16), chainrule.nn.ReLU(), chainrule.nn.MaxPool2d(2)
    )
    x = chainrule.rand(8, 3, 50, 50)
    before = pool.stats()["allocated_bytes.all.current"]
    mapped = []
    for _ in range(3):
        net(x).sum().backward()
        gc.collect()
        assert pool.stats()["allocated_bytes.all.current"] == before
        mapped.append(pool.mapped)
    assert pool.reused > 5
    assert mapped[2] - mapped[1] <= 1


def test_gradients_in_large_memory_are_not_copied(pool):
    """A leaf takes a view that is all that is left of its memory, and never what another leaf has too."""
    w = chainrule.ones(700, 700, requires_grad=True)
    v = chainrule.ones(700 * 700, requires_grad=True)
    (w.reshape(-1) * 3).sum().backward()
    assert w.grad.array.base is not None
    assert w.grad.unique().tolist() == [3]
    w.grad = None
    (w.reshape(-1) + v).backward(chainrule.ones(700 * 700))
    assert not np.may_share_memory(w.grad.array, v.grad.array)
    seed = chainrule.ones(700, 700)
    w.grad = None
    w.reshape(-1).backward(seed.reshape(-1))
    assert not np.may_share_memory(w.grad.array, seed.array)


# -- gradients --------------------------------------------------------------------------------------------------------

SIDE = 256  # of arrays large enough to be added to in place


def ones():
    return chainrule.ones(SIDE, SIDE, requires_grad=True)


def test_sums_of_gradients_leave_what_others_hold_alone():
    seed, x = chainrule.full((SIDE, SIDE), 2.0), ones()
    held = []
    (x + x).backward(seed)
    assert x.grad.unique().tolist() == [4]
    x.grad = None
    (x.reshape(-1) + x.reshape(-1)).backward(seed.reshape(-1))
    assert x.grad.unique().tolist() == [4]
    x.grad, h = None, ones() * 1
    for part in (h * 2, h * 3, h * 4):
        part.register_hook(held.append)
    first = h * 5
    h.register_hook(held.append)
    first.register_hook(lambda g: held.append(g * 1) or held[-1])
    (first + h + first * h).backward(seed)
    values = [t.clone() for t in held]
    (h.detach() * 2 + x * h.detach() + x * 3).backward(seed)
    assert x.grad.unique().tolist() == [8]
    assert all((a == b).all() for a, b in zip(held, values, strict=True))
    assert seed.unique().tolist() == [2]


def test_a_sum_of_gradients_takes_no_memory_of_its_own():
    x = ones()

    def peak(uses):
        parts = [x * (k + 1.0) for k in range(uses)]
        total = chainrule.stack([p.sum() for p in parts]).sum()
        del parts
        gc.collect()
        tracemalloc.start()
        total.backward()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert x.grad.unique().tolist() == [uses * (uses + 1) / 2]
        x.grad = None
        return most / (4 * SIDE * SIDE)

    peak(2)
    assert peak(8) < 2.3  # the sum, and what comes to it


def test_backward_holds_no_more_gradients_than_it_needs():
    """h ← h + tanh(h): a gradient, what tanh makes of it, the scratch of that; what nodes keep shrinks meanwhile."""
    x, depth = ones(), 6
    for _ in range(2):
        h = x
        for _ in range(depth):
            h = h + chainrule.tanh(h)
        total = h.sum()
        del h
        gc.collect()
        tracemalloc.start()
        total.backward()
        now, most = (n / (4 * SIDE * SIDE) for n in tracemalloc.get_traced_memory())
        tracemalloc.stop()
        assert most < 4.3
        assert now < 1.1
        x.grad = None
