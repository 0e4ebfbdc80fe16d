"""Tensors on CUDA devices: which one, what other libraries see of them, files, random numbers, batches.

Runs under --backend=cupy (on a GPU) and --backend=fake.
"""

import copy
import io
import pickle
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.utils.data import DataLoader, TensorDataset

cupy = pytest.importorskip("cupy")
several = pytest.mark.skipif(cr.cuda.device_count() < 2, reason="there is one GPU")


@pytest.fixture(autouse=True)
def _first_device():
    yield
    cr.cuda.set_device(0)


# -- which ------------------------------------------------------------------------------------------------------------


@several
@pytest.mark.parametrize(
    "make",
    [
        lambda **o: cr.zeros(3, **o),
        lambda **o: cr.full((3,), 2.0, **o),
        lambda **o: cr.arange(3, **o),
        lambda **o: cr.tensor([1.0, 2.0, 3.0], **o),
        lambda **o: cr.as_tensor(np.ones(3), **o),
        lambda **o: cr.zeros_like(cr.ones(3), **o),
        lambda **o: cr.rand(3, **o),
        lambda **o: cr.randn(3, **o),
        lambda **o: cr.randperm(3, **o),
        lambda **o: cr.randint(0, 9, (3,), **o),
        lambda **o: cr.eye(3, **o),
        lambda **o: cr.linspace(0, 1, 3, **o),
        lambda **o: cr.empty(3, **o).normal_(),
        lambda **o: nn.Linear(3, 3, **o).weight,
        lambda **o: cr.ones(3).to(o["device"]),
        lambda **o: cr.ones(3).cuda(o["device"]),
        lambda **o: cr.ones(3, device="cuda:0").to(o["device"]),
    ],
)
def test_tensors_are_where_they_were_asked_for(make):
    for name, current in (("cuda:1", 0), ("cuda:0", 1), ("cuda:1", 1)):
        cr.cuda.set_device(current)
        t = make(device=name)
        assert str(t.device) == name
        assert t.get_device() == int(name[-1])
        assert t.array.device.id == int(name[-1])
        u = (t * 2 + t).sum() if t.dtype != cr.int64 else t + 1
        assert str(u.device) == name, "results stay with their operands, whichever device is current"
    assert str(cr.zeros_like(make(device="cuda:1")).device) == "cuda:1"


@several
def test_the_current_device():
    assert cr.cuda.current_device() == 0
    assert str(cr.ones(1, device="cuda").device) == "cuda:0"
    with cr.cuda.device(1):
        assert cr.cuda.current_device() == 1
        assert str(cr.ones(1, device="cuda").device) == "cuda:1"
        assert str(cr.ones(1).cuda().device) == "cuda:1"
        assert str(cr.ones(1, device="cuda:0").to("cuda").device) == "cuda:1"
        with cr.cuda.device("cuda:0"):
            assert cr.cuda.current_device() == 0
    assert cr.cuda.current_device() == 0
    with cr.cuda.device_of(cr.ones(1, device="cuda:1")):
        assert cr.cuda.current_device() == 1
    with cr.device("cuda:1"):
        assert str(cr.ones(2).device) == "cuda:1"
        assert str(cr.tensor([1.0]).device) == "cuda:1"
    cr.cuda.set_device("cuda:1")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(cr.cuda.current_device()))
    thread.start()
    thread.join()
    assert seen == [0], "each thread has its own"


def test_a_device_that_is_not_there():
    with pytest.raises(RuntimeError, match=r"cuda:77.*the last one of this machine is cuda:"):
        cr.ones(1, device="cuda:77")
    with pytest.raises(RuntimeError, match="cuda:77"):
        cr.cuda.set_device(77)


@several
def test_two_gpus_do_not_mix():
    a, b = cr.ones(3, device="cuda:0", requires_grad=True), cr.ones(3, device="cuda:1")
    for f in (lambda: a + b, lambda: a @ b, lambda: cr.cat([a, b]), lambda: nn.functional.mse_loss(a, b)):
        with pytest.raises(RuntimeError, match=r"at least two devices, cuda:1 and cuda:0!"):
            f()


@several
@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_go_from_gpu_to_gpu(create_graph):
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    w = cr.tensor([3.0, 4.0], device="cuda:1", requires_grad=True)
    loss = (((x.cuda(0) ** 2).to("cuda:1") * w).cpu() * x).sum()
    gx, gw = cr.autograd.grad(loss, (x, w), create_graph=create_graph)
    assert str(gx.device) == "cpu"
    assert str(gw.device) == "cuda:1"
    assert gx.tolist() == [9.0, 48.0]
    assert gw.tolist() == [1.0, 8.0]


@several
def test_a_model_in_two_parts_trains():
    cr.manual_seed(0)
    first, second = nn.Linear(4, 8).to("cuda:0"), nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 2)).to("cuda:1")
    optimizer = cr.optim.AdamW([*first.parameters(), *second.parameters()], lr=0.05)
    x, y = cr.randn(16, 4), cr.arange(16) % 2
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(second(first(x.cuda(0)).relu().to("cuda:1")), y.to("cuda:1"))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert {str(p.grad.device) for p in second.parameters()} == {"cuda:1"}


# -- other libraries --------------------------------------------------------------------------------------------------


def test_arrays_of_cupy_are_shared():
    a = cupy.asarray([[1.0, 2.0], [3.0, 4.0]])
    t = cr.as_tensor(a)
    assert t.array is a
    assert cr.asarray(a).array is a
    t += 1
    assert a.tolist() == [[2.0, 3.0], [4.0, 5.0]]
    a *= 10
    assert t.tolist() == [[20.0, 30.0], [40.0, 50.0]]
    assert cr.tensor(a).array is not a
    assert str(cr.as_tensor(a, device="cpu").device) == "cpu"
    assert isinstance(t.array, cupy.ndarray)


def test_interfaces():
    t = cr.ones(2, 3, device="cuda")
    found = t.T.__cuda_array_interface__
    assert found["shape"] == (3, 2)
    assert found["data"][0] == t.data_ptr()
    assert t.__dlpack_device__() == (2, 0)
    again = cr.from_dlpack(t)
    again.fill_(5.0)
    assert t.tolist() == [[5.0] * 3] * 2
    assert str(cr.from_dlpack(cupy.asarray([1.0])).device) == "cuda:0"
    with pytest.raises(AttributeError, match="non-CUDA tensor"):
        cr.ones(2).__cuda_array_interface__  # noqa: B018
    with pytest.raises(BufferError, match="require gradient"):
        cr.ones(2, device="cuda", requires_grad=True).__dlpack__()


def test_numpy_needs_a_copy():
    t = cr.ones(2, device="cuda")
    text = (
        r"can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu\(\) to copy the tensor to host memory first."
    )
    for read in (lambda: t.numpy(), lambda: np.asarray(t), lambda: np.percentile(t, 50)):
        with pytest.raises(TypeError, match=text):
            read()
    assert t.numpy(force=True).tolist() == t.cpu().numpy().tolist() == [1, 1]
    assert t.tolist() == [1, 1]
    assert isinstance(np.exp(t), cr.Tensor)


def test_printing():
    t = cr.tensor([1.0, 2.0], device="cuda")
    assert repr(t) == "tensor([1., 2.], device='cuda:0')"
    assert repr(t.requires_grad_()) == "tensor([1., 2.], device='cuda:0', requires_grad=True)"
    assert repr(t.sum()) == "tensor(3., device='cuda:0', grad_fn=<SumBackward0>)"
    assert str(t.type()) == "chainrule.cuda.FloatTensor"
    assert repr(t.device) == "device(type='cuda', index=0)"


# -- files ------------------------------------------------------------------------------------------------------------


def saved(thing):
    file = io.BytesIO()
    cr.save(thing, file)
    file.seek(0)
    return file


def test_files_and_where_they_load():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).cuda()
    state = saved(model.state_dict())
    for where, expected in ((None, "cuda:0"), ("cpu", "cpu"), ("cuda", "cuda:0"), ({"cuda:0": "cpu"}, "cpu")):
        state.seek(0)
        loaded = cr.load(state, map_location=where)
        assert {str(t.device) for t in loaded.values()} == {expected}
        for name, t in loaded.items():
            assert t.tolist() == model.state_dict()[name].tolist()
    state.seek(0)
    assert str(cr.load(state, map_location=lambda memory, place: memory)["0.weight"].device) == "cpu"
    host = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state.seek(0)
    host.load_state_dict(cr.load(state))  # copied to where the parameters are
    assert host[0].weight.device == cr.device("cpu")
    optimizer = cr.optim.Adam(model.parameters())
    model(cr.ones(4, 2, device="cuda")).sum().backward()
    optimizer.step()
    other = cr.optim.Adam(host.parameters())
    other.load_state_dict(optimizer.state_dict())
    assert str(other.state[host[0].weight]["exp_avg"].device) == "cpu"


def test_pickle_and_copy():
    t = cr.tensor([1.0, 2.0], device="cuda", requires_grad=True)
    for u in (pickle.loads(pickle.dumps(t)), copy.deepcopy(t), copy.copy(t)):
        assert u.tolist() == t.tolist()
        assert u.device == t.device
        assert u.requires_grad
    model = copy.deepcopy(nn.Linear(2, 2).cuda())
    assert model.weight.is_cuda


# -- random numbers ---------------------------------------------------------------------------------------------------


def test_generators():
    g = cr.Generator("cuda").manual_seed(3)
    a = cr.randn(5, generator=g, device="cuda")
    state = g.get_state()
    b = cr.randn(5, generator=g, device="cuda")
    g.set_state(state)
    assert cr.randn(5, generator=g, device="cuda").tolist() == b.tolist() != a.tolist()
    with pytest.raises(RuntimeError, match="generator"):
        cr.randn(5, generator=cr.Generator(), device="cuda")
    cr.manual_seed(7)
    first = cr.rand(3, device="cuda").tolist()
    cr.manual_seed(7)
    assert cr.rand(3, device="cuda").tolist() == first
    cr.cuda.manual_seed(7)
    assert cr.rand(3, device="cuda").tolist() == first
    kept = cr.cuda.get_rng_state()
    drawn = cr.rand(3, device="cuda").tolist()
    cr.cuda.set_rng_state(kept)
    assert cr.rand(3, device="cuda").tolist() == drawn


@several
def test_each_device_has_its_generator():
    cr.manual_seed(1)
    a, b = (cr.rand(3, device=f"cuda:{i}").tolist() for i in (0, 1))
    assert a == b, "the same seed on both, as in PyTorch"
    states = cr.cuda.get_rng_state_all()
    assert len(states) == cr.cuda.device_count()
    c = cr.rand(3, device="cuda:0").tolist()
    d = cr.rand(3, device="cuda:1").tolist()
    assert c == d != a
    with cr.cuda.device(1):
        cr.cuda.manual_seed(9)
    assert cr.rand(3, device="cuda:0").tolist() != cr.rand(3, device="cuda:1").tolist()
    cr.cuda.set_rng_state_all(states)
    assert cr.rand(3, device="cuda:1").tolist() == c
    with pytest.raises(RuntimeError, match="cuda:1"):
        cr.randn(5, generator=cr.Generator("cuda:0"), device="cuda:1")


# -- memory of the host -----------------------------------------------------------------------------------------------


def test_pinned_memory():
    t = cr.arange(6.0).reshape(2, 3)
    p = t.pin_memory()
    assert p.is_pinned()
    assert p[:, 1:].is_pinned()
    assert not t.is_pinned()
    assert p.pin_memory() is p
    assert p.tolist() == t.tolist()
    for soon in (False, True):
        assert p.to("cuda", non_blocking=soon).tolist() == t.tolist()
        assert p.cuda(non_blocking=soon).tolist() == t.tolist()
    assert cr.zeros(3, pin_memory=True).is_pinned()
    assert cr.tensor([1.0], pin_memory=True, requires_grad=True).requires_grad
    assert not cr.ones(2, device="cuda").is_pinned()
    with pytest.raises(RuntimeError, match="cannot pin"):
        cr.ones(2, device="cuda").pin_memory()


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_in_pinned_memory(workers):
    data = TensorDataset(cr.arange(10.0), cr.arange(10))
    for x, y in DataLoader(data, 5, pin_memory=True, num_workers=workers):
        assert x.is_pinned()
        assert y.is_pinned()
        assert x.to("cuda", non_blocking=True).sum().item() == x.sum().item()


def test_an_optimizers_whole_step_stays_on_the_gpu():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2)).cuda()
    for make in (cr.optim.SGD, cr.optim.Adam, cr.optim.AdamW, cr.optim.RMSprop):
        optimizer = make(model.parameters(), lr=0.01)
        optimizer.zero_grad()
        model(cr.randn(2, 2, 3, 3, device="cuda")).square().sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        assert all(p.is_cuda and p.grad.is_cuda for p in model.parameters())
