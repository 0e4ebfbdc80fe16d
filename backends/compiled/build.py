"""Kernels: functions of this folder as machine code, made once with numba, kept on disk, called without it.

    @kernel("T[:,:] T[:,:] i8 i8", T="f4 f8")
    def relu(x, y, start, stop):
        for i in range(start, stop):
            ...

    relu(x, y, 0, len(x))                 # C-contiguous NumPy arrays of one of the dtypes in T
    parallel(relu, len(x), x, y)          # pool.py: the same in pieces, on all threads

A kernel is written in numba's subset of Python and raises nothing, allocates nothing and returns nothing. What it calls
is `inlined` functions and intrinsics (intrinsics.py). It takes arrays whole: the machine code reads address and
dimensions from the NumPy array object itself, whose layout is part of NumPy's stable ABI and begins where Python's own
header ends (which is longer in free-threaded builds: `object.__basicsize__` says where), and checks dtype, number of
dimensions and contiguity before it touches an element. A call costs half a microsecond and releases the GIL.

numba takes 0.6 s to import and 0.2 s for each function, so it works once per machine: its optimised code is kept as an
object file, named by a hash of all that it depends on (the bytecode of the kernel and of what it calls, constants,
processor, versions), and later processes load that with llvmlite alone, in 30 ms and 1 ms for each kernel. The folder
is CHAINRULE_CACHE or the user's cache folder; where it cannot be written, code is made anew in each process.

Turned down: numba's own dispatcher and cache (0.8 s in every process), ahead-of-time compiled extensions (a compiler
on every user's machine or a wheel per platform), C code through ctypes (a C compiler).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import logging
import os
import platform
import sys
import tempfile
import threading
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import Unavailable
from .listed import ACTIVE, note, number

__all__ = ["Inlined", "Kernel", "Lazy", "Unavailable", "cache_folder", "inlined", "kernel", "written"]

_HEADER = object.__basicsize__  # where a NumPy array's own fields begin: address, ndim, dimensions, strides, ...
_SCALARS = {"i8": ctypes.c_int64, "f4": ctypes.c_float, "f8": ctypes.c_double}
#: what "fast" allows: other orders of summation and fused operations, but infinities and NaN stay what they are
FAST_MATH = frozenset({"reassoc", "contract", "arcp", "nsz", "afn"})
_lock = threading.RLock()


def _new_lock() -> None:
    global _lock
    _lock = threading.RLock()


# A fork waits until other threads have compiled: in the child, locks of numba's and LLVM's would be held for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _lock.acquire(), after_in_parent=lambda: _lock.release(), after_in_child=_new_lock
    )


class Lazy:
    """Something for kernels to call that numba has to make: `build()` is called when a kernel is compiled."""

    def __init__(self, identity: Any, build: Callable[[], Any]) -> None:
        self.identity, self._build, self._made = identity, build, None

    def __call__(self, *args: Any) -> Any:
        raise TypeError(f"{self.identity} can be called in kernels only")

    def made(self) -> Any:
        """The numba function."""
        if self._made is None:
            self._made = self._build()
        return self._made


class Inlined(Lazy):
    """A Python function that kernels call: compiled into each of them."""

    def __init__(self, function: Callable[..., Any], fast: bool | str) -> None:
        super().__init__(function.__name__, self._compile)
        self.function, self.fast, self.__doc__ = function, fast, function.__doc__

    def __call__(self, *args: Any) -> Any:
        """As plain Python, for tests."""
        return self.function(*args)

    def _compile(self) -> Any:
        flags = set(self.fast.split()) if isinstance(self.fast, str) else set(FAST_MATH) if self.fast else False
        return _numbas(_translated(self.function), flags)


def inlined(function: Callable[..., Any] | None = None, *, fast: bool | str = True) -> Any:
    """Decorator: a function for kernels to call; `fast` lets the compiler reorder and fuse its float operations.

    As text it names LLVM's flags: "contract" lets it fuse, and keeps the order, on which a small difference depends.
    """
    return Inlined(function, fast) if function is not None else lambda f: Inlined(f, fast)


class Kernel:
    """A function as machine code, for each dtype that its signature's T may be.

    The signature names a type for each argument: "f4[:,:]" is a C-contiguous array, "i8", "f4" and "f8" are numbers, T
    stands for one of the dtypes in `T`, chosen by the first array that is declared with it.
    """

    def __init__(self, function: Callable[..., Any], signature: str, T: str, fast: bool) -> None:
        self.function, self.signature, self.fast = function, signature.split(), fast
        self.name = self.__name__ = function.__name__
        self.__doc__, self.__module__ = function.__doc__, function.__module__
        self.dtypes = {np.dtype(t): t for t in T.split()}
        generic = [i for i, t in enumerate(self.signature) if t.startswith("T[")]
        self._by = generic[0] if generic else None
        self._entries: dict[Any, Callable[..., int]] = {}
        self._blocks: dict[Any, int] = {}

    def __repr__(self) -> str:
        return f"<kernel {self.name}({', '.join(self.signature)})>"

    def __call__(self, *args: Any) -> None:
        if ACTIVE[0]:
            note(self, args)
            args = tuple(map(number, args))
        try:
            entry = self._entries[None if self._by is None else args[self._by].dtype]
        except KeyError:
            entry = self.entry(None if self._by is None else args[self._by].dtype)
        wrong = entry(*args)
        if wrong:
            self.complain(args, wrong - 1)

    def complain(self, args: tuple[Any, ...], at: int) -> None:
        a = args[at]
        shown = f"{a.dtype}{list(a.shape)}, strides {a.strides}" if isinstance(a, np.ndarray) else type(a).__name__
        raise TypeError(f"kernel {self.name}: argument {at} must be a C-contiguous {self.signature[at]}, got {shown}")

    def serves(self, dtype: Any) -> bool:
        """Whether there is machine code for arrays of this dtype."""
        return self._by is None or dtype in self.dtypes

    def letters(self, dtype: Any) -> list[str]:
        """The signature for T = dtype."""
        return [t.replace("T", self.dtypes[dtype]) if self._by is not None else t for t in self.signature]

    def block(self, args: tuple[Any, ...]) -> tuple[int, list[str]]:
        """For a call with these arguments: the address of the code that takes them packed, and the signature.

        Packed they are 8 bytes each: the address of an array object, an int64, a float64, or a float32 in front.
        """
        dtype = None if self._by is None else args[self._by].dtype
        self.entry(dtype)
        return self._blocks[dtype], self.letters(dtype)

    def entry(self, dtype: Any) -> Callable[..., int]:
        """The machine code for T = dtype, as a ctypes function that returns 0 or the number of a wrong argument."""
        if not self.serves(dtype):
            raise TypeError(f"kernel {self.name} serves {', '.join(map(str, self.dtypes))}, not {dtype}")
        with _lock:
            if dtype not in self._entries:
                letters = self.letters(dtype)
                kinds: list[Any] = [ctypes.py_object if "[" in t else _SCALARS[t] for t in letters]
                find = _made(self.name, lambda: _machine_code(self, letters))
                self._blocks[dtype] = find(_PACKED)
                self._entries[dtype] = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(find(""))
        return self._entries[dtype]


def kernel(signature: str, *, T: str = "f4", fast: bool = False) -> Callable[[Callable[..., Any]], Kernel]:
    """Decorator: a function as a Kernel; `fast` lets the compiler reorder and fuse its float operations."""
    return lambda function: Kernel(function, signature, T, fast)


# -- what a kernel depends on -----------------------------------------------------------------------------------------


def _names(code: types.CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


def _globals_of(function: Any) -> dict[str, Any]:
    """The global and closed-over values that a function uses."""
    found = {n: function.__globals__[n] for n in sorted(_names(function.__code__)) if n in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        found[name] = cell.cell_contents
    return found


def _translated(function: Any) -> Any:
    """The function with what is `Lazy` among its globals made."""
    values = _globals_of(function)
    made = {n: v.made() if isinstance(v, Lazy) else v for n, v in values.items()}
    closure = tuple(types.CellType(made[n]) for n in function.__code__.co_freevars)
    namespace = {**function.__globals__, **made}
    return types.FunctionType(function.__code__, namespace, function.__name__, function.__defaults__, closure or None)


def _describe(value: Any, seen: set[int]) -> Any:
    """What identifies a value that code depends on, as something with a stable repr."""
    if isinstance(value, types.CodeType):
        return value.co_code, value.co_names, value.co_varnames, [_describe(c, seen) for c in value.co_consts]
    if isinstance(value, Inlined):
        return "inlined", value.fast, _describe(value.function, seen)
    if isinstance(value, Lazy):
        return "lazy", value.identity
    if isinstance(value, types.FunctionType):
        if id(value) in seen:
            return value.__qualname__
        seen.add(id(value))
        values = {n: _describe(v, seen) for n, v in _globals_of(value).items()}
        return value.__name__, _describe(value.__code__, seen), sorted(values.items(), key=lambda item: item[0])
    if isinstance(value, types.ModuleType):
        return "module", value.__name__
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return repr(value)


@functools.cache
def _versions() -> tuple[str, ...]:
    """numba's without importing it, nor importlib.metadata, which takes longer than to load a dozen kernels."""
    import llvmlite

    found = importlib.util.find_spec("numba")
    file = Path(found.origin).with_name("_version.py") if found is not None and found.origin else None
    if file is not None and file.exists():
        return hashlib.sha256(file.read_bytes()).hexdigest(), llvmlite.__version__
    from importlib.metadata import version

    return version("numba"), llvmlite.__version__


def _emitters() -> str:
    """A hash of the files that write machine code: a Lazy is known by its name, not by what it emits."""
    found = hashlib.sha256()
    for name in ("build", "columns", "intrinsics", "tiles", "translate"):
        found.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return found.hexdigest()


@functools.cache
def _surroundings() -> tuple[Any, ...]:
    """What all kernels depend on: processor, system, versions."""
    import llvmlite.binding as llvm

    host = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), platform.machine(), sys.platform
    return _emitters(), host, _versions(), np.__version__, sys.version_info[:2], getattr(sys, "abiflags", "")


def _made(name: str, make: Callable[[], tuple[str, bytes]]) -> Callable[[str], int]:
    """Finds addresses, by the end of a name, in what `make` makes. What goes wrong is Unavailable: NumPy can serve."""
    try:
        return _load(*make())
    except Exception as error:
        raise Unavailable(f"the compiled kernel {name} cannot be made here: {error!r}") from error


# -- compiling --------------------------------------------------------------------------------------------------------


def _machine_code(k: Kernel, letters: list[str]) -> tuple[str, bytes]:
    """(symbol, object file) of a kernel."""
    import llvmlite.binding as llvm

    from .intrinsics import NDARRAY

    llvm.add_symbol(NDARRAY, id(np.ndarray))  # LLVM ends the process where it cannot find a symbol
    what = (_describe(k.function, set()), letters, k.fast, _HEADER)
    return _kept(k.name, what, lambda symbol: _compile(k, letters, symbol))


def _kept(name: str, what: Any, make: Callable[[str], bytes]) -> tuple[str, bytes]:
    """(symbol, object file) of what is described by `what`, from the cache or made."""
    identity = repr((what, _surroundings()))
    symbol = f"chainrule_{name}_{hashlib.sha256(identity.encode()).hexdigest()[:32]}"
    folder = cache_folder()
    code = _read(folder, symbol) if folder else None
    if code is None:
        _say(folder)
        begun = time.perf_counter()
        code = make(symbol)
        _spent[0] += time.perf_counter() - begun
        if folder:
            _write(folder, symbol, code)
    return symbol, code


#: seconds that this process has compiled, and whether it was said
_spent: list[float] = [0.0, False]


def _say(folder: Path | None) -> None:
    """Tell the log, once, why a first step takes long: who does not know would think that it hangs."""
    if _spent[0] > 2 and not _spent[1]:
        _spent[1] = True
        where = f"they are kept in {folder}" if folder else "no folder keeps them: see CHAINRULE_CACHE"
        logging.getLogger("chainrule").warning("compiling kernels for this processor (%s)", where)


def written(name: str, what: tuple[Any, ...], arguments: int, write: Callable[[Any, Any], None]) -> int:
    """The address of a function of some int64 that `write(builder, arguments)` writes in LLVM's representation.

    Kernels call it by intrinsics.call_at. It takes 30 ms to compile, a fiftieth of what it takes as part of a kernel:
    for code that has many forms.
    """
    import llvmlite.binding as llvm
    from llvmlite import ir

    def make(symbol: str) -> bytes:
        module = ir.Module()
        module.triple = llvm.get_process_triple()
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * arguments), name)
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        write(builder, function.args)
        builder.ret_void()
        return _emit([str(module)], name, symbol)

    with _lock:
        return _made(name, lambda: _kept(name, what, make))("")


def _compile(k: Kernel, letters: list[str], symbol: str) -> bytes:
    """The object file of a kernel: numba writes and optimises the code, a C function around it checks its arrays."""
    import numba

    from .intrinsics import checked, view

    function = _numbas(_translated(k.function), set(FAST_MATH) if k.fast else False)
    names = [f"a{i}" for i in range(len(letters))]
    namespace: dict[str, Any] = {"kernel": function}
    lines, passed = [f"def entry({', '.join(names)}):"], []
    for i, (name, letter) in enumerate(zip(names, letters)):
        kind, _, brackets = letter.partition("[")
        if brackets:
            dimensions = brackets.count(":")
            namespace[f"check{i}"], namespace[f"view{i}"] = (
                checked(kind, dimensions).made(),
                view(kind, dimensions).made(),
            )
            lines.append(f"    if not check{i}({name}): return {i + 1}")
            passed.append(f"view{i}({name})")
        else:
            passed.append(name)
    lines += [f"    kernel({', '.join(passed)})", "    return 0"]
    exec("\n".join(lines), namespace)
    scalar = {"i8": numba.int64, "f4": numba.float32, "f8": numba.float64}
    signature = numba.int64(*[numba.intp if "[" in t else scalar[t] for t in letters])
    try:
        quick = _quick()
        if quick is not None:
            texts, entry = quick.translated(namespace["entry"], signature)
            return _emit([*texts, _packed(entry, letters, symbol)], entry, symbol)
        made: Any = numba.cfunc(signature, error_model="numpy")(namespace["entry"])
        entry = made.native_name
        return _emit([made.inspect_llvm(), _packed(entry, letters, symbol)], entry, symbol)
    except numba.core.errors.NumbaError as error:
        raise TypeError(f"kernel {k.name}: a kernel must not allocate, raise or call Python: {error}") from error


#: what the name of the function that takes its arguments packed ends with
_PACKED = "_packed"


def _packed(entry: str, letters: list[str], symbol: str) -> str:
    """A module with a function that calls `entry` with the arguments that lie at an address (see Kernel.block)."""
    from llvmlite import ir

    i64 = ir.IntType(64)
    scalars = {"i8": i64, "f4": ir.FloatType(), "f8": ir.DoubleType()}
    kinds = [i64 if "[" in t else scalars[t] for t in letters]
    module = ir.Module()
    callee = ir.Function(module, ir.FunctionType(i64, kinds), entry)
    function = ir.Function(module, ir.FunctionType(i64, [i64]), symbol + _PACKED)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    at = [builder.add(function.args[0], ir.Constant(i64, 8 * i)) for i in range(len(kinds))]
    given = [builder.load(builder.inttoptr(a, kind.as_pointer())) for a, kind in zip(at, kinds)]
    builder.ret(builder.call(callee, given))
    return str(module)


@functools.cache
def _quick() -> Any:
    """translate.py; None where this version of numba does not have what it builds upon."""
    try:
        from . import translate
    except (ImportError, AttributeError, TypeError):
        return None
    return translate


def _numbas(function: Callable[..., Any], flags: Any) -> Any:
    """A function as numba's, for others of numba's to call."""
    import numba

    quick = _quick()
    options = {"error_model": "numpy", "nogil": True, "no_cpython_wrapper": True} | (quick.OPTIONS if quick else {})
    return numba.njit(**options, fastmath=flags)(function)


def _target(opt: int) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=opt, reloc="pic"
    )


def _emit(texts: list[str], entry: str, symbol: str) -> bytes:
    """An object file that holds the function `entry` of modules as `symbol`, and needs nothing of numba's."""
    import llvmlite.binding as llvm

    machine = _target(3)
    module = llvm.parse_assembly(texts[0])
    for text in texts[1:]:
        module.link_in(llvm.parse_assembly(text))
    for f in module.functions:
        if not f.is_declaration and f.name not in (entry, symbol + _PACKED):
            f.linkage = "internal"
    module.get_function(entry).name = symbol
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(module, builder)
    needs = [f.name for f in module.functions if f.is_declaration and f.name.startswith(("numba_", "NRT_", "Py", "_Z"))]
    if needs:
        raise TypeError(f"{symbol}: a kernel must not allocate, raise or call Python, and this one needs {needs}")
    return machine.emit_object(module)


_engines: list[Any] = []


def _load(symbol: str, code: bytes) -> Callable[[str], int]:
    """Finds addresses by what follows `symbol` in a name, in an object file, which stays loaded.

    An engine takes one: with more it fails.
    """
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target(0))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return lambda end: engine.get_function_address(symbol + end)


# -- the cache on disk ------------------------------------------------------------------------------------------------


def cache_folder() -> Path | None:
    """Where machine code is kept; None where no folder of the user's own can be written."""
    given = os.environ.get("CHAINRULE_CACHE")
    if given:
        folder = Path(given)
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "chainrule" / "kernels"
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches" / "chainrule" / "kernels"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chainrule" / "kernels"
    return folder if _trusted(folder) else None


@functools.cache
def _trusted(folder: Path) -> bool:
    """Whether the folder is there, or was made, and nobody else can put machine code into it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError:
        return False
    if not hasattr(os, "getuid") or (found.st_uid in (0, os.getuid()) and not found.st_mode & 0o022):
        return True
    warnings.warn(
        f"{folder} belongs to somebody else, or others may write to it: no compiled kernels are loaded from there, nor "
        "kept. Each process compiles its own, which takes seconds; CHAINRULE_CACHE names another folder",
        UserWarning,
        stacklevel=2,
    )
    return False


def _read(folder: Path, symbol: str) -> bytes | None:
    """A kept object file, if it is whole: its first bytes are the hash of the rest."""
    file = folder / f"{symbol}.o"
    try:
        content = file.read_bytes()
        if time.time() - file.stat().st_mtime > _DAY:  # so that `_prune` knows what is in use
            with contextlib.suppress(OSError):
                os.utime(file)
    except OSError:
        return None
    digest, code = content[:32], content[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _write(folder: Path, symbol: str, code: bytes) -> None:
    """Keep an object file; another process sees all of it or nothing. A full or read-only disk does no harm."""
    with contextlib.suppress(OSError):
        _prune(folder)
        handle, name = tempfile.mkstemp(dir=folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            os.replace(name, folder / f"{symbol}.o")
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name)


_DAY = 86400
#: kept files that were not used for so many days go, and the oldest when there are more bytes than that
_DAYS, _MOST = 90, 500 << 20


@functools.cache
def _prune(folder: Path) -> None:
    """Delete what other versions left behind, and what interrupted processes did; once in a process."""
    found = []
    for file in (*folder.glob("*.o"), *folder.glob("*.tmp")):
        with contextlib.suppress(OSError):
            state = file.stat()
            found.append((time.time() - state.st_mtime, state.st_size, file))
    total = 0
    for age, size, file in sorted(found):
        total += size
        if total > _MOST or age > (_DAYS if file.suffix == ".o" else 1) * _DAY:
            with contextlib.suppress(OSError):
                file.unlink()


def clear() -> int:
    """Delete all kept machine code: the number of files."""
    folder = cache_folder()
    files = [*folder.glob("chainrule_*.o"), *folder.glob("*.tmp")] if folder else []
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def installed() -> bool:
    """Whether the extra `fast` is there; says nothing about whether it works."""
    return all(importlib.util.find_spec(name) is not None for name in ("llvmlite", "numba"))
