"""`DTensor`, a name to ask for: PyTorch's tensor that is spread over a mesh of devices. There are none here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..autograd import Tensor

__all__ = ["DTensor", "implicit_replication"]


class DTensor(Tensor):
    """The class of no tensor: `isinstance(t, DTensor)` is False. NotImplementedError where one is made."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("there are no tensors that are spread over a mesh of devices")


@contextlib.contextmanager
def implicit_replication() -> Iterator[None]:
    """A block in which plain tensors stand beside DTensors; there are none, so it changes nothing."""
    yield
