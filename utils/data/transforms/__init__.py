"""Augmentation and preparation of images, with the names and arguments of torchvision.transforms.

Transforms take Pillow images, NumPy arrays (H, W) or (H, W, C), and tensors (..., C, H, W), and give back what they
got; `ToTensor` makes tensors. Random ones draw from chainrule's default generator: `manual_seed` repeats them, and each
worker of a DataLoader draws its own. RandomResolution, Cutout, Standardize, fit_normalize and smote are ours; MixUp,
CutMix and GaussianNoise are those of torchvision.transforms.v2.
"""

import importlib as _importlib

from . import functional
from .base import (
    Compose,
    ConvertImageDtype,
    Lambda,
    LinearTransformation,
    Normalize,
    PILToTensor,
    RandomApply,
    RandomChoice,
    RandomOrder,
    ToPILImage,
    ToTensor,
    Transform,
)
from .batches import CutMix, MixUp, Mixup, Standardize, fit_normalize, smote
from .geometry import (
    CenterCrop,
    ElasticTransform,
    FiveCrop,
    Pad,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomResizedCrop,
    RandomResolution,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
    TenCrop,
)
from .images import InterpolationMode
from .policies import RandAugment, TrivialAugmentWide
from .values import (
    ColorJitter,
    Cutout,
    GaussianBlur,
    GaussianNoise,
    Grayscale,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomErasing,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "ConvertImageDtype",
    "CutMix",
    "Cutout",
    "ElasticTransform",
    "FiveCrop",
    "GaussianBlur",
    "GaussianNoise",
    "Grayscale",
    "InterpolationMode",
    "Lambda",
    "LinearTransformation",
    "MixUp",
    "Mixup",
    "Normalize",
    "PILToTensor",
    "Pad",
    "RandAugment",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomApply",
    "RandomAutocontrast",
    "RandomChoice",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomOrder",
    "RandomPerspective",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomResolution",
    "RandomRotation",
    "RandomSolarize",
    "RandomVerticalFlip",
    "Resize",
    "Standardize",
    "TenCrop",
    "ToPILImage",
    "ToTensor",
    "Transform",
    "TrivialAugmentWide",
    "fit_normalize",
    "functional",
    "smote",
]


def __getattr__(name: str) -> object:
    """`v2`, imported when a program names it."""
    if name == "v2":
        return _importlib.import_module(".v2", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
