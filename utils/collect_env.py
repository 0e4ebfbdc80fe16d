"""`python -m chainrule.utils.collect_env`: what a report of a fault should say about the machine."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from typing import NamedTuple

from ..runtime import accelerator, config
from ..runtime.cuda import device_count, get_device_name

__all__ = ["SystemEnv", "get_env_info", "get_pretty_env_info", "main", "pretty_str"]

_ROOT = str(__package__).partition(".")[0]
_PACKAGES = ("numpy", "cupy", "cupy-cuda12x", "cupy-cuda13x", "numba", "ml_dtypes", "safetensors", "scipy")


class SystemEnv(NamedTuple):
    """What was found, each as text.

    version: of this package. os: system and its version. python_version: of the interpreter. cpu: kind of processor.
    gpus: their names. packages: those that matter here, with their versions. config: `__config__`'s two texts.
    """

    version: str
    os: str
    python_version: str
    cpu: str
    gpus: str
    packages: str
    config: str


def get_env_info() -> SystemEnv:
    """Look at the machine, the interpreter and the packages that matter here."""
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    gpus = [get_device_name(i) for i in range(device_count())] if accelerator.is_available() else []
    return SystemEnv(
        version=str(sys.modules[_ROOT].__version__),
        os=platform.platform(),
        python_version=sys.version.replace("\n", " "),
        cpu=platform.processor() or platform.machine(),
        gpus=", ".join(gpus) or "none",
        packages=" ".join(found),
        config=config.show() + config.parallel_info(),
    )


def pretty_str(envinfo: SystemEnv) -> str:
    """What was found (`envinfo`) as lines of text."""
    return (
        f"{_ROOT} version: {envinfo.version}\n\nOS: {envinfo.os}\nPython version: {envinfo.python_version}\n"
        f"CPU: {envinfo.cpu}\nGPUs: {envinfo.gpus}\n\nPackages: {envinfo.packages}\n\n{envinfo.config}"
    )


def get_pretty_env_info() -> str:
    """What is found, as lines of text."""
    return pretty_str(get_env_info())


def main() -> None:
    """Print what `get_pretty_env_info` finds."""
    print(get_pretty_env_info())  # noqa: T201  what the program is for


if __name__ == "__main__":
    main()
