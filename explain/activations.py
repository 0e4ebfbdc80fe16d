"""What layers hold: their outputs while a model runs, and their kernels."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .. import nn
from ..autograd import Tensor, no_grad
from ..utils.images import make_grid
from .inputs import arguments
from .scope import Layer, copied, layer_of, looking, said

__all__ = ["Layers", "activations", "chosen_of", "following", "gallery", "kernels", "numbered"]

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
def following(
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


def chosen_of(model: nn.Module, layers: Layers) -> list[nn.Module]:
    """The modules of these layers; none of None."""
    several: Any = [layers] if isinstance(layers, (nn.Module, str)) else layers or ()
    return [layer_of(model, layer) for layer in several]


def numbered(found: list[tuple[str, Tensor]]) -> dict[str, Tensor]:
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

    Outputs have the shapes in which layers give them, (N, ...). inputs: a tensor, a tuple of several arguments, or a
    dict of them by keyword. layers: names or modules; by default those that call no other module, whose names are those
    of `named_modules` (of the model itself: its class). An output that is a tuple, list or dict has an entry for each
    tensor in it, `lstm[0]`, `lstm[1][0]`; calls after the first of one layer have their number behind the name,
    `relu#2`. The model runs in evaluation mode.

    ValueError for a layer that the model does not have, or does not call. As the pictures in J. Yosinski et al.,
    "Understanding neural networks through deep visualization", 2015.
    """
    chosen = chosen_of(model, layers)
    found: list[tuple[str, Tensor]] = []
    called = set()

    def keep(module: nn.Module, innermost: bool, output: Any) -> None:
        called.add(module)
        if innermost or chosen:
            for name, part in _parts(output, run.names[module]):
                found.append((name, part.detach().clone()))  # what comes next may work in place

    given, named = copied(arguments(inputs))
    with following(model, dict.fromkeys(chosen) or model.modules(), keep) as run:
        model(*given, **named)
    missing = [run.names[module] for module in chosen if module not in called]
    if missing:
        raise ValueError(f"{type(model).__name__} does not call {', '.join(missing)} for these inputs")
    return numbered(found)


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
