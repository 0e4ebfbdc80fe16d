"""`save` and `load`: PyTorch's format, no code from files, no half-written files."""

import collections
import enum
import functools
import io
import os
import pickle
import random
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import chainrule

EXAMPLE = {
    "weights": collections.OrderedDict(
        a=chainrule.arange(6.0).reshape(2, 3), b=chainrule.ones(2, dtype=chainrule.int64)
    ),
    "step": 3,
    "rate": 1e-3,
    "name": "net",
    "none": None,
    "list": [True, (1, 2.5), b"bytes"],
    "big": 2**70,
    "turned": chainrule.arange(6).reshape(2, 3).t(),
    "empty": chainrule.zeros(0, 3),
    "number": chainrule.tensor(2.5),
    "flags": chainrule.tensor([True, False]),
    "dtype": chainrule.float16,
    "size": chainrule.Size([2, 3]),
    "device": chainrule.device("cpu"),
    "leaf": chainrule.ones(2, requires_grad=True),
    "numpy": np.float64(0.5),
}


def same(a, b):
    if isinstance(a, chainrule.Tensor):
        return (
            a.dtype == b.dtype
            and a.shape == b.shape
            and a.tolist() == b.tolist()
            and a.requires_grad == b.requires_grad
        )
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b and (type(a) is type(b) or isinstance(a, np.generic))


def written(obj):
    file = io.BytesIO()
    chainrule.save(obj, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("key", EXAMPLE)
def test_round_trip(key):
    assert same(EXAMPLE[key], chainrule.load(written(EXAMPLE[key])))


def test_a_whole_checkpoint(tmp_path):
    path = tmp_path / "net.pt"
    chainrule.save(EXAMPLE, path)
    assert same(EXAMPLE, chainrule.load(path))
    assert same(EXAMPLE, chainrule.load(str(path), map_location="cpu", weights_only=False))
    assert os.listdir(tmp_path) == ["net.pt"]


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"])
def test_dtypes(name):
    x = chainrule.tensor([0, 1, 1]).to(getattr(chainrule, name))
    assert same(x, chainrule.load(written(x)))


def test_bfloat16():
    pytest.importorskip("ml_dtypes", reason="bfloat16 needs the extra chainrule[bfloat16]")
    x = chainrule.tensor([1.5, 2.0], dtype=chainrule.bfloat16)
    assert same(x, chainrule.load(written(x)))


def test_non_leaves_and_views():
    x = chainrule.ones(3, requires_grad=True)
    back = chainrule.load(written({"made": x * 2, "view": x[1:]}))
    assert back["made"].is_leaf
    assert back["made"].requires_grad
    assert back["view"].tolist() == [1, 1]


def test_tensors_that_were_one_come_back_as_one():
    x = chainrule.zeros(1000)
    file = written({"a": x, "b": x, "alias": x.detach()})
    assert len(file.getvalue()) < 2 * x.nbytes
    back = chainrule.load(file)
    assert back["a"] is back["b"]
    back["a"].fill_(2)
    assert back["alias"][0].item() == 2
    weight = chainrule.ones(1, requires_grad=True)
    back["alias"].copy_(weight * 3)  # recorded
    assert back["a"][0].item() == 3


def test_map_location():
    file = written({"x": chainrule.ones(2)})
    for where in ("cpu", chainrule.device("cpu"), {"cpu": "cpu"}, {"cuda:0": "cpu"}, lambda memory, place: memory):
        file.seek(0)
        assert chainrule.load(file, map_location=where)["x"].device == chainrule.device("cpu")
    file.seek(0)
    with pytest.raises(RuntimeError, match="map_location='cpu'"):
        chainrule.load(file, map_location="mps")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_file_puts_no_code_into_the_program(tmp_path):
    target = str(tmp_path / "made")
    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"x": Evil(target)}, 2))
    for flag in (True, False):
        with pytest.raises(pickle.UnpicklingError, match="mkdir"):
            chainrule.load(tmp_path / "evil.pt", weights_only=flag)
    assert not os.path.exists(target)
    chainrule.save(chainrule.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(pickle.UnpicklingError, match="state_dict"):
        chainrule.load(tmp_path / "module.pt")


@pytest.mark.parametrize(
    ("offset", "shape", "steps"),
    [(0, (5,), (1,)), (2, (4,), (1,)), (0, (2, 3), (3, 1)), (3, (2,), (-1,)), (-1, (1,), (1,))],
)
def test_a_tensor_outside_its_memory_is_refused(offset, shape, steps):
    from chainrule.autograd.serialization import _Memory, _rebuild_tensor

    memory = _Memory(np.arange(4.0), chainrule.device("cpu"))
    with pytest.raises(pickle.UnpicklingError, match="outside its memory"):
        _rebuild_tensor(memory, offset, shape, steps)
    assert _rebuild_tensor(memory, 1, (2,), (2,)).tolist() == [1, 3]


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "text").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    for name in ("text", "empty.zip"):
        with pytest.raises(pickle.UnpicklingError):
            chainrule.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        chainrule.load(tmp_path / "missing")


def test_broken_files_raise_and_nothing_else_happens():
    dice = random.Random(0)
    with zipfile.ZipFile(written(EXAMPLE)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for _ in range(300):
        pkl = bytearray(parts["archive/data.pkl"])
        for _ in range(dice.randint(1, 4)):
            pkl[dice.randrange(len(pkl))] = dice.randrange(256)
        if dice.random() < 0.2:
            del pkl[dice.randrange(len(pkl)) :]
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, bytes(pkl) if name.endswith("pkl") else data)
        file.seek(0)
        try:
            chainrule.load(file)
        except (pickle.UnpicklingError, RuntimeError):
            pass


class Explodes:
    def __reduce__(self):
        raise KeyboardInterrupt


def test_an_interrupted_save_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "net.pt"
    chainrule.save({"x": chainrule.ones(2)}, path)
    with pytest.raises(KeyboardInterrupt):
        chainrule.save({"x": chainrule.zeros(2), "y": Explodes()}, path)
    assert chainrule.load(path)["x"].tolist() == [1, 1]
    assert os.listdir(tmp_path) == ["net.pt"]


def test_state_of_a_module_and_its_optimizer():
    model = chainrule.nn.Linear(3, 2)
    optimizer = chainrule.optim.Adam(model.parameters(), lr=0.1)
    model(chainrule.ones(1, 3)).sum().backward()
    optimizer.step()
    back = chainrule.load(written({"model": model.state_dict(), "optimizer": optimizer.state_dict()}))
    other = chainrule.nn.Linear(3, 2)
    other.load_state_dict(back["model"])
    assert same(dict(other.state_dict()), dict(model.state_dict()))
    again = chainrule.optim.Adam(other.parameters(), lr=0.1)
    again.load_state_dict(back["optimizer"])
    for m, o in ((model, optimizer), (other, again)):
        o.zero_grad()
        m(chainrule.ones(1, 3)).sum().backward()
        o.step()
    assert same(dict(other.state_dict()), dict(model.state_dict()))


@pytest.mark.torch
def test_torch_reads_our_files(torch, tmp_path):
    chainrule.save(EXAMPLE, tmp_path / "ours.pt")
    back = torch.load(tmp_path / "ours.pt", weights_only=True)
    assert list(back) == list(EXAMPLE)
    for key in ("turned", "empty", "number", "flags", "leaf"):
        assert back[key].tolist() == EXAMPLE[key].tolist()
    assert back["leaf"].requires_grad
    assert back["dtype"] is torch.float16
    assert back["size"] == torch.Size([2, 3])
    assert back["weights"]["a"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.torch
def test_we_read_files_of_torch(torch, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    whole = torch.arange(6.0).reshape(2, 3)
    data = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "parameter": model[0].weight,
        "views": [whole[:, 1:], whole.t()],
        "half": torch.ones(2, dtype=torch.float16),
    }
    torch.save(data, tmp_path / "theirs.pt")
    back = chainrule.load(tmp_path / "theirs.pt")
    assert back["views"][0].tolist() == [[1, 2], [4, 5]]
    assert back["views"][1].tolist() == whole.t().tolist()
    assert back["parameter"].requires_grad
    assert back["half"].dtype == chainrule.float16
    assert back["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]
    ours = chainrule.nn.Sequential(chainrule.nn.Linear(3, 2), chainrule.nn.BatchNorm1d(2))
    ours.load_state_dict(back["model"])
    np.testing.assert_array_equal(ours[0].weight.detach().numpy(), model[0].weight.detach().numpy())
    torch.save(model, tmp_path / "module.pt")
    with pytest.raises(pickle.UnpicklingError, match="state_dict"):
        chainrule.load(tmp_path / "module.pt")


# -- other classes, the older format ----------------------------------------------------------------------------------


class Net(chainrule.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = chainrule.nn.Linear(3, 2)
        self.act = chainrule.relu
        self.register_buffer("count", chainrule.zeros(1))

    def forward(self, x):
        return self.act(self.fc(x))


class Settings:
    def __init__(self):
        self.depth = 3


def test_whole_modules():
    net, x = Net(), chainrule.randn(4, 3)
    file = written(net)
    with pytest.raises(pickle.UnpicklingError, match="state_dict"):
        chainrule.load(file)
    file.seek(0)
    back = chainrule.load(file, weights_only=False)
    assert type(back) is Net
    assert chainrule.equal(back(x), net(x))
    assert [name for name, _ in back.named_parameters()] == ["fc.weight", "fc.bias"]
    assert isinstance(back.fc.weight, chainrule.nn.Parameter)
    assert list(back.state_dict()) == list(net.state_dict())


def own(x):
    return x * 3


class Colour(enum.Enum):
    RED = 1


class Free(chainrule.nn.Module):
    """A module that holds functions, classes and plain values beside tensors."""

    def __init__(self):
        super().__init__()
        self.norm = functools.partial(chainrule.nn.LayerNorm, eps=1e-3)
        self.layer, self.own, self.act, self.kind = self.norm(2), own, chainrule.nn.functional.relu, float
        self.seen, self.count, self.part, self.pick = {1, 2}, collections.Counter("aab"), slice(1, 3), max
        self.dots, self.colour = ..., Colour.RED
        self.twice = self._twice
        self.extra = chainrule.nn.utils.spectral_norm(chainrule.nn.Linear(2, 2))  # with hooks that are methods

    def _twice(self, x):
        return x + x

    def forward(self, x):
        return self.twice(self.act(self.own(self.layer(x))))


@pytest.mark.parametrize("protocol", [2, 4])
def test_modules_that_hold_functions(protocol):
    net, x = Free(), chainrule.randn(4, 2)
    file = io.BytesIO()
    chainrule.save(net, file, pickle_protocol=protocol)
    file.seek(0)
    back = chainrule.load(file, weights_only=False)
    assert chainrule.equal(back(x), net(x))
    for name in ("seen", "count", "part", "kind", "pick", "own", "dots", "colour"):
        assert getattr(back, name) == getattr(net, name)
    assert back.norm(3).eps == 1e-3
    assert back.twice.__self__ is back


def test_safe_globals():
    serialization = chainrule.serialization
    file = written({"settings": Settings()})
    with pytest.raises(pickle.UnpicklingError, match="add_safe_globals"):  # a class that is none of ours
        chainrule.load(file)
    file.seek(0)
    assert chainrule.load(file, weights_only=False)["settings"].depth == 3
    with serialization.safe_globals([Settings]):
        file.seek(0)
        assert chainrule.load(file)["settings"].depth == 3
        assert serialization.get_safe_globals() == [Settings]
    assert serialization.get_safe_globals() == []
    serialization.add_safe_globals([(Settings, f"{__name__}.Settings")])
    file.seek(0)
    assert chainrule.load(file)["settings"].depth == 3
    serialization.clear_safe_globals()


class Shell:
    def __reduce__(self):
        return os.system, ("true",)


def test_no_file_runs_code_whatever_is_asked():
    file = written(Shell())
    with pytest.raises(pickle.UnpicklingError, match="system"):
        chainrule.load(file, weights_only=False)


def test_an_optimizer_in_a_process_that_has_not_named_one(tmp_path):
    path = tmp_path / "optimizer.pt"
    net = chainrule.nn.Linear(2, 1)
    chainrule.save({"net": net, "optimizer": chainrule.optim.Adam(net.parameters(), lr=0.5)}, path)
    code = f"import chainrule; f = chainrule.load({str(path)!r}, weights_only=False); o = f['optimizer']; "
    code += "print(o.param_groups[0]['lr'], o.param_groups[0]['params'][0] is f['net'].weight)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["0.5", "True"]


class Reach:
    def __reduce__(self):
        return getattr, (Colour.RED, "__class__")


def test_no_file_reaches_through_an_object():
    file = written(Reach())
    with pytest.raises(pickle.UnpicklingError, match="getattr"):
        chainrule.load(file, weights_only=False)


def test_the_older_format():
    file = io.BytesIO()
    chainrule.save(
        {**EXAMPLE, "p": chainrule.nn.Parameter(chainrule.ones(2))}, file, _use_new_zipfile_serialization=False
    )
    file.seek(0)
    back = chainrule.load(file, map_location="cpu")
    assert same(EXAMPLE, {k: back[k] for k in EXAMPLE})
    assert isinstance(back["p"], chainrule.nn.Parameter)
    broken = io.BytesIO(file.getvalue()[:-7])
    with pytest.raises(pickle.UnpicklingError):
        chainrule.load(broken)


@pytest.mark.torch
def test_the_older_format_both_ways(torch, tmp_path):
    whole = torch.arange(6.0).view(2, 3)
    data = {"w": whole, "v": whole[0, 1:], "p": torch.nn.Parameter(torch.ones(2)), "i": torch.arange(3)}
    torch.save(data, tmp_path / "theirs.pth", _use_new_zipfile_serialization=False)
    back = chainrule.load(tmp_path / "theirs.pth")
    assert {k: v.tolist() for k, v in back.items()} == {k: v.tolist() for k, v in data.items()}
    chainrule.save(back, tmp_path / "ours.pth", _use_new_zipfile_serialization=False)
    again = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert {k: v.tolist() for k, v in again.items()} == {k: v.tolist() for k, v in data.items()}
    assert isinstance(again["p"], torch.nn.Parameter)


@pytest.mark.parametrize("zipped", [True, False])
def test_views_stay_views_of_one_memory(zipped):
    def again(obj):
        file = io.BytesIO()
        chainrule.save(obj, file, _use_new_zipfile_serialization=zipped)
        file.seek(0)
        return chainrule.load(file), len(file.getvalue())

    x = chainrule.arange(1000.0).view(10, 100)
    (whole, turned, row, tail, other), size = again([x, x.t(), x[1], x.view(-1)[150:], chainrule.ones(2)])
    assert size < 6000
    whole[1, 60] = -1
    assert [turned[60, 1].item(), row[60].item(), tail[10].item(), other.sum().item()] == [-1, -1, -1, 2]
    assert (turned.stride(), row.storage_offset()) == ((1, 100), 100)
    (front, back), _ = again([x.view(-1)[:7], x.view(-1)[5:10]])
    front[5] = -1
    assert back.tolist() == [-1, 6, 7, 8, 9]
    (one, two), _ = again([x.view(-1)[:4], x.view(-1)[:4].view(chainrule.int32)])  # of two dtypes: apart
    assert one.tolist() == [0, 1, 2, 3]
    assert two.dtype == chainrule.int32
    part, size = again(x[0, :2])
    assert part.tolist() == [0, 1]
    assert size < 1000
    image, _ = again(chainrule.ones(2, 3, 4, 5).to(memory_format=chainrule.channels_last))
    assert image.stride() == (60, 1, 15, 3)
    spread, _ = again(chainrule.arange(3).expand(2, 3))
    assert spread.tolist() == [[0, 1, 2], [0, 1, 2]]
    layers = [chainrule.nn.Linear(3, 3) for _ in range(2)]
    layers[1].weight = layers[0].weight
    (a, b), _ = again([layer.state_dict() for layer in layers])
    a["weight"][0, 0] = 7
    assert b["weight"][0, 0].item() == 7


@pytest.mark.torch
def test_pytorch_reads_views_of_one_memory(torch, tmp_path):
    for writer, reader in ((chainrule, torch), (torch, chainrule)):
        x = writer.arange(12.0).view(3, 4)
        writer.save([x, x.t(), x[1], x[:, 2:]], tmp_path / "views.pt")
        whole, turned, row, right = reader.load(tmp_path / "views.pt")
        whole[1, 3] = 99
        assert [turned[3, 1].item(), row[3].item(), right[1, 1].item()] == [99, 99, 99]
        assert turned.stride() == (1, 4)


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_whole_modules_that_pytorch_wrote(torch, zipped):
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(
        torch.nn.Conv1d(3, 4, 3, bias=False),
        torch.nn.BatchNorm1d(4),
        torch.nn.Flatten(),
        torch.nn.utils.weight_norm(torch.nn.Linear(16, 6)),
        torch.nn.ModuleDict({"rest": torch.nn.ModuleList([torch.nn.GRU(6, 5, batch_first=True)])}),
        torch.nn.MultiheadAttention(6, 2, batch_first=True),
    )
    theirs[1].register_buffer("short", torch.ones(2), persistent=False)
    file = io.BytesIO()
    torch.save({"net": theirs, "lr": 0.1}, file, _use_new_zipfile_serialization=zipped)
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match=r"torch\.nn"):
        chainrule.load(file)
    file.seek(0)
    net = chainrule.load(file, weights_only=False)["net"]
    assert repr(net) == repr(theirs)
    assert list(net.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in net.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert [n for n, _ in net.named_buffers()] == [n for n, _ in theirs.named_buffers()]
    x = np.linspace(-1, 1, 36, dtype="float32").reshape(2, 3, 6)
    outs = []
    for lib, m in ((torch, theirs), (chainrule, net)):
        h = lib.tensor(x)
        for layer in m[:4]:
            h = layer(h)
        h = h.unsqueeze(1)
        outs.append([h, m[4]["rest"][0](h)[0], m[5](h, h, h)[0]])
        sum(o.sum() for o in outs[-1]).backward()
        outs[-1] += [p.grad for p in m.parameters()]
    for ours, expected in zip(outs[1], outs[0], strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-4)


def test_public_functions_are_pickled():
    """As settings of modules, metrics and loaders, `self.activation = torch.tanh` for one."""
    namespaces = [chainrule, chainrule.nn.functional, chainrule.linalg, chainrule.fft, chainrule.special]
    for namespace in namespaces:
        names = chainrule.autograd.FUNCTIONS if namespace is chainrule else namespace.__all__
        functions = {n: getattr(namespace, n) for n in names if hasattr(namespace, n)}
        lost = []
        for name, f in functions.items():
            try:
                lost += [] if pickle.loads(pickle.dumps(f)) is f else [name]
            except (pickle.PicklingError, AttributeError):
                lost.append(name)
        assert not lost
    for method in ("add", "add_", "abs", "abs_", "float", "allclose", "mean", "is_conj"):
        f = getattr(chainrule.Tensor, method)
        assert pickle.loads(pickle.dumps(f)) is f
