"""PyTorch's old path to `chainrule.hub`'s weights: nothing is downloaded, files that have been fetched load."""

from __future__ import annotations

from typing import Any

from ..runtime import hub
from ..runtime.hub import load_state_dict_from_url

__all__ = ["load_state_dict_from_url", "load_url"]

load_url = load_state_dict_from_url


def __getattr__(name: str) -> Any:
    if name != "tqdm":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return hub.tqdm
