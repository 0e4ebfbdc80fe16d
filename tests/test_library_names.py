"""Names of PyTorch with an underscore, and late paths, that public model libraries use."""

import inspect

import pytest

import chainrule
from chainrule import tensor


def test_checks():
    chainrule._assert(True, "")
    with pytest.raises(AssertionError, match="a size"):
        chainrule._assert(False, "a size")
    chainrule._check(True)
    for name, error in {
        "_check": RuntimeError,
        "_check_index": IndexError,
        "_check_value": ValueError,
        "_check_type": TypeError,
        "_check_not_implemented": NotImplementedError,
    }.items():
        with pytest.raises(error, match="why"):
            getattr(chainrule, name)(False, lambda: "why")
    with pytest.raises(RuntimeError, match="Expected cond"):
        chainrule._check(False)
    with pytest.raises(TypeError, match="callable"):
        chainrule._check(False, "why")
    with pytest.raises(TypeError, match="Tensor"):
        chainrule._check(tensor(True))
    with pytest.raises(TypeError, match="bool"):
        chainrule._check(1)
    with pytest.raises(KeyError):
        chainrule._check_with(KeyError, False, lambda: "why")
    chainrule._check_is_size(3, max=3)
    with pytest.raises(RuntimeError):
        chainrule._check_is_size(-1)
    chainrule._check_tensor_all(tensor([True, True]))
    with pytest.raises(RuntimeError, match="why"):
        chainrule._check_tensor_all(tensor([True, False]), lambda: "why")
    with pytest.raises(KeyError):
        chainrule._check_tensor_all_with(KeyError, tensor([False]))
    with pytest.raises(TypeError, match="bools"):
        chainrule._check_tensor_all(tensor([1.0]))
    chainrule._assert_async(tensor(1))
    with pytest.raises(RuntimeError, match="why"):
        chainrule._assert_async(tensor(0), "why")
    assert not [name for name in chainrule.__all__ if name.startswith("_")]


def test_types_for_torchscript():
    from chainrule.jit.annotations import BroadcastingList2, List, Optional

    def forward(size: BroadcastingList2[int], xs: Optional[List[int]] = None):
        return size

    assert forward.__annotations__["size"] is None


_A = tensor([[2.0, 1.0, 0.5], [1.0, 3.0, 0.0], [0.5, 0.0, 1.0]])
_V = tensor([1.0, -2.0, 3.0])


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("addmm", (_A, _A, _A)),
        ("mm", (_A, _A)),
        ("mv", (_A, _V)),
        ("dot", (_V, _V)),
        ("outer", (_V, _V)),
        ("bmm", (_A[None], _A[None])),
        ("cat", ([_A, _A], 1)),
        ("stack", ([_A, _A],)),
        ("max", (_A, 1)),
        ("min", (_A, _A.t().contiguous())),
        ("sort", (_V,)),
        ("topk", (_A, 2)),
        ("var", (_A, 0)),
        ("where", (_A > 1, _A, -_A)),
        ("masked_select", (_A, _A > 1)),
        ("diag", (_V,)),
        ("linalg.norm", (_A,)),
        ("linalg.solve", (_A, _V)),
        ("linalg.eigh", (_A,)),
    ],
)
def test_results_are_put_where_out_says(name, args):
    function = chainrule
    for part in name.split("."):
        function = getattr(function, part)
    want = function(*args)
    if isinstance(want, tuple):
        out = tuple(chainrule.empty_like(w) for w in want)
        found = function(*args, out=out)
        assert isinstance(found, type(want))
        assert all(f is o for f, o in zip(found, out, strict=True))
        assert all(chainrule.equal(o, w) for o, w in zip(out, want, strict=True))
    else:
        out = chainrule.empty_like(want)
        assert function(*args, out=out) is out
        assert chainrule.equal(out, want)
    assert "out" in inspect.signature(function).parameters


def test_out_may_be_an_operand():
    a = _A.clone()
    chainrule.addmm(a, a, a.mT, beta=0.5, out=a)
    assert chainrule.equal(a, chainrule.addmm(_A, _A, _A.mT, beta=0.5))
    with pytest.raises(RuntimeError, match="automatic differentiation"):
        chainrule.mm(_A.clone().requires_grad_(), _A, out=a)


# -- for optimizers written outside -----------------------------------------------------------------------------------


def test_helpers_of_optimizers():
    from chainrule.optim.optimizer import (
        Optimizer,
        _default_to_fused_or_foreach,
        _dispatch_sqrt,
        _get_scalar_dtype,
        _get_value,
        _to_scalar,
        _use_grad_for_differentiable,
    )

    assert _get_value(tensor(2.5)) == _get_value(2.5) == 2.5
    assert _to_scalar(tensor([3.0])).shape == ()
    assert _dispatch_sqrt(4.0) == _dispatch_sqrt(tensor(4.0)) == 2
    assert _get_scalar_dtype() is chainrule.float32
    assert _default_to_fused_or_foreach([_A], False) == (False, False)
    assert _default_to_fused_or_foreach([_A], False, use_fused=True) == (True, False)
    assert _default_to_fused_or_foreach([_A], True, use_fused=True) == (False, False)

    class Descent(Optimizer):
        def __init__(self, params, differentiable=False):
            super().__init__(params, {"differentiable": differentiable})

        @_use_grad_for_differentiable
        def step(self, closure=None):
            recorded.append(chainrule.is_grad_enabled())

    recorded = []
    p = chainrule.nn.Parameter(_V.clone())
    Descent([p]).step()
    Descent([p], differentiable=True).step()
    assert recorded == [False, True]
    assert chainrule.is_grad_enabled()


def test_tensors_by_device_and_dtype():
    single, double = _V, _V.double()
    group = chainrule.optim.Optimizer._group_tensors_by_device_and_dtype
    assert group([[], []]) == {}
    found = group([[single, double, single], [None, double, single]], with_indices=True)
    assert [(str(device), dtype) for device, dtype in found] == [("cpu", chainrule.float32), ("cpu", chainrule.float64)]
    (lists, indices), (others, last) = found.values()
    assert indices == [0, 2]
    assert last == [1]
    assert lists[0][1] is single
    assert lists[1][0] is None
    assert others == [[double], [double]]
    assert group([[single]])[single.device, single.dtype] == ([[single]], [])
    from chainrule.utils import _foreach_utils

    assert _foreach_utils._group_tensors_by_device_and_dtype([[single]]) == group([[single]])
    assert _foreach_utils._has_foreach_support([single, None], single.device)
    assert not _foreach_utils._has_foreach_support([chainrule.nn.Parameter(single)], single.device)
    assert "cpu" in _foreach_utils._get_fused_kernels_supported_devices()


def test_order_of_products_is_einsums_own():
    import chainrule.backends.opt_einsum

    assert not chainrule.backends.opt_einsum.is_available()
    assert not chainrule.backends.opt_einsum.enabled
    assert chainrule.backends.opt_einsum.get_opt_einsum() is chainrule.backends.opt_einsum.strategy is None


def test_keywords_of_splits():
    x = chainrule.arange(64.0).reshape(4, 4, 4)

    def same(found, want):
        return len(found) == len(want) and all(map(chainrule.equal, found, want))

    for name in ("tensor_split", "hsplit", "vsplit", "dsplit"):
        for split, first in ((getattr(chainrule, name), (x,)), (getattr(x, name), ())):
            assert same(split(*first, sections=2), split(*first, 2))
            assert same(split(*first, indices=(1,)), split(*first, (1,)))
    assert same(chainrule.tensor_split(x, indices=(1,), dim=2), (x[..., :1], x[..., 1:]))
    assert same(x.tensor_split(tensor_indices_or_sections=tensor(2), axis=1), (x[:, :2], x[:, 2:]))
    assert same(x.split(split_size=3), (x[:3], x[3:]))
    assert same(x.split_with_sizes(split_sizes=[1, 3], dim=1), (x[:, :1], x[:, 1:]))


def test_keywords_of_gather_and_swapaxes():
    x, index = chainrule.arange(6.0).reshape(2, 3).requires_grad_(), tensor([[0, 2], [1, 1]])
    want = chainrule.gather(x, 1, index)
    assert chainrule.equal(chainrule.gather(x, dim=1, index=index, sparse_grad=False), want)
    x.gather(1, index, sparse_grad=True).sum().backward()
    assert x.grad.tolist() == [[1, 0, 1], [0, 2, 0]]
    assert chainrule.equal(chainrule.swapaxes(x, axis0=0, axis1=1), x.t())
    assert chainrule.equal(x.swapaxes(axis0=0, axis1=1), x.t())
    assert x.detach().swapaxes_(axis0=0, axis1=1).shape == (3, 2)


def test_nothing_is_traced():
    assert chainrule._C._is_tracing() is False
    assert chainrule._C._get_tracing_state() is None
