"""Transforms that change what pixels hold: colour, noise, blur, erased parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ....autograd.tensor import wrap
from ....backends import np
from . import functional as F
from . import images
from .base import Transform

__all__ = [
    "ColorJitter",
    "Cutout",
    "GaussianBlur",
    "GaussianNoise",
    "Grayscale",
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomInvert",
    "RandomPosterize",
    "RandomSolarize",
]


def _around(value: Any, name: str, middle: float, low: float, high: float) -> tuple[float, float] | None:
    """The range of a factor; None where nothing is to be changed."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"If {name} is a single number, it must be non negative.")
        span = (max(middle - value, low), middle + value)
    elif isinstance(value, Sequence) and len(value) == 2:
        span = (float(value[0]), float(value[1]))
    else:
        raise TypeError(f"{name} should be a single number or a list/tuple with length 2.")
    if not low <= span[0] <= span[1] <= high:
        raise ValueError(f"{name} values should be between ({low}, {high}), but got {list(span)}.")
    return None if span == (middle, middle) else span


class ColorJitter(Transform):
    """Colours changed by random factors for brightness, contrast, saturation and hue, in random order.

    A number x is the range [max(0, 1 - x), 1 + x], for hue [-x, x] (at most 0.5); two numbers are the range itself.

    The factors are those of `functional.adjust_brightness` and the others. ValueError for negative ones. Source: A.
    Howard, "Some improvements on deep convolutional neural network based image classification", 2013.
    """

    shown = ("brightness", "contrast", "saturation", "hue")

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0) -> None:
        super().__init__()
        self.brightness = _around(brightness, "brightness", 1.0, 0.0, math.inf)
        self.contrast = _around(contrast, "contrast", 1.0, 0.0, math.inf)
        self.saturation = _around(saturation, "saturation", 1.0, 0.0, math.inf)
        if isinstance(hue, (int, float)) and hue >= 0:
            hue = (-hue, hue)
        self.hue = _around(hue, "hue", 0.0, -0.5, 0.5)

    @staticmethod
    def get_params(brightness: Any, contrast: Any, saturation: Any, hue: Any) -> Any:
        """(order, brightness, contrast, saturation, hue): a permutation of four, and factors (None: no change)."""
        spans = (brightness, contrast, saturation, hue)
        return (images.permutation(4), *[None if s is None else images.uniform(s[0], s[1]) for s in spans])

    def forward(self, img: Any) -> Any:
        order, *factors = self.get_params(self.brightness, self.contrast, self.saturation, self.hue)
        changes = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
        for i in order:
            if factors[i] is not None:
                img = changes[i](img, factors[i])
        return img


class Grayscale(Transform):
    """Luminance, in one channel or in three equal ones.

    num_output_channels: 1 or 3.
    """

    shown = ("num_output_channels",)

    def __init__(self, num_output_channels: int = 1) -> None:
        super().__init__()
        self.num_output_channels = num_output_channels

    def forward(self, img: Any) -> Any:
        return F.rgb_to_grayscale(img, self.num_output_channels)


class GaussianBlur(Transform):
    """Convolution with a normal curve, whose width is drawn from `sigma`, or is that number.

    kernel_size: odd, (x, y) or one number. See `functional.gaussian_blur`.
    """

    shown = ("kernel_size", "sigma")

    def __init__(self, kernel_size: Any, sigma: Any = (0.1, 2.0)) -> None:
        super().__init__()
        self.kernel_size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        if any(k <= 0 or k % 2 == 0 for k in self.kernel_size):
            raise ValueError("Kernel size value should be an odd and positive number.")
        self.sigma = (float(sigma), float(sigma)) if isinstance(sigma, (int, float)) else tuple(sigma)
        if not 0.0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"sigma values should be positive and of the form (min, max). Got {self.sigma}")

    @staticmethod
    def get_params(sigma_min: float, sigma_max: float) -> float:
        """A random width."""
        return images.uniform(sigma_min, sigma_max)

    def forward(self, img: Any) -> Any:
        return F.gaussian_blur(img, self.kernel_size, self.get_params(self.sigma[0], self.sigma[1]))


class GaussianNoise(Transform):
    """Normal noise added, in units of white; `clip` keeps values between black and white.

    mean, sigma: of the noise; see `functional.add_noise`. Source: C. Bishop, "Training with noise is equivalent to
    Tikhonov regularization", 1995.
    """

    shown = ("mean", "sigma", "clip")

    def __init__(self, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> None:
        super().__init__()
        if sigma < 0:
            raise ValueError(f"sigma shouldn't be negative. Got {sigma}")
        self.mean, self.sigma, self.clip = mean, sigma, clip

    def forward(self, img: Any) -> Any:
        shape = images.opened(img)[0].shape
        noise = images.normals(shape) * np.float32(self.sigma) + np.float32(self.mean)
        return F.add_noise(img, noise, self.clip)


class RandomErasing(Transform):
    """With probability p a rectangle erased: its share of the area in `scale`, height / width in `ratio`.

    value: a number, one per channel, or "random" for normal noise. Source: Zhong et al., "Random Erasing Data
    Augmentation", 2017.
    """

    shown = ("p", "scale", "ratio", "value", "inplace")

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: Any = 0,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(value, str) and value != "random":
            raise ValueError("If value is str, it should be 'random'")
        if scale[0] < 0 or scale[1] > 1:
            raise ValueError("Scale should be between 0 and 1")
        if not 0 <= p <= 1:
            raise ValueError("Random erasing probability should be between 0 and 1")
        self.p, self.scale, self.ratio, self.value, self.inplace = p, scale, ratio, value, inplace

    def forward(self, img: Any) -> Any:
        if images.uniform() >= self.p:
            return img
        channels, h, w = images.size_of(img)
        for _ in range(10):
            area, shape = h * w * images.uniform(*self.scale), images.log_uniform(*self.ratio)
            height, width = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
            if height < h and width < w:
                break
        else:
            return img
        if self.value == "random":
            value: Any = wrap(images.normals((channels, height, width)), None)
        else:
            value = wrap(np.asarray(self.value, np.float32).reshape(-1, 1, 1), None)
            if value.shape[0] not in (1, channels):
                raise ValueError(
                    f"If value is a sequence, it should have either a single value or {channels} (number of input "
                    "channels)"
                )
        top, left = images.integer(h - height + 1), images.integer(w - width + 1)
        return F.erase(img, top, left, height, width, value, self.inplace)


class Cutout(Transform):
    """`n_holes` squares of `length` pixels, about random pixels of the image, set to `value`.

    Parts of a square may lie beyond the border. Source: DeVries and Taylor, "Improved Regularization of Convolutional
    Neural Networks with Cutout", 2017.
    """

    shown = ("n_holes", "length", "value")

    def __init__(self, n_holes: int = 1, length: int = 16, value: float = 0.0) -> None:
        super().__init__()
        self.n_holes, self.length, self.value = n_holes, length, value

    def forward(self, img: Any) -> Any:
        _, h, w = images.size_of(img)
        for _ in range(self.n_holes):
            y, x = images.integer(h) - self.length // 2, images.integer(w) - self.length // 2
            top, left = max(y, 0), max(x, 0)
            height, width = min(y + self.length, h) - top, min(x + self.length, w) - left
            img = F.erase(img, top, left, height, width, wrap(np.asarray(self.value, np.float32), None))
        return img


class _WithProbability(Transform):
    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    shown: tuple[str, ...] = ("p",)

    def _change(self, img: Any) -> Any:
        raise NotImplementedError

    def forward(self, img: Any) -> Any:
        return self._change(img) if images.uniform() < self.p else img


class RandomGrayscale(_WithProbability):
    """With probability p luminance, in as many channels as the image has."""

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def _change(self, img: Any) -> Any:
        return F.rgb_to_grayscale(img, images.size_of(img)[0])


class RandomInvert(_WithProbability):
    """With probability p white minus the image."""

    def _change(self, img: Any) -> Any:
        return F.invert(img)


class RandomPosterize(_WithProbability):
    """With probability p only the upper `bits` of each value.

    See `functional.posterize`.
    """

    shown = ("bits", "p")

    def __init__(self, bits: int, p: float = 0.5) -> None:
        super().__init__(p)
        self.bits = bits

    def _change(self, img: Any) -> Any:
        return F.posterize(img, self.bits)


class RandomSolarize(_WithProbability):
    """With probability p pixels from `threshold` on inverted."""

    shown = ("threshold", "p")

    def __init__(self, threshold: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.threshold = threshold

    def _change(self, img: Any) -> Any:
        return F.solarize(img, self.threshold)


class RandomAdjustSharpness(_WithProbability):
    """With probability p sharpened (sharpness_factor above 1) or smoothed (below).

    See `functional.adjust_sharpness`.
    """

    shown = ("sharpness_factor", "p")

    def __init__(self, sharpness_factor: float, p: float = 0.5) -> None:
        super().__init__(p)
        self.sharpness_factor = sharpness_factor

    def _change(self, img: Any) -> Any:
        return F.adjust_sharpness(img, self.sharpness_factor)


class RandomAutocontrast(_WithProbability):
    """With probability p each channel stretched from black to white."""

    def _change(self, img: Any) -> Any:
        return F.autocontrast(img)


class RandomEqualize(_WithProbability):
    """With probability p each channel's histogram evened out.

    See `functional.equalize`.
    """

    def _change(self, img: Any) -> Any:
        return F.equalize(img)
