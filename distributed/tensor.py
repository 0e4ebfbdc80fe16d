"""`DTensor`, a name to ask for: PyTorch's tensor that is spread over a mesh of devices. There are none here."""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor

__all__ = ["DTensor"]


class DTensor(Tensor):
    """The class of no tensor: `isinstance(t, DTensor)` is False. NotImplementedError where one is made."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("there are no tensors that are spread over a mesh of devices")
