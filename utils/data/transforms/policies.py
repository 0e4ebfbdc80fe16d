"""Augmentation by random choices from a table of changes: RandAugment and TrivialAugment.

Sources: Cubuk et al., "RandAugment", 2019; Müller and Hutter, "TrivialAugment", 2021; the magnitudes of both are those
of torchvision's documentation. Images are uint8.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import functional as F
from . import images
from .base import Transform
from .images import InterpolationMode

__all__ = ["RandAugment", "TrivialAugmentWide"]

# name -> function of (image, magnitude, how to fill what comes into view)
_CHANGES: dict[str, Callable[..., Any]] = {
    "Identity": lambda img, m, view: img,
    "ShearX": lambda img, m, view: F.affine(
        img, 0.0, (0, 0), 1.0, (math.degrees(math.atan(m)), 0.0), **view, center=(0, 0)
    ),
    "ShearY": lambda img, m, view: F.affine(
        img, 0.0, (0, 0), 1.0, (0.0, math.degrees(math.atan(m))), **view, center=(0, 0)
    ),
    "TranslateX": lambda img, m, view: F.affine(img, 0.0, (int(m), 0), 1.0, (0.0, 0.0), **view),
    "TranslateY": lambda img, m, view: F.affine(img, 0.0, (0, int(m)), 1.0, (0.0, 0.0), **view),
    "Rotate": lambda img, m, view: F.rotate(img, m, **view),
    "Brightness": lambda img, m, view: F.adjust_brightness(img, 1.0 + m),
    "Color": lambda img, m, view: F.adjust_saturation(img, 1.0 + m),
    "Contrast": lambda img, m, view: F.adjust_contrast(img, 1.0 + m),
    "Sharpness": lambda img, m, view: F.adjust_sharpness(img, 1.0 + m),
    "Posterize": lambda img, m, view: F.posterize(img, int(m)),
    "Solarize": lambda img, m, view: F.solarize(img, m),
    "AutoContrast": lambda img, m, view: F.autocontrast(img),
    "Equalize": lambda img, m, view: F.equalize(img),
}
_SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")


class _Policy(Transform):
    """Draws changes; a subclass gives the largest magnitude of each, and says how many and how strong."""

    interpolation: Any
    fill: Any
    num_magnitude_bins: int

    def _most(self, height: int, width: int) -> dict[str, float]:
        raise NotImplementedError

    def _change(self, img: Any, share: float) -> Any:
        """One change drawn at random, at a share between 0 and 1 of its largest magnitude."""
        name = list(_CHANGES)[images.integer(len(_CHANGES))]
        _, height, width = images.size_of(img)
        most = self._most(height, width).get(name, 0.0)
        if name == "Posterize":
            magnitude = float(8 - round(share * most))
        elif name == "Solarize":
            magnitude = 255.0 * (1 - share)
        else:
            magnitude = share * most
            if name in _SIGNED and images.integer(2):
                magnitude = -magnitude
        return _CHANGES[name](img, magnitude, {"interpolation": self.interpolation, "fill": self.fill})


class RandAugment(_Policy):
    """`num_ops` changes one after another, all at the strength `magnitude` of num_magnitude_bins.

    Changes: identity, shears, translations, rotation, brightness, colour, contrast, sharpness, posterize, solarize,
    autocontrast, equalize, each as likely, of random sign. interpolation, fill: as of `functional.affine`. Source:
    E. Cubuk, B. Zoph, J. Shlens, Q. Le, "RandAugment: practical automated data augmentation with a reduced search
    space", 2020.
    """

    shown = ("num_ops", "magnitude", "num_magnitude_bins", "interpolation", "fill")

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        interpolation: Any = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__()
        self.num_ops, self.magnitude, self.num_magnitude_bins = num_ops, magnitude, num_magnitude_bins
        self.interpolation, self.fill = interpolation, fill

    def _most(self, height: int, width: int) -> dict[str, float]:
        values = dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.9)
        return values | {
            "ShearX": 0.3,
            "ShearY": 0.3,
            "TranslateX": 150.0 / 331.0 * width,
            "TranslateY": 150.0 / 331.0 * height,
            "Rotate": 30.0,
            "Posterize": 4.0,
        }

    def forward(self, img: Any) -> Any:
        for _ in range(self.num_ops):
            img = self._change(img, self.magnitude / (self.num_magnitude_bins - 1))
        return img


class TrivialAugmentWide(_Policy):
    """One change, at a strength drawn from num_magnitude_bins.

    The changes of `RandAugment` in wider ranges. Source: S. Müller, F. Hutter, "TrivialAugment: tuning-free yet
    state-of-the-art data augmentation", 2021.
    """

    shown = ("num_magnitude_bins", "interpolation", "fill")

    def __init__(
        self,
        num_magnitude_bins: int = 31,
        interpolation: Any = InterpolationMode.NEAREST,
        fill: Any = None,
    ) -> None:
        super().__init__()
        self.num_magnitude_bins, self.interpolation, self.fill = num_magnitude_bins, interpolation, fill

    def _most(self, height: int, width: int) -> dict[str, float]:
        names = ("ShearX", "ShearY", "Brightness", "Color", "Contrast", "Sharpness")
        most = dict.fromkeys(names, 0.99)
        return most | {"TranslateX": 32.0, "TranslateY": 32.0, "Rotate": 135.0, "Posterize": 6.0}

    def forward(self, img: Any) -> Any:
        return self._change(img, images.integer(self.num_magnitude_bins) / (self.num_magnitude_bins - 1))
