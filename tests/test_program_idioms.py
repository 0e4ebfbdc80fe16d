"""Small things that training programs written for PyTorch do, each by itself."""

import argparse
import collections
import copy
import dataclasses
import datetime
import enum
import io
import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

import chainrule


def test_numpy_of_a_parameter_outside_of_the_recording():
    w = chainrule.ones(3, requires_grad=True)
    with chainrule.no_grad():
        w.numpy()[0] = 5.0
        assert np.asarray(w).tolist() == [5, 1, 1]
        assert np.array(w, copy=True).tolist() == [5, 1, 1]
    with pytest.raises(RuntimeError, match="requires grad"):
        w.numpy()
    with pytest.raises(RuntimeError, match="requires grad"):
        np.array(w)


@dataclasses.dataclass
class Settings:
    """A program's own class, in no way ours."""

    width: int = 3
    name: str = "net"


class Kind(enum.Enum):
    SMALL = 1


Pair = collections.namedtuple("Pair", "x y")

CHECKPOINT = {
    "array": np.arange(6.0).reshape(2, 3),
    "words": np.array(["a", "bc"]),
    "kind": np.dtype("float32"),
    "settings": Settings(width=5),
    "options": argparse.Namespace(lr=0.1),
    "size": Kind.SMALL,
    "pair": Pair(1, 2),
    "path": pathlib.PurePosixPath("a/b"),
    "when": datetime.date(2020, 1, 2),
    "recent": collections.deque([1, 2], maxlen=3),
}


@pytest.mark.parametrize("key", CHECKPOINT)
def test_checkpoint_of_more_than_tensors(key):
    file = io.BytesIO()
    chainrule.save({key: CHECKPOINT[key], "w": chainrule.ones(2)}, file)
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError):
        chainrule.load(file)
    file.seek(0)
    back = chainrule.load(file, weights_only=False)
    assert type(back[key]) is type(CHECKPOINT[key])
    assert np.array_equal(back[key], CHECKPOINT[key]) if key in ("array", "words") else back[key] == CHECKPOINT[key]


@pytest.mark.parametrize("named", [subprocess.Popen, os.system, eval, setattr], ids=lambda f: f.__name__)
def test_checkpoint_names_nothing_that_acts(named):
    file = io.BytesIO()
    chainrule.save({"f": named}, file)
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match=named.__name__):
        chainrule.load(file, weights_only=False)


class SparseProduct(chainrule.autograd.Function):
    """Sparse matrix (positions, values) times matrix, with the sparse matrix kept for backward."""

    @staticmethod
    def forward(ctx, positions, values, size, b):
        a = chainrule.sparse_coo_tensor(positions, values, size)
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    def backward(ctx, grad):
        a, b = ctx.saved_tensors
        row, column = a._indices()
        return None, (grad @ b.T)[row, column], None, a.t() @ grad


def test_function_that_keeps_a_sparse_tensor():
    positions = chainrule.tensor([[0, 1, 1], [2, 0, 1]])
    values = chainrule.tensor([1.0, 2.0, 3.0], requires_grad=True)
    b = chainrule.arange(6.0).reshape(3, 2).requires_grad_()
    SparseProduct.apply(positions, values, (2, 3), b).pow(2).sum().backward()
    got = values.grad, b.grad
    values.grad = b.grad = None
    dense = chainrule.zeros(2, 3).index_put((positions[0], positions[1]), values)
    (dense @ b).pow(2).sum().backward()
    assert chainrule.equal(got[0], values.grad)
    assert chainrule.equal(got[1], b.grad)
    out = SparseProduct.apply(positions, values, (2, 3), b).sum()
    with chainrule.no_grad():
        b.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        out.backward()


class Measured(chainrule.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = chainrule.nn.Parameter(chainrule.tensor([2.0, 3.0]))
        self.register_parameter("shift", None)
        self.register_buffer("seen", chainrule.zeros(1))
        self.register_buffer("scratch", chainrule.zeros(1), persistent=False)

    def forward(self, x):
        return self.scale * x


def test_tensors_that_ops_made_take_the_place_of_parameters():
    net = Measured()
    lr = chainrule.tensor(0.5, requires_grad=True)
    net(chainrule.ones(2)).pow(2).sum().backward()
    moved = net.scale.detach() - lr * net.scale.grad  # [2 - 4 lr, 3 - 6 lr]
    net._parameters["scale"] = moved
    assert dict(net.named_parameters()) == {"scale": moved}
    assert "scale" in net._parameters
    assert net._parameters["scale"] is net.scale is moved
    assert list(net.state_dict()) == ["scale", "seen"]
    net(chainrule.ones(2)).sum().backward()
    assert lr.grad == -10
    with pytest.raises(TypeError, match="cannot assign"):
        net.scale = chainrule.ones(2)
    net.scale = chainrule.nn.Parameter(chainrule.ones(2))
    assert next(iter(net.parameters())) is net.scale


def test_a_program_copies_a_module_by_its_dict():
    net = Measured()
    clone = Measured.__new__(Measured)
    clone.__dict__ = net.__dict__.copy()
    for kind in ("_parameters", "_buffers", "_modules"):
        setattr(clone, kind, getattr(clone, kind).copy())
    for name, value in clone._parameters.items():
        clone._parameters[name] = None if value is None else value * 1
    for name, value in clone._buffers.items():
        clone._buffers[name] = value + 1
    assert net.scale.is_leaf
    assert not clone.scale.is_leaf
    assert (float(net.seen), float(clone.seen)) == (0, 1)
    for module in (net, clone):
        assert list(module._parameters) == ["scale", "shift"]
        assert list(module.state_dict()) == ["scale", "seen"]
        assert set(module._buffers) == {"seen", "scratch"}
    del clone._buffers["seen"]
    clone.seen = 5
    assert list(net.state_dict()) == ["scale", "seen"]
    clone(chainrule.ones(2)).sum().backward()
    assert net.scale.grad.tolist() == [1, 1]


def adds(net, step):
    """In a process of its own: writes into the network's weights, by an optimizer and directly."""
    optimizer = chainrule.optim.SGD(net.parameters(), lr=step)
    net(chainrule.ones(1, 3)).sum().backward()
    optimizer.step()
    with chainrule.no_grad():
        net.bias += 10


@pytest.mark.skipif(sys.platform == "win32", reason="no descriptors of memory to hand on")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_train_one_network(method):
    net = chainrule.nn.Linear(3, 2)
    assert not net.weight.is_shared()
    before = net.weight.detach().clone(), net.bias.detach().clone()
    assert net.share_memory() is net
    assert net.weight.is_shared()
    assert chainrule.equal(net.weight, before[0])
    context = chainrule.multiprocessing.get_context(method)
    for step in (1.0, 0.5):
        process = context.Process(target=adds, args=(net, step))
        process.start()
        process.join()
        assert process.exitcode == 0
    assert chainrule.allclose(net.weight, before[0] - 1.5)
    assert chainrule.allclose(net.bias, before[1] - 1.5 + 20)


def test_shared_memory_and_copies_of_it():
    x = chainrule.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=chainrule.channels_last)
    want, stride = x.clone(), x.stride()
    x.share_memory_()
    assert chainrule.equal(x, want)
    assert x.stride() == stride
    assert x[0, 1].is_shared()
    for same in (x.clone(), pickle.loads(pickle.dumps(x)), x + 0):
        assert chainrule.equal(same, want)
        assert not same.is_shared()
    assert chainrule.empty(0).share_memory_().shape == (0,)
    assert chainrule.tensor(3).share_memory_().is_shared()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there a warning of Python's must be kept from sight")
def test_a_warning_is_shown_once_whatever_workers_are_started():
    program = """
import warnings
import chainrule

for epoch in range(2):
    warnings.warn("said once")
    for batch in chainrule.utils.data.DataLoader(list(range(4)), num_workers=1):
        pass
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    assert told.count("said once") == 1


def test_compiled_module():
    net = chainrule.nn.Sequential(chainrule.nn.Linear(2, 3), chainrule.nn.Dropout())
    net.tag = 3
    compiled = chainrule.compile(net)
    assert repr(compiled).startswith("OptimizedModule(\n  (_orig_mod): Sequential(\n    (0): Linear(")
    assert list(compiled.state_dict()) == ["_orig_mod.0.weight", "_orig_mod.0.bias"]
    assert compiled._orig_mod is net
    assert compiled.tag == 3
    compiled.tag = 4
    assert net.tag == 4
    compiled.eval()
    assert not net.training
    assert not compiled.training
    calls = []
    net.register_forward_hook(lambda *args: calls.append("hook"))
    x = chainrule.ones(1, 2)
    compiled(x).sum().backward()
    assert calls == ["hook"]
    assert compiled.get_parameter("_orig_mod.0.weight").grad is net[0].weight.grad is not None
    compiled.zero_grad()
    assert net[0].weight.grad is None
    compiled.load_state_dict(compiled.state_dict())
    for copied in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(chainrule.compile(chainrule.nn.Linear(2, 3))))):
        assert type(copied) is type(compiled)
        assert copied(x).shape == (1, 3)
    with pytest.raises(AttributeError, match="missing"):
        compiled.missing  # noqa: B018
    assert chainrule.compile(compiled) is compiled
