"""CUDA graphs and the CuPy recorder, on the fake CuPy (fake_cupy.py) with graphs (fake_graphs.py).

`pytest --backend=fake` runs the tests in this process; without it one test runs them in another one, but for the one
that goes through all ops.
"""

import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FAKE = "fake_cupy" in sys.modules

if not FAKE:

    @pytest.mark.parametrize("kernels", [False, True])
    def test_on_the_fake(kernels):
        pytest.importorskip("scipy", reason="the fake CuPy needs SciPy")
        if kernels and shutil.which("g++") is None:
            pytest.skip("no g++ to simulate CUDA C with")
        chosen = "with_kernels" if kernels else "not test_ops and not with_kernels"
        options = ["-q", "-p", "no:cacheprovider", "--backend=fake", "-k", chosen, __file__]
        environment = {**os.environ, "PYTEST_ADDOPTS": "", "CHAINRULE_SIMULATE": str(int(kernels))}
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
    from op_table import TABLE

    import chainrule
    from chainrule import nn
    from chainrule.autograd.tensor import wrap
    from chainrule.backends.cupy import graphs, launch
    from chainrule.backends.recorder import CaptureError, host, live, paused
    from chainrule.testing import calls_of
    from chainrule.testing.calls import host as host_of

    fake_graphs.note(Simulated, "run")
    simulated = pytest.mark.skipif(os.environ.get("CHAINRULE_SIMULATE") != "1", reason="CUDA C is not simulated")

    @pytest.fixture(scope="module", autouse=True)
    def kernels_are_noted():
        chainrule.zeros(1, device="cuda")  # the fake is connected with its first tensor
        if os.environ.get("CHAINRULE_SIMULATE") == "1":
            fake_graphs.note(type(launch.machine), "launch")

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

    def test_a_graph_is_captured_once():
        graph = graphs.Graph(0)
        with graph.capturing():
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

    def test_live_numbers_and_host_actions():
        ran, counter = [], itertools.count(1)

        def step(t):
            host(lambda: ran.append(len(ran)))
            rate = live(lambda: {"rate": 1.0 / next(counter)})["rate"]
            rate = chainrule.tensor(rate) if isinstance(rate, float) else wrap(rate.astype("float32"), None)
            return t * rate

        run = chainrule.capture(step, strict=True)
        found = [run(chainrule.ones(2)).tolist()[0] for _ in range(6)]
        np.testing.assert_allclose(found, [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6])
        assert ran == [0, 1, 2, 3, 4, 5]

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

    def test_the_op_is_named():
        run = chainrule.capture(chainrule.bincount, strict=True, warmup=0)
        with pytest.raises(CaptureError, match=r"in bincount\(int64\[2\] on cuda:0"):
            run(chainrule.tensor([1, 2]))

    def test_tensors_of_the_host_are_refused():
        there = chainrule.ones(3, device="cpu")
        x = chainrule.ones(3)
        with pytest.raises(CaptureError, match="argument of the step is on the CPU"):
            chainrule.capture(lambda a, b: a, strict=True, warmup=0)(x, there)
        with pytest.raises(CaptureError, match="CPU is used within the step"):
            chainrule.capture(lambda a: (there + 1).sum() and a, strict=True, warmup=0)(x)
        with pytest.raises(CaptureError, match=r"random numbers of the CPU|generator is asked for on the host"):
            chainrule.capture(lambda a: (chainrule.rand(3, device="cpu"), a), strict=True, warmup=0)(x)

    def test_arguments_may_not_be_changed():
        def assigned(t):
            t[0] = 5
            return t * 2

        for bad in (lambda t: t.add_(1) * 2, lambda t: t.view(-1).mul_(2).sum(), assigned):
            x = chainrule.ones(3)
            with pytest.raises(CaptureError, match="changes an argument in place"):
                chainrule.capture(bad, strict=True, warmup=0)(x)
            assert x.tolist() == [1, 1, 1]

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
        made = []

        def step(t):
            if not made:
                with paused():
                    assert not cupy.cuda.get_current_stream().is_capturing()
                    made.append(cupy.asarray(np.full(2, 3.0)))
            return wrap(t.array * made[0], None)

        run = chainrule.capture(step, strict=True, warmup=0)
        assert [run(chainrule.ones(2)).tolist() for _ in range(2)] == [[3, 3]] * 2

    @pytest.mark.skipif(os.environ.get("CHAINRULE_SIMULATE") == "1", reason="numbers are drawn by CUDA C")
    def test_states_of_generators(monkeypatch):
        """What is drawn after `set_state` is drawn again, at each replay anew; the host's generator counts on."""
        from chainrule.backends.cupy.random import LiveSource

        monkeypatch.setattr(LiveSource, "random", lambda self, size, dtype: self._take(1)[1].astype(dtype).reshape(1))
        generator = chainrule.Generator("cuda").manual_seed(3)

        def draw():
            return chainrule.rand(1, generator=generator, device="cuda")

        def step(t):
            first, state = draw(), generator.get_state()
            second = draw()
            generator.set_state(state)
            return first, second, draw(), draw()

        run = chainrule.capture(step, strict=True, warmup=0)
        x = chainrule.ones(1)
        assert [[float(v) for v in run(x)] for _ in range(3)] == [[i, i + 1, i + 1, i + 2] for i in (0, 3, 6)]
        before = generator.get_state().tolist()

        def fail(t):
            draw()
            return t * t.sum().item()

        with pytest.raises(CaptureError):
            chainrule.capture(fail, strict=True, warmup=0)(x)
        assert generator.get_state().tolist() == before

    def whole(make, mixed, captured):
        """Losses and parameters of a network with norms and dropout, its optimizer, a schedule and clipping."""
        chainrule.manual_seed(0)
        with chainrule.device("cpu"):
            model = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 2))
        model.to("cuda")
        optimizer = make(model.parameters())
        schedule = chainrule.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        scaler = chainrule.amp.GradScaler("cuda", init_scale=2.0**30, growth_interval=2, enabled=mixed)

        def step(x, y):
            optimizer.zero_grad()
            with chainrule.autocast("cuda", chainrule.float16, enabled=mixed):
                loss = nn.functional.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
            return loss

        run = chainrule.capture(step, strict=True) if captured else step
        random, losses = np.random.default_rng(0), []
        for _ in range(7):
            x = chainrule.tensor(random.standard_normal((4, 3)).astype("float32"))
            y = chainrule.tensor(random.integers(0, 2, 4))
            losses.append(float(run(x, y)))
            schedule.step()
        assert not captured or run.recordings == 1
        return losses, [p.tolist() for p in model.parameters()], scaler.get_scale()

    @simulated
    @pytest.mark.parametrize("mixed", [False, True])
    @pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop"])
    def test_whole_steps_with_kernels(name, mixed):
        """CUDA C simulated; seeds and rates change: a captured step does what the eager one does, bit by bit."""
        make = lambda params: getattr(chainrule.optim, name)(params, lr=0.05)
        assert whole(make, mixed, True) == whole(make, mixed, False)

    # -- every op -----------------------------------------------------------------------------------------------------

    #: ops whose results have shapes that depend on the data, or whose algorithm looks at it on the host
    READ = {
        *("bag_members", "bincount", "histc", "nonzero", "occurrences", "one_hot", "to_device"),
        *("cholesky", "cofactor", "det", "determined", "eigh", "matrix_exp", "svd"),
        *("gammainc", "gammaincc", "zeta"),
    }

    @pytest.mark.parametrize("name", TABLE)
    def test_ops(name):
        """Forward and backward of each op are captured, and give at each replay what they give without."""
        (call, *_) = calls_of(TABLE[name], "cupy")

        def step(*tensors):
            outputs = call.outputs(list(tensors))
            live, roots = [t for t in tensors if t.requires_grad], [o for o in outputs if o.requires_grad]
            if not (live and roots):
                return outputs
            ones = [chainrule.ones_like(o) for o in roots]
            return outputs, [g for g in chainrule.grad(roots, live, ones, allow_unused=True) if g is not None]

        def on_host(found):
            return [host_of(t) for part in found for t in (part if isinstance(part, list) else [part])]

        run = chainrule.capture(step, strict=True, warmup=0)
        tensors = call.tensors(call.arrays)
        if name in READ:
            with pytest.raises(CaptureError, match=r"host|CPU"):
                run(*tensors)
            return
        expected = on_host(step(*call.tensors(call.arrays)))
        for _ in range(2):
            found = on_host(run(*tensors))
            assert len(found) == len(expected)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_array_equal(a, b)

    # -- chainrule.cuda: PyTorch's names ------------------------------------------------------------------------------

    cuda = chainrule.cuda

    def test_cuda_graph(tmp_path, calls):
        x = chainrule.zeros(3)
        total = chainrule.zeros(3)
        g = cuda.CUDAGraph()
        with cuda.graph(g):
            y = x * 2
            total += y
            noise = chainrule.tensor([0.0, 0.0, 1.0]) + y
        assert total.tolist() == [0, 0, 0]
        for value in (1.0, 2.0):
            x.copy_(chainrule.full((3,), value))
            g.replay()
            assert y.tolist() == [2 * value] * 3
            assert noise.tolist() == [2 * value, 2 * value, 2 * value + 1]
        assert total.tolist() == [6, 6, 6]
        g.debug_dump(str(tmp_path / "graph.dot"))
        assert (tmp_path / "graph.dot").read_text().startswith("digraph")
        with pytest.raises(RuntimeError, match="already owns a captured graph"), cuda.graph(g):
            pass
        assert not cuda.is_current_stream_capturing()
        g.reset()
        with pytest.raises(RuntimeError, match="without a preceding"):
            g.replay()

    def test_capture_by_hand():
        x = chainrule.ones(2)
        g = cuda.CUDAGraph()
        with pytest.raises(RuntimeError, match="non-default stream"):
            g.capture_begin()
        with cuda.stream(cuda.Stream()):
            g.capture_begin(capture_error_mode="thread_local")
            assert cuda.is_current_stream_capturing()
            x += 1
            g.capture_end()
        g.replay()
        assert x.tolist() == [2, 2]
        with pytest.raises(RuntimeError, match="without capture_begin"):
            g.capture_end()
        with cuda.stream(cuda.Stream()), pytest.raises(RuntimeError, match="Unknown capture error mode"):
            cuda.CUDAGraph().capture_begin(capture_error_mode="none")

    def test_a_capture_that_fails():
        x = chainrule.ones(2)
        g = cuda.CUDAGraph()

        def fail():
            with cuda.graph(g):
                x.mul_(3)
                x.sum().item()

        with pytest.raises(CaptureError, match="host"):
            fail()
        assert x.tolist() == [1, 1]
        assert cuda.current_stream() == cuda.default_stream()
        with cuda.graph(g):
            x.mul_(3)
        g.replay()
        assert x.tolist() == [3, 3]

    def test_shared_memory():
        g, h = cuda.CUDAGraph(), cuda.CUDAGraph()
        handle = cuda.graph_pool_handle()
        with cuda.graph(g, pool=handle):
            pass
        with cuda.graph(h, pool=g.pool()):
            pass
        assert g.pool() is h.pool() is handle

    def test_training_in_a_cuda_graph():
        """The pattern of PyTorch's notes: static input and target, gradients that the graph owns."""

        def train(captured):
            chainrule.manual_seed(0)
            with chainrule.device("cpu"):
                model = nn.Linear(3, 2).double()
            model.to("cuda")
            x, y = chainrule.zeros(4, 3, dtype=chainrule.float64), chainrule.zeros(4, 2, dtype=chainrule.float64)

            def step():
                for p in model.parameters():
                    p.grad = None
                loss = nn.functional.mse_loss(model(x), y)
                loss.backward()
                with chainrule.no_grad():
                    for p in model.parameters():
                        p -= 0.1 * p.grad
                return loss

            run = step
            if captured:
                g = cuda.CUDAGraph()
                with cuda.graph(g):
                    loss = step()
                run = lambda: g.replay() or loss
            losses = []
            for a, b in batches():
                x.copy_(chainrule.tensor(a))
                y.copy_(chainrule.tensor(b))
                losses.append(float(run()))
            return losses, [p.grad.tolist() for p in model.parameters()]

        assert train(True) == train(False)

    @pytest.mark.parametrize("frozen", [False, True])
    def test_graphed_callables(frozen):
        def build():
            chainrule.manual_seed(0)
            with chainrule.device("cpu"):
                first, second = nn.Linear(3, 5).double(), nn.Sequential(nn.ReLU(), nn.Linear(5, 2)).double()
            first.weight.requires_grad_(not frozen)
            return first.to("cuda"), second.to("cuda")

        def run(first, second, x):
            for p in (*first.parameters(), *second.parameters()):
                p.grad = None
            out = second(first(x))
            out.square().sum().backward()
            return out.tolist(), [None if p.grad is None else p.grad.tolist() for m in (first, second)
                                  for p in m.parameters()]  # fmt: skip

        eager, graphed = build(), build()
        sample = chainrule.zeros(4, 3, dtype=chainrule.float64)
        hidden = chainrule.zeros(4, 5, dtype=chainrule.float64, requires_grad=True)
        made = cuda.make_graphed_callables(graphed, ((sample,), (hidden,)))
        assert made == graphed
        for a, _ in batches(3):
            x = chainrule.tensor(a)
            assert run(*eager, x) == run(*graphed, x)
        graphed[1].eval()
        assert run(*eager, x) == run(*graphed, x)  # eager, in the other mode

    def test_a_graphed_function():
        def function(x, y):
            return x * y, x.detach() + 1

        sample = chainrule.ones(3, requires_grad=True), chainrule.ones(3)
        graphed = cuda.make_graphed_callables(function, sample)
        x = chainrule.tensor([1.0, 2.0, 3.0], requires_grad=True)
        out, other = graphed(x, chainrule.full((3,), 2.0))
        assert not other.requires_grad
        out.sum().backward()
        assert (out.tolist(), other.tolist(), x.grad.tolist()) == ([2, 4, 6], [2, 3, 4], [2, 2, 2])

    # -- layers that become one op on a GPU ---------------------------------------------------------------------------

    def test_linear_layers_with_an_activation_between():
        from chainrule.backends.cupy import gemm
        from chainrule.nn.feed_forward import feed_forward

        def epilogues(layer, x):
            gemm.executor.calls.clear()
            layer(x).sum().backward()
            return {s.epilogue.name for s in gemm.executor.calls}

        with chainrule.device("cpu"):
            layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
            x = chainrule.ones(2, 3, 8)
            assert feed_forward(x, layer.linear1, layer.linear2, "relu") is None  # on the CPU
        layer.to("cuda")
        x = x.to("cuda").requires_grad_()
        assert "RELU_BIAS" not in epilogues(layer, x)  # dropout stands between
        layer.eval()
        assert "RELU_BIAS" in epilogues(layer, x)
        seen = []
        layer.linear1.register_forward_hook(lambda *args: seen.append(1))
        assert "RELU_BIAS" not in epilogues(layer, x)
        assert seen

    # -- streams, events, memory --------------------------------------------------------------------------------------

    def test_what_a_gpu_is():
        found = cuda.get_device_properties(0)
        assert (found.major, found.L2_cache_size) == (9, 1 << 20)
        assert cuda.is_bf16_supported() == cuda.is_bf16_supported(including_emulation=False)
        assert cuda.is_bf16_supported() == (importlib.util.find_spec("ml_dtypes") is not None)

    def test_streams(calls):
        s, default = cuda.Stream(), cuda.default_stream()
        assert cuda.current_stream() == default
        assert (default.cuda_stream, s.device.index) == (0, 0)
        assert s != default
        assert len({s, default, cuda.current_stream()}) == 2
        assert s.__cuda_stream__() == (0, s.cuda_stream)
        assert s.handle.non_blocking
        with cuda.stream(s):
            assert cuda.current_stream() == s
            with default:
                assert cuda.current_stream() == default
            with cuda.stream(None):
                assert cuda.current_stream() == s
        assert cuda.current_stream() == default
        cuda.set_stream(s)
        assert cuda.current_stream() == s
        cuda.set_stream(default)
        s.wait_stream(default)
        default.wait_event(s.record_event())
        assert calls == [f"{s.cuda_stream} waits for 0", f"0 waits for {s.cuda_stream}"]
        assert s.query()
        s.synchronize()
        there = cuda.get_stream_from_external(4096, 0)
        assert there.cuda_stream == 4096
        assert "0x1000" in repr(there)

    def test_streams_of_another_gpu():
        s = cuda.Stream(1)
        with cuda.stream(s):
            assert cuda.current_device() == 1
            assert cuda.current_stream() == s
            assert cuda.current_stream(0) == cuda.default_stream(0)
        assert cuda.current_device() == 0
        assert cuda.current_stream(1) == cuda.default_stream(1)

    def test_events(calls):
        start, end, plain = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True), cuda.Event()
        assert plain.query()
        plain.wait()
        plain.synchronize()
        assert calls == []
        with pytest.raises(RuntimeError, match="must be recorded"):
            start.elapsed_time(end)
        for e in (start, end, plain):
            e.record()
        assert start.elapsed_time(end) == 1.0
        with pytest.raises(RuntimeError, match="enable_timing=True"):
            start.elapsed_time(plain)
        with pytest.raises(RuntimeError, match="does not match recording stream's device cuda:1"):
            plain.record(cuda.Stream(1))
        with pytest.raises(RuntimeError, match="between processes"):
            cuda.Event(enable_timing=True, interprocess=True)

    def test_memory_is_kept_for_another_stream(monkeypatch):
        from chainrule.backends.cupy import streams

        streams._held.clear()
        monkeypatch.setattr(fake_graphs.Event, "done", False)
        s = cuda.Stream()
        chainrule.ones(3).record_stream(s)
        chainrule.ones(3, device="cpu").record_stream(s)
        ((mark, _),) = streams._held
        assert mark.stream == s.cuda_stream
        monkeypatch.setattr(fake_graphs.Event, "done", True)
        chainrule.ones(3).record_stream(s)
        assert not streams._held

    def test_peaks_of_memory(monkeypatch):
        from chainrule.backends.cupy import streams

        held = {"used": 100, "total": 1000}
        monkeypatch.setattr(streams, "memory", lambda index: tuple(held.values()))
        monkeypatch.setattr(streams, "_peak", None)
        cuda.memory._reserved.clear()
        assert cuda.memory_allocated() == 100
        assert cuda.max_memory_allocated() == 1000  # nothing has been counted
        cuda.reset_peak_memory_stats()
        assert cuda.max_memory_allocated() == 100
        hook = streams._peak
        for size in (50, 30):
            hook.malloc_postprocess(device_id=0, size=size, mem_size=size, mem_ptr=0, pmem_id=0)
            hook.free_postprocess(device_id=0, mem_size=size, mem_ptr=0, pmem_id=0)
        hook.malloc_postprocess(device_id=1, size=5, mem_size=5000, mem_ptr=0, pmem_id=0)
        assert cuda.max_memory_allocated() == 150
        held["used"] = 400  # by another thread
        assert cuda.max_memory_allocated() == 400
        assert cuda.max_memory_reserved() == 1000
        held["total"] = 600
        assert (cuda.memory_reserved(), cuda.max_memory_reserved()) == (600, 1000)
        assert cuda.memory_stats()["allocated_bytes.all.peak"] == 400
        cuda.reset_peak_memory_stats()
        assert (cuda.max_memory_allocated(), cuda.max_memory_reserved()) == (400, 600)
