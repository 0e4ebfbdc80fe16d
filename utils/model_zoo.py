"""PyTorch's old path to weights on the network: there is no download here, but files that have been fetched load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from ..autograd import FUNCTIONS

__all__ = ["load_state_dict_from_url", "load_url"]


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = True,
) -> Any:
    """The checkpoint that `url` names, from `model_dir`, where it must lie: nothing is downloaded.

    model_dir: default $TORCH_HOME/hub/checkpoints, ~/.cache/torch/hub/checkpoints without it. file_name: its name
    there, by default the last part of the address. map_location: as of `chainrule.load`. check_hash, weights_only:
    PyTorch's, without effect. FileNotFoundError says what to put where.
    """
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "torch"
    folder = Path(model_dir) if model_dir is not None else Path(home) / "hub" / "checkpoints"
    path = folder / (file_name or Path(urlparse(url).path).name)
    if not path.exists():
        raise FileNotFoundError(f"chainrule downloads nothing: fetch {url} and put it at {path}")
    return FUNCTIONS["load"](path, map_location=map_location)


load_state_dict_from_url = load_url


def __getattr__(name: str) -> Any:
    if name != "tqdm":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..runtime import hub

    return hub.tqdm
