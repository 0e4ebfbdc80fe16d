"""chainrule: a reverse-mode automatic-differentiation tensor engine on NumPy and CuPy, with PyTorch's names."""

from .autograd import *  # noqa: F403
from . import autograd
from .autograd import FUNCTIONS as _functions

globals().update(_functions)
__version__ = "0.1.0"
