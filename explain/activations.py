"""What layers hold while a model runs: outputs, kernels, and where attention looks."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .. import nn
from ..autograd import FUNCTIONS, Tensor, no_grad
from ..autograd.op import GRAPH
from ..autograd.ops.attention import attention_weights
from ..autograd.watch import seen
from ..utils.images import make_grid
from .inputs import arguments
from .scope import Layer, copied, layer_of, looking, said

__all__ = ["activations", "attention_maps", "attention_rollout", "gallery", "kernels"]

#: one layer or several, by name or as the module itself
Layers = Layer | Iterable[Layer] | None


class _Run:
    """One run of a model: which modules are being called, innermost last."""

    def __init__(self, model: nn.Module) -> None:
        self.names = {module: name or type(model).__name__ for name, module in model.named_modules()}
        #: (module, whether it called one that is followed too)
        self.open: list[tuple[nn.Module, bool]] = []

    @property
    def module(self) -> nn.Module | None:
        """The innermost of the modules that are followed."""
        return self.open[-1][0] if self.open else None

    def enter(self, module: nn.Module, arguments: Any) -> None:
        if self.open:
            self.open[-1] = self.open[-1][0], True
        self.open.append((module, False))

    def leave(self, module: nn.Module) -> bool:
        """Whether the call called none of the others."""
        while True:  # calls that ended by an exception, which the model caught, are still there
            last, called = self.open.pop()
            if last is module:
                return not called


@contextlib.contextmanager
def _following(
    model: nn.Module, modules: Iterable[nn.Module], after: Callable[[nn.Module, bool, Any], None] | None = None
) -> Iterator[_Run]:
    """A block in which `after(module, innermost, output)` comes after each call of one of the modules."""
    with looking(model) as at, no_grad():
        run = _Run(model)

        def leave(module: nn.Module, arguments: Any, output: Any) -> None:
            innermost = run.leave(module)
            if after is not None:
                after(module, innermost, output)

        for module in modules:
            at.pre_hook(module, run.enter)
            at.hook(module, leave)
        yield run


def _chosen(model: nn.Module, layers: Layers) -> list[nn.Module]:
    several: Any = [layers] if isinstance(layers, (nn.Module, str)) else layers or ()
    return [layer_of(model, layer) for layer in several]


def _numbered(found: list[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """A name's first tensor by it, the second as name#2, ..., in their order."""
    counts: Counter[str] = Counter()
    named = {}
    for name, tensor in found:
        counts[name] += 1
        named[name if counts[name] == 1 else f"{name}#{counts[name]}"] = tensor
    return named


def _parts(output: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of an output, with their places in it."""
    if isinstance(output, Tensor):
        yield name, output
    elif isinstance(output, Mapping):
        for key, part in output.items():
            yield from _parts(part, f"{name}[{key}]")
    elif isinstance(output, (tuple, list)):
        for i, part in enumerate(output):
            yield from _parts(part, f"{name}[{i}]")


def activations(model: nn.Module, inputs: Any, layers: Layers = None) -> dict[str, Tensor]:
    """What layers give for these inputs: {name: output}, in the order in which they are called; detached copies.

    inputs: a tensor, a tuple of several arguments, or a dict of them by keyword. layers: names or modules; by default
    those that call no other module, whose names are those of `named_modules` (of the model itself: its class). An
    output that is a tuple, list or dict has an entry for each tensor in it, `lstm[0]`, `lstm[1][0]`; calls after the
    first of one layer have their number behind the name, `relu#2`. The model runs in evaluation mode.

    ValueError for a layer that the model does not have, or does not call. As the pictures in J. Yosinski et al.,
    "Understanding neural networks through deep visualization", 2015.
    """
    chosen = _chosen(model, layers)
    found: list[tuple[str, Tensor]] = []
    called = set()

    def keep(module: nn.Module, innermost: bool, output: Any) -> None:
        called.add(module)
        if innermost or chosen:
            for name, part in _parts(output, run.names[module]):
                found.append((name, part.detach().clone()))  # what comes next may work in place

    given, named = copied(arguments(inputs))
    with _following(model, dict.fromkeys(chosen) or model.modules(), keep) as run:
        model(*given, **named)
    missing = [run.names[module] for module in chosen if module not in called]
    if missing:
        raise ValueError(f"{type(model).__name__} does not call {', '.join(missing)} for these inputs")
    return _numbered(found)


# -- kernels ----------------------------------------------------------------------------------------------------------


def kernels(
    model: nn.Module,
    layer: Layer | None = None,
    *,
    shape: Sequence[int] | None = None,
    normalize: str | None = None,
) -> Tensor:
    """The kernels (K, C, ...) of a layer, by default of the model's first convolution; a detached copy.

    shape: of one input, (C, H, W), for a linear layer whose rows are pictures. normalize: to numbers from 0 to 1 with 0
    as ½, w / (2 max|w|) + ½, with the maximum over "all" kernels or of "each" by itself. ValueError for a model without
    convolution, or a layer without a matrix of weights. As the pictures in A. Krizhevsky, I. Sutskever, G. Hinton,
    "ImageNet classification with deep convolutional neural networks", 2012, figure 3.
    """
    if layer is None:
        convolutions = [m for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d)]
        module = convolutions[0] if convolutions else model
    else:
        module = layer_of(model, layer)
    with looking(model), no_grad():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.dim() < 2:
            if layer is None:
                raise ValueError(f"{type(model).__name__} has no convolution: name a layer")
            raise ValueError(f"layer {said(layer)} has no matrix of weights")
        weight = weight.detach().clone()
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        weight = weight.transpose(0, 1)
    if shape is not None:
        weight = weight.reshape(len(weight), *shape)
    return weight if normalize is None else _around_half(weight, normalize)


def _around_half(x: Tensor, which: str) -> Tensor:
    if which not in ("each", "all"):
        raise ValueError(f"normalize is 'each', 'all' or None, not {which!r}")
    top = x.abs().amax(tuple(range(1 if which == "each" else 0, x.dim())), keepdim=True)
    return x / (2 * top.masked_fill(top == 0, 1)) + 0.5


def gallery(maps: Tensor, *, columns: int = 8, padding: int = 1, normalize: str | None = "all") -> Tensor:
    """Maps (K, H, W), (K, 1, H, W) or (K, 3, H, W) side by side on white, one image (3, H', W').

    normalize: as of `kernels`; None for values from 0 to 1. `utils.images.save_image` writes it to a file without
    matplotlib; `plots.gallery` draws with titles and a scale of colours. columns: maps in a row; padding: white pixels
    around each.
    """
    x = maps.detach()
    x = x.unsqueeze(1) if x.dim() == 3 else x
    if x.dim() != 4 or x.shape[1] not in (1, 3) or not len(x):
        raise ValueError(f"a gallery takes maps (K, H, W), (K, 1, H, W) or (K, 3, H, W), not {tuple(maps.shape)}")
    if normalize is not None:
        x = _around_half(x, normalize)
    return make_grid(x, nrow=columns, padding=padding, pad_value=1.0).to(x.device)


# -- attention --------------------------------------------------------------------------------------------------------


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
    chosen = _chosen(model, layers)
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
    with _following(model, _may_attend(model, chosen)) as run, seen(look):
        model(*given, **named)
    attending = {module for module, _ in found}
    missing = [run.names[module] for module in chosen if attending.isdisjoint(module.modules())]
    if missing or not found:
        where = ", ".join(missing) or type(model).__name__
        raise ValueError(
            f"no attention is seen in {where}; name by layers= the modules whose forward has the softmax of an "
            "attention of their own"
        )
    return _numbered(_joined([(run.names[module], weights) for module, weights in found]))


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
