"""`chainrule.hub`: files in the cache are read; nothing is fetched, no code is run but from a folder that is given."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from ..autograd.serialization import load as _load

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

_dir: str | None = None
#: the first digits of the SHA-256 in a checkpoint's name: name-<digits>.pth
HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")


def get_dir() -> str:
    """The cache: what `set_dir` was given, else $TORCH_HOME/hub, else ~/.cache/torch/hub, where PyTorch has its own."""
    if _dir is not None:
        return _dir
    return os.path.join(_get_torch_home(), "hub")


def _get_torch_home() -> str:
    """$TORCH_HOME, else ~/.cache/torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


def set_dir(d: str | os.PathLike[str]) -> None:
    """Set the cache's folder."""
    global _dir
    _dir = os.path.expanduser(d)


def load_state_dict_from_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
    weights_only: bool = True,
) -> Any:
    """The checkpoint of this address, from `checkpoints` in the cache. RuntimeError where it is not there.

    model_dir: another folder. file_name: its name there, by default the last part of the address. map_location: as of
    `chainrule.load`. check_hash, weights_only: PyTorch's, without effect: no hash is compared, only weights are read.
    """
    name = file_name or os.path.basename(urlparse(url).path)
    path = Path(model_dir or os.path.join(get_dir(), "checkpoints")) / name
    if not path.exists():
        raise RuntimeError(f"chainrule downloads nothing: fetch {url} yourself, and put it at {path}")
    return _load(path, map_location=map_location)


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """RuntimeError: nothing is downloaded, so `hash_prefix` has nothing to be compared with."""
    raise RuntimeError(f"chainrule downloads nothing: fetch {url} yourself, and put it at {dst}")


def load(repo_or_dir: str, model: str, *args: Any, source: str = "github", **kwargs: Any) -> Any:
    """A model of a `hubconf.py` in a folder (`source="local"`); RuntimeError for a repository on the network."""
    return getattr(_hubconf(repo_or_dir, source), model)(*args, **kwargs)


def list(github: str, force_reload: bool = False, *, source: str = "github", **kwargs: Any) -> Any:
    """The names of the models in the `hubconf.py` of a folder: of all that can be called and begins without "_".

    source: "local"; RuntimeError for a repository on the network. force_reload: PyTorch's, without effect.
    """
    found = vars(_hubconf(github, source))
    return [name for name, value in found.items() if callable(value) and not name.startswith("_")]


def help(github: str, model: str, *, source: str = "github", **kwargs: Any) -> Any:
    """The docstring of a model in a folder's `hubconf.py`. source: as of `list`."""
    return getattr(_hubconf(github, source), model).__doc__


def _hubconf(folder: str, source: str) -> Any:
    if source != "local":
        raise RuntimeError(
            f"chainrule downloads nothing: clone {folder} yourself, and load it with source='local' from its folder"
        )
    import importlib.util

    path = Path(folder) / "hubconf.py"
    spec = importlib.util.spec_from_file_location("hubconf", path)
    if spec is None or spec.loader is None or not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Faketqdm:
    """What stands for tqdm where it is not installed: counts, and writes to stderr how far it is.

    total: how much there will be; None: unknown. disable: write nothing. unit and all else: tqdm's, without effect.
    """

    def __init__(self, total: float | None = None, disable: bool = False, unit: str | None = None, *_: Any, **__: Any):
        self.total, self.disable, self.n = total, disable, 0.0

    def update(self, n: float = 1) -> None:
        self.n += n
        if not self.disable:
            sys.stderr.write(f"\r{self.n:.1f} {'bytes' if self.total is None else f'of {self.total:.1f}'}")
            sys.stderr.flush()

    def set_description(self, *_: Any, **__: Any) -> None:
        """Nothing: there is no place for it."""

    def write(self, s: str) -> None:
        sys.stderr.write(f"{s}\n")

    def close(self) -> None:
        if not self.disable:
            sys.stderr.write("\n")

    def __enter__(self) -> _Faketqdm:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def __getattr__(name: str) -> Any:
    if name != "tqdm":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _Faketqdm
    return tqdm
