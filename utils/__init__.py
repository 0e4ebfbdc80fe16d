"""Around training: data, checkpointing, files, logging. `data` and others are imported when a program names them."""

import importlib as _importlib

from . import checkpoint, safetensors

__all__ = [
    "benchmark",
    "checkpoint",
    "checks",
    "collect_env",
    "cpp_extension",
    "data",
    "dlpack",
    "early_stopping",
    "ensemble",
    "history",
    "images",
    "metrics",
    "model_zoo",
    "progress",
    "recorder",
    "run_report",
    "safetensors",
    "search",
    "significance",
    "swa_utils",
    "tensorboard",
    "transfer",
    "validation",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        return _importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
