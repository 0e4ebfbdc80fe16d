"""torchvision.transforms.v2: the transforms under that path, and those that are new in it. Samples are images alone."""

from __future__ import annotations

from typing import Any

from ....autograd import Tensor
from . import *  # noqa: F403
from . import __all__ as _names
from . import functional
from .base import Transform

__all__ = [*_names, "Identity", "ToDtype", "ToImage", "ToPureTensor"]


class Identity(Transform):
    """The image itself, unchanged."""

    def forward(self, img: Any) -> Any:
        return img


class ToImage(Transform):
    """A PIL image, array (H, W[, C]) or tensor as a tensor (C, H, W) of the same dtype."""

    def forward(self, img: Any) -> Tensor:
        return img if isinstance(img, Tensor) else functional.pil_to_tensor(img)


class ToPureTensor(Identity):
    """The tensor itself: there is no other kind here."""


class ToDtype(Transform):
    """A tensor in another dtype; `scale`: with its values scaled, [0, 1] for floats, the whole range for integers."""

    shown = ("scale",)

    def __init__(self, dtype: Any, scale: bool = False) -> None:
        super().__init__()
        self.dtype, self.scale = dtype, scale

    def forward(self, img: Any) -> Any:
        if not isinstance(img, Tensor):
            return img
        return functional.convert_image_dtype(img, self.dtype) if self.scale else img.to(self.dtype)
