"""CUDA graphs and the CuPy recorder, on the fake CuPy (fake_cupy.py) with graphs (fake_graphs.py).

`pytest --backend=fake` runs the tests in this process; without it one test runs them in another one.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FAKE = "fake_cupy" in sys.modules

if not FAKE:

    def test_on_the_fake():
        pytest.importorskip("scipy", reason="the fake CuPy needs SciPy")
        options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--backend=fake", __file__]
        environment = {**os.environ, "PYTEST_ADDOPTS": ""}
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *options], capture_output=True, text=True, env=environment,
            cwd=Path(__file__).parent.parent,
        )  # fmt: skip
        assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
        assert " passed" in run.stdout

else:
    import fake_graphs

    fake_graphs.install()
    import cupy
    from cublaslt_simulation import Simulated

    import chainrule
    from chainrule import nn
    from chainrule.backends.cupy import graphs
    from chainrule.backends.recorder import CaptureError

    fake_graphs.note(Simulated, "run")

    @pytest.fixture(autouse=True)
    def calls():
        fake_graphs.CALLS.clear()
        for index in (1, 0):
            cupy.cuda.Device(index).use()
            cupy.cuda.Stream.null.use()
        with chainrule.device("cuda"):
            yield fake_graphs.CALLS

    # -- the mechanism ------------------------------------------------------------------------------------------------

    def test_a_graph(calls):
        x, y = cupy.asarray(np.arange(3.0)), cupy.asarray(np.zeros(3))
        graph = graphs.Graph(0)
        with graph.capturing():
            assert cupy.cuda.get_current_stream().is_capturing()
            assert cupy.cuda.get_current_stream().non_blocking
            y[...] = x * 2 + y
        assert y.tolist() == [0, 0, 0]  # nothing was carried out
        assert cupy.cuda.get_current_stream() is cupy.cuda.Stream.null
        graph.upload()
        for _ in range(2):
            graph.launch()
        assert y.tolist() == [0, 4, 8]
        assert calls == ["begin 2", "end", "upload", "launch", "launch"]
        assert graph.dot().startswith("digraph")
        graph.reset()
        with pytest.raises(RuntimeError, match="nothing to replay"):
            graph.launch()

    def test_memory_and_garbage(monkeypatch):
        import gc

        graph, other = graphs.Graph(0), graphs.Graph(0)
        assert graph.pool is not other.pool
        assert graphs.Graph(0, graph.pool).pool is graph.pool
        with graph.capturing():
            assert fake_graphs._Current.allocator.__self__ is graph.pool
            assert not gc.isenabled()
        assert fake_graphs._Current.allocator is None
        assert gc.isenabled()

    def test_a_launch_on_another_stream_waits(calls):
        graph = graphs.Graph(0)
        with graph.capturing():
            cupy.asarray([cupy.empty(())])
        graph.launch()
        graph.launch()
        other = cupy.cuda.Stream()
        with other:
            graph.launch()
        assert calls[2:] == ["launch", "launch", f"{other.ptr} waits for 0", "launch"]

    @pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()])
    def test_after_a_failure_the_stream_is_usable(calls, error):
        import gc

        graph, x = graphs.Graph(0), cupy.asarray(np.zeros(2))
        stream = cupy.cuda.Stream(non_blocking=True)

        def fail():
            nonlocal x
            with graph.capturing(stream):
                x += 1
                raise error

        with pytest.raises(type(error)):
            fail()
        assert calls == ["begin 2", "end"]
        assert not stream.is_capturing()
        assert not graph.captured
        assert x.tolist() == [0, 0]
        assert gc.isenabled()
        assert fake_graphs._Current.allocator is None
        assert cupy.cuda.get_current_stream() is cupy.cuda.Stream.null
        with graph.capturing(stream):
            x += 1
        graph.launch()
        assert x.tolist() == [1, 1]

    def test_an_invalid_capture_is_an_error():
        graph = graphs.Graph(0)
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="Invalidated"), graph.capturing():
            cupy.cuda.get_current_stream().capture.invalid = True
        assert not graph.captured

    def test_modes_of_capture(calls):
        for mode, number in (("global", 0), ("thread_local", 1), ("relaxed", 2)):
            graph = graphs.Graph(0)
            with graph.capturing(mode=mode):
                pass
            assert calls[-2] == f"begin {number}"
        with pytest.raises(ValueError, match="Unknown capture error mode"), graphs.Graph(0).capturing(mode="none"):
            pass
        with pytest.raises(RuntimeError, match="captured already"), graph.capturing():
            pass

    # -- numbers ------------------------------------------------------------------------------------------------------

    def test_numbers_are_not_overwritten_in_flight(monkeypatch, calls):
        """Copies that are made late: at the event's synchronisation, or at the end."""
        late, seen = [], []

        def memcpy(target, source, size, kind, stream):
            late.append((target, source, size))

        def carry_out(*_):
            if late:
                fake_graphs.memcpy_async(*late.pop(0), 1, 0)
                seen.append(float(place))

        monkeypatch.setattr(cupy.cuda.runtime, "memcpyAsync", memcpy)
        monkeypatch.setattr(fake_graphs.Event, "synchronize", carry_out)
        numbers = graphs.Numbers()
        place = numbers.add(0.0)
        for i in range(20):
            numbers.set(0, i + 0.5)
            numbers.send()
        assert len(late) == graphs.TURNS
        while late:
            carry_out()
        assert seen == [i + 0.5 for i in range(20)]

    def test_kinds_of_numbers():
        numbers = graphs.Numbers()
        places = [numbers.add(x) for x in (0.1, -(2**63), 7)]
        numbers.send()
        assert [x.dtype.name for x in places] == ["float64", "int64", "int64"]
        assert [x.item() for x in places] == [0.1, -(2**63), 7]
        assert all(x.shape == () for x in places)
        numbers.set(0, 3)
        numbers.set(1, 2**62)
        numbers.send()
        assert [x.item() for x in places] == [3.0, 2**62, 7]
        with pytest.raises(CaptureError, match="was an integer"):
            numbers.set(2, 0.5)

    def test_too_many_numbers(monkeypatch):
        monkeypatch.setattr(graphs, "CAPACITY", 2)
        numbers = graphs.Numbers()
        numbers.add(1)
        numbers.add(2)
        with pytest.raises(CaptureError, match="2 numbers"):
            numbers.add(3)

    # -- whole steps --------------------------------------------------------------------------------------------------

    def both(network, make, data, strict=True, warmup=2):
        """Losses and parameters of a step, eager and captured."""
        found = []
        for captured in (False, True):
            chainrule.manual_seed(0)
            with chainrule.device("cpu"):
                model = network().double()
            model.to("cuda")
            step = make(model)
            run = chainrule.capture(step, strict=strict, warmup=warmup) if captured else step
            losses = [float(run(*[chainrule.tensor(a) for a in batch])) for batch in data]
            found.append((losses, [p.detach().cpu().numpy() for p in model.parameters()]))
            if captured:
                assert run.recordings == 1
        return found

    def batches(n=6):
        random = np.random.default_rng(0)
        return [(random.standard_normal((4, 3)), random.standard_normal((4, 2))) for _ in range(n)]

    def same(found):
        (losses, params), (again, others) = found
        assert losses == again
        for p, q in zip(params, others, strict=True):
            np.testing.assert_array_equal(p, q)

    def test_gradients_and_parameters_of_a_step(calls):
        def make(model):
            def step(x, y):
                for p in model.parameters():
                    p.grad = None
                loss = nn.functional.mse_loss(model(x), y)
                loss.backward()
                with chainrule.no_grad():
                    for p in model.parameters():
                        p -= 0.1 * p.grad
                return loss

            return step

        same(both(lambda: nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), make, batches()))
        assert calls.count("launch") == 4  # the call that recorded, and three more
        assert calls.count("upload") == 1

    def test_statistics_of_batch_norm():
        def make(model):
            def step(x, y):
                loss = nn.functional.mse_loss(model(x), y)
                with chainrule.no_grad():
                    for p, g in zip(model.parameters(), chainrule.grad(loss, list(model.parameters()))):
                        p -= 0.1 * g
                return loss + model[1].running_mean.sum() + model[1].running_var.sum()

            return step

        same(both(lambda: nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)), make, batches()))

    def test_live_numbers_and_host_actions(calls):
        from chainrule.backends.recorder import host, live

        state = {"step": 0}
        x = chainrule.ones(2)

        def count():
            state["step"] += 1

        def step(t):
            host(count)
            rate = live(lambda: {"rate": 1.0 / state["step"]})["rate"]
            return (
                t * chainrule.tensor(rate)
                if isinstance(rate, float)
                else chainrule.autograd.tensor.wrap(t.array * rate.astype("float32"), None)
            )

        run = chainrule.capture(step, strict=True)
        found = [run(x).tolist()[0] for _ in range(6)]
        np.testing.assert_allclose(found, [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6])
        assert state["step"] == 6

    def test_what_the_host_reads_cannot_be_captured():
        x = chainrule.ones(3)
        for bad, text in (
            (lambda t: t * t.sum().item(), "host"),
            (lambda t: t if t.sum() > 0 else -t, "host"),
            (lambda t: t[t > 0], "host"),
            (lambda t: t.nonzero(), "host"),
            (lambda t: t.cpu(), "CPU"),
        ):
            run = chainrule.capture(bad, strict=True, warmup=0)
            with pytest.raises(CaptureError, match=text) as caught:
                run(x)
            assert "test_graphs.py:" in str(caught.value)
            assert not cupy.cuda.get_current_stream().is_capturing()
            with pytest.warns(UserWarning, match="falls back to eager"):
                chainrule.capture(bad, warmup=0)(x)

    def test_tensors_of_the_host_are_refused():
        there = chainrule.ones(3, device="cpu")
        x = chainrule.ones(3)
        with pytest.raises(CaptureError, match="argument of the step is on the CPU"):
            chainrule.capture(lambda a, b: a, strict=True, warmup=0)(x, there)
        with pytest.raises(CaptureError, match="CPU is used within the step"):
            chainrule.capture(lambda a: (there + 1).sum() and a, strict=True, warmup=0)(x)
        with pytest.raises(CaptureError, match="random numbers of the CPU"):
            chainrule.capture(lambda a: (chainrule.rand(3, device="cpu"), a), strict=True, warmup=0)(x)

    def test_constants_of_the_host():
        run = chainrule.capture(lambda t: t + chainrule.tensor([1.0, 2.0, 3.0]).mul_(2), strict=True, warmup=0)
        for _ in range(3):
            assert run(chainrule.ones(3)).tolist() == [3, 5, 7]

    def test_a_library_that_cannot_be_captured(monkeypatch):
        def refuse(*args):
            raise NotImplementedError("calling cuSOLVER API during stream capture is currently unsupported")

        monkeypatch.setattr(chainrule.autograd.OPS["exp"].kernels, "__missing__", None, raising=False)
        run = chainrule.capture(lambda t: refuse(t), strict=True, warmup=0)
        with pytest.raises(CaptureError, match="through CuPy: calling cuSOLVER"):
            run(chainrule.ones(2))

    def test_one_gpu_per_recording():
        elsewhere = chainrule.ones(2, device="cuda:1")
        with pytest.raises(CaptureError, match="cuda:1 as well as cuda:0"):
            chainrule.capture(lambda t: (t * 2, elsewhere * 2), strict=True, warmup=0)(chainrule.ones(2))

    def test_the_users_error_stays_his():
        def step(t):
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            chainrule.capture(step, warmup=0)(chainrule.ones(2))

    def test_what_is_done_aside_is_not_captured(calls):
        from chainrule.backends.recorder import paused

        made = []

        def step(t):
            if not made:
                with paused():
                    assert not cupy.cuda.get_current_stream().is_capturing()
                    made.append(cupy.asarray(np.full(2, 3.0)))
            return chainrule.autograd.tensor.wrap(t.array * made[0], None)

        run = chainrule.capture(step, strict=True, warmup=0)
        assert [run(chainrule.ones(2)).tolist() for _ in range(2)] == [[3, 3]] * 2
