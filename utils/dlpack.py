"""DLPack under PyTorch's old path: `from_dlpack` and `to_dlpack`."""

from __future__ import annotations

from typing import Any

from ..autograd import FUNCTIONS, Tensor

__all__ = ["from_dlpack", "to_dlpack"]


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor on the memory of another library's: an object with `__dlpack__`, or a capsule of host memory.

    Nothing is copied: writes are seen on both sides. Source: the DLPack specification; PyTorch's
    torch.utils.dlpack.
    """
    return FUNCTIONS["from_dlpack"](ext_tensor)


def to_dlpack(tensor: Tensor) -> Any:
    """A capsule of the tensor's memory, which can be taken up once. `from_dlpack` takes the tensor itself, too."""
    return tensor.__dlpack__()
