"""utils.dlpack and utils.model_zoo: PyTorch's old paths."""

import sys

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
    assert model_zoo.load_url is chainrule.hub.load_state_dict_from_url
    url = "https://example.org/models/net-0123abcd.pth?raw=1"
    with pytest.raises(RuntimeError, match=r"fetch https://example\.org/.* and put it at .*net-0123abcd\.pth"):
        model_zoo.load_url(url, model_dir=str(tmp_path))
    chainrule.save({"w": chainrule.ones(2)}, tmp_path / "net-0123abcd.pth")
    assert model_zoo.load_url(url, str(tmp_path), map_location="cpu")["w"].tolist() == [1, 1]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"hub.checkpoints.other\.pth"):
        model_zoo.load_url(url, file_name="other.pth")


def test_a_bar_is_tqdms_or_stands_for_it(monkeypatch, capsys):
    assert model_zoo.tqdm is chainrule.hub.tqdm
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with model_zoo.tqdm(total=4, unit="B", unit_scale=True) as bar:
        bar.set_description("weights")
        bar.update(3)
    assert capsys.readouterr().err == "\r3.0 of 4.0\n"
    with pytest.raises(AttributeError, match="no_such_name"):
        model_zoo.no_such_name  # noqa: B018
