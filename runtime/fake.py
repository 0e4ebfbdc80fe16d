"""`chainrule._subclasses`, `fx.experimental`: libraries ask whether PyTorch's compiler is at work; none is here."""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor

__all__ = ["FakeTensor", "FakeTensorMode", "get_proxy_mode", "is_fake"]


class FakeTensor(Tensor):
    """The class of no tensor: shapes are traced by no compiler here."""

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("chainrule has no fake tensors: every tensor has its data")


class FakeTensorMode:
    """RuntimeError: there is no mode that makes tensors without data."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("chainrule has no fake tensors: every tensor has its data")


def is_fake(x: object) -> bool:
    """False: every tensor has its data."""
    return False


def get_proxy_mode() -> None:
    """None: no call is traced."""
