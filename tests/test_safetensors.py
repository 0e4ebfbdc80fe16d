"""utils.safetensors: tensors in .safetensors files."""

import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.utils import safetensors as files

pytest.importorskip("safetensors")

KINDS = [cr.float16, cr.float32, cr.float64, cr.uint8, cr.int8, cr.int16, cr.int32, cr.int64, cr.bool]


def tensors():
    found = {str(kind): cr.tensor([[0, 1, 2], [3, 4, 5]]).to(kind) for kind in KINDS}
    found["turned"] = cr.arange(6.0).reshape(2, 3).t()
    found["strided"] = cr.arange(10)[::3]
    found["number"], found["empty"] = cr.tensor(3.5), cr.zeros(0, 3)
    found["parameter"] = nn.Parameter(cr.ones(2))
    return found


def assert_same(one, two):
    assert set(one) == set(two)
    for name, t in one.items():
        assert two[name].dtype == t.dtype
        assert two[name].shape == t.shape
        np.testing.assert_array_equal(two[name].numpy(), t.detach().numpy())


def test_round_trip(tmp_path):
    path = tmp_path / "all.safetensors"
    files.save_file(tensors(), path, {"step": "3"})
    loaded = files.load_file(path)
    assert_same(tensors(), loaded)
    assert files.metadata(path) == {"step": "3"}
    loaded["turned"].add_(1)  # the memory is the tensor's own
    loaded["parameter"].requires_grad_().sum().backward()
    assert_same(tensors(), files.load(files.save(tensors())))
    assert [p.name for p in tmp_path.iterdir()] == ["all.safetensors"]


def test_bfloat16(tmp_path):
    pytest.importorskip("ml_dtypes")
    t = cr.tensor([1.0, 2.5]).to(cr.bfloat16)
    files.save_file({"t": t}, tmp_path / "b.safetensors")
    assert_same({"t": t.float()}, {"t": files.load_file(tmp_path / "b.safetensors")["t"].float()})


def test_models(tmp_path):
    net, other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    files.save_model(net, tmp_path / "net.safetensors")
    assert files.load_model(other, tmp_path / "net.safetensors") == ([], [])
    assert_same(net.state_dict(), other.state_dict())


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.safetensors"
    files.save_file({"a": cr.ones(2)}, path)
    for bad in ({"a": 3}, {1: cr.ones(1)}, [cr.ones(1)]):
        with pytest.raises(TypeError):
            files.save_file(bad, path)
    with pytest.raises(TypeError, match="strings to strings"):
        files.save_file({"a": cr.zeros(2)}, path, {"step": 3})
    assert files.load_file(path)["a"].tolist() == [1, 1]


def test_bad_files(tmp_path, monkeypatch):
    path = tmp_path / "bad.safetensors"
    with pytest.raises(FileNotFoundError, match=r"bad.safetensors"):
        files.load_file(path)
    good = files.save({"a": cr.ones(100)})
    for content in (b"", b"hello world, this is text", good[:-9], good[:20]):
        path.write_bytes(content)
        for read in (lambda: files.load_file(path), lambda: files.load(path.read_bytes())):
            with pytest.raises(ValueError, match=r"no \.safetensors file"):
                read()
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install chainrule\[io\]"):
        files.load_file(path)


@pytest.mark.torch
def test_files_of_torch_and_for_torch(tmp_path, torch):
    from safetensors.torch import load_file, save_file

    theirs = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16), "c": torch.tensor(True)}
    save_file(theirs, tmp_path / "theirs.safetensors")
    for name, t in files.load_file(tmp_path / "theirs.safetensors").items():
        assert t.float().tolist() == theirs[name].float().tolist()
    files.save_file(tensors(), tmp_path / "ours.safetensors")
    for name, t in load_file(tmp_path / "ours.safetensors").items():
        assert t.tolist() == tensors()[name].tolist()
