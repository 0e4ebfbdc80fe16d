"""The receptive field of a layer: which part of the input a unit of it sees."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from .. import nn
from ..autograd import FUNCTIONS, Tensor, float64, get_default_dtype, grad, set_default_dtype
from ..autograd.random import fork_rng
from ..utils.recorded import tensors
from .inputs import is_shape, made
from .reach import Box, full, hull, needed
from .scope import layer_of, leaf, looking
from .trace import Call, Source, Trace, Value

__all__ = ["ReceptiveField", "receptive_field"]

#: units from which a stride is read: a multiple of all factors by which layers enlarge
_FAR = 5040 * 64


@dataclass(frozen=True)
class ReceptiveField:
    """What `receptive_field` found; tuples have an entry for each dimension behind the channels, (y, x) of images.

    size: input elements across the field of the unit at `centre`, as if the input went on beyond its border. stride:
    how far the fields of neighbours lie apart; 0 where all units see the same. start: the first element of unit 0's
    field, negative in the padding. units: how many there are. input_size: shape of the input.
    gradient: the mean of |∂ unit / ∂ input| over random inputs, summed over the channels: the effective receptive
    field; None where it was not asked for. reached: (first, last) element that has a gradient; None where none has.
    """

    size: tuple[int, ...]
    stride: tuple[Fraction, ...]
    start: tuple[int, ...]
    units: tuple[int, ...]
    centre: tuple[int, ...]
    input_size: tuple[int, ...]
    gradient: Tensor | None = field(repr=False)
    reached: tuple[tuple[int, int], ...] | None
    _seen: Any = field(repr=False)

    def box(self, unit: Iterable[int] | None = None, *, clip: bool = True) -> tuple[tuple[int, int], ...]:
        """(first, last) input element that a unit (by default the one at the centre) can see, without the padding.

        unit: its place, (y, x) of images, such as `top_inputs` gives. clip=False: with the padding, and as if the input
        went on. (0, -1) for a unit that sees nothing. IndexError for a unit that there is not.
        """
        unit = self.centre if unit is None else tuple([int(i) for i in unit])
        if len(unit) != len(self.units) or any(not 0 <= i < n for i, n in zip(unit, self.units)):
            raise IndexError(f"there is no unit {unit}: the layer has {self.units}")
        pairs = self._seen(unit)
        if not clip:
            return pairs
        return tuple([(max(a, 0), min(b, n - 1)) for (a, b), n in zip(pairs, self.input_size[2:])])

    def window(self, unit: Iterable[int] | None = None) -> tuple[slice, ...]:
        """The same as slices: `image[..., *field.window((3, 4))]` is what the unit sees of an image."""
        return tuple([slice(a, b + 1) for a, b in self.box(unit)])

    def __str__(self) -> str:
        def by(values: Any) -> str:
            return " × ".join(map(str, values))

        units = f"{by(self.units)} units, of which {by(self.centre)}" if self.units else "one unit, which"
        text = f"size {by(self.size)}, stride {by(self.stride)}, start {by(self.start)}; {units}"
        text += f" sees {by(f'{a}..{b}' for a, b in self.box())}"
        if self.gradient is None:
            return text
        reached = "nothing" if self.reached is None else by(f"{a}..{b}" for a, b in self.reached)
        return f"{text} and gradients reach {reached}"


def receptive_field(
    model: nn.Module,
    layer: nn.Module | str | None,
    input_size: Any,
    *,
    samples: int = 2,
    device: Any = None,
    generator: Any = None,
) -> ReceptiveField:
    """Which part of the input a unit of `layer` sees: size, stride and start of its field, and what really reaches it.

    Analytic: the box of input elements is followed back from the unit through every op that ran; a window of k
    elements with stride s, dilation d and padding p turns the elements a..b into a·s - p .. b·s - p + (k - 1)·d, and
    where branches meet the box is around both. Ops that mix a whole dimension (a mean over the image, attention,
    flatten before a linear layer), or look up places that depend on values (grid_sample, gather), see all of it. And by
    gradients: of the unit at the centre, channels weighted at random, for `samples` random inputs (0: not at all), in
    float64 and evaluation mode; they lie inside that box, and max pools and ReLUs leave out parts of it. Without a
    `generator` the random numbers go on as if none were drawn.

    input_size: shape of the input, with batch and channels, (1, 3, 224, 224), or an input, for which the gradient is
    taken. layer: a module or its name, None for the model itself; of several calls the first counts. ValueError for a
    layer that is not called or whose output does not depend on the input.

    Source: A. Araujo, W. Norris, J. Sim, "Computing receptive fields of convolutional neural networks", Distill, 2019;
    W. Luo et al., "Understanding the effective receptive field in deep convolutional neural networks", 2016.
    """
    given = input_size if isinstance(input_size, Tensor) else None
    if given is None and not (is_shape(input_size) and len(input_size) > 2):
        raise ValueError(f"receptive_field: input_size is (batch, channels, ...), not {input_size!r}")
    if given is not None and not given.is_floating_point():
        raise TypeError(f"receptive_field: the input is a tensor of floats, not {given.dtype}")
    module = model if layer is None else layer_of(model, layer)
    with fork_rng():
        x = made(model, tuple(input_size), None, device)[0][0] if given is None else given
        with looking(model) as look:
            trace = Trace(look, model, ((x,), {}), until=module)
        call = next((c for c in trace.root.walk() if c.module is module), None)
        if call is None or not call.outputs:
            raise ValueError(f"receptive_field: {type(model).__name__} does not call this layer for such an input")
        units = call.outputs[0].shape[2:]
        centre = tuple([n // 2 for n in units])
        seen = _Seen(trace.root, call.outputs[0], trace.inputs)
        drawn = [FUNCTIONS["empty_like"](x).normal_(generator=generator) for _ in range(samples)]
        gradient = _gradient(model, module, centre, drawn if given is None else [given], generator) if samples else None
    at_centre, at_first = seen(centre), seen((0,) * len(units))
    far = seen((_FAR,) * len(units))
    stride = [Fraction(b[0] - a[0], _FAR).limit_denominator(1000) for a, b in zip(at_first, far)]
    return ReceptiveField(
        tuple([b - a + 1 for a, b in at_centre]),
        tuple(stride),
        tuple([a for a, _ in at_first]),
        tuple(units),
        centre,
        tuple(x.shape),
        gradient,
        None if gradient is None else _reached(gradient),
        seen,
    )


def _gradient(
    model: nn.Module, module: nn.Module, unit: tuple[int, ...], inputs: list[Tensor], generator: Any
) -> Tensor:
    """The mean of |∂ unit / ∂ input| at these inputs."""
    total = FUNCTIONS["zeros_like"](inputs[0][0, 0])
    with looking(model) as look, _in_double(model):
        run = look.until(model, [module])
        for x in inputs:
            start = leaf(x.double())
            value = tensors(run(start.clone()))[0][(slice(None), slice(None), *unit)]
            weight = FUNCTIONS["empty_like"](value).detach().normal_(generator=generator)
            (g,) = grad((value * weight).sum(), (start,))
            total += g.abs().sum((0, 1)) / len(inputs)
    return total


@contextlib.contextmanager
def _in_double(model: nn.Module) -> Iterator[None]:
    """A block in which the model computes in float64.

    In float32 convolutions may take Winograd's or another transform, whose rounding errors stand where a gradient is 0.
    """
    held = [(t, t.data) for t in (*model.parameters(), *model.buffers()) if t.is_floating_point()]
    default = get_default_dtype()
    try:
        set_default_dtype(float64)
        for t, data in held:
            t.data = data.double()
        yield
    finally:
        set_default_dtype(default)
        for t, data in held:
            t.data = data


def _reached(gradient: Tensor) -> tuple[tuple[int, int], ...] | None:
    """(first, last) place along each dimension where there is a gradient."""
    places = gradient.nonzero()
    if not len(places):
        return None
    return tuple(zip(places.amin(0).tolist(), places.amax(0).tolist()))


class _Seen:
    """unit -> the box of the input that it sees, followed back through the ops of a run; (0, -1) where it sees none."""

    def __init__(self, root: Call, value: Value, inputs: dict[str, Value]) -> None:
        self._ops, self._value = list(root.ops()), value
        ((self._source,),) = [source.makers for source in inputs.values()]
        if self._followed(full(value.shape)) is None:
            raise ValueError("receptive_field: the layer's output does not depend on the input")

    def __call__(self, unit: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        seen = self._followed((*full(self._value.shape[:2]), *[(i, i) for i in unit]))
        return ((0, -1),) * len(unit) if seen is None else seen[2:]

    def _followed(self, box: Box) -> Box | None:
        """What a box of the value needs of the input."""
        boxes: dict[Any, Box] = {}
        self._need(boxes, self._value, box)
        for call in reversed(self._ops):
            for number, out in enumerate(call.outputs):
                if out in boxes:
                    for value, needs in zip(call.inputs, needed(call, number, boxes.pop(out))):
                        if value is not None and needs is not None:
                            self._need(boxes, value, needs)
        return boxes.get(self._source)

    @staticmethod
    def _need(boxes: dict[Any, Box], value: Value, box: Box) -> None:
        """Hand a box of a value to what made it; all of what has another shape."""
        for maker in value.makers:
            places: list[Any]
            if isinstance(maker, Source):
                places = [maker] if maker.kind == "input" else []
            else:
                places = [value] if value in maker.outputs else maker.outputs
            for at in places:
                boxes[at] = hull(boxes.get(at), box if at.shape == value.shape else full(at.shape))
