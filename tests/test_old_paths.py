"""utils.dlpack and utils.model_zoo: PyTorch's old paths."""

import numpy as np
import pytest

import chainrule
from chainrule.utils import dlpack, model_zoo


def test_dlpack():
    t = chainrule.arange(3.0)
    there = dlpack.from_dlpack(dlpack.to_dlpack(t))
    t[0] = 7
    assert there.tolist() == [7, 1, 2]  # one memory
    array = np.arange(2)
    there = dlpack.from_dlpack(array)
    array[1] = 5
    assert there.tolist() == [0, 5]


def test_load_url_reads_what_was_fetched(tmp_path, monkeypatch):
    url = "https://example.org/models/net-0123abcd.pth?raw=1"
    with pytest.raises(FileNotFoundError, match=r"fetch https://example\.org/.* and put it at .*net-0123abcd\.pth"):
        model_zoo.load_url(url, model_dir=str(tmp_path))
    chainrule.save({"w": chainrule.ones(2)}, tmp_path / "net-0123abcd.pth")
    assert model_zoo.load_url(url, str(tmp_path), map_location="cpu")["w"].tolist() == [1, 1]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"hub.checkpoints.other\.pth"):
        model_zoo.load_url(url, file_name="other.pth")
