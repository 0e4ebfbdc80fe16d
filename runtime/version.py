"""`chainrule.version`: what PyTorch's programs ask about how it was built."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["chainrule", "cuda", "debug", "git_version", "hip", "xpu"]

#: this package's own version; `__version__` is that of the PyTorch whose API it has, and this
chainrule: str = str(sys.modules[__name__.partition(".")[0]].__version__).partition("+chainrule.")[2]
#: nothing is compiled against CUDA; CuPy brings its own
cuda: str | None = None
hip: str | None = None
xpu: str | None = None
git_version: str | None = None
debug = False


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return sys.modules[__name__.partition(".")[0]].__version__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
