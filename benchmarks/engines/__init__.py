"""One module per engine, and how to open it. An engine has a method per workload, from `Data` to a `Program`."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple


class Program(NamedTuple):
    """What an engine makes of a workload."""

    step: Callable[[], Any]  # does one step and returns its loss as the engine gives it
    numbers: Callable[[Any], list[float]]  # from that loss what the check compares: the loss, for `chain` gradients too


# The order of the tables.
ENGINES = {
    "chainrule": ("engines.torch_style", "Chainrule"),
    "chainrule-fast": ("engines.torch_style", "ChainruleFast"),
    "torch": ("engines.torch_style", "Torch"),
    "torch-tuned": ("engines.torch_style", "TunedTorch"),
    "autograd": ("engines.hips_autograd", "HipsAutograd"),
    "mygrad": ("engines.my_grad", "MyGrad"),
    "numpy": ("engines.plain_numpy", "PlainNumpy"),
}


def open_engine(name, threads):
    """The engine of that name, or ModuleNotFoundError where its library is not installed."""
    module, cls = ENGINES[name]
    return getattr(importlib.import_module(module), cls)(threads)
