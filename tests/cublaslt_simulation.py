"""cuBLASLt for tests: carries out on the CPU what a `Setup` and addresses say, on the memory that they point to.

The fields of the GEMM are read as cublasLt.h defines them (column-major, leading dimensions and batch strides in
elements), epilogues as the enumeration there describes them. Sums are made in float64.
"""

import ctypes
import math

import numpy as np

from chainrule.backends.cupy import cublaslt, gemm
from chainrule.backends.cupy.cublaslt import Epilogue

try:
    from ml_dtypes import bfloat16
except ImportError:
    bfloat16 = None

DTYPES = {cublaslt.Type.R_64F: np.float64, cublaslt.Type.R_32F: np.float32, cublaslt.Type.R_16F: np.float16,
          cublaslt.Type.R_16BF: bfloat16}  # fmt: skip


def memory(address, dtype, shape, strides):
    """An array at an address; strides in elements."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize * (1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)))
    buffer = (ctypes.c_char * size).from_address(address)
    return np.ndarray(shape, dtype, buffer, strides=[s * dtype.itemsize for s in strides])


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_slope(x):
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)


class Simulated(gemm.Executor):
    """Runs products at once. `calls`: the setups, in order; `refused`: epilogues for which there is no algorithm."""

    library = "simulated"

    def __init__(self, refused=()):
        super().__init__()
        self.calls, self.refused = [], refused

    def address(self, array):
        return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr

    def run(self, setup, *places):
        if setup.epilogue in self.refused:
            return False
        with np.errstate(all="ignore"):
            self._multiply(setup, *places)
        return True

    def _multiply(self, setup, a, b, d, bias=0, aux=0):
        for address, alignment in zip((a, b, d, bias, aux), setup.alignments, strict=True):
            assert address % alignment == 0
        self.calls.append(setup)
        g, kind, epilogue = setup.gemm, DTYPES[setup.type], setup.epilogue
        rows_a, columns_a = (g.k, g.m) if g.turn_a else (g.m, g.k)
        rows_b, columns_b = (g.n, g.k) if g.turn_b else (g.k, g.n)
        assert g.ld_a >= rows_a
        assert g.ld_b >= rows_b
        assert g.ld_d >= g.m
        left = memory(a, kind, (g.batch, rows_a, columns_a), (g.step_a, 1, g.ld_a)).astype(np.float64)
        right = memory(b, kind, (g.batch, rows_b, columns_b), (g.step_b, 1, g.ld_b)).astype(np.float64)
        left = left.swapaxes(1, 2) if g.turn_a else left
        right = right.swapaxes(1, 2) if g.turn_b else right
        with np.errstate(all="ignore"):
            total = np.matmul(left, right)
        if epilogue & Epilogue.BIAS:
            total += memory(bias, kind, (g.m, 1), (1, 0))
        if epilogue in (Epilogue.GELU_AUX, Epilogue.GELU_AUX_BIAS):
            assert setup.aux_ld % 8 == 0
            assert setup.aux_ld >= g.m
            assert g.batch == 1
            memory(aux, kind, (1, g.m, g.n), (0, 1, setup.aux_ld))[...] = total
        if epilogue & Epilogue.GELU:
            total = gelu(total)
        if epilogue & Epilogue.RELU:
            total = np.maximum(total, 0)
        if epilogue in (Epilogue.DGELU, Epilogue.DGELU_BGRAD):
            assert setup.aux_ld % 8 == 0
            total *= gelu_slope(memory(aux, kind, (1, g.m, g.n), (0, 1, setup.aux_ld)).astype(np.float64))
        if epilogue == Epilogue.DGELU_BGRAD:
            memory(bias, kind, (g.m,), (1,))[...] = total.sum((0, 2))
        if epilogue in (Epilogue.BGRADA, Epilogue.BGRADB):
            assert g.batch == 1
            over, size = (left.sum((0, 2)), g.m) if epilogue == Epilogue.BGRADA else (right.sum((0, 1)), g.n)
            memory(bias, kind, (size,), (1,))[...] = over
        memory(d, kind, (g.batch, g.m, g.n), (g.step_d, 1, g.ld_d))[...] = total


class Host:
    """`launch.machine` on NumPy's arrays, for host functions that launch no kernel of ours."""

    xp = np
