"""`chainrule.backends.mkldnn`: whether Intel's oneDNN computes, and how exact convolutions on the CPU are."""

from __future__ import annotations

from types import SimpleNamespace

__all__ = ["conv", "enabled", "is_available"]

enabled = True
#: "ieee": float32 convolutions on the CPU are as exact as sums of their products (largest error some 4e-6 of the
#: result's standard deviation). Any other value, "none" at first, allows Winograd's F(4x4,3x3) as well (2e-5).
conv = SimpleNamespace(fp32_precision="none")


def is_available() -> bool:
    """False: oneDNN is not used, convolutions on the CPU are chainrule's own."""
    return False
