"""The public kit of property-based gradient tests, for chainrule's own ops and for users'.

`gradcheck` and `gradgradcheck` are PyTorch's; `check_op` runs every property over an op, order by order; `strategies`
(for Hypothesis, imported on first use) draws shapes, dtypes, views and broadcastable shapes; `OpRecord` and its short
forms describe an op for tests that are generated from a table.
"""

from typing import Any

from . import samples
from .calls import Call, calls_of
from .check import check_op
from .compare import assert_allclose, assert_close, make_tensor
from .gradcheck import gradcheck, gradgradcheck
from .numeric import directional, numeric_gradient, relative_error
from .properties import GradcheckError, KinkError
from .records import OpRecord, Sample, Tie, binary, numpy_names, reduction, unary

__all__ = [
    "Call",
    "GradcheckError",
    "KinkError",
    "OpRecord",
    "Sample",
    "Tie",
    "assert_allclose",
    "assert_close",
    "binary",
    "calls_of",
    "check_op",
    "directional",
    "gradcheck",
    "gradgradcheck",
    "make_tensor",
    "numeric_gradient",
    "numpy_names",
    "reduction",
    "relative_error",
    "samples",
    "unary",
]


def __getattr__(name: str) -> Any:
    if name == "strategies":
        import importlib

        return importlib.import_module(".strategies", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
