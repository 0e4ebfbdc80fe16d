"""`chainrule.library.opcheck`: whether a program's operator does what it declares, on an example of its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..autograd import Tensor, grad, no_grad
from ..testing import assert_close

__all__ = ["OpCheckError", "check"]


class OpCheckError(Exception):
    """An operator does something else than it declares."""


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            yield from _tensors(part)


def _copied(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree.detach().clone().requires_grad_(tree.requires_grad)
    if isinstance(tree, (tuple, list)):
        return type(tree)([_copied(part) for part in tree])
    return tree


def _memories(tree: Any) -> set[int]:
    return {t.untyped_storage().data_ptr() for t in _tensors(tree) if t.numel()}


class _Example:
    """An operator with arguments, of which each call gets copies."""

    def __init__(self, op: Any, args: Sequence[Any], kwargs: dict[str, Any], tolerance: dict[str, Any]) -> None:
        self.op, self.tolerance = op, tolerance
        self.given = inspect.signature(op._fn).bind(*args, **kwargs)

    def call(self, function: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
        """(what `function` returns, the arguments that it got)."""
        copies = {name: _copied(value) for name, value in self.given.arguments.items()}
        given: Any = inspect.BoundArguments(self.given.signature, copies)  # type: ignore[arg-type]
        return function(*given.args, **given.kwargs), copies

    def test_schema(self) -> None:
        """What is not declared as mutated stays as it is; results have memory of their own."""
        result, after = self.call(self.op)
        for name, value in self.given.arguments.items():
            if name in self.op.mutates_args or self.op.mutates_args == "unknown":
                continue
            for a, b in zip(_tensors(value), _tensors(after[name]), strict=True):
                try:
                    assert_close(b.detach(), a.detach(), rtol=0, atol=0, equal_nan=True)
                except AssertionError:
                    raise RuntimeError(f"Argument {name} is not defined as mutable but was mutated") from None
        made = [_memories(t) for t in _tensors(result)]
        if any(own & _memories(list(after.values())) for own in made) or len(set().union(*made)) < sum(map(len, made)):
            raise RuntimeError(
                f"{self.op._qualname}: The output of this custom operator must not also be an input to this custom "
                "operator and may not alias any inputs or other returns. Return a clone: x.clone()"
            )

    def test_autograd_registration(self) -> None:
        """Where there is a gradient, the results of inputs that require it do so, too."""
        result, given = self.call(self.op)
        if self.op._backward is None or not any(t.requires_grad for t in _tensors(list(given.values()))):
            return
        if not any(t.requires_grad for t in _tensors(result)):
            raise RuntimeError(f"{self.op._qualname}: its results do not require grad where its inputs do")

    def test_faketensor(self) -> None:
        """The function registered as fake tells sizes, dtypes and devices of the results."""
        result, _ = self.call(self.op)
        if result is None and self.op._fake is None:
            return
        if self.op._fake is None:
            raise RuntimeError(
                f"There was no fake impl registered for {self.op!r}. Please use "
                f"`{self.op._qualname.rpartition('::')[2]}.register_fake` to add an fake impl."
            )
        with no_grad():
            told, _ = self.call(self.op._fake)
        have, want = list(_tensors(told)), list(_tensors(result))
        kinds = [[(tuple(t.shape), t.dtype, t.device) for t in tensors] for tensors in (have, want)]
        if kinds[0] != kinds[1]:
            raise RuntimeError(f"{self.op._qualname}: the fake impl tells of {kinds[0]}, the results are {kinds[1]}")

    def test_aot_dispatch_dynamic(self) -> None:
        """Two calls give the same, and so do two backward passes."""
        self.test_faketensor()
        for one, two in zip(*[self._with_gradients() for _ in range(2)], strict=True):
            assert_close(two, one, equal_nan=True, **self.tolerance)

    def _with_gradients(self) -> list[Tensor]:
        result, given = self.call(self.op)
        inputs = [t for t in _tensors(list(given.values())) if t.requires_grad]
        outputs = [t for t in _tensors(result) if t.requires_grad]
        found: list[Tensor] = [t.detach() for t in (*_tensors(result), *_tensors(list(given.values())))]
        if inputs and outputs:
            grads = grad([t.sum() for t in outputs], inputs, allow_unused=True)
            for t, g in zip(inputs, grads, strict=True):
                if g is not None and g.shape != t.shape:
                    raise RuntimeError(f"{self.op._qualname}: a gradient has shape {g.shape}, its input {t.shape}")
                found += [] if g is None else [g.detach()]
        return found


def check(
    op: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any] | None,
    tests: Sequence[str],
    raise_exception: bool,
    tolerance: dict[str, Any],
) -> dict[str, Any]:
    """What each of the tests says: "SUCCESS" or the error, which is raised as OpCheckError if that is wanted."""
    example = _Example(op, args, kwargs or {}, tolerance)
    found: dict[str, Any] = {}
    for name in tests:
        if not name.startswith("test_") or not hasattr(example, name):
            raise ValueError(f"opcheck: there is no test {name!r}")
        try:
            getattr(example, name)()
        except Exception as error:
            if raise_exception:
                raise OpCheckError(f"opcheck(op, ...): {name} failed with {error}") from error
            found[name] = error
        else:
            found[name] = "SUCCESS"
    return found
