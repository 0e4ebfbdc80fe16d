"""The ops, one file per family. Importing this package registers them all."""

from . import arithmetic, elementwise, reduction, shape

__all__ = ["arithmetic", "elementwise", "reduction", "shape"]
