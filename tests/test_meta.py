"""The meta device: shapes and dtypes without elements."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest

import chainrule
import chainrule.nn.functional as F
from chainrule import nn


def meta(*shape, dtype=chainrule.float32):
    return chainrule.empty(*shape, dtype=dtype, device="meta")


x, i = meta(2, 3), meta(2, dtype=chainrule.int64)

SAME = [
    *(lambda x, i: x + 1, lambda x, i: x.double() + x, lambda x, i: x * x[0], lambda x, i: x @ x.T, lambda x, i: x > 0),
    *(lambda x, i: x.sum(0), lambda x, i: x.mean(1, keepdim=True), lambda x, i: x.max(1).indices, lambda x, i: x.std()),
    *(
        lambda x, i: x.view(-1),
        lambda x, i: x.reshape(3, 2),
        lambda x, i: x[:, 1:],
        lambda x, i: x[None].transpose(0, 2),
    ),
    *(lambda x, i: chainrule.cat([x, x], 1), lambda x, i: chainrule.stack([x, x]), lambda x, i: x.repeat(2, 2)),
    *(lambda x, i: F.softmax(x, -1), lambda x, i: F.layer_norm(x, (3,)), lambda x, i: F.cross_entropy(x, i)),
    *(
        lambda x, i: F.embedding(i, x),
        lambda x, i: x[i],
        lambda x, i: x.gather(1, i[:, None]),
        lambda x, i: x.sort().indices,
    ),
    *(lambda x, i: chainrule.where(x > 0, x, 0.0), lambda x, i: x.clamp(0, 1), lambda x, i: x.half() @ x.half().T),
    *(lambda x, i: x.to(chainrule.bfloat16), lambda x, i: chainrule.zeros_like(x), lambda x, i: x.new_ones(4)),
    *(lambda x, i: chainrule.einsum("ij,kj->ik", x, x), lambda x, i: chainrule.bmm(x[None], x.T[None])),
    *(lambda x, i: chainrule.fft.fft(x), lambda x, i: F.pad(x, (1, 1)), lambda x, i: chainrule.topk(x, 2).values),
    *(lambda x, i: x.clone().add_(1), lambda x, i: x.clone().uniform_(), lambda x, i: F.interpolate(x[None], size=6)),
    *(
        lambda x, i: F.scaled_dot_product_attention(x, x, x),
        lambda x, i: x + chainrule.tensor(1.0),
        lambda x, i: x.unfold(1, 2, 1),
    ),
    *(
        lambda x, i: F.conv1d(x[None], x[:, :2, None].expand(2, 2, 1)),
        lambda x, i: F.dropout(x),
        lambda x, i: chainrule.outer(x[0], x[1]),
    ),
]


SAME += [
    *(lambda x, i: chainrule.bernoulli(x), lambda x, i: chainrule.poisson(x), lambda x, i: chainrule.normal(x, x)),
    *(lambda x, i: chainrule.linalg.inv(x @ x.T), lambda x, i: chainrule.linalg.solve(x @ x.T, x)),
    *(
        lambda x, i: F.one_hot(i, 5),
        lambda x, i: chainrule.linalg.cholesky(x @ x.T),
        lambda x, i: chainrule.linalg.eigh(x.T @ x).eigenvectors,
    ),
    *(lambda x, i: chainrule.linalg.eigvalsh((x @ x.T).to(chainrule.complex64)),),
    *(lambda x, i: chainrule.multinomial(x, 2), lambda x, i: chainrule.multinomial(x, 4, replacement=True)),
]


@pytest.mark.parametrize("call", SAME)
def test_shapes_and_dtypes_are_those_of_the_cpu(call):
    real, found = call(chainrule.eye(2, 3), chainrule.tensor([0, 1])), call(x, i)
    assert (found.shape, found.dtype, found.device) == (real.shape, real.dtype, chainrule.device("meta"))


def test_what_a_tensor_says():
    assert repr(x) == "tensor(..., device='meta', size=(2, 3))"
    assert repr(i) == "tensor(..., device='meta', size=(2,), dtype=chainrule.int64)"
    assert f"{x.sum()}" == "tensor(..., device='meta', size=())"
    assert (x.is_meta, x.is_cpu, x.is_cuda, chainrule.ones(1).is_meta) == (True, False, False, False)
    assert (x.numel(), x.stride(), x.element_size(), len(x), x.data_ptr()) == (6, (3, 1), 4, 2, 0)
    assert meta(2, dtype=chainrule.float64).requires_grad_().sum().requires_grad


@pytest.mark.parametrize(
    "ask",
    [
        *(lambda: x.cpu(), lambda: x.tolist(), lambda: x.sum().item(), lambda: bool(x.sum()), lambda: float(x.sum())),
        *(lambda: x.numpy(force=True), lambda: chainrule.nonzero(x), lambda: x[x > 0], lambda: chainrule.equal(x, x)),
        *(lambda: x.to("cpu"), lambda: nn.Linear(2, 2, device="meta").to("cpu"), lambda: np.asarray(x)),
    ],
)
def test_values_are_refused(ask):
    with pytest.raises((NotImplementedError, TypeError), match=r"no data|numpy"):
        ask()


def test_wrong_shapes_and_devices_are_errors():
    with pytest.raises(RuntimeError, match="same device"):
        x + chainrule.ones(3)
    with pytest.raises(RuntimeError):
        x + meta(4)
    with pytest.raises(RuntimeError):
        x @ x
    with pytest.raises((RuntimeError, ValueError)):
        x.clone()[0] = meta(2)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.linear = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(16, 8)
        self.words, self.layer = nn.Embedding(10, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.recurrent, self.last = nn.LSTM(8, 8, batch_first=True), nn.LayerNorm(8)
        self.register_buffer("steps", chainrule.arange(3.0))

    def forward(self, image, words):
        h = F.adaptive_avg_pool2d(F.relu(self.norm(self.conv(image))), 2).flatten(1)
        h = self.layer(self.words(words) + self.linear(h)[:, None])
        return self.last(self.recurrent(h)[0]).mean(1).softmax(-1)


def test_a_model_without_memory():
    with chainrule.device("meta"):
        model = Net()
    assert all(t.is_meta for t in model.state_dict().values())
    assert not chainrule.empty(1).is_meta
    image, words = meta(2, 1, 8, 8), meta(2, 5, dtype=chainrule.int64)
    out = model(image, words)
    assert (out.shape, out.is_meta, out.requires_grad) == ((2, 8), True, True)
    out.sum().backward()
    assert all(p.grad.is_meta and p.grad.shape == p.shape for p in model.parameters())

    real = Net()
    image, words = chainrule.randn(2, 1, 8, 8), chainrule.randint(0, 10, (2, 5))
    real.eval()
    model.load_state_dict(real.state_dict(), assign=True)
    model.eval()
    assert chainrule.equal(model(image, words), real(image, words))
    assert isinstance(model.linear.weight, nn.Parameter)
    with chainrule.device("meta"):
        other = Net()
    other.to_empty(device="cpu").load_state_dict(real.state_dict())
    other.eval()
    assert chainrule.equal(other(image, words), real(image, words))
    assert real.to("meta").linear.weight.is_meta


def test_copying_into_a_meta_parameter_does_nothing_and_says_so():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        nn.Linear(2, 2, device="meta").load_state_dict(nn.Linear(2, 2).state_dict())
    assert [str(w.message)[:60] for w in said] == [
        "for weight: copying from a non-meta parameter in the checkpo",
        "for bias: copying from a non-meta parameter in the checkpoin",
    ]


def test_large_ones():
    with chainrule.device("meta"):
        large = nn.Linear(100_000, 100_000)
    assert large(meta(7, 100_000)).shape == (7, 100_000)
    assert copy.deepcopy(large).weight.is_meta
    assert (large.weight * 2 + 1).sigmoid().shape == (100_000, 100_000)


def test_files():
    state = nn.Linear(2, 3, device="meta").state_dict()
    file = io.BytesIO()
    chainrule.save(state, file)
    file.seek(0)
    assert chainrule.load(file)["weight"].shape == (3, 2)
    file = io.BytesIO()
    chainrule.save(nn.Linear(2, 3).state_dict(), file)
    file.seek(0)
    found = chainrule.load(file, map_location="meta")["weight"]
    assert (found.shape, found.is_meta) == ((3, 2), True)
    assert pickle.loads(pickle.dumps(x)).is_meta


def test_default_device():
    chainrule.set_default_device("meta")
    try:
        assert repr(chainrule.ones(2)) == "tensor(..., device='meta', size=(2,))"
    finally:
        chainrule.set_default_device("cpu")
    with chainrule.device("meta"):
        for make in (chainrule.rand, chainrule.randn, chainrule.zeros, chainrule.eye, chainrule.randperm):
            assert make(3).is_meta
        assert chainrule.tensor([1, 2]).is_meta
        assert chainrule.full((2,), 1).dtype == chainrule.int64
        assert chainrule.linspace(0, 1, 3).is_meta
        assert chainrule.randint(0, 3, (2,)).dtype == chainrule.int64


def test_a_tensor_on_meta_is_its_own_copy_there():
    p = chainrule.nn.Parameter(chainrule.ones(2, device="meta"))
    assert p.to("meta") is p
    assert p.to(device=chainrule.device("meta"), dtype=p.dtype) is p
    assert type(p.to("meta")) is chainrule.nn.Parameter
