"""Settings of products on a GPU, which can be made without one; by PyTorch's names and with its coupling of them."""

import pytest

import chainrule
from chainrule.backends import cuda


@pytest.fixture
def matmul(monkeypatch):
    monkeypatch.setattr(cuda, "matmul", type(cuda.matmul)())
    return cuda.matmul


def test_precision_of_float32(matmul):
    read = lambda: (matmul.allow_tf32, matmul.fp32_precision, chainrule.get_float32_matmul_precision())
    assert read() == (False, "none", "highest")
    for precision, expected in [("high", (True, "tf32")), ("medium", (True, "tf32")), ("highest", (False, "ieee"))]:
        chainrule.set_float32_matmul_precision(precision)
        assert read() == (*expected, precision)
    matmul.allow_tf32 = True
    assert read() == (True, "tf32", "high")
    matmul.allow_tf32 = False
    assert read() == (False, "ieee", "highest")
    matmul.fp32_precision = "tf32"
    assert read() == (True, "tf32", "high")
    with pytest.raises(RuntimeError, match="does not support precision 'bf16'"):
        matmul.fp32_precision = "bf16"
    with pytest.raises(AttributeError, match="Unknown attribute allow_tf16"):
        matmul.allow_tf16 = True


def test_tunable(monkeypatch):
    monkeypatch.setattr(cuda, "tuning", False)
    tunable = chainrule.cuda.tunable
    assert (tunable.is_enabled(), tunable.tuning_is_enabled()) == (False, True)
    try:
        tunable.enable()
        assert cuda.tuning
        tunable.tuning_enable(False)
        assert (tunable.is_enabled(), tunable.tuning_is_enabled(), cuda.tuning) == (True, False, False)
    finally:
        tunable.enable(False)
        tunable.tuning_enable()
    assert not cuda.tuning
