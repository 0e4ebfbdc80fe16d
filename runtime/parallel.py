"""Data parallelism within one process, under PyTorch's names, with at most one GPU: the module runs as it is.

What programs see of it is the wrapper: the module is `.module`, and the keys of a state dict begin with "module.".
Several processes: `distributed.data_parallel`.
"""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor, device
from ..nn import Module
from . import cuda

__all__ = ["DataParallel", "data_parallel", "gather", "scatter"]


def _devices(device_ids: Any) -> list[int]:
    """The first GPU of those given, or of all; none where there is no GPU."""
    if not cuda.is_available():
        return []
    given = [0] if device_ids is None else list(device_ids)
    return [0 if (index := device(d).index) is None else index for d in given[:1]]


def moved(tree: Any, target: Any) -> Any:
    """The tensors in a tree of tuples, lists and dictionaries on another device."""
    if isinstance(tree, Tensor):
        return tree.to(target)
    if isinstance(tree, dict):
        return {key: moved(value, target) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [moved(value, target) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


def scatter(inputs: Any, target_gpus: Any, dim: int = 0) -> list[Any]:
    """Tensors split along `dim` over devices: onto the one that is given, whole.

    A list of one; NotImplementedError for more devices.
    """
    if len(target_gpus) != 1:
        raise NotImplementedError(f"chainrule splits no batch over devices: give one, not {len(target_gpus)}")
    return [moved(inputs, target_gpus[0])]


def gather(outputs: Any, target_device: Any, dim: int = 0) -> Any:
    """The results of all devices, joined along `dim`: that of the one. NotImplementedError for more."""
    if len(outputs) != 1:
        raise NotImplementedError(f"chainrule splits no batch over devices: got results of {len(outputs)}")
    return moved(outputs[0], target_device)


class DataParallel(Module):
    """PyTorch's wrapper that splits a batch over GPUs. Here there is at most one, so it calls `module`.

    With a GPU the module is moved there, and inputs follow. `device_ids`: the first of them is used. output_device:
    PyTorch's, kept as an attribute. dim: that of the batch, which is not cut.
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        self.dim, self.module, self.device_ids = dim, module, _devices(device_ids)
        if self.device_ids:
            self.output_device = self.device_ids[0] if output_device is None else output_device
            self.src_device_obj = device("cuda", self.device_ids[0])
            self.module.to(self.src_device_obj)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's result."""
        if self.device_ids:
            inputs, kwargs = moved(inputs, self.src_device_obj), moved(kwargs, self.src_device_obj)
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Any = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: Any = None,
) -> Any:
    """`module(*inputs, **module_kwargs)`, on the first of the devices; a single input needs no tuple.

    device_ids, output_device, dim: as of `DataParallel`.
    """
    inputs = inputs if isinstance(inputs, tuple) else () if inputs is None else (inputs,)
    return DataParallel(module, device_ids, output_device, dim)(*inputs, **(module_kwargs or {}))
