"""`chainrule.library`: operators that a program defines by name, and `chainrule.ops`, where it finds them again.

An operator is the function that implements it; `register_autograd` gives it a gradient, and without one it has none, as
in PyTorch. What PyTorch registers for its tracer and for dispatch is taken and not asked: nothing is traced.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..autograd import Function, Tensor, no_grad

__all__ = [
    *("CustomOpDef", "Library", "custom_op", "define", "impl", "opcheck", "ops"),
    *("register_autograd", "register_fake", "register_kernel"),
]

_DEFINED: dict[str, CustomOpDef] = {}


class CustomOpDef:
    """An operator `namespace::name`: calls its function `fn`, and records the gradient that was registered.

    Without fn, `register_kernel` gives it one; NotImplementedError at a call before that. mutates_args: the names of
    the arguments that it writes into, for `opcheck`.
    """

    def __init__(self, name: str, fn: Callable[..., Any] | None = None, mutates_args: Any = "unknown") -> None:
        if "::" not in name:
            raise ValueError(f"an operator's name has a namespace: {name!r} should be like 'mylib::{name}'")
        self._qualname, self._fn, self.mutates_args = name, fn, mutates_args
        self._fake: Callable[..., Any] | None = None
        self._backward: Callable[..., Any] | None = None
        self._setup: Callable[..., Any] | None = None
        self.default = self  # PyTorch's name of an operator's plain form
        _DEFINED[name] = self

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._fn is None:
            raise NotImplementedError(f"{self._qualname} is defined and not implemented: register a kernel")
        given = inspect.signature(self._fn).bind(*args, **kwargs)
        given.apply_defaults()
        args, kwargs = given.args, given.kwargs  # by place, whatever the call names, but for what has no place
        if self._fake is not None and any(isinstance(a, Tensor) and a.is_meta for a in args):
            return self._fake(*args, **kwargs)
        if self._backward is None:
            with no_grad():
                return self._fn(*args, **kwargs)
        return self._recorded(self._fn, self._backward, self._setup, kwargs).apply(*args)

    @staticmethod
    def _recorded(fn: Any, gradient: Any, setup: Any, kwargs: dict[str, Any]) -> type[Function]:
        class Recorded(Function):
            @staticmethod
            def forward(ctx: Any, *args: Any) -> Any:
                output = fn(*args, **kwargs)
                if setup is not None:
                    more = {"keyword_only_inputs": kwargs} if kwargs else {}
                    setup(ctx=ctx, inputs=args, output=output, **more)
                return output

            @staticmethod
            def backward(ctx: Any, *grads: Any) -> Any:
                return gradient(ctx, *grads)

        return Recorded

    def register_autograd(self, backward: Callable[..., Any], /, *, setup_context: Any = None) -> None:
        """`backward(ctx, *grads)` gives the gradients; `setup_context(ctx, inputs, output)` keeps what it needs."""
        self._backward, self._setup = backward, setup_context

    def register_kernel(self, device_types: Any, fn: Callable[..., Any] | None = None, /) -> Any:
        """Implement the operator by `fn`, or by what is decorated."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self._fn = function
            return function

        return register if fn is None else register(fn)

    def register_fake(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """What is called for tensors on the meta device: it tells sizes and dtypes of the results. Returns `fn`."""
        self._fake = fn
        return fn

    def register_vmap(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """The function itself, which nobody asks: vmap calls the operator for each element."""
        return fn


def custom_op(
    name: str,
    fn: Callable[..., Any] | None = None,
    /,
    *,
    mutates_args: Any = (),
    device_types: Any = None,
    schema: str | None = None,
    tags: Any = None,
) -> Any:
    """The operator of a function, or a decorator that makes one; `ops.<namespace>.<name>` is it too.

    name: "namespace::name". fn: the function; without it, a decorator. mutates_args: the names of the arguments that
    it writes into, which only `opcheck` asks. device_types, schema, tags: PyTorch's, not looked at.
    """

    def made(function: Callable[..., Any]) -> CustomOpDef:
        names = (mutates_args,) if isinstance(mutates_args, str) and mutates_args != "unknown" else mutates_args
        return CustomOpDef(name, function, names)

    return made if fn is None else made(fn)


def _find(op: Any) -> CustomOpDef:
    if isinstance(op, CustomOpDef):
        return op
    if op not in _DEFINED:
        raise RuntimeError(f"there is no operator {op}: define it first")
    return _DEFINED[op]


def define(qualname: str, schema: str, *, lib: Any = None, tags: Any = ()) -> None:
    """Define an operator by name and schema; `impl` implements it.

    qualname: "namespace::name". schema, lib, tags: PyTorch's, not looked at.
    """
    CustomOpDef(qualname)


def impl(qualname: str, types: Any, func: Callable[..., Any] | None = None, *, lib: Any = None) -> Any:
    """Implement an operator that is defined by `func`, or by what is decorated. RuntimeError for one that is not.

    types, lib: PyTorch's, not looked at: there is one function for all devices.
    """
    return _find(qualname).register_kernel(types, func)


def register_fake(op: Any, func: Callable[..., Any] | None = None, /, *, lib: Any = None, **options: Any) -> Any:
    """Give an operator its function for the meta device: see `CustomOpDef.register_fake`. `func`, or a decorator.

    lib: PyTorch's, not looked at. RuntimeError where there is no such operator.
    """
    found = _find(op)
    return found.register_fake if func is None else found.register_fake(func)


def register_kernel(op: Any, device_types: Any, func: Callable[..., Any] | None = None, /, *, lib: Any = None) -> Any:
    """Implement an operator by `func`, or by what is decorated: there is one function for all devices.

    device_types, lib: PyTorch's, not looked at.
    """
    return _find(op).register_kernel(device_types, func)


def opcheck(
    op: Any,
    args: Any,
    kwargs: dict[str, Any] | None = None,
    *,
    test_utils: Any = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"),
    raise_exception: bool = True,
    atol: float | None = None,
    rtol: float | None = None,
) -> dict[str, Any]:
    """Whether an operator does what it declares, for these arguments: {test: "SUCCESS"}.

    args, kwargs: an example of its arguments; each call gets copies. test_utils: the tests: test_schema (only what is
    declared is written into, results have memory of their own), test_autograd_registration (results require grad where
    inputs do), test_faketensor (what `register_fake` tells is so), test_aot_dispatch_dynamic (calls and gradients can
    be repeated, within atol and rtol). OpCheckError for one that fails; with raise_exception=False the error stands in
    the result. Whether gradients are right is for `gradcheck`.
    """
    from .opcheck import check

    tests = (test_utils,) if isinstance(test_utils, str) else tuple(test_utils)
    return check(_find(op), args, kwargs, tests, raise_exception, {"atol": atol, "rtol": rtol})


def register_autograd(op: Any, backward: Callable[..., Any], /, *, setup_context: Any = None, lib: Any = None) -> None:
    """Give an operator its gradient: see `CustomOpDef.register_autograd` for backward and setup_context.

    lib: PyTorch's, not looked at.

    Source: PyTorch's torch.library, whose names these are.
    """
    _find(op).register_autograd(backward, setup_context=setup_context)


class Library:
    """A namespace in which a program defines operators (`kind` "DEF", "FRAGMENT") or implements them ("IMPL").

    ns: the namespace. dispatch_key: for what `impl` implements: "", "CPU", "CUDA", ... ("Meta" is left aside).
    """

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        if kind not in ("IMPL", "DEF", "FRAGMENT"):
            raise ValueError(f"Unsupported library kind: {kind}")
        self.ns, self.kind = ns, kind

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """Define the operator of a schema, "name(Tensor x) -> Tensor"; its name."""
        name = schema.partition("(")[0].strip()
        CustomOpDef(f"{self.ns}::{name}")
        return name

    def impl(self, op_name: str, fn: Callable[..., Any], dispatch_key: str = "", **options: Any) -> None:
        """Implement one of them. What is for a tracer (key "Meta") is left aside."""
        if dispatch_key != "Meta":
            _find(f"{self.ns}::{op_name.rpartition('::')[2]}").register_kernel(dispatch_key, fn)


class _Namespace:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> CustomOpDef:
        try:
            return _DEFINED[f"{self._name}::{name}"]
        except KeyError:
            raise AttributeError(
                f"there is no operator {self._name}::{name}: ops has what the program defined by chainrule.library"
            ) from None


class _Operators:
    """`chainrule.ops`: `ops.<namespace>.<name>` is an operator that was defined here; of PyTorch's own see aten.py."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "aten":
            from .aten import aten

            return aten
        return _Namespace(name)

    def load_library(self, path: str) -> None:
        """OSError, PyTorch's for one that cannot be loaded: libraries of compiled operators are for PyTorch."""
        raise OSError(f"Could not load this library: {path}. It holds operators compiled for PyTorch")


ops = _Operators()
