"""The ops, one file per family. Importing this package registers them all."""

from . import arithmetic, convolution, elementwise, reduction, shape

__all__ = ["arithmetic", "convolution", "elementwise", "reduction", "shape"]
