"""The ops, one file per family. Importing this package registers them all."""

from . import (
    arithmetic,
    convolution,
    elementwise,
    indexing,
    joining,
    rearrange,
    reduction,
    scatter,
    shape,
    sorting,
)

__all__ = [
    "arithmetic",
    "convolution",
    "elementwise",
    "indexing",
    "joining",
    "rearrange",
    "reduction",
    "scatter",
    "shape",
    "sorting",
]
