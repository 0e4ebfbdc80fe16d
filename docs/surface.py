"""What is public: which modules, which names in them, and under which path each thing is at home.

Public are the package, its packages and modules, and PyTorch's paths (`chainrule.aliases`); the names in a module's
`__all__`; of a class the methods and properties that have docstrings of their own. A new name is found by itself.
Modules that hold nothing for users stand in `INTERNAL`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import chainrule
from chainrule import aliases

ROOT = Path(chainrule.__file__).parent

#: folders whose files are reached by other paths (`chainrule.linalg`, not `chainrule.autograd.linalg`), but for these
FOLDERS = ("autograd", "backends", "explain", "runtime")
BY_THEIR_OWN = ("autograd.forward_ad", "autograd.functional")
#: modules, and packages with all that is in them, that are for chainrule itself
INTERNAL = {
    *("aliases", "autograd.anomaly_mode", "autograd.grad_mode", "autograd.ops", "runtime"),
    *("backends.communication", "backends.compiled", "backends.cupy", "backends.numpy"),
    *("distributed.buckets", "distributed.data_parallel", "distributed.distributed_c10d", "distributed.run"),
    *("nn.feed_forward", "nn.hooks", "nn.reduction", "nn.registration", "nn.state", "nn.tuples", "nn.modules.module"),
    *("optim.custom", "optim.master", "optim.plan", "optim.together", "optim.lr_scheduler.base"),
    *("testing.calls", "testing.numeric"),
    *("utils.charts", "utils.measures", "utils.recorded", "utils.reports", "utils.data.transforms.images"),
    *("utils.tensorboard.graph", "utils.tensorboard.library"),
}

#: arguments that mean the same wherever they stand; the reference says it once
GENERAL = {
    "input, other, self": "the operands: tensors; numbers where operands broadcast",
    "dim, dims": "a dimension or several, from the end if negative; all of them where it may be left out",
    "keepdim": "reduced dimensions stay, with size 1",
    "dtype, device": "of the result, or of a layer's parameters; by default the input's, or the default ones",
    "requires_grad": "whether the new tensor collects gradients",
    "layout, pin_memory, memory_format": "of a new tensor: all elements, page-locked memory, the order of dimensions",
    "out": "a tensor that takes the result",
    "generator": "the source of random numbers; by default the one that `manual_seed` seeds",
    "inplace": "write into the input",
    "training": "behave as in training, not as in evaluation",
    "bias": "of a layer: whether it adds a learned one",
    "target": "what the input is compared with",
    "weight": "of a layer's function: the layer's parameter",
    "reduction": '"mean" or "sum" of all elements, or "none"',
    "size_average, reduce": "former ways to say `reduction`",
    "params": "what an optimizer trains: tensors, pairs with names, or dicts with options of their own",
    "maximize": "climb",
    "foreach, fused, capturable": "PyTorch's choices of an implementation: here there is one",
    "differentiable": "the optimizer's step is recorded",
    "master_weights": "float32 copies of parameters in 16 bits",
    "optimizer, last_epoch": "whose rates are scheduled, and the number of the last epoch: -1 begins",
    "validate_args": "whether a distribution checks its parameters and the values that it is asked about",
    "cache_size": "1: a transform keeps its last pair of x and y",
    "group, async_op": "the processes that take part (by default all); return a `Work` at once",
    "weights": "of a model's function: the path of a checkpoint",
    "args, kwargs": "passed on",
    "deprecated": "PyTorch's old forms with numbers before tensors, which warn",
    "cudnn_enabled, cudnn_enable": "PyTorch's; without effect",
    "progress": "show how far the work is",
    "batch": "how many samples are computed at once",
}


def load(path: str) -> ModuleType:
    """The module that users import as chainrule.`path`."""
    return importlib.import_module(f"chainrule.{path}" if path else "chainrule")


def names(module: ModuleType) -> list[str]:
    """What `from module import *` brings."""
    return sorted(set(getattr(module, "__all__", ())), key=lambda name: (name.lower(), name))


def _of_ours(value: Any) -> bool:
    return isinstance(value, ModuleType) and value.__name__.startswith("chainrule.")


def _internal(path: str) -> bool:
    parts = path.split(".")
    above = {".".join(parts[: i + 1]) for i in range(len(parts))}
    return any(part.startswith("_") for part in parts) or bool(above & INTERNAL)


@functools.cache
def paths() -> list[str]:
    """The public paths, short ones first: folders, PyTorch's paths, files in folders of either."""
    found = {"", *BY_THEIR_OWN, *aliases.PATHS, *aliases.PACKAGES}
    for folder in ROOT.glob("*/__init__.py"):
        found |= {".".join(init.parent.relative_to(ROOT).parts) for init in folder.parent.rglob("__init__.py")}
    for path in found - {""}:
        if not _internal(path):
            module = load(path)
            found |= {f"{path}.{name}" for name in names(module) if _of_ours(getattr(module, name))}
            file = Path(getattr(module, "__file__", None) or "")
            if file.name == "__init__.py" and path.partition(".")[0] not in FOLDERS:
                found |= {f"{path}.{other.stem}" for other in file.parent.glob("*.py") if other != file}
    return sorted((path for path in found if not _internal(path)), key=lambda path: (path.count("."), path))


class Thing:
    """What a name stands for. At home under the first path that has it; under others it is the same thing again."""

    def __init__(self, path: str, name: str, value: Any) -> None:
        self.path, self.name, self.value = path, name, value
        #: None, or the thing at home elsewhere
        self.same: Thing | None = None
        #: other full names of this very thing
        self.others: list[str] = []

    @property
    def full(self) -> str:
        """The name with its path."""
        return ".".join(filter(None, ("chainrule", self.path, self.name)))

    @functools.cached_property
    def source(self) -> str:
        """The module that it is written in, without `chainrule.`; that of `relu` for `relu_`. "" for plain values."""
        value = self.value
        module = getattr(value, "__module__", None) or ""
        if module == "chainrule.autograd.public" and self.name.endswith("_"):
            module = getattr(getattr(load(self.path), self.name[:-1], None), "__module__", "") or ""
        return module.removeprefix("chainrule.") if module.startswith("chainrule.") else ""

    def members(self) -> list[tuple[str, Any]]:
        """Of a class of ours: the public methods and properties with docstrings of their own."""
        if self.value is chainrule.Tensor:
            return [(name, inspect.getattr_static(self.value, name)) for name in methods()]
        if not inspect.isclass(self.value) or not self.value.__module__.startswith("chainrule."):
            return []
        found = ((name, inspect.getattr_static(self.value, name)) for name in vars(self.value) if name[0] != "_")
        return [(name, member) for name, member in found if _documented(member)]


#: what Tensor holds that is neither a method nor documented where it stands; its other attributes are the engine's
ATTRIBUTES = {
    "array": "The NumPy or CuPy array itself, without a copy. To be read, not written.",
    "leaf": "Whether this tensor collects gradients: made by the user, with requires_grad.",
    "node": "The node of the graph that made this tensor, or None.",
}


def methods() -> list[str]:
    """The public methods and attributes of Tensor, those from ops included."""
    found = (name for name in dir(chainrule.Tensor) if name[0] != "_")
    return [n for n in found if n in ATTRIBUTES or _documented(inspect.getattr_static(chainrule.Tensor, n))]


def _documented(member: Any) -> bool:
    if isinstance(member, (classmethod, staticmethod)):
        member = member.__func__
    kinds = (property, functools.cached_property)
    return bool(inspect.isfunction(member) or isinstance(member, kinds)) and bool(getattr(member, "__doc__", None))


def _identity(value: Any) -> Any:
    """What tells whether two names mean one thing: not for numbers, of which there are many alike."""
    return None if value is None or isinstance(value, (bool, int, float, str, tuple, list, dict)) else id(value)


@functools.cache
def surface() -> dict[str, list[Thing]]:
    """Public path -> its things. A module under a second path is left out, and one that only repeats things."""
    found: dict[str, list[Thing]] = {}
    home: dict[Any, Thing] = {}
    seen: set[int] = set()
    for path in paths():
        try:
            module = load(path)
        except ModuleNotFoundError as error:
            if str(error.name).startswith("chainrule"):
                raise
            continue  # of an optional library that is not here
        things = [Thing(path, name, getattr(module, name)) for name in names(module)]
        fresh = [t for t in things if _identity(t.value) not in home and not isinstance(t.value, ModuleType)]
        if id(module) in seen or not (fresh or path == "utils"):
            continue
        seen.add(id(module))
        found[path] = [t for t in things if not isinstance(t.value, ModuleType)]
        # at home under its own name, where it has one here: asin, not arcsin
        for thing in sorted(found[path], key=lambda t: getattr(t.value, "__name__", t.name) != t.name):
            key = _identity(thing.value)
            if key is None:
                continue
            first = home.setdefault(key, thing)
            if first is not thing:
                thing.same = first
                first.others.append(thing.full)
    return found


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a sentence, or the first paragraph."""
    paragraph = inspect.cleandoc(text or "").partition("\n\n")[0].replace("\n", " ")
    found = re.match(r".+?[.:](?=\s+[A-ZÀ-Þ`]|\s*$)", paragraph)
    return found[0].rstrip(":") if found else paragraph
