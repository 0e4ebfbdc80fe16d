"""Looking at a model without changing it.

Each method of the package looks inside `looking(model)`: whatever it switches or hangs in is put back at the end of
the block, also when an exception passes through. Turned down: working on a deep copy, which costs the memory of the
model and breaks methods that name a layer by the object itself.

Threads may look at one model at the same time: hooks answer the calls of their own thread alone, and what is switched
is put back when the last of the blocks ends. A thread that trains the model meanwhile would see it switched.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from .. import nn
from ..autograd import Tensor, enable_grad, no_grad
from ..utils._pytree import tree_map_only

__all__ = ["Layer", "Looking", "Reached", "copied", "layer_of", "leaf", "looking", "said", "tensor_of"]

#: a layer, by its name or as the module itself
Layer: TypeAlias = nn.Module | str


class _Switches:
    """Attributes that several blocks hold at another value at once: the last to let go puts back what they were."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: (the object's id, attribute) -> the object, what the attribute was, how many blocks hold it
        self._held: dict[tuple[int, str], tuple[Any, Any, int]] = {}

    @contextlib.contextmanager
    def hold(self, owners: list[Any], name: str, value: Any) -> Iterator[None]:
        """`setattr(owner, name, value)` for each owner until the end of the block."""
        with self._lock:
            for owner in owners:
                _, before, count = self._held.get((id(owner), name), (owner, getattr(owner, name), 0))
                self._held[id(owner), name] = owner, before, count + 1
                setattr(owner, name, value)
        try:
            yield
        finally:
            with self._lock:
                for owner in owners:
                    _, before, count = self._held.pop((id(owner), name))
                    if count > 1:
                        self._held[id(owner), name] = owner, before, count - 1
                    else:
                        setattr(owner, name, before)


_SWITCHES = _Switches()
#: held while a hook is hung in or taken out
_HANGING = threading.Lock()


class Looking:
    """What `looking` gives: hooks that are taken out at the end of the block, and answer calls of this thread alone."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack, self._thread = stack, threading.get_ident()

    def hook(self, module: nn.Module, function: Callable[[nn.Module, tuple[Any, ...], Any], Any]) -> None:
        """`function(module, arguments, output)` after each call of the module; what it returns replaces the output."""
        self._hang(module, module.register_forward_hook, function)

    def pre_hook(self, module: nn.Module, function: Callable[[nn.Module, tuple[Any, ...]], Any]) -> None:
        """`function(module, arguments)` before each call of the module; what it returns replaces the arguments."""
        self._hang(module, module.register_forward_pre_hook, function)

    def _hang(self, module: nn.Module, register: Any, function: Callable[..., Any]) -> None:
        with _HANGING:
            handle = register(lambda *given: function(*given) if threading.get_ident() == self._thread else None)

        def take_out() -> None:
            with _HANGING:
                handle.remove()
                left = vars(module).get("_cr_hooks")
                if left is not None and not any(vars(left).values()):
                    del module._cr_hooks  # a module that never had one is called, and joined to others, more quickly

        self._stack.callback(take_out)

    def outputs(self, module: nn.Module) -> list[Any]:
        """A list that grows by the module's output with each call, still part of the graph.

        The model goes on with a copy, so that what it does in place (`nn.ReLU(inplace=True)`) does not reach the list.
        """
        found: list[Any] = []

        def keep(_module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> Any:
            found.append(output)
            return copied(output)

        self.hook(module, keep)
        return found

    def until(
        self, model: nn.Module, layers: Sequence[Layer | None], *, tensors: bool = False
    ) -> Callable[..., list[Any]]:
        """`run(*inputs, **named)`: what these layers give (None: the whole model), in their order.

        The model is run as far as the last of them only, so what comes behind it may be made for other sizes, and on
        copies of the inputs. Of a layer that is called several times it is the first call that counts. ValueError for
        one that is not called; with `tensors`, TypeError for one that gives something else.
        """
        modules = [model if layer is None else layer_of(model, layer) for layer in layers]
        found: dict[nn.Module, Any] = {}
        running = False

        def keep(module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> Any:
            if running:
                found.setdefault(module, output)
                if len(found) == len(set(modules)):
                    raise Reached
            return copied(output)

        for module in dict.fromkeys(modules):
            self.hook(module, keep)

        def run(*inputs: Any, **named: Any) -> list[Any]:
            nonlocal running
            found.clear()
            running = True
            try:
                model(*copied(inputs), **copied(named))
            except Reached:
                pass
            finally:
                running = False
            missed = [said(layer) for layer, module in zip(layers, modules, strict=True) if module not in found]
            if missed:
                raise ValueError(f"{type(model).__name__} does not call {', '.join(missed)} for this input")
            if tensors:
                for layer, module in zip(layers, modules, strict=True):
                    tensor_of(found[module], model, layer)
            return [found[module] for module in modules]

        return run


class Reached(BaseException):
    """The last layer that is asked for has been called. No Exception: models that catch those do not catch this."""


@contextlib.contextmanager
def looking(model: nn.Module, *, training: bool = False, parameters: bool | None = False) -> Iterator[Looking]:
    """A block in which the model is in evaluation mode, and gradients are recorded.

    At its end every module is in the mode in which it was, hooks hung in through the block are gone, and the
    parameters' `requires_grad` and `grad` are as before: inside, parameters want no gradient, so that a backward pass
    reaches inputs alone.

    training: leave the modes as they are (dropout drops, batch norm uses the batch); buffers, such as running
    statistics, are put back. parameters: whether they want a gradient inside; None: as they are.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"the model to look into is a Module, not {said(model)}")
    with contextlib.ExitStack() as stack:
        if parameters is not None:
            leaves = [p for p in model.parameters() if p.is_leaf and p.is_floating_point()]
            stack.enter_context(_SWITCHES.hold(leaves, "requires_grad", parameters))
        if training:
            stack.enter_context(_buffers_kept(model))
        else:
            modules = list(model.modules())
            stack.enter_context(_SWITCHES.hold(modules, "training", False))
            model.eval()  # for modules that do more than to set the flag
        stack.enter_context(enable_grad())
        yield Looking(stack)


@contextlib.contextmanager
def _buffers_kept(model: nn.Module) -> Iterator[None]:
    before = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        with no_grad():
            for module, name, buffer, values in before:
                buffer.copy_(values)
                setattr(module, name, buffer)


def layer_of(model: nn.Module, layer: Layer) -> nn.Module:
    """The module of that name inside the model, or the module itself where it is one of the model's.

    ValueError for a module that the model does not have, with the names that there are.
    """
    names = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    if isinstance(layer, str):
        if layer in names:
            return names[layer]
    elif any(module is layer for module in model.modules()):
        return layer
    raise ValueError(f"{type(model).__name__} has no layer {said(layer)}; it has {', '.join(names) or 'none'}")


def copied(value: Any) -> Any:
    """The same with copies of its tensors, into which a model may write."""
    return tree_map_only(Tensor, lambda t: t.clone(), value)


def tensor_of(output: Any, model: nn.Module, layer: Layer | None) -> Tensor:
    """What the layer (None: the model) gives. TypeError for what is no tensor."""
    if isinstance(output, Tensor):
        return output
    if layer is None:
        who, remedy = type(model).__name__, "put it into a Module that gives the one to look at"
    else:
        who, remedy = f"layer {said(layer)}", "name one that gives a tensor"
    raise TypeError(f"{who} gives a {type(output).__name__}, not a tensor: {remedy}")


def leaf(inputs: Any) -> Tensor:
    """A detached copy of the inputs that wants a gradient."""
    if not isinstance(inputs, Tensor):
        raise TypeError(f"an input to explain is a tensor of floats, not {type(inputs).__name__}")
    if not inputs.is_floating_point():
        raise TypeError(
            f"an input to explain is a tensor of floats, not of {inputs.dtype}: tokens have no gradient, but what "
            "embeds them has; name that layer to a method that takes one, or explain the rest of the model"
        )
    return inputs.detach().clone().requires_grad_()


def said(thing: Any) -> str:
    """How a message speaks of a name or of an object."""
    return repr(thing) if isinstance(thing, (str, type(None))) else f"a {type(thing).__name__}"
