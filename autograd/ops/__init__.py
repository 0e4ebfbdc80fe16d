"""The ops, one file per family. Importing this package registers them all."""

from . import (
    arithmetic,
    convolution,
    einsum,
    elementwise,
    indexing,
    joining,
    linalg,
    linear,
    loss,
    normalisation,
    rearrange,
    reduction,
    scatter,
    shape,
    softmax,
    sorting,
)

__all__ = [
    "arithmetic",
    "convolution",
    "einsum",
    "elementwise",
    "indexing",
    "joining",
    "linalg",
    "linear",
    "loss",
    "normalisation",
    "rearrange",
    "reduction",
    "scatter",
    "shape",
    "softmax",
    "sorting",
]
