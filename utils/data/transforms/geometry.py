"""Transforms that move pixels: sizes, crops, flips, affine and elastic maps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from ....autograd.tensor import wrap
from ....backends import np
from . import functional as F
from . import images
from .base import Transform, pair
from .images import InterpolationMode

__all__ = [
    "CenterCrop",
    "ElasticTransform",
    "FiveCrop",
    "Pad",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomPerspective",
    "RandomResizedCrop",
    "RandomResolution",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "TenCrop",
]

_TWO = "Please provide only two dimensions (h, w) for size."


class Resize(Transform):
    """The image in `size` (height, width), or with its shorter side that long.

    interpolation, max_size, antialias: as of `functional.resize`.
    """

    shown = ("size", "interpolation", "max_size", "antialias")

    def __init__(
        self,
        size: Any,
        interpolation: Any = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        if isinstance(size, Sequence) and len(size) not in (1, 2):
            raise ValueError("If size is a sequence, it should have 1 or 2 values")
        if not isinstance(size, (int, Sequence)) and size is not None:
            raise TypeError(f"Size should be int or sequence. Got {type(size)}")
        self.size, self.interpolation, self.max_size, self.antialias = size, interpolation, max_size, antialias

    def forward(self, img: Any) -> Any:
        return F.resize(img, self.size, self.interpolation, self.max_size, self.antialias)


class CenterCrop(Transform):
    """The middle of the image in that size; a smaller image is surrounded by 0."""

    shown = ("size",)

    def __init__(self, size: Any) -> None:
        super().__init__()
        self.size = pair(size, _TWO)

    def forward(self, img: Any) -> Any:
        return F.center_crop(img, self.size)


class Pad(Transform):
    """Pixels around the image: see `functional.pad`.

    padding, fill and padding_mode as there.
    """

    shown = ("padding", "fill", "padding_mode")

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> None:
        super().__init__()
        if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
            raise ValueError("Padding mode should be either constant, edge, reflect or symmetric")
        if isinstance(padding, Sequence) and len(padding) not in (1, 2, 4):
            raise ValueError(
                f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(padding)} element tuple"
            )
        self.padding, self.fill, self.padding_mode = padding, fill, padding_mode

    def forward(self, img: Any) -> Any:
        return F.pad(img, self.padding, self.fill, self.padding_mode)


class RandomCrop(Transform):
    """A part of that size at a random place, after padding (and more of it with `pad_if_needed`).

    padding, fill, padding_mode: as of `functional.pad`. ValueError where the image is too small. Source: A.
    Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural networks", 2012,
    section 4.1.
    """

    shown = ("size", "padding")

    def __init__(
        self,
        size: Any,
        padding: Any = None,
        pad_if_needed: bool = False,
        fill: Any = 0,
        padding_mode: str = "constant",
    ) -> None:
        super().__init__()
        self.size = pair(size, _TWO)
        self.padding, self.pad_if_needed = padding, pad_if_needed
        self.fill, self.padding_mode = fill, padding_mode

    @staticmethod
    def get_params(img: Any, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a random part."""
        (_, h, w), (height, width) = images.size_of(img), output_size
        if h < height or w < width:
            raise ValueError(f"Required crop size {(height, width)} is larger than input image size {(h, w)}")
        return images.integer(h - height + 1), images.integer(w - width + 1), height, width

    def forward(self, img: Any) -> Any:
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        if self.pad_if_needed:
            (_, h, w), (height, width) = images.size_of(img), self.size
            if w < width:
                img = F.pad(img, [width - w, 0], self.fill, self.padding_mode)
            if h < height:
                img = F.pad(img, [0, height - h], self.fill, self.padding_mode)
        return F.crop(img, *self.get_params(img, self.size))


class RandomResizedCrop(Transform):
    """A part with a share of the area in `scale` and width / height in `ratio`, resized: GoogLeNet's augmentation.

    Ten tries; then the largest part in the middle whose ratio is allowed. size: of the result; interpolation and
    antialias as of `functional.resize`. Source: Szegedy et al., "Going Deeper with Convolutions", 2015, section 6.
    """

    shown = ("size", "scale", "ratio", "interpolation", "antialias")

    def __init__(
        self,
        size: Any,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
        interpolation: Any = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        super().__init__()
        self.size = pair(size, _TWO)
        if not isinstance(scale, Sequence) or not isinstance(ratio, Sequence):
            raise TypeError("Scale and ratio should be sequences")
        if scale[0] > scale[1] or ratio[0] > ratio[1]:
            warnings.warn("Scale and ratio should be of kind (min, max)", stacklevel=2)
        self.scale, self.ratio, self.interpolation, self.antialias = scale, ratio, interpolation, antialias

    def _text(self, name: str) -> str:
        if name in ("scale", "ratio"):
            return str(tuple(round(v, 4) for v in getattr(self, name)))
        return super()._text(name)

    @staticmethod
    def get_params(img: Any, scale: Sequence[float], ratio: Sequence[float]) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a random part."""
        _, h, w = images.size_of(img)
        for _ in range(10):
            area, shape = h * w * images.uniform(scale[0], scale[1]), images.log_uniform(ratio[0], ratio[1])
            width, height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if 0 < width <= w and 0 < height <= h:
                return images.integer(h - height + 1), images.integer(w - width + 1), height, width
        width, height = w, h
        if w / h < ratio[0]:
            height = round(w / ratio[0])
        elif w / h > ratio[1]:
            width = round(h * ratio[1])
        return (h - height) // 2, (w - width) // 2, height, width

    def forward(self, img: Any) -> Any:
        part = self.get_params(img, self.scale, self.ratio)
        return F.resized_crop(img, *part, self.size, self.interpolation, self.antialias)


class _Flip(Transform):
    shown = ("p",)

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p


class RandomHorizontalFlip(_Flip):
    """With probability p the image mirrored left to right.

    Source: A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural networks",
    2012.
    """

    def forward(self, img: Any) -> Any:
        return F.hflip(img) if images.uniform() < self.p else img


class RandomVerticalFlip(_Flip):
    """With probability p the image mirrored top to bottom."""

    def forward(self, img: Any) -> Any:
        return F.vflip(img) if images.uniform() < self.p else img


def _span(value: Any, name: str) -> list[float]:
    """(low, high) of a number, which stands for both signs, or of two."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"If {name} is a single number, it must be positive.")
        return [0.0 - value, float(value)]
    if not isinstance(value, Sequence):
        raise TypeError(f"{name} should be a number or a sequence of length 2.")
    if len(value) != 2:
        raise ValueError(f"{name} should be a sequence of length 2.")
    return [float(v) for v in value]


class RandomRotation(Transform):
    """Turned by a random angle in degrees: between -degrees and degrees, or between two given ones.

    expand, center, interpolation and fill are as of `functional.rotate`.
    """

    def __init__(
        self,
        degrees: Any,
        interpolation: Any = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: Any = 0,
    ) -> None:
        super().__init__()
        self.degrees = _span(degrees, "degrees")
        self.interpolation, self.expand, self.center, self.fill = interpolation, expand, center, fill

    @property
    def shown(self) -> tuple[str, ...]:  # type: ignore[override]
        """What `repr` shows."""
        center, fill = (() if v is None else (n,) for n, v in (("center", self.center), ("fill", self.fill)))
        return ("degrees", "interpolation", "expand", *center, *fill)

    @staticmethod
    def get_params(degrees: Sequence[float]) -> float:
        """A random angle."""
        return images.uniform(degrees[0], degrees[1])

    def forward(self, img: Any) -> Any:
        return F.rotate(img, self.get_params(self.degrees), self.interpolation, self.expand, self.center, self.fill)


class RandomAffine(Transform):
    """A random rotation, translation (shares of width and height), scaling and shear (degrees), about the middle.

    degrees: a number d for -d to d, or two. translate (a, b): up to a of the width, b of the height. scale: its
    range. shear: a number, two (x) or four (x, y). ValueError for values out of range. interpolation, fill, center:
    as of `functional.affine`.
    """

    def __init__(
        self,
        degrees: Any,
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: Any = None,
        interpolation: Any = InterpolationMode.NEAREST,
        fill: Any = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.degrees = _span(degrees, "degrees")
        if translate is not None and not all(0 <= t <= 1 for t in translate):
            raise ValueError("translation values should be between 0 and 1")
        if scale is not None and not all(s > 0 for s in scale):
            raise ValueError("scale values should be positive")
        if shear is None or isinstance(shear, (int, float)):
            self.shear = None if shear is None else _span(shear, "shear")
        elif len(shear) in (2, 4):
            self.shear = [float(s) for s in shear]
        else:
            raise ValueError("shear should be a sequence of length 2 or 4.")
        self.translate, self.scale, self.center = translate, scale, center
        self.interpolation, self.fill = interpolation, fill

    @property
    def shown(self) -> tuple[str, ...]:  # type: ignore[override]
        """What `repr` shows."""
        given = [n for n in ("translate", "scale", "shear") if getattr(self, n) is not None]
        given += ["interpolation"] * (self.interpolation != InterpolationMode.NEAREST)
        given += ["fill"] * (self.fill != 0) + ["center"] * (self.center is not None)
        return ("degrees", *given)

    @staticmethod
    def get_params(degrees: Any, translate: Any, scale_ranges: Any, shears: Any, img_size: Any) -> Any:
        """(angle, (x, y), scale, (shear x, shear y)) at random; img_size: (width, height)."""
        angle = images.uniform(degrees[0], degrees[1])
        x, y = (round(images.uniform(-s * n, s * n)) for s, n in zip(translate or (0, 0), img_size))
        scale = images.uniform(*scale_ranges) if scale_ranges else 1.0
        shear_x = images.uniform(shears[0], shears[1]) if shears else 0.0
        shear_y = images.uniform(shears[2], shears[3]) if shears and len(shears) == 4 else 0.0
        return angle, (x, y), scale, (shear_x, shear_y)

    def forward(self, img: Any) -> Any:
        angle, translate, scale, shear = self.get_params(
            self.degrees, self.translate, self.scale, self.shear, F.get_image_size(img)
        )
        return F.affine(img, angle, translate, scale, shear, self.interpolation, self.fill, self.center)


class RandomPerspective(Transform):
    """With probability p the image seen askew: each corner moves inwards by up to `distortion_scale` / 2 of a side.

    See `functional.perspective`. interpolation and fill as there.
    """

    shown = ("p",)

    def __init__(
        self,
        distortion_scale: float = 0.5,
        p: float = 0.5,
        interpolation: Any = InterpolationMode.BILINEAR,
        fill: Any = 0,
    ) -> None:
        super().__init__()
        self.distortion_scale, self.p, self.interpolation, self.fill = distortion_scale, p, interpolation, fill

    @staticmethod
    def get_params(width: int, height: int, distortion_scale: float) -> Any:
        """The four corners, from the top left one clockwise, and where they move."""
        most = int(distortion_scale * (width // 2)) + 1, int(distortion_scale * (height // 2)) + 1
        start = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]]
        end = []
        for x, y in start:
            dx, dy = images.integer(most[0]), images.integer(most[1])
            end.append([x - dx if x else dx, y - dy if y else dy])
        return start, end

    def forward(self, img: Any) -> Any:
        if images.uniform() >= self.p:
            return img
        _, h, w = images.size_of(img)
        start, end = self.get_params(w, h, self.distortion_scale)
        return F.perspective(img, start, end, self.interpolation, self.fill)


class ElasticTransform(Transform):
    """Pixels displaced at random: by uniform numbers smoothed with a normal curve of width `sigma`, times `alpha`.

    alpha, sigma: in pixels, one number or (x, y); see `functional.elastic_transform`. interpolation and fill as there.

    Source: Simard, Steinkraus, Platt, "Best Practices for Convolutional Neural Networks", 2003.
    """

    shown = ("alpha", "sigma", "interpolation", "fill")

    def __init__(
        self,
        alpha: Any = 50.0,
        sigma: Any = 5.0,
        interpolation: Any = InterpolationMode.BILINEAR,
        fill: Any = 0,
    ) -> None:
        super().__init__()
        self.alpha = [float(alpha)] * 2 if isinstance(alpha, (int, float)) else [float(a) for a in [*alpha, *alpha][:2]]
        self.sigma = [float(sigma)] * 2 if isinstance(sigma, (int, float)) else [float(s) for s in [*sigma, *sigma][:2]]
        if min(self.sigma) < 0:
            raise ValueError(f"sigma should be positive, not {sigma}")
        self.interpolation, self.fill = interpolation, fill

    @staticmethod
    def get_params(alpha: Sequence[float], sigma: Sequence[float], size: Sequence[int]) -> Any:
        """Displacements of shape (1, H, W, 2), (x, y), in units of half the width and height. size: (H, W)."""
        moves = []
        for a, s, n in zip(alpha, sigma, size):
            noise = images.uniforms((1, *size)) * np.float32(2) - np.float32(1)
            if s > 0:
                width = int(8 * s + 1) | 1
                kernel = images.gaussian(width, s)
                noise = images.blurred(noise, kernel, kernel)
            moves.append(noise[0] * np.float32(a / n))
        return wrap(np.stack(moves, -1)[None], None)

    def forward(self, img: Any) -> Any:
        _, h, w = images.size_of(img)
        moves = self.get_params(self.alpha, self.sigma, (h, w))
        return F.elastic_transform(img, moves, self.interpolation, self.fill)


class RandomResolution(Transform):
    """With probability p the image scaled down by a random factor in `scale`, and up again: detail is lost.

    interpolation: an `InterpolationMode`, both ways; see `functional.resize`. ValueError for factors outside (0, 1].
    """

    shown = ("scale", "p", "interpolation")

    def __init__(
        self, scale: Sequence[float] = (0.25, 1.0), p: float = 1.0, interpolation: Any = InterpolationMode.BILINEAR
    ) -> None:
        super().__init__()
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"scale should be two factors in (0, 1], the smaller one first, not {scale}")
        self.scale, self.p, self.interpolation = scale, p, interpolation

    def forward(self, img: Any) -> Any:
        if images.uniform() >= self.p:
            return img
        factor, (_, h, w) = images.uniform(self.scale[0], self.scale[1]), images.size_of(img)
        small = F.resize(img, (max(1, round(h * factor)), max(1, round(w * factor))), self.interpolation)
        return F.resize(small, (h, w), self.interpolation)


class FiveCrop(Transform):
    """The four corners and the middle, a tuple of five images.

    size: of each; see `functional.five_crop`.
    """

    shown: tuple[str, ...] = ("size",)

    def __init__(self, size: Any) -> None:
        super().__init__()
        self.size = pair(size, _TWO)

    def forward(self, img: Any) -> Any:
        return F.five_crop(img, self.size)


class TenCrop(FiveCrop):
    """`FiveCrop` of the image and of its mirror image.

    size, vertical_flip: as of `functional.ten_crop`. For averages of predictions: A. Krizhevsky, I. Sutskever, G.
    Hinton, "ImageNet classification with deep convolutional neural networks", 2012, section 4.1.
    """

    shown = ("size", "vertical_flip")

    def __init__(self, size: Any, vertical_flip: bool = False) -> None:
        super().__init__(size)
        self.vertical_flip = vertical_flip

    def forward(self, img: Any) -> Any:
        return F.ten_crop(img, self.size, self.vertical_flip)
