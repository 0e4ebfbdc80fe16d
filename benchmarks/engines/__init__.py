"""One module per engine, and how to open it. An engine has a method per workload, from `Data` to a `Program`."""

import contextlib
import importlib
import importlib.metadata
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple


class Engine:
    """What every engine has beside its programs."""

    def wait(self, result):
        """Until `result` of a step is computed; nothing to do where a step returns when it is done."""

    def settle(self):
        """Give back memory that the library keeps for later use."""


class Program(NamedTuple):
    """What an engine makes of a workload."""

    step: Callable[[], Any]  # does one step and returns its loss as the engine gives it
    numbers: Callable[[Any], list[float]]  # from that loss what the check compares: the loss, for `chain` gradients too


# The order of the tables.
ENGINES = {
    "chainrule": ("engines.torch_style", "Chainrule"),
    "chainrule-fast": ("engines.torch_style", "ChainruleFast"),
    "chainrule-capture": ("engines.torch_style", "ChainruleCapture"),
    "chainrule-plain-capture": ("engines.torch_style", "ChainrulePlainCapture"),
    "torch": ("engines.torch_style", "Torch"),
    "torch-tuned": ("engines.torch_style", "TunedTorch"),
    "jax": ("engines.jax_jit", "Jax"),
    "tinygrad": ("engines.tiny_grad", "TinyGrad"),
    "autograd": ("engines.hips_autograd", "HipsAutograd"),
    "mygrad": ("engines.my_grad", "MyGrad"),
    "numpy": ("engines.plain_numpy", "PlainNumpy"),
}


def open_engine(name, threads):
    """The engine of that name, or ModuleNotFoundError where its library is not installed."""
    module, cls = ENGINES[name]
    return getattr(importlib.import_module(module), cls)(threads)


# The distributions that an engine is made of; None is this checkout.
PACKAGES = {
    "chainrule": (None, "numpy"),
    "chainrule-fast": (None, "numpy", "numba"),
    "chainrule-capture": (None, "numpy", "numba"),
    "chainrule-plain-capture": (None, "numpy"),
    "torch": ("torch",),
    "torch-tuned": ("torch",),
    "jax": ("jax", "jaxlib"),
    "tinygrad": ("tinygrad",),
    "autograd": ("autograd", "scipy"),
    "mygrad": ("mygrad",),
    "numpy": ("numpy",),
}


def installed_size(name):
    """Bytes on disk of an engine and of what it depends on, or None where a part is not installed."""
    from packaging.requirements import Requirement

    pending, sizes = list(PACKAGES[name]), {}
    while pending:
        package = pending.pop()
        if package in sizes:
            continue
        if package is None:
            sizes[None] = checkout_size()
            continue
        try:
            distribution = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            return None
        sizes[package] = 0
        for file in distribution.files or ():
            if "__pycache__" not in file.parts:
                with contextlib.suppress(OSError):
                    sizes[package] += file.locate().stat().st_size
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name)
    return sum(sizes.values())


def checkout_size():
    """Bytes of the modules of the package in this checkout."""
    root = pathlib.Path(__file__).resolve().parents[2]
    other = {"tests", "benchmarks", "examples", "notebooks", "build", "dist"}
    folders = [root, *(p for p in root.iterdir() if p.is_dir() and p.name not in other and p.name[0] != ".")]
    files = [*root.glob("*.py"), *(f for folder in folders[1:] for f in folder.rglob("*.py"))]
    return sum(f.stat().st_size for f in files)
