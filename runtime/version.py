"""`chainrule.version`: what PyTorch's programs ask about how it was built."""

from __future__ import annotations

__all__ = ["cuda", "debug", "git_version", "hip", "xpu"]

#: nothing is compiled against CUDA; CuPy brings its own
cuda: str | None = None
hip: str | None = None
xpu: str | None = None
git_version: str | None = None
debug = False
