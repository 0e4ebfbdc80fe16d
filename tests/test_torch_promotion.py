"""The promotion tables against PyTorch itself."""

import pytest
from test_promotion import NAMES, SCALARS, TENSORS, ZERO_DIM, table

pytestmark = pytest.mark.torch


def name_of(result):
    return str(result.dtype).removeprefix("torch.")


@pytest.mark.parametrize(("a", "b", "expected"), table(TENSORS))
def test_two_tensors(torch, a, b, expected):
    for shape in ((2,), ()):
        x, y = (torch.ones(shape, dtype=getattr(torch, n)) for n in (a, b))
        assert name_of(x + y) == expected


@pytest.mark.parametrize(("a", "b", "expected"), table(ZERO_DIM))
def test_zero_dim(torch, a, b, expected):
    assert name_of(torch.ones((), dtype=getattr(torch, a)) * torch.ones(2, dtype=getattr(torch, b))) == expected


@pytest.mark.parametrize("number", SCALARS)
def test_python_numbers(torch, number):
    for shape in ((2,), ()):
        found = [name_of(torch.ones(shape, dtype=getattr(torch, n)) * number) for n in NAMES]
        assert found == SCALARS[number].split()


def test_division(torch):
    for name in NAMES:
        x = torch.ones(2, dtype=getattr(torch, name))
        expected = name if x.dtype.is_floating_point else "float32"
        assert name_of(x / x) == name_of(x / 2) == expected
