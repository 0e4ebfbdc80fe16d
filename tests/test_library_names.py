"""Names of PyTorch with an underscore, and late paths, that public model libraries use."""

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
