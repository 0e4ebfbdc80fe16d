"""From Python to LLVM's representation: numba's translation alone, without its optimiser and its engine.

numba optimises each function that a kernel calls by itself, compiles it for its own use, and does the same again for
each that calls it. Here it only translates and links; build.py optimises the whole once. That halves the time of
compilation, and the code is as fast. Reference counts are left out (`_nrt`): a kernel owns nothing.

This relies on classes of numba's that are not documented. Where one of them is not what it was, build.py takes the
documented way (`numba.cfunc`), which takes twice as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import ccallback, codegen, compiler
from numba.core.compiler_lock import global_compiler_lock

__all__ = ["OPTIONS", "translated"]


class _Library(codegen.AOTCodeLibrary):
    """Functions that are linked, not optimised, and never run by numba."""

    def _optimize_final_module(self) -> None:
        pass

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0


class _Codegen(codegen.AOTCPUCodegen):
    _library_class = _Library

    def set_env(self, name: str, env: Any) -> None:
        """There is no engine in which a variable would be set."""


_CODEGEN = _Codegen("chainrule", "host")
_INTERNAL: dict[Any, Any] = {}  # numba's own helpers, once they are compiled


class _Compiler(compiler.Compiler):
    """numba's pipeline, with a target of our own: nobody else's functions are touched."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.state.targetctx = self.state.targetctx.subtarget(_internal_codegen=_CODEGEN)
        self.state.targetctx.cached_internal_func = _INTERNAL


#: for numba.njit
OPTIONS: dict[str, Any] = {"no_cfunc_wrapper": True, "pipeline_class": _Compiler, "_nrt": False}
_LETTERS = {
    types.int64: ir.IntType(64),
    types.intp: ir.IntType(64),
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
}


@global_compiler_lock
def translated(function: Callable[..., Any], signature: Any) -> tuple[list[str], str]:
    """(LLVM modules as text, name of the entry): a function of numbers that returns an int64, for C."""
    options = {"error_model": "numpy", "nopython": True, "_nrt": False}
    made: Any = ccallback.CFunc(
        function, (signature.args, signature.return_type), {}, options, pipeline_class=_Compiler
    )
    result = made._compile_uncached()
    result.library._ensure_finalized()
    # numba's functions return a status, and the result by a pointer; its own way around that needs Python
    module = ir.Module()
    i64, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
    kinds = [_LETTERS[t] for t in signature.args]
    inner = ir.FunctionType(ir.IntType(32), [i64.as_pointer(), pointer.as_pointer(), *kinds])
    callee = ir.Function(module, inner, result.fndesc.llvm_func_name)
    entry = ir.Function(module, ir.FunctionType(i64, kinds), "entry")
    builder = ir.IRBuilder(entry.append_basic_block())
    value, error = builder.alloca(i64), builder.alloca(pointer)
    builder.call(callee, [value, error, *entry.args])
    builder.ret(builder.load(value))
    return [result.library.get_llvm_str(), str(module)], entry.name
