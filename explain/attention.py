"""Where attention looks while a model runs, and through all layers of an encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import nn
from ..autograd import FUNCTIONS, Tensor
from ..autograd.op import GRAPH
from ..autograd.ops.attention import attention_weights
from ..autograd.watch import seen
from .activations import Layers, chosen_of, following, numbered
from .inputs import arguments
from .scope import copied

__all__ = ["attention_maps", "attention_rollout"]


def attention_maps(model: nn.Module, inputs: Any, layers: Layers = None) -> dict[str, Tensor]:
    """Where attention looks: {name of the module: weights (N, heads, T, S)}, rows summing to 1, in the order of calls.

    Seen is every `nn.MultiheadAttention`, whatever its `need_weights`, and every call of
    `F.scaled_dot_product_attention`, under the name of the module in which it stands; what the model computes stays the
    same. Row i holds softmax(q kᵀ scale + mask), how much query i looks at each key; rows that may look at
    nothing are 0. Without heads or a batch their dimension is 1.

    layers: look at these alone (and at what is inside them); in a module that is named, each softmax counts as
    attention too (models.seq2seq: `layers="attention"`). inputs and names as of `activations`; calls of a module with
    one query each, as of a decoder that goes word by word, are the rows of one map. ValueError where no attention is
    seen. Source: A. Vaswani et al., "Attention is all you need", 2017.
    """
    chosen = chosen_of(model, layers)
    inside = {part for module in chosen for part in module.modules()}
    found: list[tuple[nn.Module, Tensor]] = []

    def look(op: Any, inputs: list[Any], params: dict[str, Any]) -> None:
        module = run.module or model
        if chosen and module not in inside:
            return
        weights = _weights(op.name, inputs, params, module in chosen)
        if weights is not None:
            found.append((module, weights.detach()))

    given, named = copied(arguments(inputs))
    with following(model, _may_attend(model, chosen)) as run, seen(look):
        model(*given, **named)
    attending = {module for module, _ in found}
    missing = [run.names[module] for module in chosen if attending.isdisjoint(module.modules())]
    if missing or not found:
        where = ", ".join(missing) or type(model).__name__
        raise ValueError(
            f"no attention is seen in {where}; name by layers= the modules whose forward has the softmax of an "
            "attention of their own"
        )
    return numbered(_joined([(run.names[module], weights) for module, weights in found]))


def _may_attend(model: nn.Module, chosen: list[nn.Module]) -> list[nn.Module]:
    """All modules but layers of `nn` without parts: none of those attends, and with a hook they would not be fused."""
    home = nn.Linear.__module__.rpartition(".")[0]
    return [
        module
        for module in model.modules()
        if module in chosen or any(module.children()) or not type(module).__module__.startswith(f"{home}.")
    ]


def _weights(op: str, inputs: list[Any], params: dict[str, Any], own: bool) -> Tensor | None:
    """The attention (N, heads, T, S) that an op is about to compute, or None for other ops."""
    if op in ("scaled_dot_product_attention", "attention_by_seed"):
        query, key, _, mask = inputs[:4]
        how = {name: params[name] for name in ("is_causal", "scale", "enable_gqa") if name in params}
        p = attention_weights(GRAPH, query, key, mask, **how)
        p = p if p.dim() > 2 else p.unsqueeze(0)
    elif op == "masked_softmax":  # of nn.MultiheadAttention with need_weights
        p = GRAPH.masked_softmax(inputs[0], params["dim"])
    elif op == "softmax" and own:
        p = GRAPH.softmax(inputs[0], params["dim"]).movedim(params["dim"], -1)
    else:
        return None
    if p.dim() < 4:
        n, t = p.shape[0] if p.dim() > 1 else 1, p.shape[1] if p.dim() > 2 else 1
        return p.reshape(n, 1, t, p.shape[-1])
    return p.reshape(p.shape[0], -1, *p.shape[-2:])


def _joined(found: list[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
    """Maps of one query each and of one shape are the rows of one map, where the first of them was."""
    maps: dict[str, list[Tensor]] = {}
    for name, weights in found:
        maps.setdefault(name, []).append(weights)
    for name, several in maps.items():
        shape = several[0].shape
        if len(several) > 1 and shape[2] == 1 and all(m.shape == shape for m in several):
            maps[name] = [FUNCTIONS["cat"](several, 2)]
    return [(name, maps[name].pop(0)) for name, _ in found if maps[name]]


def attention_rollout(
    maps: Mapping[str, Tensor] | Sequence[Tensor], *, residual: float = 0.5, heads: str = "mean"
) -> Tensor:
    """How much each place of the last layer takes from each input, through all layers: (N, T, T), rows summing to 1.

    A_L ⋯ A_2 A_1 with A_l = (1 - residual) W_l + residual I, where W_l is the layer's attention, the "mean", "max" or
    "min" over its heads, its rows scaled to sum to 1, and I stands for the shortcut around it. maps: what
    `attention_maps` found, of the layers of one encoder from first to last. ValueError for maps that are not square and
    of one shape. Source: S. Abnar, W. Zuidema, "Quantifying attention flow in Transformers", 2020.
    """
    layers = list(maps.values()) if isinstance(maps, Mapping) else list(maps)
    shapes = {(tuple(m.shape[:1]), tuple(m.shape[2:])) for m in layers}
    if len(shapes) != 1 or any(m.dim() != 4 or m.shape[2] != m.shape[3] for m in layers):
        said = ", ".join(str(tuple(m.shape)) for m in layers) or "none"
        raise ValueError(f"rollout takes maps (N, heads, T, T) of the layers of one encoder, not {said}")
    if heads not in ("mean", "max", "min"):
        raise ValueError(f"heads is 'mean', 'max' or 'min', not {heads!r}")
    total = None
    for layer in layers:
        w = {"mean": layer.mean, "max": layer.amax, "min": layer.amin}[heads](1)
        w = w / w.sum(2, keepdim=True).clamp(min=1e-12)
        a = (1 - residual) * w + residual * FUNCTIONS["eye"](w.shape[2], dtype=w.dtype, device=w.device)
        total = a if total is None else a @ total
    assert total is not None
    return total
