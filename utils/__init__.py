"""Around training: checkpointing, data, files."""

from . import checkpoint

__all__ = ["checkpoint"]
