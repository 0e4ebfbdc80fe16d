"""The score of a model as a function of what it is attributed to: its inputs, or what one of its layers gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import nn
from ..autograd import FUNCTIONS, Tensor, grad
from .inputs import arguments
from .scope import Layer, Looking, copied, layer_of, leaf, tensor_of
from .scores import Target, scores, settled

__all__ = ["Entry", "gradients"]

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Entry:
    """A model, its inputs and its target. Made inside `looking`, it runs the model once.

    inputs: a tensor (N, ...), or a tuple or dict of the model's arguments, of which those are explained that are
    tensors of floats. layer: explain what this layer gives instead, as the embeddings of tokens, which have no
    gradient. integers: where no tensor is one of floats, integers are explained.

    Attributes: `inputs`, the model's arguments; `values`, leaves with what is explained; `score`, the scores (N,) as
    they depend on them; `target`, with the class that was chosen where none was named.
    """

    def __init__(
        self,
        look: Looking,
        model: Any,
        inputs: Any,
        target: Target,
        layer: Layer | None = None,
        integers: bool = False,
    ) -> None:
        self._model = model
        self._several = isinstance(inputs, (tuple, list, Mapping)) and layer is None
        given, named = arguments(inputs)
        #: of arguments by keyword
        self._names = list(named)
        self.inputs = (*given, *named.values())
        self._places = [i for i, x in enumerate(self.inputs) if isinstance(x, Tensor) and x.is_floating_point()]
        self._layer = layer
        #: what the layer's output is replaced by; None: take the output down
        self._replacement: Tensor | None = None
        self._calls = 0
        self.values: list[Tensor] = []
        if not self.inputs:
            raise TypeError("there are no inputs to explain")
        if layer is None:
            tensors = [i for i, x in enumerate(self.inputs) if isinstance(x, Tensor)]
            if integers and tensors and not self._places:
                self._places = tensors
                self.values = [self.inputs[i].detach() for i in tensors]
            else:
                self.values = [leaf(self.inputs[i]) for i in self._places or [0]]
            output = self._output(self.values)
        else:
            look.hook(layer_of(model, layer), lambda module, arguments, output: self._pass(output))
            output = self._output()
            if self._calls != 1:
                raise ValueError(f"the layer to explain is called once in a run of the model, not {self._calls} times")
        self.target = settled(output, target)
        self.score = scores(output, self.target)
        n = len(self.score)
        samples = len(self.values[0]) if self.values[0].dim() else 0
        if layer is None and not callable(self.target) and n != samples:
            raise ValueError(
                f"{n} scores of {samples} inputs: the first dimension is that of the samples; for one, x[None]"
            )
        whole = len(self.inputs) == 1 or (layer is None and len(self._places) == len(self.inputs))
        batches = all(isinstance(x, Tensor) and x.dim() and len(x) == n for x in (*self.inputs, *self.values))
        #: whether variants of the samples can be put together to one larger batch
        self.joinable = whole and batches and not callable(target) and not _mixes(model)

    def _pass(self, output: Any) -> Tensor:
        """What goes on in the place of the layer's output; its first one is taken down."""
        self._calls += 1
        if self._replacement is None:
            self._replacement = leaf(tensor_of(output, self._model, self._layer))
            self.values = [self._replacement]
        return self._replacement.clone()  # which an op in place may change

    def _output(self, values: Sequence[Tensor] = (), copies: int = 1) -> Any:
        """What the model gives, with these values in their places. It gets copies, as it may write into them."""
        given = list(copied(self.inputs))
        if copies > 1:
            given = [x.repeat(copies, *(1,) * (x.dim() - 1)) for x in given]
        for place, value in zip(self._places, values, strict=False):
            given[place] = value.clone()
        if self._names:
            return self._model(**dict(zip(self._names, given, strict=True)))
        return self._model(*given)

    def at(self, values: Sequence[Tensor], copies: int = 1) -> Tensor:
        """The scores of other values; with copies, of the samples that many times over, one batch behind another."""
        target = self.target
        if isinstance(target, Tensor):
            target = target.repeat(copies)
        if self._layer is None:
            return scores(self._output(values), target)
        self._replacement = values[0]
        return scores(self._output(copies=copies), target)

    def variants(self, stacks: Sequence[Tensor]) -> Tensor:
        """The scores (k, N) of k variants of all values, each stack (k, *value.shape)."""
        count = len(stacks[0])
        if not self.joinable:
            return FUNCTIONS["stack"]([self.at([stack[i] for stack in stacks]) for i in range(count)])
        return self.at([stack.flatten(0, 1) for stack in stacks], count).reshape(count, -1)

    def parts(self, count: int, batch: int) -> list[tuple[int, int]]:
        """`count` variants in parts (from, to), so that the model gets about `batch` samples at once."""
        size = max(1, batch // max(len(self.score), 1)) if self.joinable else 1
        return [(start, min(start + size, count)) for start in range(0, count, size)]

    def result(self, found: Sequence[Tensor]) -> Any:
        """Attributions in the inputs' form: a tensor, or a tuple or dict with None for what is not explained."""
        if not self._several:
            return found[0]
        answers: list[Tensor | None] = [None] * len(self.inputs)
        for place, tensor in zip(self._places, found, strict=True):
            answers[place] = tensor
        return dict(zip(self._names, answers, strict=True)) if self._names else tuple(answers)

    def filled(self, what: str, given: Any) -> list[Tensor]:
        """Tensors like the values, filled with a number or with a tensor that broadcasts; None is 0.

        given: one for all, or in the form of the inputs.
        """
        each = [given] * len(self.values)
        if self._names and isinstance(given, Mapping):
            if unknown := set(given) - set(self._names):
                raise ValueError(
                    f"values for {', '.join(sorted(unknown))}, which is none of the inputs: {', '.join(self._names)}"
                )
            each = [given.get(self._names[i]) for i in self._places]
        elif self._several and isinstance(given, (tuple, list)):
            if len(given) != len(self.inputs):
                raise ValueError(f"{len(given)} values for {len(self.inputs)} inputs")
            each = [given[i] for i in self._places]
        return [_filled(what, 0 if one is None else one, x) for one, x in zip(each, self.values, strict=True)]


def _mixes(model: nn.Module) -> bool:
    """Whether samples of a batch change one another's scores: batch norms that have no statistics but the batch's."""
    return any(isinstance(m, _BATCH_NORMS) and m.running_mean is None for m in model.modules())


def _filled(what: str, given: Any, x: Tensor) -> Tensor:
    if not isinstance(given, Tensor):
        given = FUNCTIONS["as_tensor"](given, dtype=x.dtype if x.is_floating_point() else None)
    tensor = given.detach()
    if tensor.is_floating_point() and not x.is_floating_point():
        raise TypeError(f"{what} of floats for inputs of {x.dtype}: name an integer")
    try:
        return tensor.to(x).expand_as(x)
    except RuntimeError:
        raise ValueError(f"{what} {tuple(tensor.shape)} for inputs {tuple(x.shape)}: it has to broadcast") from None


def gradients(score: Tensor, values: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of the sum of all scores; zeros for one on which they do not depend; ValueError for all such."""
    if not score.requires_grad:
        raise ValueError("the score does not depend on the inputs, or by operations that have no gradient")
    return list(grad(score.sum(), values, materialize_grads=True))
