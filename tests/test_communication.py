"""Stores, groups over TCP and the NCCL group, with threads in the place of processes."""

import datetime
import inspect
import re
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import fake_nccl
import ml_dtypes
import numpy as np
import pytest

import chainrule as cr
import chainrule.distributed as dist
from chainrule.backends.communication import PeerError, ReduceOp
from chainrule.backends.communication.tcp import Mesh, TcpGroup


def together(size, function):
    """[function(rank) for each rank], all at once."""
    with ThreadPoolExecutor(size) as pool:
        return [future.result(30) for future in [pool.submit(function, rank) for rank in range(size)]]


# -- stores -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["hash", "file", "tcp", "prefix"])
def stores(request, tmp_path):
    """Two handles on one store."""
    if request.param == "file":
        yield [dist.FileStore(str(tmp_path / "journal"), 2) for _ in range(2)]
    elif request.param == "tcp":
        first = dist.TCPStore("127.0.0.1", 0, is_master=True)
        assert first.is_master
        second = dist.TCPStore("127.0.0.1", first.port)
        assert not second.is_master
        yield [first, second]
        second.close()
        first.close()
    else:
        base = dist.HashStore()
        yield [dist.PrefixStore("part", base)] * 2 if request.param == "prefix" else [base] * 2


def test_store(stores):
    first, second = stores
    first.set("a", "one")
    assert second.get("a") == b"one"
    second.set("a", b"\x00\xff")
    assert first.get("a") == b"\x00\xff"
    assert [first.add("n", 2), second.add("n", 3), first.add("n", -1)] == [2, 5, 4]
    assert first.check(["a", "n"])
    assert not second.check(["a", "b"])
    assert first.compare_set("c", "", "new") == b"new"
    assert second.compare_set("c", "old", "newer") == b"new"
    assert second.compare_set("c", "new", "newer") == b"newer"
    first.append("c", "!")
    assert second.multi_get(["c", "n"]) == [b"newer!", b"4"]
    first.multi_set(["x", "y"], ["1", "2"])
    assert first.num_keys() == second.num_keys() == 5
    assert first.delete_key("x")
    assert not second.delete_key("x")
    assert not second.check(["x"])


def test_store_waits(stores):
    first, second = stores
    threading.Timer(0.1, lambda: first.set("late", "here")).start()
    second.wait(["late"], datetime.timedelta(seconds=10))
    assert second.get("late") == b"here"
    second.set_timeout(datetime.timedelta(seconds=0.1))
    with pytest.raises(dist.DistStoreError, match=r"timeout after 0\.1s, keys: .*never"):
        second.get("never")
    with pytest.raises(RuntimeError, match="never"):
        first.wait(["late", "never"], datetime.timedelta(seconds=0.1))


def test_tcp_store_that_nobody_serves():
    with pytest.raises(dist.DistNetworkError, match=r"timed out after 0\.3s"):
        dist.TCPStore("127.0.0.1", 1, timeout=datetime.timedelta(seconds=0.3))
    server = dist.TCPStore("127.0.0.1", 0, is_master=True)
    with pytest.raises(dist.DistStoreError, match="1/2 clients joined"):
        dist.TCPStore("127.0.0.1", server.port, 2, timeout=0.2)
    with pytest.raises(dist.DistNetworkError, match="cannot listen"):
        dist.TCPStore("127.0.0.1", server.port, is_master=True)
    server.close()


def test_tcp_store_survives_strangers():
    server = dist.TCPStore("127.0.0.1", 0, is_master=True)
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 40, b"\xff"):
        with socket.create_connection(("127.0.0.1", server.port)) as stranger:
            stranger.sendall(nonsense)
    server.set("still", "there")
    assert server.get("still") == b"there"
    server.close()


# -- groups over TCP --------------------------------------------------------------------------------------------------


@pytest.fixture
def meshes():
    store = dist.HashStore()
    made = together(3, lambda rank: Mesh(store, rank, 3, 10, "127.0.0.1"))
    yield made
    for mesh in made:
        mesh.close()


def groups_of(meshes, timeout=10, number=1):
    return [TcpGroup(mesh, range(3), number, "the group", timeout) for mesh in meshes]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.int8, bool])
def test_sums_have_the_same_bits_everywhere(meshes, dtype):
    groups = groups_of(meshes)
    for size in (0, 1, 1000, 100_001):
        rng = np.random.default_rng(size)
        parts = [(rng.standard_normal(size) * 3).astype(dtype) for _ in range(3)]
        arrays = [p.copy() for p in parts]
        together(3, lambda r, arrays=arrays: groups[r].all_reduce(arrays[r]))
        wide = [p.astype(np.float32) if np.dtype(dtype).itemsize == 2 else p for p in parts]
        want = ((wide[0] + wide[1]) + wide[2]).astype(dtype)  # 16 bits are summed in 32
        for array in arrays:
            np.testing.assert_array_equal(array, want)


def test_two_groups_do_not_disturb_each_other(meshes):
    one, two = groups_of(meshes), groups_of(meshes, number=2)

    def work(rank):
        a, b = np.full(50_000, rank, np.float32), np.full(3, 10.0 * rank)
        first, second = (one, two) if rank else (two, one)
        works = [first[rank].all_reduce(a if rank else b, block=False)]
        works.append(second[rank].all_reduce(b if rank else a, block=False))
        for w in works:
            w.wait()
        return a[0], b[0], one[rank].twin().name()

    assert together(3, work) == [(3, 30, "gloo")] * 3


def test_a_wait_that_ends(meshes):
    groups = groups_of(meshes, timeout=0.3)
    with pytest.raises(dist.DistBackendError, match=r"timed out; rank 0 waited 0\.3 s for ranks \[1, 2\]"):
        groups[0].all_reduce(np.ones(3))
    slow = groups_of(meshes, timeout=60, number=5)
    work = slow[0].barrier(block=False)
    with pytest.raises(dist.DistBackendError, match=r"not done after 0\.1 s"):
        work.wait(datetime.timedelta(seconds=0.1))
    together(2, lambda r: slow[r + 1].barrier())
    assert work.wait()


def test_who_goes_is_noticed(meshes):
    groups = groups_of(meshes)
    waiting = ThreadPoolExecutor(1).submit(groups[0].all_reduce, np.ones(300_000))
    time.sleep(0.1)
    for connection in meshes[2].peers.values():
        connection.shutdown(2)  # as the kernel does when a process is killed
    with pytest.raises(PeerError, match="rank 2 closed its connection"):
        waiting.result(5)
    with pytest.raises(PeerError, match="rank 2 closed its connection"):
        groups[1].all_reduce(np.ones(300_000))


def test_what_one_said_is_heard_by_all(meshes):
    groups = groups_of(meshes)
    meshes[1].fail("Traceback\nValueError: too bad\n")
    for rank in (0, 2):
        with pytest.raises(PeerError, match="rank 1 ended with an error:\nTraceback\nValueError: too bad"):
            groups[rank].receive(np.ones(1), None).wait()


def test_a_stranger_is_not_taken_for_a_process():
    store, knocked = dist.HashStore(), threading.Event()

    def knock(rank):
        if rank == 2:
            host, port = store.get("address/0").decode().split(":")
            with socket.create_connection((host, int(port))) as stranger:
                stranger.sendall(b"x" * 20)
            knocked.set()
            return None
        assert rank == 0 or knocked.wait(10)
        return Mesh(store, rank, 2, 10, "127.0.0.1")

    one, two, _ = together(3, knock)
    pair = [TcpGroup(mesh, range(2), 1, "pair", 10) for mesh in (one, two)]
    together(2, lambda r: pair[r].barrier())
    for mesh in (one, two):
        mesh.close()


# -- NCCL -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nccl(monkeypatch, meshes):
    """NCCL groups of three ranks on the stand-in."""
    for name, module in fake_nccl.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    from chainrule.backends.communication.nccl import NcclGroup

    return together(3, lambda r: NcclGroup(groups_of(meshes)[r], 0))


def test_nccl_operations(nccl):
    array = fake_nccl.array

    def work(r):
        g = nccl[r]
        a = array([r + 1, 2], "f4")
        g.all_reduce(a)
        mean = array([r, 3], "f4")
        g.all_reduce(mean, ReduceOp.AVG)
        top = array([r], "i8")
        g.reduce(top, 2, ReduceOp.MAX)
        word = array([r * 1.5, r], ml_dtypes.bfloat16)
        g.broadcast(word, 1)
        parts = [array([0, 0], "i4") for _ in range(3)]
        g.all_gather(parts, array([r, 10 * r], "i4"))
        rows = array(np.zeros((3, 2)), "f4")
        g.comm.calls.clear()
        g.all_gather(list(rows), array([r, -r], "f4"))
        assert g.comm.calls == [("allGather", g.stream.ptr)]  # one call where the parts lie behind one another
        assert rows.tolist() == [[0, 0], [1, -1], [2, -2]]
        got = [array([0], "u1") for _ in range(3)] if r == 1 else None
        g.gather(got, array([r], "u1"), 1)
        mine = array([0.0], "f8")
        g.scatter(mine, [array([float(10 + i)], "f8") for i in range(3)] if r == 0 else None, 0)
        outs = [array([0], "i4") for _ in range(3)]
        g.all_to_all(outs, [array([10 * r + i], "i4") for i in range(3)])
        share = array([0, 0], "f2")
        g.reduce_scatter(share, [array([i, r], "f2") for i in range(3)])
        if r == 0:
            g.send(array([7.0], "f4"), 2).wait()
        letter = array([0.0], "f4")
        if r == 2:
            work = g.receive(letter, 0)
            work.wait()
            assert work.source_rank() == 0
        return [
            *(a.tolist(), mean.tolist(), top.tolist(), word.tolist(), [p.tolist() for p in parts]),
            *(got and [p.tolist() for p in got], mine.tolist(), [o.tolist() for o in outs], share.tolist()),
            letter.tolist(),
        ]

    for r, found in enumerate(together(3, work)):
        assert found == [
            *([6, 6], [1, 3], [2 if r == 2 else r], [1.5, 1], [[0, 0], [1, 10], [2, 20]]),
            *([[0], [1], [2]] if r == 1 else None, [10.0 + r], [[r], [10 + r], [20 + r]], [3 * r, 3]),
            [7.0 if r == 2 else 0.0],
        ]


def test_nccl_waits_on_streams_and_not_on_the_host(nccl):
    def work(r):
        g, now, done = nccl[r], fake_nccl.current(), []
        now.log.clear()
        g.stream.log.clear()
        g.comm.calls.clear()
        pending = g.all_reduce(fake_nccl.array([1.0], "f4"), block=False, after=lambda: done.append(r))
        before, after = now.log[0][1], g.stream.log[1][1]
        assert g.stream.log == [("wait", before), ("record", after)]
        assert g.comm.calls == [("allReduce", g.stream.ptr)]
        assert now.log == [("record", before)]  # the program's stream goes on
        assert not done
        pending.wait()
        assert now.log[1:] == [("wait", after)]
        assert done == [r]
        assert g.stream.non_blocking
        assert pending.get_future().done()

    together(3, work)


def test_nccl_gives_up_when_a_process_has_gone(nccl, meshes):
    for connection in meshes[2].peers.values():
        connection.shutdown(2)
    end = time.monotonic() + 5
    while not all(g.comm.calls[-1:] == [("abort", None)] for g in nccl[:2]):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_futures_of_letters(meshes):
    groups = groups_of(meshes)
    got = np.zeros(2)
    future = groups[0].receive(got, 1).get_future()
    assert not future.done()
    groups[1].send(np.ones(2), 0)
    future.wait()
    assert got.tolist() == [1, 1]
    lost = groups[0].receive(got, 2).get_future()
    meshes[2].fail("gone")
    with pytest.raises(PeerError, match="gone"):
        lost.wait()


def test_what_nccl_refuses(nccl):
    array = fake_nccl.array
    with pytest.raises(RuntimeError, match="BAND with NCCL and int32"):
        nccl[0].all_reduce(array([1], "i4"), ReduceOp.BAND)
    with pytest.raises(TypeError, match="no dtype complex64"):
        nccl[0].all_reduce(array([1], "c8"))
    with pytest.raises(ValueError, match="that is named"):
        nccl[0].receive(array([1.0], "f4"), None)


def test_the_stand_in_has_cupys_signatures():
    cupy = pytest.importorskip("cupy")
    if getattr(cupy, "__file__", None) is None:
        pytest.skip("this CuPy is a fake itself")
    from cupy.cuda import Stream, nccl

    if not nccl.available:
        pytest.skip("NCCL's library is not installed")
    for name, function in inspect.getmembers(fake_nccl.NcclCommunicator, inspect.isfunction):
        if name[0] == "_" and name != "__init__":
            continue
        documented = (nccl.NcclCommunicator if name == "__init__" else getattr(nccl.NcclCommunicator, name)).__doc__
        theirs = [p.split("=")[0].split()[-1] for p in re.search(r"\((.*?)\)", documented).group(1).split(", ")]
        ours = list(inspect.signature(function).parameters)
        assert [p for p in theirs if p != "self"] == [p for p in ours if p != "self"], name
    for name in [*fake_nccl.NAMES, *fake_nccl.OPS]:
        assert isinstance(getattr(nccl, f"NCCL_{name}"), int)
    assert len(nccl.get_unique_id()) == 128
    assert isinstance(nccl.get_unique_id(), bytes)
    for name in ("wait_event", "record"):
        assert hasattr(Stream, name)


# -- in a world of one ------------------------------------------------------------------------------------------------


def test_a_world_of_one_does_all_calls(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    dist.init_process_group("gloo")
    try:
        t, out = cr.arange(4.0), cr.zeros(4)
        for call in (
            lambda: dist.all_gather_into_tensor(out, t),
            lambda: dist.reduce_scatter_tensor(out, t),
            lambda: dist.all_to_all_single(out, t),
            lambda: dist.scatter(out, [t], 0),
            lambda: dist.gather(t, [out], 0),
            lambda: dist.reduce_scatter(out, [t]),
            lambda: dist.all_to_all([out], [t]),
        ):
            out.zero_()
            call()
            assert out.tolist() == t.tolist()
        objects = [1, None]
        dist.broadcast_object_list(objects, 0)
        dist.scatter_object_list(objects, ["x"], 0)
        assert objects == ["x", None]
        assert dist.new_group([0]).size() == 1
        dist.monitored_barrier()
        with pytest.raises(ValueError, match="one of each"):
            dist.all_gather([out, out], t)
        assert dist.all_reduce(t, async_op=True).get_future().wait()[0] is t
    finally:
        dist.destroy_process_group()
    assert dist.is_gloo_available()
    assert not dist.is_backend_available("ucc")
