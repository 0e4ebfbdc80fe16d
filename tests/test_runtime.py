"""PyTorch's runtime names: they exist, say what is so, and what cannot be done is an error that names another way."""

import collections
import copy
import gzip
import os
import pickle
import subprocess
import sys
import warnings

import pytest

import chainrule
from chainrule import nn
from chainrule.backends import determinism
from chainrule.nn import functional as F
from chainrule.utils.flop_counter import FlopCounterMode

no_gpu = pytest.mark.skipif(chainrule.cuda.is_available(), reason="there is a GPU")


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x)


# -- devices ----------------------------------------------------------------------------------------------------------


@no_gpu
def test_devices_without_a_gpu():
    assert not chainrule.accelerator.is_available()
    assert chainrule.accelerator.current_accelerator() is None
    assert chainrule.accelerator.device_count() == chainrule.cuda.device_count() == 0
    with pytest.raises(RuntimeError, match="none is available"):
        chainrule.accelerator.synchronize()
    assert chainrule.cuda.memory_allocated() == chainrule.cuda.max_memory_allocated() == 0
    assert chainrule.cuda.get_rng_state_all() == []
    chainrule.cuda.empty_cache()
    chainrule.cuda.manual_seed_all(3)
    chainrule.cuda.reset_peak_memory_stats()
    for call in (chainrule.cuda.get_device_name, chainrule.cuda.Stream, chainrule.cuda.Event().record):
        with pytest.raises(RuntimeError, match=r"CuPy|CUDA"):
            call()
    with chainrule.cuda.device(0):
        pass


def test_devices_of_others():
    for name in ("mps", "xpu", "mtia"):
        module = getattr(chainrule, name)
        assert not module.is_available()
        assert module.device_count() == 0
        module.manual_seed(0)
        with pytest.raises(RuntimeError):
            module.synchronize()
    assert chainrule.cpu.is_available()
    assert chainrule.cpu.current_device() == "cpu"
    assert chainrule.version.cuda is None
    assert chainrule.get_device_module("cuda") is chainrule.cuda
    assert chainrule.get_device_module(chainrule.device("cpu")) is chainrule.cpu


def test_the_version_is_that_of_pytorchs_api():
    """Programs ask it which functions there are; PyTorch's comparisons, also where it differs from text's."""
    version = chainrule.__version__
    assert version == f"2.13.0+chainrule.{chainrule.version.chainrule}"
    assert tuple(map(int, version.split(".")[:2])) == (2, 13)
    assert version >= "1.5.0"
    assert version >= "2.2"
    assert version >= (1, 8)
    assert version > "2.13.0"
    assert not version < "2.13.0"
    assert version != "2.13.0"
    assert version < "2.14.0.dev20260101"
    assert version > "2.13.0rc1"
    assert version > "2.13.0alpha1"
    assert version < "3"
    assert version < "master"  # as text
    assert version != 2
    with pytest.raises(TypeError):
        version < 3  # noqa: B015
    assert chainrule.torch_version.TorchVersion("2.1.0a0") < "2.1.0b1" < chainrule.torch_version.TorchVersion("2.1")
    assert chainrule.torch_version.TorchVersion("2.1.post1") > "2.1"
    assert pickle.loads(pickle.dumps(version)) == version
    assert {version: 1}[str(version)] == 1


def test_out_of_memory_is_one_class():
    assert chainrule.cuda.OutOfMemoryError is chainrule.OutOfMemoryError
    assert issubclass(chainrule.OutOfMemoryError, RuntimeError)

    class OutOfMemoryError(Exception):  # CuPy's
        pass

    from chainrule.autograd.errors import explain

    op = chainrule.autograd.OPS["exp"]
    assert isinstance(explain(OutOfMemoryError("2 GB"), op, [chainrule.ones(2)], {}), chainrule.OutOfMemoryError)


def test_events_need_timing():
    event = chainrule.cuda.Event()
    with pytest.raises(RuntimeError, match="enable_timing"):
        event.elapsed_time(event)
    with pytest.raises(RuntimeError, match="recorded"):
        chainrule.cuda.Event(enable_timing=True).elapsed_time(chainrule.cuda.Event(enable_timing=True))


# -- settings ---------------------------------------------------------------------------------------------------------


def test_settings_are_kept():
    cudnn = chainrule.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = True, True
    assert (cudnn.benchmark, cudnn.deterministic) == (True, True)
    with cudnn.flags(enabled=False):
        assert not cudnn.enabled
        assert not cudnn.benchmark
    assert cudnn.enabled
    assert cudnn.benchmark
    cudnn.benchmark, cudnn.deterministic = before
    chainrule.backends.cuda.matmul.allow_tf32 = True
    chainrule.backends.cuda.matmul.allow_tf32 = False
    with chainrule.backends.cuda.sdp_kernel(enable_flash=False):
        assert not chainrule.backends.cuda.flash_sdp_enabled()
    assert chainrule.backends.cuda.flash_sdp_enabled()
    assert not chainrule.backends.mps.is_available()
    assert chainrule.cuda.is_available() or not cudnn.is_available()


def test_numeric_settings():
    chainrule.set_float32_matmul_precision("high")
    assert chainrule.get_float32_matmul_precision() == "high"
    with pytest.warns(UserWarning, match="not one of"):
        chainrule.set_float32_matmul_precision("low")
    chainrule.set_float32_matmul_precision("highest")
    chainrule.use_deterministic_algorithms(True, warn_only=True)
    assert chainrule.are_deterministic_algorithms_enabled()
    assert determinism.wanted(), "what kernels ask"
    assert chainrule.get_deterministic_debug_mode() == 1
    chainrule.set_deterministic_debug_mode("default")
    assert not chainrule.are_deterministic_algorithms_enabled()
    assert not determinism.wanted()
    with pytest.raises(RuntimeError):
        chainrule.set_num_interop_threads(0)
    assert chainrule.set_flush_denormal(True) is False


# -- compilers --------------------------------------------------------------------------------------------------------


def test_compile_in_all_forms():
    model = Tiny()
    assert chainrule.compile(model, disable=True) is model
    assert chainrule.compile(model, mode="max-autotune", fullgraph=True)._orig_mod is model
    assert [f(2) for f in (chainrule.compile(lambda x: 2 * x), chainrule.compile()(lambda x: 2 * x))] == [4, 4]
    with pytest.raises(RuntimeError, match="mode or options"):
        chainrule.compile(model, mode="default", options={"x": 1})

    @chainrule.compiler.disable
    def f():
        return chainrule.compiler.is_compiling()

    @chainrule.compiler.disable(recursive=False)
    def g():
        return chainrule._dynamo.is_compiling()

    assert f() is g() is False
    chainrule._dynamo.config.cache_size_limit = 64
    chainrule._dynamo.reset()


def test_jit_runs_python():
    jit, model, x = chainrule.jit, Tiny(), chainrule.ones(1, 3)
    assert jit.script(model) is model
    assert jit.trace(model, x) is model
    assert jit.trace(model, (x,)) is model
    assert not jit.is_scripting()
    assert not jit.is_tracing()
    assert jit.ignore(drop=True)(len) is len
    assert jit.ignore(len) is jit.unused(len) is jit.export(len) is jit._overload_method(len) is len
    assert jit.annotate(list[int], [1]) == [1]
    assert jit.wait(jit.fork(max, 1, 2)) == 2
    assert jit.isinstance([1, 2], list[int])
    assert not jit.isinstance([1, "a"], list[int])
    assert jit.isinstance(None, int | None)
    assert not jit.isinstance((1, "a"), tuple[int, int])
    with pytest.raises(RuntimeError, match="eval"):
        jit.freeze(model)
    assert chainrule._C._get_tracing_state() is None


def test_jit_files_hold_modules(tmp_path):
    jit, x, path = chainrule.jit, chainrule.ones(1, 3), tmp_path / "model.pt"
    model = jit.script(Tiny())
    model.save(path)
    found = jit.load(path, map_location="cpu")
    assert type(found) is Tiny
    assert chainrule.equal(found(x), model(x))
    assert list(found.state_dict()) == list(model.state_dict())
    jit.save(jit.trace(model, x), path, _extra_files={"classes": "a b"})
    extra = {"classes": "", "other": ""}
    copy.deepcopy(jit.load(path, _extra_files=extra)).save(path)
    assert not hasattr(Tiny(), "save")  # of those alone that were scripted
    chainrule.save(jit.script(Tiny()), path)  # as a whole, like any other module
    assert hasattr(chainrule.load(path, weights_only=False), "save")
    assert extra == {"classes": "a b", "other": ""}
    with pytest.raises(TypeError, match="function"):
        jit.save(len, path)
    chainrule.save({"weight": x}, path)
    with pytest.raises(RuntimeError, match="no module"):
        jit.load(path)
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():  # PyTorch deprecates them
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(2)), str(path))
    with pytest.raises(RuntimeError, match="state_dict"):
        jit.load(path)


def test_what_cannot_be_done_says_so():
    with pytest.raises(NotImplementedError, match="ONNX"):
        chainrule.onnx.export(Tiny(), chainrule.ones(1, 3), "x.onnx")
    with pytest.raises(RuntimeError, match="downloads nothing"):
        chainrule.hub.load_state_dict_from_url("https://example.com/no-such-weights.pth")
    with pytest.raises(RuntimeError, match="source='local'"):
        chainrule.hub.load("owner/repository", "model")


def test_hub_reads_what_lies_there(tmp_path):
    chainrule.save({"a": chainrule.ones(2)}, tmp_path / "w.pth")
    loaded = chainrule.hub.load_state_dict_from_url("https://example.com/x/w.pth?y=1", model_dir=str(tmp_path))
    assert loaded["a"].tolist() == [1, 1]
    (tmp_path / "hubconf.py").write_text("def double(x):\n    'Twice.'\n    return 2 * x\n")
    assert chainrule.hub.list(str(tmp_path), source="local") == ["double"]
    assert chainrule.hub.load(str(tmp_path), "double", 4, source="local") == 8
    assert chainrule.hub.help(str(tmp_path), "double", source="local") == "Twice."


# -- processes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def group(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    chainrule.distributed.init_process_group("nccl")
    yield chainrule.distributed
    if chainrule.distributed.is_initialized():
        chainrule.distributed.destroy_process_group()


def test_a_world_of_one(group):
    assert (group.get_rank(), group.get_world_size(), group.get_backend()) == (0, 1, "nccl")
    with pytest.raises(ValueError, match="twice"):
        group.init_process_group("gloo")
    t, out = chainrule.arange(3.0), [chainrule.zeros(3)]
    group.all_reduce(t, op=group.ReduceOp.SUM)
    group.broadcast(t, src=0)
    assert group.all_reduce(t, async_op=True).wait()
    group.all_gather(out, t)
    assert t.tolist() == out[0].tolist() == [0, 1, 2]
    objects = [None]
    group.all_gather_object(objects, {"a": 1})
    assert objects == [{"a": 1}]
    group.barrier()
    with pytest.raises(ValueError, match="rank 1"):
        group.broadcast(t, src=1)
    with pytest.raises(ValueError, match="nobody"):
        group.send(t, dst=1)
    group.destroy_process_group()
    assert not group.is_initialized()
    with pytest.raises(ValueError, match="init_process_group"):
        group.get_rank()


def test_what_a_larger_world_needs(monkeypatch):
    init = chainrule.distributed.init_process_group
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="MASTER_ADDR expected"):
        init("gloo", rank=0, world_size=2)
    with pytest.raises(ValueError, match="neither of RANK and rank"):
        init("gloo", world_size=2)
    with pytest.raises(ValueError, match="rank 2 is not in a world of 2 processes"):
        init("gloo", rank=2, world_size=2)
    with pytest.raises(ValueError, match="No rendezvous handler for udp"):
        init("gloo", "udp://127.0.0.1:1", rank=0, world_size=2)
    with monkeypatch.context() as started:
        started.setenv("PMI_SIZE", "2")
        with pytest.raises(ValueError, match="take the backend 'mpi'"):
            init("gloo")
    with pytest.raises(ValueError, match="Unknown backend type 'ucc'"):
        init("ucc")
    with pytest.raises(RuntimeError, match=r"rank 0 waited 0\.2 s for ranks \[1\]"):
        init("gloo", "tcp://127.0.0.1:0", rank=0, world_size=2, timeout=0.2)
    assert not chainrule.distributed.is_initialized()


def test_spawned_processes(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        "import sys\nfrom chainrule import multiprocessing as mp\n"
        "def work(rank, folder):\n"
        "    open(f'{folder}/{rank}', 'w').close()\n"
        "if __name__ == '__main__':\n"
        "    mp.spawn(work, args=(sys.argv[1],), nprocs=2)\n"
        "    print('done')\n"
    )
    ran = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert ran.stdout == "done\n", ran.stderr
    assert {"0", "1"} <= set(os.listdir(tmp_path))


def _fails(rank):
    raise KeyError("lost")


def test_a_failed_process_tells_why():
    with pytest.raises(RuntimeError, match="KeyError: 'lost'"):
        chainrule.multiprocessing.start_processes(_fails, nprocs=1, start_method="fork")


# -- measuring --------------------------------------------------------------------------------------------------------


def flops(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter


def test_flops_of_the_lectures_bottleneck():
    # 256 channels at one position: 3 x 3 directly, or 1 x 1 down to 64, 3 x 3, 1 x 1 up; multiply-adds, two FLOPs each
    x = chainrule.ones(1, 256, 1, 1)
    direct = flops(lambda: nn.Conv2d(256, 256, 3, padding=1)(x)).get_total_flops()
    assert direct == 2 * 589_824
    small = nn.Sequential(nn.Conv2d(256, 64, 1), nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 256, 1))
    assert flops(lambda: small(x)).get_total_flops() == 2 * 69_632


def test_flops_by_hand():
    a, b = chainrule.ones(2, 3, 4), chainrule.ones(2, 4, 5)
    assert flops(lambda: a @ b).get_flop_counts() == {"Global": {"matmul": 2 * 2 * 3 * 4 * 5}}
    assert flops(lambda: chainrule.einsum("bij,bjk->bik", a, b)).get_total_flops() == 2 * 2 * 3 * 4 * 5
    counter = flops(lambda: F.linear(a, chainrule.ones(6, 4, requires_grad=True)).sum().backward())
    assert counter.get_flop_counts()["Global"] == {"linear": 288, "linear.grad": 288}
    assert "288" in counter.get_table()
    assert "apply" not in vars(chainrule.autograd.OPS["matmul"])


def test_flops_of_modules():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(4, 4)])
            self.head = nn.Sequential(nn.Linear(4, 2), nn.ReLU())

        def forward(self, x):
            return self.head(self.layers[0](self.layers[0](x)) @ chainrule.ones(4, 4))

    model, x = Twice(), chainrule.ones(3, 4)
    counter = flops(lambda: (model(x).sum().backward(), nn.Linear(1, 1)(x[:, :1])))
    once, head = 2 * 3 * 4 * 4, 2 * 3 * 4 * 2
    # backward: the first use wants the gradient of the weight alone, the second and the head that of the input, too
    assert counter.get_flop_counts() == {
        "Global": {
            "linear": 2 * once + head + 6,
            "linear.grad": 3 * once + 2 * head,
            "matmul": once,
            "matmul.grad": once,
        },
        "Twice": {"linear": 2 * once + head, "matmul": once, "linear.grad": 3 * once + 2 * head, "matmul.grad": once},
        "Twice.layers.0": {"linear": 2 * once, "linear.grad": 3 * once},
        "Twice.head": {"linear": head, "linear.grad": 2 * head},
        "Twice.head.0": {"linear": head, "linear.grad": 2 * head},
        "Linear": {"linear": 6},
    }
    named = [line.split()[0] for line in counter.get_table(depth=2).splitlines() if " - " not in line]
    assert named == ["module", "Global", "Linear", "Twice", "Twice.head"]
    assert "Twice.head.0" in counter.get_table(depth=3)
    with pytest.warns(UserWarning, match="mods argument is not needed"):
        FlopCounterMode(model)


def test_flops_after_a_module_that_failed():
    def function():
        with pytest.raises(RuntimeError):
            nn.Linear(4, 2)(chainrule.ones(1, 3))
        chainrule.ones(2, 2) @ chainrule.ones(2, 2)

    assert flops(function).get_flop_counts() == {"Global": {"matmul": 16}}


@pytest.mark.torch
def test_flops_are_pytorch_s():
    torch = pytest.importorskip("torch")
    import importlib

    totals = []
    for t in (torch, chainrule):
        counting = importlib.import_module(f"{t.__name__}.utils.flop_counter").FlopCounterMode(display=False)
        conv, up = t.nn.Conv2d(4, 8, 3, stride=2), t.nn.ConvTranspose2d(8, 4, 3)
        model, x = (
            t.nn.Sequential(conv, up, t.nn.Flatten(), t.nn.Linear(100, 3)),
            t.ones(2, 4, 8, 8, requires_grad=True),
        )
        with counting:
            model(x).sum().backward()
        totals.append({name: sum(counts.values()) for name, counts in counting.get_flop_counts().items()})
    assert totals[0] == totals[1]
    assert set(totals[0]) == {"Global", "Sequential", "Sequential.0", "Sequential.1", "Sequential.3"}


def test_profile(tmp_path):
    from chainrule.profiler import ProfilerActivity, profile, record_function, schedule

    model, x = Tiny(), chainrule.ones(4, 3)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as prof, record_function("forward"):
        model(x)
        model(x)
    entries = {e.key: e for e in prof.key_averages()}
    assert entries["linear"].count == 2
    assert entries["forward"].cpu_time_total >= entries["linear"].cpu_time_total > 0
    assert "linear" in prof.key_averages().table(sort_by="cpu_time_total", row_limit=5)
    prof.export_chrome_trace(str(tmp_path / "trace.json"))
    assert '"linear"' in (tmp_path / "trace.json").read_text()
    ready = []
    with profile(schedule=schedule(wait=1, warmup=1, active=2), on_trace_ready=ready.append) as prof:
        for _ in range(4):
            model(x)
            prof.step()
    assert len(ready) == 1
    assert {e.key: e.count for e in prof.key_averages()}["linear"] == 2
    calls = prof.events()
    assert len(calls) == sum(e.count for e in calls.key_averages()) == calls.total_average().count
    assert prof.self_cpu_time_total == pytest.approx(sum(1e6 * (e.end - e.start) for e in prof.function_events))
    assert str(calls) == prof.table()
    assert "above" in prof.table(header="above")
    prof.add_metadata("framework", "ours")
    assert prof.metadata == {"framework": "ours"}
    with chainrule.autograd.profiler.profile(enabled=False) as prof:
        model(x)
    assert not prof.events()
    with profile() as prof:
        prof.schedule = chainrule.profiler.profiler._default_schedule_fn  # as libraries put off the program's
        prof.step()
        model(x)
    assert {e.key: e.count for e in prof.key_averages()}["linear"] == 1


def test_profile_of_sizes_memory_and_what_is_within(tmp_path):
    from chainrule.profiler import profile, record_function, tensorboard_trace_handler

    model, x = nn.Linear(3, 4), chainrule.ones(2, 3)
    with profile(record_shapes=True, profile_memory=True) as prof:
        with record_function("outer"), record_function("inner"):
            model(x)
        model(x[:1])
    events = prof.events()
    assert next(e.name for e in events if e.cpu_parent is None) == "outer"
    outer, inner, linear = events[:3]
    assert (inner.cpu_parent, linear.cpu_parent, inner.cpu_children) == (outer, inner, [linear])
    assert outer.self_cpu_time_total == pytest.approx(outer.cpu_time_total - inner.cpu_time_total)
    assert outer.time_range.start <= inner.time_range.start < inner.time_range.end <= outer.time_range.end
    assert linear.input_shapes == [[2, 3], [4, 3], [4]]
    assert (linear.cpu_memory_usage, outer.cpu_memory_usage, outer.self_cpu_memory_usage) == (32, 32, 0)
    by_name = {e.key: e for e in prof.key_averages()}
    assert (by_name["linear"].count, by_name["linear"].cpu_memory_usage) == (2, 48)
    apart = [e.input_shapes[0] for e in prof.key_averages(group_by_input_shape=True) if e.key == "linear"]
    assert apart == [[2, 3], [1, 3]]
    top = events.self_cpu_time_total
    assert top == pytest.approx(sum(e.cpu_time_total for e in events if e.cpu_parent is None))
    table = prof.key_averages(group_by_input_shape=True).table(sort_by="self_cpu_memory_usage", row_limit=1)
    rule, titles, _, row, _, last = table.splitlines()
    assert set(rule) == {"-", " "}
    for title in ("Self CPU %", "CPU total", "CPU Mem", "Self CPU Mem", "# of Calls", "Input Shapes"):
        assert title in titles
    assert row.split()[0] == "linear"
    assert row.rstrip().endswith("[[2, 3], [4, 3], [4]]")
    assert last == f"Self CPU time total: {events.total_average().cpu_time_total_str}"
    assert "inner" not in prof.key_averages().table(top_level_events_only=True)
    assert "o... " in prof.key_averages().table(max_name_column_width=4)
    with pytest.raises(AttributeError, match="bogus"):
        prof.table(sort_by="bogus")
    prof.export_stacks(str(tmp_path / "stacks"))
    assert any(line.startswith("outer;inner;linear ") for line in (tmp_path / "stacks").read_text().splitlines())
    with profile(on_trace_ready=tensorboard_trace_handler(str(tmp_path / "traces"), use_gzip=True)):
        model(x)
    (packed,) = (tmp_path / "traces").iterdir()
    assert b"linear" in gzip.decompress(packed.read_bytes())
    with profile() as prof:
        model(x)
    assert "CPU Mem" not in prof.table()
    assert "Input Shapes" not in prof.table()


# -- trees ------------------------------------------------------------------------------------------------------------


def test_trees():
    from chainrule.utils._pytree import tree_flatten, tree_map, tree_map_only, tree_unflatten

    tree = {"a": [1, (2, 3)], "b": None, "c": chainrule.Size([4])}
    leaves, spec = tree_flatten(tree)
    assert leaves == [1, 2, 3, None, (4,)]
    assert tree_unflatten(leaves, spec) == tree
    assert tree_map(lambda x, y: (x, y), [1, 2], [3, 4]) == [(1, 3), (2, 4)]
    assert tree_map_only(int, lambda x: -x, {"a": 1, "b": "x"}) == {"a": -1, "b": "x"}
    with pytest.raises(ValueError, match="leaves"):
        tree_unflatten([1], spec)


def test_nodes_and_shapes_of_trees():
    from chainrule.utils import _pytree as trees

    Point = collections.namedtuple("Point", "x y")
    nodes = [
        *([1, 2], (1, 2), {"a": 1, "b": 2}, collections.OrderedDict(b=1, a=2), Point(1, 2)),
        *(collections.defaultdict(list, {"a": 1, "b": 2}), collections.deque([1, 2], maxlen=3)),
    ]
    for node in nodes:
        kind = trees._get_node_type(node)
        children, context = trees.SUPPORTED_NODES[kind].flatten_fn(node)
        assert trees.SUPPORTED_NODES[kind].unflatten_fn(children, context) == node
        leaves, spec = trees.tree_flatten(node)
        assert leaves == [1, 2]
        assert spec == trees.TreeSpec(kind, context, [trees.LeafSpec(), trees.LeafSpec()])
        assert type(trees.tree_unflatten(leaves, spec)) is type(node)
        assert not trees.tree_is_leaf(node)
    assert trees.tree_is_leaf(None)
    assert trees.tree_is_leaf([1], is_leaf=lambda x: isinstance(x, list))
    shape = trees.tree_structure({"a": [1, (2, 3)]})
    assert (
        repr(shape) == "TreeSpec(dict, ['a'], [TreeSpec(list, None, [*,\n    TreeSpec(tuple, None, [*,\n      *])])])"
    )
    assert (shape.num_leaves, shape.num_nodes, shape.child(0).num_children) == (3, 6, 2)
    assert shape != trees.tree_structure({"a": [1, [2, 3]]})
    seen = []
    assert trees.tree_map_(seen.append, nodes[0]) is nodes[0]
    assert seen == [1, 2]


def test_handles_and_generators_are_where_pytorch_has_them():
    handle = nn.Linear(1, 1).register_forward_hook(lambda *args: None)
    assert isinstance(handle, chainrule.utils.hooks.RemovableHandle)


def test_what_it_runs_on():
    import chainrule.__config__

    text = chainrule.__config__.show()
    assert text.startswith(f"chainrule {chainrule.__version__} built with:")
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in text
    assert "BLAS" in text
    assert chainrule.version.__version__ == chainrule.__version__
    assert f"get_num_threads() : {chainrule.get_num_threads()}" in chainrule.__config__.parallel_info()


@pytest.mark.torch
def test_capability_of_the_processor(torch):
    assert chainrule.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2", "AVX512")
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        assert chainrule.backends.cpu.get_cpu_capability() == torch.backends.cpu.get_cpu_capability()


def test_switches_of_logging():
    import logging

    from chainrule import _logging

    _logging.set_logs(dynamo=logging.DEBUG, graph_code=True, modules={"a.program": logging.ERROR})
    assert logging.getLogger("a.program").level == logging.ERROR
    _logging.set_logs(all=logging.INFO)
    assert logging.getLogger("chainrule").level == logging.INFO
    logging.getLogger("chainrule").setLevel(logging.NOTSET)
    with pytest.raises(ValueError, match="graph_code is a level"):
        _logging.set_logs(graph_code="yes")
    logger = _logging.getArtifactLogger("a.program", "graphs")
    said = []
    logger.addFilter(lambda record: said.append(record.getMessage()))
    logger.setLevel(logging.WARNING)
    for _ in range(2):
        _logging.warning_once(logger, "once %d", 1)
    assert said == ["once 1"]


def test_what_a_report_of_a_fault_says():
    from chainrule.utils import collect_env

    text = collect_env.get_pretty_env_info()
    assert text.startswith(f"chainrule version: {chainrule.__version__}\n")
    assert "numpy==" in text
    assert chainrule.__config__.show() in text
    assert collect_env.get_env_info().gpus == "none" or chainrule.cuda.is_available()
    ran = subprocess.run([sys.executable, "-m", "chainrule.utils.collect_env"], capture_output=True, text=True)
    here, there = (
        [line for line in t.splitlines() if not line.startswith("GPUs:")] for t in (text, ran.stdout.rstrip())
    )
    assert here == there, ran.stderr  # but for the GPUs: those of the stand-in are in one process alone
