"""The public kit of property-based gradient tests, for chainrule's own ops and for users'."""

from . import samples
from .records import OpRecord, Sample, Tie, binary, numpy_names, reduction, unary

__all__ = ["OpRecord", "Sample", "Tie", "binary", "numpy_names", "reduction", "samples", "unary"]
