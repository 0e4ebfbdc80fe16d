"""What threads in lock-step need beside arithmetic: numbers in memory that others change, and calls of packed kernels.

All numbers are int64 at addresses that are multiples of 8. Each is a `Lazy` for kernels, as those of intrinsics.py.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .build import Lazy

__all__ = ["add", "exchange", "invoke", "invoke_plain", "load", "pause", "peek", "poke", "store"]

_VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _intrinsic(name: str, arguments: int, returns: bool, write: Callable[[Any, Any], Any]) -> Lazy:
    """A function of so many int64: `write(builder, arguments)` gives its result, an int64 where it `returns` one."""

    def build() -> Any:
        import numba
        from numba.extending import intrinsic

        kind = (numba.types.int64 if returns else numba.types.void)(*[numba.types.int64] * arguments)

        def code(context: Any, b: Any, signature: Any, args: Any) -> Any:
            result = write(b, args)
            return result if returns else context.get_dummy_value()

        def none(context: Any) -> Any:
            return kind, code

        def one(context: Any, a: Any) -> Any:
            return kind, code

        def two(context: Any, a: Any, c: Any) -> Any:
            return kind, code

        def three(context: Any, a: Any, c: Any, d: Any) -> Any:
            return kind, code

        return intrinsic((none, one, two, three)[arguments])

    return Lazy((name, _VERSION), build)


def _at(b: Any, address: Any) -> Any:
    from llvmlite import ir

    return b.inttoptr(address, ir.IntType(64).as_pointer())


def _exchange(b: Any, args: Any) -> Any:
    from llvmlite import ir

    found = b.cmpxchg(_at(b, args[0]), args[1], args[2], "seq_cst", "seq_cst")
    return b.zext(b.extract_value(found, 1), ir.IntType(64))


def _store(b: Any, args: Any) -> None:
    b.store_atomic(args[1], _at(b, args[0]), "seq_cst", 8)


def _pause(b: Any, args: Any) -> None:
    from llvmlite import ir

    machine, none = platform.machine().lower(), ir.VoidType()
    if machine in ("x86_64", "amd64", "i386", "i686"):
        name, given = "llvm.x86.sse2.pause", []
    elif machine in ("arm64", "aarch64"):
        name, given = "llvm.aarch64.hint", [ir.Constant(ir.IntType(32), 1)]
    else:
        return
    kind = ir.FunctionType(none, [g.type for g in given])
    b.call(b.module.globals.get(name) or ir.Function(b.module, kind, name), given)


def _invoke(b: Any, args: Any) -> Any:
    from llvmlite import ir

    i64 = ir.IntType(64)
    return b.call(b.inttoptr(args[0], ir.FunctionType(i64, [i64]).as_pointer()), [args[1]])


def _invoke_plain(b: Any, args: Any) -> None:
    from llvmlite import ir

    b.call(b.inttoptr(args[0], ir.FunctionType(ir.IntType(32), []).as_pointer()), [])


#: peek(address), poke(address, number): of this thread alone, or ordered by what follows
peek = _intrinsic("peek", 1, True, lambda b, args: b.load(_at(b, args[0])))
poke = _intrinsic("poke", 2, False, lambda b, args: b.store(args[1], _at(b, args[0])))
#: load(address), store(address, number), add(address, number): in one order for all threads
load = _intrinsic("load", 1, True, lambda b, args: b.load_atomic(_at(b, args[0]), "seq_cst", 8))
store = _intrinsic("store", 2, False, _store)
add = _intrinsic("add", 2, True, lambda b, args: b.atomic_rmw("add", _at(b, args[0]), args[1], "seq_cst"))
#: exchange(address, old, new): whether `old` was there, and `new` is there now
exchange = _intrinsic("exchange", 3, True, _exchange)
#: pause(): lets the processor's other thread go on
pause = _intrinsic("pause", 0, False, _pause)
#: invoke(address, block): the kernel with that packed form (build.Kernel.block); invoke_plain(address): a C function
invoke = _intrinsic("invoke", 2, True, _invoke)
invoke_plain = _intrinsic("invoke_plain", 1, False, _invoke_plain)
