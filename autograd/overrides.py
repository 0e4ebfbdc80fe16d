"""`__torch_function__`: classes that take over functions, as PyTorch has it. See https://docs.pytorch.org/docs/stable/torch.overrides.html

Nothing in the engine asks for it. When the first class that wants it is made (or the first mode is entered, or an op
meets the first such object that is no tensor), the public functions, the methods of Tensor and its properties are
intercepted, all at once and for good: they look at their arguments from then on. They stay the same objects, of which
programs may hold many: their code is what is changed. So a program without such classes executes not one instruction
more. Turned down: a question in each function.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterable
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import CodeType, FunctionType, TracebackType
from typing import Any

from .device import device
from .dtypes import dtype
from .op import OPS, Op
from .public import FUNCTIONS
from .tensor import METHODS, Tensor, plain_results

__all__ = [
    "BY_MODES",
    "NEVER",
    "PUBLIC",
    "DisableTorchFunction",
    "DisableTorchFunctionSubclass",
    "TorchFunctionMode",
    "activate",
    "ask",
    "convert",
    "current_modes",
    "default",
    "enabled",
    "overloaded",
    "overridden",
    "public_functions",
]

#: where PyTorch's functions are, besides the package itself
_NAMESPACES = (
    *("nn.functional", "autograd.linalg", "autograd.fft", "autograd.special", "autograd.seldom", "autograd.windows"),
    *("autograd.second_forms", "autograd.spectra", "autograd.factors"),
)
_NEVER = """broadcast_shapes capture get_printoptions get_rng_state initial_seed is_tensor load manual_seed save seed
    set_default_tensor_type set_printoptions set_rng_state typename"""
_BY_MODES = """arange as_tensor asarray bartlett_window blackman_window empty empty_permuted empty_strided eye fftfreq
    from_dlpack from_numpy frombuffer full hamming_window hann_window kaiser_window linspace logspace ones rand randint
    randn randperm rfftfreq scalar_tensor tensor tril_indices triu_indices vander zeros"""
_NO_METHODS = """__cuda_array_interface__ __getattr__ __hash__ __init__ __init_subclass__ __iter__ __new__ __reduce_ex__
    __torch_function__ _grad _make_subclass array as_subclass leaf"""
#: operators of two operands, of which the other one's may be tried
_BINARY = "add sub mul truediv floordiv mod pow matmul divmod and or xor lshift rshift eq ne lt le gt ge"
#: functions that are never taken over
NEVER = frozenset(_NEVER.split())
#: functions that modes take over, and arguments do not
BY_MODES = frozenset(_BY_MODES.split())
_METHODS = {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "mod": "remainder", "pow": "pow"}
#: operator -> the method by which PyTorch calls it
_OPERATORS = {
    **{f"__{name}__": method for name, method in {**_METHODS, "matmul": "matmul", "pos": "positive"}.items()},
    **{f"__i{name}__": f"{method}_" for name, method in _METHODS.items()},
    **{f"__{name}__": name for name in ("abs", "neg", "ne", "lt", "le", "gt", "ge")},
}
#: classes of arguments that take over nothing and are not looked into; those of the package and NumPy's join when met
_SIMPLE = {Tensor, dtype, device, int, float, bool, str, type(None), complex, slice, type(Ellipsis)}
_KNOWN = (__name__.partition(".")[0], "numpy")


class _State(threading.local):
    """What holds in this thread: the modes, the innermost last, and what is switched off (1: classes, 2: modes too)."""

    modes: tuple[Any, ...] = ()
    off = 0


_state = _State()
#: the modes that were entered, of all threads: functions look for one in theirs only where there are any
_entered: list[Any] = []
_lock = threading.Lock()
_active = False
#: public function -> its path, for `resolve_name`
PUBLIC: dict[Any, str] = {}
#: the code that public functions had -> these functions as they were, and as programs know them
_BEFORE: dict[CodeType, list[tuple[FunctionType, Any]]] = {}


# -- who takes part ---------------------------------------------------------------------------------------------------


def overridden(kind: type) -> bool:
    """Whether objects of a class take over functions that they are given to."""
    found = getattr(kind, "__torch_function__", None)
    if found is None or found is plain_results or kind is Tensor:
        return False
    return (getattr(found, "__module__", None) or "").partition(".")[0] != "torch"  # PyTorch's tensors are no ours


def overloaded(args: Iterable[Any]) -> list[Any]:
    """Those of `args`, and of the lists among them, that take over functions: one of each class, subclasses first."""
    found: list[Any] = []
    for x in args:
        kind = type(x)
        if kind in _SIMPLE:
            continue
        for y in x if kind is list or kind is tuple else (x,):
            kind = type(y)
            if kind in _SIMPLE:
                continue
            if not overridden(kind):
                if kind.__module__.partition(".")[0] in _KNOWN:
                    _SIMPLE.add(kind)
            elif all(type(f) is not kind for f in found):
                at = next((i for i, f in enumerate(found) if issubclass(kind, type(f))), len(found))
                found.insert(at, y)
    return found


def enabled() -> bool:
    """Whether classes are asked in this thread now."""
    return _state.off == 0


def current_modes() -> tuple[Any, ...]:
    """The modes of this thread, the innermost last."""
    return _state.modes if _state.off < 2 else ()


def ask(func: Any, found: list[Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """What the innermost mode, or else one of the objects `found`, makes of the call `func(*args, **kwargs)`.

    TypeError where all of them return NotImplemented.
    """
    types = tuple([type(x) for x in found])
    modes = current_modes()
    asked: list[Any] = []
    if modes:
        asked = [type(modes[-1])]
        _state.modes = modes[:-1]
        try:
            result = modes[-1].__torch_function__(func, types, args, kwargs)
        finally:
            _state.modes = modes
        if result is not NotImplemented:
            return result
    for x in found:
        result = x.__torch_function__(func, types, args, kwargs)
        if result is not NotImplemented:
            return result
    shown = ", ".join(kind.__name__ for kind in (*asked, *types))
    name = PUBLIC.get(func) or getattr(func, "__name__", func)
    raise TypeError(f"Multiple dispatch failed for {name!r}; all __torch_function__ handlers returned NotImplemented: "
                    f"{shown}")  # fmt: skip


# -- what classes do by default ---------------------------------------------------------------------------------------


def default(cls: type, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """`Tensor.__torch_function__`: call the function, and make its tensors ones of the class."""
    if not all(issubclass(cls, kind) and overridden(kind) for kind in types):
        return NotImplemented  # another class's, or another library's call
    with DisableTorchFunctionSubclass():
        result = func(*args, **(kwargs or {}))
    return result if cls is Tensor or PUBLIC.get(func) in _NOT_CONVERTED else convert(result, cls)


_NOT_CONVERTED = ("Tensor.grad.__get__", "Tensor._base.__get__")


def convert(result: Any, cls: Any) -> Any:
    """The tensors of a result as ones of the class."""
    if isinstance(result, Tensor):
        return result if isinstance(result, cls) else result.as_subclass(cls)
    if isinstance(result, (tuple, list)) and any(isinstance(x, (Tensor, tuple, list)) for x in result):
        made = [convert(x, cls) for x in result]
        return type(result)._make(made) if hasattr(result, "_make") else type(result)(made)  # type: ignore[attr-defined]
    return result


class DisableTorchFunctionSubclass:
    """A block in which classes do not take over functions; modes do."""

    _off = 1

    def __init__(self) -> None:
        self._before: list[int] = []

    def __enter__(self) -> None:
        self._before.append(_state.off)
        _state.off = max(_state.off, self._off)

    def __exit__(self, *exc: Any) -> None:
        _state.off = self._before.pop()


class DisableTorchFunction(DisableTorchFunctionSubclass):
    """A block in which neither classes nor modes take over functions."""

    _off = 2


class TorchFunctionMode:
    """A block in which `__torch_function__(self, func, types, args, kwargs)` takes over every public function.

    Within it the functions are those of the block outside, so it may call `func`. Modes nest; a mode may be entered
    more than once.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Any:
        activate()
        _entered.append(self)
        _state.modes = (*_state.modes, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _state.modes = _state.modes[:-1]
        _entered.pop()  # one of them, whichever: they are counted


# -- interception -----------------------------------------------------------------------------------------------------


def _entry(func: Any, original: Callable[..., Any], arguments: bool = True, operator: bool = False) -> Any:
    """What a function does with arguments that are not plain, or where modes hold: (args, kwargs) -> result.

    func: what is handed to those who take it over. arguments: they do, too, not only modes. operator: where all
    decline, Python is to try the other operand's.
    """

    def call(args: Any, kwargs: dict[str, Any]) -> Any:
        found = overloaded((*args, *kwargs.values())) if arguments and not _state.off else []
        if not found and not (_state.modes and _state.off < 2):
            return original(*args, **kwargs)
        try:
            return ask(func, found, args, kwargs)
        except TypeError:
            if operator and len(args) == 2 and not isinstance(args[1], (Tensor, int, float)):
                return NotImplemented
            raise

    return call


#: A function that was intercepted: plain arguments cost it a look at their types, and one call.
_CALL = """
def make({names}):
    def call(*args, _parts, **kwargs):
        original, entry, plain, entered, type = _parts
        if not entered:
            for x in args:
                if type(x) not in plain:
                    break
            else:
                if not kwargs:
                    return original(*args)
                for x in kwargs.values():
                    if type(x) not in plain:
                        break
                else:
                    return original(*args, **kwargs)
        return entry(args, kwargs)
        ({names})
    return call
"""


@functools.cache
def _code(cells: int) -> CodeType:
    """The code of an intercepted function, in place of one with so many cells."""
    made: dict[str, Any] = {}
    exec(compile(_CALL.format(names="".join(f"c{i}, " for i in range(cells))), "<intercepted>", "exec"), made)
    return made["make"](*[None] * cells).__code__


def _parts(func: Any, original: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """The keyword by which the code gets at what it needs: names of its own it has none, nor those of this module."""
    return {"_parts": (original, _entry(func, original, **options), _SIMPLE, _entered, type)}


def _intercept(target: Any, func: Any, **options: Any) -> None:
    """Let a function, or an op, look at its arguments; once is enough."""
    if isinstance(target, Op):
        op: Op = target
        if getattr(op.function, "__self__", None) is op:
            call = FunctionType(_code(0), {}, op.name)
            call.__kwdefaults__ = _parts(func, op.function, **options)
            op.function = call
        else:
            _intercept(op.function, func, **options)
    elif isinstance(target, FunctionType) and "_parts" not in (target.__kwdefaults__ or ()):
        code = target.__code__
        original = FunctionType(code, target.__globals__, target.__name__, target.__defaults__, target.__closure__)
        original.__kwdefaults__, original.__annotations__ = target.__kwdefaults__, target.__annotations__
        _BEFORE.setdefault(code, []).append((original, func))
        vars(target).setdefault("__wrapped__", original)  # where inspect finds the signature
        target.__code__, target.__defaults__ = _code(len(code.co_freevars)), None
        target.__kwdefaults__ = _parts(func, original, **options)


def _intercept_property(name: str, found: property) -> None:
    """Let a property of Tensor look at what it belongs to; it stays the same object, too."""
    accessors = []
    for kind, original in (("__get__", found.fget), ("__set__", found.fset), ("__delete__", found.fdel)):
        call = None
        if original is not None:
            func = getattr(found, kind)
            PUBLIC[func] = f"Tensor.{name}.{kind}"
            call = FunctionType(_code(0), {}, name)
            call.__kwdefaults__ = _parts(func, original)
        accessors.append(call)
    found.__init__(*accessors, found.__doc__)  # type: ignore[misc]
    setattr(Tensor, name, found)  # or Python goes on with what it remembers of the class


def public_functions() -> dict[str, dict[str, Any]]:
    """All functions that can be taken over, or by modes at least: {namespace: {name: function}}."""
    root = __name__.partition(".")[0]
    found = {"": {name: f for name, f in FUNCTIONS.items() if name not in NEVER}}
    for namespace in _NAMESPACES:
        module = importlib.import_module(f"{root}.{namespace}")
        where = namespace.removeprefix("autograd.")
        where = where if where in ("nn.functional", "linalg", "fft", "special") else ""
        names = found.setdefault(where, {})
        for name in module.__all__:
            f = getattr(module, name)
            if isinstance(f, (FunctionType, Op)) and name not in NEVER:
                names.setdefault(name, f)
    return found


def activate() -> None:
    """Intercept the public functions, the methods of Tensor and its properties; once for the whole process."""
    global _active
    with _lock:
        if _active:
            return
        _active = True
        for namespace, functions in public_functions().items():
            for name, f in functions.items():
                PUBLIC.setdefault(f, f"{namespace}.{name}".removeprefix("."))
                _intercept(f, f, arguments=name not in BY_MODES)
        methods, left, binary = dict(vars(Tensor)), _NO_METHODS.split(), _BINARY.split()
        kept = [METHODS[name] for name in left if name in METHODS]  # also where a program has put them elsewhere
        root = __name__.partition(".")[0]
        for name, f in methods.items():
            if name in left or f in kept or getattr(f, "__module__", root).partition(".")[0] != root:
                continue  # the last: a program's own method
            if isinstance(f, property):
                _intercept_property(name, f)
            elif isinstance(f, FunctionType):
                func = methods[_OPERATORS.get(name, name)]
                PUBLIC.setdefault(func, f"Tensor.{name}")
                _intercept(f, func, operator=name[2:-2] in binary or name[3:-2] in binary)
        for op in OPS.values():  # modules call some that are not public
            _intercept(op, op)


def _called(frame: Any) -> Any:
    """The public function that runs in a frame, as programs know it. Of several with one code it has their cells."""
    for original, func in _BEFORE.get(frame.f_code, ()):
        cells = zip(frame.f_code.co_freevars, original.__closure__ or (), strict=True)
        if all(frame.f_locals.get(name) is cell.cell_contents for name, cell in cells):
            return func
    return None


def first_met(op: Op, args: Any, kwargs: dict[str, Any]) -> Any:
    """The call of an op that met an object with `__torch_function__` before anything was intercepted.

    It is asked for the public function that the program has called, the outermost on the stack.
    """
    activate()
    func: Any = op.quick if op.quick in PUBLIC else FUNCTIONS.get(op.name, op)
    frame: Any = sys._getframe(1)
    while frame is not None:
        called = _called(frame)
        if called is not None:
            code, values = frame.f_code, frame.f_locals
            positional = code.co_varnames[: code.co_argcount]
            func, args = called, [values[n] for n in positional if n != "out" or values[n] is not None]
            rest = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
            kwargs = {n: values[n] for n in rest if n != "out" or values[n] is not None}
            more = [values[n] for n in code.co_varnames[code.co_argcount + code.co_kwonlyargcount :][:2] if n in values]
            if code.co_flags & CO_VARARGS:
                args += more.pop(0)
            if code.co_flags & CO_VARKEYWORDS:
                kwargs |= more[0]
        frame = frame.f_back
    return ask(func, overloaded((*args, *kwargs.values())), tuple(args), kwargs)
