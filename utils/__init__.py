"""Around training: checkpointing, data, files."""

from . import checkpoint, safetensors

__all__ = ["checkpoint", "safetensors"]
