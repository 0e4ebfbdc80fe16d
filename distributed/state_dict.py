"""States of models and optimizers by the parameters' names, whatever wraps the model: torch.distributed.checkpoint's.

A name has no prefix of DistributedDataParallel or a compiled module, so a state goes from a wrapped model into a plain
one and back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..autograd import Tensor
from ..nn import Module
from ..optim import Optimizer
from . import collectives
from .data_parallel import DistributedDataParallel

__all__ = [
    "StateDictOptions",
    "get_model_state_dict",
    "get_optimizer_state_dict",
    "get_state_dict",
    "set_model_state_dict",
    "set_optimizer_state_dict",
    "set_state_dict",
]


@dataclass
class StateDictOptions:
    """How states are taken and put.

    cpu_offload: tensors taken are on the CPU. ignore_frozen_params: parameters without requires_grad are left out.
    strict: a model's state has exactly its names. broadcast_from_rank0: what is put is rank 0's, in all processes.
    full_state_dict, keep_submodule_prefixes: PyTorch's, without effect: states are always full, names whole.
    flatten_optimizer_state_dict: NotImplementedError for True.
    """

    full_state_dict: bool = False
    cpu_offload: bool = False
    ignore_frozen_params: bool = False
    keep_submodule_prefixes: bool = True
    strict: bool = True
    broadcast_from_rank0: bool = False
    flatten_optimizer_state_dict: bool = False

    def __post_init__(self) -> None:
        if self.flatten_optimizer_state_dict:
            raise NotImplementedError("states of optimizers are nested dicts here: flatten_optimizer_state_dict=False")


def _bare(name: str) -> str:
    """A name without the wrappers' parts."""
    return ".".join([part for part in name.split(".") if part != "_orig_mod"])


def _inner(model: Module) -> Module:
    return model.module if isinstance(model, DistributedDataParallel) else model


def _taken(x: Any, options: StateDictOptions) -> Any:
    return x.cpu() if options.cpu_offload and isinstance(x, Tensor) else x


def _given(state: Any, options: StateDictOptions) -> Any:
    """The state, or rank 0's."""
    if not options.broadcast_from_rank0:
        return state
    box = [state]
    collectives.broadcast_object_list(box, src=0)
    return box[0]


def get_model_state_dict(
    model: Module, *, submodules: Any = None, options: StateDictOptions | None = None
) -> dict[str, Any]:
    """{name: tensor} of the parameters and buffers.

    options: see StateDictOptions. submodules: PyTorch's, not taken (NotImplementedError).
    """
    if submodules is not None:
        raise NotImplementedError("get_model_state_dict takes no submodules: call it for each of them")
    options = options or StateDictOptions()
    model = _inner(model)
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad} if options.ignore_frozen_params else set()
    return {_bare(n): _taken(x, options) for n, x in model.state_dict().items() if n not in frozen}


def set_model_state_dict(
    model: Module, model_state_dict: Mapping[str, Any], *, options: StateDictOptions | None = None
) -> Any:
    """Put the state into the model: (missing names, unexpected names), as `load_state_dict`, with its errors.

    options: see StateDictOptions.
    """
    options = options or StateDictOptions()
    model = _inner(model)
    names = {_bare(n): n for n in model.state_dict()}
    state = {names.get(n, n): x for n, x in _given(model_state_dict, options).items()}
    return model.load_state_dict(state, strict=options.strict)


def _named(model: Module) -> dict[Tensor, str]:
    return {p: _bare(n) for n, p in _inner(model).named_parameters()}


def _each(optimizers: Optimizer | Iterable[Optimizer]) -> Iterator[Optimizer]:
    yield from (optimizers,) if isinstance(optimizers, Optimizer) else optimizers


def get_optimizer_state_dict(
    model: Module,
    optimizers: Optimizer | Iterable[Optimizer],
    *,
    submodules: Any = None,
    options: StateDictOptions | None = None,
) -> dict[str, Any]:
    """{"state": {name: state}, "param_groups": [...]} of one optimizer or of several together, parameters by name.

    KeyError for a parameter that the model does not have. submodules, options: as of `get_model_state_dict`.
    """
    if submodules is not None:
        raise NotImplementedError("get_optimizer_state_dict takes no submodules: call it for each of them")
    options, names = options or StateDictOptions(), _named(model)
    found: dict[str, Any] = {"state": {}, "param_groups": []}
    for optimizer in _each(optimizers):
        packed = optimizer.state_dict()
        for group, own in zip(packed["param_groups"], optimizer.param_groups, strict=True):
            for i, p in zip(group["params"], own["params"], strict=True):
                if i in packed["state"]:
                    state = packed["state"][i]
                    found["state"][names[p]] = {key: _taken(value, options) for key, value in state.items()}
            found["param_groups"].append({**group, "params": [names[p] for p in own["params"]]})
    return found


def set_optimizer_state_dict(
    model: Module,
    optimizers: Optimizer | Iterable[Optimizer],
    optim_state_dict: Mapping[str, Any],
    *,
    options: StateDictOptions | None = None,
) -> None:
    """Put such a state into the optimizers: each parameter gets its own, each group its options.

    KeyError for a parameter of an optimizer that is in no group of the state; RuntimeError, if strict, for one that
    others have a state beside.
    """
    options = options or StateDictOptions()
    state, names = _given(optim_state_dict, options), _named(model)
    groups = {name: group for group in state["param_groups"] for name in group["params"]}
    for optimizer in _each(optimizers):
        packed = optimizer.state_dict()
        entries: dict[int, Any] = {}
        for group, own in zip(packed["param_groups"], optimizer.param_groups, strict=True):
            for i, p in zip(group["params"], own["params"], strict=True):
                group.update({key: value for key, value in groups[names[p]].items() if key != "params"})
                if names[p] in state["state"]:
                    entries[i] = state["state"][names[p]]
                elif options.strict and state["state"] and p.requires_grad:
                    raise RuntimeError(
                        f"Missing optimizer state for parameter {names[p]!r} in checkpoint. To load anyway, use "
                        "StateDictOptions(strict=False)."
                    )
        optimizer.load_state_dict({"state": entries, "param_groups": packed["param_groups"]})


def get_state_dict(
    model: Module,
    optimizers: Optimizer | Iterable[Optimizer],
    *,
    submodules: Any = None,
    options: StateDictOptions | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the model's state, the optimizers' state). submodules, options: as of `get_model_state_dict`."""
    return (
        get_model_state_dict(model, submodules=submodules, options=options),
        get_optimizer_state_dict(model, optimizers, submodules=submodules, options=options),
    )


def set_state_dict(
    model: Module,
    optimizers: Optimizer | Iterable[Optimizer],
    *,
    model_state_dict: Mapping[str, Any],
    optim_state_dict: Mapping[str, Any],
    options: StateDictOptions | None = None,
) -> Any:
    """Put both states; returns what `set_model_state_dict` does. options: see StateDictOptions."""
    set_optimizer_state_dict(model, optimizers, optim_state_dict, options=options)
    return set_model_state_dict(model, model_state_dict, options=options)
