"""`chainrule.backends.mkldnn`: whether Intel's oneDNN computes, and how exact convolutions on the CPU are."""

from __future__ import annotations

from types import SimpleNamespace

__all__ = ["conv", "enabled", "is_available"]

enabled = True
#: "ieee": float32 convolutions are as exact as sums of products in their order (largest error 3e-6 of the result's
#: standard deviation). Anything else, "none" at first, lets kernels of 3 x 3 take Winograd's F(4x4,3x3), too: 3e-5.
conv = SimpleNamespace(fp32_precision="none")


def is_available() -> bool:
    """False."""
    return False
