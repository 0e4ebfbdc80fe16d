"""Backward passes with another rule at ReLUs: guided backpropagation, and the deconvnet.

With f the input of a ReLU and g the signal that comes back to it, what goes on to f is

    the gradient            g where f > 0, otherwise 0
    deconvnet               g where g > 0, otherwise 0
    guided backpropagation  g where f > 0 and g > 0, otherwise 0

and everything else passes on what its gradient rule says. The rule is put on the nodes of the one graph that a call
records, whichever way the model spells its ReLUs: `nn.ReLU`, `F.relu`, `x.relu_()`, `x.clamp(min=0)`, ReLU6, those
inside of `nn.RNN` and of Transformer layers; `where(x > 0, x, 0)` is none. So no op is changed, and other threads do
not notice. Turned down: hooks on modules, which do not see functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from .. import nn
from ..autograd import FUNCTIONS, Node, Tensor
from ..autograd.hooks import add_hook
from ..autograd.plan import Plan
from ..autograd.saved import saved_tensors_hooks
from ..nn import functional as F
from .entry import Entry, gradients
from .scope import Layer, Looking, looking
from .scores import Target

__all__ = ["deconvnet", "guided_backprop"]

Unit = int | tuple[int, ...] | None
#: ops that let through what is positive, but not as a ReLU does
_OTHERS = {"leaky_relu", "prelu_slope", "elu", "celu", "gelu", "silu", "mish", "softplus", "hardswish", "threshold"}


def guided_backprop(
    model: nn.Module,
    inputs: Any,
    target: Target = None,
    *,
    layer: Layer | None = None,
    unit: Unit = None,
) -> Any:
    """The gradient of the score, of which ReLUs pass on only what is positive, where their input was: inputs' shape.

    layer, unit: from what these give instead of a score; see `deconvnet`. ValueError for a model with rectifiers of
    other kinds (leaky ReLU, GELU, ...), for which there is no such rule. Source: J. T. Springenberg, A. Dosovitskiy,
    T. Brox, M. Riedmiller, "Striving for simplicity: the all convolutional net", 2014.
    """
    return _backward(model, inputs, target, layer, unit, guided=True)


def deconvnet(
    model: nn.Module,
    inputs: Any,
    target: Target = None,
    *,
    layer: Layer | None = None,
    unit: Unit = None,
) -> Any:
    """What in the input a score, or a unit of a layer, answers to: its signal sent back through a transposed network.

    Convolutions are transposed, max pools put the signal where their maximum was (their switches), and ReLUs rectify
    the signal, wherever they were active themselves. This is the backward pass but for the ReLUs, so a network without
    any gives its gradient; where pools overlap, signals add up. Returns signals of the inputs' shape.

    layer: start from what this layer gives, the activations themselves. unit: of it only this channel, at the place
    where it is strongest in each sample, or a place behind the batch (a tuple; part of one: all that is there); None:
    all of it. ValueError as for `guided_backprop`. Sources: M. D. Zeiler, R. Fergus, "Visualizing and understanding
    convolutional networks", 2014; K. Simonyan et al., 2013, section 4, for the backward pass.
    """
    return _backward(model, inputs, target, layer, unit, guided=False)


def _backward(model: Any, inputs: Any, target: Target, layer: Any, unit: Unit, guided: bool) -> Any:
    if target is not None and layer is not None:
        raise ValueError("the signal starts from a target or from a layer, not from both")
    if unit is not None and layer is None:
        raise ValueError("a unit is one of a layer, which is not named; a class is a target")
    with looking(model) as look, _op_by_op(model, look):
        if layer is None:
            entry = Entry(look, model, inputs, target)
        else:
            run = look.until(model, [layer], tensors=True)
            entry = Entry(
                look, lambda *given, **named: run(*given, **named)[0], inputs, lambda output: _activation(output, unit)
            )
        for node in _relus(entry.score):
            if guided:
                add_hook(node, F.relu)  # and then its own rule
            else:
                node.plan = _SignalRule(node.plan)
        return entry.result(gradients(entry.score, entry.values))


@contextlib.contextmanager
def _op_by_op(model: nn.Module, look: Looking) -> Iterator[None]:
    """No kernel computes several ops at once, so each ReLU has a node of its own."""
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            look.hook(module, lambda *_: None)  # not joined to the batch norm before it
    with saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):  # composites are taken apart
        yield


def _activation(output: Tensor, unit: Unit) -> Tensor:
    """Σ a · output, whose gradient for the output is a: the unit's activations, 0 elsewhere."""
    values = output.detach()
    if unit is None:
        signal = values
    elif isinstance(unit, tuple):
        signal = FUNCTIONS["zeros_like"](values)
        signal[(slice(None), *unit)] = values[(slice(None), *unit)]
    else:
        signal = FUNCTIONS["zeros_like"](values)
        channel = values[:, unit].reshape(len(values), -1)
        strongest = channel.argmax(1, keepdim=True)
        alone = FUNCTIONS["zeros_like"](channel).scatter(1, strongest, channel.gather(1, strongest))
        signal[:, unit] = alone.reshape(values[:, unit].shape)
    return (signal * output).reshape(len(values), -1).sum(1)


def _relus(score: Tensor) -> list[Node]:
    """The ReLUs behind a score. ValueError where there are rectifiers of other kinds."""
    seen, stack = {score.node}, [score.node]
    found, others = [], set()
    while stack:
        node: Any = stack.pop()
        name = node.plan.op.name
        if name == "relu" or (name == "clamp" and _bound(node) == 0):
            found.append(node)
        elif name in _OTHERS or (name == "maximum" and _bound(node) == 0):
            others.add(name)
        for parent in node.parents:
            if isinstance(parent, Node) and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    if others:
        raise ValueError(
            f"the rule is one for ReLUs, and this model has {', '.join(sorted(others))}; saliency, smooth_grad and "
            "integrated_gradients take any model"
        )
    return found


def _bound(node: Node) -> float | None:
    """The lower bound of a clamp or maximum, where it is a number."""
    while type(node.saved) is not tuple:  # in the hands of hooks, or to be computed again
        node.saved = node.saved.restore(node)
    bound = dict(zip(node.plan.sources, node.saved, strict=True)).get(1)
    return bound if isinstance(bound, int | float) else None


class _SignalRule(Plan):
    """The plan of a ReLU that passes on relu(g)."""

    __slots__ = ()

    def __init__(self, plan: Plan) -> None:
        dict.__init__(self)
        self.op, self.mask, self.broadcast, self.sources, self.frees = (
            plan.op,
            plan.mask,
            plan.broadcast,
            (),
            plan.frees,
        )

    def __missing__(self, namespace: Any) -> tuple[Any, ...]:
        result = self[namespace] = ((0, lambda ops, g: ops.relu(g), 0, 0, False),)
        return result
