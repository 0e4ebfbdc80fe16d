"""What transforms have in common, conversions, and transforms made of transforms."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from ....autograd import Tensor
from ....nn import Module
from . import functional as F
from . import images

__all__ = [
    "Compose",
    "ConvertImageDtype",
    "Lambda",
    "LinearTransformation",
    "Normalize",
    "PILToTensor",
    "RandomApply",
    "RandomChoice",
    "RandomOrder",
    "ToPILImage",
    "ToTensor",
    "Transform",
]


class Transform(Module):
    """A transform of an image: a module without parameters, whose `repr` shows its arguments.

    A subclass lists in `shown` the attributes that it shows, and defines `forward(img)`.
    """

    shown: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={self._text(name)}' for name in self.shown)})"

    def _text(self, name: str) -> str:
        value = getattr(self, name)
        return str(value.value) if isinstance(value, images.InterpolationMode) else str(value)


def pair(size: Any, message: str) -> tuple[int, int]:
    """(height, width) of a number or a sequence; ValueError with the message for longer sequences."""
    if isinstance(size, (int, float)):
        return int(size), int(size)
    if len(size) == 1:
        return size[0], size[0]
    if len(size) != 2:
        raise ValueError(message)
    return tuple(size)


class Compose:
    """Transforms one after another: `Compose([ToTensor(), Normalize(mean, std)])`.

    `transforms` is the list, to be changed or read.
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for t in self.transforms:
            img = t(img)
        return img

    def __repr__(self) -> str:
        return "\n".join([f"{type(self).__name__}(", *[f"    {t}" for t in self.transforms], ")"])


class ToTensor:
    """A PIL image or array (H, W[, C]) as a tensor (C, H, W): uint8 becomes floats in [0, 1], other dtypes stay."""

    def __call__(self, pic: Any) -> Tensor:
        return F.to_tensor(pic)

    def __repr__(self) -> str:
        return "ToTensor()"


class PILToTensor:
    """A PIL image or array as a tensor (C, H, W) of the same dtype."""

    def __call__(self, pic: Any) -> Tensor:
        return F.pil_to_tensor(pic)

    def __repr__(self) -> str:
        return "PILToTensor()"


class ToPILImage:
    """A tensor (C, H, W) or array (H, W[, C]) as a Pillow image.

    mode: as of `functional.to_pil_image`.
    """

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        return F.to_pil_image(pic, self.mode)

    def __repr__(self) -> str:
        return f"ToPILImage({'' if self.mode is None else f'mode={self.mode}'})"


class ConvertImageDtype(Transform):
    """A tensor in another dtype with its values scaled: see `functional.convert_image_dtype`."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, image: Tensor) -> Tensor:
        return F.convert_image_dtype(image, self.dtype)

    def __repr__(self) -> str:
        return Module.__repr__(self)


class Normalize(Transform):
    """(image - mean) / std, channel by channel, of float tensors (..., C, H, W) or arrays (H, W[, C]).

    mean, std: one per channel. See `functional.normalize` for errors.
    """

    shown = ("mean", "std")

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        super().__init__()
        self.mean, self.std, self.inplace = mean, std, inplace

    def forward(self, tensor: Any) -> Any:
        return F.normalize(tensor, self.mean, self.std, self.inplace)


class LinearTransformation(Transform):
    """(x - mean_vector) @ transformation_matrix of the flattened tensor: whitening, for instance.

    transformation_matrix (D, D), mean_vector (D), D = C H W (ValueError otherwise). Whitening of images: A. Krizhevsky,
    "Learning multiple layers of features from tiny images", 2009, appendix A.
    """

    def __init__(self, transformation_matrix: Tensor, mean_vector: Tensor) -> None:
        super().__init__()
        rows, columns = transformation_matrix.shape
        if rows != columns:
            raise ValueError(f"transformation_matrix should be square. Got {list(transformation_matrix.shape)} matrix.")
        if mean_vector.shape[0] != rows:
            raise ValueError(f"mean_vector should have the same length {mean_vector.shape[0]} as the matrix: {rows}")
        self.transformation_matrix, self.mean_vector = transformation_matrix, mean_vector

    def forward(self, tensor: Tensor) -> Tensor:
        n = self.transformation_matrix.shape[0]
        if tensor.shape[-1] * tensor.shape[-2] * tensor.shape[-3] != n:
            raise ValueError(
                f"Input tensor and transformation matrix have incompatible shape: {list(tensor.shape)}, {n}"
            )
        return ((tensor.reshape(-1, n) - self.mean_vector) @ self.transformation_matrix).reshape(tensor.shape)


class Lambda:
    """A function, lambd, as a transform. Worker processes that are spawned need one that can be pickled."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__!r}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return "Lambda()"


class _Several(Compose):
    """Transforms of which some are applied, or all in another order."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        if not isinstance(transforms, Sequence):
            raise TypeError("Argument transforms should be a sequence")
        super().__init__(transforms)


class RandomApply(Transform):
    """With probability p all of the transforms, otherwise none."""

    def __init__(self, transforms: Any, p: float = 0.5) -> None:
        super().__init__()
        self.transforms, self.p = transforms, p

    def forward(self, img: Any) -> Any:
        if images.uniform() < self.p:
            for t in self.transforms:
                img = t(img)
        return img

    def __repr__(self) -> str:
        return "\n".join([f"RandomApply(\n    p={self.p}", *[f"    {t}" for t in self.transforms], ")"])


class RandomChoice(_Several):
    """One of the transforms; `p` are their weights."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]], p: Sequence[float] | None = None) -> None:
        super().__init__(transforms)
        if p is not None and len(p) != len(transforms):
            raise ValueError(f"{len(transforms)} transforms need as many weights, not {len(p)}")
        self.p = p

    def __call__(self, img: Any) -> Any:
        if self.p is None:
            return self.transforms[images.integer(len(self.transforms))](img)
        ends = list(itertools.accumulate(self.p))
        chosen = bisect.bisect_right(ends, images.uniform(0, ends[-1]), hi=len(ends) - 1)
        return self.transforms[chosen](img)

    def __repr__(self) -> str:
        return f"{super().__repr__()}(p={self.p})"


class RandomOrder(_Several):
    """All of the transforms, in random order."""

    def __call__(self, img: Any) -> Any:
        for i in images.permutation(len(self.transforms)):
            img = self.transforms[i](img)
        return img
