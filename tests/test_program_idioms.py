"""Small things that training programs written for PyTorch do, each by itself."""

import argparse
import collections
import dataclasses
import datetime
import enum
import io
import os
import pathlib
import pickle
import subprocess

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


@pytest.mark.parametrize("named", [subprocess.Popen, os.system, eval, getattr], ids=lambda f: f.__name__)
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
