"""Names of PyTorch beyond the ops: types of results, functions in place, second forms, seldom used methods."""

import pickle

import numpy as np
import pytest

import chainrule
from chainrule import nn, tensor
from chainrule.testing import samples


@pytest.fixture
def x():
    return tensor(samples.floats((3, 4)), requires_grad=True)


# -- types of results -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("max", lambda x: x.max(1)),
        ("min", lambda x: chainrule.min(x, dim=0)),
        ("sort", lambda x: x.sort()),
        ("topk", lambda x: x.topk(2)),
        ("median", lambda x: x.median(0)),
        ("nanmedian", lambda x: x.nanmedian(0)),
        ("mode", lambda x: x.mode()),
        ("kthvalue", lambda x: x.kthvalue(2)),
        ("cummax", lambda x: x.cummax(0)),
        ("cummin", lambda x: x.cummin(0)),
        ("aminmax", lambda x: x.aminmax(dim=0)),
        ("svd", lambda x: x.svd()),
        ("qr", lambda x: x.qr()),
        ("slogdet", lambda x: (x @ x.t()).slogdet()),
        ("linalg_slogdet", lambda x: chainrule.linalg.slogdet(x @ x.t())),
        ("linalg_svd", lambda x: chainrule.linalg.svd(x)),
        ("linalg_eigh", lambda x: chainrule.linalg.eigh(x @ x.t())),
        ("linalg_qr", chainrule.linalg.qr),
        ("linalg_lstsq", lambda x: chainrule.linalg.lstsq(x, x)),
    ],
)
def test_types_of_results(name, call, x):
    found = call(x.detach())
    kind = getattr(chainrule.return_types, name)
    assert type(found) is kind
    assert isinstance(found, tuple)
    again = pickle.loads(pickle.dumps(found))
    assert type(again) is kind
    for i, field in enumerate(kind.__match_args__):
        assert chainrule.equal(getattr(again, field), found[i])
    text = repr(found)
    assert text.startswith(f"chainrule.return_types.{name}(\n{kind.__match_args__[0]}=tensor(")


def test_a_result_prints_as_in_pytorch():
    assert repr(tensor([[1.0, 3.0]]).max(1)) == (
        "chainrule.return_types.max(\nvalues=tensor([3.]),\nindices=tensor([1]))"
    )
    with pytest.raises(AttributeError):
        chainrule.return_types.nothing  # noqa: B018


# -- faults that were -------------------------------------------------------------------------------------------------


def test_batch_norm_far_from_zero():
    """float32 data with |mean| = 200 std: the weight's gradient is not the difference of two large sums."""
    a = (100 + samples.floats((64, 3, 2, 2))).astype("float32")
    up = samples.floats(a.shape, seed=1)
    found = []
    for kind in ("float32", "float64"):
        x = tensor(a.astype(kind), requires_grad=True)
        w = chainrule.ones(3, dtype=x.dtype, requires_grad=True)
        b = chainrule.zeros(3, dtype=x.dtype, requires_grad=True)
        nn.functional.batch_norm(x, None, None, w, b, training=True).backward(tensor(up.astype(kind)))
        found.append([x.grad.numpy(), w.grad.numpy(), b.grad.numpy()])
    for single, double in zip(*found, strict=True):
        assert np.abs(single - double).max() < 1.5e-6 * np.abs(double).max()


def test_binary_cross_entropy_speaks_of_itself():
    with pytest.raises(RuntimeError, match=r"^binary_cross_entropy\(float32\[1\]\): all elements of input should be"):
        nn.functional.binary_cross_entropy(tensor([2.0]), tensor([1.0]))


def test_numpy_numbers_are_numbers():
    x = tensor([1.0, 2.0])
    for number in (np.float64(3), np.float32(3), np.int64(3)):
        for found in (x * number, number * x, number - x, x / number, x**number, chainrule.clamp(x, max=number)):
            assert type(found) is chainrule.Tensor
            assert found.dtype is chainrule.float32
    assert chainrule.full((np.int64(2),), np.float64(3)).dtype is chainrule.float32
    assert chainrule.zeros(np.int64(3)).shape == (3,)


# -- the same calls under both libraries ------------------------------------------------------------------------------

A, B = samples.floats((4, 3)), samples.floats((4, 3), seed=1)
IMAGE = samples.floats((2, 4, 3, 3), seed=2)
VECTOR = samples.floats((4,), seed=3)

#: functions of (library, conversion of an array), evaluated under both
CALLS = {
    "gradient": lambda m, t: m.gradient(t(A)),
    "gradient spacing": lambda m, t: m.gradient(t(A), spacing=(0.5, 2.0), edge_order=2),
    "gradient coordinates": lambda m, t: m.gradient(t(A), spacing=(t(np.array([0.0, 1.0, 3.0, 3.5])),), dim=0),
    "frexp": lambda m, t: m.frexp(t(A * 1000)),
    "histogram": lambda m, t: m.histogram(t(A), 5),
    "histogram density": lambda m, t: m.histogram(t(A), 4, range=(-1.0, 1.0), weight=t(np.abs(B)), density=True),
    "histogram edges": lambda m, t: t(A).histogram(t(np.array([-2.0, 0.0, 0.5, 3.0]))),
    "renorm": lambda m, t: m.renorm(t(A), 2, 0, 0.7),
    "index_reduce": lambda m, t: t(A).index_reduce(0, m.tensor([0, 2, 0]), t(B[:3]), "amax"),
    "index_reduce_": lambda m, t: t(A).index_reduce_(1, m.tensor([0, 2]), t(B[:, :2]), "prod", include_self=False),
    "split_with_sizes": lambda m, t: m.split_with_sizes(t(A), [1, 3]),
    "unsafe_chunk": lambda m, t: t(A).unsafe_chunk(2, 1),
    "narrow_copy": lambda m, t: t(A).narrow_copy(0, 1, 2),
    "nonzero_static": lambda m, t: m.nonzero_static(t(np.array([0.0, 1.0, 0.0, 2.0])), size=3),
    "angle": lambda m, t: m.angle(t(np.array([-1.0, 0.0, 2.0, np.nan, -np.inf, np.inf]))),
    "isreal": lambda m, t: m.isreal(t(A)),
    "conj": lambda m, t: t(A).conj() + m.conj(t(A)) + m.real(t(A)) + t(A).real,
    "norm_except_dim": lambda m, t: m.norm_except_dim(t(A), 2, 1),
    "nuclear_norm": lambda m, t: m.nuclear_norm(t(A)),
    "layer_norm": lambda m, t: m.layer_norm(t(A), (3,), t(A[0]), t(A[1])),
    "group_norm": lambda m, t: m.group_norm(t(IMAGE), 2, t(VECTOR), t(VECTOR)),
    "batch_norm": lambda m, t: m.batch_norm(t(IMAGE), t(VECTOR), None, None, None, True, 0.1, 1e-5, False),
    "instance_norm": lambda m, t: m.instance_norm(t(IMAGE), None, None, None, None, True, 0.1, 1e-5, False),
    "rms_norm": lambda m, t: m.rms_norm(t(A), (3,)),
    "dropout": lambda m, t: m.dropout(t(A), p=0.3, train=False),
    "bilinear": lambda m, t: m.bilinear(t(A), t(B), t(IMAGE[0, :, :, :]), t(VECTOR)),
    "embedding": lambda m, t: m.embedding(t(A), m.tensor([[1, 3], [0, 0]])),
    "embedding_bag": lambda m, t: m.embedding_bag(t(A), m.tensor([1, 3, 0]), m.tensor([0, 2]), mode=1)[0],
    "bce": lambda m, t: m.binary_cross_entropy_with_logits(t(A), t((B > 0) * 1.0), None, t(np.abs(A[0])), 2),
    "kl_div": lambda m, t: m.kl_div(t(A), t(np.abs(B)), 0),
    "poisson": lambda m, t: m.poisson_nll_loss(t(A), t(np.abs(B)), True, False, 1e-8, 1),
    "cosine_embedding": lambda m, t: m.cosine_embedding_loss(t(A), t(B), t(np.array([1.0, -1, 1, 1])), 0.1, 2),
    "hinge_embedding": lambda m, t: m.hinge_embedding_loss(t(A), t(np.sign(B))),
    "margin_ranking": lambda m, t: m.margin_ranking_loss(t(VECTOR), t(VECTOR * 2), t(np.sign(VECTOR)), 0.5),
    "triplet": lambda m, t: m.triplet_margin_loss(t(A), t(B), t(A * B)),
    "grid_sampler": lambda m, t: m.grid_sampler(t(IMAGE), t(np.tanh(IMAGE.reshape(2, 3, 6, 2))), 0, 1, False),
    "affine_grid": lambda m, t: m.affine_grid_generator(t(A[:2][None]), (1, 1, 2, 2), False),
    "max_pool1d": lambda m, t: m.max_pool1d_with_indices(t(A), 2),
    "pdist": lambda m, t: m.pdist(t(A)),
    "gru_cell": lambda m, t: m.gru_cell(t(A), t(B), t(np.tile(A[:3], (3, 1))), t(np.tile(B[:3], (3, 1)))),
    "lstm_cell": lambda m, t: m.lstm_cell(t(A), (t(B), t(A)), t(np.tile(A, (3, 1))), t(np.tile(B, (3, 1)))),
    "rnn_tanh_cell": lambda m, t: m.rnn_tanh_cell(t(A), t(B), t(A[:3]), t(B[:3]), t(A[0]), t(A[1])),
    "relu_": lambda m, t: m.relu_(t(A).clone()),
    "selu_": lambda m, t: m.selu_(t(A).clone()),
    "exp_": lambda m, t: m.exp_(t(A).clone()),
    "clamp_": lambda m, t: m.clamp_(t(A).clone(), -0.5, 0.5),
    "threshold_": lambda m, t: m.threshold_(t(A).clone(), 0.1, 20),
    "hann": lambda m, t: [m.hann_window(n, periodic=p) for n in (0, 1, 7) for p in (True, False)],
    "hamming": lambda m, t: [m.hamming_window(n, p) for n in (1, 7, 8) for p in (True, False)],
    "blackman": lambda m, t: m.blackman_window(7, dtype=m.float64),
    "bartlett": lambda m, t: [m.bartlett_window(n, p) for n in (1, 6, 7) for p in (True, False)],
    "kaiser": lambda m, t: [m.kaiser_window(n, p, 5.0, dtype=m.float64) for n in (1, 6, 7) for p in (True, False)],
    "resize_": lambda m, t: t(A).clone().resize_(2, 3),
    "set_": lambda m, t: m.empty(0, dtype=m.float64).set_(t(A)),
    "storage": lambda m, t: m.tensor(t(A)[1:].storage().tolist()),
    "storage size": lambda m, t: m.tensor([t(A)[1:].storage().size(), len(t(A).storage()), t(A).storage().nbytes()]),
    "dim_order": lambda m, t: m.tensor(t(A).t().dim_order()),
    "empty_strided": lambda m, t: m.tensor(m.empty_strided((2, 3), (1, 2)).stride()),
    "empty_permuted": lambda m, t: m.tensor(m.empty_permuted((2, 3, 5), (0, 2, 1)).stride()),
    "map_": lambda m, t: t(A).clone().map_(t(B), lambda a, b: a + 2 * b),
    "flags": lambda m, t: m.tensor([t(A).is_conj(), t(A).is_neg(), t(A).is_sparse_csr, t(A).is_inference()]),
    "views": lambda m, t: m.tensor([t(A)._is_view(), t(A)[0]._is_view(), t(A)[0].is_set_to(t(A)[1])]),
    "is_storage": lambda m, t: m.tensor([m.is_storage(t(A).untyped_storage()), m.is_storage(t(A)), m.is_signed(t(A))]),
}


def _flat(found):
    return [x for part in found for x in _flat(part)] if isinstance(found, (tuple, list)) else [found]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_as_in_pytorch(name):
    import torch

    theirs = _flat(CALLS[name](torch, torch.tensor))
    ours = _flat(CALLS[name](chainrule, tensor))
    assert len(ours) == len(theirs)
    for found, expected in zip(ours, theirs, strict=True):
        assert str(found.dtype).removeprefix("chainrule.") == str(expected.dtype).removeprefix("torch.")
        tolerance = 1e-9 if found.dtype is chainrule.float64 else 2e-6
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.torch
def test_public_names_of_pytorch():
    """What of torch and torch.Tensor is not there, by kind: quantisation, JIT, MKL, ..."""
    import torch

    kinds = (
        *("quant", "fbgemm", "mkldnn", "cudnn", "miopen", "sym_", "native_", "fused_", "fake_", "q_", "int_repr"),
        *("Type", "Script", "Graph", "JIT", "Sym", "Module", "Logger", "batch_norm_", "sspadd", "saddmm", "_copy"),
        *("row_indices", "bsr", "bsc", "csc", "ccol", "vulkan", "xla", "ipu", "mtia", "hpu", "maia", "philox"),
        *("dtensor", "nested", "zerotensor", "names", "rename", "refine", "align_", "lobpcg", "symeig", "lstsq", "eig"),
    )
    missing = {n for n in dir(torch.Tensor) if not n.startswith("_") and not hasattr(chainrule.Tensor, n)}
    assert {n for n in missing if not any(k in n for k in kinds)} <= {
        *("chalf", "geqrf", "lu", "lu_solve", "orgqr", "ormqr", "solve"),
        *("grad_dtype", "hash_tensor", "index", "qscheme", "reinforce", "resize_as", "resize_as_sparse_"),
        *("slice_inverse", "smm", "sparse_dim", "dense_dim", "sparse_resize_", "sparse_resize_and_clear_"),
        *("storage_type", "to_padded_tensor", "const_data_ptr", "polygamma_", "resize", "as_strided_scatter", "xpu"),
    }
    assert not {n for n in CALLS if n.isidentifier() and not n.startswith(("bce", "poisson")) and n in missing}


# -- messages and forms -----------------------------------------------------------------------------------------------


def test_parts_of_real_numbers(x):
    with pytest.raises(RuntimeError, match="imag is not implemented"):
        x.imag  # noqa: B018
    assert x.real is x
    assert chainrule.angle(x).grad_fn is None
    with pytest.raises(RuntimeError, match="only supported for complex tensors"):
        chainrule.view_as_real(x)


def test_gradients_of_compositions(x):
    from chainrule.testing import gradcheck

    gradcheck(lambda x: chainrule.gradient(x, edge_order=2), [x])
    gradcheck(lambda x: chainrule.renorm(x, 2, 0, 0.5), [x])
    gradcheck(lambda x: chainrule.frexp(x)[0], [x])


def test_memory_by_hand():
    t = chainrule.arange(6.0)
    s = t[2:].storage()
    s[0] = 9.0
    assert t.tolist() == [9.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert s[-1] == 5.0
    assert t.resize_(2, 2).tolist() == [[9.0, 1.0], [2.0, 3.0]]
    assert chainrule.empty(0).resize_as_(chainrule.ones(2, 3)).shape == (2, 3)
    with pytest.raises(RuntimeError, match="cannot resize"):
        chainrule.ones(2, requires_grad=True).resize_(3)
    with pytest.raises(RuntimeError, match="expected sparse"):
        t.indices()
    with pytest.raises(TypeError, match="deleting"):
        del t[0]
    base = chainrule.ones(2, 3)
    assert base[0]._base is base
    assert base._base is None


def test_dropout_at_the_root():
    chainrule.manual_seed(0)
    x = chainrule.ones(1000, 4, 2)
    for found in (chainrule.dropout(x, 0.5, True), chainrule.dropout_(x.clone(), p=0.5, train=True)):
        assert set(found.unique().tolist()) == {0.0, 2.0}
    whole = chainrule.feature_dropout(x, 0.5, True)
    assert chainrule.equal(whole[..., 0], whole[..., 1])
    assert set(whole.unique().tolist()) == {0.0, 2.0}
    assert chainrule.alpha_dropout(x, 0.5, False) is not None


def test_range_warns():
    with pytest.warns(UserWarning, match="arange"):
        assert chainrule.range(1, 3).tolist() == [1.0, 2.0, 3.0]


def test_subclasses():
    class Named(chainrule.Tensor):
        pass

    class Tagged(chainrule.Tensor):
        @staticmethod
        def __new__(cls, data, tag, **kwargs):
            return super().__new__(cls, data, **kwargs)

        def __init__(self, data, tag):
            self.tag = tag

    class Weight(chainrule.Tensor):
        @staticmethod
        def __new__(cls, data, requires_grad=True):
            return chainrule.Tensor._make_subclass(cls, data, requires_grad)

    t = chainrule.ones(2).as_subclass(Named)
    assert type(t) is Named
    assert (t + 1).tolist() == [2.0, 2.0]
    assert Named([1.0, 2.0]).tolist() == [1.0, 2.0]
    tagged = Tagged([1, 2], "tag")
    assert (tagged.tag, tagged.dtype, tagged.sum().item()) == ("tag", chainrule.float32, 3.0)
    w = Weight(chainrule.ones(2))
    (w * tagged.as_subclass(chainrule.Tensor)).sum().backward()
    assert w.grad.tolist() == [1.0, 2.0]
    assert w.is_leaf
    x = chainrule.ones(2, requires_grad=True)
    (x * 3).as_subclass(Named).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    assert not hasattr(x, "__cuda_array_interface__")


def test_a_view_by_strides_is_put_into_a_copy():
    x, part = chainrule.arange(12.0).reshape(3, 4).requires_grad_(), chainrule.full((2, 2), 5.0, requires_grad=True)
    y = chainrule.as_strided_scatter(x, part, (2, 2), (4, 1), 1)
    assert y.tolist() == [[0, 5, 5, 3], [4, 5, 5, 7], [8, 9, 10, 11]]
    (y**2).sum().backward()
    assert x.grad.tolist() == [[0, 0, 0, 6], [8, 0, 0, 14], [16, 18, 20, 22]]
    assert part.grad.tolist() == [[10, 10], [10, 10]]
    z = x.detach().as_strided_scatter(chainrule.ones(2, 2), (2, 2), (1, 2))
    assert z[0].tolist() == [1, 1, 1, 1]
    assert x[0, 0] == 0
    t = chainrule.tensor([1.0, 2.0])
    assert t.polygamma_(1) is t
    assert t.tolist() == pytest.approx([1.6449341, 0.6449341])
